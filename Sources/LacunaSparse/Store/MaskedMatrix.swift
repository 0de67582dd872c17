import LacunaTensor

/// Dense values and the mask that says which of them may be other than 0: what pruning produces and training changes.
///
/// Removed entries are stored as zeros, so products are the dense ones and read the values alone.
public final class MaskedMatrix: StoredMatrix, DenseFloats, BatchMatrix, Sendable {
    /// Which weights are kept.
    public let mask: SparsePattern
    private let dense: DenseMatrix

    /// Stores the rows of `source`, rounded to `values`; entries that it lacks are 0.
    /// - Throws: As ``StoreLayout/make(_:values:)``.
    public init(_ source: some RowSource, values: ValueType) throws {
        dense = try DenseMatrix(source, values: values)
        mask = try SparsePattern(source)
    }

    public var rows: Int { dense.rows }
    public var columns: Int { dense.columns }
    public var format: StorageFormat { StorageFormat(.masked, dense.format.values) }
    public var storedCount: Int { dense.storedCount }
    public var byteCount: Int { dense.byteCount }
    public var inputEncoding: InputEncoding { dense.inputEncoding }
    public var keptEntries: SparsePattern { mask }

    public func multiply(_ input: EncodedInput, rows: Range<Int>, into output: UnsafeMutablePointer<Float>) {
        dense.multiply(input, rows: rows, into: output)
    }

    public func decode(rows: Range<Int>, into output: UnsafeMutablePointer<Float>) {
        dense.decode(rows: rows, into: output)
    }

    var hasBatchKernel: Bool { dense.hasBatchKernel }
    var hasApartKernel: Bool { dense.hasApartKernel }

    func multiply(
        _ inputs: EncodedRows, rows: Range<Int>, into output: UnsafeMutablePointer<Float>, leadingOutput: Int
    ) {
        dense.multiply(inputs, rows: rows, into: output, leadingOutput: leadingOutput)
    }

    var floats: UnsafePointer<Float>? { dense.floats }
    var halves: UnsafePointer<UInt16>? { dense.halves }
}
