import LacunaTensor

// The form of one bit an entry: bit `c % 64` of word `c / 64` of a row stands for column `c`. Every row starts a new word,
// and bits beyond the last column are 0.
extension SparsePattern {
    /// 64-bit words of one row.
    var wordsPerRow: Int { (columns + 63) / 64 }

    /// The bits of the last word of a row that stand for columns. All ones if rows fill their words.
    var lastWordBits: UInt64 { columns % 64 == 0 ? ~0 : (1 << UInt64(columns % 64)) - 1 }

    /// The bits, [rows, ``wordsPerRow``]; to be read only.
    var bits: Buffer<UInt64> {
        if let bits = storage.bits { return bits }
        return storage.derive(\.bits) {
            let bits = Buffer<UInt64>(repeating: 0, count: rows * wordsPerRow)
            let words = wordsPerRow
            forEachEntry { _, row, column in bits.pointer[row * words + column / 64] |= 1 << UInt64(column % 64) }
            return bits
        }
    }

    /// Calls `body` with the words and how many a row has.
    package func withWords<Result>(_ body: (UnsafePointer<UInt64>, _ wordsPerRow: Int) throws -> Result) rethrows
        -> Result
    {
        let bits = bits
        return try withExtendedLifetime(bits) { try body(UnsafePointer(bits.pointer), wordsPerRow) }
    }

    /// Calls `body` with words that no other pattern shares. Bits beyond the last column must stay 0.
    package mutating func withMutableWords<Result>(
        _ body: (UnsafeMutablePointer<UInt64>, _ wordsPerRow: Int) throws -> Result
    ) rethrows -> Result {
        if let bits = storage.bits {
            if isKnownUniquelyReferenced(&storage) {
                storage.invalidate()
            } else {
                storage = Storage(bits: bits.copy())
            }
        } else {
            storage = Storage(bits: bits.copy())
        }
        return try withExtendedLifetime(storage) { try body(storage.bits!.pointer, wordsPerRow) }
    }

    /// Sets bits beyond the last column to 0.
    static func clearSlack(_ bits: Buffer<UInt64>, rows: Int, columns: Int) {
        let words = (columns + 63) / 64
        if columns % 64 == 0 { return }
        for row in 0..<rows { bits.pointer[(row + 1) * words - 1] &= (1 << UInt64(columns % 64)) - 1 }
    }

    /// The bits of the pattern as words of 64, row by row, every row starting a new word: what files keep.
    public var packedWords: [UInt64] { bits.array }

    /// A pattern from words as ``packedWords`` gives them. Bits beyond the last column are ignored.
    ///
    /// - Throws: `LacunaError.invalidArgument` unless there are rows · (columns / 64, rounded up) words.
    public init(rows: Int, columns: Int, packedWords: [UInt64]) throws {
        try SparsePattern.checkSides(rows: rows, columns: columns)
        guard packedWords.count == rows * ((columns + 63) / 64) else {
            throw LacunaError.invalidArgument(
                "packedWords", reason: "\(packedWords.count) words for a pattern of \(rows) x \(columns)")
        }
        self.rows = rows
        self.columns = columns
        let bits = Buffer<UInt64>(packedWords)
        SparsePattern.clearSlack(bits, rows: rows, columns: columns)
        storage = Storage(bits: bits)
    }

    /// A pattern of `rows` × `columns` bytes in row-major order, not 0 for kept.
    package init(rows: Int, columns: Int, bytes: UnsafePointer<UInt8>) {
        self.init(rows: rows, columns: columns) { bytes[$0 * columns + $1] != 0 }
    }

    /// A pattern of eight entries a byte, the first in the lowest bit, every row starting a new byte. Bits beyond the last
    /// column are ignored.
    package init(rows: Int, columns: Int, packedBits: UnsafePointer<UInt8>) {
        self.init(rows: rows, columns: columns)
        let bytesPerRow = (columns + 7) / 8
        withMutableWords { words, wordsPerRow in
            for row in 0..<rows {
                for byte in 0..<bytesPerRow {
                    words[row * wordsPerRow + byte / 8] |=
                        UInt64(packedBits[row * bytesPerRow + byte]) << UInt64(byte % 8 * 8)
                }
            }
        }
        SparsePattern.clearSlack(storage.bits!, rows: rows, columns: columns)
    }

    /// A pattern, as bits, that keeps what is not 0 in `matrix` [rows, columns]. NaN is kept.
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    public init<Scalar: TensorScalar>(nonzerosOf matrix: Tensor<Scalar>) {
        self.init(rows: matrix.rows, columns: matrix.columns)
        let (rows, columns) = (rows, columns)
        matrix.withPointer { p in
            withMutableWords { words, wordsPerRow in
                for row in 0..<rows {
                    for column in 0..<columns where p[row * columns + column] != 0 {
                        words[row * wordsPerRow + column / 64] |= 1 << UInt64(column % 64)
                    }
                }
            }
        }
    }

    /// Whether an entry is kept.
    ///
    /// - Complexity: O(1) on bits, O(log of the row's entries) in compressed rows. Setting turns compressed rows into bits,
    ///   which takes rows · columns / 8 bytes: to make a large pattern, collect its entries first.
    public subscript(row: Int, column: Int) -> Bool {
        get {
            guard let bits = storage.bits else { return index(row: row, column: column) != nil }
            require(
                (0..<rows).contains(row) && (0..<columns).contains(column), "entry [\(row), \(column)] of \(shapeText)")
            return bits.pointer[row * wordsPerRow + column / 64] >> UInt64(column % 64) & 1 == 1
        }
        set {
            require(
                (0..<rows).contains(row) && (0..<columns).contains(column), "entry [\(row), \(column)] of \(shapeText)")
            let bit = UInt64(1) << UInt64(column % 64)
            withMutableWords { words, wordsPerRow in
                if newValue {
                    words[row * wordsPerRow + column / 64] |= bit
                } else {
                    words[row * wordsPerRow + column / 64] &= ~bit
                }
            }
        }
    }

    /// Keeps or removes the columns `range` of a row.
    public mutating func set(row: Int, columns range: Range<Int>, kept: Bool) {
        require(
            (0..<rows).contains(row) && range.lowerBound >= 0 && range.upperBound <= columns,
            "columns \(range) of row \(row) of \(shapeText)")
        withMutableWords { words, wordsPerRow in
            var column = range.lowerBound
            while column < range.upperBound {
                let (word, bit) = (column / 64, column % 64)
                let count = min(64 - bit, range.upperBound - column)
                let bits = (count == 64 ? ~0 : (UInt64(1) << UInt64(count)) - 1) << UInt64(bit)
                if kept {
                    words[row * wordsPerRow + word] |= bits
                } else {
                    words[row * wordsPerRow + word] &= ~bits
                }
                column += count
            }
        }
    }

    /// Number of kept entries of a row.
    public func keptCount(row: Int) -> Int {
        require((0..<rows).contains(row), "row \(row) of \(rows)")
        guard let bits = storage.bits else { return entries(row: row).count }
        var kept = 0
        for i in row * wordsPerRow..<(row + 1) * wordsPerRow { kept += bits.pointer[i].nonzeroBitCount }
        return kept
    }

    /// Number of kept entries of every row.
    public var keptCounts: [Int] { (0..<rows).map { keptCount(row: $0) } }

    /// The kept columns of a row, in ascending order.
    public func keptColumns(row: Int) -> [Int] {
        var columns: [Int] = []
        forEachKeptColumn(row: row) { columns.append($0) }
        return columns
    }

    /// Calls `body` with every kept column of a row, in ascending order.
    public func forEachKeptColumn(row: Int, _ body: (Int) throws -> Void) rethrows {
        require((0..<rows).contains(row), "row \(row) of \(rows)")
        try forEachKept(row: row, body)
    }

    /// The same without a check, for loops in this module.
    @inline(__always)
    func forEachKept(row: Int, _ body: (Int) throws -> Void) rethrows {
        if let bits = storage.bits {
            let words = wordsPerRow
            for i in 0..<words {
                var rest = bits.pointer[row * words + i]
                while rest != 0 {
                    try body(i * 64 + rest.trailingZeroBitCount)
                    rest &= rest - 1
                }
            }
        } else {
            let compressed = storage.compressed!
            for j in compressed.starts.pointer[row]..<compressed.starts.pointer[row + 1] {
                try body(Int(compressed.columns.pointer[j]))
            }
        }
    }
}
