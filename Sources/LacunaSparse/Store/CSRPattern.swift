import LacunaTensor

/// Where the entries of a sparse matrix stand: compressed sparse rows without the values.
///
/// Matrices of one pattern share it, and with it the order in which products visit its entries, which is worked out once,
/// when it is first needed. A pattern does not change; training that moves connections makes a new one.
public final class CSRPattern: @unchecked Sendable {
    public let rows: Int
    public let columns: Int
    /// Where each row begins among the entries, [rows + 1].
    public let rowOffsets: Buffer<Int>
    /// The column of every entry, ascending within a row, [count].
    public let columnIndices: Buffer<UInt32>
    /// Number of entries.
    public let count: Int

    private let lazySegments = Lazily<SegmentOrder>()
    private let lazyNarrowSegments = Lazily<SegmentOrder>()

    /// - Throws: `LacunaError.invalidArgument` unless `rowOffsets` ascends from 0 to the number of entries and the columns
    ///   of every row ascend strictly within 0..<`columns`.
    public convenience init(rows: Int, columns: Int, rowOffsets: [Int], columnIndices: [Int]) throws {
        func refuse(_ argument: String, _ reason: String) -> LacunaError { .invalidArgument(argument, reason: reason) }
        guard rows >= 0 && columns >= 0 && columns <= Int(Int32.max) && columnIndices.count <= Int(Int32.max) else {
            throw refuse("pattern", "[\(rows), \(columns)] with \(columnIndices.count) entries is out of range")
        }
        guard rowOffsets.count == rows + 1, rowOffsets.first == 0, rowOffsets.last == columnIndices.count else {
            throw refuse(
                "rowOffsets", "need \(rows + 1) numbers from 0 to \(columnIndices.count), found \(rowOffsets.count)")
        }
        for r in 0..<rows where rowOffsets[r] > rowOffsets[r + 1] {
            throw refuse("rowOffsets", "row \(r) ends before it begins")
        }
        for r in 0..<rows {
            var previous = -1
            for j in rowOffsets[r]..<rowOffsets[r + 1] {
                guard columnIndices[j] > previous && columnIndices[j] < columns else {
                    throw refuse(
                        "columnIndices", "row \(r): \(columnIndices[j]) after \(previous) of \(columns) columns")
                }
                previous = columnIndices[j]
            }
        }
        self.init(
            rows: rows, columns: columns, rowOffsets: Buffer(rowOffsets),
            columnIndices: Buffer(columnIndices.map { UInt32($0) }))
    }

    /// The entries that a mask keeps.
    public convenience init(_ mask: Mask) {
        let count = mask.keptCount
        precondition(count <= Int(Int32.max), "a pattern of more than 2^31 - 1 entries")
        let offsets = Buffer<Int>(uninitialized: mask.rows + 1)
        let indices = Buffer<UInt32>(uninitialized: count)
        var j = 0
        for r in 0..<mask.rows {
            offsets.pointer[r] = j
            mask.forEachKept(row: r) { c in
                indices.pointer[j] = UInt32(c)
                j += 1
            }
        }
        offsets.pointer[mask.rows] = j
        self.init(rows: mask.rows, columns: mask.columns, rowOffsets: offsets, columnIndices: indices)
    }

    /// Takes arrays that already are what the initialiser that throws asks for.
    init(rows: Int, columns: Int, rowOffsets: Buffer<Int>, columnIndices: Buffer<UInt32>) {
        self.rows = rows
        self.columns = columns
        self.rowOffsets = rowOffsets
        self.columnIndices = columnIndices
        count = columnIndices.count
    }

    /// The entries of a row, as indices into values and `columnIndices`.
    public func entries(row: Int) -> Range<Int> { rowOffsets.pointer[row]..<rowOffsets.pointer[row + 1] }

    /// The same positions as a mask.
    public var mask: Mask {
        var mask = Mask(rows: rows, columns: columns)
        for r in 0..<rows {
            for j in entries(row: r) {
                let c = Int(columnIndices.pointer[j])
                mask.words[r * mask.wordsPerRow + c / 64] |= 1 << UInt64(c % 64)
            }
        }
        return mask
    }

    /// Fraction of entries that are not in the pattern; 0 for an empty matrix.
    public var sparsity: Double { rows * columns == 0 ? 0 : 1 - Double(count) / Double(rows * columns) }

    /// Offsets and columns. What products work out for themselves is another 8 bytes for a dozen entries or so.
    public var byteCount: Int { rowOffsets.byteCount + columnIndices.byteCount }

    /// The order in which products with many vectors visit the entries.
    var segments: SegmentOrder { lazySegments.value { SegmentOrder(self) } }

    /// The same for panels that are at most half as wide as they can be.
    var narrowSegments: SegmentOrder {
        lazyNarrowSegments.value { SegmentOrder(self, bandColumns: SegmentOrder.narrowBandColumns) }
    }
}
