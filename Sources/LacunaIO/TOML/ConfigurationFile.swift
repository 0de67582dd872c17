import LacunaTensor

/// A configuration in a subset of TOML 1.0.
///
/// Read: comments; sections `[a]` and `[a.b]`; arrays of tables `[[a]]`, whose keys are then `a.0.…`, `a.1.…`; keys of
/// letters, digits, `_`, `-` and dots; strings in double quotation marks (with `\n`, `\t`, `\"`, `\\`) or in single ones (as
/// they stand); decimal integers and floats, with `_` between digits; `true` and `false`; arrays of these on one line.
///
/// Not read, and named in the error: arrays over several lines, inline tables, strings in three quotation marks, quoted
/// keys, dates and times, integers in base 2, 8 or 16, `inf` and `nan`.
///
/// ```toml
/// seed = 7
/// [model]
/// kind = "mlp"          # a comment
/// widths = [784, 512, 10]
/// ```
///
/// Every error names the file, the line and the key. Keys that are never asked for can be reported as mistakes:
/// ``requireAllUsed()``.
public final class ConfigurationFile {
    struct Entry {
        let value: JSONValue
        let line: Int
    }

    /// The file's name, for errors.
    public let file: String
    private var entries: [String: Entry] = [:]
    private var sectionLines: [String: Int] = [:]
    /// How many tables the arrays have so far.
    private var arrays: [String: Int] = [:]
    private var used: Set<String> = []

    /// - Throws: `LacunaError.file` and what ``init(text:file:)`` throws.
    public convenience init(_ path: String) throws {
        try self.init(text: FileSystem.readText(path, limit: 1 << 22), file: path)
    }

    /// - Throws: `LacunaError.malformed` at the first line that cannot be read, and for a key or section that comes twice.
    public init(text: String, file: String) throws {
        self.file = file
        var section = ""
        for (index, line) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).enumerated() {
            var scanner = LineScanner(line, file: file, line: index + 1)
            scanner.skipSpace()
            if scanner.isAtEnd { continue }
            if scanner.take("[") {
                let isArray = scanner.take("[")
                section = try scanner.key()
                guard scanner.take("]"), !isArray || scanner.take("]") else {
                    throw scanner.failure("expected '\(isArray ? "]]" : "]")' after the section's name")
                }
                if isArray {
                    guard sectionLines[section] == nil, !section.contains(".") else {
                        throw scanner.failure("'\(section)' cannot be an array of tables here")
                    }
                    let index = arrays[section] ?? 0
                    arrays[section] = index + 1
                    section += ".\(index)"
                } else if let array = section.split(separator: ".").first.map(String.init), let count = arrays[array] {
                    // A section inside the last table of an array.
                    guard section != array else {
                        throw scanner.failure("'\(section)' is an array of tables: write '[[\(section)]]'")
                    }
                    section = "\(array).\(count - 1)" + section.dropFirst(array.count)
                }
                guard sectionLines.updateValue(index + 1, forKey: section) == nil else {
                    throw scanner.failure("the section '\(section)' comes a second time")
                }
            } else {
                let name = try scanner.key()
                let key = section.isEmpty ? name : "\(section).\(name)"
                scanner.name = key
                guard scanner.take("=") else { throw scanner.failure("expected '=' after the key") }
                let value = try scanner.value()
                guard entries.updateValue(Entry(value: value, line: index + 1), forKey: key) == nil else {
                    throw scanner.failure("comes a second time")
                }
            }
            guard scanner.isAtEnd else { throw scanner.failure("unexpected '\(scanner.rest)'") }
        }
    }

    // MARK: Values

    /// The error for a key: with its line if it is in the file.
    public func failure(_ key: String, _ reason: String) -> LacunaError {
        let location = entries[key].map { "line \($0.line): \(key)" } ?? key
        return .malformed(file: file, location: location, reason: reason)
    }

    /// Whether the file has this key.
    public func contains(_ key: String) -> Bool { entries[key] != nil }

    /// How many tables `[[name]]` there are. The keys of the first begin with `name.0.`.
    public func tableCount(_ name: String) -> Int { arrays[name] ?? 0 }

    /// Whether any key begins so: whether a section has settings.
    public func containsSection(_ name: String) -> Bool { entries.keys.contains { $0.hasPrefix(name + ".") } }

    /// Every setting of the file, by key: what tells two configurations apart whatever their comments and order.
    public var settings: JSONValue {
        .object(entries.sorted { $0.key < $1.key }.reduce(into: JSONObject()) { $0[$1.key] = $1.value.value })
    }

    /// - Parameter other: The ``settings`` of another file.
    /// - Throws: `LacunaError.malformed` at the first setting that the other has not, or has with another value.
    /// - Parameter origin: Whose settings the others are, to end the sentence "is 5, but … has 0".
    public func requireSettings(_ other: JSONValue, of origin: String) throws {
        var first: (line: Int, key: String, reason: String)?
        for (key, entry) in entries {
            let before = other[key]
            if before == entry.value || first.map({ $0.line < entry.line }) ?? false { continue }
            let words = before.map { "has \($0.serialized())" } ?? "has no such setting"
            first = (entry.line, key, "is \(entry.value.serialized()), but \(origin) \(words)")
        }
        if let first { throw failure(first.key, first.reason) }
        for member in other.objectValue ?? JSONObject() where entries[member.key] == nil {
            throw failure(member.key, "is missing, but \(origin) has \(member.value.serialized())")
        }
    }

    private func value<T>(_ key: String, _ kind: String, _ convert: (JSONValue) -> T?) throws -> T? {
        used.insert(key)
        guard let entry = entries[key] else { return nil }
        guard let result = convert(entry.value) else {
            throw failure(key, "expected \(kind), found \(entry.value.kind)")
        }
        return result
    }

    private func needed<T>(_ key: String, _ value: T?) throws -> T {
        guard let value else { throw failure(key, "is missing") }
        return value
    }

    /// The string of a key, nil if it is absent. Throws `LacunaError.malformed` if it is something else.
    public func optionalString(_ key: String) throws -> String? { try value(key, "a string", \.stringValue) }
    /// The boolean of a key, nil if it is absent. Throws `LacunaError.malformed` if it is something else.
    public func optionalBool(_ key: String) throws -> Bool? { try value(key, "true or false", \.boolValue) }

    /// - Parameter range: Numbers outside are an error.
    public func optionalInteger(_ key: String, in range: ClosedRange<Int> = 0...Int.max) throws -> Int? {
        guard let value = try value(key, "a whole number", \.intValue) else { return nil }
        guard range.contains(value) else { throw failure(key, "\(value) is not in \(Self.describe(range))") }
        return value
    }

    /// The number of a key, nil if it is absent. Throws `LacunaError.malformed` if it is something else or outside the
    /// range.
    public func optionalNumber(_ key: String, in range: ClosedRange<Double>? = nil) throws -> Double? {
        guard let value = try value(key, "a number", \.doubleValue) else { return nil }
        if let range, !range.contains(value) {
            throw failure(key, "\(value) is not in \(range.lowerBound)...\(range.upperBound)")
        }
        return value
    }

    private static func describe(_ range: ClosedRange<Int>) -> String {
        range.upperBound == .max ? "\(range.lowerBound)..." : "\(range)"
    }

    /// The string of a key. Throws `LacunaError.malformed` if it is absent or something else.
    public func string(_ key: String) throws -> String { try needed(key, optionalString(key)) }
    /// The integer of a key. Throws `LacunaError.malformed` if it is absent, something else or outside the range.
    public func integer(_ key: String, in range: ClosedRange<Int> = 0...Int.max) throws -> Int {
        try needed(key, optionalInteger(key, in: range))
    }
    /// The number of a key. Throws `LacunaError.malformed` if it is absent, something else or outside the range.
    public func number(_ key: String, in range: ClosedRange<Double>? = nil) throws -> Double {
        try needed(key, optionalNumber(key, in: range))
    }

    /// A string that is one of `choices`.
    public func choice(_ key: String, of choices: [String], default value: String? = nil) throws -> String {
        let text = try needed(key, optionalString(key) ?? value)
        guard choices.contains(text) else {
            throw failure(
                key,
                "'\(text)' is none of \(choices.joined(separator: ", "))" + Suggestion.phrase(text, among: choices))
        }
        return text
    }

    /// A list of whole numbers.
    public func integers(_ key: String, in range: ClosedRange<Int> = 1...(1 << 24)) throws -> [Int] {
        try needed(key, value(key, "an array", \.arrayValue)).map {
            guard let value = $0.intValue else { throw failure(key, "expected whole numbers, found \($0.kind)") }
            guard range.contains(value) else { throw failure(key, "\(value) is not in \(Self.describe(range))") }
            return value
        }
    }

    /// A list of strings, or a single one.
    public func optionalStrings(_ key: String) throws -> [String]? {
        try value(key, "strings") { value -> [String]? in
            if let text = value.stringValue { return [text] }
            guard let list = value.arrayValue else { return nil }
            let texts = list.compactMap(\.stringValue)
            return texts.count == list.count ? texts : nil
        }
    }

    /// - Throws: `LacunaError.malformed` for the first key that nothing asked for: most likely misspelt.
    public func requireAllUsed() throws {
        let unknown = entries.filter { !used.contains($0.key) }.min { $0.value.line < $1.value.line }
        if let unknown {
            let words = "is no setting here" + Suggestion.phrase(unknown.key, among: used.sorted())
            throw failure(unknown.key, words)
        }
    }
}

/// One line of a configuration.
private struct LineScanner {
    private let characters: [Character]
    private var position = 0
    private let file: String
    private let line: Int
    var name = ""

    init(_ text: Substring, file: String, line: Int) {
        characters = Array(text)
        self.file = file
        self.line = line
    }

    func failure(_ reason: String) -> LacunaError {
        .malformed(file: file, location: name.isEmpty ? "line \(line)" : "line \(line): \(name)", reason: reason)
    }

    private var next: Character? { position < characters.count ? characters[position] : nil }
    var rest: String { String(characters[position...].prefix(20)) }

    mutating func skipSpace() {
        while let c = next, c == " " || c == "\t" { position += 1 }
    }

    /// Nothing but space and a comment is left.
    var isAtEnd: Bool { characters[position...].first { $0 != " " && $0 != "\t" }.map { $0 == "#" } ?? true }

    mutating func take(_ character: Character) -> Bool {
        skipSpace()
        guard next == character else { return false }
        position += 1
        return true
    }

    mutating func key() throws -> String {
        skipSpace()
        var result = ""
        while let c = next, c.isASCII, c.isLetter || c.isNumber || c == "_" || c == "-" || c == "." {
            result.append(c)
            position += 1
        }
        guard !result.isEmpty else {
            if next == "\"" || next == "'" { throw failure("quoted keys are not read") }
            throw failure("expected a name, found '\(rest)'")
        }
        return result
    }

    mutating func value(depth: Int = 0) throws -> JSONValue {
        skipSpace()
        guard let first = next else {
            throw failure(
                depth > 0
                    ? "an array ends on the line where it begins: arrays over several lines are not read"
                    : "expected a value")
        }
        if first == "{" { throw failure("inline tables are not read: write a section '[name]'") }
        if String(characters[position...].prefix(3)) == String(repeating: first, count: 3),
            first == "\"" || first == "'"
        {
            throw failure("strings in three quotation marks are not read")
        }
        if first == "\"" || first == "'" { return .string(try string(first)) }
        if first == "[" {
            guard depth < 4 else { throw failure("arrays nested too deeply") }
            position += 1
            var elements: [JSONValue] = []
            while !take("]") {
                if !elements.isEmpty {
                    guard take(",") else {
                        throw failure(
                            isAtEnd
                                ? "an array ends on the line where it begins: arrays over several lines are not read"
                                : "expected ',' or ']' in an array")
                    }
                    if take("]") { break }
                }
                elements.append(try value(depth: depth + 1))
            }
            return .array(elements)
        }
        var word = ""
        while let c = next, !c.isWhitespace, !",]#".contains(c) {
            word.append(c)
            position += 1
        }
        switch word {
        case "true": return true
        case "false": return false
        default: break
        }
        let plain = word.filter { $0 != "_" }
        // Swift would read hexadecimal floats, too.
        let isNumber =
            plain.first.map { $0.isASCII && ($0.isNumber || "+-.".contains($0)) } ?? false
            && !plain.contains { $0 == "x" || $0 == "X" }
        if isNumber, let number = Int64(plain) { return .integer(number) }
        if isNumber, let number = Double(plain), number.isFinite { return .number(number) }
        throw failure(Self.reason(word.isEmpty ? rest : word))
    }

    /// Why a word is no value.
    private static func reason(_ word: String) -> String {
        let letters = word.drop { $0 == "+" || $0 == "-" }.lowercased()
        if letters == "inf" || letters == "nan" { return "'\(word)' is no finite number" }
        if letters.hasPrefix("0x") || letters.hasPrefix("0o") || letters.hasPrefix("0b") {
            return "'\(word)': integers are read in decimal only"
        }
        let digits = word.prefix { $0.isASCII && $0.isNumber }
        if digits.count == 4 && word.dropFirst(4).first == "-" || digits.count == 2 && word.dropFirst(2).first == ":" {
            return "'\(word)': dates and times are not read"
        }
        if ["True", "TRUE", "False", "FALSE"].contains(word) {
            return "'\(word)' is no value; write \(word.lowercased())"
        }
        return "'\(word)' is no value: strings need quotation marks"
    }

    private mutating func string(_ quote: Character) throws -> String {
        position += 1
        var result = ""
        while let c = next {
            position += 1
            if c == quote { return result }
            if c == "\\" && quote == "\"" {
                guard let escaped = next else { break }
                position += 1
                switch escaped {
                case "n": result.append("\n")
                case "t": result.append("\t")
                case "\"", "\\": result.append(escaped)
                default: throw failure("'\\\(escaped)' is no escape")
                }
            } else {
                result.append(c)
            }
        }
        throw failure("a string without its closing quotation mark")
    }
}
