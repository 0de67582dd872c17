import CLacuna
import LacunaTensor

/// Compressed sparse rows: every kept value and its column.
///
/// Columns take 16 bits while the matrix has at most 65,536 of them, else 32.
public final class CSRMatrix: StoredMatrix, PanelMatrix, UnevenRows, @unchecked Sendable {
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
    private let panel: Panel
    private let rowPanel: RowPanel
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

    /// Stores the entries of `source`, rounded to `values`.
    /// - Throws: As ``StoreLayout/make(_:values:)``; `LacunaError.unsupported` beyond 2³² - 1 stored values.
    public init(_ source: some RowSource, values type: ValueType) throws {
        try source.checkShape()
        rows = source.rows
        columns = source.columns
        format = StorageFormat(.csr, type)
        let count = source.count
        guard count <= UInt32.max else {
            throw LacunaError.unsupported(file: nil, what: "a CSR matrix of more than 2^32 - 1 stored values")
        }
        storedCount = count
        rowStart = Buffer(uninitialized: source.rows + 1, lasting: true)
        rowStart.pointer[0] = 0
        var end = 0
        for r in 0..<source.rows {
            end += source.count(row: r)
            guard end <= count else { break }
            rowStart.pointer[r + 1] = UInt32(end)
        }
        guard end == count else {
            throw LacunaError.invalidArgument("rows", reason: "\(end) entries or more in rows, \(count) in all")
        }
        let isWide = source.columns > 65_536
        narrow = Buffer(uninitialized: isWide ? 0 : count, lasting: true)
        wide = Buffer(uninitialized: isWide ? count : 0, lasting: true)
        values = StoredValues(type, slots: count, rows: source.rows, columns: source.columns)
        byteCount = values.byteCount + rowStart.byteCount + narrow.byteCount + wide.byteCount
        kernel = lk_csr(
            row_start: rowStart.pointer,
            column: isWide ? UnsafeRawPointer(wide.pointer) : UnsafeRawPointer(narrow.pointer),
            values: values.bytes.pointer, scales: values.scales, columns: source.columns, wide: isWide ? 1 : 0)
        let k = Kernels.best
        switch type {
        case .f32: (gemv, decoder) = (k.gemv_csr_f32, k.decode_csr_f32)
        case .bf16: (gemv, decoder) = (k.gemv_csr_bf16, k.decode_csr_bf16)
        case .f16: (gemv, decoder) = (k.gemv_csr_f16, k.decode_csr_f16)
        case .int8: (gemv, decoder) = (k.gemv_csr_i8, k.decode_csr_i8)
        case .int4: (gemv, decoder) = (k.gemv_csr_i4, k.decode_csr_i4)
        }
        switch type {
        case .f32, .int4: (panel, rowPanel) = (Float.kernelTable.pointee.product_segments, k.product_rows_f32)
        case .bf16: (panel, rowPanel) = (k.product_segments_bf16, k.product_rows_bf16)
        case .f16: (panel, rowPanel) = (k.product_segments_f16, k.product_rows_f16)
        case .int8: (panel, rowPanel) = (k.product_segments_i8, k.product_rows_i8)
        }
        // Neighbouring rows may share a byte of nibbles.
        try values.fill(from: source, serially: type == .int4) { r, entries in
            let first = Int(rowStart.pointer[r])
            entries.storeAll(from: first)
            for (i, column) in entries.columns.enumerated() {
                if isWide { wide.pointer[first + i] = column } else { narrow.pointer[first + i] = UInt16(column) }
            }
        }
    }

    public func multiply(_ input: EncodedInput, rows: Range<Int>, into output: UnsafeMutablePointer<Float>) {
        requireRows(rows)
        withUnsafePointer(to: kernel) { gemv($0, input.kernelInput, rows.lowerBound, rows.upperBound, output) }
    }

    public func decode(rows: Range<Int>, into output: UnsafeMutablePointer<Float>) {
        requireRows(rows)
        withUnsafePointer(to: kernel) { decoder($0, rows.lowerBound, rows.upperBound, output) }
    }

    public var hasPanelKernel: Bool { true }
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
    public func panelBlocks(width: Int) -> PanelBlocks {
        PanelBlocks(
            .byEntries(
                walksRows(width: width)
                    ? lazyRowBlocks.value { RowBlocks(rows: rows, rowOffsets: rowOffsets) }
                    : segments(width: width).rowBlocks))
    }

    public func multiply(panel: InputPanel, block: Int, rows: Range<Int>, into output: OutputPanel) {
        requireRows(rows)
        if format.values == .int4 {
            // Kernels count values from the first of the matrix.
            let floats = expanded(rows) - Int(rowStart.pointer[rows.lowerBound])
            multiply(panel, block, rows, output, values: UnsafeRawPointer(floats), scales: nil)
        } else {
            multiply(panel, block, rows, output, values: kernel.values, scales: kernel.scales)
        }
    }

    private func multiply(
        _ input: InputPanel, _ block: Int, _ rows: Range<Int>, _ output: OutputPanel, values: UnsafeRawPointer,
        scales: UnsafeRawPointer?
    ) {
        let (x, width, tile) = (input.pointer, input.width, output.pointer)
        if walksRows(width: width) {
            var own = kernel
            (own.values, own.scales) = (values, scales)
            return withUnsafePointer(to: own) { rowPanel($0, x, rows.lowerBound, rows.upperBound, tile) }
        }
        let order = segments(width: width)
        tile.update(repeating: 0, count: rows.count * width)
        withUnsafePointer(to: order.kernel(values: values, column: kernel.column, wide: kernel.wide == 1)) {
            panel($0, block, x, width, tile)
        }
        guard let scales = scales?.assumingMemoryBound(to: Float.self) else { return }
        for r in rows {
            let sums = tile + (r - rows.lowerBound) * width
            Float.kernelTable.pointee.combine(Double(scales[r]), sums, 0, sums, width)
        }
    }

    /// The int4 values of some rows as floats: a value meets many vectors, so that spreading it out costs little.
    private func expanded(_ rows: Range<Int>) -> UnsafeMutablePointer<Float> {
        let first = Int(rowStart.pointer[rows.lowerBound])
        let floats = Scratch.current.expanded(count: Int(rowStart.pointer[rows.upperBound]) - first)
        func group(_ j: Int) -> Int {
            Int(kernel.wide == 1 ? wide.pointer[j] : UInt32(narrow.pointer[j])) / Quantization.int4Group
        }
        for r in rows {
            var start = Int(rowStart.pointer[r])
            let rowEnd = Int(rowStart.pointer[r + 1])
            while start < rowEnd {
                let shared = group(start)
                var end = start + 1
                while end < rowEnd && group(end) == shared { end += 1 }
                values.expand(slots: start..<end, row: r, group: shared, into: floats + start - first)
                start = end
            }
        }
        return floats
    }
}
