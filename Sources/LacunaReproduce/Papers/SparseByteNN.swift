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

    func run(_ context: ReproductionContext) throws -> Outcome {
        let threads = Parallel.threads
        Parallel.threads = 1
        defer { Parallel.threads = threads }
        var generator = SeededGenerator(seed: context.seed, stream: 21)
        let rounds = context.quick ? 9 : 31

        // Planted: groups of four rows that share a support, in a random order.
        let search = ChannelRearrangement(group: 4, sparsity: 0.5)
        let scores = planted(using: &generator)
        let before = search.keptShare(scores, order: Array(0..<64))
        let after = search.keptShare(scores, order: try search.order(scores, using: &generator))

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
        let difference = zip(try outputs(small), try outputs(small.rearranged(orders)))
            .reduce(0.0) { max($0, Double(abs($1.0 - $1.1))) }

        // Speed of one layer: groups against single channels, and where either crosses the dense product.
        try context.progress.report("timing", 0, of: 2)
        let weight = Tensor<Float>(normal: [256, 256], using: &generator)
        let layerScores = try MagnitudeScore().scores(weight: weight, statistics: nil)
        let input = ImageActivation(Tensor<Float>(normal: [256, 28, 28], using: &generator))
        let y = ImageActivation(channels: 256, height: 28, width: 28)
        let bias = [Float](repeating: 0, count: 256)
        var measurements = [
            Measurement(
                "score kept by groups of 4 at 50 %, planted groups found again", measured: after, baseline: before,
                baselineName: "shuffled"),
            Measurement("largest change of an output by rearrangement", measured: difference),
        ]
        var (speedOfFour, speedOfOne): ([Double: Double], [Double: Double]) = ([:], [:])
        var error = 0.0
        for sparsity in [0.0, 0.3, 0.5, 0.7, 0.9] {
            for group in [1, 4] {
                let pattern: Pattern = group == 1 ? .unstructured(.layer) : .block(rows: 4, columns: 1)
                let mask = try Selection.mask(scores: layerScores, pattern: pattern, sparsity: sparsity)
                let pruned = try DenseMatrix(DenseRows(weight, mask: mask), values: .f32).densified()
                let layer = try PointwiseConvolution(pruned, bias: bias, group: group)
                let dense = DensePointwise(pruned, bias: bias, clamp: -.infinity ... .infinity)
                dense(input, into: y)
                let expected = y.tensor.scalars
                layer(input, into: y)
                error = max(error, zip(y.tensor.scalars, expected).reduce(0.0) { max($0, Double(abs($1.0 - $1.1))) })
                let (a, b) = FastSparseConvNetsReproduction.pair(rounds) {
                    dense(input, into: y)
                } with: {
                    layer(input, into: y)
                }
                if group == 1 { speedOfOne[sparsity] = a / b } else { speedOfFour[sparsity] = a / b }
                measurements.append(
                    Measurement(
                        "256 × 256, 784 pixels, groups of \(group), \(Int(sparsity * 100 + 0.5)) %: microseconds",
                        measured: b * 1e6, baseline: a * 1e6, baselineName: "dense BLAS"))
            }
        }
        let network = try MobileNetV1(randomOfWidth: 1, using: &generator).sparsified(0.3, group: 4)
        let picture = Tensor<Float>(normal: [3, 224, 224], using: &generator)
        let (dense, sparse) = (
            try MobileNetRunner(network, engine: .dense), try MobileNetRunner(network, engine: .sparse(group: 4))
        )
        let (a, b) = FastSparseConvNetsReproduction.pair(context.quick ? 3 : 9) {
            _ = dense(picture)
        } with: {
            _ = sparse(picture)
        }
        measurements.append(
            Measurement(
                "MobileNet-v1 at 224 × 224, 30 % in groups of 4: milliseconds", measured: b * 1e3, baseline: a * 1e3,
                baselineName: "dense BLAS"))
        let kernels = try convolutions(context, using: &generator)
        measurements += kernels.measurements
        error = max(error, kernels.error)
        let trained = try Self.trained(context, using: &generator)
        measurements += trained?.measurements ?? []
        return Outcome(
            setting:
                "planted groups in a 64 × 64 matrix; a quarter-width MobileNet-v1 rearranged; layers of 1 × 1 and "
                + "of 3 × 3 kernels and the whole network with random weights against BLAS on the same weights, one thread, fastest of "
                + "paired rounds; EfficientNet-Lite0 as trained, rearranged, pruned in groups of 4 and tuned, judged on pictures held out",
            measurements: measurements,
            checks: [
                Check("rearrangement keeps 98.5 % of what free choice would", after, .atLeast, 0.985),
                Check("the shuffled order keeps less than 85 %", before, .less, 0.85),
                Check("the rearranged network computes the same", difference, .atMost, 1e-3),
                Check("the kernel computes what the dense layer does", error, .atMost, 1e-2),
                Check(
                    "groups of 4 are faster than single channels at 50 %",
                    (speedOfFour[0.5] ?? 0) / (speedOfOne[0.5] ?? 1),
                    .greater, 1),
                Check("groups of 4 are no slower than the dense product at 50 %", speedOfFour[0.5] ?? 0, .atLeast, 1),
                Check("the whole network gains at 30 %", a / b, .greater, 1),
                Check(
                    "3 × 3 kernels in groups of 4 are faster than the dense product at 50 %", kernels.speed, .greater, 1
                ),
            ] + (trained?.checks ?? []),
            notes: [
                "Of the trained network there are pictures without labels, so accuracy is agreement with the dense network's first answer.",
                "The authors' 1.27 is against dense kernels of a phone; here the dense product is the machine's BLAS.",
            ], missing: trained == nil ? [PrunedLite.isMissing] : [])
    }

    /// A 3 × 3 layer whose kernels are kept or dropped in groups of 4 outputs, against the dense product on the same planes.
    private func convolutions(
        _ context: ReproductionContext, using generator: inout SeededGenerator
    ) throws -> (measurements: [Measurement], speed: Double, error: Double) {
        let (channels, side) = (64, 28)
        let image = ImageActivation(Tensor<Float>(normal: [channels, side, side], using: &generator))
        let weight = Tensor<Float>(normal: [channels, channels * 9], using: &generator)
        let scores = try MagnitudeScore().scores(weight: weight, statistics: nil)
        let y = ImageActivation(channels: channels, height: side, width: side)
        let bias = [Float](repeating: 0, count: channels)
        let whole = try SparseConvolution(
            weight.reshaped([channels, channels, 3, 3]), bias: bias, group: 4)
        var (measurements, speed, error): ([Measurement], Double, Double) = ([], 0, 0)
        for sparsity in [0.3, 0.5, 0.7] {
            let mask = try Selection.mask(scores: scores, pattern: .block(rows: 4, columns: 9), sparsity: sparsity)
            var pruned = weight
            mask.apply(to: &pruned)
            let layer = try SparseConvolution(pruned.reshaped([channels, channels, 3, 3]), bias: bias, group: 4)
            let dense = DensePointwise(pruned, bias: bias, clamp: -.infinity ... .infinity)
            dense(whole.unfolded(image), into: y)
            let expected = y.tensor.scalars
            layer(image, into: y)
            error = max(error, zip(y.tensor.scalars, expected).reduce(0.0) { max($0, Double(abs($1.0 - $1.1))) })
            let (a, b) = FastSparseConvNetsReproduction.pair(context.quick ? 9 : 31) {
                dense(whole.unfolded(image), into: y)
            } with: {
                layer(image, into: y)
            }
            if sparsity == 0.5 { speed = a / b }
            measurements.append(
                Measurement(
                    "64 × 64 of 3 × 3, 784 pixels, groups of 4, \(Int(sparsity * 100 + 0.5)) %: microseconds",
                    measured: b * 1e6, baseline: a * 1e6, baselineName: "unfolded, dense BLAS"))
        }
        return (measurements, speed, error)
    }

    /// The trained network at the authors' 30 %, in groups of 4, its channels as they come and rearranged.
    private static func trained(
        _ context: ReproductionContext, using generator: inout SeededGenerator
    ) throws -> (measurements: [Measurement], checks: [Check])? {
        guard let bed = try PrunedLite(seed: context.seed, count: context.quick ? 120 : 307) else { return nil }
        let pattern = Pattern.block(rows: 4, columns: 1)
        let search = ChannelRearrangement(group: 4, sparsity: 0.3, swaps: context.quick ? 2000 : 20_000)
        let orders = try bed.network.orders(search, using: &generator)
        let rearranged = bed.network.rearranged(orders)
        let runner = try MobileNetRunner(rearranged, engine: .dense)
        let own = try MobileNetRunner(bed.network, engine: .dense)
        let change = bed.heldOut.prefix(4).reduce(0.0) { most, image in
            zip(own(image), runner(image)).reduce(most) { max($0, Double(abs($1.0 - $1.1))) }
        }
        var measurements = [
            Measurement("largest change of a logit of the trained network by rearrangement", measured: change)
        ]
        /// The share of the pointwise weights' magnitude that stays.
        func kept(_ network: MobileNetwork, of whole: MobileNetwork) -> Double {
            func size(_ network: MobileNetwork) -> Double {
                network.pointwise.reduce(0) { sum, place in
                    sum + network.layers[place].weight.scalars.reduce(0) { $0 + Double(abs($1)) }
                }
            }
            return size(network) / size(whole)
        }
        let shares = try [bed.network, rearranged].map {
            kept(try $0.pruned(by: Magnitude(), pattern, sparsity: 0.3), of: $0)
        }
        measurements.append(
            Measurement(
                "EfficientNet-Lite0, 30 % in groups of 4: magnitude that stays, rearranged", measured: shares[1],
                baseline: shares[0], baselineName: "as the channels come"))
        let inputs = try rearranged.pointwiseInputs(bed.seen, progress: context.progress)
        let pruned = try rearranged.pruned(by: SparseGPT(), pattern, sparsity: 0.3, inputs: inputs)
        let before = try bed.agreement(pruned, engine: .dense)
        let found = try bed.tuned(
            pruned, from: rearranged, steps: context.quick ? 25 : 200, progress: context.progress)
        let after = try bed.agreement(found, engine: .sparse(group: 4))
        for (name, agreement) in [("pruned", before), ("and tuned", after)] {
            var measurement = Measurement(
                "EfficientNet-Lite0, 30 % in groups of 4, \(name): first answers that stay", measured: agreement.first)
            measurement.standardError = agreement.error
            measurements.append(measurement)
        }
        measurements.append(Measurement("the same where the dense network is sure, tuned", measured: after.sure))
        let seconds = try bed.seconds(found, group: 4, rounds: context.quick ? 5 : 15)
        measurements.append(
            Measurement(
                "EfficientNet-Lite0, 30 % in groups of 4: milliseconds an image", measured: seconds.sparse * 1e3,
                baseline: seconds.dense * 1e3, baselineName: "dense, BLAS"))
        return (
            measurements,
            [
                Check("the rearranged trained network computes the same", change, .atMost, 1e-2),
                Check("rearrangement keeps more of the trained weights", shares[1], .greater, shares[0]),
                Check(
                    "at 30 %, tuned, nine of ten answers that the dense network is sure of stay", after.sure, .atLeast,
                    0.9),
                Check("the trained network gains at 30 %", seconds.dense / seconds.sparse, .greater, 1),
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
