import Foundation
import LacunaTensor
import Testing

@testable import LacunaIO

/// Parts of tokenizers against what the `tokenizers` and `sentencepiece` packages do (Scripts/fixtures_tokenizer_kinds.py).
@Suite struct TokenizerPartsTests {
    private typealias Kinds = TokenizerKindTests

    // MARK: Characters

    private static let scalars = (UInt32(0)...0x10FFFF).compactMap { Unicode.Scalar($0) }

    private static func members(_ belongs: (Unicode.Scalar) -> Bool) -> UInt32 {
        var hash = Kinds.Hash()
        hash.add(scalars.filter(belongs).map { Int($0.value) })
        return hash.folded
    }

    private static func written(_ apply: (inout [UInt8]) -> Void) -> UInt32 {
        var hash = Kinds.Hash()
        for scalar in scalars {
            var bytes = Array(UTF8.encode(scalar)!)
            apply(&bytes)
            hash.add(bytes)
        }
        return hash.folded
    }

    @Test func classesOfAllCharactersEqualThePackage() throws {
        let expected = try JSONFields(contentsOf: fixture("tokenizers/classes.json"))
        for member in expected.object {
            let found: UInt32
            switch member.key {
            case "word": found = Self.members(UnicodeClasses.isWord)
            case "numeric": found = Self.members(UnicodeClasses.isNumeric)
            case "punctuation": found = Self.members(UnicodeClasses.isBertPunctuation)
            case "control":
                found = Self.members { $0.value == 0 || $0.value == 0xFFFD || UnicodeClasses.isBertControl($0) }
            case "accent": found = Self.members(UnicodeClasses.isBertAccent)
            case "mark": found = Self.members(UnicodeClasses.isCombiningMark)
            case "Lowercase":
                found = Self.written { bytes in
                    var text = NormalizedText(bytes: bytes, startsText: true)
                    LowercaseNormalizer().normalize(&text)
                    bytes = text.bytes
                }
            case "NFC", "NFD", "NFKC", "NFKD":
                let form = try #require(UnicodeForm(rawValue: member.key))
                found = Self.written { form.apply(&$0) }
            default:
                guard case .set(let set) = try ExpressionParser.parse(member.key) else {
                    Issue.record("\(member.key) is no set")
                    continue
                }
                found = Self.members(set.contains)
            }
            #expect(member.value.intValue == Int(found), "\(member.key)")
        }
        #expect(expected.object.count == 29)
    }

    // MARK: Expressions

    @Test func expressionsCutAsThePackageDoes() throws {
        let strings = try Kinds.strings.get().prefix(1500)
        let cases = try JSONFields(contentsOf: fixture("tokenizers/expressions.json")).array("cases")
        #expect(cases.count == 30)
        for value in cases {
            let fields = try JSONFields(value, file: "expressions.json")
            let pattern = try fields.string("pattern")
            let cutter = PatternPreTokenizer(
                try TextPattern(expression: pattern, file: ""), try .init(fields),
                isInverted: try fields.bool("invert", default: false))
            var hash = Kinds.Hash()
            for string in strings {
                var pieces = TextPieces(string)
                cutter.split(&pieces)
                hash.add(pieces.ranges.map { Array(pieces.bytes[$0]) }.joined(separator: [0xFF]))
                hash.add([UInt8(0xFE)])
            }
            #expect(try Int(hash.folded) == fields.integer("hash"), "\(pattern)")
        }
    }

    @Test(arguments: [
        ("(a", "a group without ')'"), ("a)", "an unmatched ')'"), ("[a", "a class without ']'"),
        ("(?<n>a)", "a group that begins with '(?<'"), ("(?x)a", "a group that begins with '(?x'"),
        (#"\X"#, #"the escape '\X'"#), (#"\1"#, #"the escape '\1'"#), (#"\p{Klingon}"#, "the property 'Klingon'"),
        ("[[:alpha:]]", "a class by name, '[:'"), ("(a*)*", "a repetition of something that can be empty"),
        ("(?<=a+)b", "looking behind for something of no fixed length"), ("+", "a '+' that repeats nothing"),
        ("(?i:maße)", "characters beyond ASCII without regard to case"), (#"a\"#, #"a '\' at the end"#),
        ("(?i:st)", "'st' without regard to case, which a single character also is"), ("a{3}?", "'{3}?', whose"),
        (#"(?i)\p{Lu}"#, "the property 'Lu' without regard to case"), ("a{5,2}", "a repetition of more than 1000"),
        (String(repeating: "(", count: 100), "groups nested 64 deep"), ("((a{1000}){1000}){1000}", "an expression of"),
    ]) func expressionsNotUnderstoodAreRefused(expression: String, what: String) {
        #expect {
            try TextExpression(expression)
        } throws: {
            ($0 as? ExpressionError)?.what.hasPrefix(what) == true
        }
    }

    // MARK: Pairs

    @Test(arguments: TokenizerKindTests.kinds) func pairsEqualThePackage(kind: String) throws {
        let tokenizer = try Kinds.load(kind)
        let cases = try JSONFields(contentsOf: fixture("tokenizers/pairs.json")).array(kind)
        #expect(cases.count == 12)
        for (index, value) in cases.enumerated() {
            let fields = try JSONFields(value, file: "pairs.json")
            let texts = try fields.array("texts").compactMap(\.stringValue)
            // Pairs and single texts take turns.
            let encoding = tokenizer.encode(texts[0], and: index % 2 == 0 ? texts[1] : nil)
            #expect(try encoding.ids == fields.integers("ids"), "\(texts)")
            #expect(try encoding.typeIDs == fields.integers("types"), "\(texts)")
            #expect(try encoding.isAdded == fields.array("added").compactMap(\.boolValue), "\(texts)")
            #expect(encoding.count == encoding.ids.count)
        }
    }

    // MARK: GGUF

    private func tokenizer(gguf name: String) throws -> Tokenizer {
        let scratch = try Scratch()
        let path = try scratch.write(Kinds.unpacked(fixture("tokenizers/\(name).gguf.gz")), to: "f.gguf")
        return try Tokenizer(gguf: GGUFFile(path))
    }

    @Test func sentencePiecesInGGUFEqualThePackage() throws {
        let tokenizer = try tokenizer(gguf: "spm")
        let expected = try Kinds.unpacked(fixture("tokenizers/spm.expected.gz"))
        let scratch = try Scratch()
        try tokenizer.writeTokenizerJSON(to: scratch.path)
        let copy = try Tokenizer(directory: scratch.path)
        for (index, text) in try Kinds.strings.get().enumerated() {
            let ids = tokenizer.encode(text, recognizesSpecials: false, addsBeginning: false)
            var hash = Kinds.Hash()
            hash.add(ids)
            #expect(hash.folded == Kinds.number(expected, at: 8 * index), "\(text.debugDescription)")
            #expect(copy.encode(text) == tokenizer.encode(text))
            hash = Kinds.Hash()
            hash.add(Array(tokenizer.decode(ids).utf8))
            // Where bytes make no characters, the two packages write different numbers of U+FFFD.
            if tokenizer.decode(ids).unicodeScalars.contains("\u{FFFD}") { continue }
            #expect(hash.folded == Kinds.number(expected, at: 8 * index + 4), "\(text.debugDescription)")
        }
        #expect(tokenizer.encode("a").first == 1 && tokenizer.beginningToken == 1 && tokenizer.endTokens == [2])
        #expect(tokenizer.encode("<s>") == [1, 1] && tokenizer.namedTokens["unk_token"] == "<unk>")
    }

    @Test(arguments: ["wordpiece", "unigram"]) func otherKindsInGGUFEqualTheirJSON(kind: String) throws {
        let (tokenizer, original) = (try tokenizer(gguf: kind), try Kinds.load(kind))
        // GGUF has no place for tokens that somebody added, some of which are found in other forms, too.
        let added = original.addedTokens.filter { !$0.isSpecial || tokenizer.id(of: $0.content) != $0.id }
            .map { Array($0.content.lowercased().utf8) }
        var compared = 0
        for text in try Kinds.strings.get() {
            let bytes = Array(text.lowercased().utf8)
            if text.unicodeScalars.contains(where: { $0 == "?" || $0 == "\u{FF1F}" }) { continue }
            if added.contains(where: { bytes.firstRange(of: $0) != nil }) { continue }
            #expect(tokenizer.encode(text) == original.encode(text), "\(text.debugDescription)")
            compared += 1
        }
        #expect(compared > 5000)
    }

    @Test func namesOfSplitsAreSpelledInManyWays() throws {
        let scratch = try Scratch()
        func string(_ text: String) -> [UInt8] { littleEndian(UInt64(text.utf8.count)) + Array(text.utf8) }
        func value(_ key: String, _ text: String) -> [UInt8] { string(key) + littleEndian(UInt32(8)) + string(text) }
        func strings(_ key: String, _ texts: [String]) -> [UInt8] {
            string(key) + littleEndian(UInt32(9)) + littleEndian(UInt32(8)) + littleEndian(UInt64(texts.count))
                + texts.flatMap(string)
        }
        let text = "I'll pay 12345 FOOBar's x\n\n  y"
        func words(_ name: String) throws -> [String] {
            let header =
                Array("GGUF".utf8) + littleEndian(UInt32(3)) + littleEndian(UInt64(0)) + littleEndian(UInt64(4))
            let path = try scratch.write(
                header + value("tokenizer.ggml.model", "gpt2") + value("tokenizer.ggml.pre", name)
                    + strings("tokenizer.ggml.tokens", ["a"]) + strings("tokenizer.ggml.merges", [])
                    + [UInt8](repeating: 0, count: 64), to: "f.gguf")
            return try Tokenizer(gguf: GGUFFile(path)).words(of: text)
        }
        let plain = ["I", "'ll", " pay", " 12345", " FOOBar", "'s", " x", "\n\n ", " y"]
        for name in ["gpt-2", "gpt2", "mpt", "olmo"] { #expect(try words(name) == plain) }
        for name in ["smollm", "starcoder"] {
            #expect(try words(name) == ["I", "'ll", " pay", " ", "1", "2", "3", "4", "5"] + plain[4...])
        }
        let llama = ["I", "'ll", " pay", " ", "123", "45", " FOOBar", "'s", " x", "\n\n", " ", " y"]
        for name in ["llama-bpe", "llama3", "llama-v3", "dbrx"] { #expect(try words(name) == llama) }
        let qwen = ["I", "'ll", " pay", " ", "1", "2", "3", "4", "5", " FOOBar", "'s", " x", "\n\n", " ", " y"]
        for name in ["qwen2", "stablelm2"] { #expect(try words(name) == qwen) }
        #expect(
            try words("gpt-4o") == ["I'll", " pay", " ", "123", "45", " FOOBar's", " x", "\n\n", " ", " y"])
        #expect(
            try words("tekken") == [
                "I", "'ll", " pay", " ", "1", "2", "3", "4", "5", " FOOBar", "'s", " x", "\n\n", " ", " y",
            ])
        #expect(throws: LacunaError.self) { try words("GPT2") }
    }

    // MARK: Special tokens and files

    @Test func specialTokensCountInAProgramsOwnPartsOnly() throws {
        let tokenizer = try Kinds.load("sentencepiece")
        let text = "<l>a<r>b<l><r>"
        let (l, r) = (try #require(tokenizer.id(of: "<l>")), try #require(tokenizer.id(of: "<r>")))
        func specials(_ ranges: [Range<Int>]) -> [Int] {
            tokenizer.encode(text, specialRanges: ranges, addsBeginning: false).filter { $0 == l || $0 == r }
        }
        #expect(specials([]) == [])
        #expect(specials([0..<14]) == [l, r, l, r] && specials([0..<3]) == [l] && specials([4..<8]) == [r])
        // A part of a mark is none, nor is one made of two parts.
        #expect(specials([1..<3]) == [] && specials([0..<2]) == [] && specials([8..<10, 10..<12]) == [])
        #expect(specials([0..<4, 8..<11]) == [l, l] && specials([0..<3, 11..<14]) == [l, r])
        #expect(
            tokenizer.encode(text, specialRanges: [0..<14]) == tokenizer.encode(text)
                && tokenizer.encode(text, specialRanges: []) == tokenizer.encode(text, recognizesSpecials: false))
    }

    @Test func endTokensTemplateAndSettingsSurviveACopy() throws {
        let (source, target) = (try Scratch(), try Scratch())
        try Kinds.load("byte-level").writeTokenizerJSON(to: source.path)
        let generation = #"{"eos_token_id":[0,257],"temperature":0.6,"do_sample":true}"#
        let configuration =
            #"{"eos_token":{"content":"<l>","lstrip":true},"model_max_length":77,"chat_template":[{"name":"default","template":"A"},{"name":"rag","template":"B"}]}"#
        try AtomicFile.write(generation, to: source.file("generation_config.json"))
        try AtomicFile.write(configuration, to: source.file("tokenizer_config.json"))
        let tokenizer = try Tokenizer(directory: source.path)
        #expect(tokenizer.endTokens == [tokenizer.id(of: "<l>"), 0, 257] && tokenizer.chatTemplate == "A")
        #expect(tokenizer.namedTokens["eos_token"] == "<l>" && tokenizer.namedTokens["bos_token"] == "<|end|>")
        try tokenizer.writeTokenizerJSON(to: target.path)
        let copy = try Tokenizer(directory: target.path)
        #expect(copy.endTokens == tokenizer.endTokens && copy.chatTemplate == "A")
        for (name, text) in [("generation_config.json", generation), ("tokenizer_config.json", configuration)] {
            #expect(try JSONValue(contentsOf: target.file(name)) == JSONValue(parsing: text))
        }
        try AtomicFile.write("C", to: source.file("chat_template.jinja"))
        try Tokenizer(directory: source.path).writeTokenizerJSON(to: target.path)
        #expect(try Tokenizer(directory: target.path).chatTemplate == "C")
    }

    @Test func endTokensOfGGUFSurviveACopy() throws {
        let scratch = try Scratch()
        try tokenizer(gguf: "spm").writeTokenizerJSON(to: scratch.path)
        #expect(try JSONValue(contentsOf: scratch.file("generation_config.json"))["eos_token_id"] == 2)
        #expect(try Tokenizer(directory: scratch.path).endTokens == [2])
    }

    @Test func oneTokenStandsForSomething() throws {
        let pairs = try Kinds.load("sentencepiece")
        func bytes(_ tokenizer: Tokenizer, _ token: String) -> [UInt8] {
            Array(tokenizer.bytes(of: tokenizer.id(of: token)!))
        }
        #expect(bytes(pairs, "<0x0A>") == [10] && bytes(pairs, "▁the") == Array(" the".utf8))
        let pieces = try Kinds.load("wordpiece")
        #expect(bytes(pieces, "##s") == Array("s".utf8) && bytes(pieces, "the") == Array(" the".utf8))
        #expect(pieces.bytes(of: -1).isEmpty && pieces.bytes(of: 1 << 40).isEmpty)
    }

    /// Cutting and filling up as the tokenizers package does (`Scripts/fixtures_tokenizer_batches.py`): lengths, strategies and
    /// directions, single texts and pairs.
    @Test func batchesAreCutAndFilledUp() throws {
        let path = #filePath.replacing("TokenizerPartsTests.swift", with: "Fixtures/tokenizer-batches.json")
        let fields = try JSONFields(contentsOf: path)
        let batches = try fields.array("batches").map { batch in
            (batch.arrayValue ?? []).map { pair in
                (first: pair.arrayValue?[0].stringValue ?? "", second: pair.arrayValue?[1].stringValue)
            }
        }
        let base = try fields.fields("tokenizer").object
        var counted = 0
        for (index, value) in try fields.array("cases").enumerated() {
            let test = try JSONFields(value, file: path, location: "cases[\(index)]")
            var object = base
            (object["truncation"], object["padding"]) = (test.object["truncation"], test.object["padding"])
            let tokenizer = try Tokenizer(
                TokenizerDefinition(json: JSONFields(.object(object), file: path)))
            let texts = batches[try test.integer("batch")]
            guard let expected = test.object["expected"]?.arrayValue else {
                #expect(throws: LacunaError.self, "\(index)") { try tokenizer.encode(batch: texts) }
                continue
            }
            let found = try tokenizer.encode(batch: texts)
            #expect(found.count == expected.count)
            for (encoding, wanted) in zip(found, expected) {
                let lists = (wanted.arrayValue ?? []).map { ($0.arrayValue ?? []).compactMap(\.intValue) }
                #expect(encoding.ids == lists[0] && encoding.typeIDs == lists[1], "\(index)")
                #expect(encoding.isPadding.map { $0 ? 0 : 1 } == lists[2], "\(index)")
                counted += 1
            }
        }
        #expect(counted > 300)
        // Whole texts stay whole, and what is not known is refused.
        var object = base
        object["truncation"] = ["max_length": 3, "strategy": "LongestFirst", "direction": "Right", "stride": 0]
        let tokenizer = try Tokenizer(TokenizerDefinition(json: JSONFields(.object(object), file: path)))
        #expect(tokenizer.encode("a b c d").count == 6)
        for (key, bad): (String, JSONValue) in [
            ("truncation", ["max_length": 3, "strategy": "Shortest"]), ("truncation", ["max_length": -1]),
            ("truncation", ["max_length": 3, "direction": "Up"]), ("padding", ["strategy": "Widest"]),
            ("padding", ["strategy": ["Fixed": -4]]), ("padding", ["pad_to_multiple_of": -8]),
        ] {
            var object = base
            object[key] = bad
            #expect(throws: LacunaError.self, "\(key) \(bad)") {
                try Tokenizer(TokenizerDefinition(json: JSONFields(.object(object), file: path)))
            }
        }
    }

    /// A word of as many characters as are allowed is still cut up; one more makes it unknown.
    @Test func longestWordPieces() throws {
        let scratch = try Scratch()
        let tokenizer = try Tokenizer(
            json: scratch.write(
                """
                {"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null, \
                "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null, \
                "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", \
                "max_input_chars_per_word": 4, "vocab": {"[UNK]": 0, "a": 1, "##a": 2, "é": 3, "##é": 4}}}
                """.utf8, to: "tokenizer.json"))
        #expect(tokenizer.encode("aaaa", and: nil).ids == [1, 2, 2, 2])
        #expect(tokenizer.encode("éééé a", and: nil).ids == [3, 4, 4, 4, 1])
        #expect(tokenizer.encode("aaaaa ééééé", and: nil).ids == [0, 0])
    }

    /// A character without a piece costs 10 more than the least probable piece: -16 and -1 are less than -6 and -6.
    @Test func unknownCharactersCost() throws {
        let scratch = try Scratch()
        let tokenizer = try Tokenizer(
            json: scratch.write(
                """
                {"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null, \
                "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null, \
                "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": false, \
                "vocab": [["<unk>", 0.0], ["ab", -6.0], ["c", -6.0], ["bc", -1.0]]}}
                """.utf8, to: "tokenizer.json"))
        #expect(tokenizer.encode("abc", and: nil).ids == [1, 2])
        #expect(tokenizer.encode("xbc", and: nil).ids == [0, 3])
    }
}
