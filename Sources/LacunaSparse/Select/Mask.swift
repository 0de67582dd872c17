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
        if keepingAll { clearSlack() }
    }

    /// A mask that keeps the entries for which `keep(row, column)` is true.
    public init(rows: Int, columns: Int, keep: (_ row: Int, _ column: Int) throws -> Bool) rethrows {
        self.init(rows: rows, columns: columns)
        for row in 0..<rows {
            for column in 0..<columns where try keep(row, column) {
                words[row * wordsPerRow + column / 64] |= 1 << UInt64(column % 64)
            }
        }
    }

    /// A mask whose bits `fill` sets, in words of 64 that begin as 0, a row every `wordsPerRow`: for loops that are too hot
    /// for anything else. Bits beyond the last column must stay 0.
    init(rows: Int, columns: Int, words fill: (_ words: UnsafeMutablePointer<UInt64>, _ wordsPerRow: Int) -> Void) {
        self.init(rows: rows, columns: columns)
        let wordsPerRow = wordsPerRow
        words.withUnsafeMutableBufferPointer { words in
            if let words = words.baseAddress, rows > 0 { fill(words, wordsPerRow) }
        }
    }

    /// A mask of `rows` × `columns` booleans in row-major order, true for kept.
    public init(rows: Int, columns: Int, _ kept: some RandomAccessCollection<Bool>) {
        precondition(kept.count == rows * columns, "\(kept.count) booleans for \(rows) x \(columns)")
        let start = kept.startIndex
        self.init(rows: rows, columns: columns) { kept[kept.index(start, offsetBy: $0 * columns + $1)] }
    }

    /// A mask of `rows` × `columns` bytes in row-major order, not 0 for kept.
    public init(rows: Int, columns: Int, bytes: UnsafePointer<UInt8>) {
        self.init(rows: rows, columns: columns) { bytes[$0 * columns + $1] != 0 }
    }

    /// A mask of eight entries a byte, the first in the lowest bit, every row starting a new byte.
    ///
    /// Bits beyond the last column are ignored.
    public init(rows: Int, columns: Int, packedBits: UnsafePointer<UInt8>) {
        self.init(rows: rows, columns: columns)
        let bytesPerRow = (columns + 7) / 8
        for row in 0..<rows {
            for byte in 0..<bytesPerRow {
                words[row * wordsPerRow + byte / 8] |=
                    UInt64(packedBits[row * bytesPerRow + byte]) << UInt64(byte % 8 * 8)
            }
        }
        clearSlack()
    }

    /// A mask that keeps what is not 0 in `matrix` [rows, columns]. NaN is kept.
    @_specialize(where Scalar == Float)
    public init<Scalar: TensorScalar>(nonzerosOf matrix: Tensor<Scalar>) {
        self.init(rows: matrix.rows, columns: matrix.columns)
        let (rows, columns, wordsPerRow) = (rows, columns, wordsPerRow)
        matrix.withPointer { p in
            words.withUnsafeMutableBufferPointer { words in
                guard let words = words.baseAddress else { return }
                for row in 0..<rows {
                    for column in 0..<columns where p[row * columns + column] != 0 {
                        words[row * wordsPerRow + column / 64] |= 1 << UInt64(column % 64)
                    }
                }
            }
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

    /// Number of kept entries of a row.
    public func keptCount(row: Int) -> Int {
        words[row * wordsPerRow..<(row + 1) * wordsPerRow].reduce(0) { $0 + $1.nonzeroBitCount }
    }

    /// Number of kept entries of every row.
    public var keptCounts: [Int] { (0..<rows).map { keptCount(row: $0) } }

    /// Fraction of entries removed; 0 for an empty matrix.
    public var sparsity: Double {
        rows * columns == 0 ? 0 : 1 - Double(keptCount) / Double(rows * columns)
    }

    /// The bits of the last word of a row that stand for columns. All ones if rows fill their words.
    var lastWordBits: UInt64 { columns % 64 == 0 ? ~0 : (1 << UInt64(columns % 64)) - 1 }

    /// Restores the rule that bits beyond the last column are 0.
    mutating func clearSlack() {
        if columns % 64 == 0 { return }
        for row in 0..<rows { words[(row + 1) * wordsPerRow - 1] &= lastWordBits }
    }
}
