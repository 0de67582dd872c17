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
        return Outcome(
            setting:
                "planted groups in a 64 × 64 matrix; a quarter-width MobileNet-v1 rearranged; one layer and the whole network with "
                + "random weights against BLAS on the same weights, one thread, fastest of paired rounds",
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
            ],
            notes: [
                "Accuracy is not part of this check: weights are random.",
                "The authors' 1.27 is against dense kernels of a phone; here the dense product is the machine's BLAS.",
            ])
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
