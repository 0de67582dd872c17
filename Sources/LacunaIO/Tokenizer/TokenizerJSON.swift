import LacunaTensor

extension Tokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// - Throws: ``LacunaError/unsupported(file:what:)`` for other models than byte-level byte-pair encoding, and for
    ///   normalisers, pre-tokenizers or split expressions that are not known here;
    ///   ``LacunaError/malformed(file:location:reason:)``; ``LacunaError/file(path:reason:)``.
    public convenience init(json path: String) throws {
        try self.init(TokenizerDefinition(json: JSONFields(contentsOf: path)))
    }

    /// Reads `tokenizer.json` and, where they exist, `tokenizer_config.json`, `generation_config.json` and
    /// `chat_template.jinja` of a model's directory.
    public convenience init(directory: String) throws {
        let path = FileSystem.join(directory, "tokenizer.json")
        var definition = try TokenizerDefinition(json: JSONFields(contentsOf: path))
        try definition.readConfiguration(directory)
        try self.init(definition)
    }
}

extension TokenizerDefinition {
    init(json fields: JSONFields) throws {
        self.init(file: fields.file)
        try readModel(fields.fields("model"), addedCount: fields.optionalArray("added_tokens")?.count ?? 0)
        try readAddedTokens(fields)
        if let normalizer = try fields.optionalFields("normalizer") { composes = try Self.composes(normalizer) }
        preTokenizer = try PreTokenizer(json: fields.fields("pre_tokenizer"))
        if let postProcessor = try fields.optionalFields("post_processor") { try readPostProcessor(postProcessor) }
    }

    private func unsupported(_ what: String) -> LacunaError { .unsupported(file: file, what: what) }

    private mutating func readModel(_ model: JSONFields, addedCount: Int) throws {
        let type = try model.string("type")
        guard type == "BPE" else { throw unsupported("tokenizer model '\(type)', only BPE is") }
        for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
            guard try model.optionalString(key) ?? "" == "" else { throw unsupported("'\(key)' in the tokenizer") }
        }
        guard try !model.bool("byte_fallback", default: false) else {
            throw unsupported("a tokenizer with byte_fallback")
        }
        guard try model.optionalNumber("dropout") ?? 0 == 0 else { throw unsupported("a tokenizer with dropout") }
        ignoresMerges = try model.bool("ignore_merges", default: false)

        let vocabulary = try model.fields("vocab")
        // Ids may have gaps, but no file may make us allocate more than a few times what it holds.
        let limit = 4 * (vocabulary.object.count + addedCount) + 65536
        ids.reserveCapacity(vocabulary.object.count)
        tokens.reserveCapacity(vocabulary.object.count)
        for member in vocabulary.object {
            guard let id = member.value.intValue else {
                throw vocabulary.failure(member.key, "expected an integer, found \(member.value.kind)")
            }
            try enter(member.key, id: id, limit: limit)
        }
        if let token = try model.optionalString("unk_token") {
            guard let id = ids[ExactString(token)] else { throw model.failure("unk_token", "'\(token)' is no token") }
            unknown = id
        }
        let list = try model.array("merges")
        merges.reserveCapacity(list.count)
        for (index, value) in list.enumerated() { merges.append(try merge(value, index)) }
    }

    /// `"left right"`, or `["left", "right"]`.
    private func merge(_ value: JSONValue, _ index: Int) throws -> (left: String, right: String) {
        if case .string(let text) = value { return try Self.splitMerge(text, index, self) }
        if case .array(let pair) = value, pair.count == 2, let left = pair[0].stringValue,
            let right = pair[1].stringValue
        {
            return (left, right)
        }
        throw failure("model.merges[\(index)]", "is neither a string nor a pair of strings")
    }

    static func splitMerge(_ text: String, _ index: Int, _ definition: Self) throws -> (left: String, right: String) {
        let bytes = text.utf8
        guard let blank = bytes.firstIndex(of: 0x20) else {
            throw definition.failure("merge \(index)", "'\(text)' is not two tokens with a blank between")
        }
        return (String(text[..<blank]), String(text[bytes.index(after: blank)...]))
    }

    private mutating func readAddedTokens(_ fields: JSONFields) throws {
        let list = try fields.optionalArray("added_tokens") ?? []
        let limit = 4 * (tokens.count + list.count) + 65536
        for (index, value) in list.enumerated() {
            let fields = try JSONFields(value, file: file, location: "added_tokens[\(index)]")
            var token = AddedToken(
                id: try fields.integer("id"), content: try fields.string("content"),
                isSpecial: try fields.bool("special", default: false))
            token.stripsLeft = try fields.bool("lstrip", default: false)
            token.stripsRight = try fields.bool("rstrip", default: false)
            token.isSingleWord = try fields.bool("single_word", default: false)
            token.isNormalized = try fields.bool("normalized", default: !token.isSpecial)
            try enter(token.content, id: token.id, limit: limit)
            added.append(token)
        }
    }

    private static func composes(_ fields: JSONFields) throws -> Bool {
        switch try fields.string("type") {
        case "NFC": return true
        case "Sequence":
            return try fields.array("normalizers").reduce(false) { found, value in
                try composes(JSONFields(value, file: fields.file, location: fields.location)) || found
            }
        case let other: throw LacunaError.unsupported(file: fields.file, what: "normalizer '\(other)'")
        }
    }

    /// Finds the token that is put before every text.
    private mutating func readPostProcessor(_ fields: JSONFields) throws {
        switch try fields.string("type") {
        case "ByteLevel": break
        case "Sequence":
            for value in try fields.array("processors") {
                try readPostProcessor(JSONFields(value, file: file, location: fields.location))
            }
        case "TemplateProcessing":
            let pieces = try fields.array("single").map {
                try JSONFields($0, file: file, location: "\(fields.location).single")
            }
            guard let last = pieces.last, last.contains("Sequence"), pieces.count <= 2 else {
                throw unsupported("a post-processor that adds more than one token before the text")
            }
            guard pieces.count == 2 else { return }
            let token = try pieces[0].fields("SpecialToken").string("id")
            guard let id = ids[ExactString(token)] else { throw fields.failure("single", "'\(token)' is no token") }
            beginning = id
            addsBeginning = true
        case let other: throw unsupported("post-processor '\(other)'")
        }
    }

    /// Begin and end tokens and the chat template, from the files beside `tokenizer.json`.
    mutating func readConfiguration(_ directory: String) throws {
        let path = FileSystem.join(directory, "tokenizer_config.json")
        if FileSystem.exists(path) {
            let fields = try JSONFields(contentsOf: path)
            if beginning == nil { beginning = try tokenID(fields, "bos_token") }
            if let end = try tokenID(fields, "eos_token") { ends.append(end) }
            // Some files have several templates, by name; the one called "default" is for conversations.
            if let templates = fields.object["chat_template"]?.arrayValue {
                let standard = templates.first { $0["name"]?.stringValue == "default" }
                chatTemplate = standard?["template"]?.stringValue
            } else {
                chatTemplate = try fields.optionalString("chat_template")
            }
        }
        let generation = FileSystem.join(directory, "generation_config.json")
        if FileSystem.exists(generation) {
            let fields = try JSONFields(contentsOf: generation)
            let isList = fields.object["eos_token_id"]?.arrayValue != nil
            let found =
                try isList
                ? fields.integers("eos_token_id") : [fields.optionalInteger("eos_token_id")].compactMap { $0 }
            for id in found where !ends.contains(id) { ends.append(id) }
        }
        let template = FileSystem.join(directory, "chat_template.jinja")
        if FileSystem.exists(template) { chatTemplate = try FileSystem.readText(template, limit: 1 << 22) }
    }

    /// A token given as text or as an object with `content`.
    private func tokenID(_ fields: JSONFields, _ key: String) throws -> Int? {
        let isObject = fields.object[key]?.objectValue != nil
        let text = try isObject ? fields.fields(key).string("content") : fields.optionalString(key)
        guard let text else { return nil }
        guard let id = ids[ExactString(text)] else { throw fields.failure(key, "'\(text)' is no token") }
        return id
    }
}

extension Tokenizer {
    /// The tokenizer as a `tokenizer.json` document, which Hugging Face's library reads with the same results.
    public func tokenizerJSON() -> JSONValue {
        let addedIDs = Set(addedTokens.map(\.id))
        var vocabulary = JSONObject()
        for (id, token) in definition.tokens.enumerated() {
            // An added token that the model's own vocabulary spells with other characters belongs only below.
            guard let token, !addedIDs.contains(id) || ByteAlphabet.bytes(of: token) != nil else { continue }
            vocabulary[token] = JSONValue(id)
        }
        let added: [JSONValue] = addedTokens.map { token in
            [
                "id": JSONValue(token.id), "content": .string(token.content), "single_word": .bool(token.isSingleWord),
                "lstrip": .bool(token.stripsLeft), "rstrip": .bool(token.stripsRight),
                "normalized": .bool(token.isNormalized), "special": .bool(token.isSpecial),
            ]
        }
        let model: JSONValue = [
            "type": "BPE", "dropout": nil,
            "unk_token": definition.unknown.flatMap { definition.tokens[$0] }.map { .string($0) } ?? .null,
            "continuing_subword_prefix": nil, "end_of_word_suffix": nil, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": .bool(definition.ignoresMerges), "vocab": .object(vocabulary),
            "merges": .array(definition.merges.map { .string("\($0.left) \($0.right)") }),
        ]
        return [
            "version": "1.0", "truncation": nil, "padding": nil, "added_tokens": .array(added),
            "normalizer": definition.composes ? ["type": "NFC"] : nil, "pre_tokenizer": preTokenizer.json,
            "post_processor": postProcessorJSON,
            "decoder": ["type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true],
            "model": model,
        ]
    }

    private var postProcessorJSON: JSONValue {
        let byteLevel: JSONValue = [
            "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true,
        ]
        guard addsBeginning, let id = beginningToken, let token = token(id) else { return byteLevel }
        let begin: JSONValue = ["SpecialToken": ["id": .string(token), "type_id": 0]]
        let text: JSONValue = ["Sequence": ["id": "A", "type_id": 0]]
        let template: JSONValue = [
            "type": "TemplateProcessing", "single": [begin, text],
            "pair": [
                begin, text, ["SpecialToken": ["id": .string(token), "type_id": 1]],
                ["Sequence": ["id": "B", "type_id": 1]],
            ],
            "special_tokens": .object(
                {
                    var object = JSONObject()
                    object[token] = ["id": .string(token), "ids": [JSONValue(id)], "tokens": [.string(token)]]
                    return object
                }()),
        ]
        return ["type": "Sequence", "processors": [byteLevel, template]]
    }

    /// Writes `tokenizer.json` and `tokenizer_config.json` into a directory. ``init(directory:)`` reads them back.
    public func writeTokenizerJSON(to directory: String) throws {
        try AtomicFile.write(
            tokenizerJSON().serialized(.pretty), to: FileSystem.join(directory, "tokenizer.json"))
        var configuration = JSONObject()
        configuration["tokenizer_class"] = "PreTrainedTokenizerFast"
        configuration["add_bos_token"] = .bool(addsBeginning)
        configuration["clean_up_tokenization_spaces"] = false
        configuration["bos_token"] = beginningToken.flatMap { token($0) }.map { .string($0) }
        configuration["eos_token"] = endTokens.first.flatMap { token($0) }.map { .string($0) }
        configuration["chat_template"] = chatTemplate.map { .string($0) }
        try AtomicFile.write(
            JSONValue.object(configuration).serialized(.pretty), to: FileSystem.join(directory, "tokenizer_config.json")
        )
    }
}
