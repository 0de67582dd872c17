import LacunaTensor

/// A table of named columns, each of numbers or of text, as a CSV file holds it, whatever program wrote the file.
///
/// The first line has the names; a column without one is called `column 3`, by its number. Blank lines and lines that begin
/// with `#` above it do not count. Fields are separated by tabs in files that end in .tsv, and elsewhere by commas,
/// semicolons or tabs, whichever the first line has most of; quoted ones may contain separators, line ends and doubled
/// quotes (RFC 4180). Lines end as in Unix, Windows or old Macintosh files. Text is UTF-8, UTF-16 or Windows-1252, gzipped or
/// not.
///
/// A column whose fields are all numbers or missing is a column of numbers, which may have decimal commas, digits in groups,
/// signs of money and of per cent, if all of them agree (``NumberSpelling``). Missing is, in any case, an empty field and what
/// pandas and readr take for one: `NA`, `N/A`, `#N/A`, `#NA`, `<NA>`, `NaN`, `-NaN`, `1.#IND`, `1.#QNAN` (with a sign or
/// without), `NULL`, `?`; in a column that is otherwise of numbers also `-`, `--`, `.`, `None`, `n.a.` and `missing`. What a
/// number was written as is kept: codes and identifiers are text until someone asks for numbers.
public struct CSVTable: Sendable, Equatable {
    /// The cells of a column.
    public enum Values: Sendable, Equatable {
        /// NaN where a field is missing.
        case numbers([Double])
        /// Empty where a field is missing.
        case text([String])
    }

    /// A column and its name.
    public struct Column: Sendable, Equatable {
        /// The name in the header.
        public let name: String
        /// The cells, one a row.
        public let values: Values
        /// How the numbers are written; nil for a column of text.
        public let spelling: NumberSpelling?
        /// Whether the file has a name for it.
        public let isNamed: Bool
        private let cells: CSVCells
        private let records: Range<Int>
        private let field: Int

        fileprivate init(
            name: String, values: Values, spelling: NumberSpelling?, cells: CSVCells, records: Range<Int>, field: Int
        ) {
            isNamed =
                records.lowerBound == 0 || name == "row names" || !cells.text(0, min(field, cells.width - 1)).isEmpty
            self.name = name
            self.values = values
            self.spelling = spelling
            self.cells = cells
            self.records = records
            self.field = field
        }

        /// Rows where the field is missing, from 0.
        public var missing: [Int] {
            switch values {
            case .numbers(let numbers): numbers.indices.filter { numbers[$0].isNaN }
            case .text(let text): text.indices.filter { text[$0].isEmpty }
            }
        }

        /// The fields as they are written, empty where missing: `007` and `7` differ.
        public var words: [String] {
            switch values {
            case .text(let text): text
            case .numbers(let numbers):
                numbers.indices.map { numbers[$0].isNaN ? "" : cells.text(records.lowerBound + $0, field) }
            }
        }

        /// The same name and the same cells; missing numbers are equal. How numbers were written does not matter.
        public static func == (a: Column, b: Column) -> Bool {
            guard a.name == b.name else { return false }
            switch (a.values, b.values) {
            case (.text(let x), .text(let y)): return x == y
            case (.numbers(let x), .numbers(let y)):
                return x.count == y.count && zip(x, y).allSatisfy { $0 == $1 || ($0.isNaN && $1.isNaN) }
            default: return false
            }
        }
    }

    /// What the first line is.
    public enum Header: String, Sendable, CaseIterable {
        /// Names, whatever they look like.
        case yes
        /// Names, unless all of them are numbers or some of them stand in their columns again, which is an error: it may be
        /// a file without names.
        case auto
        /// A row like any other; columns are called `column 1`, `column 2` …
        case no
    }

    /// How to read what the file alone does not say.
    public struct Options: Sendable, Equatable {
        /// What the first line is.
        public var header: Header
        /// One character, ASCII; nil for the likeliest.
        public var separator: UInt8?
        /// Nil for what the numbers suggest.
        public var decimal: NumberSpelling.Decimal?
        /// More words for a missing field, as they are written.
        public var missing: Set<String>

        /// By default names in the first line, and the rest as the file suggests.
        public init(
            header: Header = .yes, separator: UInt8? = nil, decimal: NumberSpelling.Decimal? = nil,
            missing: Set<String> = []
        ) {
            self.header = header
            self.separator = separator
            self.decimal = decimal
            self.missing = missing
        }
    }

    /// Number of rows, the header not counted.
    public let rows: Int
    /// The columns in the order of the file.
    public let columns: [Column]
    /// What the file was written in.
    public let encoding: TextEncoding
    /// What a reader should know: how the file differs from what most programs write.
    public let remarks: [String]

    /// - Parameter path: A file, plain or gzipped.
    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` for an empty file, bytes that are no text, a row with
    ///   another number of fields than the header, a quote that is not closed, and names that are not unique.
    public init(contentsOf path: String, header: Header = .yes) throws {
        try self.init(contentsOf: path, Options(header: header))
    }

    /// As the other initialiser.
    public init(contentsOf path: String, _ options: Options) throws {
        let packed = try FileSystem.readBytes(path)
        let (bytes, encoding) = try TextEncoding.decoded(Gzip.decompressed(packed, file: path), file: path)
        try self.init(bytes, file: path, options, encoding: encoding)
    }

    init(_ bytes: [UInt8], file: String, _ options: Options = Options(), encoding: TextEncoding = .utf8) throws {
        let cells = try CSVCells(bytes, file: file, separator: options.separator)
        let layout = try Layout(cells, options)
        rows = layout.records.count
        self.encoding = encoding
        let words = options.missing
        columns = layout.fields.map { name, field in
            Self.column(name, field, cells, layout.records, options, words)
        }
        var remarks: [String] = layout.remarks
        if encoding != .utf8 { remarks.insert("is \(encoding.rawValue)", at: 0) }
        for column in columns {
            if let spelling = column.spelling, !spelling.remarks.isEmpty {
                remarks.append("column \(TextScanner.quoted(column.name)): \(spelling.remarks.joined(separator: ", "))")
            }
        }
        self.remarks = remarks
    }

    /// A text as a field of a CSV file: in quotation marks where it has to be.
    public static func field(_ text: String) -> String {
        guard text.contains(where: { ",;\"".contains($0) || $0.isNewline || $0 == "\t" }) else { return text }
        return "\"" + text.replacing("\"", with: "\"\"") + "\""
    }

    /// The column of this name.
    public subscript(name: String) -> Column? { columns.first { $0.name == name } }

    /// Which records are rows, and which fields columns.
    private struct Layout {
        let records: Range<Int>
        let fields: [(name: String, field: Int)]
        let remarks: [String]

        init(_ cells: CSVCells, _ options: Options) throws {
            let header = options.header
            var width = cells.width
            let first = (0..<width).map { cells.text(0, $0) }
            let location = "line \(cells.line(0))"
            func failure(_ reason: String) -> LacunaError {
                .malformed(file: cells.file, location: location, reason: reason)
            }
            if header == .auto && first.contains(where: { !$0.isEmpty })
                && first.allSatisfy({ CSVTable.isNumberOrMissing($0, options) })
            {
                throw failure("has numbers where the names of columns are expected: is there no header?")
            }
            let records = header == .no ? 0..<cells.records : 1..<cells.records
            var remarks: [String] = []
            var offset = 0
            // Row names without a name of their own, as R's write.table has them.
            if header != .no, records.count >= 2, width >= 2,
                records.allSatisfy({ cells.fields($0) == width + 1 }),
                !records.allSatisfy({ cells.text($0, width).isEmpty }),
                Set(records.map { cells.text($0, 0) }).count == records.count
            {
                offset = 1
                remarks.append("the first field of every row has no name: it is called 'row names'")
            }
            var names = first.enumerated().map { header == .no || $1.isEmpty ? "column \($0 + 1)" : $1 }
            if offset == 1 { names.insert("row names", at: 0) }
            width += offset
            for record in records {
                let count = cells.fields(record)
                if count == width { continue }
                // Separators at the end of a line, and no more, are no fields.
                if count > width, (width..<count).allSatisfy({ cells.text(record, $0).isEmpty }) { continue }
                throw LacunaError.malformed(
                    file: cells.file, location: "line \(cells.line(record))",
                    reason: "has \(count) fields, the header has \(width - offset)")
            }
            var fields = names.enumerated().map { (name: $1, field: $0) }
            // A header that ends in a separator names a column that is not there.
            while header != .no, fields.count > 1, offset == 0, let last = fields.last, first[last.field].isEmpty,
                !records.isEmpty, records.allSatisfy({ cells.text($0, last.field).isEmpty })
            {
                fields.removeLast()
                remarks.append("the last column has neither a name nor a value: it is left out")
            }
            var seen: Set<String> = []
            for field in fields where !seen.insert(field.name).inserted {
                throw failure("two columns are named \(TextScanner.quoted(field.name))")
            }
            if header == .auto, !records.isEmpty {
                // Numbers and a word that stands in its column again look like a row, not like names.
                let hasNumber = first.contains { !$0.isEmpty && NumberSpelling().number($0) != nil }
                let again = first.indices.first { k in
                    !first[k].isEmpty && NumberSpelling().number(first[k]) == nil
                        && records.prefix(1000).contains { cells.text($0, k + offset) == first[k] }
                }
                if hasNumber, let again {
                    throw failure(
                        "has numbers, and \(TextScanner.quoted(first[again])) stands in its column again: is there no header?"
                    )
                }
            }
            self.records = records
            self.fields = fields
            for (name, field) in fields where header != .no && offset == 0 && first[field].isEmpty {
                let counts =
                    records.count > 1
                    && records.enumerated().allSatisfy { index, record in
                        Int(cells.text(record, field)).map { $0 == index || $0 == index + 1 } ?? false
                    }
                remarks.append(
                    counts
                        ? "'\(name)' has no name in the file and counts the rows: drop it unless that matters"
                        : "'\(name)' has no name in the file")
            }
            self.remarks = remarks
        }
    }

    private static let missingWords: Set<String> = [
        "", "na", "n/a", "#n/a", "#na", "#n/a n/a", "<na>", "nan", "-nan", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan",
        "null", "?",
    ]

    /// What stands for nothing among numbers, but may be a word elsewhere.
    private static let weakMissingWords: Set<String> = [
        "-", "--", "---", ".", "none", "n.a.", "missing", "–", "—", "nil",
    ]

    private static func isMissing(_ field: String, _ more: Set<String>) -> Bool {
        missingWords.contains(field.lowercased()) || more.contains(field)
    }

    private static func isNumberOrMissing(_ field: String, _ options: Options) -> Bool {
        isMissing(field, options.missing) || NumberSpelling(decimal: options.decimal ?? .point).number(field) != nil
    }

    private static func column(
        _ name: String, _ field: Int, _ cells: CSVCells, _ records: Range<Int>, _ options: Options, _ more: Set<String>
    ) -> Column {
        func column(_ values: Values, _ spelling: NumberSpelling?) -> Column {
            Column(name: name, values: values, spelling: spelling, cells: cells, records: records, field: field)
        }
        var numbers: [Double] = []
        numbers.reserveCapacity(records.count)
        /// Rows that are neither plain numbers nor missing.
        var odd: [Int] = []
        let isPlain = options.decimal != .comma
        for record in records {
            if isPlain, let value = cells.withBytes(record, field, NumberSpelling.plain),
                more.isEmpty || !more.contains(cells.text(record, field))
            {
                numbers.append(value)
                continue
            }
            numbers.append(.nan)
            if cells.withBytes(record, field, { $0.isEmpty }) { continue }
            if !isMissing(cells.text(record, field), more) {
                odd.append(record - records.lowerBound)
                // Most columns of text show it early.
                if odd.count > 64 && odd.count == numbers.count { break }
            }
        }
        let isDone = numbers.count == records.count
        if odd.isEmpty && isDone { return column(.numbers(numbers), NumberSpelling()) }
        func text(_ row: Int) -> String { cells.text(records.lowerBound + row, field) }
        let firm = odd.filter { !weakMissingWords.contains(text($0).lowercased()) }
        if firm.isEmpty && isDone && numbers.contains(where: { !$0.isNaN }) {
            return column(.numbers(numbers), NumberSpelling())
        }
        // Numbers spelt in another way, all of them in the same.
        let sample = firm.prefix(50).map(text)
        for spelling in NumberSpelling.candidates(sample, decimal: options.decimal, separator: cells.separator)
        where sample.allSatisfy({ spelling.number($0) != nil }) {
            let values: [Double]? = {
                var values: [Double] = []
                values.reserveCapacity(records.count)
                for row in 0..<records.count {
                    let word = text(row)
                    if isMissing(word, more) || weakMissingWords.contains(word.lowercased()) {
                        values.append(.nan)
                    } else if let value = spelling.number(word) {
                        values.append(value)
                    } else {
                        return nil
                    }
                }
                return values
            }()
            if let values, !sample.isEmpty { return column(.numbers(values), spelling) }
        }
        return column(
            .text(
                (0..<records.count).map { row in
                    let word = text(row)
                    return isMissing(word, more) ? "" : word
                }), nil)
    }
}
