import LacunaTensor

/// Rewrites text before it is cut into words: a step of a tokenizer, as the `normalizer` of `tokenizer.json` names it.
public protocol Normalizer: Sendable {
    /// Changes a text in place.
    func normalize(_ text: inout NormalizedText)
}

/// Text between two added tokens, as normalisers leave it: well-formed UTF-8.
public struct NormalizedText: Sendable {
    /// The text in UTF-8.
    public var bytes: [UInt8]
    /// How many characters at the front come from the first of the whole text, if they are still there.
    private var leading: Int

    /// Whether it begins where the whole text began: what stands there has not been removed.
    public var startsText: Bool { leading > 0 }

    /// A text, and whether it stands at the beginning of what is encoded.
    public init(_ text: String, startsText: Bool = true) {
        self.init(bytes: Array(text.utf8), startsText: startsText)
    }

    init(bytes: [UInt8], startsText: Bool) {
        self.bytes = bytes
        leading = startsText ? 1 : 0
    }

    /// Says that what the text began with is gone.
    public mutating func loseStart() { leading = 0 }

    /// Removes the characters that `isRemoved` says.
    mutating func remove(_ isRemoved: (Unicode.Scalar) -> Bool) {
        var (position, left) = (0, leading)
        UTF8Text.map(&bytes) { [leading] scalar, result in
            if !isRemoved(scalar) {
                UTF8Text.append(scalar, to: &result)
            } else if position < leading {
                left -= 1
            }
            position += 1
        }
        leading = left
    }

    mutating func apply(_ form: UnicodeForm) {
        if startsText {
            // The first character can become several, of which the first can be removed later.
            var first = bytes.withUnsafeBufferPointer { bytes in
                bytes.isEmpty ? [] : Array(bytes[..<UTF8Text.scalar(bytes, at: 0).next])
            }
            form.apply(&first)
            leading = max(first.reduce(0) { $0 + ($1 & 0xC0 == 0x80 ? 0 : 1) }, 1)
        }
        form.apply(&bytes)
    }
}

/// One after the other.
struct NormalizerSequence: Normalizer {
    let members: [any Normalizer]

    func normalize(_ text: inout NormalizedText) {
        for member in members { member.normalize(&text) }
    }
}

/// Reads a normaliser from `tokenizer.json`.
///
/// - Throws: ``LacunaError/unsupported(file:what:)`` for types and settings that are not known here.
func makeNormalizer(_ fields: JSONFields) throws -> any Normalizer {
    switch try fields.string("type") {
    case "Sequence":
        return NormalizerSequence(members: try fields.members("normalizers").map(makeNormalizer))
    case "Prepend": return PrependNormalizer(prefix: Array(try fields.string("prepend").utf8))
    case "Replace": return ReplaceNormalizer(try TextPattern(fields), with: try fields.string("content"))
    case "Strip":
        return StripNormalizer(
            left: try fields.bool("strip_left", default: true), right: try fields.bool("strip_right", default: true))
    case "Lowercase": return LowercaseNormalizer()
    case "StripAccents": return StripAccentsNormalizer()
    case "Nmt": return MachineTranslationNormalizer()
    case "BertNormalizer": return try BertNormalizer(fields)
    case "Precompiled": return try CharacterMapNormalizer(fields)
    case "ByteLevel": return ByteLevelNormalizer()
    case let type:
        if let form = UnicodeForm(rawValue: type) { return UnicodeFormNormalizer(form: form) }
        throw LacunaError.unsupported(file: fields.file, what: "normalizer '\(type)'")
    }
}

struct UnicodeFormNormalizer: Normalizer {
    let form: UnicodeForm

    func normalize(_ text: inout NormalizedText) { text.apply(form) }
}

/// Puts a prefix before text that is not empty.
struct PrependNormalizer: Normalizer {
    let prefix: [UInt8]

    func normalize(_ text: inout NormalizedText) {
        if !text.bytes.isEmpty { text.bytes.insert(contentsOf: prefix, at: 0) }
    }
}

/// Replaces every match of a pattern.
struct ReplaceNormalizer: Normalizer {
    private let pattern: TextPattern
    private let content: [UInt8]

    init(_ pattern: TextPattern, with content: String) {
        self.pattern = pattern
        self.content = Array(content.utf8)
    }

    func normalize(_ text: inout NormalizedText) {
        var result: [UInt8] = []
        result.reserveCapacity(text.bytes.count)
        var losesStart = false
        text.bytes.withUnsafeBufferPointer { bytes in
            pattern.forEachPart(bytes, in: 0..<bytes.count) { range, isMatch in
                if isMatch {
                    result.append(contentsOf: content)
                    // What is inserted counts as part of the character before it.
                    if range.lowerBound == 0, content.isEmpty, range.upperBound > 0 { losesStart = true }
                } else {
                    result.append(contentsOf: bytes[range])
                }
            }
        }
        text.bytes = result
        if losesStart { text.loseStart() }
    }
}

/// Removes white space at the ends.
struct StripNormalizer: Normalizer {
    let left: Bool
    let right: Bool

    func normalize(_ text: inout NormalizedText) {
        let range = text.bytes.withUnsafeBufferPointer { bytes in
            var (start, end) = (0, bytes.count)
            while left, start < end {
                let (scalar, next) = UTF8Text.scalar(bytes, at: start)
                guard UnicodeClasses.isWhitespace(scalar) else { break }
                start = next
            }
            while right, end > start {
                let before = UTF8Text.previous(bytes, before: end)
                guard UnicodeClasses.isWhitespace(UTF8Text.scalar(bytes, at: before).0) else { break }
                end = before
            }
            return start..<end
        }
        if range.lowerBound > 0 { text.loseStart() }
        if range.count < text.bytes.count { text.bytes = Array(text.bytes[range]) }
    }
}

/// Small letters for capital ones, each by itself.
struct LowercaseNormalizer: Normalizer {
    func normalize(_ text: inout NormalizedText) {
        UTF8Text.map(&text.bytes) { scalar, result in
            switch scalar.value {
            case 0x41...0x5A: result.append(UInt8(scalar.value) | 0x20)
            case 0..<0x80: result.append(UInt8(scalar.value))
            default: result.append(contentsOf: scalar.properties.lowercaseMapping.utf8)
            }
        }
    }
}

/// Removes combining marks.
struct StripAccentsNormalizer: Normalizer {
    func normalize(_ text: inout NormalizedText) { text.remove(UnicodeClasses.isCombiningMark) }
}

/// SentencePiece's rule for machine translation: no control characters, and blanks for all kinds of space.
struct MachineTranslationNormalizer: Normalizer {
    func normalize(_ text: inout NormalizedText) {
        text.remove { scalar in
            switch scalar.value {
            case 0x01...0x08, 0x0B, 0x0E...0x1F, 0x7F, 0x8F, 0x9F: true
            default: false
            }
        }
        UTF8Text.map(&text.bytes) { scalar, result in
            switch scalar.value {
            case 0x09, 0x0A, 0x0C, 0x0D, 0x1680, 0x200B...0x200F, 0x2028, 0x2029, 0x2581, 0xFEFF, 0xFFFD:
                result.append(0x20)
            default: UTF8Text.append(scalar, to: &result)
            }
        }
    }
}

/// The printable stand-ins of byte-level vocabularies, where the model's file has them as a normaliser.
struct ByteLevelNormalizer: Normalizer {
    func normalize(_ text: inout NormalizedText) {
        text.bytes = ByteAlphabet.spell(text.bytes)
    }
}
