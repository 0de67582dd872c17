import LacunaTensor

/// A token that is recognised in the text itself, before it is cut into words.
public struct AddedToken: Sendable, Hashable {
    public var id: Int
    public var content: String
    /// Part of the protocol between program and model (end of text, begin of a chat turn), not of the language.
    public var isSpecial: Bool
    /// White space before, or after, is swallowed with it.
    public var stripsLeft = false
    public var stripsRight = false
    /// Only recognised between characters that are no letters, digits or underscores.
    public var isSingleWord = false
    /// Looked for in the normalised text rather than in the original.
    public var isNormalized = false

    public init(id: Int, content: String, isSpecial: Bool) {
        self.id = id
        self.content = content
        self.isSpecial = isSpecial
    }
}

/// Finds added tokens in text: the leftmost, and of those the longest.
struct AddedTokenMatcher: Sendable {
    private struct Candidate: Sendable {
        let token: AddedToken
        let bytes: [UInt8]
    }

    /// By first byte, longest first.
    private var candidates = [[Candidate]](repeating: [], count: 256)
    private var isEmpty = true

    init(_ tokens: [AddedToken]) {
        for token in tokens where !token.content.isEmpty {
            let bytes = Array(token.content.utf8)
            candidates[Int(bytes[0])].append(Candidate(token: token, bytes: bytes))
            isEmpty = false
        }
        for first in 0..<256 { candidates[first].sort { $0.bytes.count > $1.bytes.count } }
    }

    enum Piece: Equatable {
        case text(Range<Int>)
        case token(Int)
    }

    /// Cuts `range` of well-formed UTF-8 text at the tokens that `recognizes` lets pass.
    func cut(
        _ text: UnsafeBufferPointer<UInt8>, _ range: Range<Int>, recognizes: (AddedToken) -> Bool,
        _ body: (Piece) -> Void
    ) {
        var (start, i) = (range.lowerBound, range.lowerBound)
        while !isEmpty && i < range.upperBound {
            guard let (token, length) = match(text, at: i, in: range, recognizes) else {
                i += 1
                continue
            }
            var (left, right) = (i, i + length)
            if token.stripsLeft { while left > start, Self.isSpace(text[left - 1]) { left -= 1 } }
            if token.stripsRight { while right < range.upperBound, Self.isSpace(text[right]) { right += 1 } }
            if left > start { body(.text(start..<left)) }
            body(.token(token.id))
            (start, i) = (right, right)
        }
        if start < range.upperBound { body(.text(start..<range.upperBound)) }
    }

    private func match(
        _ text: UnsafeBufferPointer<UInt8>, at i: Int, in range: Range<Int>, _ recognizes: (AddedToken) -> Bool
    ) -> (AddedToken, Int)? {
        for candidate in candidates[Int(text[i])] {
            let end = i + candidate.bytes.count
            guard end <= range.upperBound, recognizes(candidate.token) else { continue }
            guard text[i..<end].elementsEqual(candidate.bytes) else { continue }
            if candidate.token.isSingleWord {
                if i > range.lowerBound && Self.isWordByte(text[i - 1]) { continue }
                if end < range.upperBound && Self.isWordByte(text[end]) { continue }
            }
            return (candidate.token, candidate.bytes.count)
        }
        return nil
    }

    private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }

    /// Letters beyond ASCII count as parts of words.
    private static func isWordByte(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x5F, 0x80...0xFF: true
        default: false
        }
    }
}
