import LacunaTensor

/// A byte-level byte-pair tokenizer: text to token ids and back, exactly as the model was trained with.
///
/// It comes from a `tokenizer.json` (``init(json:)``, ``init(directory:)``) or from a GGUF file's metadata
/// (``init(gguf:)``). What those ask for and is not supported is refused, never approximated.
public final class Tokenizer: Sendable {
    /// One more than the largest id.
    public let vocabularySize: Int
    public let addedTokens: [AddedToken]
    public let preTokenizer: PreTokenizer
    /// The token that begins a text, if the tokenizer has one.
    public let beginningToken: Int?
    /// The tokens that end a text or a turn.
    public let endTokens: [Int]
    /// The model expects ``beginningToken`` before every text.
    public let addsBeginning: Bool
    /// The Jinja template that turns a conversation into text.
    public let chatTemplate: String?

    let definition: TokenizerDefinition
    private let model: BytePairModel
    private let ids: [ExactString: Int]
    private let rawMatcher: AddedTokenMatcher
    private let normalizedMatcher: AddedTokenMatcher
    private let specialIDs: Set<Int>
    /// What every token stands for, one after the other; token `i` has `offsets[i]..<offsets[i + 1]`.
    private let tokenBytes: [UInt8]
    private let offsets: [Int]

    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` if merges or added tokens contradict the vocabulary.
    init(_ definition: TokenizerDefinition) throws {
        self.definition = definition
        addedTokens = definition.added.sorted { $0.id < $1.id }
        preTokenizer = definition.preTokenizer
        beginningToken = definition.beginning
        endTokens = definition.ends
        addsBeginning = definition.addsBeginning && definition.beginning != nil
        chatTemplate = definition.chatTemplate
        let tokens = definition.tokens
        vocabularySize = tokens.count
        ids = definition.ids
        model = try definition.makeModel()
        rawMatcher = AddedTokenMatcher(addedTokens.filter { !$0.isNormalized })
        normalizedMatcher = AddedTokenMatcher(addedTokens.filter(\.isNormalized))
        specialIDs = Set(addedTokens.lazy.filter(\.isSpecial).map(\.id))

        let addedIDs = Set(addedTokens.map(\.id))
        var bytes: [UInt8] = []
        var offsets = [0]
        offsets.reserveCapacity(tokens.count + 1)
        for (id, token) in tokens.enumerated() {
            if let token {
                let spelled = addedIDs.contains(id) ? nil : ByteAlphabet.bytes(of: token)
                bytes.append(contentsOf: spelled ?? Array(token.utf8))
            }
            offsets.append(bytes.count)
        }
        tokenBytes = bytes
        self.offsets = offsets
    }

    /// The ids of `text`.
    ///
    /// - Parameters:
    ///   - recognizesSpecials: Whether special tokens written out in the text, such as `<|im_end|>`, become those tokens.
    ///     Text from outside should not be able to do that.
    ///   - addsBeginning: Whether to begin with ``beginningToken``; nil does as the model expects.
    public func encode(_ text: String, recognizesSpecials: Bool = true, addsBeginning: Bool? = nil) -> [Int] {
        var output: [Int] = []
        if addsBeginning ?? self.addsBeginning, let beginningToken { output.append(beginningToken) }
        let recognizes = { (token: AddedToken) in recognizesSpecials || !token.isSpecial }
        var text = text
        text.withUTF8 { bytes in
            rawMatcher.cut(bytes, 0..<bytes.count, recognizes: recognizes) { piece in
                switch piece {
                case .token(let id): output.append(id)
                case .text(let range): encode(bytes, range, recognizes, into: &output)
                }
            }
        }
        return output
    }

    private func encode(
        _ bytes: UnsafeBufferPointer<UInt8>, _ range: Range<Int>, _ recognizes: (AddedToken) -> Bool,
        into output: inout [Int]
    ) {
        func encodePieces(_ bytes: UnsafeBufferPointer<UInt8>, _ range: Range<Int>) {
            normalizedMatcher.cut(bytes, range, recognizes: recognizes) { piece in
                switch piece {
                case .token(let id): output.append(id)
                case .text(let range): encodeWords(bytes, range, into: &output)
                }
            }
        }
        guard definition.composes else { return encodePieces(bytes, range) }
        var text = CanonicalComposition.apply(String(decoding: bytes[range], as: UTF8.self))
        text.withUTF8 { encodePieces($0, 0..<$0.count) }
    }

    private func encodeWords(_ bytes: UnsafeBufferPointer<UInt8>, _ range: Range<Int>, into output: inout [Int]) {
        var workspace = BytePairModel.Workspace()
        // Where in `output` a word's tokens stand already. Most words of a long text occurred before.
        var known: [Word: Range<Int>] = [:]
        preTokenizer.forEachWord(bytes, in: range) { wordRange in
            let word = Word(bytes: UnsafeBufferPointer(rebasing: bytes[wordRange]))
            let start = output.count
            if let tokens = known[word] {
                for i in tokens { output.append(output[i]) }
            } else {
                model.encode(word.bytes, &workspace, into: &output)
                known[word] = start..<output.count
            }
        }
    }

    /// A stretch of the text that is being encoded.
    private struct Word: Hashable {
        let bytes: UnsafeBufferPointer<UInt8>

        static func == (a: Word, b: Word) -> Bool { a.bytes.elementsEqual(b.bytes) }
        func hash(into hasher: inout Hasher) { hasher.combine(bytes: UnsafeRawBufferPointer(bytes)) }
    }

    /// The text of `ids`. Bytes that are no UTF-8 become U+FFFD; ids beyond the vocabulary, which models with a padded
    /// output layer can produce, become nothing.
    public func decode(_ ids: some Sequence<Int>, skipsSpecials: Bool = false) -> String {
        var bytes: [UInt8] = []
        for id in ids where !(skipsSpecials && specialIDs.contains(id)) { bytes.append(contentsOf: self.bytes(of: id)) }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// What one token stands for: often a part of a character only.
    public func bytes(of id: Int) -> ArraySlice<UInt8> {
        id >= 0 && id < vocabularySize ? tokenBytes[offsets[id]..<offsets[id + 1]] : []
    }

    public func isSpecial(_ id: Int) -> Bool { specialIDs.contains(id) }

    /// A token as the vocabulary spells it (blanks as `Ġ`, for example); nil for an unused id.
    public func token(_ id: Int) -> String? { id >= 0 && id < vocabularySize ? definition.tokens[id] : nil }

    /// The id of a token as the vocabulary spells it.
    public func id(of token: String) -> Int? { ids[ExactString(token)] }

    /// The words into which `text` is cut before merging, for inspection.
    public func words(of text: String) -> [String] {
        preTokenizer.words(of: definition.composes ? CanonicalComposition.apply(text) : text)
    }
}

/// Turns tokens into text one by one, and holds bytes back until they make whole characters.
public struct StreamingDecoder: Sendable {
    private let tokenizer: Tokenizer
    private let skipsSpecials: Bool
    private var pending: [UInt8] = []

    public init(_ tokenizer: Tokenizer, skipsSpecials: Bool = true) {
        self.tokenizer = tokenizer
        self.skipsSpecials = skipsSpecials
    }

    /// The text that `id` completes; empty while a character is unfinished.
    public mutating func append(_ id: Int) -> String {
        if skipsSpecials && tokenizer.isSpecial(id) { return "" }
        pending.append(contentsOf: tokenizer.bytes(of: id))
        let complete = pending.count - unfinishedCount
        defer { pending.removeFirst(complete) }
        return String(decoding: pending[..<complete], as: UTF8.self)
    }

    /// What is still held back, as U+FFFD. Call after the last token.
    public mutating func finish() -> String {
        defer { pending = [] }
        return String(decoding: pending, as: UTF8.self)
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
