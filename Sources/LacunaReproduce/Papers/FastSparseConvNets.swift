import Lacuna

/// Checks that sparse 1 × 1 convolutions in CHW pay at the sparsities that pruning reaches.
struct FastSparseConvNetsReproduction: Reproduction {
    let shortName = "FastSparseConvNets"
    let paper = 91
    let title = "Fast Sparse ConvNets"
    let arXiv: String? = "1911.09723"
    let claim =
        "With the right kernels, unstructured sparsity of 70 to 95 % makes mobile networks 1.3 to 2.4 times as fast as their "
        + "dense versions on processors."

    private static let shapes: [(outputs: Int, inputs: Int, side: Int)] = [
        (outputs: 512, inputs: 512, side: 14), (256, 256, 28), (1024, 1024, 7),
    ]
    private static let sparsities = [0.7, 0.8, 0.9, 0.95]

    func run(_ context: ReproductionContext) throws -> Outcome {
        let threads = Parallel.threads
        Parallel.threads = 1
        defer { Parallel.threads = threads }
        var generator = SeededGenerator(seed: context.seed, stream: 91)
        var measurements: [Measurement] = []
        var worstError = 0.0
        var speeds: [[Double]] = []
        for (index, shape) in Self.shapes.enumerated() {
            try context.progress.report("timing layers", index, of: Self.shapes.count + 1)
            let image = ImageActivation(
                Tensor<Float>(normal: [shape.inputs, shape.side, shape.side], using: &generator))
            let weight = Tensor<Float>(normal: [shape.outputs, shape.inputs], using: &generator)
            let bias = [Float](repeating: 0.1, count: shape.outputs)
            let y = ImageActivation(channels: shape.outputs, height: shape.side, width: shape.side)
            let scores = try MagnitudeScore().scores(weight: weight, statistics: nil)
            var own: [Double] = []
            for sparsity in Self.sparsities {
                let mask = try Selection.mask(scores: scores, pattern: .unstructured(.layer), sparsity: sparsity)
                let pruned = try DenseMatrix(DenseRows(weight, mask: mask), values: .f32).densified()
                let sparse = try PointwiseConvolution(pruned, bias: bias, group: 1, clamp: 0...6)
                let dense = DensePointwise(pruned, bias: bias, clamp: 0...6)
                dense(image, into: y)
                let expected = y.tensor.scalars
                sparse(image, into: y)
                worstError = max(
                    worstError, zip(y.tensor.scalars, expected).reduce(0.0) { max($0, Double(abs($1.0 - $1.1))) })
                let (a, b) = Self.pair(context.quick ? 9 : 25) {
                    dense(image, into: y)
                } with: {
                    sparse(image, into: y)
                }
                own.append(a / b)
                measurements.append(
                    Measurement(
                        "\(shape.outputs) × \(shape.inputs), \(shape.side * shape.side) pixels, \(Int(sparsity * 100 + 0.5)) %: "
                            + "microseconds", measured: b * 1e6, baseline: a * 1e6, baselineName: "dense BLAS"))
            }
            speeds.append(own)
        }
        try context.progress.report("whole network", Self.shapes.count, of: Self.shapes.count + 1)
        let network = try MobileNetV1(randomOfWidth: 1, using: &generator).sparsified(0.9)
        let image = Tensor<Float>(normal: [3, 224, 224], using: &generator)
        let (dense, sparse) = (
            try MobileNetRunner(network, engine: .dense), try MobileNetRunner(network, engine: .sparse(group: 1))
        )
        let difference = zip(dense(image), sparse(image)).reduce(0.0) { max($0, Double(abs($1.0 - $1.1))) }
        let (a, b) = Self.pair(context.quick ? 3 : 9) {
            _ = dense(image)
        } with: {
            _ = sparse(image)
        }
        measurements.append(
            Measurement(
                "MobileNet-v1 at 224 × 224, 90 % of pointwise weights removed: milliseconds", measured: b * 1e3,
                baseline: a * 1e3, baselineName: "dense BLAS"))
        measurements.append(Measurement("largest difference of any output", measured: max(worstError, difference)))
        let trained = try Self.trained(context)
        measurements += trained?.measurements ?? []
        let at80 = speeds.map { $0[1] }.min() ?? 0
        let at90 = speeds.map { $0[2] }.min() ?? 0
        let rises = speeds.allSatisfy { zip($0, $0.dropFirst()).allSatisfy { $1 > $0 * 0.95 } }
        return Outcome(
            setting:
                "layers of MobileNet-v1's shapes with random weights pruned by magnitude, and the whole network; EfficientNet-Lite0 as "
                + "trained, its pointwise layers pruned by SparseGPT and tuned to say what it said, judged on pictures held out; sparse "
                + "kernel against BLAS, one thread, fastest of paired rounds",
            measurements: measurements,
            checks: [
                Check("outputs are those of the dense layers", max(worstError, difference), .atMost, 1e-3),
                Check("1.2 times as fast at 80 %, every shape", at80, .atLeast, 1.2),
                Check("twice as fast at 90 %, every shape", at90, .atLeast, 2),
                Check("speed rises with sparsity", rises ? 1 : 0, .atLeast, 1),
                Check("the whole network is 1.3 times as fast at 90 %", a / b, .atLeast, 1.3),
            ] + (trained?.checks ?? []),
            notes: [
                "Of the trained network there are pictures without labels, so accuracy is agreement with the dense network's first answer, after "
                    + "minutes on half of some three hundred pictures; the authors train for days on a million.",
                "The baseline is the machine's BLAS; theirs are the dense kernels of a mobile framework.",
            ], missing: trained == nil ? [PrunedLite.isMissing] : [])
    }

    /// The trained network: how often its first answer stays, and how fast it is.
    private static func trained(
        _ context: ReproductionContext
    ) throws -> (measurements: [Measurement], checks: [Check])? {
        guard let bed = try PrunedLite(seed: context.seed, count: context.quick ? 120 : 307) else { return nil }
        var measurements: [Measurement] = []
        let inputs = try bed.network.pointwiseInputs(bed.seen, progress: context.progress)
        var (best, speed, difference, sure, plain) = (0.0, 0.0, 0.0, 0.0, 0.0)
        for sparsity in context.quick ? [0.7] : [0.5, 0.8, 0.7] {
            let percent = "\(Int(sparsity * 100 + 0.5)) %"
            let simple = try bed.network.pruned(by: Magnitude(), .unstructured(.layer), sparsity: sparsity)
            let pruned = try bed.network.pruned(
                by: SparseGPT(), .unstructured(.layer), sparsity: sparsity, inputs: inputs)
            let tuned = try bed.tuned(pruned, steps: context.quick ? 25 : 200, progress: context.progress)
            let (one, two) = (try bed.agreement(simple, engine: .dense), try bed.agreement(pruned, engine: .dense))
            let three = try bed.agreement(tuned, engine: .sparse(group: 1))
            let seconds = try bed.seconds(tuned, group: 1, rounds: context.quick ? 5 : 15)
            for (name, found) in [("by magnitude", one), ("by SparseGPT", two), ("and tuned", three)] {
                var measurement = Measurement(
                    "EfficientNet-Lite0, \(percent) of pointwise weights removed \(name): first answers that stay",
                    measured: found.first)
                measurement.standardError = found.error
                measurements.append(measurement)
            }
            measurements.append(
                Measurement("the same where the dense network is sure, tuned, \(percent)", measured: three.sure))
            measurements.append(
                Measurement(
                    "EfficientNet-Lite0, \(percent): milliseconds an image", measured: seconds.sparse * 1e3,
                    baseline: seconds.dense * 1e3, baselineName: "dense, BLAS"))
            // The last sparsity is the one that is judged.
            (best, sure, plain, speed) = (three.first, three.sure, one.first, seconds.dense / seconds.sparse)
            difference = try bed.difference(tuned, group: 1)
        }
        return (
            measurements,
            [
                Check(
                    "the trained network's sparse kernels compute what its dense layers do", difference, .atMost, 1e-3),
                Check("at 70 %, tuned, more first answers stay than by magnitude alone", best, .greater, plain),
                Check(
                    "at 70 %, tuned, nine of ten answers that the dense network is sure of stay", sure, .atLeast, 0.9),
                Check("at 70 %, the trained network is 1.3 times as fast as dense", speed, .atLeast, 1.3),
            ]
        )
    }

    /// The fastest of some rounds of each, in turn.
    static func pair(_ rounds: Int, _ a: () -> Void, with b: () -> Void) -> (Double, Double) {
        var (first, second) = (Double.infinity, Double.infinity)
        for round in 0...rounds {
            let start = monotonicSeconds()
            a()
            let middle = monotonicSeconds()
            b()
            let end = monotonicSeconds()
            if round > 0 { (first, second) = (min(first, middle - start), min(second, end - middle)) }
        }
        return (first, second)
    }
}
