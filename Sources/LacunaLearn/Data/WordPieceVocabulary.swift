import LacunaIO
import LacunaTensor

/// A WordPiece vocabulary made of a text's own words, for encoders that are trained from nothing: the most frequent words whole,
/// and every letter and sign of the text, alone and as the continuation of a word, so that no word of these is unknown.
///
/// Words are those of BERT's own rules (lower case, without accents, signs apart).
public struct WordPieceVocabulary: Sendable, Hashable {
    /// The spelling of each token; those that continue a word begin with `##`.
    public let tokens: [String]
    private static let specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

    /// - Parameters:
    ///   - texts: What words are counted in.
    ///   - size: Tokens at most. Letters and signs come first, then words by falling frequency, of equally frequent ones in order
    ///     of the alphabet; a vocabulary that is too small for all letters leaves out the rarest.
    /// - Throws: `LacunaError.invalidArgument` for a size that holds no more than the five special tokens.
    public init(_ texts: some Sequence<String>, size: Int) throws {
        guard size > Self.specials.count else {
            throw LacunaError.invalidArgument(
                "vocabulary", reason: "\(size) tokens leave nothing beside the \(Self.specials.count) special ones")
        }
        let splitter = try Tokenizer(Self.json(Self.specials), name: "words")
        var (words, letters): ([String: Int], [Character: Int]) = ([:], [:])
        for text in texts {
            for word in splitter.words(of: text) {
                words[word, default: 0] += 1
                for letter in word { letters[letter, default: 0] += 1 }
            }
        }
        func ordered<Key: Comparable>(_ counts: [Key: Int]) -> [Key] {
            counts.sorted { $0.value != $1.value ? $0.value > $1.value : $0.key < $1.key }.map(\.key)
        }
        let pieces = ordered(letters).flatMap { [String($0), "##\($0)"] }
        var kept = Set(Self.specials)
        tokens = Array(
            (Self.specials + (pieces + ordered(words)).filter { kept.insert($0).inserted }).prefix(size))
    }

    /// The same as a `tokenizer.json`, which puts `[CLS]` before a text and `[SEP]` after it.
    public var tokenizerJSON: JSONValue { Self.json(tokens) }

    private static func json(_ tokens: [String]) -> JSONValue {
        var vocabulary = JSONObject()
        for (id, token) in tokens.enumerated() { vocabulary[token] = JSONValue(id) }
        func special(_ name: String) -> JSONValue { ["SpecialToken": ["id": .string(name), "type_id": 0]] }
        func sequence(_ name: String) -> JSONValue { ["Sequence": ["id": .string(name), "type_id": 0]] }
        func ids(_ name: String) -> JSONValue {
            [
                "id": .string(name), "ids": [JSONValue(specials.firstIndex(of: name) ?? 0)],
                "tokens": [.string(name)],
            ]
        }
        return [
            "version": "1.0", "truncation": nil, "padding": nil,
            "added_tokens": .array(
                specials.enumerated().map { id, name in
                    [
                        "id": JSONValue(id), "content": .string(name), "single_word": false, "lstrip": false,
                        "rstrip": false, "normalized": false, "special": true,
                    ]
                }),
            "normalizer": [
                "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": nil,
                "lowercase": true,
            ],
            "pre_tokenizer": ["type": "BertPreTokenizer"],
            "post_processor": [
                "type": "TemplateProcessing", "single": [special("[CLS]"), sequence("A"), special("[SEP]")],
                "pair": [special("[CLS]"), sequence("A"), special("[SEP]"), sequence("B"), special("[SEP]")],
                "special_tokens": ["[CLS]": ids("[CLS]"), "[SEP]": ids("[SEP]")],
            ],
            "decoder": ["type": "WordPiece", "prefix": "##", "cleanup": true],
            "model": [
                "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100, "vocab": .object(vocabulary),
            ],
        ]
    }
}
