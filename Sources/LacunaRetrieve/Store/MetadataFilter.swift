import LacunaIO
import LacunaTensor

/// Which documents a search may find, by their metadata.
///
///     section = libs and (year >= 1958 or not author = "w. s. hemp")
///
/// Comparisons of a field with a word or a number (`= != < <= > >=`), joined by `and`, `or`, `not` and parentheses;
/// words with blanks stand in quotes. A field with several words equals each of them. A document without the field
/// compares false, and differs (`!=`) from everything.
public indirect enum MetadataFilter: Sendable, Equatable {
    /// How a field is compared with a value. Raw values are what filters are written with.
    public enum Comparison: String, Sendable, CaseIterable {
        /// The document has the number, or the word among others.
        case equal = "="
        /// All documents but those that ``equal`` finds: also those without the field.
        case notEqual = "!="
        /// For numbers only, as all that follow.
        case less = "<"
        /// The number or a smaller one.
        case atMost = "<="
        /// A larger number.
        case greater = ">"
        /// The number or a larger one.
        case atLeast = ">="
    }

    /// A comparison of a field with a word, or with a number as it is spelt.
    case compare(field: String, Comparison, String)
    /// What all of them let through; everything if there are none.
    case all([MetadataFilter])
    /// What at least one of them lets through; nothing if there are none.
    case any([MetadataFilter])
    /// What it does not let through.
    case not(MetadataFilter)

    /// - Throws: `LacunaError.invalidArgument` saying what is expected where.
    public init(_ text: String) throws {
        var parser = FilterParser(text)
        self = try parser.parse()
    }

    /// The fields that are compared.
    public var fields: Set<String> {
        switch self {
        case .compare(let field, _, _): [field]
        case .all(let parts), .any(let parts): parts.reduce(into: []) { $0.formUnion($1.fields) }
        case .not(let part): part.fields
        }
    }

    /// Checks that the comparisons make sense for the fields there are.
    ///
    /// - Throws: `LacunaError.invalidArgument` for a field that no document has, an order among words and a number
    ///   that is none.
    func check(_ kinds: [(name: String, kind: MetadataValue.Kind)]) throws {
        switch self {
        case .all(let parts), .any(let parts): for part in parts { try part.check(kinds) }
        case .not(let part): try part.check(kinds)
        case .compare(let field, let comparison, let value):
            guard let kind = kinds.first(where: { $0.name == field })?.kind else {
                let names = kinds.map(\.name)
                let list = names.isEmpty ? "none" : names.joined(separator: ", ")
                throw LacunaError.invalidArgument(
                    "filter",
                    reason:
                        "no document has the field '\(field)'; there are \(list)"
                        + Suggestion.phrase(field, among: names))
            }
            switch kind {
            case .number:
                guard let number = Double(value), number.isFinite else {
                    throw LacunaError.invalidArgument("filter", reason: "'\(field)' is a number, '\(value)' is not")
                }
            case .keyword:
                guard comparison == .equal || comparison == .notEqual else {
                    throw LacunaError.invalidArgument(
                        "filter", reason: "'\(field)' holds words, which have no order: \(comparison.rawValue)")
                }
            }
        }
    }

    /// The test of a segment's documents.
    func test(_ columns: [String: MetadataColumn]) -> (Int) -> Bool {
        switch self {
        case .all(let parts):
            let tests = parts.map { $0.test(columns) }
            return { document in tests.allSatisfy { $0(document) } }
        case .any(let parts):
            let tests = parts.map { $0.test(columns) }
            return { document in tests.contains { $0(document) } }
        case .not(let part):
            let test = part.test(columns)
            return { !test($0) }
        case .compare(let field, let comparison, let value):
            switch columns[field] {
            case nil: return { _ in comparison == .notEqual }
            case .numbers(let numbers)?:
                let bar = Double(value) ?? .nan
                switch comparison {
                case .equal: return { numbers[$0] == bar }
                case .notEqual: return { numbers[$0] != bar }
                case .less: return { numbers[$0] < bar }
                case .atMost: return { numbers[$0] <= bar }
                case .greater: return { numbers[$0] > bar }
                case .atLeast: return { numbers[$0] >= bar }
                }
            case .keywords(let words, let starts, let codes)?:
                let code = (0..<words.count).first { words.utf8($0).elementsEqual(value.utf8) }.map { UInt32($0) }
                let isEqual = { (document: Int) in
                    guard let code else { return false }
                    return (starts[document]..<starts[document + 1]).contains { codes[$0] == code }
                }
                return comparison == .equal ? isEqual : { !isEqual($0) }
            }
        }
    }
}

private struct FilterParser {
    private enum Token: Equatable {
        case word(String)
        case quoted(String)
        case comparison(MetadataFilter.Comparison)
        case open, close
    }

    private let text: String
    private var tokens: [Token] = []
    private var position = 0

    init(_ text: String) { self.text = text }

    private func failure(_ reason: String) -> LacunaError { .invalidArgument("filter", reason: "\(reason): \(text)") }

    mutating func parse() throws -> MetadataFilter {
        tokens = try scan()
        let filter = try parseAny(depth: 0)
        guard position == tokens.count else { throw failure("'and' or 'or' is expected after a comparison") }
        return filter
    }

    private func scan() throws -> [Token] {
        var tokens: [Token] = []
        var rest = text[...]
        while let first = rest.first {
            if first.isWhitespace {
                rest.removeFirst()
            } else if first == "(" || first == ")" {
                tokens.append(first == "(" ? .open : .close)
                rest.removeFirst()
            } else if first == "\"" {
                rest.removeFirst()
                guard let end = rest.firstIndex(of: "\"") else { throw failure("a quotation mark is missing") }
                tokens.append(.quoted(String(rest[..<end])))
                rest = rest[rest.index(after: end)...]
            } else if "=!<>".contains(first) {
                let symbol = rest.prefix { "=!<>".contains($0) }
                guard let comparison = MetadataFilter.Comparison(rawValue: symbol == "==" ? "=" : String(symbol)) else {
                    throw failure("'\(symbol)' is no comparison")
                }
                tokens.append(.comparison(comparison))
                rest = rest[symbol.endIndex...]
            } else {
                let word = rest.prefix { !$0.isWhitespace && !"()=!<>\"".contains($0) }
                tokens.append(.word(String(word)))
                rest = rest[word.endIndex...]
            }
        }
        return tokens
    }

    private mutating func take(_ keyword: String) -> Bool {
        guard position < tokens.count, case .word(let word) = tokens[position], word.lowercased() == keyword else {
            return false
        }
        position += 1
        return true
    }

    private mutating func parseAny(depth: Int) throws -> MetadataFilter {
        guard depth < 64 else { throw failure("is nested too deep") }
        var parts = [try parseAll(depth: depth)]
        while take("or") { parts.append(try parseAll(depth: depth)) }
        return parts.count == 1 ? parts[0] : .any(parts)
    }

    private mutating func parseAll(depth: Int) throws -> MetadataFilter {
        var parts = [try parseOne(depth: depth)]
        while take("and") { parts.append(try parseOne(depth: depth)) }
        return parts.count == 1 ? parts[0] : .all(parts)
    }

    private mutating func parseOne(depth: Int) throws -> MetadataFilter {
        guard depth < 64 else { throw failure("is nested too deep") }
        if take("not") { return .not(try parseOne(depth: depth + 1)) }
        guard position < tokens.count else { throw failure("a comparison is expected at the end") }
        if tokens[position] == .open {
            position += 1
            let inner = try parseAny(depth: depth + 1)
            guard position < tokens.count, tokens[position] == .close else { throw failure("a ')' is missing") }
            position += 1
            return inner
        }
        guard position + 2 < tokens.count, let field = Self.text(tokens[position]),
            case .comparison(let comparison) = tokens[position + 1], let value = Self.text(tokens[position + 2])
        else { throw failure("a comparison such as year >= 1958 is expected") }
        position += 3
        return .compare(field: field, comparison, value)
    }

    private static func text(_ token: Token) -> String? {
        switch token {
        case .word(let text), .quoted(let text): text
        default: nil
        }
    }
}
