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

    /// What layers of one draw of weights take, and the network of one draw.
    private struct Timing {
        /// Seconds of the dense and of the sparse layer, by shape and sparsity.
        var layers: [[(dense: Double, sparse: Double)]] = []
        var network = (dense: 0.0, sparse: 0.0)
        var worstError = 0.0
        /// How many times as fast the sparse layer is, at each shape.
        func speeds(_ sparsity: Int) -> [Double] { layers.map { $0[sparsity].dense / $0[sparsity].sparse } }
    }

    private func timing(seed: UInt64, quick: Bool) throws -> Timing {
        var generator = SeededGenerator(seed: seed, stream: 91)
        var result = Timing()
        for shape in Self.shapes {
            let image = ImageActivation(
                Tensor<Float>(normal: [shape.inputs, shape.side, shape.side], using: &generator))
            let weight = Tensor<Float>(normal: [shape.outputs, shape.inputs], using: &generator)
            let bias = [Float](repeating: 0.1, count: shape.outputs)
            let y = ImageActivation(channels: shape.outputs, height: shape.side, width: shape.side)
            let scores = try MagnitudeScore().scores(weight: weight, statistics: nil)
            var own: [(dense: Double, sparse: Double)] = []
            for sparsity in Self.sparsities {
                let mask = try Selection.mask(scores: scores, pattern: .unstructured(.layer), sparsity: sparsity)
                let pruned = try DenseMatrix(DenseRows(weight, mask: mask), values: .f32).densified()
                let sparse = try PointwiseConvolution(pruned, bias: bias, group: 1, clamp: 0...6)
                let dense = DensePointwise(pruned, bias: bias, clamp: 0...6)
                dense(image, into: y)
                let expected = y.tensor.scalars
                sparse(image, into: y)
                result.worstError = max(
                    result.worstError,
                    zip(y.tensor.scalars, expected).reduce(0.0) { max($0, Double(abs($1.0 - $1.1))) })
                own.append(
                    Self.pair(quick ? 9 : 25) {
                        dense(image, into: y)
                    } with: {
                        sparse(image, into: y)
                    })
            }
            result.layers.append(own)
        }
        let network = try MobileNetV1(randomOfWidth: 1, using: &generator).sparsified(0.9)
        let image = Tensor<Float>(normal: [3, 224, 224], using: &generator)
        let (dense, sparse) = (
            try MobileNetRunner(network, engine: .dense), try MobileNetRunner(network, engine: .sparse(group: 1))
        )
        result.worstError = max(
            result.worstError, zip(dense(image), sparse(image)).reduce(0.0) { max($0, Double(abs($1.0 - $1.1))) })
        result.network = Self.pair(quick ? 3 : 9) {
            _ = dense(image)
        } with: {
            _ = sparse(image)
        }
        return result
    }

    func run(_ context: ReproductionContext) throws -> Outcome {
        let threads = Parallel.threads
        Parallel.threads = 1
        defer { Parallel.threads = threads }
        let seeds = (0..<5).map { context.seed &* 1000 &+ UInt64($0) }
        let timings = try seeds.enumerated().map { index, seed in
            try context.progress.report("timing", index, of: seeds.count)
            return try timing(seed: seed, quick: context.quick)
        }
        func sample(_ value: (Timing) -> Double) -> Sample { Sample(timings.map(value)) }
        var measurements: [Measurement] = []
        for (place, shape) in Self.shapes.enumerated() {
            for (level, sparsity) in Self.sparsities.enumerated() {
                measurements.append(
                    Measurement(
                        "\(shape.outputs) × \(shape.inputs), \(shape.side * shape.side) pixels, \(Int(sparsity * 100 + 0.5)) %: "
                            + "microseconds", sample { $0.layers[place][level].sparse * 1e6 },
                        baseline: sample { $0.layers[place][level].dense * 1e6 }, baselineName: "dense BLAS"))
            }
        }
        let worst = timings.map(\.worstError).max() ?? .nan
        measurements += [
            Measurement(
                "MobileNet-v1 at 224 × 224, 90 % of pointwise weights removed: milliseconds",
                sample { $0.network.sparse * 1e3 }, baseline: sample { $0.network.dense * 1e3 },
                baselineName: "dense BLAS"),
            Measurement("largest difference of any output", measured: worst),
        ]
        let trained = try Self.trained(context, seeds: seeds)
        measurements += trained?.measurements ?? []
        let rises = timings.allSatisfy { timing in
            Self.shapes.indices.allSatisfy { shape in
                let speeds = Self.sparsities.indices.map { timing.speeds($0)[shape] }
                return zip(speeds, speeds.dropFirst()).allSatisfy { $1 > $0 * 0.95 }
            }
        }
        return Outcome(
            setting:
                "five draws of layers of MobileNet-v1's shapes with random weights pruned by magnitude, and of the whole network; "
                + "EfficientNet-Lite0 as trained, its pointwise layers pruned by SparseGPT and tuned to say what it said, judged on pictures "
                + "held out, five times with other pictures; sparse kernel against BLAS, one thread, fastest of paired rounds",
            measurements: measurements,
            checks: [
                Check("outputs are those of the dense layers", worst, .atMost, 1e-3),
                Check("1.2 times as fast at 80 %, every shape", sample { $0.speeds(1).min() ?? 0 }, exceeds: 1.2),
                Check("twice as fast at 90 %, every shape", sample { $0.speeds(2).min() ?? 0 }, exceeds: 2),
                Check("speed rises with sparsity", rises ? 1 : 0, .atLeast, 1),
                Check(
                    "the whole network is 1.3 times as fast at 90 %", sample { $0.network.dense / $0.network.sparse },
                    exceeds: 1.3),
            ] + (trained?.checks ?? []),
            notes: [
                "Of the trained network there are pictures without labels, so accuracy is agreement with the dense network's first answer, after "
                    + "minutes on half of some three hundred pictures; the authors train for days on a million.",
                "The baseline is the machine's BLAS; theirs are the dense kernels of a mobile framework.",
            ], missing: trained == nil ? [PrunedLite.isMissing] : [])
    }

    /// The trained network: how often its first answer stays, and how fast it is. Other seeds prune and tune by other pictures, and are
    /// judged by others.
    private static func trained(
        _ context: ReproductionContext, seeds: [UInt64]
    ) throws -> (measurements: [Measurement], checks: [Check])? {
        let names = ["by magnitude", "by SparseGPT"]
        let sparsities = context.quick ? [0.7] : [0.5, 0.7, 0.8]
        var answers = sparsities.map { _ in names.map { _ in [Double]() } }
        // At 70 %, where the network is tuned as well.
        var (tuned, sure, dense, sparse, worst) = ([Double](), [Double](), [Double](), [Double](), 0.0)
        for (index, seed) in seeds.enumerated() {
            try context.progress.report("EfficientNet-Lite0", index, of: seeds.count)
            guard let bed = try PrunedLite(seed: seed, count: context.quick ? 120 : 307) else { return nil }
            let inputs = try bed.network.pointwiseInputs(bed.seen, progress: context.progress)
            for (level, sparsity) in sparsities.enumerated() {
                let simple = try bed.network.pruned(by: Magnitude(), .unstructured(.layer), sparsity: sparsity)
                let pruned = try bed.network.pruned(
                    by: SparseGPT(), .unstructured(.layer), sparsity: sparsity, inputs: inputs)
                answers[level][0].append(try bed.agreement(simple, engine: .dense).first)
                answers[level][1].append(try bed.agreement(pruned, engine: .dense).first)
                guard sparsity == 0.7 else { continue }
                let network = try bed.tuned(pruned, steps: context.quick ? 25 : 200, progress: context.progress)
                let found = try bed.agreement(network, engine: .sparse(group: 1))
                tuned.append(found.first)
                sure.append(found.sure)
                let seconds = try bed.seconds(network, group: 1, rounds: context.quick ? 5 : 15)
                dense.append(seconds.dense)
                sparse.append(seconds.sparse)
                worst = max(worst, try bed.difference(network, group: 1))
            }
        }
        var measurements: [Measurement] = []
        for (level, sparsity) in sparsities.enumerated() {
            for (name, values) in zip(names, answers[level]) {
                measurements.append(
                    Measurement(
                        "EfficientNet-Lite0, \(Int(sparsity * 100 + 0.5)) % of pointwise weights removed \(name): first answers that stay",
                        Sample(values)))
            }
        }
        let simple = Sample(answers[sparsities.firstIndex(of: 0.7)!][0])
        let speed = Sample(dense) / Sample(sparse)
        measurements += [
            Measurement(
                "EfficientNet-Lite0, 70 % removed by SparseGPT and tuned: first answers that stay", Sample(tuned),
                baseline: simple, baselineName: "by magnitude"),
            Measurement("the same where the dense network is sure", Sample(sure)),
            Measurement(
                "EfficientNet-Lite0, 70 %: milliseconds an image", Sample(sparse.map { $0 * 1e3 }),
                baseline: Sample(dense.map { $0 * 1e3 }), baselineName: "dense, BLAS"),
        ]
        return (
            measurements,
            [
                Check("the trained network's sparse kernels compute what its dense layers do", worst, .atMost, 1e-3),
                Check(
                    "at 70 %, tuned, more first answers stay than by magnitude alone", Sample(tuned) - simple,
                    exceeds: 0),
                Check(
                    "at 70 %, tuned, nine of ten answers that the dense network is sure of stay", Sample(sure),
                    exceeds: 0.9),
                Check("at 70 %, the trained network is 1.3 times as fast as dense", speed, exceeds: 1.3),
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
