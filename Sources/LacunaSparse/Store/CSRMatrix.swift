import CLacuna
import LacunaTensor

/// Compressed sparse rows: every kept value and its column.
///
/// Columns take 16 bits while the matrix has at most 65,536 of them, else 32.
public final class CSRMatrix: WeightMatrix, PanelMatrix, UnevenRows, @unchecked Sendable {
    public let rows: Int
    public let columns: Int
    public let format: StorageFormat
    public let storedCount: Int
    public let byteCount: Int
    public var inputEncoding: InputEncoding { .float }
    private let values: StoredValues
    private let rowStart: Buffer<UInt32>
    private let narrow: Buffer<UInt16>
    private let wide: Buffer<UInt32>
    private let kernel: lk_csr
    private let gemv: Gemv
    private let decoder: Decoder
    private let panel: Panel?
    private let rowPanel: RowPanel?
    private let lazySegments = Lazily<SegmentOrder>()
    private let lazyNarrowSegments = Lazily<SegmentOrder>()
    private let lazyRowBlocks = Lazily<RowBlocks>()

    typealias Gemv =
        @convention(c) (
            UnsafePointer<lk_csr>?, UnsafePointer<lk_input>?, Int, Int, UnsafeMutablePointer<Float>?
        ) -> Void
    typealias Decoder = @convention(c) (UnsafePointer<lk_csr>?, Int, Int, UnsafeMutablePointer<Float>?) -> Void
    typealias Panel =
        @convention(c) (
            UnsafePointer<lk_segmented>?, Int, UnsafeRawPointer?, Int, UnsafeMutableRawPointer?
        ) -> Void
    typealias RowPanel =
        @convention(c) (
            UnsafePointer<lk_csr>?, UnsafePointer<Float>?, Int, Int, UnsafeMutablePointer<Float>?
        ) -> Void

    /// Keeps the entries of `weight` [rows, columns] that are in `mask`, rounded to `values`.
    /// - Throws: As ``BitmaskMatrix/init(_:mask:values:)``.
    public init(_ weight: Tensor<Float>, mask: Mask, values type: ValueType) throws {
        try WeightStore.check(weight, mask: mask, values: type)
        rows = mask.rows
        columns = mask.columns
        format = StorageFormat(.csr, type)
        let count = mask.keptCount
        guard count <= UInt32.max && columns <= UInt32.max else {
            throw LacunaError.unsupported(file: nil, what: "a CSR matrix of more than 2^32 - 1 stored values")
        }
        storedCount = count
        rowStart = Buffer(uninitialized: mask.rows + 1, lasting: true)
        rowStart.pointer[0] = 0
        for r in 0..<mask.rows { rowStart.pointer[r + 1] = rowStart.pointer[r] + UInt32(mask.keptCount(row: r)) }
        let isWide = mask.columns > 65_536
        narrow = Buffer(uninitialized: isWide ? 0 : count, lasting: true)
        wide = Buffer(uninitialized: isWide ? count : 0, lasting: true)
        values = StoredValues(type, slots: count, rows: mask.rows, columns: mask.columns)
        byteCount = values.byteCount + rowStart.byteCount + narrow.byteCount + wide.byteCount
        kernel = lk_csr(
            row_start: rowStart.pointer,
            column: isWide ? UnsafeRawPointer(wide.pointer) : UnsafeRawPointer(narrow.pointer),
            values: values.bytes.pointer, scales: values.scales, columns: mask.columns, wide: isWide ? 1 : 0)
        let k = Kernels.best
        switch type {
        case .f32: (gemv, decoder) = (k.gemv_csr_f32, k.decode_csr_f32)
        case .bf16: (gemv, decoder) = (k.gemv_csr_bf16, k.decode_csr_bf16)
        case .int8: (gemv, decoder) = (k.gemv_csr_i8, k.decode_csr_i8)
        case .int4: (gemv, decoder) = (k.gemv_csr_i4, k.decode_csr_i4)
        }
        switch type {
        case .f32: (panel, rowPanel) = (Float.kernelTable.pointee.product_segments, k.product_rows_f32)
        case .bf16: (panel, rowPanel) = (k.product_segments_bf16, k.product_rows_bf16)
        case .int8: (panel, rowPanel) = (k.product_segments_i8, k.product_rows_i8)
        case .int4: (panel, rowPanel) = (nil, nil)
        }
        // Neighbouring rows may share a byte of nibbles.
        values.fill(from: weight, mask: mask, serially: type == .int4) { r, coder in
            var slot = Int(rowStart.pointer[r])
            mask.forEachKept(row: r) { c in
                coder.store(column: c, slot: slot)
                if isWide { wide.pointer[slot] = UInt32(c) } else { narrow.pointer[slot] = UInt16(c) }
                slot += 1
            }
        }
    }

    public func multiply(_ input: EncodedInput, rows: Range<Int>, into output: UnsafeMutablePointer<Float>) {
        withUnsafePointer(to: kernel) { gemv($0, input.kernelInput, rows.lowerBound, rows.upperBound, output) }
    }

    public func decode(rows: Range<Int>, into output: UnsafeMutablePointer<Float>) {
        withUnsafePointer(to: kernel) { decoder($0, rows.lowerBound, rows.upperBound, output) }
    }

    var hasPanelKernel: Bool { panel != nil }
    var rowOffsets: UnsafePointer<UInt32> { UnsafePointer(rowStart.pointer) }

    /// The order in which products with panels of `width` vectors visit the values.
    private func segments(width: Int) -> SegmentOrder {
        func make(_ bandColumns: Int?) -> SegmentOrder {
            kernel.wide == 1
                ? SegmentOrder(
                    rows: rows, columns: columns, rowOffsets: rowOffsets, columnIndices: wide.pointer,
                    bandColumns: bandColumns)
                : SegmentOrder(
                    rows: rows, columns: columns, rowOffsets: rowOffsets, columnIndices: narrow.pointer,
                    bandColumns: bandColumns)
        }
        return width <= PanelPlan.width / 2
            ? lazyNarrowSegments.value { make(SegmentOrder.narrowBandColumns) } : lazySegments.value { make(nil) }
    }

    /// Whether rows are walked whole: a panel of 16 vectors should be more than the first-level cache holds, as rows are
    /// too short otherwise to be worth it, and less than the second-level cache does.
    private func walksRows(width: Int) -> Bool { width == 16 && 1024...12_288 ~= columns }

    /// The same blocks in every order.
    func panelBlocks(width: Int) -> PanelBlocks {
        .byEntries(
            walksRows(width: width)
                ? lazyRowBlocks.value { RowBlocks(rows: rows, rowOffsets: rowOffsets) }
                : segments(width: width).rowBlocks)
    }

    func multiply(
        panel x: UnsafePointer<Float>, width: Int, block: Int, rows: Range<Int>,
        into tile: UnsafeMutablePointer<Float>
    ) {
        if walksRows(width: width) {
            return withUnsafePointer(to: kernel) { rowPanel!($0, x, rows.lowerBound, rows.upperBound, tile) }
        }
        let order = segments(width: width)
        tile.update(repeating: 0, count: rows.count * width)
        withUnsafePointer(
            to: order.kernel(values: kernel.values, column: kernel.column, wide: kernel.wide == 1)
        ) { panel!($0, block, x, width, tile) }
        guard let scales = kernel.scales?.assumingMemoryBound(to: Float.self) else { return }
        for r in rows {
            let sums = tile + (r - rows.lowerBound) * width
            Float.kernelTable.pointee.combine(Double(scales[r]), sums, 0, sums, width)
        }
    }
}
