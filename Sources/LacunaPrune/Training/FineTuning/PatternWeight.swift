import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor

/// All ways of keeping n of m neighbours, as rows of 0 and 1.
struct PatternTable {
    /// [patterns, m].
    let rows: Tensor<Float>
    let n: Int
    let m: Int

    init(n: Int, m: Int) {
        (self.n, self.m) = (n, m)
        let words = (0..<1 << m).filter { $0.nonzeroBitCount == n }
        // The first of the neighbours is the highest bit: 1100, 1010, 1001, 0110, 0101, 0011.
        rows = Tensor(
            words.reversed().flatMap { word in (0..<m).map { Float(word >> (m - 1 - $0) & 1) } },
            shape: [words.count, m])
    }

    var count: Int { rows.rows }

    /// For every group of a mask [rows, columns] how many of its kept entries each pattern keeps: [groups, patterns].
    func overlaps(_ mask: SparsePattern) -> Tensor<Float> {
        mask.applied(to: Tensor(repeating: 1, shape: [mask.rows, mask.columns]))
            .reshaped([mask.rows * mask.columns / m, m]).multiplied(by: rows, otherTransposed: true)
    }
}

/// A frozen weight under a mask that is learned: one score for every way of keeping n of m, in every group of m neighbours.
///
/// While training the mask of a group is a mixture of the patterns, `softmax((κ p + g) / τ) S`, with noise `g` that is drawn
/// anew for every step (``redraw(scale:temperature:using:)``); otherwise the pattern with the largest score.
final class PatternWeight: TrainableWeight {
    let base: Parameter<Float>
    /// p [groups, patterns].
    let logits: Parameter<Float>
    let table: PatternTable
    private var scale: Float = 1
    private var temperature: Float = 1
    private var noise: Tensor<Float>?

    init(_ base: Tensor<Float>, _ table: PatternTable, logits: Tensor<Float>) {
        require(base.columns % table.m == 0 && logits.shape == [base.count / table.m, table.count])
        self.base = Parameter(base, isTrainable: false)
        self.logits = Parameter(logits)
        self.table = table
    }

    var parts: [(name: String, part: Any)] { [("", base), ("logits", logits)] }
    var outputs: Int { base.shape[0] }
    var inputs: Int { base.shape[1] }
    var activeCount: Int { base.count / table.m * table.n }
    var multiplyAdds: Int { base.count }
    var byteCount: Int { base.buffer.byteCount + logits.buffer.byteCount }
    var storage: String { "learned \(table.n):\(table.m)" }
    func densified() -> Tensor<Float> { mask.applied(to: base.value) }

    /// The patterns with the largest scores.
    var mask: SparsePattern {
        let best = logits.value.argmax(axis: 1)
        let (rows, m, width) = (table.rows, table.m, inputs / table.m)
        return SparsePattern(rows: outputs, columns: inputs) { row, column in
            rows[best[row * width + column / m], column % m] != 0
        }
    }

    /// Noise, κ and τ for a step.
    func redraw(scale: Double, temperature: Double, using generator: inout SeededGenerator) {
        (self.scale, self.temperature) = (Float(scale), Float(temperature))
        var drawn = Tensor<Float>(uninitialized: logits.shape)
        let count = drawn.count
        drawn.withMutablePointer { p in
            for i in 0..<count {
                // In (0, 1): neither logarithm meets a 0.
                let uniform = (Double(generator.next() >> 11) + 0.5) * 0x1p-53
                p[i] = Float(-logarithm(-logarithm(uniform)))
            }
        }
        noise = drawn
    }

    /// The shares of the patterns in the masks of a step: [groups, patterns].
    private func shares(on tape: Tape<Float>) -> Variable<Float> {
        var scores = logits.on(tape).affine(scale)
        if let noise { scores = scores + tape.constant(noise) }
        return scores.affine(1 / temperature).softmax()
    }

    /// `W ∘ m` [outputs, inputs] of a step.
    func relaxed(on tape: Tape<Float>) -> Variable<Float> {
        shares(on: tape).multiplied(by: tape.constant(table.rows)).reshaped(base.shape) * base.on(tape)
    }

    /// The mean over the groups of the largest share that a pattern has without noise, 1/patterns...1.
    var certainty: Double {
        let tape = Tape<Float>()
        let shares = tape.withoutRecording { logits.on(tape).affine(scale / temperature).softmax().rowMaxima().mean() }
        return Double(shares.item)
    }

    func apply(_ x: Variable<Float>, bias: Variable<Float>?) -> Variable<Float> {
        let weight = x.tape.isTraining ? relaxed(on: x.tape) : x.tape.constant(densified())
        return x.linear(weight, bias: bias)
    }
}
