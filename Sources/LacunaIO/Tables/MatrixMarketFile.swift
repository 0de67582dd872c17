import LacunaTensor

/// A matrix in the MatrixMarket exchange format: `coordinate` (sparse) or `array` (dense) of `real`, `integer` or
/// `pattern` entries, `general`, `symmetric` or `skew-symmetric`.
public struct MatrixMarketFile: Sendable, Equatable {
    public enum Content: Sendable, Equatable {
        case sparse(SparseColumns)
        /// Column after column.
        case dense([Double])
    }

    public let rows: Int
    public let columns: Int
    public let content: Content

    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` with the line; ``LacunaError/unsupported(file:what:)``
    ///   for complex and Hermitian matrices.
    public init(contentsOf path: String) throws {
        let bytes = try FileSystem.readBytes(path)
        (rows, columns, content) = try bytes.withUnsafeBytes { try Self.parse($0, file: path) }
    }

    private static func parse(_ bytes: UnsafeRawBufferPointer, file: String) throws -> (Int, Int, Content) {
        var scanner = TextScanner(bytes, file: file)
        let head = (scanner.nextLine().map(TextScanner.words) ?? []).map { $0.lowercased() }
        guard head.count == 5, head[0] == "%%matrixmarket", head[1] == "matrix" else {
            throw scanner.failure("does not begin with '%%MatrixMarket matrix' and three more words")
        }
        let (layout, field, symmetry) = (head[2], head[3], head[4])
        guard ["coordinate", "array"].contains(layout) else { throw scanner.failure("unknown layout '\(layout)'") }
        guard ["real", "integer", "pattern"].contains(field),
            ["general", "symmetric", "skew-symmetric"].contains(symmetry)
        else { throw LacunaError.unsupported(file: file, what: "a \(field) \(symmetry) MatrixMarket file") }
        var sizes: [Int] = []
        while sizes.isEmpty {
            guard let line = scanner.nextLine() else { throw scanner.failure("the sizes are missing") }
            if line.first == UInt8(ascii: "%") { continue }
            let words = TextScanner.words(line)
            if words.isEmpty { continue }
            sizes = words.compactMap { Int($0) }
            guard sizes.count == words.count, sizes.allSatisfy({ $0 >= 0 }),
                sizes.count == (layout == "array" ? 2 : 3), sizes.allSatisfy({ $0 <= Int(UInt32.max) })
            else { throw scanner.failure("the sizes are not \(layout == "array" ? 2 : 3) whole numbers") }
        }
        let (rows, columns) = (sizes[0], sizes[1])
        if symmetry != "general" && rows != columns {
            throw scanner.failure("a \(symmetry) matrix of \(rows) by \(columns)")
        }
        func number(_ word: Substring) throws -> Double {
            guard let value = Double(word), value.isFinite else {
                throw scanner.failure("\(TextScanner.quoted(word)) is not a finite number")
            }
            return value
        }
        let sign: Double = symmetry == "skew-symmetric" ? -1 : 1
        if layout == "array" {
            if field == "pattern" { throw scanner.failure("a dense matrix cannot be a pattern") }
            let (total, overflow) = rows.multipliedReportingOverflow(by: columns)
            // Every number takes at least two bytes.
            guard !overflow, total <= bytes.count else {
                throw scanner.failure("\(rows) by \(columns) numbers cannot be in \(bytes.count) bytes")
            }
            var values = [Double](repeating: 0, count: total)
            var (i, j) = (symmetry == "skew-symmetric" ? 1 : 0, 0)
            var left = symmetry == "general" ? total : rows * (rows + (sign > 0 ? 1 : -1)) / 2
            while let line = scanner.nextLine() {
                if line.first == UInt8(ascii: "%") { continue }
                for word in TextScanner.words(line) {
                    guard left > 0 else { throw scanner.failure("there are more numbers than the sizes say") }
                    let value = try number(word)
                    values[j * rows + i] = value
                    if symmetry != "general" { values[i * rows + j] = i == j ? value : sign * value }
                    left -= 1
                    i += 1
                    if i == rows {
                        j += 1
                        i = symmetry == "general" ? 0 : j + (sign > 0 ? 0 : 1)
                    }
                }
            }
            if left > 0 { throw scanner.failure("\(left) numbers are missing") }
            return (rows, columns, .dense(values))
        }
        guard sizes[2] <= bytes.count else { throw scanner.failure("\(sizes[2]) entries in \(bytes.count) bytes") }
        // Empty columns cost memory too: a hostile header must not take much more than its file.
        guard rows <= 1 << 28, columns <= 1 << 28 else {
            throw scanner.failure("\(rows) by \(columns) is above the limit of \(1 << 28)")
        }
        var entries: [(row: UInt32, column: UInt32, value: Double)] = []
        var count = 0
        while let line = scanner.nextLine() {
            if line.first == UInt8(ascii: "%") { continue }
            let words = TextScanner.words(line)
            if words.isEmpty { continue }
            guard words.count == (field == "pattern" ? 2 : 3), let i = Int(words[0]), let j = Int(words[1]),
                (1...max(rows, 1)).contains(i), (1...max(columns, 1)).contains(j), rows > 0, columns > 0
            else { throw scanner.failure("is no entry of a matrix of \(rows) by \(columns)") }
            let value = field == "pattern" ? 1 : try number(words[2])
            count += 1
            guard count <= sizes[2] else { throw scanner.failure("there are more entries than the header says") }
            entries.append((UInt32(i - 1), UInt32(j - 1), value))
            if symmetry != "general" && i != j { entries.append((UInt32(j - 1), UInt32(i - 1), sign * value)) }
        }
        if count < sizes[2] { throw scanner.failure("\(sizes[2] - count) entries are missing") }
        return (rows, columns, .sparse(SparseColumns(rows: rows, columns: columns, entries: entries)))
    }
}
