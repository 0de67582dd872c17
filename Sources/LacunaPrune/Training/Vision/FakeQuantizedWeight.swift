import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor

/// A weight that computes with rounded numbers while what is learned is not rounded: quantisation-aware training.
///
/// Weights are symmetric with a scale for each output, `max |w| / (2^(b-1) - 1)` of its row; inputs with one scale, the largest
/// magnitude seen in the first training passes or, from then on, a moving average. `q = clamp(round(x / s))` to ±(2^(b-1) - 1);
/// gradients pass where x is not clamped. Masked entries are 0 before and after rounding.
public final class FakeQuantizedWeight: TrainableWeight {
    /// What is learned.
    public let base: DenseWeight
    /// Of weights and of inputs, 2...8.
    public let bits: Int
    /// [1], not trained: the largest magnitude of inputs, as far as it is known.
    public let range: Parameter<Float>

    /// - Throws: `LacunaError.invalidArgument` for bits out of range.
    public init(_ base: DenseWeight, bits: Int) throws {
        guard (2...8).contains(bits) else {
            throw LacunaError.invalidArgument("bits", reason: "\(bits) is not in 2...8")
        }
        (self.base, self.bits) = (base, bits)
        range = Parameter(Tensor(zeros: [1]), isTrainable: false)
    }

    /// The weight under its own name, and the range of inputs.
    public var parts: [(name: String, part: Any)] { [("", base), ("range", range)] }
    public var outputs: Int { base.outputs }
    public var inputs: Int { base.inputs }
    public var activeCount: Int { base.activeCount }
    public var multiplyAdds: Int { base.multiplyAdds }
    public var byteCount: Int { base.byteCount }
    public var storage: String { "\(base.storage) int\(bits)" }
    private var steps: Float { Float(1 << (bits - 1) - 1) }

    /// The rounded matrix.
    public func densified() -> Tensor<Float> {
        let w = base.densified()
        return Self.rounded(w, scales: Self.rowScales(w, steps), steps)
    }

    /// `max |w| / steps` of every row; 0 for a row of zeros.
    static func rowScales(_ w: Tensor<Float>, _ steps: Float) -> [Float] {
        (0..<w.rows).map { row in
            w.withPointer { p in (0..<w.columns).reduce(0) { max($0, abs(p[row * w.columns + $1])) } } / steps
        }
    }

    /// Multiples of each row's scale nearest to the entries.
    static func rounded(_ w: Tensor<Float>, scales: [Float], _ steps: Float) -> Tensor<Float> {
        var result = w
        let columns = w.columns
        result.withMutablePointer { p in
            for (row, scale) in scales.enumerated() {
                for i in row * columns..<(row + 1) * columns {
                    p[i] = scale == 0 ? 0 : min(max((p[i] / scale).rounded(), -steps), steps) * scale
                }
            }
        }
        return result
    }

    public func apply(_ x: Variable<Float>, bias: Variable<Float>?) -> Variable<Float> {
        let seen = x.withPointer { p in (0..<x.count).reduce(0) { max($0, abs(p[$1])) } }
        let known = range.buffer.pointer[0]
        if x.tape.isTraining {
            range.buffer.pointer[0] = known == 0 ? seen : known + 0.01 * (seen - known)
            range.noteChange()
        }
        let limit = range.buffer.pointer[0] > 0 ? range.buffer.pointer[0] : max(seen, .leastNormalMagnitude)
        let clamped = x.clamped(to: -limit...limit)
        let input = clamped.straightThrough(
            Self.rounded(
                clamped.value.reshaped([1, x.count]), scales: [limit / steps], steps
            ).reshaped(x.shape))
        let weight = base.parameter.on(x.tape)
        return input.linear(weight.straightThrough(densified()), bias: bias)
    }
}
