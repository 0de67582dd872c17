import LacunaIO

/// What the next token of an answer may be.
public protocol TokenConstraint: Sendable {
    /// Makes the logits of tokens that may not follow minus infinity.
    mutating func restrict(_ logits: UnsafeMutableBufferPointer<Float>)
    /// Takes the token that was chosen.
    mutating func accept(_ token: Int)
    /// Whether the answer is complete, and ends here.
    var isComplete: Bool { get }
}

/// Answers are JSON objects that a schema describes: every token that could not go on with one is ruled out. An answer that meets
/// its limit of tokens before may be the beginning of one.
///
/// Constrained decoding by an automaton is due to Brandon T. Willard, Rémi Louf, "Efficient Guided Generation for Large Language
/// Models", arXiv 2307.09702; here the tokens are tried one by one, which needs no table.
///
/// - Complexity: O(bytes of the vocabulary) a token; within a string O(tokens) but for those with quotes and backslashes.
struct JSONConstraint: TokenConstraint {
    private let spellings: TokenSpellings
    private var prefix: JSONPrefix

    init(_ spellings: TokenSpellings, _ schema: JSONSchema = .anyObject) {
        self.spellings = spellings
        prefix = JSONPrefix(schema)
    }

    var isComplete: Bool { prefix.isComplete }

    func allows(_ token: Int) -> Bool {
        let bytes = spellings[token]
        // Special tokens, and those of no bytes, would never come to an end.
        if bytes.isEmpty { return false }
        var next = prefix
        for byte in bytes {
            // What follows the object is not wanted.
            if next.isComplete || !next.accept(byte) { return false }
        }
        return true
    }

    mutating func restrict(_ logits: UnsafeMutableBufferPointer<Float>) {
        let room = prefix.roomInString
        let beginnings = (0...UInt8.max).map { byte in
            var next = prefix
            return !prefix.isComplete && next.accept(byte)
        }
        for token in logits.indices {
            if let room, let length = spellings.plainLength(token) {
                if length > room { logits[token] = -.infinity }
            } else if !beginnings[Int(spellings[token].first ?? 0)] || !allows(token) {
                logits[token] = -.infinity
            }
        }
    }

    mutating func accept(_ token: Int) {
        for byte in spellings[token] { _ = prefix.accept(byte) }
    }
}

/// The bytes of every token, one after the other; none for special tokens.
final class TokenSpellings: Sendable {
    private let bytes: [UInt8]
    private let offsets: [Int]
    /// Characters of tokens that are whole characters which stand for themselves in a JSON string, -1 for others.
    private let plainLengths: [Int32]

    init(_ tokenizer: Tokenizer) {
        var (bytes, offsets, lengths): ([UInt8], [Int], [Int32]) = ([], [0], [])
        for token in 0..<tokenizer.vocabularySize {
            if !tokenizer.isSpecial(token) { bytes += tokenizer.bytes(of: token) }
            lengths.append(Self.plainLength(bytes[offsets.last!...]))
            offsets.append(bytes.count)
        }
        (self.bytes, self.offsets, plainLengths) = (bytes, offsets, lengths)
    }

    private static func plainLength(_ bytes: ArraySlice<UInt8>) -> Int32 {
        var string = JSONStringPrefix()
        let isPlain = bytes.allSatisfy { $0 != UInt8(ascii: "\\") && string.accept($0, most: .max) == .goesOn }
        return isPlain && !bytes.isEmpty && string.isBetween ? Int32(string.count) : -1
    }

    /// Characters of a token that stands for itself in a JSON string; nil for one with quotes, backslashes, control characters or
    /// parts of characters.
    func plainLength(_ token: Int) -> Int? {
        plainLengths.indices.contains(token) && plainLengths[token] >= 0 ? Int(plainLengths[token]) : nil
    }

    subscript(token: Int) -> ArraySlice<UInt8> {
        token + 1 < offsets.count ? bytes[offsets[token]..<offsets[token + 1]] : []
    }
}
