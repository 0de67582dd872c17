import LacunaIO
import LacunaInfer
import LacunaModels
import LacunaTensor
import Testing

struct LanguageModelTests {
    private static let template = """
        {% for m in messages %}{{ '<s>' + m.role[0] + m.content + '<e>' }}{% endfor %}\
        {% if add_generation_prompt %}{{ '<s>a' }}{% endif %}
        """

    /// A directory as Hugging Face has them: single bytes and two special tokens, a random network.
    private final class Directory {
        let path = "/tmp/lacuna-model-\(String(UInt64.random(in: 0 ... .max), radix: 36))"
        let decoder: Transformer

        init(generation: JSONValue? = nil, network own: TransformerConfiguration? = nil, end: String? = nil) throws {
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
            let network = TransformerConfiguration(
                vocabularySize: 258, hiddenSize: 32, intermediateSizes: [64, 64], headCount: 4, keyValueHeadCount: 2,
                headSize: 8, maximumPositions: 128, tiedEmbeddings: false, endTokens: [257])
            decoder = try Transformer(random: own ?? network, seed: 5)
            try decoder.save(to: path)
            try AtomicFile.write(document.serialized(), to: path + "/tokenizer.json")
            var settings = JSONObject()
            settings["chat_template"] = .string(LanguageModelTests.template)
            if let end { settings["eos_token"] = .string(end) }
            try AtomicFile.write(
                JSONValue.object(settings).serialized(), to: path + "/tokenizer_config.json")
            if let generation { try AtomicFile.write(generation.serialized(), to: path + "/generation_config.json") }
        }

        deinit { try? FileSystem.remove(path) }
    }

    private func collect(_ stream: AsyncThrowingStream<String, any Error>) async throws -> [String] {
        var pieces: [String] = []
        for try await piece in stream { pieces.append(piece) }
        return pieces
    }

    /// Greedy text by whole forward passes.
    private func reference(_ decoder: Transformer, _ tokens: [Int], count: Int) throws -> [Int] {
        var tokens = tokens
        let start = tokens.count
        while tokens.count < start + count {
            let row = try decoder.logits(tokens).rows(tokens.count - 1..<tokens.count).scalars
            let best = row.indices.max { row[$0] < row[$1] }!
            if best == 257 { break }
            tokens.append(best)
        }
        return Array(tokens[start...])
    }

    @Test func writesStreamsAndScores() async throws {
        let directory = try Directory()
        let model = try LanguageModel.load(directory.path)
        #expect(
            model.name == FileSystem.name(of: directory.path) && model.path == directory.path && model.diskBytes > 0)
        let options = Generator.Options(maximumTokens: 12)
        let tokens = try reference(directory.decoder, Array("Hello".utf8).map(Int.init), count: 12)
        let text = try model.generate("Hello", options)
        #expect(text == model.tokenizer.decode(tokens))
        #expect(try await collect(model.stream("Hello", options)).joined() == text)
        let question = Array("<s>uWhy?<e><s>a".utf8)  // spelled; the template's own tokens are special
        let turn = try model.turn([.init(.user, "Why?")], options)
        #expect(turn.options.stopTokens == [257] && turn.tokens.first == 256 && turn.tokens.count == question.count - 6)
        let answer = try model.answer("Why?", options)
        #expect(answer == model.tokenizer.decode(try reference(directory.decoder, turn.tokens, count: 12)))
        #expect(try await collect(model.stream(answering: "Why?", options)).joined() == answer)

        let logits = try model.logits(after: "Hel")
        let rows = try model.logits([72, 101, 108])
        #expect(logits.shape == [258] && rows.shape == [3, 258])
        let whole = try directory.decoder.logits([72, 101, 108])
        for i in 0..<258 {
            #expect(abs(logits.scalars[i] - whole[2, i]) < 1e-4 && abs(rows[1, i] - whole[1, i]) < 1e-4)
        }
        // A special token that a text spells is plain text to be scored.
        let scored = try model.perplexity(of: "ab<s>cd", window: 4, stride: 2)
        #expect(scored.tokens == 6)
        let expected = try Perplexity.measure(
            directory.decoder, tokens: "ab<s>cd".utf8.map(Int.init), window: 4, stride: 2)
        #expect(abs(scored.loss - expected.loss) < 1e-6)
    }

    /// An end that the tokenizer alone names ends a text.
    @Test func endTokensOfTheTokenizerEndATextToo() throws {
        let plain = try Directory()
        let free = try LanguageModel.load(plain.path)
        let options = Generator.Options(maximumTokens: 12)
        let tokens = try free.generator.generate([72, 105], options).tokens
        let end = tokens[5]
        let directory = try Directory(end: free.tokenizer.token(end))
        let model = try LanguageModel.load(directory.path)
        #expect(!model.decoder.configuration.endTokens.contains(end) && model.tokenizer.endTokens == [end])
        let result = try model.generator.generate([72, 105], options)
        #expect(result.tokens == Array(tokens[..<tokens.firstIndex(of: end)!]) && result.reason == .endToken(end))
    }

    /// A GPT-2 is a language model as any other: it writes, answers and is scored, and its sequences roll back.
    @Test func gpt2IsALanguageModel() throws {
        let directory = try Directory(
            network: .gpt2(
                vocabularySize: 258, hiddenSize: 32, layerCount: 2, headCount: 4, maximumPositions: 48,
                endTokens: [257]))
        let model = try LanguageModel.load(directory.path)
        #expect(model.decoder.configuration == directory.decoder.configuration)
        let prompt = Array("Hello".utf8).map(Int.init)
        let tokens = try reference(directory.decoder, prompt, count: 12)
        #expect(try model.generate("Hello", .init(maximumTokens: 12)) == model.tokenizer.decode(tokens))
        #expect(try model.perplexity(of: "abcdefgh", window: 4, stride: 2).tokens == 7)
        let conversation = try Conversation(model.generator)
        for question in ["a", "b"] { _ = try conversation.answer(question, .init(maximumTokens: 3)) { _ in true } }
        #expect(conversation.messages.count == 4)
        // More than it has positions for.
        #expect(throws: LacunaError.self) { try model.generate(String(repeating: "x", count: 49)) }
    }

    @Test func streamsEndWhereTheyFail() async throws {
        let directory = try Directory()
        let model = try LanguageModel.load(directory.path)
        await #expect(throws: LacunaError.self) { try await self.collect(model.stream("")) }
    }

    @Test func settingsOfTheAuthorsAreTheDefault() throws {
        let directory = try Directory()
        let plain = try LanguageModel.load(directory.path)
        #expect(try plain.recommendedOptions == Generator.Options())
        func options(_ generation: JSONValue) throws -> Generator.Options {
            let directory = try Directory(generation: generation)
            return try LanguageModel.load(directory.path).recommendedOptions
        }
        #expect(try options(["do_sample": false, "temperature": 0.5]) == Generator.Options())
        let sampled = try options(["do_sample": true, "temperature": 0.5, "top_k": 20, "top_p": 0.75])
        #expect(sampled.sampling == .init(temperature: 0.5, topK: 20, topP: 0.75))
        #expect(try options(["do_sample": true, "top_k": 0]).sampling == .init(temperature: 1))
        #expect(throws: LacunaError.self) { try options(["do_sample": true, "temperature": -1]) }
    }

    /// A GGUF file of the same model, with the tokenizer written into it, is the same model.
    @Test func filesOfBothKindsAreOneModel() throws {
        let directory = try Directory()
        let model = try LanguageModel.load(directory.path)
        let file = directory.path + ".gguf"
        defer { try? FileSystem.remove(file) }
        try model.decoder.saveGGUF(to: file, tokenizer: model.tokenizer)
        let other = try LanguageModel.load(file, checksNumbers: true)
        let options = Generator.Options(maximumTokens: 8)
        #expect(try other.generate("abc", options) == model.generate("abc", options))
        #expect(try other.answer("abc", options) == model.answer("abc", options))
        for text in ["Hello, world <s>x<e>", "ünï", "  two  blanks"] {
            #expect(other.tokenizer.encode(text) == model.tokenizer.encode(text))
        }
    }

    @Test func whatIsNoModelIsNamed() throws {
        for name in ["no-such-model", "smolm2", "hf:a", "hf:a/b/c"] {
            let error = #expect(throws: LacunaError.self) { try LanguageModel.load(name) }
            #expect(error.map { "\($0)".contains(name) } == true)
        }
        let directory = try Directory()
        #expect(throws: LacunaError.self) { try LanguageModel.load(directory.path + "/model.safetensors") }
        try FileSystem.remove(directory.path + "/tokenizer.json")
        #expect(throws: LacunaError.self) { try LanguageModel.load(directory.path) }
    }
}
