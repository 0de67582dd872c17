import LacunaTensor

extension Tokenizer {
    /// The tokenizer in a GGUF file's metadata: byte-level byte pairs ("gpt2"), SentencePiece's byte pairs ("llama"),
    /// WordPiece ("bert") or Unigram ("t5").
    ///
    /// GGUF names a kind of tokenizer rather than its parts; they are put together here as the published
    /// `tokenizer.json` of such models has them.
    ///
    /// - Throws: ``LacunaError/unsupported(file:what:)`` for other kinds, and for pre-tokenizers not known here;
    ///   ``LacunaError/malformed(file:location:reason:)``.
    public convenience init(gguf file: GGUFFile) throws { try self.init(TokenizerDefinition(gguf: file)) }
}

/// How byte-level text is cut, by the names of `tokenizer.ggml.pre`.
struct NamedSplit {
    /// Every number character by itself first, then GPT-2's words; nil for an expression of the model's own.
    var expression: String?
    var separatesDigits = false
    /// Words that are tokens are not merged.
    var takesWholeWords = false
    /// Text was normalised to form C in training.
    var composes = false
    var addsBeginning = false

    static let llama3 =
        #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"#
        + #"\s*[\r\n]+|\s+(?!\S)|\s+"#
    static let qwen2 =
        #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|"#
        + #"\s*[\r\n]+|\s+(?!\S)|\s+"#
    /// Words that begin with a capital letter or go on in small ones, with `tail` after them.
    private static func cased(tail: String, digits: String) -> String {
        let (upper, lower) = (#"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"#, #"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"#)
        return #"[^\r\n\p{L}\p{N}]?"# + upper + "*" + lower + "+" + tail + #"|[^\r\n\p{L}\p{N}]?"# + upper + "+" + lower
            + "*" + tail + "|" + digits + #"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
    }

    init?(_ name: String) {
        switch name {
        case "gpt-2", "gpt2", "mpt", "olmo", "jais": break
        case "smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b": separatesDigits = true
        case "llama-bpe", "llama3", "llama-v3":
            (expression, takesWholeWords, addsBeginning) = (Self.llama3, true, true)
        case "dbrx", "smaug-bpe": expression = Self.llama3
        case "qwen2": (expression, composes) = (Self.qwen2, true)
        case "stablelm2": expression = Self.qwen2
        case "gpt-4o":
            expression = Self.cased(tail: #"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"#, digits: #"\p{N}{1,3}"#)
        case "tekken": (expression, takesWholeWords) = (Self.cased(tail: "", digits: #"\p{N}"#), true)
        default: return nil
        }
    }

    var preTokenizer: JSONValue {
        func byteLevel(_ usesExpression: Bool) -> JSONValue {
            [
                "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                "use_regex": .bool(usesExpression),
            ]
        }
        if let expression {
            let split: JSONValue = [
                "type": "Split", "pattern": ["Regex": .string(expression)], "behavior": "Isolated", "invert": false,
            ]
            return ["type": "Sequence", "pretokenizers": [split, byteLevel(false)]]
        }
        guard separatesDigits else { return byteLevel(true) }
        return [
            "type": "Sequence", "pretokenizers": [["type": "Digits", "individual_digits": true], byteLevel(true)],
        ]
    }
}

extension TokenizerDefinition {
    /// What GGUF says of a token.
    private enum TokenType: Int {
        case normal = 1
        case unknown, control, userDefined, unused, byte
    }

    /// The character that stands for a blank.
    private static let visibleBlank = "\u{2581}"

    init(gguf file: GGUFFile) throws {
        self.init(file: file.path)
        let kind = try file.string("tokenizer.ggml.model")
        let tokens = try file.strings("tokenizer.ggml.tokens")
        let types = try file.optionalIntegers("tokenizer.ggml.token_type") ?? []
        guard types.isEmpty || types.count == tokens.count else {
            throw failure(
                "metadata 'tokenizer.ggml.token_type'", "has \(types.count) entries for \(tokens.count) tokens")
        }
        chatTemplate = try file.optionalString("tokenizer.chat_template")
        for key in ["eos", "eot", "eom"] {
            if let id = try token("tokenizer.ggml.\(key)_token_id", file, tokens), !ends.contains(id) {
                ends.append(id)
            }
        }
        for (name, key) in [("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")] {
            guard let id = try token("tokenizer.ggml.\(key)_token_id", file, tokens) else { continue }
            namedTokens[name + "_token"] = tokens[id]
        }
        func isOf(_ type: TokenType, _ id: Int) -> Bool { !types.isEmpty && types[id] == type.rawValue }
        switch kind {
        case "gpt2":
            try readByteLevel(file, tokens) { isOf(.control, $0) ? true : isOf(.userDefined, $0) ? false : nil }
        case "llama": try readSentencePieces(file, tokens, types)
        case "bert": try readWordPieces(file, tokens)
        case "t5": try readUnigrams(file, tokens, types)
        default: throw unsupported("tokenizer model '\(kind)'")
        }
    }

    private func token(_ key: String, _ file: GGUFFile, _ tokens: [String]) throws -> Int? {
        guard let id = try file.optionalInteger(key) else { return nil }
        guard id >= 0, id < tokens.count else { throw failure("metadata '\(key)'", "\(id) is no token") }
        return id
    }

    private mutating func enterAll(_ tokens: [String]) throws {
        vocabulary = Vocabulary(capacity: tokens.count)
        for (id, token) in tokens.enumerated() { try enter(token, id: id, limit: tokens.count) }
        modelVocabulary = vocabulary
    }

    private mutating func add(_ id: Int, _ content: String, isSpecial: Bool, isNormalized: Bool = false) {
        var token = AddedToken(id: id, content: content, isSpecial: isSpecial)
        token.isNormalized = isNormalized
        added.append(token)
    }

    /// Puts begin and end tokens around texts, as the file asks for.
    private mutating func surround(
        _ file: GGUFFile, _ tokens: [String], addsBeginning: Bool, byteLevel: Bool = false
    ) throws {
        beginning = try token("tokenizer.ggml.bos_token_id", file, tokens)
        let end = try token("tokenizer.ggml.eos_token_id", file, tokens)
        let begins = try file.optionalBool("tokenizer.ggml.add_bos_token") ?? addsBeginning
        let finishes = try file.optionalBool("tokenizer.ggml.add_eos_token") ?? false
        let offsets: JSONValue = [
            "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true,
        ]
        let (first, last) = (begins ? beginning : nil, finishes ? end : nil)
        guard first != nil || last != nil else {
            postProcessor = byteLevel ? offsets : .null
            return
        }
        let template = Self.template(before: first, after: last, between: last, tokens)
        postProcessor = byteLevel ? ["type": "Sequence", "processors": [offsets, template]] : template
    }

    /// `before A after`, and `before A after before B after`; with `between`, BERT's `before A between B between`.
    private static func template(before: Int?, after: Int?, between: Int?, _ tokens: [String]) -> JSONValue {
        func special(_ id: Int?, _ type: Int) -> [JSONValue] {
            id.map { [["SpecialToken": ["id": .string(tokens[$0]), "type_id": JSONValue(type)]]] } ?? []
        }
        func text(_ name: String, _ type: Int) -> [JSONValue] {
            [["Sequence": ["id": .string(name), "type_id": JSONValue(type)]]]
        }
        var specials = JSONObject()
        for id in [before, after].compactMap(\.self) {
            specials[tokens[id]] = [
                "id": .string(tokens[id]), "ids": [JSONValue(id)], "tokens": [.string(tokens[id])],
            ]
        }
        let single = special(before, 0) + text("A", 0) + special(after, 0)
        return [
            "type": "TemplateProcessing", "single": .array(single),
            "pair": .array(single + (between == nil ? special(before, 1) : []) + text("B", 1) + special(after, 1)),
            "special_tokens": .object(specials),
        ]
    }

    // MARK: Kinds

    /// - Parameter isSpecial: Of an added token; nil for the model's own.
    private mutating func readByteLevel(
        _ file: GGUFFile, _ tokens: [String], isSpecial: (Int) -> Bool?
    ) throws {
        let name = try file.optionalString("tokenizer.ggml.pre") ?? "(none given)"
        guard let split = NamedSplit(name) else { throw unsupported("pre-tokenizer '\(name)'") }
        preTokenizer = split.preTokenizer
        normalizer = split.composes ? ["type": "NFC"] : .null
        decoder = ["type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true]
        modelOptions = Self.bytePairOptions(takesWholeWords: split.takesWholeWords)
        try enterAll(tokens)
        // Added tokens are not the model's: it must not find them in words.
        modelVocabulary = Vocabulary(capacity: tokens.count)
        for (id, token) in tokens.enumerated() {
            if let isSpecial = isSpecial(id) {
                add(id, token, isSpecial: isSpecial)
            } else {
                try modelVocabulary.enter(token, id: id, limit: tokens.count)
            }
        }
        for (index, text) in try file.strings("tokenizer.ggml.merges").enumerated() {
            let (left, right) = try splitMerge(text, index)
            try addMerge(left, right)
        }
        try surround(file, tokens, addsBeginning: split.addsBeginning, byteLevel: true)
    }

    private static func bytePairOptions(
        takesWholeWords: Bool = false, unknown: String? = nil, fallsBack: Bool = false
    ) -> JSONObject {
        var options = JSONObject()
        options["type"] = "BPE"
        options["dropout"] = .null
        options["unk_token"] = unknown.map { .string($0) } ?? .null
        options["continuing_subword_prefix"] = .null
        options["end_of_word_suffix"] = .null
        options["fuse_unk"] = .bool(fallsBack)
        options["byte_fallback"] = .bool(fallsBack)
        options["ignore_merges"] = .bool(takesWholeWords)
        return options
    }

    private mutating func readSentencePieces(_ file: GGUFFile, _ tokens: [String], _ types: [Int]) throws {
        if let name = try file.optionalString("tokenizer.ggml.pre"), name != "default" {
            throw unsupported("pre-tokenizer '\(name)' of a SentencePiece model")
        }
        let scores = try numbers("tokenizer.ggml.scores", file, count: tokens.count)
        guard types.count == tokens.count else {
            throw failure("metadata 'tokenizer.ggml.token_type'", "is missing, which SentencePiece models need")
        }
        try enterAll(tokens)
        let prefixes = try file.optionalBool("tokenizer.ggml.add_space_prefix") ?? true
        guard try file.optionalBool("tokenizer.ggml.remove_extra_whitespaces") != true else {
            throw unsupported("byte pairs with remove_extra_whitespaces")
        }
        for id in tokens.indices where types[id] == TokenType.control.rawValue {
            add(id, tokens[id], isSpecial: true)
        }
        for id in tokens.indices where types[id] == TokenType.userDefined.rawValue {
            // These are looked for as the model sees the text, where a prefix does not change them.
            add(id, tokens[id], isSpecial: false, isNormalized: !prefixes)
        }
        let unknown = try token("tokenizer.ggml.unknown_token_id", file, tokens)
        if let unknown, types[unknown] == TokenType.unknown.rawValue { add(unknown, tokens[unknown], isSpecial: true) }
        let blank = JSONValue.string(Self.visibleBlank)
        let replace: JSONValue = ["type": "Replace", "pattern": ["String": " "], "content": blank]
        normalizer =
            prefixes
            ? ["type": "Sequence", "normalizers": [["type": "Prepend", "prepend": blank], replace]] : replace
        var decoders: [JSONValue] = [
            ["type": "Replace", "pattern": ["String": blank], "content": " "], ["type": "ByteFallback"],
            ["type": "Fuse"],
        ]
        if prefixes { decoders.append(["type": "Strip", "content": " ", "start": 1, "stop": 0]) }
        decoder = ["type": "Sequence", "decoders": .array(decoders)]
        modelOptions = Self.bytePairOptions(unknown: unknown.map { tokens[$0] }, fallsBack: true)
        findMerges(scores) { types[$0] == TokenType.normal.rawValue }
        try surround(file, tokens, addsBeginning: true)
    }

    /// SentencePiece joins any two neighbours that make a piece, those of the best piece first. As merges: every way to
    /// make a piece of two, in the order of scores.
    private mutating func findMerges(_ scores: [Double], isPiece: (Int) -> Bool) {
        let order = modelVocabulary.indices.filter { isPiece($0) && (modelVocabulary.spelling($0)?.count ?? 0) > 1 }
            .sorted { (scores[$0], $1) > (scores[$1], $0) }
        var (ranks, rank) = ([Int32](), Int32(-1))
        var last = Double.nan
        for id in order {
            let spelling = Array(modelVocabulary.spelling(id)!)
            if scores[id] != last { rank += 1 }
            last = scores[id]
            spelling.withUnsafeBufferPointer { bytes in
                var pairs: [(Int32, Int32)] = []
                for cut in 1..<bytes.count where bytes[cut] & 0xC0 != 0x80 {
                    guard let left = modelVocabulary.id(of: UnsafeBufferPointer(rebasing: bytes[..<cut])),
                        let right = modelVocabulary.id(of: UnsafeBufferPointer(rebasing: bytes[cut...])),
                        isPiece(Int(left)), isPiece(Int(right))
                    else { continue }
                    pairs.append((left, right))
                }
                for (left, right) in pairs.sorted(by: <) {
                    merges.append((left, right, Int32(id)))
                    ranks.append(rank)
                }
            }
        }
        mergeRanks = ranks
    }

    private func numbers(_ key: String, _ file: GGUFFile, count: Int) throws -> [Double] {
        guard let values = file[key]?.arrayValue?.compactMap(\.doubleValue), values.count == count else {
            throw failure("metadata '\(key)'", "is not a number for every token")
        }
        return values
    }

    private mutating func readWordPieces(_ file: GGUFFile, _ tokens: [String]) throws {
        // Written with the visible blank before words, where the original has two hashes before all else.
        let original = tokens.map { token -> String in
            if token.hasPrefix("["), token.hasSuffix("]"), token.utf8.count > 2 { return token }
            let blank = Self.visibleBlank.utf8
            return token.utf8.starts(with: blank)
                ? String(decoding: token.utf8.dropFirst(blank.count), as: UTF8.self) : "##" + token
        }
        try enterAll(original)
        var names = ["unknown", "cls", "mask", "padding"]
        let separators = ["tokenizer.ggml.seperator_token_id", "tokenizer.ggml.separator_token_id"]
        guard let unknown = try token("tokenizer.ggml.unknown_token_id", file, tokens),
            let begin = try token("tokenizer.ggml.cls_token_id", file, tokens)
                ?? token("tokenizer.ggml.bos_token_id", file, tokens),
            let separator = try token(separators[0], file, tokens) ?? token(separators[1], file, tokens)
        else { throw failure("metadata", "does not name the unknown, the first and the separating token") }
        names.removeFirst(2)
        var specials = Set([unknown, begin, separator])
        for name in names {
            if let id = try token("tokenizer.ggml.\(name)_token_id", file, tokens) { specials.insert(id) }
        }
        for id in specials.sorted() { add(id, original[id], isSpecial: true) }
        // A vocabulary without capital letters is one of small letters and no accents.
        let hasCapitals = original.indices.contains { id in
            !specials.contains(id) && !original[id].hasPrefix("[")
                && original[id].utf8.contains { $0 >= UInt8(ascii: "A") && $0 <= UInt8(ascii: "Z") }
        }
        normalizer = [
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": nil,
            "lowercase": .bool(!hasCapitals),
        ]
        preTokenizer = ["type": "BertPreTokenizer"]
        decoder = ["type": "WordPiece", "prefix": "##", "cleanup": true]
        postProcessor = Self.template(before: begin, after: separator, between: separator, original)
        modelOptions = JSONObject()
        modelOptions["type"] = "WordPiece"
        modelOptions["unk_token"] = .string(original[unknown])
        modelOptions["continuing_subword_prefix"] = "##"
        modelOptions["max_input_chars_per_word"] = 100
        beginning = begin
    }

    private mutating func readUnigrams(_ file: GGUFFile, _ tokens: [String], _ types: [Int]) throws {
        guard try file.optionalBool("tokenizer.ggml.remove_extra_whitespaces") ?? true,
            try file.optionalBool("tokenizer.ggml.add_space_prefix") ?? true
        else { throw unsupported("a unigram model that keeps extra blanks or adds none") }
        scores = try numbers("tokenizer.ggml.scores", file, count: tokens.count)
        try enterAll(tokens)
        for id in tokens.indices where !types.isEmpty {
            switch TokenType(rawValue: types[id]) {
            case .control, .unknown: add(id, tokens[id], isSpecial: true)
            case .userDefined: add(id, tokens[id], isSpecial: false)
            default: break
            }
        }
        if file["tokenizer.ggml.precompiled_charsmap"] != nil {
            let map = try file.optionalIntegers("tokenizer.ggml.precompiled_charsmap") ?? []
            // Bytes are written with a sign by some.
            let bytes = map.compactMap { UInt8(exactly: $0 < 0 ? $0 + 256 : $0) }
            guard bytes.count == map.count else {
                throw failure("metadata 'tokenizer.ggml.precompiled_charsmap'", "is not made of bytes")
            }
            normalizer = ["type": "Precompiled", "precompiled_charsmap": .string(Base64.encode(bytes))]
        }
        let metaspace: JSONValue = [
            "type": "Metaspace", "replacement": .string(Self.visibleBlank), "prepend_scheme": "always", "split": true,
        ]
        preTokenizer = ["type": "Sequence", "pretokenizers": [["type": "WhitespaceSplit"], metaspace]]
        decoder = metaspace
        guard let unknown = try token("tokenizer.ggml.unknown_token_id", file, tokens) else {
            throw failure("metadata 'tokenizer.ggml.unknown_token_id'", "is missing")
        }
        var options = JSONObject()
        options["type"] = "Unigram"
        options["unk_id"] = JSONValue(unknown)
        options["byte_fallback"] = .bool(types.contains(TokenType.byte.rawValue))
        modelOptions = options
        try surround(file, tokens, addsBeginning: false)
    }
}

extension Vocabulary {
    fileprivate var indices: Range<Int> { 0..<count }
}
