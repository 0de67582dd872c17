import LacunaTensor

/// A token that is recognised in the text itself, before it is cut into words.
public struct AddedToken: Sendable, Hashable {
    /// The token's number.
    public var id: Int
    /// The text that stands for it.
    public var content: String
    /// Part of the protocol between program and model (end of text, begin of a chat turn), not of the language.
    public var isSpecial: Bool
    /// White space before, or after, is swallowed with it.
    public var stripsLeft = false
    /// Whether spaces behind it belong to it.
    public var stripsRight = false
    /// Only recognised between characters that are no letters, digits or underscores.
    public var isSingleWord = false
    /// Looked for in the normalised text, in its own normalised form, rather than in the original.
    public var isNormalized = false

    /// A token of this number and text.
    public init(id: Int, content: String, isSpecial: Bool) {
        self.id = id
        self.content = content
        self.isSpecial = isSpecial
    }
}

/// Finds added tokens in text: the leftmost, and of those the longest. One that is found and then refused, because it is
/// no single word or not to be recognised, still covers the shorter ones within it.
struct AddedTokenMatcher: Sendable {
    private struct Candidate: Sendable {
        let token: AddedToken
        let bytes: [UInt8]
    }

    /// By first byte, longest first.
    private var candidates = [[Candidate]](repeating: [], count: 256)
    private(set) var isEmpty = true

    /// - Parameter spelling: The bytes to look for, of a token.
    init(_ tokens: [AddedToken], spelling: (AddedToken) -> [UInt8]) {
        for token in tokens {
            let bytes = spelling(token)
            guard let first = bytes.first else { continue }
            candidates[Int(first)].append(Candidate(token: token, bytes: bytes))
            isEmpty = false
        }
        for first in 0..<256 { candidates[first].sort { $0.bytes.count > $1.bytes.count } }
    }

    enum Piece: Equatable {
        case text(Range<Int>)
        case token(Int)
    }

    /// Cuts well-formed UTF-8 text at the tokens that `recognizes` lets pass, given where they stand.
    func cut(
        _ text: UnsafeBufferPointer<UInt8>, recognizes: (AddedToken, Range<Int>) -> Bool, _ body: (Piece) -> Void
    ) {
        var (start, i) = (0, 0)
        while !isEmpty && i < text.count {
            guard let candidate = longest(text, at: i) else {
                i += 1
                continue
            }
            let token = candidate.token
            let match = i..<i + candidate.bytes.count
            i = match.upperBound
            guard recognizes(token, match), !token.isSingleWord || isWord(text, match) else { continue }
            var (left, right) = (match.lowerBound, match.upperBound)
            if token.stripsLeft { left = min(max(leftmostSpace(text, before: left), start), left) }
            if token.stripsRight { right = rightmostSpace(text, from: right) }
            if left > start { body(.text(start..<left)) }
            body(.token(token.id))
            start = right
            // A token that begins within the white space just taken is still found.
        }
        if start < text.count { body(.text(start..<text.count)) }
    }

    private func longest(_ text: UnsafeBufferPointer<UInt8>, at i: Int) -> Candidate? {
        for candidate in candidates[Int(text[i])] {
            let end = i + candidate.bytes.count
            if end <= text.count, text[i..<end].elementsEqual(candidate.bytes) { return candidate }
        }
        return nil
    }

    private func isWord(_ text: UnsafeBufferPointer<UInt8>, _ match: Range<Int>) -> Bool {
        if match.lowerBound > 0 {
            let before = UTF8Text.previous(text, before: match.lowerBound)
            if UnicodeClasses.isWord(UTF8Text.scalar(text, at: before).0) { return false }
        }
        return match.upperBound == text.count
            || !UnicodeClasses.isWord(UTF8Text.scalar(text, at: match.upperBound).0)
    }

    private func leftmostSpace(_ text: UnsafeBufferPointer<UInt8>, before end: Int) -> Int {
        var i = end
        while i > 0 {
            let before = UTF8Text.previous(text, before: i)
            guard UnicodeClasses.isWhitespace(UTF8Text.scalar(text, at: before).0) else { break }
            i = before
        }
        return i
    }

    private func rightmostSpace(_ text: UnsafeBufferPointer<UInt8>, from start: Int) -> Int {
        var i = start
        while i < text.count {
            let (scalar, next) = UTF8Text.scalar(text, at: i)
            guard UnicodeClasses.isWhitespace(scalar) else { break }
            i = next
        }
        return i
    }
}
