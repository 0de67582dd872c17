import LacunaInfer
import LacunaModels
import LacunaTensor
import Testing

struct GeneratorTests {
    private func makeGenerator(endTokens: [Int] = [], positions: Int = 64) throws -> Generator {
        let configuration = TransformerConfiguration(
            vocabularySize: 40, hiddenSize: 16, intermediateSizes: [24, 24], headCount: 4, keyValueHeadCount: 2,
            headSize: 8, maximumPositions: positions, tiedEmbeddings: false, endTokens: endTokens)
        return Generator(try Transformer(random: configuration, seed: 3))
    }

    /// Greedy tokens by whole forward passes.
    private func reference(_ decoder: Transformer, _ prompt: [Int], count: Int) throws -> [Int] {
        var tokens = prompt
        for _ in 0..<count {
            let row = try decoder.logits(tokens).rows(tokens.count - 1..<tokens.count).scalars
            tokens.append(row.indices.max { row[$0] < row[$1] }!)
        }
        return Array(tokens[prompt.count...])
    }

    @Test func greedyTokensAreThoseOfWholeForwardPasses() throws {
        let generator = try makeGenerator()
        var received: [Int] = []
        let result = try generator.generate([5, 9, 1], .init(maximumTokens: 12)) {
            received.append($0)
            return true
        }
        #expect(result.tokens == (try reference(generator.decoder, [5, 9, 1], count: 12)))
        #expect(received == result.tokens)
        #expect(result.reason == .length)
        #expect(result.prefill.tokens == 3 && result.decode.tokens == 11)
        #expect(result.decode.tokensPerSecond > 0 && result.bytesPerToken > 0)
    }

    /// Bytes are those at the mean position: eleven tokens of the answer are read at the positions 3 to 13. Each position is a key
    /// and a value of 16 floats in two layers.
    @Test func bytesAreThoseOfTheMeanPosition() throws {
        let generator = try makeGenerator()
        let result = try generator.generate([5, 9, 1], .init(maximumTokens: 12))
        let decoder = generator.decoder
        #expect(result.bytesPerToken == decoder.bytesTouchedPerToken(position: 8))
        #expect(result.bytesPerToken - decoder.bytesTouchedPerToken() == 8 * 2 * 16 * 4 * 2)
    }

    @Test func textEndsAtAnEndToken() throws {
        let free = try makeGenerator()
        let tokens = try free.generate([5, 9, 1], .init(maximumTokens: 12)).tokens
        let end = tokens[4]
        let expected = Array(tokens[..<tokens.firstIndex(of: end)!])
        let generator = try makeGenerator(endTokens: [end])
        let result = try generator.generate([5, 9, 1], .init(maximumTokens: 12))
        #expect(result.tokens == expected && result.reason == .endToken(end))
        let stopped = try free.generate([5, 9, 1], .init(maximumTokens: 12, stopTokens: [end]))
        #expect(stopped.tokens == expected)
        let ignoring = try generator.generate([5, 9, 1], .init(maximumTokens: 12, ignoresEnd: true))
        #expect(ignoring.tokens == tokens)
        // What the caller names ends a text, also where the model's own end is passed over.
        let other = try #require(tokens.first { $0 != end && tokens.firstIndex(of: $0)! > tokens.firstIndex(of: end)! })
        let named = try generator.generate(
            [5, 9, 1], .init(maximumTokens: 12, stopTokens: [other], ignoresEnd: true))
        #expect(named.tokens == Array(tokens[..<tokens.firstIndex(of: other)!]) && named.reason == .endToken(other))
    }

    @Test func theReceiverMayStop() throws {
        let result = try makeGenerator().generate([1], .init(maximumTokens: 10)) { _ in false }
        #expect(result.tokens.count == 1 && result.reason == .stopped)
        #expect(throws: LacunaError.cancelled) {
            try makeGenerator().generate([1]) { _ in throw LacunaError.cancelled }
        }
    }

    @Test func speedIsMeasuredPastEveryEnd() throws {
        let free = try makeGenerator()
        let end = try free.generate([5, 9, 1], .init(maximumTokens: 1)).tokens[0]
        let speed = try makeGenerator(endTokens: [end]).measureSpeed(prompt: [5, 9, 1], written: 4, runs: 3)
        #expect(speed.promptTokens == 3 && speed.writtenTokens == 4)
        #expect(speed.reading.count == 3 && speed.writing.count == 3)
        #expect((speed.reading + speed.writing).allSatisfy { $0 > 0 && $0.isFinite })
        #expect(speed.bytesPerToken == (try free.generate([5, 9, 1], .init(maximumTokens: 4)).bytesPerToken))
        #expect(GenerationSpeed.median([4, 1, 3]) == 3 && GenerationSpeed.median([4, 1, 3, 2]) == 2.5)
        #expect(GenerationSpeed.median([]) == 0)
        let same = GenerationSpeed(promptTokens: 1, writtenTokens: 2, reading: [1], writing: [2, 4], bytesPerToken: 10)
        #expect(same.bandwidth == 30)
        for (prompt, written, runs) in [([], 4, 1), ([1], 1, 1), ([1], 4, 0), ([1], 64, 1)] as [([Int], Int, Int)] {
            #expect(throws: LacunaError.self) { try free.measureSpeed(prompt: prompt, written: written, runs: runs) }
        }
    }

    /// A meter counts the run before those that are timed, and is in the way of none of these.
    @Test func metersDoNotSlowDownWhatIsTimed() throws {
        let meter = SkippingMeter()
        let skipping = Skipping(gate: ThresholdGate([.down: 0.1]), meter: meter)
        let generator = Generator(try makeGenerator().decoder, skipping: skipping)
        let speed = try generator.measureSpeed(prompt: [5, 9, 1], written: 4, runs: 3)
        let counted = meter.total
        meter.reset()
        let result = try generator.generate([5, 9, 1], .init(maximumTokens: 4, ignoresEnd: true))
        #expect(counted.vectors > 0 && counted == meter.total && speed.bytesPerToken == result.bytesPerToken)
    }

    @Test func theContextEndsTheText() throws {
        let result = try makeGenerator(positions: 8).generate([1, 2, 3], .init(maximumTokens: 100))
        #expect(result.reason == .contextFull)
        // Five tokens are read after the prompt; the sixth is chosen from the last logits.
        #expect(result.tokens.count == 6)
    }

    @Test func aConversationContinuesInItsSession() throws {
        let generator = try makeGenerator()
        let session = try DecodingSession(generator.decoder, context: 40)
        let first = try generator.generate([1, 2, 3], in: session, .init(maximumTokens: 4)).tokens
        // The last token written was not read yet.
        let second = try generator.generate([first[3], 7], in: session, .init(maximumTokens: 4)).tokens
        #expect(second == (try reference(generator.decoder, [1, 2, 3] + first + [7], count: 4)))
    }

    @Test func badArgumentsAreRefused() throws {
        let generator = try makeGenerator(positions: 8)
        #expect(throws: LacunaError.self) { try generator.generate([]) }
        #expect(throws: LacunaError.self) { try generator.generate([40]) }
        #expect(throws: LacunaError.self) { try generator.generate(Array(repeating: 1, count: 9)) }
        #expect(throws: LacunaError.self) { try generator.generate([1], .init(maximumTokens: -1)) }
        #expect(throws: LacunaError.self) { try generator.generate([1], .init(context: 9)) }
        #expect(throws: LacunaError.self) { try generator.generate("text") { _ in true } }
    }

    @Test func theAsynchronousSequenceHasTheSameTokens() async throws {
        let generator = try makeGenerator()
        let expected = try generator.generate([3, 4], .init(maximumTokens: 9)).tokens
        var tokens: [Int] = []
        for try await token in generator.tokens(after: [3, 4], .init(maximumTokens: 9)) { tokens.append(token) }
        #expect(tokens == expected)
        await #expect(throws: LacunaError.self) {
            for try await _ in generator.tokens(after: []) {}
        }
    }

    @Test func throughputCountsWhatItMeasures() throws {
        let decoder = try makeGenerator().decoder
        let result = try Throughput.measure(decoder, prefill: 8, decode: 4, repetitions: 2)
        #expect(result.prefillTokensPerSecond > 0 && result.decodeTokensPerSecond > 0)
        #expect(result.bytesPerToken == decoder.bytesTouchedPerToken(position: 10))
        #expect(throws: LacunaError.self) { try Throughput.measure(decoder, prefill: 60, decode: 5) }
        #expect(throws: LacunaError.self) { try Throughput.measure(decoder, prefill: 1, decode: 5) }
    }
}
