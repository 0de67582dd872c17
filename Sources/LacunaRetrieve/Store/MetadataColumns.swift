import LacunaIO
import LacunaTensor

/// What filters may ask for of a document: keywords and numbers under names.
public enum MetadataValue: Sendable, Equatable {
    /// Words that a filter compares to the byte; a document may have several under one name.
    case keywords([String])
    /// A finite number, which filters can order.
    case number(Double)

    /// What a field holds. Raw values are what an index's manifest says.
    public enum Kind: String, Sendable, Equatable {
        /// Words, which are equal or not.
        case keyword
        /// Numbers, which have an order.
        case number
    }

    /// Whether it is a number or keywords: the same for a field in all documents.
    public var kind: Kind { if case .number = self { .number } else { .keyword } }

    /// From a member of a document's `metadata`: a string, a list of strings, a truth value (the keyword `true` or
    /// `false`) or a number. Nil for null and an empty list.
    ///
    /// - Throws: What `failure` makes of a reason, for anything else.
    init?(_ value: JSONValue, failure: (String) -> LacunaError) throws {
        switch value {
        case .null: return nil
        case .string(let text): self = .keywords([text])
        case .bool(let flag): self = .keywords([flag ? "true" : "false"])
        case .integer, .number: self = .number(value.doubleValue!)
        case .array(let elements):
            let words = try elements.map {
                guard let word = $0.stringValue else { throw failure("a list may hold strings only, not \($0.kind)") }
                return word
            }
            if words.isEmpty { return nil }
            self = .keywords(words)
        case .object: throw failure("an object cannot be filtered by")
        }
    }
}

/// One field of all documents of a segment.
enum MetadataColumn: Sendable {
    /// NaN where a document has none.
    case numbers(MappedArray<Double>)
    /// The words there are, and for each document the numbers of those that it has.
    case keywords(words: TextColumn, starts: MappedArray<Int>, codes: MappedArray<UInt32>)

    /// Fields at most: each takes up to four of the sections that a file may have.
    static let maximumCount = 1000

    init(_ kind: MetadataValue.Kind, _ values: [MetadataValue?]) {
        switch kind {
        case .number:
            self = .numbers(
                MappedArray(values.map { if case .number(let number)? = $0 { number } else { Double.nan } }))
        case .keyword:
            var (words, numbers): ([String], [ExactString: UInt32]) = ([], [:])
            var starts = [0]
            var codes: [UInt32] = []
            for value in values {
                if case .keywords(let found)? = value {
                    for word in found {
                        let code = numbers[ExactString(word)] ?? UInt32(words.count)
                        if Int(code) == words.count {
                            words.append(word)
                            numbers[ExactString(word)] = code
                        }
                        codes.append(code)
                    }
                }
                starts.append(codes.count)
            }
            self = .keywords(words: TextColumn(words), starts: MappedArray(starts), codes: MappedArray(codes))
        }
    }

    init(
        _ file: SectionFile.Reader, _ name: String, _ kind: MetadataValue.Kind, documents: Int, checked: Bool
    ) throws {
        switch kind {
        case .number: self = .numbers(try file.array(name + ".number", of: Double.self, count: documents))
        case .keyword:
            let words = try TextColumn(file, name, checked: checked)
            let codes = try file.array(name + ".codes", of: UInt32.self)
            let starts = try file.starts(name + ".docs", count: documents + 1, total: codes.count, checked: checked)
            if checked, let bad = codes.elements.first(where: { Int($0) >= words.count }) {
                throw file.failure(name + ".codes", "word \(bad) of \(words.count)")
            }
            self = .keywords(words: words, starts: starts, codes: codes)
        }
    }

    func sections(_ name: String) -> [(name: String, bytes: UnsafeRawBufferPointer)] {
        switch self {
        case .numbers(let numbers): [(name + ".number", numbers.bytes)]
        case .keywords(let words, let starts, let codes):
            words.sections(name) + [(name + ".docs", starts.bytes), (name + ".codes", codes.bytes)]
        }
    }

    func value(_ document: Int) -> MetadataValue? {
        switch self {
        case .numbers(let numbers): return numbers[document].isNaN ? nil : .number(numbers[document])
        case .keywords(let words, let starts, let codes):
            let range = starts[document]..<starts[document + 1]
            return range.isEmpty ? nil : .keywords(range.map { words[Int(codes[$0])] })
        }
    }
}
