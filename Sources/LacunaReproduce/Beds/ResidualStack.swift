import Lacuna

/// A stack of residual gated feed-forward blocks that change their input by very different amounts: what block-wise
/// pruning budgets are about, without a language model.
///
/// Block `l` adds `s_l D (silu(G n) ⊙ U n)` to the stream, `n` being the RMS-normalised stream. Weights are normal;
/// neuron `j`'s row of `U` is multiplied by `exp(N(0, 1))`, so that neurons differ in what they contribute.
struct ResidualStack {
    static let width = 48
    static let neurons = 160
    /// How much each block changes the stream.
    static let scales: [Float] = [3, 1.5, 0.6, 0.4, 0.3, 0.3, 0.6, 1.5]

    var blocks: [FeedForwardWeights]

    init(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed, stream: 0x57AC)
        blocks = try Self.scales.map { scale in
            let (d, f) = (Self.width, Self.neurons)
            let gate = Tensor<Float>(normal: [f, d], standardDeviation: 1 / Float(d).squareRoot(), using: &generator)
            var up = Tensor<Float>(normal: [f, d], standardDeviation: 1 / Float(d).squareRoot(), using: &generator)
            up.withMutablePointer { p in
                for j in 0..<f {
                    let gain = Float(exponential(generator.normal()))
                    for i in 0..<d { p[j * d + i] *= gain }
                }
            }
            let down = Tensor<Float>(
                normal: [d, f], standardDeviation: scale / Float(f).squareRoot(), using: &generator)
            return try FeedForwardWeights(gate: gate, up: up, down: down)
        }
    }

    /// Inputs of the first block [count, width].
    static func inputs(_ count: Int, using generator: inout SeededGenerator) -> Tensor<Float> {
        Tensor(normal: [count, width], using: &generator)
    }

    /// What a pass through the stack sees of every block: mean angle between input and output, divided by π, and the
    /// norm of every neuron's activation.
    struct Observation {
        var angle: Double
        var norms: [Float]
    }

    /// The stream behind the last block.
    func output(_ x: Tensor<Float>) -> Tensor<Float> { run(x) { _, _, _, _ in } }

    func observe(_ x: Tensor<Float>) -> [Observation] {
        var result: [Observation] = []
        _ = run(x) { _, input, activations, output in
            let n = input.rows
            var statistics = InputStatistics(columns: activations.columns)
            statistics.accumulate(activations)
            let angle = input.withPointer { a in
                output.withPointer { b in
                    (0..<n).reduce(0.0) {
                        $0 + AngularBudget.angle(a + $1 * Self.width, b + $1 * Self.width, count: Self.width)
                    }
                }
            }
            result.append(Observation(angle: angle / Double(n), norms: statistics.norms))
        }
        return result
    }

    private func run(
        _ x: Tensor<Float>,
        visit: (_ block: Int, _ input: Tensor<Float>, _ activations: Tensor<Float>, _ output: Tensor<Float>) -> Void
    ) -> Tensor<Float> {
        var stream = x
        for (index, block) in blocks.enumerated() {
            let normalized = Self.normalized(stream)
            var activations = normalized.multiplied(by: block.gate, otherTransposed: true)
            let up = normalized.multiplied(by: block.up, otherTransposed: true)
            let n = activations.count
            up.withPointer { u in
                activations.withMutablePointer { a in
                    for i in 0..<n { a[i] = a[i] / (1 + Float(exponential(Double(-a[i])))) * u[i] }
                }
            }
            let change = activations.multiplied(by: block.down, otherTransposed: true)
            var next = stream
            let m = next.count
            change.withPointer { c in next.withMutablePointer { s in for i in 0..<m { s[i] += c[i] } } }
            visit(index, stream, activations, next)
            stream = next
        }
        return stream
    }

    private static func normalized(_ x: Tensor<Float>) -> Tensor<Float> {
        var result = x
        let n = x.rows
        result.withMutablePointer { p in
            for i in 0..<n {
                let row = p + i * width
                let square = (0..<width).reduce(Float(0)) { $0 + row[$1] * row[$1] } / Float(width)
                let scale = 1 / (square + 1e-6).squareRoot()
                for j in 0..<width { row[j] *= scale }
            }
        }
        return result
    }
}
