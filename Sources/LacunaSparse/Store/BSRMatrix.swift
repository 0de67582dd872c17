import CLacuna
import LacunaTensor

/// Block sparse rows: dense blocks of `blockRows` × `blockColumns` and the block column of each.
///
/// A block is stored if the mask keeps any of its entries; removed entries of stored blocks are explicit zeros, as is
/// the part of a block that reaches beyond the matrix.
public final class BSRMatrix: WeightMatrix, PanelMatrix, @unchecked Sendable {
    public let rows: Int
    public let columns: Int
    public let format: StorageFormat
    public let blockRows: Int
    public let blockColumns: Int
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
    private let panel: Panel?

    typealias Gemv =
        @convention(c) (
            UnsafePointer<lk_bsr>?, UnsafePointer<lk_input>?, Int, Int, UnsafeMutablePointer<Float>?
        ) -> Void
    typealias Decoder = @convention(c) (UnsafePointer<lk_bsr>?, Int, Int, UnsafeMutablePointer<Float>?) -> Void
    typealias Panel =
        @convention(c) (
            UnsafePointer<lk_bsr>?, UnsafePointer<Float>?, Int, Int, Int, UnsafeMutablePointer<Float>?
        ) -> Void

    /// Keeps the blocks of `weight` [rows, columns] of which `mask` keeps anything, rounded to `values`.
    /// - Throws: `LacunaError.invalidArgument` for sides of blocks outside 1...256; otherwise as
    ///   ``BitmaskMatrix/init(_:mask:values:)``.
    public init(
        _ weight: Tensor<Float>, mask: Mask, blockRows height: Int, blockColumns width: Int, values type: ValueType
    ) throws {
        try WeightStore.check(weight, mask: mask, values: type)
        guard (1...256).contains(height) && (1...256).contains(width) else {
            throw LacunaError.invalidArgument(
                "pattern", reason: "blocks of \(height)x\(width): each side must be in 1...256")
        }
        rows = mask.rows
        columns = mask.columns
        blockRows = height
        blockColumns = width
        format = StorageFormat(.bsr(rows: height, columns: width), type)

        let (starts, blocks) = BSRMatrix.blocks(of: mask, height: height, width: width)
        let size = height * width
        let slotsPerBlock = type == .int4 ? (size + 1) / 2 * 2 : size
        guard blocks.count <= UInt32.max else {
            throw LacunaError.unsupported(file: nil, what: "a BSR matrix of more than 2^32 - 1 blocks")
        }
        blockCount = blocks.count
        storedCount = blocks.count * size
        rowStart = Buffer(starts, lasting: true)
        blockColumn = Buffer(blocks, lasting: true)
        values = StoredValues(type, slots: blocks.count * slotsPerBlock, rows: mask.rows, columns: mask.columns)
        byteCount = values.byteCount + rowStart.byteCount + blockColumn.byteCount
        kernel = lk_bsr(
            row_start: rowStart.pointer, block_column: blockColumn.pointer, values: values.bytes.pointer,
            scales: values.scales, columns: mask.columns, block_rows: height, block_columns: width)
        let k = Kernels.best
        switch type {
        case .f32: (gemv, decoder, panel) = (k.gemv_bsr_f32, k.decode_bsr_f32, k.panel_bsr_f32)
        case .bf16: (gemv, decoder, panel) = (k.gemv_bsr_bf16, k.decode_bsr_bf16, k.panel_bsr_bf16)
        case .int8: (gemv, decoder, panel) = (k.gemv_bsr_i8, k.decode_bsr_i8, k.panel_bsr_i8)
        case .int4: (gemv, decoder, panel) = (k.gemv_bsr_i4, k.decode_bsr_i4, nil)
        }
        let total = columns
        // Rows of a block may share a byte of nibbles.
        values.fill(from: weight, mask: mask, serially: type == .int4) { r, coder in
            for b in Int(starts[r / height])..<Int(starts[r / height + 1]) {
                let first = Int(blocks[b]) * width
                let slot = b * slotsPerBlock + r % height * width
                for c in first..<min(first + width, total) { coder.store(column: c, slot: slot + c - first) }
            }
        }
    }

    /// The blocks that hold something: where each block row begins, and the block columns.
    private static func blocks(of mask: Mask, height: Int, width: Int) -> (starts: [UInt32], blocks: [UInt32]) {
        var starts: [UInt32] = [0]
        var blocks: [UInt32] = []
        var held = [Bool](repeating: false, count: (mask.columns + width - 1) / width)
        for top in stride(from: 0, to: mask.rows, by: height) {
            for i in held.indices { held[i] = false }
            for r in top..<min(top + height, mask.rows) { mask.forEachKept(row: r) { held[$0 / width] = true } }
            for i in held.indices where held[i] { blocks.append(UInt32(i)) }
            starts.append(UInt32(blocks.count))
        }
        return (starts, blocks)
    }

    public var rowGranularity: Int { (16 + blockRows - 1) / blockRows * blockRows }

    public func multiply(_ input: EncodedInput, rows: Range<Int>, into output: UnsafeMutablePointer<Float>) {
        withUnsafePointer(to: kernel) { gemv($0, input.kernelInput, rows.lowerBound, rows.upperBound, output) }
    }

    public func decode(rows: Range<Int>, into output: UnsafeMutablePointer<Float>) {
        withUnsafePointer(to: kernel) { decoder($0, rows.lowerBound, rows.upperBound, output) }
    }

    var hasPanelKernel: Bool { panel != nil }

    func multiply(
        panel x: UnsafePointer<Float>, width: Int, block: Int, rows: Range<Int>,
        into tile: UnsafeMutablePointer<Float>
    ) {
        withUnsafePointer(to: kernel) { panel!($0, x, width, rows.lowerBound, rows.upperBound, tile) }
    }
}
