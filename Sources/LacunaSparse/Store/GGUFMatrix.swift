import CLacuna
import LacunaTensor

/// A matrix in one of the block formats of GGUF files, multiplied as it is in the file.
///
/// Every 32 consecutive columns of a row form a block with its own f16 scale: Q8_0 (34 bytes: scale × signed byte), Q4_0
/// (18 bytes: scale × (nibble - 8)), Q4_1 (20 bytes: scale × nibble + minimum).
public final class GGUFMatrix: StoredMatrix, OpaqueMatrix, @unchecked Sendable {
    public let rows: Int
    public let columns: Int
    public let format: StorageFormat
    public var storedCount: Int { rows * columns }
    public var byteCount: Int { blocks.byteCount }
    public var inputEncoding: InputEncoding { .int8Groups32 }
    private let blocks: Buffer<UInt8>
    private let kernel: lk_dense
    private let gemv: DenseMatrix.Gemv
    private let decoder: DenseMatrix.Decoder

    /// Columns of a block.
    public static let blockColumns = 32

    /// Bytes of a block of the named format, or nil if that cannot be multiplied as it is.
    public static func blockBytes(_ name: String) -> Int? {
        switch name {
        case "Q8_0": 34
        case "Q4_0": 18
        case "Q4_1": 20
        default: nil
        }
    }

    /// Copies the blocks of a matrix [rows, columns].
    /// - Throws: `LacunaError.unsupported` for other formats, `LacunaError.invalidArgument` if `columns` is not a
    ///   multiple of 32 or `bytes` is not just the matrix.
    public init(_ name: String, bytes: UnsafeRawBufferPointer, rows: Int, columns: Int) throws {
        guard let size = GGUFMatrix.blockBytes(name) else {
            throw LacunaError.unsupported(file: nil, what: "products with GGUF blocks of type \(name)")
        }
        guard rows >= 0 && columns >= 0 && columns % GGUFMatrix.blockColumns == 0 else {
            throw LacunaError.invalidArgument(
                "shape", reason: "[\(rows), \(columns)]: rows of \(name) blocks hold multiples of 32 columns")
        }
        let (count, overflow) = rows.multipliedReportingOverflow(by: columns / GGUFMatrix.blockColumns * size)
        guard !overflow && bytes.count == count else {
            throw LacunaError.invalidArgument(
                "bytes", reason: "\(bytes.count) bytes are not a \(name) matrix of shape [\(rows), \(columns)]")
        }
        self.rows = rows
        self.columns = columns
        let layout = GGUFLayout(name)
        format = StorageFormat(StorageLayout(layout), layout.fixedValues!)
        blocks = Buffer(uninitialized: count, lasting: true)
        if count > 0 { UnsafeMutableRawPointer(blocks.pointer).copyMemory(from: bytes.baseAddress!, byteCount: count) }
        kernel = lk_dense(values: blocks.pointer, scales: nil, columns: columns)
        switch name {
        case "Q8_0": (gemv, decoder) = (Kernels.best.gemv_q8_0, Kernels.best.decode_q8_0)
        case "Q4_0": (gemv, decoder) = (Kernels.best.gemv_q4_0, Kernels.best.decode_q4_0)
        default: (gemv, decoder) = (Kernels.best.gemv_q4_1, Kernels.best.decode_q4_1)
        }
    }

    /// The blocks, as they were in the file. Valid while the matrix lives.
    public var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(blocks.elements) }

    public var keptEntries: SparsePattern { SparsePattern(rows: rows, columns: columns, keepingAll: true) }

    public func multiply(_ input: EncodedInput, rows: Range<Int>, into output: UnsafeMutablePointer<Float>) {
        requireRows(rows)
        withUnsafePointer(to: kernel) { gemv($0, input.kernelInput, rows.lowerBound, rows.upperBound, output) }
    }

    public func decode(rows: Range<Int>, into output: UnsafeMutablePointer<Float>) {
        requireRows(rows)
        withUnsafePointer(to: kernel) { decoder($0, rows.lowerBound, rows.upperBound, output) }
    }
}
