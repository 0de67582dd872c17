import LacunaTensor

/// Dense values and the mask that says which of them may be other than 0: what pruning produces and training changes.
///
/// Removed entries are stored as zeros, so products are the dense ones and read the values alone.
public final class MaskedMatrix: WeightMatrix, Sendable {
    public let mask: Mask
    private let dense: DenseMatrix

    /// Stores `weight` [rows, columns], rounded to `values`, with the entries not in `mask` set to 0.
    /// - Throws: As ``DenseMatrix/init(_:mask:values:)``.
    public init(_ weight: Tensor<Float>, mask: Mask, values: ValueType) throws {
        dense = try DenseMatrix(weight, mask: mask, values: values)
        self.mask = mask
    }

    public var rows: Int { dense.rows }
    public var columns: Int { dense.columns }
    public var format: StorageFormat { StorageFormat(.masked, dense.format.values) }
    public var storedCount: Int { dense.storedCount }
    public var byteCount: Int { dense.byteCount }
    public var inputEncoding: InputEncoding { dense.inputEncoding }

    public func multiply(_ input: EncodedInput, rows: Range<Int>, into output: UnsafeMutablePointer<Float>) {
        dense.multiply(input, rows: rows, into: output)
    }

    public func decode(rows: Range<Int>, into output: UnsafeMutablePointer<Float>) {
        dense.decode(rows: rows, into: output)
    }

    /// The floats themselves, if they are stored as such.
    var floats: UnsafePointer<Float>? { dense.floats }
}
