import LacunaTensor

extension Tokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// - Throws: ``LacunaError/unsupported(file:what:)`` for parts, settings and expressions that are not known here;
    ///   ``LacunaError/malformed(file:location:reason:)``; ``LacunaError/file(path:reason:)``.
    public convenience init(json path: String) throws {
        try self.init(TokenizerDefinition(json: JSONFields(contentsOf: path)))
    }

    /// A tokenizer of the content of a `tokenizer.json` that was made rather than read.
    ///
    /// - Throws: As ``init(json:)``, with `name` for the file.
    public convenience init(_ content: JSONValue, name: String = "tokenizer") throws {
        try self.init(TokenizerDefinition(json: JSONFields(content, file: name)))
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
        normalizer = fields.object["normalizer"] ?? .null
        preTokenizer = fields.object["pre_tokenizer"] ?? .null
        postProcessor = fields.object["post_processor"] ?? .null
        decoder = fields.object["decoder"] ?? .null
        truncation = fields.object["truncation"] ?? .null
        padding = fields.object["padding"] ?? .null
    }

    private mutating func readModel(_ model: JSONFields, addedCount: Int) throws {
        for member in model.object where member.key != "vocab" && member.key != "merges" {
            modelOptions[member.key] = member.value
        }
        if case .array(let pieces) = model.object["vocab"] {
            try readPieces(pieces, model)
        } else {
            try readVocabulary(model.fields("vocab"), addedCount: addedCount)
        }
        modelVocabulary = vocabulary
        guard let list = try model.optionalArray("merges") else {
            if try model.optionalString("type") == "BPE" { throw model.failure("merges", "is missing") }
            return
        }
        let prefix = try model.optionalString("continuing_subword_prefix") ?? ""
        merges.reserveCapacity(list.count)
        for (index, value) in list.enumerated() {
            let (left, right) = try merge(value, index)
            try addMerge(left, right, prefix: prefix)
        }
    }

    private mutating func readVocabulary(_ fields: JSONFields, addedCount: Int) throws {
        // Ids may have gaps, but no file may make us allocate more than a few times what it holds.
        let limit = 4 * (fields.object.count + addedCount) + 65536
        vocabulary = Vocabulary(capacity: fields.object.count + addedCount)
        for member in fields.object {
            guard let id = member.value.intValue else {
                throw fields.failure(member.key, "expected an integer, found \(member.value.kind)")
            }
            try enter(member.key, id: id, limit: limit)
        }
    }

    /// A unigram vocabulary: pairs of a piece and its score, in the order of ids.
    private mutating func readPieces(_ pieces: [JSONValue], _ model: JSONFields) throws {
        vocabulary = Vocabulary(capacity: pieces.count)
        scores.reserveCapacity(pieces.count)
        for (id, value) in pieces.enumerated() {
            guard case .array(let pair) = value, pair.count == 2, let piece = pair[0].stringValue,
                let score = pair[1].doubleValue
            else { throw model.failure("vocab[\(id)]", "is not a pair of a piece and a number") }
            try enter(piece, id: id, limit: pieces.count)
            scores.append(score)
        }
    }

    /// `"left right"`, or `["left", "right"]`.
    private func merge(_ value: JSONValue, _ index: Int) throws -> (left: String, right: String) {
        if case .string(let text) = value { return try splitMerge(text, index) }
        if case .array(let pair) = value, pair.count == 2, let left = pair[0].stringValue,
            let right = pair[1].stringValue
        {
            return (left, right)
        }
        throw failure("model.merges[\(index)]", "is neither a string nor a pair of strings")
    }

    func splitMerge(_ text: String, _ index: Int) throws -> (left: String, right: String) {
        let bytes = text.utf8
        guard let blank = bytes.firstIndex(of: 0x20) else {
            throw failure("merge \(index)", "'\(text)' is not two tokens with a blank between")
        }
        return (String(text[..<blank]), String(text[bytes.index(after: blank)...]))
    }

    /// - Parameter prefix: What marks the right one as no beginning of a word, and is not part of what both become.
    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` if a merge uses or makes a token that does not exist.
    mutating func addMerge(_ left: String, _ right: String, prefix: String = "") throws {
        func id(_ token: String) throws -> Int32 {
            guard let id = modelVocabulary.id(of: token) else {
                throw failure("merge \(merges.count)", "there is no token '\(token)'")
            }
            return Int32(id)
        }
        let rest = right.utf8.starts(with: prefix.utf8) ? right.utf8.dropFirst(prefix.utf8.count) : right.utf8[...]
        merges.append((try id(left), try id(right), try id(left + String(decoding: rest, as: UTF8.self))))
    }

    private mutating func readAddedTokens(_ fields: JSONFields) throws {
        let list = try fields.optionalArray("added_tokens") ?? []
        let limit = 4 * (vocabulary.count + list.count) + 65536
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

    /// Begin and end tokens and the chat template, from the files beside `tokenizer.json`.
    mutating func readConfiguration(_ directory: String) throws {
        let path = FileSystem.join(directory, "tokenizer_config.json")
        if FileSystem.exists(path) {
            let fields = try JSONFields(contentsOf: path)
            configuration = fields.object
            for name in ["bos", "eos", "unk", "sep", "pad", "cls", "mask"].map({ $0 + "_token" }) {
                namedTokens[name] = try tokenText(fields, name)
            }
            beginning = try tokenID(fields, "bos_token")
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
            generationConfiguration = fields.object
            let isList = fields.object["eos_token_id"]?.arrayValue != nil
            let found =
                try isList
                ? fields.integers("eos_token_id") : [fields.optionalInteger("eos_token_id")].compactMap { $0 }
            for id in found where !ends.contains(id) { ends.append(id) }
        }
        let template = FileSystem.join(directory, "chat_template.jinja")
        if FileSystem.exists(template) {
            chatTemplate = try FileSystem.readText(template, limit: 1 << 22)
            hasTemplateFile = true
        }
    }

    /// A token given as text or as an object with `content`.
    private func tokenText(_ fields: JSONFields, _ key: String) throws -> String? {
        let isObject = fields.object[key]?.objectValue != nil
        return try isObject ? fields.fields(key).string("content") : fields.optionalString(key)
    }

    private func tokenID(_ fields: JSONFields, _ key: String) throws -> Int? {
        guard let text = try tokenText(fields, key) else { return nil }
        guard let id = vocabulary.id(of: text) else { throw fields.failure(key, "'\(text)' is no token") }
        return id
    }
}

// MARK: Writing

extension Tokenizer {
    /// The tokenizer as a `tokenizer.json` document, which Hugging Face's library reads with the same results.
    public func tokenizerJSON() -> JSONValue {
        let added: [JSONValue] = addedTokens.map { token in
            [
                "id": JSONValue(token.id), "content": .string(token.content), "single_word": .bool(token.isSingleWord),
                "lstrip": .bool(token.stripsLeft), "rstrip": .bool(token.stripsRight),
                "normalized": .bool(token.isNormalized), "special": .bool(token.isSpecial),
            ]
        }
        return [
            "version": "1.0", "truncation": definition.truncation, "padding": definition.padding,
            "added_tokens": .array(added), "normalizer": definition.normalizer,
            "pre_tokenizer": definition.preTokenizer, "post_processor": definition.postProcessor,
            "decoder": definition.decoder, "model": definition.modelJSON,
        ]
    }

    /// Writes `tokenizer.json`, `tokenizer_config.json` and, if the model came with one or has end tokens that no other
    /// file names, `generation_config.json` into a directory. ``init(directory:)`` reads them back.
    public func writeTokenizerJSON(to directory: String) throws {
        func write(_ text: String, _ name: String) throws {
            try AtomicFile.write(text, to: FileSystem.join(directory, name))
        }
        try write(tokenizerJSON().serialized(.pretty), "tokenizer.json")
        try write(JSONValue.object(configuration).serialized(.pretty), "tokenizer_config.json")
        if definition.hasTemplateFile, let chatTemplate { try write(chatTemplate, "chat_template.jinja") }
        if let generation { try write(JSONValue.object(generation).serialized(.pretty), "generation_config.json") }
    }

    private var configuration: JSONObject {
        if let configuration = definition.configuration { return configuration }
        var configuration = JSONObject()
        configuration["tokenizer_class"] = "PreTrainedTokenizerFast"
        configuration["add_bos_token"] = .bool(addsBeginning)
        configuration["clean_up_tokenization_spaces"] = false
        configuration["bos_token"] = beginningToken.flatMap { token($0) }.map { .string($0) }
        configuration["eos_token"] = endTokens.first.flatMap { token($0) }.map { .string($0) }
        configuration["chat_template"] = chatTemplate.map { .string($0) }
        return configuration
    }

    private var generation: JSONObject? {
        if let generation = definition.generationConfiguration { return generation }
        guard !endTokens.isEmpty, definition.configuration == nil else { return nil }
        var generation = JSONObject()
        generation["bos_token_id"] = beginningToken.map { JSONValue($0) }
        generation["eos_token_id"] =
            endTokens.count == 1 ? JSONValue(endTokens[0]) : .array(endTokens.map { JSONValue($0) })
        return generation
    }
}

extension TokenizerDefinition {
    fileprivate var modelJSON: JSONValue {
        var model = modelOptions
        if scores.isEmpty {
            var object = JSONObject()
            for id in 0..<modelVocabulary.count {
                if let token = modelVocabulary[id] { object[token] = JSONValue(id) }
            }
            model["vocab"] = .object(object)
        } else {
            model["vocab"] = .array(
                scores.enumerated().map { .array([.string(modelVocabulary[$0] ?? ""), .number($1)]) })
        }
        if modelOptions["type"]?.stringValue == "BPE" {
            model["merges"] = .array(
                merges.map {
                    .array([.string(modelVocabulary[Int($0.left)]!), .string(modelVocabulary[Int($0.right)]!)])
                })
        }
        return .object(model)
    }
}
