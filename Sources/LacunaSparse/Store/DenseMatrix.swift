import CLacuna
import LacunaTensor

/// A matrix of which every entry is stored, as f32, bf16, f16, int8 or int4.
///
/// Integers are multiplied with an input rounded to bytes: with one scale for every 64 entries by a product with one vector,
/// for every 32 by a product with several.
public final class DenseMatrix: StoredMatrix, DenseFloats, BatchMatrix, @unchecked Sendable {
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
    private let batch: BatchKernel?

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

    /// The matrix [rows, columns] of f32, bf16 or f16 numbers that stay where they are, in a memory-mapped file for instance.
    ///
    /// - Parameter owner: What keeps the memory: held as long as the matrix.
    /// - Throws: `LacunaError.invalidArgument` for another type, bytes that are not just the matrix, or an address that is
    ///   no multiple of the size of a number.
    public convenience init(
        borrowing bytes: UnsafeRawBufferPointer, of owner: AnyObject, values type: ValueType, rows: Int, columns: Int
    ) throws {
        guard !type.isInteger, rows >= 0, columns >= 0, bytes.count == rows * columns * type.bits / 8,
            Int(bitPattern: bytes.baseAddress) % (type.bits / 8) == 0
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
        let k = Kernels.best
        switch type {
        case .f32: (gemv, decoder, batch, inputEncoding) = (k.gemv_f32, k.decode_f32, nil, .float)
        case .bf16: (gemv, decoder, batch, inputEncoding) = (k.gemv_bf16, k.decode_bf16, nil, .bf16)
        case .f16: (gemv, decoder, batch, inputEncoding) = (k.gemv_f16, k.decode_f16, nil, .float)
        case .int8: (gemv, decoder, batch, inputEncoding) = (k.gemv_i8, k.decode_i8, k.rows_i8, .int8Groups64)
        case .int4: (gemv, decoder, batch, inputEncoding) = (k.gemv_i4, k.decode_i4, k.rows_i4, .int8Groups64)
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

    var hasBatchKernel: Bool { batch != nil }
    var hasApartKernel: Bool { format.values == .int8 }

    func multiply(
        _ inputs: EncodedRows, rows: Range<Int>, into output: UnsafeMutablePointer<Float>, leadingOutput: Int
    ) {
        requireRows(rows)
        withUnsafePointer(to: kernel) {
            batch!($0, inputs.kernelInputs, inputs.count, rows.lowerBound, rows.upperBound, output, leadingOutput)
        }
    }

    /// The numbers as they are stored, one row after the other; nil for integers, whose scales are apart. Valid while the
    /// matrix lives.
    public var numberBytes: UnsafeRawBufferPointer? {
        format.values.isInteger
            ? nil : UnsafeRawBufferPointer(start: kernel.values, count: rows * columns * format.values.bits / 8)
    }

    var floats: UnsafePointer<Float>? {
        format.values == .f32 ? kernel.values.assumingMemoryBound(to: Float.self) : nil
    }

    var halves: UnsafePointer<UInt16>? {
        format.values == .bf16 ? kernel.values.assumingMemoryBound(to: UInt16.self) : nil
    }
}

/// A matrix that may hold its entries as BLAS reads them.
protocol DenseFloats: StoredMatrix {
    /// The floats themselves [rows, columns], if they are stored as such.
    var floats: UnsafePointer<Float>? { get }
    /// The bf16 numbers themselves, if they are stored as such.
    var halves: UnsafePointer<UInt16>? { get }
}

extension DenseFloats {
    var halves: UnsafePointer<UInt16>? { nil }
}
