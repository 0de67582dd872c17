import LacunaTensor

/// Which entries of a matrix [rows, columns] are kept: what masks, selections, graphs, supports and the positions of
/// sparse matrices have in common.
///
/// A pattern is a value. It is held as one bit for every entry where it was made that way (selection, N:M, dense masks)
/// or as compressed sparse rows (the columns of every row, ascending); the other form, the transpose and the orders in
/// which products visit the entries are worked out once, when they are first needed, and shared by all copies. Columns
/// are 32 bits wide, the starts of rows 64.
///
/// Entries have an index: their place in row-major order among the kept ones, which is where ``SparseMatrix`` keeps
/// their values.
public struct SparsePattern: Sendable {
    /// Number of rows.
    public let rows: Int
    /// Number of columns.
    public let columns: Int
    var storage: Storage

    /// The largest number of rows or columns.
    public static let maximumSide = Int(UInt32.max) - 1

    /// The columns of every row.
    struct CompressedRows: Sendable {
        /// Where each row begins among the entries, [rows + 1].
        let starts: Buffer<Int>
        /// The column of every entry, ascending strictly within a row.
        let columns: Buffer<UInt32>
    }

    /// What a pattern is made of. Written only through the one pattern that owns it.
    final class Storage: @unchecked Sendable {
        /// The form that the pattern was made in; exactly one of the two is there.
        let compressed: CompressedRows?
        let bits: Buffer<UInt64>?
        private let derived = Locked(Derived())

        init(_ compressed: CompressedRows) {
            self.compressed = compressed
            bits = nil
        }

        init(bits: Buffer<UInt64>) {
            compressed = nil
            self.bits = bits
        }

        /// The value at `place`, made by the first who asks. It is made outside the lock, so that one derived thing may ask
        /// for another; two threads may then make it at once, and one result is dropped.
        func derive<Value>(_ place: WritableKeyPath<Derived, Value?>, _ make: () -> Value) -> Value {
            if let value = derived.withLock({ $0[keyPath: place] }) { return value }
            let made = make()
            return derived.withLock {
                if let value = $0[keyPath: place] { return value }
                $0[keyPath: place] = made
                return made
            }
        }

        /// Forgets what was derived, before a change.
        func invalidate() { derived.withLock { if $0.isUsed { $0 = Derived() } } }
    }

    /// What follows from a pattern and is expensive to find.
    struct Derived {
        var compressed: CompressedRows?
        var bits: Buffer<UInt64>?
        var transpose: Transpose?
        var segments: SegmentOrder?
        var narrowSegments: SegmentOrder?
        var groups: GroupOrder?

        var isUsed: Bool {
            compressed != nil || bits != nil || transpose != nil || segments != nil || narrowSegments != nil
                || groups != nil
        }
    }

    /// The pattern of the transpose, and for each of its entries the index here.
    struct Transpose {
        let pattern: SparsePattern
        let order: Buffer<UInt32>
    }

    // MARK: Making

    /// A pattern that keeps nothing, or everything, as bits.
    ///
    /// - Complexity: O(rows · columns / 64).
    public init(rows: Int, columns: Int, keepingAll: Bool = false) {
        require(rows >= 0 && columns >= 0, "a pattern of \(rows) x \(columns)")
        self.rows = rows
        self.columns = columns
        let words = (columns + 63) / 64
        let bits = Buffer<UInt64>(repeating: keepingAll ? ~0 : 0, count: rows * words)
        storage = Storage(bits: bits)
        if keepingAll { Self.clearSlack(bits, rows: rows, columns: columns) }
    }

    /// A pattern that keeps the entries for which `keep(row, column)` is true, as bits.
    public init(rows: Int, columns: Int, keep: (_ row: Int, _ column: Int) throws -> Bool) rethrows {
        self.init(rows: rows, columns: columns)
        try withMutableWords { words, wordsPerRow in
            for row in 0..<rows {
                for column in 0..<columns where try keep(row, column) {
                    words[row * wordsPerRow + column / 64] |= 1 << UInt64(column % 64)
                }
            }
        }
    }

    /// A pattern of `rows` × `columns` booleans in row-major order, true for kept.
    public init(rows: Int, columns: Int, _ kept: some RandomAccessCollection<Bool>) {
        require(kept.count == rows * columns, "\(kept.count) booleans for \(rows) x \(columns)")
        let start = kept.startIndex
        self.init(rows: rows, columns: columns) { kept[kept.index(start, offsetBy: $0 * columns + $1)] }
    }

    /// A pattern in compressed sparse rows.
    ///
    /// - Parameters:
    ///   - rowStarts: Where each row begins among the entries: rows + 1 numbers from 0 to the number of entries.
    ///   - columnIndices: The column of every entry, ascending strictly within a row.
    /// - Throws: `LacunaError.invalidArgument` if they contradict each other or a side is above ``maximumSide``.
    /// - Complexity: O(rows + entries).
    public init(
        rows: Int, columns: Int, rowStarts: some Collection<Int>, columnIndices: some Collection<some BinaryInteger>
    ) throws {
        func refuse(_ argument: String, _ reason: String) -> LacunaError { .invalidArgument(argument, reason: reason) }
        try SparsePattern.checkSides(rows: rows, columns: columns)
        let count = columnIndices.count
        guard rowStarts.count == rows + 1 else {
            throw refuse("rowStarts", "need \(rows + 1) numbers from 0 to \(count), found \(rowStarts.count)")
        }
        let starts = Buffer<Int>(rowStarts)
        guard starts.pointer[0] == 0, starts.pointer[rows] == count else {
            throw refuse(
                "rowStarts", "must run from 0 to \(count), not from \(starts.pointer[0]) to \(starts.pointer[rows])")
        }
        for row in 0..<rows where starts.pointer[row] > starts.pointer[row + 1] {
            throw refuse("rowStarts", "row \(row) ends before it begins")
        }
        let indices = Buffer<UInt32>(uninitialized: count)
        var values = columnIndices.makeIterator()
        for row in 0..<rows {
            var previous = -1
            for j in starts.pointer[row]..<starts.pointer[row + 1] {
                guard let value = values.next(), let column = Int(exactly: value), column > previous, column < columns
                else {
                    throw refuse(
                        "columnIndices",
                        "row \(row): a column after \(previous) that is not in its order or not below \(columns)")
                }
                indices.pointer[j] = UInt32(truncatingIfNeeded: column)
                previous = column
            }
        }
        self.init(rows: rows, columns: columns, CompressedRows(starts: starts, columns: indices))
    }

    /// Takes arrays that are known to be right: as ``init(rows:columns:rowStarts:columnIndices:)``, without looking at them.
    package init(rows: Int, columns: Int, starts: Buffer<Int>, columnIndices: Buffer<UInt32>) {
        self.init(rows: rows, columns: columns, CompressedRows(starts: starts, columns: columnIndices))
    }

    /// Takes arrays that are known to be right.
    init(rows: Int, columns: Int, _ compressed: CompressedRows) {
        self.rows = rows
        self.columns = columns
        storage = Storage(compressed)
    }

    /// Throws unless a matrix may have these sides.
    static func checkSides(rows: Int, columns: Int) throws {
        guard (0...maximumSide).contains(rows) && (0...maximumSide).contains(columns) else {
            throw LacunaError.invalidArgument(
                "shape", reason: "[\(rows), \(columns)]: each side must be in 0...\(maximumSide)")
        }
    }

    // MARK: Looking

    /// Number of kept entries.
    ///
    /// - Complexity: O(1) in compressed rows, O(rows · columns / 64) as bits.
    public var count: Int {
        if let compressed = storage.compressed { return compressed.columns.count }
        return storage.bits!.elements.reduce(0) { $0 + $1.nonzeroBitCount }
    }

    /// Whether the pattern is held as one bit an entry, rather than in compressed rows.
    public var isBits: Bool { storage.bits != nil }

    /// Fraction of entries removed; 0 for an empty matrix.
    public var sparsity: Double { rows == 0 || columns == 0 ? 0 : 1 - density }

    /// Fraction of entries kept; 0 for an empty matrix.
    public var density: Double {
        rows == 0 || columns == 0 ? 0 : Double(count) / (Double(rows) * Double(columns))
    }

    /// Bytes of the form that the pattern is held in. What was derived from it is not counted.
    public var byteCount: Int {
        storage.bits?.byteCount ?? storage.compressed!.starts.byteCount + storage.compressed!.columns.byteCount
    }

    /// Calls `body` with where each row begins among the entries [rows + 1] and the column of every entry. Both are only
    /// valid during the call.
    ///
    /// - Complexity: O(1); the first call on bits takes O(rows · columns / 64 + entries).
    public func withCompressedRows<Result>(
        _ body: (_ rowStarts: UnsafeBufferPointer<Int>, _ columnIndices: UnsafeBufferPointer<UInt32>) throws -> Result
    ) rethrows -> Result {
        let compressed = compressedRows
        return try withExtendedLifetime(compressed) {
            try body(UnsafeBufferPointer(compressed.starts.elements), UnsafeBufferPointer(compressed.columns.elements))
        }
    }

    /// Where each row begins among the entries, [rows + 1].
    public var rowStarts: [Int] { compressedRows.starts.array }

    /// The column of every entry, in row-major order.
    public var columnIndices: [Int] { withCompressedRows { $1.map(Int.init) } }

    /// The indices of the entries of a row.
    public func entries(row: Int) -> Range<Int> {
        require((0..<rows).contains(row), "row \(row) of \(rows)")
        let starts = compressedRows.starts
        return starts.pointer[row]..<starts.pointer[row + 1]
    }

    /// Calls `body` with the index, row and column of every entry, in row-major order.
    @inlinable
    public func forEachEntry(_ body: (_ index: Int, _ row: Int, _ column: Int) throws -> Void) rethrows {
        try withCompressedRows { starts, columns in
            for row in 0..<rows {
                for j in starts[row]..<starts[row + 1] { try body(j, row, Int(columns[j])) }
            }
        }
    }

    /// The index of an entry, or nil if it is not kept.
    ///
    /// - Complexity: O(log of the row's entries).
    public func index(row: Int, column: Int) -> Int? {
        require((0..<rows).contains(row) && (0..<columns).contains(column), "entry [\(row), \(column)] of \(shapeText)")
        let compressed = compressedRows
        let (starts, indices) = (compressed.starts.pointer, compressed.columns.pointer)
        var (low, high) = (starts[row], starts[row + 1])
        let end = high
        while low < high {
            let middle = (low + high) / 2
            if Int(indices[middle]) < column { low = middle + 1 } else { high = middle }
        }
        return low < end && Int(indices[low]) == column ? low : nil
    }

    /// Whether the two are copies of one pattern, which costs nothing to know.
    func isIdentical(to other: SparsePattern) -> Bool {
        storage === other.storage && rows == other.rows && columns == other.columns
    }

    var shapeText: String { "[\(rows), \(columns)]" }

    /// The compressed form.
    var compressedRows: CompressedRows {
        if let compressed = storage.compressed { return compressed }
        return storage.derive(\.compressed) { compressing(storage.bits!) }
    }

    private func compressing(_ bits: Buffer<UInt64>) -> CompressedRows {
        let starts = Buffer<Int>(uninitialized: rows + 1)
        let words = wordsPerRow
        starts.pointer[0] = 0
        for row in 0..<rows {
            var kept = 0
            for i in row * words..<(row + 1) * words { kept += bits.pointer[i].nonzeroBitCount }
            starts.pointer[row + 1] = starts.pointer[row] + kept
        }
        let columns = Buffer<UInt32>(uninitialized: starts.pointer[rows])
        Parallel.forRanges(rows, grain: max(1, 65_536 / max(words, 1))) { range in
            for row in range {
                var j = starts.pointer[row]
                for i in 0..<words {
                    var rest = bits.pointer[row * words + i]
                    while rest != 0 {
                        columns.pointer[j] = UInt32(truncatingIfNeeded: i * 64 + rest.trailingZeroBitCount)
                        j += 1
                        rest &= rest - 1
                    }
                }
            }
        }
        return CompressedRows(starts: starts, columns: columns)
    }
}

extension SparsePattern: Equatable {
    /// Whether two patterns of the same shape keep the same entries, whatever form they are held in.
    public static func == (a: SparsePattern, b: SparsePattern) -> Bool {
        guard a.rows == b.rows && a.columns == b.columns else { return false }
        if a.isIdentical(to: b) { return true }
        if let x = a.storage.bits, let y = b.storage.bits {
            return x.elements.elementsEqual(y.elements)
        }
        return a.withCompressedRows { starts, columns in
            b.withCompressedRows { starts.elementsEqual($0) && columns.elementsEqual($1) }
        }
    }
}

extension SparsePattern: CustomStringConvertible {
    /// The shape and the number of entries.
    public var description: String { "pattern of \(rows) x \(columns), \(count) kept" }
}
