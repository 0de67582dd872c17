import LacunaDictionary
import Testing

@testable import LacunaDictionary

@Suite struct SteeringTests {
    private static let configuration = TransformerConfiguration(
        vocabularySize: 20, hiddenSize: 12, intermediateSizes: [16, 16, 16], headCount: 3, keyValueHeadCount: 3,
        headSize: 4, maximumPositions: 32, tiedEmbeddings: true)
    private let model = try! Transformer(random: configuration, seed: 1)
    private let tokens = (0..<14).map { ($0 * $0 + 3 * $0 + $0 / 7) % 20 }

    private func dictionary(_ rule: SelectionRule = .topK(4)) throws -> SparseAutoencoder {
        let a = try SparseAutoencoder(.init(inputDimensions: 12, width: 30, rule: rule), seed: 1)
        a.decoderBias.value = normal([12], seed: 3).multiplied(byNumber: 0.01)
        return a
    }

    /// Read in pieces and token by token, an engine that is watched gives what whole sequences with a visitor give.
    @Test(arguments: ActivationSite.Part.allCases) func anEngineIsWatched(part: ActivationSite.Part) throws {
        let site = ActivationSite(layer: 1, part)
        let moved: @Sendable (inout Tensor<Float>, [Int]) -> Void = { values, positions in
            for (row, position) in positions.enumerated() where position >= 2 {
                for i in 0..<values.columns { values[row, i] += 0.3 * Float((position + i) % 3) }
            }
        }
        let whole = try model.hiddenStates(tokens, sequenceLength: 14, sites: [site]) { _, values in
            moved(&values, Array(0..<14))
            return true
        }
        let expected = model.logits(whole, rows: 0..<14)
        let watch = ActivationWatch(sites: [site]) { found, positions, values in
            #expect(found == site && positions.count == values.rows)
            moved(&values, positions)
            return true
        }
        let session = try DecodingSession(TokenEngine(model, watch: watch), context: 14)
        var rows: [Float] = []
        for range in [0..<5, 5..<6, 6..<7, 7..<14] { rows += try session.verify(Array(tokens[range])).scalars }
        expectClose(Tensor(rows, shape: [14, 20]), expected, 1e-4)
        #expect(
            zip(rows, model.logits(try model.hiddenStates(tokens, sequenceLength: 14), rows: 0..<14).scalars)
                .contains { abs($0 - $1) > 1e-2 })
        // Watching without replacing changes nothing.
        let idle = ActivationWatch(sites: [site]) { _, _, values in
            values = values.multiplied(byNumber: 9)
            return false
        }
        let (plain, watched) = (
            try DecodingSession(model, context: 14), try DecodingSession(TokenEngine(model, watch: idle), context: 14)
        )
        #expect(try plain.verify(tokens) == watched.verify(tokens))
    }

    @Test(arguments: [SelectionRule.topK(4), .absTopK(4), .relu]) func featuresAreHeld(rule: SelectionRule) throws {
        let a = try dictionary(rule)
        let site = ActivationSite(layer: 0, .residual)
        let x: Tensor<Float> = normal([9, 12], seed: 5)
        let code = try a.encode(x).densified()
        let active = (0..<30).first { code[4, $0] != 0 }!
        let strengths: [Int: Float] = [active: 0, active == 7 ? 8 : 7: 3.5]
        let steering = try FeatureSteering(a, of: model, at: site, strengths: strengths)
        let found = try steering.steered(x)
        var expected = x
        for t in 0..<9 {
            for (j, v) in strengths {
                for i in 0..<12 { expected[t, i] += (v - code[t, j]) * a.decoderWeight.value[j, i] }
            }
        }
        expectClose(found, expected, 1e-5)
        // Held at what they are, features change nothing, and the beginning of a text stays as it is.
        #expect(try FeatureSteering(a, of: model, at: site, strengths: [:]).steered(x) == x)
        var values = x
        #expect(try steering.watch.visit(site, Array(0..<9), &values))
        #expect(values.rows(0..<1) == x.rows(0..<1))
        expectClose(values.rows(1..<9), expected.rows(1..<9), 1e-5)
        var first = x.rows(0..<1)
        #expect(try !steering.watch.visit(site, [0], &first))
    }

    @Test func whatCannotBeSteeredIsRefused() throws {
        let a = try dictionary()
        func refused(_ site: ActivationSite, _ strengths: [Int: Float], skipping: Int = 1) {
            #expect(throws: LacunaError.self) {
                _ = try FeatureSteering(a, of: model, at: site, strengths: strengths, skipping: skipping)
            }
        }
        let site = ActivationSite(layer: 0, .residual)
        refused(site, [30: 1])
        refused(site, [-1: 1])
        refused(site, [2: .infinity])
        refused(site, [2: 1], skipping: -1)
        refused(ActivationSite(layer: 3, .residual), [2: 1])
        let narrow = try SparseAutoencoder(.init(inputDimensions: 8, width: 30, rule: .topK(4)), seed: 1)
        #expect(throws: LacunaError.self) { _ = try FeatureSteering(narrow, of: model, at: site, strengths: [2: 1]) }
        #expect(throws: LacunaError.self) {
            _ = try FeatureAttribution(a, of: model, at: ActivationSite(layer: 0, .attention))
        }
        let attribution = try FeatureAttribution(a, of: model, at: site)
        #expect(throws: LacunaError.self) { _ = try attribution.explain(tokens, from: 0) }
        #expect(throws: LacunaError.self) { _ = try attribution.explain(tokens, from: 15) }
        #expect(try attribution.explain(tokens, from: 14).isEmpty)
    }

    /// Effects are what differences give when a feature's strength, or all of the error, is changed by a little.
    @Test(arguments: [
        ActivationSite(layer: 0, .residual), ActivationSite(layer: 2, .residual), ActivationSite(layer: 1, .mlp),
    ]) func effectsAreDerivatives(site: ActivationSite) throws {
        let a = try dictionary()
        let written = try FeatureAttribution(a, of: model, at: site).explain(tokens, from: 10, effects: 8)
        #expect(written.map(\.position) == [10, 11, 12, 13] && written.map(\.token) == Array(tokens[10...]))
        var x = Tensor<Float>(zeros: [0, 0])
        /// The logit less the mean with something added at the site.
        func logit(_ place: Int, _ change: (inout Tensor<Float>) -> Void) throws -> Double {
            let hidden = try model.hiddenStates(Array(tokens[..<place]), sequenceLength: place, sites: [site]) {
                _, values in
                x = values
                change(&values)
                return true
            }
            let logits = model.logits(hidden, rows: place - 1..<place).scalars
            return Double(logits[tokens[place]]) - logits.reduce(0.0) { $0 + Double($1) } / 20
        }
        func slope(_ place: Int, _ direction: @escaping (Int, Int) -> Float) throws -> Double {
            let values = try [Float(0.02), -0.02].map { step in
                try logit(place) { x in
                    for t in 0..<x.rows { for i in 0..<x.columns { x[t, i] += step * direction(t, i) } }
                }
            }
            return (values[0] - values[1]) / 0.04
        }
        for one in written {
            #expect(abs(try logit(one.position) { _ in } - one.logit) < 1e-4)
            let code = try a.encode(x).densified()
            let error = x.subtracting(try a.reconstruct(x))
            let scale = max(one.effects.map { abs($0.effect) }.max() ?? 0, 1e-3)
            #expect(
                one.effects.count == 8
                    && one.effects.map { abs($0.effect) } == one.effects.map { abs($0.effect) }.sorted(by: >))
            for effect in one.effects {
                #expect(effect.position >= 1 && effect.position < one.position)
                #expect(abs(effect.strength - code[effect.position, effect.feature]) < 1e-5)
                let found = try slope(one.position) { t, i in
                    t == effect.position ? effect.strength * a.decoderWeight.value[effect.feature, i] : 0
                }
                #expect(abs(found - effect.effect) < 0.03 * scale, "\(found), \(effect)")
            }
            let missed = try slope(one.position) { t, i in t == 0 ? 0 : error[t, i] }
            #expect(abs(missed - one.missed) < 0.03 * max(scale, abs(missed)))
            let all = try FeatureAttribution(a, of: model, at: site).explain(tokens, from: one.position, effects: 1000)[
                0]
            #expect(abs(all.effects.reduce(0) { $0 + $1.effect } - one.explained) < 1e-9)
            #expect(all.effects.count > 8)
        }
    }
}
