import CLacuna
import LacunaTensor

/// A matrix of which every entry is stored, as f32, bf16, int8 or int4.
public final class DenseMatrix: StoredMatrix, DenseFloats, @unchecked Sendable {
    public let rows: Int
    public let columns: Int
    public let format: StorageFormat
    public let storedCount: Int
    public let byteCount: Int
    public let inputEncoding: InputEncoding
    /// What keeps the values.
    private let owner: AnyObject
    private let kernel: lk_dense
    private let gemv: Gemv
    private let decoder: Decoder

    typealias Gemv =
        @convention(c) (
            UnsafePointer<lk_dense>?, UnsafePointer<lk_input>?, Int, Int, UnsafeMutablePointer<Float>?
        ) -> Void
    typealias Decoder = @convention(c) (UnsafePointer<lk_dense>?, Int, Int, UnsafeMutablePointer<Float>?) -> Void

    /// Stores the rows of `source`, rounded to `values`; entries that it lacks are 0.
    /// - Throws: As ``StoreLayout/make(_:values:)``.
    public convenience init(_ source: some RowSource, values type: ValueType) throws {
        try source.checkShape()
        let (rows, columns) = (source.rows, source.columns)
        let width = type == .int4 ? (columns + 63) / 64 * 64 : columns
        let values = StoredValues(type, slots: rows * width, rows: rows, columns: columns)
        try values.fill(from: source) { row, entries in
            if entries.columns.count == columns { return entries.storeAll(from: row * width) }
            for (i, column) in entries.columns.enumerated() { entries.store(i, slot: row * width + Int(column)) }
        }
        self.init(values, rows: rows, columns: columns)
    }

    /// Copies `bits` [rows, columns], the upper halves of floats, as they are.
    public convenience init(bf16 bits: UnsafePointer<UInt16>, rows: Int, columns: Int) {
        let values = StoredValues(.bf16, slots: rows * columns, rows: rows, columns: columns)
        UnsafeMutableRawPointer(values.bytes.pointer).copyMemory(from: bits, byteCount: 2 * rows * columns)
        self.init(values, rows: rows, columns: columns)
    }

    /// The matrix [rows, columns] of f32 or bf16 numbers that stay where they are, in a memory-mapped file for instance.
    ///
    /// - Parameter owner: What keeps the memory: held as long as the matrix.
    /// - Throws: `LacunaError.invalidArgument` for another type, bytes that are not just the matrix, or an address that is
    ///   no multiple of the size of a number.
    public convenience init(
        borrowing bytes: UnsafeRawBufferPointer, of owner: AnyObject, values type: ValueType, rows: Int, columns: Int
    ) throws {
        guard !type.isInteger, rows >= 0, columns >= 0, bytes.count == rows * columns * type.valueSize,
            Int(bitPattern: bytes.baseAddress) % type.valueSize == 0
        else {
            throw LacunaError.invalidArgument(
                "bytes", reason: "\(bytes.count) bytes are no aligned \(type) matrix of shape [\(rows), \(columns)]")
        }
        self.init(
            type, lk_dense(values: bytes.baseAddress, scales: nil, columns: columns), byteCount: bytes.count,
            owner: owner, rows: rows)
    }

    private convenience init(_ values: StoredValues, rows: Int, columns: Int) {
        self.init(
            values.type, lk_dense(values: values.bytes.pointer, scales: values.scales, columns: columns),
            byteCount: values.byteCount, owner: values, rows: rows)
    }

    private init(_ type: ValueType, _ kernel: lk_dense, byteCount: Int, owner: AnyObject, rows: Int) {
        self.rows = rows
        columns = kernel.columns
        self.owner = owner
        format = StorageFormat(.dense, type)
        storedCount = rows * columns
        self.byteCount = byteCount
        self.kernel = kernel
        switch type {
        case .f32: (gemv, decoder, inputEncoding) = (Kernels.best.gemv_f32, Kernels.best.decode_f32, .float)
        case .bf16: (gemv, decoder, inputEncoding) = (Kernels.best.gemv_bf16, Kernels.best.decode_bf16, .bf16)
        case .int8: (gemv, decoder, inputEncoding) = (Kernels.best.gemv_i8, Kernels.best.decode_i8, .int8Groups64)
        case .int4: (gemv, decoder, inputEncoding) = (Kernels.best.gemv_i4, Kernels.best.decode_i4, .int8Groups64)
        }
    }

    public var keptEntries: SparsePattern { SparsePattern(rows: rows, columns: columns, keepingAll: true) }

    public func multiply(_ input: EncodedInput, rows: Range<Int>, into output: UnsafeMutablePointer<Float>) {
        requireRows(rows)
        withUnsafePointer(to: kernel) { gemv($0, input.kernelInput, rows.lowerBound, rows.upperBound, output) }
    }

    public func decode(rows: Range<Int>, into output: UnsafeMutablePointer<Float>) {
        requireRows(rows)
        withUnsafePointer(to: kernel) { decoder($0, rows.lowerBound, rows.upperBound, output) }
    }

    var floats: UnsafePointer<Float>? {
        format.values == .f32 ? kernel.values.assumingMemoryBound(to: Float.self) : nil
    }
}

/// A matrix that may hold its entries as BLAS reads them.
protocol DenseFloats: StoredMatrix {
    /// The floats themselves [rows, columns], if they are stored as such.
    var floats: UnsafePointer<Float>? { get }
}
