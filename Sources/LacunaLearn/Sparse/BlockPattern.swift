import LacunaSparse
import LacunaTensor

/// Which blocks of a matrix [rows, columns] are stored: a grid whose cells divide the matrix evenly.
public final class BlockPattern: Sendable {
    public let rows: Int
    public let columns: Int
    public let blockRows: Int
    public let blockColumns: Int
    /// Where each row of blocks begins, in blocks.
    public let rowStarts: [Int]
    /// The block column of each block, ascending within a row of blocks.
    public let blockColumn: [Int]
    /// For each column of blocks, the blocks in it with their rows.
    let columnBlocks: [[(index: Int, row: Int)]]

    /// - Throws: `LacunaError.invalidArgument` unless blocks divide the matrix and the mask keeps or removes whole ones.
    public init(_ mask: Mask, blockRows: Int, blockColumns: Int) throws {
        guard blockRows > 0, blockColumns > 0, mask.rows % blockRows == 0, mask.columns % blockColumns == 0 else {
            throw LacunaError.invalidArgument(
                "pattern", reason: "blocks of \(blockRows)x\(blockColumns) do not divide \(mask.rows)x\(mask.columns)")
        }
        guard mask.satisfies(.block(rows: blockRows, columns: blockColumns)) else {
            throw LacunaError.invalidArgument(
                "mask", reason: "does not keep whole blocks of \(blockRows)x\(blockColumns)")
        }
        (rows, columns, self.blockRows, self.blockColumns) = (mask.rows, mask.columns, blockRows, blockColumns)
        var rowStarts = [0]
        var blockColumn: [Int] = []
        var columnBlocks = [[(index: Int, row: Int)]](repeating: [], count: mask.columns / blockColumns)
        for row in 0..<mask.rows / blockRows {
            for column in 0..<mask.columns / blockColumns where mask[row * blockRows, column * blockColumns] {
                columnBlocks[column].append((blockColumn.count, row))
                blockColumn.append(column)
            }
            rowStarts.append(blockColumn.count)
        }
        (self.rowStarts, self.blockColumn, self.columnBlocks) = (rowStarts, blockColumn, columnBlocks)
    }

    public var blockCount: Int { blockColumn.count }
    public var valueCount: Int { blockCount * blockRows * blockColumns }

    /// Calls `body` with the place of every stored value and its row and column.
    func forEachValue(_ body: (_ place: Int, _ row: Int, _ column: Int) -> Void) {
        var place = 0
        for row in 0..<rowStarts.count - 1 {
            for block in rowStarts[row]..<rowStarts[row + 1] {
                for i in 0..<blockRows {
                    for j in 0..<blockColumns {
                        body(place, row * blockRows + i, blockColumn[block] * blockColumns + j)
                        place += 1
                    }
                }
            }
        }
    }
}
