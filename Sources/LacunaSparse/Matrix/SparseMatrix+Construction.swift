import LacunaTensor

extension SparseMatrix {
    // MARK: Triplets

    /// From entries in any order.
    ///
    /// - Parameter combining: What two values at the same place become, in the order in which they come; nil refuses them.
    /// - Throws: `LacunaError.invalidArgument` for a place outside the matrix, one that comes twice where that is refused,
    ///   or a side above ``SparsePattern/maximumSide``.
    /// - Complexity: O(rows + entries), and O(n log n) for the entries n of a row.
    public init(
        rows: Int, columns: Int, entries: some Sequence<(row: Int, column: Int, value: Scalar)>,
        combining: ((Scalar, Scalar) -> Scalar)?
    ) throws {
        try SparsePattern.checkSides(rows: rows, columns: columns)
        var (rowIndices, columnIndices, values): ([UInt32], [UInt32], [Scalar]) = ([], [], [])
        let expected = entries.underestimatedCount
        rowIndices.reserveCapacity(expected)
        columnIndices.reserveCapacity(expected)
        values.reserveCapacity(expected)
        for entry in entries {
            guard (0..<rows).contains(entry.row) && (0..<columns).contains(entry.column) else {
                throw LacunaError.invalidArgument(
                    "entries", reason: "[\(entry.row), \(entry.column)] is outside a matrix of \(rows) x \(columns)")
            }
            rowIndices.append(UInt32(truncatingIfNeeded: entry.row))
            columnIndices.append(UInt32(truncatingIfNeeded: entry.column))
            values.append(entry.value)
        }
        self = try SparseMatrix.assembled(
            rows: rows, columns: columns, rowIndices, columnIndices, values, combining: combining)
    }

    /// From the three arrays of coordinate form, entries in any order; see ``init(rows:columns:entries:combining:)``.
    ///
    /// - Throws: As there, and for arrays of different length.
    public init<Index: FixedWidthInteger>(
        rows: Int, columns: Int, rowIndices: [Index], columnIndices: [Index], values: [Scalar],
        combining: ((Scalar, Scalar) -> Scalar)?
    ) throws {
        try SparsePattern.checkSides(rows: rows, columns: columns)
        guard rowIndices.count == values.count && columnIndices.count == values.count else {
            throw LacunaError.invalidArgument(
                "values",
                reason: "\(rowIndices.count) rows, \(columnIndices.count) columns and \(values.count) values")
        }
        self = try SparseMatrix.assembled(
            rows: rows, columns: columns, rowIndices, columnIndices, values, combining: combining)
    }

    /// From the entries of every row, in any order.
    ///
    /// - Throws: As ``init(rows:columns:entries:combining:)``; duplicates are refused.
    public init(columns: Int, rows: [[(column: Int, value: Scalar)]]) throws {
        let entries = rows.enumerated().lazy.flatMap { row, entries in
            entries.map { (row: row, column: $0.column, value: $0.value) }
        }
        try self.init(rows: rows.count, columns: columns, entries: entries, combining: nil)
    }

    // MARK: Joined

    /// The matrices one below the other.
    ///
    /// - Throws: `LacunaError.invalidArgument` if there are none or they differ in their columns.
    /// - Complexity: O(rows + entries of all).
    public static func stackedVertically(_ parts: [SparseMatrix]) throws -> SparseMatrix {
        guard let columns = parts.first?.columns, parts.allSatisfy({ $0.columns == columns }) else {
            throw LacunaError.invalidArgument("parts", reason: "need at least one matrix, all with as many columns")
        }
        return try stacked(parts, columns: columns, offsets: parts.map { _ in 0 })
    }

    /// The matrices one below the other in `columns` columns, each beginning at a column of its own.
    private static func stacked(_ parts: [SparseMatrix], columns: Int, offsets: [Int]) throws -> SparseMatrix {
        let rows = parts.reduce(0) { $0 + $1.rows }
        let count = parts.reduce(0) { $0 + $1.count }
        try SparsePattern.checkSides(rows: rows, columns: columns)
        let starts = Buffer<Int>(uninitialized: rows + 1)
        let (indices, values) = (Buffer<UInt32>(uninitialized: count), Buffer<Scalar>(uninitialized: count))
        var (row, place) = (0, 0)
        for (part, offset) in zip(parts, offsets) {
            let compressed = part.pattern.compressedRows
            for r in 0..<part.rows { starts.pointer[row + r] = place + compressed.starts.pointer[r] }
            let (source, target, shift) = (
                compressed.columns.pointer, indices.pointer + place, UInt32(truncatingIfNeeded: offset)
            )
            for j in 0..<part.count { target[j] = source[j] + shift }
            (values.pointer + place).update(from: part.buffer.pointer, count: part.count)
            (row, place) = (row + part.rows, place + part.count)
        }
        starts.pointer[rows] = count
        return SparseMatrix(
            SparsePattern(rows: rows, columns: columns, .init(starts: starts, columns: indices)), buffer: values)
    }

    /// The matrices side by side.
    ///
    /// - Throws: `LacunaError.invalidArgument` if there are none or they differ in their rows.
    /// - Complexity: O(rows · parts + entries of all).
    public static func stackedHorizontally(_ parts: [SparseMatrix]) throws -> SparseMatrix {
        guard let rows = parts.first?.rows, parts.allSatisfy({ $0.rows == rows }) else {
            throw LacunaError.invalidArgument("parts", reason: "need at least one matrix, all with as many rows")
        }
        let columns = parts.reduce(0) { $0 + $1.columns }
        let count = parts.reduce(0) { $0 + $1.count }
        try SparsePattern.checkSides(rows: rows, columns: columns)
        let starts = Buffer<Int>(uninitialized: rows + 1)
        let (indices, values) = (Buffer<UInt32>(uninitialized: count), Buffer<Scalar>(uninitialized: count))
        let compressed = parts.map { $0.pattern.compressedRows }
        var place = 0
        for row in 0..<rows {
            starts.pointer[row] = place
            var shift: UInt32 = 0
            for (part, form) in zip(parts, compressed) {
                for j in form.starts.pointer[row]..<form.starts.pointer[row + 1] {
                    indices.pointer[place] = form.columns.pointer[j] + shift
                    values.pointer[place] = part.buffer.pointer[j]
                    place += 1
                }
                shift += UInt32(truncatingIfNeeded: part.columns)
            }
        }
        starts.pointer[rows] = count
        return SparseMatrix(
            SparsePattern(rows: rows, columns: columns, .init(starts: starts, columns: indices)), buffer: values)
    }

    /// The matrices of a grid; nil stands for a block without entries.
    ///
    /// - Throws: `LacunaError.invalidArgument` if the rows of the grid differ in length, blocks of a row in their rows or
    ///   blocks of a column in their columns, or a whole row or column is nil, so that its size is unknown.
    public static func blocks(_ grid: [[SparseMatrix?]]) throws -> SparseMatrix {
        func refuse(_ reason: String) -> LacunaError { .invalidArgument("blocks", reason: reason) }
        guard let width = grid.first?.count, width > 0, grid.allSatisfy({ $0.count == width }) else {
            throw refuse("need a grid of rows of the same length")
        }
        let heights = try grid.enumerated().map { i, row -> Int in
            guard let height = row.compactMap({ $0?.rows }).first else { throw refuse("row \(i) has no block") }
            return height
        }
        let widths = try (0..<width).map { j -> Int in
            guard let width = grid.compactMap({ $0[j]?.columns }).first else {
                throw refuse("column \(j) has no block")
            }
            return width
        }
        return try stackedVertically(
            grid.enumerated().map { i, row in
                try stackedHorizontally(
                    row.enumerated().map { j, block in
                        let block = block ?? SparseMatrix(zeros: heights[i], widths[j])
                        guard block.rows == heights[i] && block.columns == widths[j] else {
                            throw refuse(
                                "block [\(i), \(j)] is \(block.pattern.shapeText), not [\(heights[i]), \(widths[j])]")
                        }
                        return block
                    })
            })
    }

    /// The matrices along the diagonal, nothing elsewhere.
    ///
    /// - Throws: `LacunaError.invalidArgument` if a side exceeds ``SparsePattern/maximumSide``.
    /// - Complexity: O(rows + entries of all).
    public static func blockDiagonal(_ parts: [SparseMatrix]) throws -> SparseMatrix {
        var offsets = [0]
        for part in parts { offsets.append(offsets[offsets.count - 1] + part.columns) }
        return try stacked(parts, columns: offsets[parts.count], offsets: offsets)
    }

    /// A matrix without entries.
    public init(zeros rows: Int, _ columns: Int) {
        require(
            (0...SparsePattern.maximumSide).contains(rows) && (0...SparsePattern.maximumSide).contains(columns),
            "a matrix of \(rows) x \(columns)")
        self.init(
            SparsePattern(
                rows: rows, columns: columns,
                .init(starts: Buffer(repeating: 0, count: rows + 1), columns: Buffer(uninitialized: 0))),
            buffer: Buffer(uninitialized: 0))
    }
}

extension SparseMatrix where Scalar: AdditiveArithmetic {
    /// From entries in any order; those at the same place are added up, in the order in which they come.
    ///
    /// - Throws: `LacunaError.invalidArgument` for a place outside the matrix or a side above
    ///   ``SparsePattern/maximumSide``.
    /// - Complexity: O(rows + entries), and O(n log n) for the entries n of a row.
    public init(
        rows: Int, columns: Int, entries: some Sequence<(row: Int, column: Int, value: Scalar)>
    ) throws {
        try self.init(rows: rows, columns: columns, entries: entries, combining: +)
    }

    /// From the three arrays of coordinate form; entries at the same place are added up, in the order in which they come.
    ///
    /// - Throws: As ``init(rows:columns:entries:)``, and for arrays of different length.
    public init<Index: FixedWidthInteger>(
        rows: Int, columns: Int, rowIndices: [Index], columnIndices: [Index], values: [Scalar]
    ) throws {
        try self.init(
            rows: rows, columns: columns, rowIndices: rowIndices, columnIndices: columnIndices, values: values,
            combining: +)
    }
}

extension SparseMatrix where Scalar: Numeric {
    /// The identity [size, size].
    public static func identity(_ size: Int) -> SparseMatrix {
        require((0...SparsePattern.maximumSide).contains(size), "an identity of \(size) rows")
        let (starts, indices) = (Buffer<Int>(uninitialized: size + 1), Buffer<UInt32>(uninitialized: size))
        for i in 0...size { starts.pointer[i] = i }
        for i in 0..<size { indices.pointer[i] = UInt32(truncatingIfNeeded: i) }
        return SparseMatrix(
            SparsePattern(rows: size, columns: size, .init(starts: starts, columns: indices)), repeating: 1)
    }

    /// The square matrix with `values` on its diagonal.
    public init(diagonal values: [Scalar]) {
        let unit = SparseMatrix.identity(values.count)
        self.init(unit.pattern, buffer: Buffer(values))
    }

    /// A matrix with values along diagonals: `offset` 0 is the main one, positive above, negative below.
    ///
    /// - Parameter diagonals: Each as long as the part of it inside the matrix, its first value at the top.
    /// - Throws: `LacunaError.invalidArgument` for a diagonal of another length or outside the matrix.
    public init(rows: Int, columns: Int, diagonals: [(offset: Int, values: [Scalar])]) throws {
        var entries: [(row: Int, column: Int, value: Scalar)] = []
        for (offset, values) in diagonals {
            let (row, column) = (Swift.max(-offset, 0), Swift.max(offset, 0))
            let length = Swift.min(rows - row, columns - column)
            guard length > 0 || values.isEmpty, values.count == Swift.max(length, 0) else {
                throw LacunaError.invalidArgument(
                    "diagonals",
                    reason:
                        "\(values.count) values for diagonal \(offset) of \(rows) x \(columns), which has \(Swift.max(length, 0))"
                )
            }
            for (i, value) in values.enumerated() { entries.append((row + i, column + i, value)) }
        }
        try self.init(rows: rows, columns: columns, entries: entries)
    }

    /// The Kronecker product [rows · other.rows, columns · other.columns].
    ///
    /// - Throws: `LacunaError.invalidArgument` if a side exceeds ``SparsePattern/maximumSide``.
    /// - Complexity: O(rows of the result + entries of this · entries of the other).
    public func kronecker(_ other: SparseMatrix) throws -> SparseMatrix {
        let (height, overflow) = rows.multipliedReportingOverflow(by: other.rows)
        let (width, overflow2) = columns.multipliedReportingOverflow(by: other.columns)
        let (total, overflow3) = count.multipliedReportingOverflow(by: other.count)
        guard !overflow && !overflow2 && !overflow3 else {
            throw LacunaError.invalidArgument("other", reason: "the product is too large")
        }
        try SparsePattern.checkSides(rows: height, columns: width)
        let starts = Buffer<Int>(uninitialized: height + 1)
        let (indices, values) = (Buffer<UInt32>(uninitialized: total), Buffer<Scalar>(uninitialized: total))
        let (a, b) = (pattern.compressedRows, other.pattern.compressedRows)
        var place = 0
        for r in 0..<rows {
            for s in 0..<other.rows {
                starts.pointer[r * other.rows + s] = place
                for i in a.starts.pointer[r]..<a.starts.pointer[r + 1] {
                    for j in b.starts.pointer[s]..<b.starts.pointer[s + 1] {
                        let column = Int(a.columns.pointer[i]) * other.columns + Int(b.columns.pointer[j])
                        indices.pointer[place] = UInt32(truncatingIfNeeded: column)
                        values.pointer[place] = buffer.pointer[i] * other.buffer.pointer[j]
                        place += 1
                    }
                }
            }
        }
        starts.pointer[height] = total
        return SparseMatrix(
            SparsePattern(rows: height, columns: width, .init(starts: starts, columns: indices)), buffer: values)
    }
}

extension SparsePattern {
    /// `⌊density · rows · columns⌉` entries, every set of so many equally likely.
    ///
    /// - Parameter density: Fraction of entries kept, 0...1.
    /// - Throws: `LacunaError.invalidArgument` for a density outside 0...1 or a side above ``maximumSide``.
    /// - Complexity: O(entries log entries + rows).
    public static func random(
        rows: Int, columns: Int, density: Double, using generator: inout SeededGenerator
    ) throws -> SparsePattern {
        try checkSides(rows: rows, columns: columns)
        guard (0...1).contains(density) else {
            throw LacunaError.invalidArgument("density", reason: "\(density) is not in 0...1")
        }
        let size = UInt64(rows) * UInt64(columns)
        let wanted = Int((density * Double(size)).rounded())
        // Drawn until so many differ: whatever comes twice, every set of distinct places is as likely as any other. Of a
        // dense pattern it is the places left out that are drawn.
        let isDense = density > 0.5
        let drawn = isDense ? Int(size) - wanted : wanted
        var places: [UInt64] = []
        while places.count < drawn {
            for _ in places.count..<drawn { places.append(UInt64.random(in: 0..<size, using: &generator)) }
            places.sort()
            var kept = 0
            for i in places.indices where i == 0 || places[i] != places[i - 1] {
                places[kept] = places[i]
                kept += 1
            }
            places.removeLast(places.count - kept)
        }
        if isDense {
            var removed = SparsePattern(rows: rows, columns: columns)
            removed.withMutableWords { words, wordsPerRow in
                for place in places {
                    let (row, column) = (Int(place) / columns, Int(place) % columns)
                    words[row * wordsPerRow + column / 64] |= 1 << UInt64(column % 64)
                }
            }
            return removed.inverted()
        }
        let starts = Buffer<Int>(repeating: 0, count: rows + 1)
        let indices = Buffer<UInt32>(uninitialized: places.count)
        for (i, place) in places.enumerated() {
            starts.pointer[Int(place / UInt64(columns)) + 1] += 1
            indices.pointer[i] = UInt32(truncatingIfNeeded: place % UInt64(columns))
        }
        for row in 0..<rows { starts.pointer[row + 1] += starts.pointer[row] }
        return SparsePattern(rows: rows, columns: columns, .init(starts: starts, columns: indices))
    }
}

extension SparseMatrix where Scalar: TensorScalar {
    /// `⌊density · rows · columns⌉` entries at random places, their values standard normal.
    ///
    /// - Throws: As ``SparsePattern/random(rows:columns:density:using:)``.
    public static func random(
        rows: Int, columns: Int, density: Double, using generator: inout SeededGenerator
    ) throws -> SparseMatrix {
        let pattern = try SparsePattern.random(rows: rows, columns: columns, density: density, using: &generator)
        var result = SparseMatrix(pattern)
        result.withMutableValues { for i in $0.indices { $0[i] = Scalar(generator.normal()) } }
        return result
    }
}
