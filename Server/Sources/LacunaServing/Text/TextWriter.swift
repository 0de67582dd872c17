import LacunaIO

/// Turns the tokens of an answer into text, as it comes, up to the first text that is to end it.
///
/// Text that may turn out to begin one of those is held back, with its tokens. The pieces together do not depend on how the text was
/// cut into tokens.
public struct TextWriter {
    /// A token of the text.
    public struct WrittenToken: Sendable {
        /// Its number in the vocabulary.
        public var token: Int
        /// How probable it was, if that was asked for.
        public var score: TokenScore?
        /// Characters (Unicode scalars) of the text before it.
        public var offset: Int
    }

    /// What a token adds.
    public struct Output: Sendable {
        /// Text that is certain.
        public var text = ""
        /// Tokens that begin in it.
        public var tokens: [WrittenToken] = []
        /// Whether one of the texts that end an answer has been found.
        public var isStopped = false
    }

    private var decoder: StreamingDecoder
    private let tokenizer: Tokenizer
    private let stops: [[UInt8]]
    /// Text that is held back.
    private var held: [UInt8] = []
    /// Bytes given out.
    private var given = 0
    /// Tokens not given out, and the byte of the text that each begins with.
    private var waiting: [(token: WrittenToken, byte: Int)] = []
    private var scalars: Int

    /// - Parameters:
    ///   - stops: Texts that end the answer; none is empty.
    ///   - offset: Characters that go before the answer.
    public init(_ tokenizer: Tokenizer, stops: [String] = [], offset: Int = 0) {
        decoder = StreamingDecoder(tokenizer)
        self.tokenizer = tokenizer
        self.stops = stops.map { Array($0.utf8) }
        scalars = offset
    }

    /// The next token.
    public mutating func append(_ token: Int, score: TokenScore? = nil) -> Output {
        waiting.append((WrittenToken(token: token, score: score, offset: scalars), given + held.count))
        if !tokenizer.isSpecial(token) {
            scalars += tokenizer.bytes(of: token).count { $0 & 0xC0 != 0x80 }
        }
        held.append(contentsOf: decoder.append(token).utf8)
        return giveOut(isLast: false)
    }

    /// What is still held back, after the last token.
    public mutating func finish() -> Output {
        held.append(contentsOf: decoder.finish().utf8)
        return giveOut(isLast: true)
    }

    private mutating func giveOut(isLast: Bool) -> Output {
        var output = Output()
        var end = held.count
        if let found = firstStop() {
            (end, output.isStopped) = (found, true)
        } else if !isLast {
            end -= unfinishedStop()
        }
        output.text = String(decoding: held[..<end], as: UTF8.self)
        held.removeFirst(end)
        given += end
        let ready = isLast && !output.isStopped ? waiting.count : waiting.prefix { $0.byte < given }.count
        output.tokens = waiting[..<ready].map(\.token)
        waiting.removeFirst(ready)
        if output.isStopped { (held, waiting) = ([], []) }
        return output
    }

    /// Where the first text begins that ends the answer.
    private func firstStop() -> Int? {
        stops.compactMap { stop -> Int? in
            guard held.count >= stop.count else { return nil }
            return (0...held.count - stop.count).first { held[$0..<$0 + stop.count].elementsEqual(stop) }
        }.min()
    }

    /// Bytes at the end that may begin such a text.
    private func unfinishedStop() -> Int {
        stops.map { stop in
            (0..<min(stop.count, held.count + 1)).last { held.suffix($0).elementsEqual(stop.prefix($0)) } ?? 0
        }.max() ?? 0
    }
}
