import CLacuna
import LacunaTensor

/// Block sparse rows: dense blocks of `blockRows` × `blockColumns` and the block column of each.
///
/// A block is stored if the mask keeps any of its entries; removed entries of stored blocks are explicit zeros, as is
/// the part of a block that reaches beyond the matrix.
public final class BSRMatrix: StoredMatrix, PanelMatrix, @unchecked Sendable {
    public let rows: Int
    public let columns: Int
    public let format: StorageFormat
    /// Rows of a block.
    public let blockRows: Int
    /// Columns of a block.
    public let blockColumns: Int
    /// Number of stored blocks.
    public let blockCount: Int
    public let storedCount: Int
    public let byteCount: Int
    public var inputEncoding: InputEncoding { .float }
    private let values: StoredValues
    private let rowStart: Buffer<UInt32>
    private let blockColumn: Buffer<UInt32>
    private let kernel: lk_bsr
    private let gemv: Gemv
    private let decoder: Decoder
    private let panel: Panel

    typealias Gemv =
        @convention(c) (
            UnsafePointer<lk_bsr>?, UnsafePointer<lk_input>?, Int, Int, UnsafeMutablePointer<Float>?
        ) -> Void
    typealias Decoder = @convention(c) (UnsafePointer<lk_bsr>?, Int, Int, UnsafeMutablePointer<Float>?) -> Void
    typealias Panel =
        @convention(c) (
            UnsafePointer<lk_bsr>?, UnsafePointer<Float>?, Int, Int, Int, UnsafeMutablePointer<Float>?
        ) -> Void

    /// Stores the blocks of `source` that have any entries, rounded to `values`.
    /// - Throws: `LacunaError.invalidArgument` for sides of blocks outside 1...256; otherwise as
    ///   ``StoreLayout/make(_:values:)``.
    public init(
        _ source: some RowSource, blockRows height: Int, blockColumns width: Int, values type: ValueType
    ) throws {
        try source.checkShape()
        guard (1...256).contains(height) && (1...256).contains(width) else {
            throw LacunaError.invalidArgument(
                "pattern", reason: "blocks of \(height)x\(width): each side must be in 1...256")
        }
        rows = source.rows
        columns = source.columns
        blockRows = height
        blockColumns = width
        format = StorageFormat(.bsr(rows: height, columns: width), type)

        let (starts, blocks) = try BSRMatrix.blocks(of: source, height: height, width: width)
        let size = height * width
        let slotsPerBlock = type == .int4 ? (size + 1) / 2 * 2 : size
        guard blocks.count <= UInt32.max else {
            throw LacunaError.unsupported(file: nil, what: "a BSR matrix of more than 2^32 - 1 blocks")
        }
        blockCount = blocks.count
        storedCount = blocks.count * size
        rowStart = Buffer(starts, lasting: true)
        blockColumn = Buffer(blocks, lasting: true)
        values = StoredValues(type, slots: blocks.count * slotsPerBlock, rows: source.rows, columns: source.columns)
        byteCount = values.byteCount + rowStart.byteCount + blockColumn.byteCount
        kernel = lk_bsr(
            row_start: rowStart.pointer, block_column: blockColumn.pointer, values: values.bytes.pointer,
            scales: values.scales, columns: source.columns, block_rows: height, block_columns: width)
        let k = Kernels.best
        switch type {
        case .f32: (gemv, decoder, panel) = (k.gemv_bsr_f32, k.decode_bsr_f32, k.panel_bsr_f32)
        case .bf16: (gemv, decoder, panel) = (k.gemv_bsr_bf16, k.decode_bsr_bf16, k.panel_bsr_bf16)
        case .f16: (gemv, decoder, panel) = (k.gemv_bsr_f16, k.decode_bsr_f16, k.panel_bsr_f16)
        case .int8: (gemv, decoder, panel) = (k.gemv_bsr_i8, k.decode_bsr_i8, k.panel_bsr_i8)
        case .int4: (gemv, decoder, panel) = (k.gemv_bsr_i4, k.decode_bsr_i4, k.panel_bsr_f32)
        }
        // Rows of a block may share a byte of nibbles.
        try values.fill(from: source, serially: type == .int4) { r, entries in
            var b = Int(starts[r / height])
            for (i, column) in entries.columns.enumerated() {
                while Int(blocks[b]) < Int(column) / width { b += 1 }
                entries.store(i, slot: b * slotsPerBlock + r % height * width + Int(column) % width)
            }
        }
    }

    /// The blocks that hold something: where each block row begins, and the block columns.
    private static func blocks(
        of source: some RowSource, height: Int, width: Int
    ) throws -> (starts: [UInt32], blocks: [UInt32]) {
        var starts: [UInt32] = [0]
        var blocks: [UInt32] = []
        // The block row in which a block column was last seen: nothing has to be cleared between them.
        var seen = [Int](repeating: -1, count: (source.columns + width - 1) / width)
        var found: [UInt32] = []
        let last = source.rows - 1
        try source.forEachRow(serially: true) { r, columns, _ in
            for column in columns where seen[Int(column) / width] != r / height {
                seen[Int(column) / width] = r / height
                found.append(column / UInt32(width))
            }
            if r % height == height - 1 || r == last {
                blocks += found.sorted()
                found.removeAll(keepingCapacity: true)
                starts.append(UInt32(truncatingIfNeeded: blocks.count))
            }
        }
        return (starts, blocks)
    }

    public var rowGranularity: Int { (16 + blockRows - 1) / blockRows * blockRows }

    public func multiply(_ input: EncodedInput, rows: Range<Int>, into output: UnsafeMutablePointer<Float>) {
        requireRows(rows)
        withUnsafePointer(to: kernel) { gemv($0, input.kernelInput, rows.lowerBound, rows.upperBound, output) }
    }

    public func decode(rows: Range<Int>, into output: UnsafeMutablePointer<Float>) {
        requireRows(rows)
        withUnsafePointer(to: kernel) { decoder($0, rows.lowerBound, rows.upperBound, output) }
    }

    public var hasPanelKernel: Bool { true }

    public func multiply(panel x: InputPanel, block: Int, rows: Range<Int>, into tile: OutputPanel) {
        requireRows(rows)
        var own = kernel
        if format.values == .int4 {
            let first = Int(rowStart.pointer[rows.lowerBound / blockRows])
            // Kernels count values from the first of the matrix.
            own.values = UnsafeRawPointer(expanded(rows) - first * blockRows * blockColumns)
            own.scales = nil
        }
        withUnsafePointer(to: own) {
            panel($0, x.pointer, x.width, rows.lowerBound, rows.upperBound, tile.pointer)
        }
    }

    /// The int4 values of the blocks of some rows as floats: a value meets many vectors, so that spreading it out costs
    /// little.
    private func expanded(_ rows: Range<Int>) -> UnsafeMutablePointer<Float> {
        let (height, width) = (blockRows, blockColumns)
        let bands = rows.lowerBound / height..<(rows.upperBound + height - 1) / height
        let first = Int(rowStart.pointer[bands.lowerBound])
        let size = height * width
        let floats = Scratch.current.expanded(count: (Int(rowStart.pointer[bands.upperBound]) - first) * size)
        for band in bands {
            for b in Int(rowStart.pointer[band])..<Int(rowStart.pointer[band + 1]) {
                let left = Int(blockColumn.pointer[b]) * width
                let right = min(left + width, columns)
                for i in 0..<height {
                    let target = floats + (b - first) * size + i * width
                    // What reaches beyond the matrix is 0, and has no scale.
                    (target + right - left).update(repeating: 0, count: width - (right - left))
                    guard band * height + i < self.rows else {
                        target.update(repeating: 0, count: width)
                        continue
                    }
                    let slot = b * ((size + 1) / 2 * 2) + i * width
                    var start = left
                    while start < right {
                        let group = start / Quantization.int4Group
                        let end = min(right, (group + 1) * Quantization.int4Group)
                        values.expand(
                            slots: slot + start - left..<slot + end - left, row: band * height + i, group: group,
                            into: target + start - left)
                        start = end
                    }
                }
            }
        }
        return floats
    }
}
