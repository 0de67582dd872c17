import Lacuna

/// Checks that dropping kernels in groups of output channels suits processors, and that rearranging channels makes up for
/// the coarser choice.
struct SparseByteNNReproduction: Reproduction {
    let shortName = "SparseByteNN"
    let paper = 21
    let title = "SparseByteNN: A Novel Mobile Inference Acceleration Framework Based on Fine-Grained Group Sparsity"
    let arXiv: String? = "2310.19509"
    let claim =
        "Groups of kernels that are kept or dropped together, after a rearrangement of the whole network's channels, make "
        + "MobileNet-v1 1.27 times as fast as the dense network at 30 % sparsity, at a loss of 0.224 % accuracy."

    private static let sparsities = [0.0, 0.3, 0.5, 0.7, 0.9]
    private static let kernelSparsities = [0.3, 0.5, 0.7]

    /// What one draw of weights gives.
    private struct Findings {
        /// The share of planted groups' score that stays, as the rows come and rearranged.
        var kept = (shuffled: 0.0, found: 0.0)
        /// The largest change of an output by rearrangement.
        var change = 0.0
        /// The largest difference of a kernel's output from the dense product's.
        var error = 0.0
        /// Seconds of dense and sparse layers in groups of 1 and of 4, by sparsity; of 3 × 3 kernels; and of a network.
        var single: [(dense: Double, sparse: Double)] = []
        var grouped: [(dense: Double, sparse: Double)] = []
        var kernels: [(dense: Double, sparse: Double)] = []
        var network = (dense: 0.0, sparse: 0.0)
    }

    func run(_ context: ReproductionContext) throws -> Outcome {
        let threads = Parallel.threads
        Parallel.threads = 1
        defer { Parallel.threads = threads }
        let seeds = (0..<5).map { context.seed &* 1000 &+ UInt64($0) }
        let found = try seeds.enumerated().map { index, seed in
            try context.progress.report("rearranging and timing", index, of: seeds.count)
            return try findings(seed: seed, quick: context.quick)
        }
        func sample(_ value: (Findings) -> Double) -> Sample { Sample(found.map(value)) }
        func speed(_ path: KeyPath<Findings, [(dense: Double, sparse: Double)]>, _ place: Int) -> Sample {
            sample { $0[keyPath: path][place].dense / $0[keyPath: path][place].sparse }
        }
        let change = found.map(\.change).max() ?? .nan
        let error = found.map(\.error).max() ?? .nan
        var measurements = [
            Measurement(
                "score kept by groups of 4 at 50 %, planted groups found again", sample(\.kept.found),
                baseline: sample(\.kept.shuffled), baselineName: "shuffled"),
            Measurement("largest change of an output by rearrangement", measured: change),
        ]
        let layers:
            [(
                name: String, baseline: String, path: KeyPath<Findings, [(dense: Double, sparse: Double)]>,
                levels: [Double]
            )] = [
                ("256 × 256, 784 pixels, groups of 1", "dense BLAS", \.single, Self.sparsities),
                ("256 × 256, 784 pixels, groups of 4", "dense BLAS", \.grouped, Self.sparsities),
                ("64 × 64 of 3 × 3, 784 pixels, groups of 4", "unfolded, dense BLAS", \.kernels, Self.kernelSparsities),
            ]
        for layer in layers {
            for (place, sparsity) in layer.levels.enumerated() {
                measurements.append(
                    Measurement(
                        "\(layer.name), \(Int(sparsity * 100 + 0.5)) %: microseconds",
                        sample { $0[keyPath: layer.path][place].sparse * 1e6 },
                        baseline: sample { $0[keyPath: layer.path][place].dense * 1e6 }, baselineName: layer.baseline))
            }
        }
        measurements.append(
            Measurement(
                "MobileNet-v1 at 224 × 224, 30 % in groups of 4: milliseconds", sample { $0.network.sparse * 1e3 },
                baseline: sample { $0.network.dense * 1e3 }, baselineName: "dense BLAS"))
        let trained = try Self.trained(context, seeds: seeds)
        measurements += trained?.measurements ?? []
        return Outcome(
            setting:
                "five draws of planted groups in a 64 × 64 matrix; of a quarter-width MobileNet-v1 rearranged; of layers of 1 × 1 and "
                + "of 3 × 3 kernels and of the whole network with random weights against BLAS on the same weights, one thread, fastest of "
                + "paired rounds; EfficientNet-Lite0 as trained, rearranged, pruned in groups of 4 and tuned, judged on pictures held out, "
                + "five times with other pictures",
            measurements: measurements,
            checks: [
                Check("rearrangement keeps 98.5 % of what free choice would", sample(\.kept.found), exceeds: 0.985),
                Check("the shuffled order keeps less than 85 %", sample(\.kept.shuffled), staysBelow: 0.85),
                Check("the rearranged network computes the same", change, .atMost, 1e-3),
                Check("the kernel computes what the dense layer does", error, .atMost, 1e-2),
                Check(
                    "groups of 4 are faster than single channels at 50 %", speed(\.grouped, 2) / speed(\.single, 2),
                    exceeds: 1),
                Check("groups of 4 are faster than the dense product at 50 %", speed(\.grouped, 2), exceeds: 1),
                Check(
                    "the whole network gains at 30 %", sample { $0.network.dense / $0.network.sparse }, exceeds: 1),
                Check(
                    "3 × 3 kernels in groups of 4 are faster than the dense product at 50 %", speed(\.kernels, 1),
                    exceeds: 1),
            ] + (trained?.checks ?? []),
            notes: [
                "Of the trained network there are pictures without labels, so accuracy is agreement with the dense network's first answer.",
                "The authors' 1.27 is against dense kernels of a phone; here the dense product is the machine's BLAS.",
            ], missing: trained == nil ? [PrunedLite.isMissing] : [])
    }

    private func findings(seed: UInt64, quick: Bool) throws -> Findings {
        var generator = SeededGenerator(seed: seed, stream: 21)
        let rounds = quick ? 9 : 31
        var result = Findings()

        // Planted: groups of four rows that share a support, in a random order.
        let search = ChannelRearrangement(group: 4, sparsity: 0.5)
        let scores = planted(using: &generator)
        result.kept = (
            search.keptShare(scores, order: Array(0..<64)),
            search.keptShare(scores, order: try search.order(scores, using: &generator))
        )

        // A rearranged network computes the same.
        let small = try MobileNetV1(randomOfWidth: 0.25, classes: 10, using: &generator)
        var orders: [[Int]] = []
        for block in small.blocks {
            let scores = try MagnitudeScore().scores(weight: block.pointwise, statistics: nil)
            orders.append(
                try ChannelRearrangement(group: 4, sparsity: 0.3, swaps: 500).order(scores, using: &generator))
        }
        let image = Tensor<Float>(normal: [3, 64, 64], using: &generator)
        func outputs(_ network: MobileNetV1) throws -> [Float] {
            try MobileNetRunner(network, engine: .dense, size: (64, 64))(image)
        }
        result.change = zip(try outputs(small), try outputs(small.rearranged(orders)))
            .reduce(0.0) { max($0, Double(abs($1.0 - $1.1))) }

        // Speed of one layer: groups against single channels, and where either crosses the dense product.
        let weight = Tensor<Float>(normal: [256, 256], using: &generator)
        let layerScores = try MagnitudeScore().scores(weight: weight, statistics: nil)
        let input = ImageActivation(Tensor<Float>(normal: [256, 28, 28], using: &generator))
        let y = ImageActivation(channels: 256, height: 28, width: 28)
        let bias = [Float](repeating: 0, count: 256)
        for sparsity in Self.sparsities {
            for group in [1, 4] {
                let pattern: Pattern = group == 1 ? .unstructured(.layer) : .block(rows: 4, columns: 1)
                let mask = try Selection.mask(scores: layerScores, pattern: pattern, sparsity: sparsity)
                let pruned = try DenseMatrix(DenseRows(weight, mask: mask), values: .f32).densified()
                let layer = try PointwiseConvolution(pruned, bias: bias, group: group)
                let dense = DensePointwise(pruned, bias: bias, clamp: -.infinity ... .infinity)
                dense(input, into: y)
                let expected = y.tensor.scalars
                layer(input, into: y)
                result.error = max(
                    result.error, zip(y.tensor.scalars, expected).reduce(0.0) { max($0, Double(abs($1.0 - $1.1))) })
                let seconds = FastSparseConvNetsReproduction.pair(rounds) {
                    dense(input, into: y)
                } with: {
                    layer(input, into: y)
                }
                if group == 1 { result.single.append(seconds) } else { result.grouped.append(seconds) }
            }
        }
        let network = try MobileNetV1(randomOfWidth: 1, using: &generator).sparsified(0.3, group: 4)
        let picture = Tensor<Float>(normal: [3, 224, 224], using: &generator)
        let (dense, sparse) = (
            try MobileNetRunner(network, engine: .dense), try MobileNetRunner(network, engine: .sparse(group: 4))
        )
        result.network = FastSparseConvNetsReproduction.pair(quick ? 3 : 9) {
            _ = dense(picture)
        } with: {
            _ = sparse(picture)
        }
        try convolutions(&result, rounds: rounds, using: &generator)
        return result
    }

    /// A 3 × 3 layer whose kernels are kept or dropped in groups of 4 outputs, against the dense product on the same planes.
    private func convolutions(
        _ result: inout Findings, rounds: Int, using generator: inout SeededGenerator
    ) throws {
        let (channels, side) = (64, 28)
        let image = ImageActivation(Tensor<Float>(normal: [channels, side, side], using: &generator))
        let weight = Tensor<Float>(normal: [channels, channels * 9], using: &generator)
        let scores = try MagnitudeScore().scores(weight: weight, statistics: nil)
        let y = ImageActivation(channels: channels, height: side, width: side)
        let bias = [Float](repeating: 0, count: channels)
        let whole = try SparseConvolution(
            weight.reshaped([channels, channels, 3, 3]), bias: bias, group: 4)
        for sparsity in Self.kernelSparsities {
            let mask = try Selection.mask(scores: scores, pattern: .block(rows: 4, columns: 9), sparsity: sparsity)
            var pruned = weight
            mask.apply(to: &pruned)
            let layer = try SparseConvolution(pruned.reshaped([channels, channels, 3, 3]), bias: bias, group: 4)
            let dense = DensePointwise(pruned, bias: bias, clamp: -.infinity ... .infinity)
            dense(whole.unfolded(image), into: y)
            let expected = y.tensor.scalars
            layer(image, into: y)
            result.error = max(
                result.error, zip(y.tensor.scalars, expected).reduce(0.0) { max($0, Double(abs($1.0 - $1.1))) })
            result.kernels.append(
                FastSparseConvNetsReproduction.pair(rounds) {
                    dense(whole.unfolded(image), into: y)
                } with: {
                    layer(image, into: y)
                })
        }
    }

    /// The trained network at the authors' 30 %, in groups of 4, its channels as they come and rearranged. Other seeds rearrange
    /// otherwise, prune and tune by other pictures, and are judged by others.
    private static func trained(
        _ context: ReproductionContext, seeds: [UInt64]
    ) throws -> (measurements: [Measurement], checks: [Check])? {
        let pattern = Pattern.block(rows: 4, columns: 1)
        var change = 0.0
        var (kept, plain) = ([Double](), [Double]())
        var (before, after, sure) = ([Double](), [Double](), [Double]())
        var (dense, sparse) = ([Double](), [Double]())
        for (index, seed) in seeds.enumerated() {
            try context.progress.report("EfficientNet-Lite0", index, of: seeds.count)
            guard let bed = try PrunedLite(seed: seed, count: context.quick ? 120 : 307) else { return nil }
            var generator = SeededGenerator(seed: seed, stream: 0x21)
            let search = ChannelRearrangement(group: 4, sparsity: 0.3, swaps: context.quick ? 2000 : 20_000)
            let orders = try bed.network.orders(search, using: &generator)
            let rearranged = bed.network.rearranged(orders)
            let runner = try MobileNetRunner(rearranged, engine: .dense)
            let own = try MobileNetRunner(bed.network, engine: .dense)
            change = bed.heldOut.prefix(4).reduce(change) { most, image in
                zip(own(image), runner(image)).reduce(most) { max($0, Double(abs($1.0 - $1.1))) }
            }
            /// The share of the pointwise weights' magnitude that stays.
            func share(_ network: MobileNetwork) throws -> Double {
                func size(_ network: MobileNetwork) -> Double {
                    network.pointwise.reduce(0) { sum, place in
                        sum + network.layers[place].weight.scalars.reduce(0) { $0 + Double(abs($1)) }
                    }
                }
                return size(try network.pruned(by: Magnitude(), pattern, sparsity: 0.3)) / size(network)
            }
            plain.append(try share(bed.network))
            kept.append(try share(rearranged))
            let inputs = try rearranged.pointwiseInputs(bed.seen, progress: context.progress)
            let pruned = try rearranged.pruned(by: SparseGPT(), pattern, sparsity: 0.3, inputs: inputs)
            before.append(try bed.agreement(pruned, engine: .dense).first)
            let tuned = try bed.tuned(
                pruned, from: rearranged, steps: context.quick ? 25 : 200, progress: context.progress)
            let found = try bed.agreement(tuned, engine: .sparse(group: 4))
            after.append(found.first)
            sure.append(found.sure)
            let seconds = try bed.seconds(tuned, group: 4, rounds: context.quick ? 5 : 15)
            dense.append(seconds.dense)
            sparse.append(seconds.sparse)
        }
        return (
            [
                Measurement("largest change of a logit of the trained network by rearrangement", measured: change),
                Measurement(
                    "EfficientNet-Lite0, 30 % in groups of 4: magnitude that stays, rearranged", Sample(kept),
                    baseline: Sample(plain), baselineName: "as the channels come"),
                Measurement(
                    "EfficientNet-Lite0, 30 % in groups of 4, tuned: first answers that stay", Sample(after),
                    baseline: Sample(before), baselineName: "pruned alone"),
                Measurement("the same where the dense network is sure", Sample(sure)),
                Measurement(
                    "EfficientNet-Lite0, 30 % in groups of 4: milliseconds an image", Sample(sparse.map { $0 * 1e3 }),
                    baseline: Sample(dense.map { $0 * 1e3 }), baselineName: "dense, BLAS"),
            ],
            [
                Check("the rearranged trained network computes the same", change, .atMost, 1e-2),
                Check("rearrangement keeps more of the trained weights", Sample(kept) - Sample(plain), exceeds: 0),
                Check(
                    "at 30 %, tuned, nine of ten answers that the dense network is sure of stay", Sample(sure),
                    exceeds: 0.9),
                Check("the trained network gains at 30 %", Sample(dense) / Sample(sparse), exceeds: 1),
            ]
        )
    }

    /// |W| [64, 64]: 16 hidden groups of 4 rows share a support of density 0.5; off it entries are a twentieth as large.
    private func planted(using generator: inout SeededGenerator) -> Tensor<Float> {
        let place = Array(0..<64).shuffled(using: &generator)
        var rows = [[Float]](repeating: [], count: 64)
        for g in 0..<16 {
            let support = (0..<64).map { _ in generator.uniform() < 0.5 }
            for i in 0..<4 { rows[place[4 * g + i]] = support.map { abs(Float(generator.normal())) * ($0 ? 1 : 0.05) } }
        }
        return Tensor(Array(rows.joined()), shape: [64, 64])
    }
}
