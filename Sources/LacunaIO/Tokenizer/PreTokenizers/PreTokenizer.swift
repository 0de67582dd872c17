import LacunaTensor

/// Cuts text into the words that a tokenizer's model then takes apart one by one: a step of a tokenizer, as the
/// `pre_tokenizer` of `tokenizer.json` names it.
public protocol PreTokenizer: Sendable {
    /// Cuts every piece into smaller ones.
    func split(_ words: inout TextPieces)
}

/// Text and how it is cut: what one pre-tokenizer leaves to the next.
public struct TextPieces: Sendable {
    /// Well-formed UTF-8.
    public internal(set) var bytes: [UInt8]
    /// The pieces in order, none of them empty. They need not cover the text.
    public internal(set) var ranges: [Range<Int>]
    /// Whether a piece at the front of `bytes` begins where the whole text began.
    public internal(set) var startsText: Bool
    /// The model is to read every byte of the pieces as its printable stand-in.
    public internal(set) var areBytes = false

    /// A whole text as one piece.
    public init(_ text: String) { self.init(bytes: Array(text.utf8), startsText: true) }

    init(bytes: [UInt8], startsText: Bool) {
        self.bytes = bytes
        self.startsText = startsText
        ranges = bytes.isEmpty ? [] : [0..<bytes.count]
    }

    /// The pieces as strings.
    public var strings: [String] { ranges.map { String(decoding: bytes[$0], as: UTF8.self) } }

    /// Cuts every piece.
    ///
    /// - Parameter body: Given a piece, calls its last argument with what becomes of it; empty ranges are left out.
    mutating func cut(_ body: (UnsafeBufferPointer<UInt8>, Range<Int>, (Range<Int>) -> Void) -> Void) {
        var result: [Range<Int>] = []
        result.reserveCapacity(max(ranges.count, bytes.count / 5))
        bytes.withUnsafeBufferPointer { bytes in
            for range in ranges { body(bytes, range) { if !$0.isEmpty { result.append($0) } } }
        }
        ranges = result
    }

    /// Writes every piece anew.
    ///
    /// - Parameter body: Appends what takes a piece's place.
    mutating func rewrite(_ body: (ArraySlice<UInt8>, _ isStart: Bool, inout [UInt8]) -> Void) {
        var (written, places): ([UInt8], [Range<Int>]) = ([], [])
        written.reserveCapacity(bytes.count + bytes.count / 2)
        places.reserveCapacity(ranges.count)
        let isCutAtFront = ranges.first?.lowerBound != 0
        for range in ranges {
            let start = written.count
            body(bytes[range], startsText && range.lowerBound == 0, &written)
            if written.count > start { places.append(start..<written.count) }
        }
        (bytes, ranges) = (written, places)
        if isCutAtFront { startsText = false }
    }
}

/// One after the other.
struct PreTokenizerSequence: PreTokenizer {
    let members: [any PreTokenizer]

    func split(_ words: inout TextPieces) {
        for member in members { member.split(&words) }
    }
}

/// Reads a pre-tokenizer from `tokenizer.json`.
///
/// - Throws: ``LacunaError/unsupported(file:what:)`` for types, settings and expressions that are not known here.
func makePreTokenizer(_ fields: JSONFields) throws -> any PreTokenizer {
    switch try fields.string("type") {
    case "Sequence":
        let members = try fields.members("pretokenizers").map(makePreTokenizer)
        // What a byte-level step leaves are stand-ins, which only the model knows to read.
        if members.dropLast().contains(where: { $0 is ByteLevelPreTokenizer }) {
            throw LacunaError.unsupported(file: fields.file, what: "a pre-tokenizer after ByteLevel")
        }
        return PreTokenizerSequence(members: members)
    case "ByteLevel": return try ByteLevelPreTokenizer(fields)
    case "Split":
        return PatternPreTokenizer(
            try TextPattern(fields), try PatternPreTokenizer.Behavior(fields),
            isInverted: try fields.bool("invert", default: false))
    case "Metaspace": return try MetaspacePreTokenizer(fields)
    case "BertPreTokenizer": return BertPreTokenizer()
    case "WhitespaceSplit":
        return CharacterPreTokenizer(.removed, isDelimiter: UnicodeClasses.isWhitespace)
    case "Whitespace": return WordPreTokenizer()
    case "Digits":
        let individual = try fields.bool("individual_digits", default: false)
        return CharacterPreTokenizer(individual ? .isolated : .contiguous, isDelimiter: UnicodeClasses.isNumeric)
    case "Punctuation":
        let behavior = fields.contains("behavior") ? try PatternPreTokenizer.Behavior(fields) : .isolated
        return CharacterPreTokenizer(behavior, isDelimiter: UnicodeClasses.isBertPunctuation)
    case "CharDelimiterSplit":
        let delimiter = try fields.scalar("delimiter")
        return CharacterPreTokenizer(.removed) { $0 == delimiter }
    case let type: throw LacunaError.unsupported(file: fields.file, what: "pre-tokenizer '\(type)'")
    }
}

extension JSONFields {
    /// An array of objects.
    func members(_ key: String) throws -> [JSONFields] {
        try array(key).enumerated().map {
            try JSONFields($1, file: file, location: location.isEmpty ? "\(key)[\($0)]" : "\(location).\(key)[\($0)]")
        }
    }

    /// A string of one character.
    func scalar(_ key: String) throws -> Unicode.Scalar {
        let text = try string(key)
        guard let scalar = text.unicodeScalars.first, text.unicodeScalars.count == 1 else {
            throw failure(key, "'\(text)' is not one character")
        }
        return scalar
    }
}
