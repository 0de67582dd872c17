import LacunaSparse
import LacunaTensor

/// A weight [outputs, inputs] that is 0 but for some neighbouring columns, or some neighbouring rows, which are trained as a
/// dense matrix: an update (``UpdatedWeight``) of a slice of a frozen weight. Nothing of the whole matrix's size is made.
///
/// Xinyu Yang and others, "S2FT: Efficient, Scalable and Generalizable LLM Fine-tuning by Structured Sparsity",
/// arXiv 2412.06289.
public final class SliceWeight: TrainableWeight {
    /// Which way the slice lies.
    public enum Side: String, Sendable, Hashable, CaseIterable {
        /// Some columns: what the layer makes of some of its inputs.
        case inputs
        /// Some rows: some of its outputs.
        case outputs
    }

    public let outputs: Int
    public let inputs: Int
    /// Which way the slice lies.
    public let side: Side
    /// The columns, or rows.
    public let range: Range<Int>
    /// [outputs, range.count], or [range.count, inputs].
    public let values: Parameter<Float>

    /// A slice of zeros.
    ///
    /// - Precondition: The range lies within the matrix.
    public init(outputs: Int, inputs: Int, side: Side, range: Range<Int>) {
        let length = side == .inputs ? inputs : outputs
        require(range.lowerBound >= 0 && range.upperBound <= length, "a slice \(range) of \(length)")
        (self.outputs, self.inputs, self.side, self.range) = (outputs, inputs, side, range)
        values = Parameter(
            Tensor(zeros: side == .inputs ? [outputs, range.count] : [range.count, inputs]), decays: true)
    }

    public var parts: [(name: String, part: Any)] { [("", values)] }
    public var activeCount: Int { values.count }
    public var multiplyAdds: Int { values.count }
    public var byteCount: Int { values.buffer.byteCount }
    public var storage: String { "slice" }

    public func densified() -> Tensor<Float> {
        var result = Tensor<Float>(zeros: [outputs, inputs])
        let slice = values.value
        for r in 0..<slice.rows {
            for c in 0..<slice.columns {
                if side == .inputs {
                    result[r, range.lowerBound + c] = slice[r, c]
                } else {
                    result[range.lowerBound + r, c] = slice[r, c]
                }
            }
        }
        return result
    }

    public func apply(_ x: Variable<Float>, bias: Variable<Float>?) -> Variable<Float> {
        let slice = values.on(x.tape)
        if side == .inputs { return x.sliced(columns: range).linear(slice, bias: bias) }
        let y = x.linear(slice).paddedColumns(before: range.lowerBound, after: outputs - range.upperBound)
        return bias.map { y.addingRow($0) } ?? y
    }
}
