import LacunaTensor

/// The tokens of one text or of a pair of texts, with what tells them apart.
public struct TokenEncoding: Sendable, Hashable {
    /// The tokens' numbers.
    public var ids: [Int] = []
    /// 0 for the first text and 1 for the second, as far as the tokenizer makes that difference.
    public var typeIDs: [Int] = []
    /// Whether a token was put around the texts rather than found in them.
    public var isAdded: [Bool] = []
    /// Whether a token fills the text up to the length of others, and is to be seen by none.
    public var isPadding: [Bool] = []

    /// An encoding without tokens.
    public init() {}

    /// Number of tokens.
    public var count: Int { ids.count }

    mutating func append(_ tokens: some Collection<Int>, type: Int, isAdded added: Bool) {
        ids.append(contentsOf: tokens)
        typeIDs.append(contentsOf: repeatElement(type, count: tokens.count))
        isAdded.append(contentsOf: repeatElement(added, count: tokens.count))
        isPadding.append(contentsOf: repeatElement(false, count: tokens.count))
    }

    mutating func fill(_ more: Int, token: Int, type: Int, inFront: Bool) {
        ids.insert(contentsOf: repeatElement(token, count: more), at: inFront ? 0 : ids.count)
        typeIDs.insert(contentsOf: repeatElement(type, count: more), at: inFront ? 0 : typeIDs.count)
        isAdded.insert(contentsOf: repeatElement(true, count: more), at: inFront ? 0 : isAdded.count)
        isPadding.insert(contentsOf: repeatElement(true, count: more), at: inFront ? 0 : isPadding.count)
    }
}

/// What a tokenizer puts around a text, or around two: `[CLS] A [SEP] B [SEP]`, for example.
struct PostProcessor: Sendable {
    enum Piece: Sendable, Equatable {
        /// The first text (0) or the second (1).
        case text(Int, type: Int)
        case tokens([Int], type: Int)
    }

    var single: [Piece] = [.text(0, type: 0)]
    var pair: [Piece] = [.text(0, type: 0), .text(1, type: 1)]

    /// Without added tokens.
    init() {}

    /// The tokens before the text.
    var leading: [Int] {
        if case .tokens(let ids, _) = single.first { ids } else { [] }
    }

    /// - Parameter addsTokens: Whether to put the tokens around; what is first and what second is told apart anyway.
    func apply(_ texts: [[Int]], addsTokens: Bool) -> TokenEncoding {
        var result = TokenEncoding()
        for piece in texts.count == 1 ? single : pair {
            switch piece {
            case .text(let index, let type): result.append(texts[index], type: type, isAdded: false)
            case .tokens(let ids, let type): if addsTokens { result.append(ids, type: type, isAdded: true) }
            }
        }
        return result
    }
}

extension PostProcessor {
    /// From tokenizer.json's `post_processor`.
    ///
    /// - Throws: ``LacunaError/unsupported(file:what:)`` for types not known here, and for two that both add tokens;
    ///   ``LacunaError/malformed(file:location:reason:)`` for tokens that do not exist.
    init(_ fields: JSONFields, _ vocabulary: Vocabulary) throws {
        self.init()
        switch try fields.string("type") {
        // It moves offsets, which are not given out here.
        case "ByteLevel": break
        case "Sequence":
            let members = try fields.members("processors").map { try PostProcessor($0, vocabulary) }
            let adding = members.filter { $0.single.count > 1 || $0.pair.count > 2 }
            guard adding.count <= 1 else {
                throw LacunaError.unsupported(file: fields.file, what: "two post-processors that add tokens")
            }
            if let only = adding.first { self = only }
        case "TemplateProcessing": try readTemplate(fields, vocabulary)
        case "BertProcessing": try readClassification(fields, vocabulary, isRoberta: false)
        case "RobertaProcessing": try readClassification(fields, vocabulary, isRoberta: true)
        case let type: throw LacunaError.unsupported(file: fields.file, what: "post-processor '\(type)'")
        }
    }

    private mutating func readTemplate(_ fields: JSONFields, _ vocabulary: Vocabulary) throws {
        let specials = try fields.optionalFields("special_tokens")
        func ids(_ name: String) throws -> [Int] {
            guard let value = specials?.object[name] else {
                guard let id = vocabulary.id(of: name) else { throw fields.failure("single", "'\(name)' is no token") }
                return [id]
            }
            let entry = try JSONFields(value, file: fields.file, location: "\(fields.location).special_tokens")
            let found = try entry.integers("ids")
            for id in found where vocabulary.spelling(id) == nil {
                throw entry.failure("ids", "\(id) is no token")
            }
            return found
        }
        func pieces(_ key: String) throws -> [Piece] {
            try fields.members(key).map { piece in
                if let text = try piece.optionalFields("Sequence") {
                    let name = try text.string("id")
                    guard name == "A" || name == "B" else { throw text.failure("id", "'\(name)' is neither A nor B") }
                    return .text(name == "A" ? 0 : 1, type: try text.integer("type_id", default: 0))
                }
                let special = try piece.fields("SpecialToken")
                return .tokens(try ids(try special.string("id")), type: try special.integer("type_id", default: 0))
            }
        }
        func uses(_ text: Int, _ pieces: [Piece]) -> Int {
            pieces.count { if case .text(text, _) = $0 { true } else { false } }
        }
        single = try pieces("single")
        guard uses(0, single) == 1, uses(1, single) == 0 else {
            throw fields.failure("single", "does not have the text A once")
        }
        if fields.contains("pair") {
            pair = try pieces("pair")
            guard uses(0, pair) == 1, uses(1, pair) == 1 else {
                throw fields.failure("pair", "does not have the texts A and B once")
            }
        }
    }

    private mutating func readClassification(
        _ fields: JSONFields, _ vocabulary: Vocabulary, isRoberta: Bool
    ) throws {
        func id(_ key: String) throws -> Int {
            let entry = try fields.array(key)
            guard entry.count == 2, entry[0].stringValue != nil, let id = entry[1].intValue,
                vocabulary.spelling(id) != nil
            else { throw fields.failure(key, "is not a token and its id") }
            return id
        }
        let (begin, end) = (try id("cls"), try id("sep"))
        single = [.tokens([begin], type: 0), .text(0, type: 0), .tokens([end], type: 0)]
        pair =
            isRoberta
            ? single + [.tokens([end], type: 0), .text(1, type: 0), .tokens([end], type: 0)]
            : single + [.text(1, type: 1), .tokens([end], type: 1)]
    }
}
