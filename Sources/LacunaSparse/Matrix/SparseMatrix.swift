import LacunaTensor

/// A sparse matrix [rows, columns]: a ``SparsePattern`` and one value for each of its entries, in row-major order.
///
/// A value type: copies share memory until one of them is written to, and matrices of one pattern share it. Entries that
/// are stored may be 0; ``droppingZeros()`` removes them. `A.multiplied(by: B)` is the product A B, whatever B is: a vector,
/// a dense tensor, another sparse matrix.
///
/// ```swift
/// let a = try SparseMatrix<Double>(rows: 2, columns: 3, entries: [
///     (row: 0, column: 1, value: 2), (row: 1, column: 0, value: -1), (row: 1, column: 2, value: 4),
/// ])
/// let y = a.multiplied(by: [1, 1, 1])         // [2, 3]
/// let gram = a.transposed() * a               // sparse, [3, 3]
/// ```
///
/// ``StoredMatrix`` encodes a matrix for reading fast, in reduced precision and other layouts.
public struct SparseMatrix<Scalar: SparseElement>: Sendable {
    /// Which entries are stored.
    public private(set) var pattern: SparsePattern
    private(set) var buffer: Buffer<Scalar>

    /// Number of rows.
    public var rows: Int { pattern.rows }
    /// Number of columns.
    public var columns: Int { pattern.columns }
    /// Number of stored entries, explicit zeros included.
    public var count: Int { buffer.count }
    /// Fraction of entries that are stored; 0 for an empty matrix.
    public var density: Double { pattern.density }
    /// Fraction of entries that are not stored; 0 for an empty matrix.
    public var sparsity: Double { pattern.sparsity }
    /// Bytes of values, columns and starts of rows.
    public var byteCount: Int {
        let compressed = pattern.compressedRows
        return buffer.byteCount + compressed.starts.byteCount + compressed.columns.byteCount
    }

    // MARK: From a pattern

    /// All entries of the pattern have the same value.
    public init(_ pattern: SparsePattern, repeating value: Scalar = .absent) {
        self.init(pattern, buffer: Buffer(repeating: value, count: pattern.count))
    }

    /// - Parameter values: One for each entry of the pattern, in row-major order.
    /// - Throws: `LacunaError.invalidArgument` for another number of values.
    public init(_ pattern: SparsePattern, values: some Collection<Scalar>) throws {
        guard values.count == pattern.count else {
            throw LacunaError.invalidArgument(
                "values", reason: "\(values.count) for a pattern of \(pattern.count) entries")
        }
        self.init(pattern, buffer: Buffer(values))
    }

    /// From the three arrays of compressed sparse rows.
    ///
    /// - Throws: `LacunaError.invalidArgument` if they contradict each other: see
    ///   ``SparsePattern/init(rows:columns:rowStarts:columnIndices:)``.
    public init(
        rows: Int, columns: Int, rowStarts: some Collection<Int>, columnIndices: some Collection<some BinaryInteger>,
        values: some Collection<Scalar>
    ) throws {
        try self.init(
            SparsePattern(rows: rows, columns: columns, rowStarts: rowStarts, columnIndices: columnIndices),
            values: values)
    }

    /// The matrix whose values are in `buffer`, which others may go on writing to: for training, where products read the
    /// weights in place. A matrix that users keep needs a buffer of its own.
    package init(_ pattern: SparsePattern, buffer: Buffer<Scalar>) {
        require(buffer.count == pattern.count, "\(buffer.count) values for a pattern of \(pattern.count) entries")
        self.pattern = pattern
        self.buffer = buffer
    }

    // MARK: Values

    /// The values in row-major order.
    public var values: [Scalar] { buffer.array }

    /// Calls `body` with the values in row-major order. They are only valid during the call.
    public func withValues<Result>(_ body: (UnsafeBufferPointer<Scalar>) throws -> Result) rethrows -> Result {
        try withExtendedLifetime(buffer) { try body(UnsafeBufferPointer(buffer.elements)) }
    }

    /// Calls `body` with values that no other matrix shares.
    public mutating func withMutableValues<Result>(
        _ body: (UnsafeMutableBufferPointer<Scalar>) throws -> Result
    ) rethrows -> Result {
        if !isKnownUniquelyReferenced(&buffer) { buffer = buffer.copy() }
        return try withExtendedLifetime(buffer) { try body(buffer.elements) }
    }

    // MARK: One entry

    /// The entry at a place, ``SparseElement/absent`` if it is not stored.
    ///
    /// - Complexity: Reading O(log of the row's entries). Writing an entry that is stored the same; writing another one
    ///   inserts it, which takes O(rows + entries): to make a matrix, collect its entries first.
    public subscript(row: Int, column: Int) -> Scalar {
        get { pattern.index(row: row, column: column).map { buffer.pointer[$0] } ?? .absent }
        set {
            if let index = pattern.index(row: row, column: column) {
                withMutableValues { $0[index] = newValue }
                return
            }
            let old = pattern.compressedRows
            let starts = old.starts.copy()
            var place = starts.pointer[row]
            while place < starts.pointer[row + 1] && Int(old.columns.pointer[place]) < column { place += 1 }
            for r in row + 1...rows { starts.pointer[r] += 1 }
            let indices = Buffer<UInt32>(uninitialized: count + 1)
            let values = Buffer<Scalar>(uninitialized: count + 1)
            indices.pointer.update(from: old.columns.pointer, count: place)
            values.pointer.update(from: buffer.pointer, count: place)
            indices.pointer[place] = UInt32(column)
            values.pointer[place] = newValue
            (indices.pointer + place + 1).update(from: old.columns.pointer + place, count: count - place)
            (values.pointer + place + 1).update(from: buffer.pointer + place, count: count - place)
            self = SparseMatrix(
                SparsePattern(rows: rows, columns: columns, .init(starts: starts, columns: indices)), buffer: values)
        }
    }

    // MARK: Entry by entry

    /// Calls `body` with every stored entry, in row-major order.
    @inlinable
    public func forEachEntry(
        _ body: (_ row: Int, _ column: Int, _ value: Scalar) throws -> Void
    ) rethrows {
        try withValues { values in try pattern.forEachEntry { try body($1, $2, values[$0]) } }
    }

    /// The matrix with `transform` applied to every stored value; the pattern stays.
    @inlinable
    public func mapValues<Result: SparseElement>(_ transform: (Scalar) throws -> Result) rethrows -> SparseMatrix<
        Result
    > {
        var result = SparseMatrix<Result>(pattern)
        try withValues { from in try result.withMutableValues { for i in $0.indices { $0[i] = try transform(from[i]) } }
        }
        return result
    }

    /// The matrix with `transform` applied to every stored entry; the pattern stays.
    @inlinable
    public func mapEntries<Result: SparseElement>(
        _ transform: (_ row: Int, _ column: Int, _ value: Scalar) throws -> Result
    ) rethrows -> SparseMatrix<Result> {
        var result = SparseMatrix<Result>(pattern)
        try withValues { from in
            try result.withMutableValues { to in
                try pattern.forEachEntry { to[$0] = try transform($1, $2, from[$0]) }
            }
        }
        return result
    }

    /// The matrix of the stored entries for which `isKept` is true.
    ///
    /// - Complexity: O(rows + entries).
    @inlinable
    public func filter(
        _ isKept: (_ row: Int, _ column: Int, _ value: Scalar) throws -> Bool
    ) rethrows -> SparseMatrix {
        var kept: [Int] = []
        try withValues { values in
            try pattern.forEachEntry { if try isKept($1, $2, values[$0]) { kept.append($0) } }
        }
        return selecting(entries: kept)
    }

    /// The matrix of the entries with these ascending indices.
    @usableFromInline
    func selecting(entries kept: [Int]) -> SparseMatrix {
        let old = pattern.compressedRows
        let starts = Buffer<Int>(repeating: 0, count: rows + 1)
        let indices = Buffer<UInt32>(uninitialized: kept.count)
        let values = Buffer<Scalar>(uninitialized: kept.count)
        var place = 0
        for row in 0..<rows {
            while place < kept.count && kept[place] < old.starts.pointer[row + 1] {
                indices.pointer[place] = old.columns.pointer[kept[place]]
                values.pointer[place] = buffer.pointer[kept[place]]
                place += 1
            }
            starts.pointer[row + 1] = place
        }
        return SparseMatrix(
            SparsePattern(rows: rows, columns: columns, .init(starts: starts, columns: indices)), buffer: values)
    }

    /// The same matrix without stored entries that are ``SparseElement/absent``.
    public func droppingZeros() -> SparseMatrix { filter { $2 != .absent } }

    /// The values where `target` has entries too, ``SparseElement/absent`` in entries that only `target` has; the others are
    /// dropped: how training carries values over to a moved pattern.
    ///
    /// - Throws: `LacunaError.invalidArgument` for a pattern of another shape.
    public func moved(to target: SparsePattern) throws -> SparseMatrix {
        guard target.rows == rows && target.columns == columns else {
            throw LacunaError.invalidArgument(
                "pattern", reason: "shape \(target.shapeText) for a matrix \(pattern.shapeText)")
        }
        let result = SparseMatrix(target)
        let starts = target.compressedRows.starts
        let merge = RowMerge(pattern, target, keeping: (both: true, left: false, right: true), starts: starts)
        let (from, to) = (buffer.pointer, result.buffer.pointer)
        Parallel.forRanges(rows, grain: merge.grain) { range in
            merge.forEach(in: range) { place, _, left, _ in if left >= 0 { to[place] = from[left] } }
        }
        return result
    }
}

extension SparseMatrix: Equatable {
    /// Whether two matrices of the same shape have the same entries; one that is stored as 0 equals one that is not stored.
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    public static func == (a: SparseMatrix, b: SparseMatrix) -> Bool {
        guard a.rows == b.rows && a.columns == b.columns else { return false }
        if a.pattern == b.pattern { return a.buffer.elements.elementsEqual(b.buffer.elements) }
        let merge = RowMerge(a.pattern, b.pattern, keeping: (both: true, left: true, right: true))
        let same = Buffer<Bool>(repeating: true, count: merge.count)
        let (x, y, target) = (a.buffer.pointer, b.buffer.pointer, same.pointer)
        Parallel.forRanges(a.rows, grain: merge.grain) { range in
            merge.forEach(in: range) { place, _, i, j in
                target[place] = (i < 0 ? .absent : x[i]) == (j < 0 ? .absent : y[j])
            }
        }
        return same.elements.allSatisfy { $0 }
    }
}

extension SparseMatrix: Sequence {
    /// A stored entry and its place.
    public typealias Element = (row: Int, column: Int, value: Scalar)

    /// The stored entries in row-major order.
    public struct Iterator: IteratorProtocol {
        private let matrix: SparseMatrix
        private let compressed: SparsePattern.CompressedRows
        private var row = 0
        private var index = 0

        init(_ matrix: SparseMatrix) {
            self.matrix = matrix
            compressed = matrix.pattern.compressedRows
        }

        public mutating func next() -> Element? {
            if index == matrix.count { return nil }
            while compressed.starts.pointer[row + 1] <= index { row += 1 }
            defer { index += 1 }
            return (row, Int(compressed.columns.pointer[index]), matrix.buffer.pointer[index])
        }
    }

    public func makeIterator() -> Iterator { Iterator(self) }
    public var underestimatedCount: Int { count }
}

extension SparseMatrix: CustomStringConvertible {
    /// Small matrices as a grid with a dot for what is not stored, larger ones as their size and first entries.
    public var description: String {
        let title = "SparseMatrix<\(Scalar.self)> \(rows) x \(columns), \(count) stored"
        if rows == 0 || columns == 0 { return title }
        if rows <= 12 && columns <= 12 {
            var cells = [[String]](repeating: [String](repeating: ".", count: columns), count: rows)
            forEachEntry { cells[$0][$1] = NumberText.number($2) }
            let widths = (0..<columns).map { c in cells.map { $0[c].count }.max() ?? 1 }
            let lines = cells.map { row in
                zip(row, widths).map { NumberText.padded($0, to: $1) }.joined(separator: "  ")
            }
            return ([title] + lines).joined(separator: "\n")
        }
        var lines = [title]
        for entry in self.prefix(8) {
            lines.append("  [\(entry.row), \(entry.column)]  \(NumberText.number(entry.value))")
        }
        if count > 8 { lines.append("  … \(count - 8) more") }
        return lines.joined(separator: "\n")
    }
}
