import LacunaSparse
import LacunaTensor

/// A matrix in the MatrixMarket exchange format: `coordinate` (sparse) or `array` (dense) of `real`, `integer` or
/// `pattern` entries, `general`, `symmetric` or `skew-symmetric`.
public struct MatrixMarketFile: Sendable, Equatable {
    /// What the file holds.
    public enum Content: Sendable, Equatable {
        /// Entries at their places.
        case sparse(SparseMatrix<Double>)
        /// Column after column.
        case dense([Double])
    }

    /// Number of rows.
    public let rows: Int
    /// Number of columns.
    public let columns: Int
    /// Its entries.
    public let content: Content

    /// Reads a file. Entries at the same place are added up, as the format asks for.
    ///
    /// Memory stays at a small multiple of the file: a header that announces more rows or columns than that is refused.
    ///
    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` with the line; ``LacunaError/unsupported(file:what:)``
    ///   for complex and Hermitian matrices.
    public init(contentsOf path: String) throws {
        let file = try MappedFile(path)
        (rows, columns, content) = try Self.parse(file.bytes, file: path)
    }

    /// What the first line says.
    private struct Header {
        let isDense: Bool
        let isPattern: Bool
        let isSymmetric: Bool
        /// What an entry above the diagonal is, relative to the one below it.
        let sign: Double

        init(_ scanner: inout TextScanner) throws {
            let words = (scanner.nextLine().map(TextScanner.words) ?? []).map { $0.lowercased() }
            guard words.count == 5, words[0] == "%%matrixmarket", words[1] == "matrix" else {
                throw scanner.failure("does not begin with '%%MatrixMarket matrix' and three more words")
            }
            let (layout, field, symmetry) = (words[2], words[3], words[4])
            guard ["coordinate", "array"].contains(layout) else { throw scanner.failure("unknown layout '\(layout)'") }
            guard ["real", "integer", "pattern"].contains(field),
                ["general", "symmetric", "skew-symmetric"].contains(symmetry)
            else {
                throw LacunaError.unsupported(file: scanner.file, what: "a \(field) \(symmetry) MatrixMarket file")
            }
            isDense = layout == "array"
            isPattern = field == "pattern"
            isSymmetric = symmetry != "general"
            sign = symmetry == "skew-symmetric" ? -1 : 1
            if isDense && isPattern { throw scanner.failure("a dense matrix cannot be a pattern") }
        }
    }

    private static func parse(_ bytes: UnsafeRawBufferPointer, file: String) throws -> (Int, Int, Content) {
        var scanner = TextScanner(bytes, file: file)
        let header = try Header(&scanner)
        var sizes: [Int] = []
        while sizes.isEmpty {
            guard let line = scanner.nextLine() else { throw scanner.failure("the sizes are missing") }
            if line.first == UInt8(ascii: "%") { continue }
            let words = TextScanner.words(line)
            if words.isEmpty { continue }
            sizes = words.compactMap { Int($0) }
            guard sizes.count == words.count, sizes.allSatisfy({ $0 >= 0 }), sizes.count == (header.isDense ? 2 : 3),
                sizes.allSatisfy({ $0 <= SparsePattern.maximumSide })
            else { throw scanner.failure("the sizes are not \(header.isDense ? 2 : 3) whole numbers") }
        }
        let (rows, columns) = (sizes[0], sizes[1])
        if header.isSymmetric && rows != columns {
            throw scanner.failure("a symmetric matrix of \(rows) by \(columns)")
        }
        if header.isDense {
            return (rows, columns, .dense(try dense(&scanner, header, rows: rows, columns: columns, size: bytes.count)))
        }
        let entries = try sparse(&scanner, header, rows: rows, columns: columns, count: sizes[2], size: bytes.count)
        return (rows, columns, .sparse(header.isSymmetric ? whole(entries, sign: header.sign) : entries))
    }

    private static func dense(
        _ scanner: inout TextScanner, _ header: Header, rows: Int, columns: Int, size: Int
    ) throws -> [Double] {
        let (total, overflow) = rows.multipliedReportingOverflow(by: columns)
        // Every number takes at least two bytes.
        guard !overflow, total <= size else {
            throw scanner.failure("\(rows) by \(columns) numbers cannot be in \(size) bytes")
        }
        var values = [Double](repeating: 0, count: total)
        let isSkew = header.sign < 0
        var (i, j) = (isSkew ? 1 : 0, 0)
        var left = header.isSymmetric ? rows * (rows + (isSkew ? -1 : 1)) / 2 : total
        while let line = scanner.nextLine() {
            if line.first == UInt8(ascii: "%") { continue }
            for word in TextScanner.Words(line) {
                guard left > 0 else { throw scanner.failure("there are more numbers than the sizes say") }
                let value = try scanner.number(word)
                values[j * rows + i] = value
                if header.isSymmetric { values[i * rows + j] = i == j ? value : header.sign * value }
                left -= 1
                i += 1
                if i == rows {
                    j += 1
                    i = header.isSymmetric ? j + (isSkew ? 1 : 0) : 0
                }
            }
        }
        if left > 0 { throw scanner.failure("\(left) numbers are missing") }
        return values
    }

    private static func sparse(
        _ scanner: inout TextScanner, _ header: Header, rows: Int, columns: Int, count expected: Int, size: Int
    ) throws -> SparseMatrix<Double> {
        guard expected <= size else { throw scanner.failure("\(expected) entries in \(size) bytes") }
        // Rows without entries cost eight bytes too: a hostile header must not take much more than its file.
        let limit = max(size, 1 << 22)
        guard rows <= limit, columns <= limit else {
            throw scanner.failure("\(rows) by \(columns) is above the limit of \(limit) for a file of \(size) bytes")
        }
        var (rowIndices, columnIndices, values): ([UInt32], [UInt32], [Double]) = ([], [], [])
        rowIndices.reserveCapacity(expected)
        columnIndices.reserveCapacity(expected)
        values.reserveCapacity(expected)
        var count = 0
        while let line = scanner.nextLine() {
            var cursor = TextScanner.Cursor(line)
            if cursor.isAtEnd || line.first == UInt8(ascii: "%") { continue }
            guard let i = cursor.natural(), let j = cursor.natural(), (1...max(rows, 1)).contains(i),
                (1...max(columns, 1)).contains(j), rows > 0, columns > 0
            else { throw scanner.failure("is no entry of a matrix of \(rows) by \(columns)") }
            let value = header.isPattern ? 1 : try cursor.number() ?? scanner.missingNumber(line)
            guard cursor.isAtEnd else { throw scanner.failure("is no entry of a matrix of \(rows) by \(columns)") }
            count += 1
            guard count <= expected else { throw scanner.failure("there are more entries than the header says") }
            // Of a symmetric matrix the lower half is kept, whichever the file has.
            let isMirrored = header.isSymmetric && i < j
            rowIndices.append(UInt32(truncatingIfNeeded: (isMirrored ? j : i) - 1))
            columnIndices.append(UInt32(truncatingIfNeeded: (isMirrored ? i : j) - 1))
            values.append(isMirrored ? header.sign * value : value)
        }
        if count < expected { throw scanner.failure("\(expected - count) entries are missing") }
        return try SparseMatrix(
            rows: rows, columns: columns, rowIndices: rowIndices, columnIndices: columnIndices, values: values)
    }

    /// Both halves of a matrix of which one is given, the upper one multiplied by `sign`.
    private static func whole(_ lower: SparseMatrix<Double>, sign: Double) -> SparseMatrix<Double> {
        let rows = lower.rows
        let starts = Buffer<Int>(repeating: 0, count: rows + 1)
        return lower.pattern.withCompressedRows { lowerStarts, lowerColumns in
            func forEach(_ body: (_ row: Int, _ column: Int, _ entry: Int) -> Void) {
                for row in 0..<rows {
                    for k in lowerStarts[row]..<lowerStarts[row + 1] { body(row, Int(lowerColumns[k]), k) }
                }
            }
            forEach { row, column, _ in
                starts.pointer[row + 1] += 1
                if row != column { starts.pointer[column + 1] += 1 }
            }
            for row in 0..<rows { starts.pointer[row + 1] += starts.pointer[row] }
            let next = Buffer<Int>(copying: starts.pointer, count: rows)
            let total = starts.pointer[rows]
            let (columns, values) = (Buffer<UInt32>(uninitialized: total), Buffer<Double>(uninitialized: total))
            lower.withValues { lowerValues in
                // Row after row: what a row has of its own comes before what later rows have in its column, so all ascends.
                func put(_ row: Int, _ column: Int, _ value: Double) {
                    let place = next.pointer[row]
                    next.pointer[row] = place + 1
                    (columns.pointer[place], values.pointer[place]) = (UInt32(truncatingIfNeeded: column), value)
                }
                forEach { row, column, k in
                    put(row, column, lowerValues[k])
                    if row != column { put(column, row, sign * lowerValues[k]) }
                }
            }
            return SparseMatrix(
                SparsePattern(rows: rows, columns: rows, starts: starts, columnIndices: columns), buffer: values)
        }
    }

    /// Writes a matrix as `coordinate real general`, entries in row-major order, numbers such that reading gives the same
    /// bits.
    ///
    /// - Throws: ``LacunaError/file(path:reason:)``, and ``LacunaError/invalidArgument(_:reason:)`` for a number that is not
    ///   finite, which the format cannot hold.
    public static func write<Scalar: TensorScalar & SparseElement & LosslessStringConvertible>(
        _ matrix: SparseMatrix<Scalar>, to path: String
    ) throws {
        let file = try AtomicFile(path)
        try file.write(
            "%%MatrixMarket matrix coordinate real general\n\(matrix.rows) \(matrix.columns) \(matrix.count)\n".utf8)
        var text = ""
        try matrix.forEachEntry { row, column, value in
            guard value.isFinite else {
                throw LacunaError.invalidArgument(
                    "matrix", reason: "[\(row), \(column)] is \(value): not a finite number")
            }
            text += "\(row + 1) \(column + 1) \(value)\n"
            if text.utf8.count > 1 << 16 {
                try file.write(text.utf8)
                text = ""
            }
        }
        try file.write(text.utf8)
        try file.commit()
    }
}

extension SparseMatrix where Scalar: TensorScalar {
    /// Reads a `.mtx` file; a dense one gives the entries that are not 0. See ``MatrixMarketFile``.
    ///
    /// Numbers are read in double precision and rounded to `Scalar`.
    ///
    /// - Throws: As ``MatrixMarketFile/init(contentsOf:)``.
    public init(matrixMarket path: String) throws {
        let file = try MatrixMarketFile(contentsOf: path)
        let matrix: SparseMatrix<Double>
        switch file.content {
        case .sparse(let entries): matrix = entries
        case .dense(let values):
            matrix = try SparseMatrix<Double>(Tensor(values, shape: [file.columns, file.rows])).transposed()
        }
        self = matrix as? SparseMatrix ?? matrix.converted(to: Scalar.self)
    }
}

extension SparseMatrix where Scalar: TensorScalar & LosslessStringConvertible {
    /// Writes a `.mtx` file; see ``MatrixMarketFile/write(_:to:)``.
    public func write(matrixMarket path: String) throws { try MatrixMarketFile.write(self, to: path) }
}
