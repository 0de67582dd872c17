import LacunaTensor

extension Tokenizer {
    /// The tokenizer in a GGUF file's metadata.
    ///
    /// - Throws: ``LacunaError/unsupported(file:what:)`` for tokenizer models other than "gpt2" (byte-level byte-pair
    ///   encoding) and for pre-tokenizers not known here; ``LacunaError/malformed(file:location:reason:)``.
    public convenience init(gguf file: GGUFFile) throws {
        let kind = try file.string("tokenizer.ggml.model")
        guard kind == "gpt2" else {
            throw LacunaError.unsupported(file: file.path, what: "tokenizer model '\(kind)', only 'gpt2' is")
        }
        guard let name = try file.optionalString("tokenizer.ggml.pre"), let preTokenizer = PreTokenizer(gguf: name)
        else {
            let name = try file.optionalString("tokenizer.ggml.pre") ?? "(none given)"
            throw LacunaError.unsupported(file: file.path, what: "pre-tokenizer '\(name)'")
        }
        var definition = TokenizerDefinition(file: file.path)
        definition.preTokenizer = preTokenizer
        let isLlama3 = preTokenizer.steps == [.pattern(.llama3)]
        definition.ignoresMerges = isLlama3
        // GGUF does not say which texts were normalised in training; Qwen's were.
        definition.composes = preTokenizer.steps == [.pattern(.qwen2)]

        let tokens = try file.strings("tokenizer.ggml.tokens")
        let types = try file.optionalIntegers("tokenizer.ggml.token_type") ?? []
        guard types.isEmpty || types.count == tokens.count else {
            throw definition.failure(
                "metadata 'tokenizer.ggml.token_type'", "has \(types.count) entries for \(tokens.count) tokens")
        }
        definition.ids.reserveCapacity(tokens.count)
        for (id, token) in tokens.enumerated() {
            try definition.enter(token, id: id, limit: tokens.count)
            // 3 is a control token, 4 one that a user added; 1 is an ordinary one.
            if !types.isEmpty, types[id] == 3 || types[id] == 4 {
                definition.added.append(AddedToken(id: id, content: token, isSpecial: types[id] == 3))
            }
        }
        for (index, text) in try file.strings("tokenizer.ggml.merges").enumerated() {
            definition.merges.append(try TokenizerDefinition.splitMerge(text, index, definition))
        }
        func token(_ key: String) throws -> Int? {
            guard let id = try file.optionalInteger(key) else { return nil }
            guard id >= 0, id < tokens.count else { throw definition.failure("metadata '\(key)'", "\(id) is no token") }
            return id
        }
        definition.beginning = try token("tokenizer.ggml.bos_token_id")
        for key in ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"] {
            if let id = try token(key), !definition.ends.contains(id) { definition.ends.append(id) }
        }
        definition.addsBeginning = try file.optionalBool("tokenizer.ggml.add_bos_token") ?? isLlama3
        definition.chatTemplate = try file.optionalString("tokenizer.chat_template")
        try self.init(definition)
    }
}
