import LacunaTensor

/// Which entries of a matrix are kept: one bit each, set for kept.
///
/// Bit `c % 64` of word `c / 64` of a row stands for column `c`. Every row starts a new word, and bits beyond the last
/// column are 0.
public struct Mask: Equatable, Sendable {
    public let rows: Int
    public let columns: Int
    /// 64-bit words of one row.
    public let wordsPerRow: Int
    public var words: [UInt64]

    /// A mask that keeps nothing, or everything.
    public init(rows: Int, columns: Int, keepingAll: Bool = false) {
        precondition(rows >= 0 && columns >= 0)
        self.rows = rows
        self.columns = columns
        wordsPerRow = (columns + 63) / 64
        words = [UInt64](repeating: keepingAll ? ~0 : 0, count: rows * wordsPerRow)
        if keepingAll && columns % 64 != 0 {
            let last = (UInt64(1) << UInt64(columns % 64)) - 1
            for row in 0..<rows { words[(row + 1) * wordsPerRow - 1] = last }
        }
    }

    public subscript(row: Int, column: Int) -> Bool {
        get {
            precondition(row >= 0 && row < rows && column >= 0 && column < columns)
            return words[row * wordsPerRow + column / 64] >> UInt64(column % 64) & 1 == 1
        }
        set {
            precondition(row >= 0 && row < rows && column >= 0 && column < columns)
            let bit = UInt64(1) << UInt64(column % 64)
            if newValue {
                words[row * wordsPerRow + column / 64] |= bit
            } else {
                words[row * wordsPerRow + column / 64] &= ~bit
            }
        }
    }

    /// Number of kept entries.
    public var keptCount: Int { words.reduce(0) { $0 + $1.nonzeroBitCount } }

    public func keptCount(row: Int) -> Int {
        words[row * wordsPerRow..<(row + 1) * wordsPerRow].reduce(0) { $0 + $1.nonzeroBitCount }
    }

    /// Fraction of entries removed; 0 for an empty matrix.
    public var sparsity: Double {
        rows * columns == 0 ? 0 : 1 - Double(keptCount) / Double(rows * columns)
    }
}
