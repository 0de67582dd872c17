import LacunaModels
import LacunaSparse
import LacunaTensor
import Testing

struct TransformerTests {
    @Test(arguments: Fixture.all)
    func logitsEqualTransformers(_ fixture: Fixture) throws {
        let decoder = try Transformer.load(fixture.path, weights: .f32)
        let (tokens, logits) = try fixture.expected()
        #expect(relativeError(try decoder.logits(tokens), logits) < 1e-5)
    }

    @Test(arguments: Fixture.all)
    func decodingEqualsTransformers(_ fixture: Fixture) throws {
        let decoder = try Transformer.load(fixture.path, weights: .f32)
        let (tokens, logits) = try fixture.expected()
        let session = try DecodingSession(decoder, context: tokens.count)
        for (i, token) in tokens.enumerated() {
            try session.decode(token)
            let row = Tensor(Array(session.logits), shape: [1, logits.columns])
            #expect(relativeError(row, logits.rows(i..<i + 1)) < 1e-5, "position \(i)")
        }
    }

    @Test(arguments: Fixture.all, [1, 2, 7, 23])
    func prefillThenDecodeEqualsTransformers(_ fixture: Fixture, prompt: Int) throws {
        let decoder = try Transformer.load(fixture.path, weights: .f32)
        let (tokens, logits) = try fixture.expected()
        let session = try DecodingSession(decoder, context: 64)
        try session.prefill(Array(tokens[..<prompt]))
        // A second piece of prompt meets a cache that is not empty.
        let piece = min(prompt + 5, tokens.count - 1)
        if piece > prompt { try session.prefill(Array(tokens[prompt..<piece])) }
        for token in tokens[max(piece, prompt)...] { try session.decode(token) }
        let last = Tensor(Array(session.logits), shape: [1, logits.columns])
        #expect(relativeError(last, logits.rows(tokens.count - 1..<tokens.count)) < 1e-5)
    }

    @Test func sequencesOfABatchDoNotSeeEachOther() throws {
        let decoder = try makeDecoder(seed: 1)
        let (a, b) = ([3, 9, 20, 41], [7, 7, 0, 49])
        let both = try decoder.hiddenStates(a + b, sequenceLength: 4)
        #expect(relativeError(both.rows(0..<4), try decoder.hiddenStates(a, sequenceLength: 4)) < 1e-6)
        #expect(relativeError(both.rows(4..<8), try decoder.hiddenStates(b, sequenceLength: 4)) < 1e-6)
    }

    @Test func laterTokensDoNotChangeEarlierLogits() throws {
        let decoder = try makeDecoder(seed: 2, slidingWindow: 3)
        let long = try decoder.logits([5, 6, 7, 8, 9, 10])
        let short = try decoder.logits([5, 6, 7])
        #expect(relativeError(long.rows(0..<3), short) < 1e-6)
    }

    @Test func aSlidingWindowHidesWhatIsBeforeIt() throws {
        // One layer, so that nothing older arrives through the residual stream.
        let decoder = try makeDecoder(seed: 3, intermediateSizes: [20], slidingWindow: 2)
        let a = try decoder.logits([5, 6, 7, 8])
        let b = try decoder.logits([9, 6, 7, 8])
        #expect(relativeError(a.rows(2..<4), b.rows(2..<4)) < 1e-6)
        #expect(relativeError(a.rows(1..<2), b.rows(1..<2)) > 1e-3)
    }

    @Test func bothRotaryLayoutsAgreeOnReorderedRows() throws {
        let halves = try makeDecoder(seed: 4)
        var interleaved = try makeDecoder(seed: 4, rotary: .init(layout: .interleaved))
        for name in halves.linearNames where name.contains("q_proj") || name.contains("k_proj") {
            let weight = halves[linear: name].densified()
            var reordered = Tensor<Float>(zeros: weight.shape)
            for row in 0..<weight.rows {
                let (head, entry) = (row / 10, row % 10)
                for c in 0..<weight.columns { reordered[head * 10 + entry % 5 * 2 + entry / 5, c] = weight[row, c] }
            }
            interleaved[linear: name] = try WeightStore.make(reordered, layout: .dense, values: .f32)
        }
        let tokens = [4, 8, 15, 16, 23, 42]
        #expect(relativeError(try interleaved.logits(tokens), try halves.logits(tokens)) < 1e-5)
    }

    @Test func blocksOneByOneEqualTheWholeAndNameTheirInputs() throws {
        let decoder = try makeDecoder(seed: 5)
        let tokens = [1, 2, 3, 4, 5, 6]
        var hidden = try decoder.embed(tokens)
        var seen: [(names: [String], count: Int)] = []
        for layer in decoder.blocks.indices {
            let before = hidden
            var normalized: [Float] = []
            try decoder.runBlock(layer, hidden: &hidden, sequenceLength: 3) { names, inputs, count in
                seen.append((names, count))
                if names.count == 3 {
                    normalized = Array(UnsafeBufferPointer(start: inputs, count: count * 24))
                }
            }
            for row in 0..<6 {
                let x = (0..<24).map { before[row, $0] }
                let scale = 1 / (x.reduce(0) { $0 + $1 * $1 } / 24 + 1e-5).squareRoot()
                for c in 0..<24 {
                    let expected = x[c] * scale * decoder.blocks[layer].attentionNorm.weight[c]
                    #expect(abs(normalized[row * 24 + c] - expected) < 1e-4)
                }
            }
        }
        #expect(relativeError(hidden, try decoder.hiddenStates(tokens, sequenceLength: 3)) < 1e-6)
        let prefix = "model.layers.2."
        #expect(
            seen.suffix(4).map(\.names)
                == [
                    ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"], ["self_attn.o_proj"],
                    ["mlp.gate_proj", "mlp.up_proj"], ["mlp.down_proj"],
                ].map { $0.map { prefix + $0 + ".weight" } })
        #expect(seen.count == 12 && seen.allSatisfy { $0.count == 6 })
    }

    @Test func anObserversErrorStopsTheBlock() throws {
        let decoder = try makeDecoder(seed: 6)
        var hidden = try decoder.embed([1, 2])
        #expect(throws: LacunaError.cancelled) {
            try decoder.runBlock(0, hidden: &hidden, sequenceLength: 2) { _, _, _ in throw LacunaError.cancelled }
        }
    }

    @Test func tokensOutsideTheVocabularyAreRefused() throws {
        let decoder = try makeDecoder(seed: 7)
        for token in [-1, 50, Int.max] {
            #expect(throws: LacunaError.self) { try decoder.logits([1, token]) }
            let session = try DecodingSession(decoder, context: 4)
            #expect(throws: LacunaError.self) { try session.decode(token) }
            #expect(throws: LacunaError.self) { try session.prefill([1, token]) }
            #expect(session.cache.count == 0)
        }
    }

    @Test func theContextIsBounded() throws {
        let decoder = try makeDecoder(seed: 8, maximumPositions: 8)
        #expect(throws: LacunaError.self) { try KeyValueCache(decoder.configuration, capacity: 9) }
        #expect(throws: LacunaError.self) { try KeyValueCache(decoder.configuration, capacity: 0) }
        #expect(throws: LacunaError.self) { try decoder.logits(Array(repeating: 1, count: 9)) }
        let session = try DecodingSession(decoder, context: 4)
        #expect(throws: LacunaError.self) { try session.prefill([]) }
        #expect(throws: LacunaError.self) { try session.prefill([1, 2, 3, 4, 5]) }
        try session.prefill([1, 2, 3, 4])
        let full = Array(session.logits)
        #expect(throws: LacunaError.self) { try session.decode(5) }
        session.reset()
        for token in [1, 2, 3, 4] { try session.decode(token) }
        #expect(zip(full, session.logits).allSatisfy { abs($0 - $1) < 1e-4 })
        #expect(session.cache.byteCount == 2 * 3 * 2 * 10 * 4 * 4)
    }

    @Test func resultsDoNotDependOnTheNumberOfThreads() throws {
        let decoder = try makeDecoder(seed: 9)
        let tokens = (0..<40).map { $0 * 7 % 50 }
        let before = Parallel.threads
        defer { Parallel.threads = before }
        Parallel.threads = 1
        let one = try decoder.logits(tokens)
        Parallel.threads = 2
        #expect(try decoder.logits(tokens) == one)
    }
}
