import LacunaModels
import LacunaTensor
import Testing

@testable import LacunaInfer

struct SiriusTests {
    private let prompt = Skip.tokens(12, seed: 30)

    private func greedy(_ decoder: Transformer, _ count: Int) throws -> [Int] {
        try Generator(decoder).generate(prompt, .init(maximumTokens: count, ignoresEnd: true)).tokens
    }

    private func draft(_ decoder: Transformer, _ share: Double = 0.5) throws -> Skipping {
        Skipping(
            gate: try ActivationGate(neuronsOf: decoder, prompt: prompt, leavingOut: share), meter: SkippingMeter())
    }

    @Test func aThresholdAboveOneIsDenseGreedyWriting() throws {
        let decoder = try Skip.decoder(seed: 2)
        let sirius = try Sirius(decoder, draft: draft(decoder), options: .init(draft: 8, threshold: 1.5))
        let result = try sirius.generate(prompt, maximum: 20)
        #expect(try result.tokens == greedy(decoder, 20))
        #expect(result.rounds == 20 && result.acceptedLength == 1)
    }

    @Test func aDraftByTheDenseModelIsNeverRejected() throws {
        let decoder = try Skip.decoder(seed: 2)
        let sirius = try Sirius(decoder, draft: Skipping(), options: .init(draft: 8, threshold: 1e-3))
        let result = try sirius.generate(prompt, maximum: 24)
        #expect(try result.tokens == greedy(decoder, 24))
        #expect(result.rejected == 0 && result.rounds == 3 && result.drafted == 21 && result.acceptedLength == 8)
        #expect(abs(result.effectiveDensity(0.5) - (21 * 0.5 + 3) / 24) < 1e-12)
    }

    @Test func aThresholdOfZeroAcceptsEverything() throws {
        let decoder = try Skip.decoder(seed: 2)
        let skipping = try draft(decoder)
        let sirius = try Sirius(decoder, draft: skipping, options: .init(draft: 5, threshold: 0))
        let result = try sirius.generate(prompt, maximum: 15)
        #expect(result.rejected == 0 && result.rounds == 3 && result.tokens.count == 15)
        // Half of the neurons, and with them up and down, were left out while drafting.
        let up = skipping.meter!.total(.up)
        #expect(abs(up.sparsity - 0.5) < 1e-9 && up.vectors == 12 * 2)
        // Each round begins with the dense model's own choice after what was accepted.
        for round in 0..<3 {
            let logits = try decoder.logits(prompt + result.tokens[..<(round * 5)])
            let row = logits.rows(logits.rows - 1..<logits.rows).scalars
            #expect(result.tokens[round * 5] == row.indices.max { row[$0] < row[$1] })
        }
    }

    /// Every accepted token is plausible to the dense model given what comes before it; the first that is not is replaced by
    /// the dense model's choice.
    @Test func acceptedTokensArePlausible() throws {
        let decoder = try Skip.decoder(seed: 4)
        let sirius = try Sirius(decoder, draft: draft(decoder, 0.8), options: .init(draft: 6, threshold: 0.05))
        let result = try sirius.generate(prompt, maximum: 30)
        let logits = try decoder.logits(prompt + result.tokens)
        for (i, token) in result.tokens.enumerated() {
            let row = logits.rows(prompt.count + i - 1..<prompt.count + i).scalars.map { Double($0) / 0.6 }
            let sum = row.reduce(0) { $0 + exponential($1) }
            let isBest = row[token] == row.max()!
            #expect(isBest || exponential(row[token]) / sum >= 0.0499)
        }
        #expect(result.rejected > 0 && result.tokens.count == 30)
        #expect(result.rounds > 5 && result.rounds < 30)
    }

    @Test func judging() throws {
        let decoder = try Skip.decoder()
        let sirius = try Sirius(decoder, draft: Skipping(), options: .init(threshold: 0.2, temperature: 0.5))
        // Probabilities at half the temperature: logit differences count twice.
        func row(_ favourite: Int, _ other: Int, _ gap: Float) -> [Float] {
            (0..<60).map { $0 == favourite ? 5 : $0 == other ? 5 - gap : -50 }
        }
        // Row i judges token i + 1: e^-2·0.6 = 0.30 → share 0.23; e^-2·0.8 → 0.168.
        let logits = Tensor<Float>(row(1, 2, 0.6) + row(3, 4, 0.8) + row(0, 0, 0), shape: [3, 60])
        #expect(sirius.plausible([9, 2, 3], logits) == 3)
        #expect(sirius.plausible([9, 2, 4], logits) == 2)
        #expect(sirius.plausible([9, 4, 3], logits) == 1)
        #expect(sirius.plausible([9], logits) == 1)
        for bad in [Sirius.Options(draft: 0), .init(threshold: -1), .init(temperature: 0)] {
            #expect(throws: LacunaError.self) { try Sirius(decoder, draft: Skipping(), options: bad) }
        }
    }

    @Test func textsEndWhereTheyAreStopped() throws {
        let decoder = try Skip.decoder(seed: 2)
        let expected = try greedy(decoder, 20)
        let stop = expected[9]
        let first = expected.firstIndex(of: stop)!
        let sirius = try Sirius(decoder, draft: Skipping(), options: .init(draft: 8))
        let result = try sirius.generate(prompt, maximum: 20, stops: [stop])
        #expect(result.tokens == Array(expected[..<first]) && result.endToken == stop)
        var seen: [Int] = []
        let stopped = try sirius.generate(prompt, maximum: 20) {
            seen.append($0)
            return seen.count < 5
        }
        #expect(stopped.tokens == Array(expected[..<5]) && seen == stopped.tokens)
        // The context is full before the maximum is reached.
        let long = try sirius.generate(Skip.tokens(120, seed: 1), maximum: 50)
        #expect(long.tokens.count == 8)
        #expect(throws: LacunaError.self) { try sirius.generate([], maximum: 5) }
    }

    /// After drafts that were accepted, and others that were taken back, every key and value is the whole model's.
    @Test(arguments: [0, 0.05, 1.5]) func keysAndValuesAreTheWholeModels(threshold: Double) throws {
        let decoder = try Skip.decoder(seed: 4)
        let kept = Locked<(any KeyValueStore)?>(nil)
        var skipping = try draft(decoder, 0.8)
        skipping.store = { shape in
            let store = KeyValueCache(shape)
            kept.withLock { $0 = store }
            return store
        }
        let sirius = try Sirius(decoder, draft: skipping, options: .init(draft: 6, threshold: threshold))
        let result = try sirius.generate(prompt, maximum: 30)
        #expect((result.rejected > 0) == (threshold > 0))
        let store = try #require(kept.withLock { $0 })
        let text = prompt + result.tokens
        #expect(store.count == text.count)
        let dense = try DecodingSession(decoder, context: text.count)
        try dense.prefill(text)
        for layer in 0..<2 {
            for head in 0..<2 {
                let (a, b) = (
                    store.view(layer: layer, head: head, positions: 0..<text.count),
                    dense.cache.view(layer: layer, head: head, positions: 0..<text.count)
                )
                for i in 0..<text.count * 8 {
                    #expect(abs(a.keys[i] - b.keys[i]) < 1e-5 * (1 + abs(b.keys[i])))
                    #expect(abs(a.values[i] - b.values[i]) < 1e-5 * (1 + abs(b.values[i])))
                }
                withExtendedLifetime((a, b)) {}
            }
        }
    }

    /// Sums of the attention that was paid do not survive the overwriting of drafts.
    @Test func draftsByPaidAttentionAreRefused() throws {
        let decoder = try Skip.decoder(seed: 2)
        let alisa = try ALISA(share: 0.4)
        for selector: any KeySelector in [alisa, PromptsApart(written: alisa, prompts: AllKeys())] {
            #expect(throws: LacunaError.self) { try Sirius(decoder, draft: Skipping(selector: selector)) }
        }
        _ = try Sirius(decoder, draft: Skipping(selector: PromptsApart(written: AllKeys(), prompts: alisa)))
    }

    /// The neurons with the largest normalised share over the prompt.
    @Test func neuronsOfAPrompt() throws {
        let decoder = try Skip.decoder(seed: 6)
        let gate = try ActivationGate(neuronsOf: decoder, prompt: prompt, leavingOut: 0.75)
        var states = try decoder.embed(prompt)
        var scores = [Double](repeating: 0, count: 64)
        try decoder.runBlock(0, hidden: &states, sequenceLength: 12) { names, inputs, count in
            guard names[0].contains("down") else { return }
            for row in 0..<count {
                let h = (0..<64).map { Double(inputs[row * 64 + $0]) }
                let size = h.reduce(0) { $0 + $1 * $1 }
                for j in 0..<64 { scores[j] += h[j] * h[j] / size }
            }
        }
        let best = Set((0..<64).sorted { scores[$0] > scores[$1] }.prefix(16).map { UInt32($0) })
        let any: [Float] = [0]
        let chosen = gate.neurons(preactivations: any, activations: any, count: 64, layer: 0)
        #expect(Set(chosen!) == best && chosen! == chosen!.sorted())
        #expect(gate.active(any, count: 1, layer: 0, roles: [.gate, .up]) == nil)
        #expect(throws: LacunaError.self) {
            try ActivationGate(neuronsOf: decoder, prompt: [], leavingOut: 0.5)
        }
    }
}
