import LacunaTensor

extension Tokenizer {
    /// Puts the tokenizer into the metadata of a GGUF file: byte-level byte pairs, whose way of cutting text has a name there.
    ///
    /// - Parameter count: Tokens that the model's matrices have; names are made up for those beyond the vocabulary.
    /// - Throws: ``LacunaError/unsupported(file:what:)`` for other kinds, and for ways of cutting text that GGUF files have no
    ///   name for.
    public func write(to writer: GGUFWriter, vocabularySize count: Int) throws {
        let definition = self.definition
        guard definition.modelOptions["type"]?.stringValue == "BPE", isByteLevel else {
            throw definition.unsupported("writing a tokenizer that is not byte-level BPE into a GGUF file")
        }
        guard let name = NamedSplit.name(of: definition) else {
            throw definition.unsupported(
                "writing a tokenizer with this pre-tokenizer into a GGUF file, which knows some by name")
        }
        let added = Dictionary(addedTokens.map { ($0.id, $0.isSpecial) }) { first, _ in first }
        var (tokens, types): ([String], [Int32]) = ([], [])
        for id in 0..<max(count, self.vocabularySize) {
            if let token = token(id) {
                tokens.append(token)
                types.append(added[id].map { $0 ? 3 : 4 } ?? 1)
            } else {
                tokens.append("[PAD\(id)]")
                types.append(5)
            }
        }
        writer.set("tokenizer.ggml.model", .string("gpt2"))
        writer.set("tokenizer.ggml.pre", .string(name))
        writer.set("tokenizer.ggml.tokens", .strings(tokens))
        writer.set("tokenizer.ggml.token_type", .int32s(types))
        let ordered = definition.mergeRanks.map { ranks in
            definition.merges.indices.sorted { ranks[$0] < ranks[$1] }.map { definition.merges[$0] }
        }
        writer.set(
            "tokenizer.ggml.merges",
            .strings(
                (ordered ?? definition.merges).map {
                    "\(definition.vocabulary[Int($0.left)] ?? "") \(definition.vocabulary[Int($0.right)] ?? "")"
                }))
        func set(_ key: String, _ id: Int?) {
            if let id, let value = UInt32(exactly: id) { writer.set("tokenizer.ggml.\(key)_token_id", .uint32(value)) }
        }
        set("bos", beginningToken)
        set("eos", endTokens.first)
        set("padding", namedTokens["pad_token"].flatMap { self.id(of: $0) })
        set("unknown", namedTokens["unk_token"].flatMap { self.id(of: $0) })
        writer.set("tokenizer.ggml.add_bos_token", .bool(addsBeginning))
        if let chatTemplate { writer.set("tokenizer.chat_template", .string(chatTemplate)) }
    }
}

extension NamedSplit {
    /// The names that are written, each before others that mean the same.
    private static let written = [
        "llama-bpe", "qwen2", "smollm", "gpt-2", "stablelm2", "dbrx", "gpt-4o", "tekken",
    ]

    /// What GGUF files call a tokenizer's way of cutting text; nil if they have no name for it.
    static func name(of definition: TokenizerDefinition) -> String? {
        let wholeWords = definition.modelOptions["ignore_merges"]?.boolValue ?? false
        guard let normalizer = plain(definition.normalizer), let cutting = plain(definition.preTokenizer) else {
            return nil
        }
        return written.first { name in
            guard let split = NamedSplit(name) else { return false }
            return split.takesWholeWords == wholeWords && plain(split.preTokenizer) == cutting
                && normalizer == (split.composes ? ["type": "NFC"] : .null)
        }
    }

    /// Without what says nothing about tokens, with what is meant where nothing is said, in the order of the keys, and
    /// sequences of one as their member.
    private static func plain(_ part: JSONValue) -> JSONValue? {
        guard case .object(let object) = part else { return part }
        var result = JSONObject()
        for member in object where member.key != "trim_offsets" {
            if member.key == "pretokenizers" || member.key == "normalizers" {
                guard let members = member.value.arrayValue else { return nil }
                if members.count == 1 { return plain(members[0]) }
                result[member.key] = .array(members.compactMap(plain))
            } else if member.key != "invert" || member.value.boolValue == true {
                result[member.key] = member.value
            }
        }
        if result["type"] == "ByteLevel", result["use_regex"] == nil { result["use_regex"] = true }
        var sorted = JSONObject()
        for key in result.keys.sorted() { sorted[key] = result[key] }
        return .object(sorted)
    }
}
