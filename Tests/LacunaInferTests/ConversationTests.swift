import LacunaIO
import LacunaInfer
import LacunaModels
import LacunaTensor
import Testing

struct ConversationTests {
    private static let template = """
        {% for m in messages %}{{ '<s>' + m.role[0] + m.content + '<e>' }}{% endfor %}\
        {% if add_generation_prompt %}{{ '<s>a' }}{% endif %}
        """

    /// Single bytes, two special tokens, and a network that answers with whatever it likes.
    private func makeGenerator(positions: Int = 512, endTokens: [Int] = []) throws -> Generator {
        let printable = Array(33...126) + Array(161...172) + Array(174...255)
        var vocabulary = JSONObject()
        var next = 256
        for byte in 0..<256 {
            let scalar = printable.contains(byte) ? byte : next
            if !printable.contains(byte) { next += 1 }
            vocabulary[String(UnicodeScalar(UInt32(scalar))!)] = JSONValue(byte)
        }
        let document: JSONValue = [
            "added_tokens": [
                ["id": 256, "content": "<s>", "special": true], ["id": 257, "content": "<e>", "special": true],
            ],
            "pre_tokenizer": ["type": "ByteLevel", "add_prefix_space": false], "decoder": ["type": "ByteLevel"],
            "model": ["type": "BPE", "vocab": .object(vocabulary), "merges": []],
        ]
        let configuration: JSONValue = ["chat_template": .string(Self.template)]
        let directory = "/tmp/lacuna-conversation-\(UInt64.random(in: 0...UInt64.max))"
        defer { try? FileSystem.remove(directory) }
        try FileSystem.createDirectory(directory)
        try AtomicFile.write(document.serialized(), to: directory + "/tokenizer.json")
        try AtomicFile.write(configuration.serialized(), to: directory + "/tokenizer_config.json")
        let network = TransformerConfiguration(
            vocabularySize: 258, hiddenSize: 16, intermediateSizes: [24, 24], headCount: 4, keyValueHeadCount: 2,
            headSize: 8, maximumPositions: positions, tiedEmbeddings: false, endTokens: endTokens)
        return Generator(
            try Transformer(random: network, seed: 5), tokenizer: try Tokenizer(directory: directory))
    }

    /// Greedy tokens after a text by whole forward passes.
    private func reference(_ generator: Generator, _ text: String, count: Int) throws -> [Int] {
        var tokens = generator.tokenizer!.encode(text)
        let start = tokens.count
        for _ in 0..<count {
            let row = try generator.decoder.logits(tokens).rows(tokens.count - 1..<tokens.count).scalars
            let best = row.indices.max { row[$0] < row[$1] }!
            if best == 257 { break }
            tokens.append(best)
        }
        return Array(tokens[start...])
    }

    @Test func everyAnswerContinuesTheWholeConversation() throws {
        let generator = try makeGenerator()
        let conversation = try Conversation(generator, system: "S")
        var text = "<s>sS<e>"
        // One answer of no token, and some that end because they are long enough.
        for (question, count) in [("Hi", 5), ("why", 1), ("so", 0), ("ok", 7)] {
            text += "<s>u\(question)<e><s>a"
            var received: [Int] = []
            let answer = try conversation.answer(question, .init(maximumTokens: count)) {
                received.append($0)
                return true
            }
            #expect(answer.tokens == received)
            #expect(answer.tokens == (try reference(generator, text, count: count)), "\(question)")
            let words = generator.tokenizer!.decode(answer.tokens, skipsSpecials: true)
            #expect(conversation.messages.last == .init(.assistant, words))
            text += words + "<e>"
        }
        #expect(conversation.messages.count == 9)
    }

    @Test func onlyWhatIsNewIsRead() throws {
        let generator = try makeGenerator()
        let conversation = try Conversation(generator)
        let first = try conversation.answer("ab", .init(maximumTokens: 3)) { _ in true }
        // The marks, the role, the two letters, the mark, and the answer's own two.
        #expect(first.prefill.tokens == 7)
        let second = try conversation.answer("c", .init(maximumTokens: 3)) { _ in true }
        let isOneToOne = generator.tokenizer!.encode(generator.tokenizer!.decode(first.tokens)) == first.tokens
        if isOneToOne { #expect(second.prefill.tokens == 1 + 1 + 4 + 2) }
    }

    @Test func theEndOfATurnStops() throws {
        let generator = try makeGenerator()
        let conversation = try Conversation(generator)
        var longest = 0
        for question in ["a", "b", "c", "d", "e", "f", "g", "h"] {
            let answer = try conversation.answer(question, .init(maximumTokens: 20)) { _ in true }
            #expect(!answer.tokens.contains(257))
            longest = max(longest, answer.tokens.count)
        }
        #expect(longest > 0)
    }

    @Test func aConversationThatIsTooLongStartsAnew() throws {
        let generator = try makeGenerator(positions: 40)
        let conversation = try Conversation(generator, system: "S")
        var restarts = 0
        for _ in 0..<6 {
            _ = try conversation.answer(
                "hello", .init(maximumTokens: 4), startsAnew: { restarts += 1 }, receive: { _ in true })
            #expect(conversation.position <= 40)
        }
        #expect(restarts > 0 && conversation.messages.first == .init(.system, "S"))
        #expect(conversation.messages.count < 13)
    }

    @Test func aFailureLeavesTheConversationAsItWas() throws {
        let generator = try makeGenerator(positions: 64)
        let conversation = try Conversation(generator)
        _ = try conversation.answer("a", .init(maximumTokens: 3)) { _ in true }
        let before = conversation.messages
        #expect(throws: LacunaError.cancelled) {
            try conversation.answer("b", .init(maximumTokens: 3)) { _ in throw LacunaError.cancelled }
        }
        #expect(throws: LacunaError.self) {
            try conversation.answer(String(repeating: "x", count: 100)) { _ in true }
        }
        #expect(conversation.messages == before)
        let text = "<s>ua<e><s>a" + before[1].content + "<e><s>uc<e><s>a"
        let answer = try conversation.answer("c", .init(maximumTokens: 3)) { _ in true }
        #expect(answer.tokens == (try reference(generator, text, count: 3)))
    }

    @Test func aTokenizerIsNeeded() throws {
        let generator = try makeGenerator()
        #expect(throws: LacunaError.self) { try Conversation(Generator(generator.decoder)) }
        #expect(throws: LacunaError.self) { try Conversation(generator, context: 513) }
    }
}
