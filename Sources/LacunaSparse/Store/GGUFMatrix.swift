import CLacuna
import LacunaTensor

/// A matrix in one of the formats of GGUF files, multiplied as it is in the file and, if wished, where it is: nothing is
/// copied from a memory-mapped file.
///
/// Blocks hold 32 or 256 consecutive columns of a row, their values as integers of 2 to 8 bits with scales of their own;
/// products multiply them with the input rounded to bytes with one scale for every 32 entries, as other programs that run
/// such files do.
public final class GGUFMatrix: OpaqueMatrix, BatchMatrix, @unchecked Sendable {
    public let rows: Int
    public let columns: Int
    public let format: StorageFormat
    /// The blocks, as they were in the file. Valid while the matrix lives.
    public let bytes: UnsafeRawBufferPointer
    public var inputEncoding: InputEncoding { .int8Groups32 }
    private let owner: AnyObject
    private let kernel: lk_dense
    private let type: GGUFKernels

    public var storedCount: Int { rows * columns }
    public var byteCount: Int { bytes.count }

    /// Columns of a block of the named format, or nil if that cannot be multiplied as it is.
    public static func blockColumns(_ name: String) -> Int? { GGUFKernels(name)?.columns }
    /// Bytes of such a block.
    public static func blockBytes(_ name: String) -> Int? { GGUFKernels(name)?.bytes }

    /// Copies the blocks of a matrix [rows, columns].
    /// - Throws: As ``init(_:borrowing:of:rows:columns:)``.
    public convenience init(_ name: String, bytes: UnsafeRawBufferPointer, rows: Int, columns: Int) throws {
        try GGUFMatrix.check(name, bytes.count, rows, columns)
        let copy = Buffer<UInt8>(uninitialized: bytes.count, lasting: true)
        if let start = bytes.baseAddress {
            UnsafeMutableRawPointer(copy.pointer).copyMemory(from: start, byteCount: bytes.count)
        }
        try self.init(name, borrowing: UnsafeRawBufferPointer(copy.elements), of: copy, rows: rows, columns: columns)
    }

    /// The matrix [rows, columns] of blocks that stay where they are.
    ///
    /// - Parameter owner: What keeps the memory: held as long as the matrix.
    /// - Throws: `LacunaError.unsupported` for other formats, `LacunaError.invalidArgument` if `columns` is no multiple of
    ///   the columns of a block, or `bytes` is not just the matrix.
    public init(
        _ name: String, borrowing bytes: UnsafeRawBufferPointer, of owner: AnyObject, rows: Int, columns: Int
    ) throws {
        let type = try GGUFMatrix.check(name, bytes.count, rows, columns)
        self.type = type
        (self.rows, self.columns, self.bytes, self.owner) = (rows, columns, bytes, owner)
        let layout = GGUFLayout(name)
        format = StorageFormat(StorageLayout(layout), layout.fixedValues!)
        kernel = lk_dense(values: bytes.baseAddress, scales: nil, columns: columns)
    }

    @discardableResult
    private static func check(_ name: String, _ byteCount: Int, _ rows: Int, _ columns: Int) throws -> GGUFKernels {
        guard let type = GGUFKernels(name) else {
            throw LacunaError.unsupported(file: nil, what: "products with GGUF blocks of type \(name)")
        }
        guard rows >= 0 && columns >= 0 && columns % type.columns == 0 else {
            throw LacunaError.invalidArgument(
                "shape",
                reason: "[\(rows), \(columns)]: rows of \(name) blocks hold multiples of "
                    + "\(type.columns) columns")
        }
        let (count, overflow) = rows.multipliedReportingOverflow(by: columns / type.columns * type.bytes)
        guard !overflow && byteCount == count else {
            throw LacunaError.invalidArgument(
                "bytes", reason: "\(byteCount) bytes are not a \(name) matrix of shape [\(rows), \(columns)]")
        }
        return type
    }

    public var keptEntries: SparsePattern { SparsePattern(rows: rows, columns: columns, keepingAll: true) }

    public func multiply(_ input: EncodedInput, rows: Range<Int>, into output: UnsafeMutablePointer<Float>) {
        requireRows(rows)
        withUnsafePointer(to: kernel) { type.gemv($0, input.kernelInput, rows.lowerBound, rows.upperBound, output) }
    }

    public func decode(rows: Range<Int>, into output: UnsafeMutablePointer<Float>) {
        requireRows(rows)
        withUnsafePointer(to: kernel) { type.decode($0, rows.lowerBound, rows.upperBound, output) }
    }

    var hasBatchKernel: Bool { true }

    func multiply(
        _ inputs: EncodedRows, rows: Range<Int>, into output: UnsafeMutablePointer<Float>, leadingOutput: Int
    ) {
        requireRows(rows)
        withUnsafePointer(to: kernel) {
            type.rows(
                $0, inputs.kernelInputs, inputs.count, rows.lowerBound, rows.upperBound, output, leadingOutput)
        }
    }
}

/// What a format is made of and multiplied by.
private struct GGUFKernels {
    /// Of a block.
    let columns, bytes: Int
    let gemv: DenseMatrix.Gemv
    let decode: DenseMatrix.Decoder
    let rows: BatchKernel

    init?(_ name: String) {
        let k = Kernels.best
        func block(
            _ columns: Int, _ bytes: Int, _ gemv: @escaping DenseMatrix.Gemv, _ decode: @escaping DenseMatrix.Decoder,
            _ rows: @escaping BatchKernel
        ) -> GGUFKernels { GGUFKernels(columns: columns, bytes: bytes, gemv: gemv, decode: decode, rows: rows) }
        switch name {
        case "Q4_0": self = block(32, 18, k.gemv_q4_0, k.decode_q4_0, k.rows_q4_0)
        case "Q4_1": self = block(32, 20, k.gemv_q4_1, k.decode_q4_1, k.rows_q4_1)
        case "Q5_0": self = block(32, 22, k.gemv_q5_0, k.decode_q5_0, k.rows_q5_0)
        case "Q5_1": self = block(32, 24, k.gemv_q5_1, k.decode_q5_1, k.rows_q5_1)
        case "Q8_0": self = block(32, 34, k.gemv_q8_0, k.decode_q8_0, k.rows_q8_0)
        case "Q2_K": self = block(256, 84, k.gemv_q2_k, k.decode_q2_k, k.rows_q2_k)
        case "Q3_K": self = block(256, 110, k.gemv_q3_k, k.decode_q3_k, k.rows_q3_k)
        case "Q4_K": self = block(256, 144, k.gemv_q4_k, k.decode_q4_k, k.rows_q4_k)
        case "Q5_K": self = block(256, 176, k.gemv_q5_k, k.decode_q5_k, k.rows_q5_k)
        case "Q6_K": self = block(256, 210, k.gemv_q6_k, k.decode_q6_k, k.rows_q6_k)
        default: return nil
        }
    }

    private init(
        columns: Int, bytes: Int, gemv: @escaping DenseMatrix.Gemv, decode: @escaping DenseMatrix.Decoder,
        rows: @escaping BatchKernel
    ) {
        (self.columns, self.bytes, self.gemv, self.decode, self.rows) = (columns, bytes, gemv, decode, rows)
    }
}
