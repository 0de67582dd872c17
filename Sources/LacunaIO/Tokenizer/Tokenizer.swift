import LacunaTensor

/// Text to token ids and back, exactly as the model was trained with.
///
/// A tokenizer is a normaliser, a pre-tokenizer, a model, what is put around a text, and a decoder, as `tokenizer.json`
/// describes them (``init(json:)``, ``init(directory:)``) or a GGUF file's metadata imply (``init(gguf:)``): byte-level
/// and SentencePiece byte pairs, WordPiece, Unigram. What those ask for and is not supported is refused, never
/// approximated.
public final class Tokenizer: Sendable {
    /// One more than the largest id.
    public let vocabularySize: Int
    /// Tokens that are found in a text before anything else is done with it.
    public let addedTokens: [AddedToken]
    /// What changes a text first, if anything does.
    public let normalizer: (any Normalizer)?
    /// What cuts a text into words, if anything does.
    public let preTokenizer: (any PreTokenizer)?
    /// What makes tokens of words.
    public let model: any TokenizerModel
    /// What makes text of tokens, if more is to be done than joining them.
    public let decoder: (any TokenDecoder)?
    /// The token that begins a text, if the tokenizer has one.
    public let beginningToken: Int?
    /// The tokens that end a text or a turn.
    public let endTokens: [Int]
    /// The model expects ``beginningToken`` before every text.
    public let addsBeginning: Bool
    /// The Jinja template that turns a conversation into text.
    public let chatTemplate: String?

    /// How a batch of texts is cut; nil for not at all. See ``encode(batch:recognizesSpecials:)``.
    public let truncation: TokenTruncation?
    /// How a batch of texts is filled up; nil for not at all. See ``encode(batch:recognizesSpecials:)``.
    public let padding: TokenPadding?

    /// The spelling of tokens by the names that templates call them by: `bos_token`, `eos_token` and so on.
    public let namedTokens: [String: String]

    let definition: TokenizerDefinition
    private let readsBytes: Bool
    private let postProcessor: PostProcessor
    private let rawMatcher: AddedTokenMatcher
    private let normalizedMatcher: AddedTokenMatcher
    private let specialIDs: Set<Int>
    /// Added tokens that are looked for in another form than they are written.
    private let normalizedSpellings: [Int: String]
    /// Of byte-level tokenizers: what every token stands for, one after the other; token `i` has
    /// `offsets[i]..<offsets[i + 1]`.
    private let tokenBytes: [UInt8]
    private let offsets: [Int]
    let isByteLevel: Bool

    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` if parts contradict each other;
    ///   ``LacunaError/unsupported(file:what:)`` for parts that are not known here.
    init(_ definition: TokenizerDefinition) throws {
        self.definition = definition
        addedTokens = definition.added.sorted { $0.id < $1.id }
        let normalizer = try definition.component("normalizer", definition.normalizer).map(makeNormalizer)
        let preTokenizer = try definition.component("pre_tokenizer", definition.preTokenizer).map(makePreTokenizer)
        decoder = try definition.component("decoder", definition.decoder).map(makeTokenDecoder)
        (model, readsBytes) = try definition.makeModel(afterByteLevel: preTokenizer?.leavesBytes ?? false)
        postProcessor =
            try definition.component("post_processor", definition.postProcessor).map {
                try PostProcessor($0, definition.vocabulary)
            } ?? PostProcessor()
        (self.normalizer, self.preTokenizer) = (normalizer, preTokenizer)
        (truncation, padding) = (try definition.makeTruncation(), try definition.makePadding())
        let leading = postProcessor.leading.first
        beginningToken = leading ?? definition.beginning
        addsBeginning = leading != nil
        endTokens = definition.ends
        chatTemplate = definition.chatTemplate
        vocabularySize = definition.vocabulary.count
        var named = definition.namedTokens
        if named["bos_token"] == nil { named["bos_token"] = beginningToken.flatMap { definition.vocabulary[$0] } }
        if named["eos_token"] == nil { named["eos_token"] = endTokens.first.flatMap { definition.vocabulary[$0] } }
        namedTokens = named
        specialIDs = Set(addedTokens.lazy.filter(\.isSpecial).map(\.id))

        rawMatcher = AddedTokenMatcher(addedTokens.filter { !$0.isNormalized }) { Array($0.content.utf8) }
        var spellings: [Int: String] = [:]
        normalizedMatcher = AddedTokenMatcher(addedTokens.filter(\.isNormalized)) { token in
            guard let normalizer else { return Array(token.content.utf8) }
            var text = NormalizedText(token.content)
            normalizer.normalize(&text)
            let spelling = String(decoding: text.bytes, as: UTF8.self)
            if !spelling.utf8.elementsEqual(token.content.utf8) { spellings[token.id] = spelling }
            return text.bytes
        }
        normalizedSpellings = spellings
        isByteLevel = decoder is ByteLevelDecoder
        (tokenBytes, offsets) = isByteLevel ? Self.bytesOfTokens(definition) : ([], [])
    }

    private static func bytesOfTokens(_ definition: TokenizerDefinition) -> (bytes: [UInt8], offsets: [Int]) {
        let addedIDs = Set(definition.added.map(\.id))
        var bytes: [UInt8] = []
        var offsets = [0]
        offsets.reserveCapacity(definition.vocabulary.count + 1)
        for id in 0..<definition.vocabulary.count {
            if let token = definition.vocabulary[id] {
                // An added token is written as it is read, also where its characters stand for bytes.
                let spelled = addedIDs.contains(id) ? nil : ByteAlphabet.bytes(of: token)
                bytes.append(contentsOf: spelled ?? Array(token.utf8))
            }
            offsets.append(bytes.count)
        }
        return (bytes, offsets)
    }

    // MARK: Text to tokens

    /// The ids of `text`.
    ///
    /// - Parameters:
    ///   - recognizesSpecials: Whether special tokens written out in the text, such as `<|im_end|>`, become those tokens.
    ///     Text from outside should not be able to do that.
    ///   - addsBeginning: Whether to put the tokens around that the tokenizer's files name; nil does so. True also begins
    ///     with ``beginningToken`` where the files do not ask for it.
    public func encode(_ text: String, recognizesSpecials: Bool = true, addsBeginning: Bool? = nil) -> [Int] {
        finish(encode(text) { token, _ in recognizesSpecials || !token.isSpecial }, addsBeginning)
    }

    /// The ids of text that is a program's own in parts, and somebody else's in others: special tokens are recognised in
    /// the former only.
    ///
    /// - Parameter specialRanges: The program's own parts, as offsets of UTF-8 bytes, in order.
    public func encode(_ text: String, specialRanges: [Range<Int>], addsBeginning: Bool? = nil) -> [Int] {
        let ids = encode(text) { token, match in
            if !token.isSpecial { return true }
            // The first part that does not end before the match.
            var (low, high) = (0, specialRanges.count)
            while low < high {
                let middle = (low + high) / 2
                if specialRanges[middle].upperBound < match.upperBound { low = middle + 1 } else { high = middle }
            }
            return low < specialRanges.count && specialRanges[low].lowerBound <= match.lowerBound
        }
        return finish(ids, addsBeginning)
    }

    /// The ids of a text, or of two that belong together, with what is put around them. A file's truncation and padding are
    /// for batches: ``encode(batch:recognizesSpecials:)``.
    public func encode(_ text: String, and second: String?, recognizesSpecials: Bool = true) -> TokenEncoding {
        encoding(([text] + (second.map { [$0] } ?? [])).map { tokens($0, recognizesSpecials: recognizesSpecials) })
    }

    /// The tokens of a text, and nothing around.
    func tokens(_ text: String, recognizesSpecials: Bool) -> [Int] {
        encode(text) { token, _ in recognizesSpecials || !token.isSpecial }
    }

    /// The tokens of one text or two, with what is put around them.
    func encoding(_ texts: [[Int]]) -> TokenEncoding { postProcessor.apply(texts, addsTokens: true) }

    private func finish(_ ids: [Int], _ addsBeginning: Bool?) -> [Int] {
        if addsBeginning == false || postProcessor.single.count == 1 && addsBeginning == nil { return ids }
        let whole = postProcessor.apply([ids], addsTokens: true).ids
        guard addsBeginning == true, let beginningToken, !self.addsBeginning else { return whole }
        return [beginningToken] + whole
    }

    /// - Parameter recognizes: Whether an added token counts, and where it stands in the text; if it is only looked for
    ///   after normalisation, the piece of text that it stands in.
    private func encode(_ text: String, _ recognizes: (AddedToken, Range<Int>) -> Bool) -> [Int] {
        var output: [Int] = []
        var text = text
        text.withUTF8 { bytes in
            rawMatcher.cut(bytes, recognizes: recognizes) { piece in
                switch piece {
                case .token(let id): output.append(id)
                case .text(let range):
                    var text = NormalizedText(bytes: Array(bytes[range]), startsText: range.lowerBound == 0)
                    normalizer?.normalize(&text)
                    encode(text, { token, _ in recognizes(token, range) }, into: &output)
                }
            }
        }
        return output
    }

    private func encode(
        _ text: NormalizedText, _ recognizes: (AddedToken, Range<Int>) -> Bool, into output: inout [Int]
    ) {
        if normalizedMatcher.isEmpty {
            return encode(TextPieces(bytes: text.bytes, startsText: text.startsText), into: &output)
        }
        text.bytes.withUnsafeBufferPointer { bytes in
            normalizedMatcher.cut(bytes, recognizes: recognizes) { piece in
                switch piece {
                case .token(let id): output.append(id)
                case .text(let range):
                    encode(
                        TextPieces(
                            bytes: Array(bytes[range]), startsText: text.startsText && range.lowerBound == 0),
                        into: &output)
                }
            }
        }
    }

    private func encode(_ words: TextPieces, into output: inout [Int]) {
        var words = words
        preTokenizer?.split(&words)
        if words.areBytes && !readsBytes {
            words.rewrite { piece, _, result in result.append(contentsOf: ByteAlphabet.spell(piece)) }
        }
        model.encode(words, into: &output)
    }

    // MARK: Tokens to text

    /// The text of `ids`. Bytes that are no UTF-8 become U+FFFD; ids beyond the vocabulary, which models with a padded
    /// output layer can produce, become nothing.
    public func decode(_ ids: some Sequence<Int>, skipsSpecials: Bool = false) -> String {
        if isByteLevel {
            var bytes: [UInt8] = []
            for id in ids where !(skipsSpecials && specialIDs.contains(id)) {
                bytes.append(contentsOf: self.bytes(of: id))
            }
            return String(decoding: bytes, as: UTF8.self)
        }
        let tokens = ids.compactMap { id in
            skipsSpecials && specialIDs.contains(id) ? nil : normalizedSpellings[id] ?? token(id)
        }
        // The field's libraries put blanks between tokens if nothing says what else.
        return decoder?.decode(tokens).joined() ?? tokens.joined(separator: " ")
    }

    /// What one token stands for within a text: often a part of a character only.
    public func bytes(of id: Int) -> ArraySlice<UInt8> {
        guard id >= 0 && id < vocabularySize else { return [] }
        if isByteLevel { return tokenBytes[offsets[id]..<offsets[id + 1]] }
        guard let token = token(id) else { return [] }
        guard let decoder else { return Array(token.utf8)[...] }
        if let byte = ByteFallbackDecoder.byte(token), decoder.decode([token]).joined() != token { return [byte] }
        // Between two others, and without what these are.
        let after = decoder.decode(["x", "x"]).joined().utf8.count - 1
        return Array(decoder.decode(["x", token, "x"]).joined().utf8.dropFirst().dropLast(after))[...]
    }

    /// Whether a token is special: it marks something and is no text.
    public func isSpecial(_ id: Int) -> Bool { specialIDs.contains(id) }

    /// A token as the vocabulary spells it (blanks as `Ġ`, for example); nil for an unused id.
    public func token(_ id: Int) -> String? { definition.vocabulary[id] }

    /// The id of a token as the vocabulary spells it.
    public func id(of token: String) -> Int? { definition.vocabulary.id(of: token) }

    /// The words into which `text` is cut before the model sees it, for inspection. Added tokens are not looked for.
    public func words(of text: String) -> [String] {
        var text = NormalizedText(text)
        normalizer?.normalize(&text)
        var words = TextPieces(bytes: text.bytes, startsText: text.startsText)
        preTokenizer?.split(&words)
        return words.strings
    }
}

extension PreTokenizer {
    /// Whether the model is to read what it leaves byte by byte.
    fileprivate var leavesBytes: Bool {
        if let sequence = self as? PreTokenizerSequence { return sequence.members.last?.leavesBytes ?? false }
        return self is ByteLevelPreTokenizer
    }
}
