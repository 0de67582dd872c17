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

/// Answers are JSON objects: every token that could not go on with one is ruled out. An answer that meets its limit of tokens before
/// may be the beginning of one.
///
/// Constrained decoding by an automaton is due to Brandon T. Willard, Rémi Louf, "Efficient Guided Generation for Large Language
/// Models", arXiv 2307.09702; here the tokens are tried one by one, which needs no table.
///
/// - Complexity: O(bytes of the vocabulary) a token.
struct JSONConstraint: TokenConstraint {
    private let spellings: TokenSpellings
    private var prefix = JSONPrefix()

    init(_ spellings: TokenSpellings) { self.spellings = spellings }

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
        for token in logits.indices where !allows(token) { logits[token] = -.infinity }
    }

    mutating func accept(_ token: Int) {
        for byte in spellings[token] { _ = prefix.accept(byte) }
    }
}

/// The bytes of every token, one after the other; none for special tokens.
final class TokenSpellings: Sendable {
    private let bytes: [UInt8]
    private let offsets: [Int]

    init(_ tokenizer: Tokenizer) {
        var (bytes, offsets): ([UInt8], [Int]) = ([], [0])
        for token in 0..<tokenizer.vocabularySize {
            if !tokenizer.isSpecial(token) { bytes += tokenizer.bytes(of: token) }
            offsets.append(bytes.count)
        }
        (self.bytes, self.offsets) = (bytes, offsets)
    }

    subscript(token: Int) -> ArraySlice<UInt8> {
        token + 1 < offsets.count ? bytes[offsets[token]..<offsets[token + 1]] : []
    }
}
