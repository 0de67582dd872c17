import LacunaTensor

/// Turns the tokens of a text back into text: a step of a tokenizer, as the `decoder` of `tokenizer.json` names it.
public protocol TokenDecoder: Sendable {
    /// Pieces of text, whose concatenation is the text, from tokens as the vocabulary spells them.
    func decode(_ tokens: [String]) -> [String]
}

/// One after the other.
struct TokenDecoderSequence: TokenDecoder {
    let members: [any TokenDecoder]

    func decode(_ tokens: [String]) -> [String] { members.reduce(tokens) { $1.decode($0) } }
}

/// Reads a decoder from `tokenizer.json`.
///
/// - Throws: ``LacunaError/unsupported(file:what:)`` for types that are not known here.
func makeTokenDecoder(_ fields: JSONFields) throws -> any TokenDecoder {
    switch try fields.string("type") {
    case "Sequence":
        let members = try fields.members("decoders").map(makeTokenDecoder)
        return members.count == 1 ? members[0] : TokenDecoderSequence(members: members)
    case "ByteLevel": return ByteLevelDecoder()
    case "WordPiece":
        return WordPieceDecoder(
            prefix: Array(try fields.string("prefix").utf8), cleansUp: try fields.bool("cleanup", default: true))
    case "Metaspace":
        let scheme = try fields.optionalString("prepend_scheme") ?? "always"
        return MetaspaceDecoder(
            replacement: try fields.scalar("replacement"),
            dropsFirst: try scheme != "never" && fields.optionalBool("add_prefix_space") != false)
    case "Replace":
        return ReplaceDecoder(
            replacement: ReplaceNormalizer(try TextPattern(fields), with: try fields.string("content")))
    case "ByteFallback": return ByteFallbackDecoder()
    case "Fuse": return FuseDecoder()
    case "Strip":
        return StripDecoder(
            content: try fields.scalar("content"), start: try fields.integer("start"), stop: try fields.integer("stop"))
    case "BPEDecoder": return BytePairDecoder(suffix: Array(try fields.string("suffix").utf8))
    case let type: throw LacunaError.unsupported(file: fields.file, what: "decoder '\(type)'")
    }
}

/// Bytes for the characters that stand for them; tokens with other characters stay as they are. Bytes that are no UTF-8
/// become U+FFFD.
struct ByteLevelDecoder: TokenDecoder {
    func decode(_ tokens: [String]) -> [String] {
        [String(decoding: tokens.flatMap { ByteAlphabet.bytes(of: $0) ?? Array($0.utf8) }, as: UTF8.self)]
    }
}

/// Blanks between words, none before what continues one.
struct WordPieceDecoder: TokenDecoder {
    let prefix: [UInt8]
    /// No blanks before punctuation and English contractions.
    let cleansUp: Bool

    func decode(_ tokens: [String]) -> [String] {
        tokens.enumerated().map { index, token in
            var bytes = Array(token.utf8)
            if index > 0 {
                if bytes.starts(with: prefix) {
                    bytes.removeFirst(prefix.count)
                } else {
                    bytes.insert(0x20, at: 0)
                }
            }
            if cleansUp { Self.replacements.forEach { bytes.replace($0.old, with: $0.new) } }
            return String(decoding: bytes, as: UTF8.self)
        }
    }

    private static let replacements: [(old: [UInt8], new: [UInt8])] = [
        (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"),
        (" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
    ].map { (Array($0.0.utf8), Array($0.1.utf8)) }
}

/// Blanks for the visible character that stands for them; those at the front are dropped.
struct MetaspaceDecoder: TokenDecoder {
    let replacement: Unicode.Scalar
    /// The text's first blank was added by the tokenizer.
    let dropsFirst: Bool

    func decode(_ tokens: [String]) -> [String] {
        tokens.enumerated().map { index, token in
            var scalars = String.UnicodeScalarView()
            for scalar in token.unicodeScalars {
                if scalar != replacement {
                    scalars.append(scalar)
                } else if index > 0 || !dropsFirst {
                    scalars.append(" ")
                }
            }
            return String(scalars)
        }
    }
}

/// Replaces a pattern in every token.
struct ReplaceDecoder: TokenDecoder {
    let replacement: ReplaceNormalizer

    func decode(_ tokens: [String]) -> [String] {
        tokens.map { token in
            var text = NormalizedText(token)
            replacement.normalize(&text)
            return String(decoding: text.bytes, as: UTF8.self)
        }
    }
}

/// Makes text of the tokens of single bytes. A run of them that is no UTF-8 becomes U+FFFD for each.
struct ByteFallbackDecoder: TokenDecoder {
    /// The byte that a token such as `<0x0A>` stands for.
    static func byte(_ token: String) -> UInt8? {
        let bytes = Array(token.utf8)
        guard bytes.count == 6, bytes.starts(with: "<0x".utf8), bytes[5] == UInt8(ascii: ">") else { return nil }
        return UInt8(token.dropFirst(3).dropLast(), radix: 16)
    }

    func decode(_ tokens: [String]) -> [String] {
        var result: [String] = []
        var run: [UInt8] = []
        func flush() {
            if run.isEmpty { return }
            if run.withUnsafeBytes({ UTF8Validation.firstInvalidByte($0) }) == nil {
                result.append(String(decoding: run, as: UTF8.self))
            } else {
                result.append(contentsOf: repeatElement("\u{FFFD}", count: run.count))
            }
            run.removeAll()
        }
        for token in tokens {
            if let byte = Self.byte(token) {
                run.append(byte)
            } else {
                flush()
                result.append(token)
            }
        }
        flush()
        return result
    }
}

/// Makes one piece of all.
struct FuseDecoder: TokenDecoder {
    func decode(_ tokens: [String]) -> [String] { [tokens.joined()] }
}

/// Removes up to a number of a character from both ends of every piece.
struct StripDecoder: TokenDecoder {
    let content: Unicode.Scalar
    let start: Int
    let stop: Int

    func decode(_ tokens: [String]) -> [String] {
        tokens.map { token in
            var scalars = Array(token.unicodeScalars)[...]
            var (front, back) = (0, 0)
            while front < start, scalars.first == content {
                scalars.removeFirst()
                front += 1
            }
            while back < stop, scalars.last == content {
                scalars.removeLast()
                back += 1
            }
            var view = String.UnicodeScalarView()
            view.append(contentsOf: scalars)
            return String(view)
        }
    }
}

/// Blanks for the suffix that marks the ends of words.
struct BytePairDecoder: TokenDecoder {
    let suffix: [UInt8]

    func decode(_ tokens: [String]) -> [String] {
        tokens.enumerated().map { index, token in
            var bytes = Array(token.utf8)
            bytes.replace(suffix, with: index == tokens.count - 1 ? [] : [0x20])
            return String(decoding: bytes, as: UTF8.self)
        }
    }
}
