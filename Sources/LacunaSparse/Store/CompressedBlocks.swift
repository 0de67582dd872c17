import CLacuna
import LacunaTensor

/// A block-sparse matrix `W` [rows, columns] whose values may change: dense blocks of `blockRows` × `blockColumns`, of which
/// a pattern over the blocks says where they stand.
///
/// ``BSRMatrix`` is the same layout frozen for inference.
public struct CompressedBlocks<Scalar: SparseScalar>: Sendable {
    /// Number of rows.
    public let rows: Int
    /// Number of columns.
    public let columns: Int
    /// Rows of a block.
    public let blockRows: Int
    /// Columns of a block.
    public let blockColumns: Int
    /// Where the blocks stand: [rows / blockRows, columns / blockColumns], both rounded up.
    public let blocks: SparsePattern
    private var buffer: Buffer<Scalar>

    /// Values stored, [blocks, blockRows, blockColumns]. Blocks at the edges may reach beyond the matrix; what is stored
    /// there is not used, and the gradients of these values are 0.
    public var count: Int { buffer.count }
    /// Bytes of values and positions.
    public var byteCount: Int { buffer.byteCount + blocks.byteCount }
    /// Fraction of blocks that are not stored.
    public var sparsity: Double { blocks.sparsity }

    /// The blocks of `weight` [rows, columns] of which `mask` keeps anything; without a mask, those with an entry that is
    /// not 0. Entries of kept blocks are taken as they are, whether the mask keeps them or not.
    /// - Throws: `LacunaError.invalidArgument` if the tensor is not a matrix, the mask has another shape, or sides of
    ///   blocks are not in 1...256.
    public init(_ weight: Tensor<Scalar>, mask: SparsePattern? = nil, blockRows: Int, blockColumns: Int) throws {
        guard weight.rank == 2 else {
            throw LacunaError.invalidArgument("weight", reason: "shape \(weight.shape) is not a matrix")
        }
        if let mask, mask.rows != weight.rows || mask.columns != weight.columns {
            throw LacunaError.invalidArgument(
                "mask", reason: "shape [\(mask.rows), \(mask.columns)] for a weight of shape \(weight.shape)")
        }
        guard (1...256).contains(blockRows) && (1...256).contains(blockColumns) else {
            throw LacunaError.invalidArgument(
                "blocks", reason: "\(blockRows)x\(blockColumns): each side must be in 1...256")
        }
        let mask = mask ?? SparsePattern(nonzerosOf: weight)
        var kept = SparsePattern(
            rows: (weight.rows + blockRows - 1) / blockRows, columns: (weight.columns + blockColumns - 1) / blockColumns
        )
        for r in 0..<mask.rows { mask.forEachKept(row: r) { kept[r / blockRows, $0 / blockColumns] = true } }
        self.init(
            rows: weight.rows, columns: weight.columns, blockRows: blockRows, blockColumns: blockColumns,
            blocks: kept)
        weight.withPointer { source in forEachEntry { r, c, slot in buffer.pointer[slot] = source[r * columns + c] } }
    }

    /// Blocks of zeros.
    ///
    /// - Precondition: `blocks` has as many rows and columns as there are blocks down and across.
    public init(rows: Int, columns: Int, blockRows: Int, blockColumns: Int, blocks: SparsePattern) {
        self.init(
            rows: rows, columns: columns, blockRows: blockRows, blockColumns: blockColumns, blocks: blocks,
            buffer: Buffer(repeating: 0, count: blocks.count * blockRows * blockColumns))
    }

    /// The matrix whose values are in `buffer`, [blocks, blockRows, blockColumns]: whoever owns the buffer sees and may
    /// change them.
    ///
    /// - Precondition: `blocks` has as many rows and columns as there are blocks down and across, and the buffer as many
    ///   values as they have.
    package init(
        rows: Int, columns: Int, blockRows: Int, blockColumns: Int, blocks: SparsePattern, buffer: Buffer<Scalar>
    ) {
        require(
            blocks.rows == (rows + blockRows - 1) / blockRows
                && blocks.columns == (columns + blockColumns - 1) / blockColumns
                && buffer.count == blocks.count * blockRows * blockColumns)
        self.rows = rows
        self.columns = columns
        self.blockRows = blockRows
        self.blockColumns = blockColumns
        self.blocks = blocks
        self.buffer = buffer
    }

    /// The same blocks with the values in `buffer`.
    package func with(_ buffer: Buffer<Scalar>) -> CompressedBlocks {
        CompressedBlocks(
            rows: rows, columns: columns, blockRows: blockRows, blockColumns: blockColumns, blocks: blocks,
            buffer: buffer)
    }

    /// Calls `body` with the values, which are only valid during the call.
    public func withValues<R>(_ body: (UnsafeBufferPointer<Scalar>) throws -> R) rethrows -> R {
        try withExtendedLifetime(buffer) { try body(UnsafeBufferPointer(buffer.elements)) }
    }

    /// Calls `body` with values that no other matrix shares.
    public mutating func withMutableValues<R>(_ body: (UnsafeMutableBufferPointer<Scalar>) throws -> R) rethrows -> R {
        if !isKnownUniquelyReferenced(&buffer) { buffer = buffer.copy() }
        return try withExtendedLifetime(buffer) { try body(buffer.elements) }
    }

    /// [blocks, blockRows, blockColumns]
    public var values: [Scalar] { buffer.array }

    /// The dense matrix.
    public func densified() -> Tensor<Scalar> {
        var result = Tensor<Scalar>(zeros: [rows, columns])
        result.withMutablePointer { target in forEachEntry { target[$0 * columns + $1] = buffer.pointer[$2] } }
        return result
    }

    /// Calls `body` with the row, the column and the slot of every entry within the matrix.
    func forEachEntry(_ body: (_ row: Int, _ column: Int, _ slot: Int) -> Void) {
        let columnIndices = blocks.compressedRows.columns.pointer
        for i in 0..<blocks.rows {
            for b in blocks.entries(row: i) {
                let left = Int(columnIndices[b]) * blockColumns
                for r in i * blockRows..<min((i + 1) * blockRows, rows) {
                    let slot = (b * blockRows + r - i * blockRows) * blockColumns
                    for c in left..<min(left + blockColumns, columns) { body(r, c, slot + c - left) }
                }
            }
        }
    }

    var kernel: lk_blocks {
        let compressed = blocks.compressedRows
        return lk_blocks(
            row_start: compressed.starts.pointer, block_column: compressed.columns.pointer, values: buffer.pointer,
            rows: rows, columns: columns, block_rows: blockRows, block_columns: blockColumns)
    }
}
