import LacunaTensor

/// A tokenizer as files describe it. Its parts are kept as `tokenizer.json` has them, also when they come from elsewhere:
/// one reader serves all files, and what is written is what was read.
struct TokenizerDefinition: Sendable {
    /// The file, for messages.
    var file: String
    /// The model's own tokens, and the added ones.
    var vocabulary = Vocabulary()
    /// The model's own tokens.
    var modelVocabulary = Vocabulary()
    /// Members of `model` besides vocabulary and merges.
    var modelOptions = JSONObject()
    /// Of byte pairs, in the order in which they were learned: ids of the two, and of what they become.
    var merges: [(left: Int32, right: Int32, result: Int32)] = []
    /// Of byte pairs: the rank of each merge, where it is not its place in the list.
    var mergeRanks: [Int32]?
    /// Of unigrams, by id.
    var scores: [Double] = []
    var added: [AddedToken] = []

    // Parts of tokenizer.json, or null.
    var normalizer = JSONValue.null
    var preTokenizer = JSONValue.null
    var postProcessor = JSONValue.null
    var decoder = JSONValue.null
    // A matter of batches: see `Tokenizer.encode(batch:recognizesSpecials:)`.
    var truncation = JSONValue.null
    var padding = JSONValue.null

    var beginning: Int?
    var ends: [Int] = []
    var namedTokens: [String: String] = [:]
    var chatTemplate: String?
    /// The files beside tokenizer.json, as they were.
    var configuration: JSONObject?
    var generationConfiguration: JSONObject?
    var hasTemplateFile = false

    init(file: String) { self.file = file }

    func failure(_ location: String, _ reason: String) -> LacunaError {
        .malformed(file: file, location: location, reason: reason)
    }

    func unsupported(_ what: String) -> LacunaError { .unsupported(file: file, what: what) }

    /// A part for its reader; nil if it is null.
    func component(_ name: String, _ value: JSONValue) throws -> JSONFields? {
        value.isNull ? nil : try JSONFields(value, file: file, location: name)
    }

    /// Enters a token under an id. Entering the same again does nothing.
    mutating func enter(_ token: String, id: Int, limit: Int) throws {
        do {
            try vocabulary.enter(token, id: id, limit: limit)
        } catch {
            switch error {
            case .impossibleID: throw failure("token '\(token)'", "has the impossible id \(id)")
            case .otherToken(let other): throw failure("token '\(token)'", "has the same id \(id) as '\(other)'")
            case .secondID: throw failure("token '\(token)'", "has two ids")
            }
        }
    }

    // MARK: The model

    private var options: JSONFields {
        get throws { try JSONFields(.object(modelOptions), file: file, location: "model") }
    }

    /// The model, and whether it reads bytes as they are where the pre-tokenizer ends byte by byte.
    func makeModel(afterByteLevel: Bool) throws -> (any TokenizerModel, readsBytes: Bool) {
        let options = try options
        // Files of byte pairs of old have no type.
        switch try options.optionalString("type") ?? (merges.isEmpty ? "WordPiece" : "BPE") {
        case "BPE": return try makeBytePairs(options, afterByteLevel: afterByteLevel)
        case "WordPiece":
            guard let unknown = try unknown(options) else { throw options.failure("unk_token", "is missing") }
            let maximum = try options.integer("max_input_chars_per_word", default: 100)
            let prefix = try options.optionalString("continuing_subword_prefix") ?? "##"
            return (
                try WordPieceModel(
                    modelVocabulary, continuationPrefix: prefix, unknown: unknown, maximumCharacters: maximum), false
            )
        case "Unigram":
            guard let unknown = try options.optionalInteger("unk_id") else {
                throw unsupported("a Unigram model without an unknown token")
            }
            guard modelVocabulary.spelling(unknown) != nil else {
                throw options.failure("unk_id", "\(unknown) is no token")
            }
            return (
                UnigramModel(
                    modelVocabulary, scores: scores, unknown: unknown,
                    fallsBackToBytes: try options.bool("byte_fallback", default: false),
                    excluded: Set(added.lazy.filter(\.isSpecial).map(\.id)).subtracting([unknown])), false
            )
        case let type: throw unsupported("tokenizer model '\(type)'")
        }
    }

    private func unknown(_ options: JSONFields) throws -> Int? {
        guard let token = try options.optionalString("unk_token") else { return nil }
        guard let id = vocabulary.id(of: token) else {
            throw options.failure("unk_token", "'\(token)' is no token")
        }
        return id
    }

    private func makeBytePairs(
        _ fields: JSONFields, afterByteLevel: Bool
    ) throws -> (any TokenizerModel, readsBytes: Bool) {
        guard try fields.optionalNumber("dropout") ?? 0 == 0 else { throw unsupported("a tokenizer with dropout") }
        var options = BytePairModel.Options()
        options.unknown = try unknown(fields).map { Int32($0) }
        options.fusesUnknown = try fields.bool("fuse_unk", default: false)
        options.fallsBackToBytes = try fields.bool("byte_fallback", default: false)
        options.takesWholeWords = try fields.bool("ignore_merges", default: false)
        options.continuationPrefix = Array((try fields.optionalString("continuing_subword_prefix") ?? "").utf8)
        options.wordSuffix = Array((try fields.optionalString("end_of_word_suffix") ?? "").utf8)
        options.readsBytes =
            afterByteLevel && !options.fallsBackToBytes && options.continuationPrefix.isEmpty
            && options.wordSuffix.isEmpty
        var table = MergeTable(capacity: merges.count)
        for (place, merge) in merges.enumerated() {
            // Of a pair that is listed twice, the later rank counts, as in the tokenizers library.
            table.set(
                merge.left, merge.right, .init(rank: mergeRanks?[place] ?? Int32(place), result: merge.result))
        }
        let pairs = merges.map { (left: $0.left, right: $0.right) }
        return (BytePairModel(modelVocabulary, merges: table, pairs: pairs, options), options.readsBytes)
    }
}
