import LacunaIO
import LacunaTensor
import Testing

/// Against what the `tokenizers` package does with the same files and texts (Scripts/fixtures_tokenizer.py).
@Suite struct TokenizerTests {
    static let rules = ["gpt2", "smollm", "llama3", "qwen2"]

    private func load(_ rule: String) throws -> Tokenizer { try Tokenizer(json: fixture("tokenizer/\(rule).json")) }

    private func cases(_ rule: String) throws -> [JSONFields] {
        let document = try JSONFields(contentsOf: fixture("tokenizer/expected.json"))
        return try document.array(rule).map { try JSONFields($0, file: "expected.json") }
    }

    @Test(arguments: rules) func idsEqualTheReference(rule: String) throws {
        let tokenizer = try load(rule)
        for expected in try cases(rule) {
            let text = try expected.string("text")
            #expect(try tokenizer.encode(text) == expected.integers("ids"), "\(rule): \(text.debugDescription)")
            #expect(
                try tokenizer.encode(text, recognizesSpecials: false, addsBeginning: false)
                    == expected.integers("plain"), "\(rule): \(text.debugDescription)")
        }
    }

    @Test(arguments: rules) func wordsEqualTheReference(rule: String) throws {
        let tokenizer = try load(rule)
        for expected in try cases(rule) {
            let text = try expected.string("text")
            let words = try expected.array("words").compactMap(\.stringValue)
            #expect(
                tokenizer.words(of: text).map { Array($0.utf8) } == words.map { Array($0.utf8) },
                "\(rule): \(text.debugDescription)")
        }
    }

    @Test(arguments: rules) func decodedTextEqualsTheReference(rule: String) throws {
        let tokenizer = try load(rule)
        for expected in try cases(rule) {
            let ids = try expected.integers("ids")
            #expect(try tokenizer.decode(ids).utf8.elementsEqual(expected.string("decoded").utf8))
            #expect(try tokenizer.decode(ids, skipsSpecials: true).utf8.elementsEqual(expected.string("skipped").utf8))
        }
    }

    @Test(arguments: rules) func streamedTextEqualsTheWhole(rule: String) throws {
        let tokenizer = try load(rule)
        for expected in try cases(rule) {
            let ids = try expected.integers("ids")
            var decoder = StreamingDecoder(tokenizer, skipsSpecials: false)
            let pieces = ids.map { decoder.append($0) }
            #expect((pieces.joined() + decoder.finish()).utf8.elementsEqual(tokenizer.decode(ids).utf8))
        }
    }

    @Test func unfinishedCharactersAreHeldBack() throws {
        let tokenizer = try load("gpt2")
        let ids = "🌍".utf8.map { byteToken(tokenizer, $0) }
        var decoder = StreamingDecoder(tokenizer)
        #expect(ids.map { decoder.append($0) } == ["", "", "", "🌍"])
        #expect(decoder.append(ids[0]) == "")
        #expect(decoder.append(byteToken(tokenizer, 0x41)) == "\u{fffd}A")
        #expect(decoder.append(ids[0]) + decoder.finish() == "\u{fffd}")
        #expect(decoder.finish() == "")
    }

    private func byteToken(_ tokenizer: Tokenizer, _ byte: UInt8) -> Int {
        (0..<tokenizer.vocabularySize).first { Array(tokenizer.bytes(of: $0)) == [byte] }!
    }

    @Test(arguments: rules) func whatIsWrittenIsReadBack(rule: String) throws {
        let scratch = try Scratch()
        let tokenizer = try load(rule)
        try tokenizer.writeTokenizerJSON(to: scratch.path)
        let copy = try Tokenizer(directory: scratch.path)
        #expect(copy.addedTokens == tokenizer.addedTokens)
        #expect(copy.beginningToken == tokenizer.beginningToken && copy.addsBeginning == tokenizer.addsBeginning)
        for expected in try cases(rule) {
            let text = try expected.string("text")
            #expect(copy.encode(text) == tokenizer.encode(text))
        }
    }

    @Test func configurationFilesBesideTheTokenizer() throws {
        let scratch = try Scratch()
        try load("gpt2").writeTokenizerJSON(to: scratch.path)
        try AtomicFile.write(
            #"{"bos_token":{"content":"<|begin|>"},"eos_token":"<|end|>","chat_template":"{{x}}"}"#,
            to: scratch.file("tokenizer_config.json"))
        try AtomicFile.write(#"{"eos_token_id":[0,701]}"#, to: scratch.file("generation_config.json"))
        var tokenizer = try Tokenizer(directory: scratch.path)
        #expect(tokenizer.beginningToken == 1 && !tokenizer.addsBeginning)
        #expect(tokenizer.endTokens == [0, 701])
        #expect(tokenizer.chatTemplate == "{{x}}")
        try AtomicFile.write("other", to: scratch.file("chat_template.jinja"))
        tokenizer = try Tokenizer(directory: scratch.path)
        #expect(tokenizer.chatTemplate == "other")
        try AtomicFile.write(#"{"bos_token":"<nothing>"}"#, to: scratch.file("tokenizer_config.json"))
        #expect(failure { try Tokenizer(directory: scratch.path) } != nil)
    }

    @Test func whatIsNotSupportedIsRefused() throws {
        let scratch = try Scratch()
        let good = try FileSystem.readText(fixture("tokenizer/smollm.json"))
        let changes: [(String, String)] = [
            (#""type":"BPE""#, #""type":"WordLevel""#), (#""dropout":null"#, #""dropout":0.1"#),
            (#""type":"Digits""#, #""type":"UnicodeScripts""#),
            (#""normalizer":null"#, #""normalizer":{"type":"Uppercase"}"#),
            (#""decoder":{"type":"ByteLevel""#, #""decoder":{"type":"CTC""#),
            (#""post_processor":{"type":"ByteLevel""#, #""post_processor":{"type":"Other""#),
            (
                #"{"type":"Digits","individual_digits":true}"#,
                #"{"type":"Split","pattern":{"Regex":"\\X+"},"behavior":"Isolated","invert":false}"#
            ),
            (
                #"{"type":"Digits","individual_digits":true}"#,
                #"{"type":"Split","pattern":{"Regex":"a"},"behavior":"Doubled","invert":false}"#
            ),
            (
                #"{"type":"Digits","individual_digits":true}"#,
                #"{"type":"ByteLevel","add_prefix_space":false}"#
            ),
        ]
        for (old, new) in changes {
            #expect(good.contains(old))
            let parts = good.split(separator: old, maxSplits: 1)
            let path = try scratch.write((parts[0] + new + parts[1]).utf8, to: "tokenizer.json")
            guard case .unsupported(path, _) = failure({ try Tokenizer(json: path) }) else {
                Issue.record("\(new) was accepted")
                continue
            }
        }
    }

    @Test func contradictionsAreFound() throws {
        let scratch = try Scratch()
        let cases: [(vocabulary: String, merges: String, added: String)] = [
            (#"{"a":0,"b":0}"#, "[]", "[]"), (#"{"a":-1}"#, "[]", "[]"), (#"{"a":1e18}"#, "[]", "[]"),
            (#"{"a":99999999}"#, "[]", "[]"), (#"{"a":0.5}"#, "[]", "[]"), (#"{"a":0}"#, #"["a b"]"#, "[]"),
            (#"{"a":0,"b":1}"#, #"["a b"]"#, "[]"), (#"{"a":0}"#, #"["ab"]"#, "[]"), (#"{"a":0}"#, "[1]", "[]"),
            (#"{"a":0}"#, #"[["a"]]"#, "[]"), (#"{"a":0}"#, "[]", #"[{"id":0,"content":"b"}]"#),
            (#"{"a":0}"#, "[]", #"[{"id":7,"content":"a"}]"#), (#"{"a":0}"#, "[]", #"[{"id":4e9,"content":"b"}]"#),
            (#"{"a":0}"#, "[]", #"[{"content":"b"}]"#),
        ]
        for (vocabulary, merges, added) in cases {
            let text = """
                {"added_tokens":\(added),"normalizer":null,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},
                "model":{"type":"BPE","vocab":\(vocabulary),"merges":\(merges)}}
                """
            let path = try scratch.write(text.utf8, to: "tokenizer.json")
            guard case .malformed(path, _, _) = failure({ try Tokenizer(json: path) }) else {
                Issue.record("accepted: \(text)")
                continue
            }
        }
    }

    @Test func longWordsTakeNoQuadraticTime() throws {
        let tokenizer = try load("llama3")
        let ids = tokenizer.encode(String(repeating: "the", count: 100_000), addsBeginning: false)
        #expect(tokenizer.decode(ids).utf8.count == 300_000)
    }

    /// The real thing, where `lacuna data` has put it.
    @Test func smolLM2() throws {
        guard let path = smolLM2Path() else {
            print("skipped: the SmolLM2 GGUF is not cached")
            return
        }
        let tokenizer = try Tokenizer(gguf: GGUFFile(path))
        let text = try FileSystem.readText(repositoryFile("Data/wikitext-2/test.txt"))
        let ids = tokenizer.encode(text)
        #expect(ids.count == 312_144)
        #expect(
            ids.prefix(20) == [
                3717, 446, 6356, 2067, 5131, 46, 446, 3717, 3717, 6356, 2067, 5131, 46, 314, 354, 2321, 4771, 3297,
                8552,
                284,
            ])
        #expect(tokenizer.decode(ids) == text)
        #expect(tokenizer.encode(Self.reef) == Self.reefTokens)
        let valid = try FileSystem.readText(repositoryFile("Data/wikitext-2/valid.txt"))
        #expect(tokenizer.encode(valid).count == 273_868)
    }

    private static let reef = """
        The Great Barrier Reef is the world's largest coral reef system, composed of over 2,900 individual \
        reefs and 900 islands stretching for over 2,300 kilometres. The reef is located in the Coral Sea, \
        off the coast of Queensland, Australia. It can be seen from outer space and is the world's biggest \
        single structure made by living organisms. This reef structure is composed of and built by billions \
        of tiny organisms, known as coral polyps.
        """

    private static let reefTokens = [
        504, 3756, 32424, 24260, 314, 260, 905, 506, 3995, 12536, 10815, 817, 28, 8168, 282, 690, 216, 34, 28, 41,
        32, 32, 1212, 16854, 284, 216, 41, 32, 32, 8588, 14320, 327, 690, 216, 34, 28, 35, 32, 32, 18541, 30, 378,
        10815, 314, 3807, 281, 260, 31068, 6427, 28, 767, 260, 4051, 282, 20892, 28, 4617, 30, 657, 416, 325, 2269,
        429, 8379, 1898, 284, 314, 260, 905, 506, 7415, 2244, 2678, 1135, 411, 2242, 6896, 30, 669, 10815, 2678,
        314, 8168, 282, 284, 2837, 411, 14897, 282, 5383, 6896, 28, 1343, 347, 12536, 34995, 30,
    ]
}
