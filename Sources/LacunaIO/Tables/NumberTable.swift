import LacunaTensor

/// A table of numbers from a text file with one row a line, separated by commas, semicolons or tabs, plain or gzipped.
///
/// A first line that is not all numbers names the columns. Empty lines are passed over.
public struct NumberTable: Sendable {
    /// Names of the columns; nil if the file has none.
    public let names: [String]?
    public let columns: Int
    /// Row-major.
    public let values: [Double]

    public var rows: Int { columns == 0 ? 0 : values.count / columns }

    /// - Throws: `LacunaError.file`, and `.malformed` with the line for rows of different length and for what is not a
    ///   finite number.
    public init(_ path: String) throws {
        let bytes = try Gzip.decompressed(FileSystem.readBytes(path), file: path)
        try self.init(text: String(decoding: bytes, as: UTF8.self), file: path)
    }

    public init(text: String, file: String) throws {
        var names: [String]?
        var values: [Double] = []
        var columns = 0
        var number = 0
        var separator: Character = ","
        for line in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline) {
            number += 1
            if line.allSatisfy(\.isWhitespace) { continue }
            if columns == 0 { separator = [",", ";", "\t"].first { line.contains($0) } ?? "," }
            let fields = line.split(separator: separator, omittingEmptySubsequences: false).map(Self.trimmed)
            let parsed = fields.map { Double($0) }
            if columns == 0 {
                columns = fields.count
                if parsed.contains(nil) {
                    names = fields
                    continue
                }
            }
            func bad(_ reason: String) -> LacunaError {
                .malformed(file: file, location: "line \(number)", reason: reason)
            }
            guard fields.count == columns else { throw bad("\(fields.count) fields, expected \(columns)") }
            for (field, value) in zip(fields, parsed) {
                guard let value, value.isFinite else { throw bad("'\(field)' is not a number") }
                values.append(value)
            }
        }
        self.names = names
        self.columns = columns
        self.values = values
    }

    private static func trimmed(_ field: Substring) -> String {
        var field = field
        while field.first?.isWhitespace ?? false { field.removeFirst() }
        while field.last?.isWhitespace ?? false { field.removeLast() }
        if field.count >= 2, field.first == "\"", field.last == "\"" { field = field.dropFirst().dropLast() }
        return String(field)
    }
}
