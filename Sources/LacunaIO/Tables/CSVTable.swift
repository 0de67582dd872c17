import LacunaTensor

/// A table of named columns, each of numbers or of text, as a CSV file holds it.
///
/// The first line has the names; a column without one is called `column 3`, by its number. Fields are separated by tabs in
/// files that end in .tsv, and elsewhere by commas, semicolons or tabs, whichever the first line has most of; quoted ones may
/// contain separators, line ends and doubled quotes (RFC 4180). A column whose fields are all numbers or missing is a column
/// of numbers. Missing is, in any case, an empty field and what pandas and readr take for one: `NA`, `N/A`, `#N/A`, `#NA`,
/// `<NA>`, `NaN`, `-NaN`, `1.#IND`, `1.#QNAN` (with a sign or without), `NULL`, `?`.
public struct CSVTable: Sendable, Equatable {
    public enum Values: Sendable, Equatable {
        /// NaN where a field is missing.
        case numbers([Double])
        /// Empty where a field is missing.
        case text([String])
    }

    public struct Column: Sendable, Equatable {
        public let name: String
        public let values: Values

        /// Rows where the field is missing, from 0.
        public var missing: [Int] {
            switch values {
            case .numbers(let numbers): numbers.indices.filter { numbers[$0].isNaN }
            case .text(let text): text.indices.filter { text[$0].isEmpty }
            }
        }
    }

    /// What the first line is.
    public enum Header: String, Sendable, CaseIterable {
        /// Names, whatever they look like.
        case yes
        /// Names, unless all of them are numbers, which is an error: it may be a file without names.
        case auto
        /// A row like any other; columns are called `column 1`, `column 2` …
        case no
    }

    public let rows: Int
    public let columns: [Column]

    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` for an empty file, text that is not UTF-8, a row with
    ///   another number of fields than the header, a quote that is not closed, and names that are not unique.
    public init(contentsOf path: String, header: Header = .yes) throws {
        let bytes = try FileSystem.readBytes(path)
        if let offset = bytes.withUnsafeBytes({ UTF8Validation.firstInvalidByte($0) }) {
            throw LacunaError.malformed(file: path, location: "byte \(offset)", reason: "is not UTF-8 text")
        }
        try self.init(bytes, file: path, header: header)
    }

    init(_ bytes: [UInt8], file: String, header: Header = .yes) throws {
        var parser = Parser(bytes: bytes, file: file)
        guard let first = try parser.record() else {
            throw LacunaError.malformed(file: file, location: "line 1", reason: "the file is empty")
        }
        let fields = first.map { Self.trimmed($0) }
        if header == .auto && fields.contains(where: { !$0.isEmpty }) && fields.allSatisfy(Self.isNumberOrMissing) {
            throw LacunaError.malformed(
                file: file, location: "line 1",
                reason: "has numbers where the names of columns are expected: is there no header?")
        }
        let names = fields.enumerated().map { header == .no || $1.isEmpty ? "column \($0 + 1)" : $1 }
        var seen: Set<String> = []
        for name in names where !seen.insert(name).inserted {
            throw LacunaError.malformed(
                file: file, location: "line 1", reason: "two columns are named \(TextScanner.quoted(name))")
        }
        var cells = [[String]](repeating: [], count: names.count)
        if header == .no { for (j, field) in fields.enumerated() { cells[j].append(field) } }
        while let record = try parser.record() {
            if record.count == 1 && record[0].isEmpty { continue }  // an empty line
            guard record.count == names.count else {
                throw LacunaError.malformed(
                    file: file, location: "line \(parser.recordLine)",
                    reason: "has \(record.count) fields, the header has \(names.count)")
            }
            for (j, field) in record.enumerated() { cells[j].append(Self.trimmed(field)) }
        }
        rows = cells.first?.count ?? 0
        columns = zip(names, cells).map { Column(name: $0, values: Self.typed($1)) }
    }

    /// A text as a field of a CSV file: in quotation marks where it has to be.
    public static func field(_ text: String) -> String {
        guard text.contains(where: { ",;\"".contains($0) || $0.isNewline || $0 == "\t" }) else { return text }
        return "\"" + text.replacing("\"", with: "\"\"") + "\""
    }

    /// The column of this name.
    public subscript(name: String) -> Column? { columns.first { $0.name == name } }

    private static func trimmed(_ field: String) -> String {
        var slice = Substring(field)
        while slice.first == " " || slice.first == "\t" { slice.removeFirst() }
        while slice.last == " " || slice.last == "\t" { slice.removeLast() }
        return String(slice)
    }

    private static let missingWords: Set<String> = [
        "", "na", "n/a", "#n/a", "#na", "#n/a n/a", "<na>", "nan", "-nan", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan",
        "null",
        "?",
    ]

    private static func isNumberOrMissing(_ field: String) -> Bool {
        Double(field) != nil || missingWords.contains(field.lowercased())
    }

    private static func typed(_ fields: [String]) -> Values {
        var numbers: [Double] = []
        numbers.reserveCapacity(fields.count)
        for field in fields {
            if let value = Double(field), !value.isNaN {
                numbers.append(value)
            } else if missingWords.contains(field.lowercased()) {
                numbers.append(.nan)
            } else {
                return .text(fields.map { missingWords.contains($0.lowercased()) ? "" : $0 })
            }
        }
        return .numbers(numbers)
    }

    private struct Parser {
        let bytes: [UInt8]
        let file: String
        private var position: Int
        private var line = 1
        private(set) var recordLine = 1
        private let separator: UInt8

        init(bytes: [UInt8], file: String) {
            self.bytes = bytes
            self.file = file
            position = bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? 3 : 0
            var counts: [UInt8: Int] = [:]
            var quoted = false
            for byte in bytes[position...] {
                if byte == UInt8(ascii: "\"") { quoted.toggle() }
                if byte == 0x0A && !quoted { break }
                if !quoted { counts[byte, default: 0] += 1 }
            }
            if file.lowercased().hasSuffix(".tsv") {
                separator = 0x09
                return
            }
            let candidates: [UInt8] = [UInt8(ascii: ","), UInt8(ascii: ";"), 0x09]
            var best = candidates[0]
            for candidate in candidates where counts[candidate, default: 0] > counts[best, default: 0] {
                best = candidate
            }
            separator = best
        }

        /// The fields of the next record; nil at the end.
        mutating func record() throws -> [String]? {
            if position >= bytes.count { return nil }
            recordLine = line
            var fields: [String] = []
            var field: [UInt8] = []
            func finished() -> String { String(decoding: field, as: UTF8.self) }
            while true {
                if position < bytes.count && bytes[position] == UInt8(ascii: "\"") && field.isEmpty {
                    try quoted(into: &field)
                }
                guard position < bytes.count else {
                    fields.append(finished())
                    return fields
                }
                let byte = bytes[position]
                position += 1
                switch byte {
                case separator:
                    fields.append(finished())
                    field = []
                case 0x0A:
                    line += 1
                    if field.last == 0x0D { field.removeLast() }
                    fields.append(finished())
                    return fields
                default: field.append(byte)
                }
            }
        }

        private mutating func quoted(into field: inout [UInt8]) throws {
            let begin = line
            position += 1
            while position < bytes.count {
                let byte = bytes[position]
                position += 1
                if byte == UInt8(ascii: "\"") {
                    guard position < bytes.count, bytes[position] == byte else { return }
                    position += 1
                }
                if byte == 0x0A { line += 1 }
                field.append(byte)
            }
            throw LacunaError.malformed(file: file, location: "line \(begin)", reason: "a quote is not closed")
        }
    }
}
