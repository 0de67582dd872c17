/// Turns tokens into text one by one, and holds back what is not yet whole characters.
///
/// The pieces together are the text that ``Tokenizer/decode(_:skipsSpecials:)`` makes of all tokens, with one exception:
/// where a vocabulary spells characters by single bytes, a later byte can no longer spoil characters already given out.
public struct StreamingDecoder: Sendable {
    private let tokenizer: Tokenizer
    private let skipsSpecials: Bool
    /// Of byte-level tokenizers: bytes that are not yet a character.
    private var pending: [UInt8] = []
    /// Of others: the last tokens given out and those held back, and the text of the former. What a token stands for
    /// depends on the one before.
    private var window: [Int] = []
    private var held = 0
    private var shown = ""

    /// More tokens than one character can take are not held back.
    private static let mostHeld = 16

    /// A decoder that has seen no token; with `skipsSpecials`, special ones give no text.
    public init(_ tokenizer: Tokenizer, skipsSpecials: Bool = true) {
        self.tokenizer = tokenizer
        self.skipsSpecials = skipsSpecials
    }

    /// The text that `id` completes; empty while a character is unfinished.
    public mutating func append(_ id: Int) -> String {
        if skipsSpecials && tokenizer.isSpecial(id) { return "" }
        if tokenizer.isByteLevel {
            pending.append(contentsOf: tokenizer.bytes(of: id))
            let complete = pending.count - unfinishedCount
            defer { pending.removeFirst(complete) }
            return String(decoding: pending[..<complete], as: UTF8.self)
        }
        window.append(id)
        held += 1
        let text = tokenizer.decode(window)
        if text.unicodeScalars.last == "\u{FFFD}" && held < Self.mostHeld { return "" }
        return giveOut(text)
    }

    /// What is still held back; bytes that are no character become U+FFFD. Call after the last token.
    public mutating func finish() -> String {
        if tokenizer.isByteLevel {
            defer { pending = [] }
            return String(decoding: pending, as: UTF8.self)
        }
        defer { (window, held, shown) = ([], 0, "") }
        return held == 0 ? "" : giveOut(tokenizer.decode(window))
    }

    private mutating func giveOut(_ text: String) -> String {
        let new = Array(window.suffix(held))
        let piece: String
        if text.utf8.starts(with: shown.utf8) {
            piece = String(decoding: text.utf8.dropFirst(shown.utf8.count), as: UTF8.self)
        } else {
            piece = tokenizer.decode(new)
        }
        (window, held) = (new, 0)
        shown = tokenizer.decode(new)
        return piece
    }

    /// Bytes at the end that begin a character without ending it.
    private var unfinishedCount: Int {
        pending.withUnsafeBytes { bytes in
            for back in 1...3 where back <= bytes.count {
                if UTF8Validation.sequenceLength(bytes, at: bytes.count - back) < 0 { return back }
            }
            return 0
        }
    }
}
