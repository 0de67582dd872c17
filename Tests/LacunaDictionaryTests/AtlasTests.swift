import LacunaDictionary
import Testing

@testable import LacunaDictionary

@Suite struct AtlasTests {
    private let configuration = TransformerConfiguration(
        vocabularySize: 20, hiddenSize: 12, intermediateSizes: [16, 16], headCount: 3, keyValueHeadCount: 3,
        headSize: 4,
        maximumPositions: 16, tiedEmbeddings: true)

    @Test(arguments: [ActivationSite.Part.residual, .attention]) func whatIsShownIsWhatIsThere(
        part: ActivationSite.Part
    ) throws {
        let model = try Transformer(random: configuration, seed: 1)
        let tokens = (0..<64).map { ($0 * $0 + 3 * $0 + $0 / 7) % 20 }
        let site = ActivationSite(layer: 0, part)
        let a = try SparseAutoencoder(.init(inputDimensions: 12, width: 30, rule: .topK(3)), seed: 1)
        let atlas = try FeatureAtlas(
            of: a, in: model, model: "tiny", at: site, tokens: tokens, context: 8, skipping: 2, contexts: 3, radius: 2,
            effects: 4)
        #expect(atlas.tokens == 48 && atlas.width == 30)
        // Codes of every token by themselves.
        var codes = Tensor<Float>(zeros: [64, 30])
        for s in 0..<8 {
            _ = try model.hiddenStates(Array(tokens[s * 8..<(s + 1) * 8]), sequenceLength: 8, sites: [site], upTo: 1) {
                _, x in
                let code = try a.encode(x).densified()
                for t in 2..<8 { for j in 0..<30 { codes[s * 8 + t, j] = code[t, j] } }
                return false
            }
        }
        var directions = a.decoderWeight.value
        if part == .attention {
            directions = directions.multiplied(
                by: model.blocks[0].attention.output.weight.densified(), otherTransposed: true)
        }
        let logits = directions.multiplied(by: model.head.densified(), otherTransposed: true)
        #expect(atlas.features.map(\.index) == (0..<30).filter { j in (0..<64).contains { codes[$0, j] != 0 } })
        for feature in atlas.features {
            let j = feature.index
            let active = (0..<64).filter { codes[$0, j] != 0 }
            #expect(abs(feature.density - Double(active.count) / 48) < 1e-9)
            let best = active.max { codes[$0, j] < codes[$1, j] }!
            #expect(abs(feature.maximum - codes[best, j]) < 1e-5)
            // The first place, from its sequence alone, two tokens on both sides.
            let first = feature.contexts[0]
            let (from, to) = (max(best / 8 * 8, best - 2), min(best / 8 * 8 + 8, best + 3))
            #expect(first.tokens == Array(tokens[from..<to]) && first.peak == best - from)
            for (i, t) in (from..<to).enumerated() { #expect(abs(first.strengths[i] - codes[t, j]) < 1e-5) }
            // One place a sequence, in order of strength.
            #expect(feature.contexts.count == min(3, Set(active.map { $0 / 8 }).count))
            let peaks = feature.contexts.map { $0.strengths[$0.peak] }
            #expect(peaks == peaks.sorted(by: >))
            // Logit effects.
            let order = (0..<20).sorted { logits[j, $0] > logits[j, $1] }
            let raised = order.prefix(4).filter { logits[j, $0] > 0 }
            #expect(feature.raised.map(\.token) == Array(raised))
            for (token, effect) in feature.raised { #expect(abs(effect - logits[j, token]) < 1e-4) }
            let lowered = order.reversed().prefix(4).filter { logits[j, $0] < 0 }
            #expect(feature.lowered.map(\.token) == Array(lowered))
            for (token, effect) in feature.lowered { #expect(abs(effect - logits[j, token]) < 1e-4) }
            // Nearest directions.
            let cosine = { (i: Int) in
                (0..<12).reduce(Float(0)) { $0 + a.decoderWeight.value[i, $1] * a.decoderWeight.value[j, $1] }
            }
            let nearest = (0..<30).filter { $0 != j && cosine($0) > 0 }.sorted { cosine($0) > cosine($1) }.prefix(5)
            #expect(feature.nearest.map(\.feature) == Array(nearest))
            // Shares of tokens.
            var shares: [Int: Double] = [:]
            for t in active { shares[tokens[t], default: 0] += Double(codes[t, j]) }
            let total = shares.values.reduce(0, +)
            #expect(abs(feature.tokens[0].share - shares.values.max()! / total) < 1e-5)
            #expect(feature.tokens.count == min(8, shares.count))
        }
        // The page holds it all, and no text can end a script.
        let page = atlas.page { $0 == 3 ? "</script>&\"@INDEX@" : "t\($0)" }
        #expect(page.components(after: "</script>") == 4)
        func embedded(_ id: String) throws -> String {
            let start = try #require(page.range(of: "id=\"\(id)\">")).upperBound
            return String(page[start...].prefix { $0 != "<" })
        }
        let texts = try JSONValue(parsing: embedded("tokens")).arrayValue!
        let index = try JSONValue(parsing: embedded("index")).arrayValue!
        let lines = try embedded("lines").split(separator: "\n").map { try JSONValue(parsing: String($0)) }
        #expect(index.count == atlas.features.count && lines.count == index.count)
        for (i, feature) in atlas.features.enumerated() {
            #expect(index[i].arrayValue![0].intValue == feature.index)
            let context = lines[i].arrayValue![0].arrayValue![0].arrayValue!
            let shown = context[0].arrayValue!.map { texts[$0.intValue!].stringValue! }
            #expect(shown == feature.contexts[0].tokens.map { $0 == 3 ? "</script>&\"@INDEX@" : "t\($0)" })
            // The strongest token has the whole of the maximum.
            let strengths = context[1].arrayValue!.map { $0.intValue! }
            let peak = context[2].intValue!
            let place = stride(from: 0, to: strengths.count, by: 2).first { strengths[$0] == peak }!
            #expect(strengths[place + 1] == 100)
            #expect(lines[i].arrayValue![6].arrayValue!.count == feature.phrases.count)
        }
        #expect(throws: LacunaError.self) {
            try FeatureAtlas(of: a, in: model, model: "tiny", at: site, tokens: [1], context: 8)
        }
        #expect(throws: LacunaError.self) {
            try FeatureAtlas(
                of: a, in: model, model: "tiny", at: ActivationSite(layer: 5, .residual), tokens: tokens, context: 8)
        }
    }

    /// Phrases, by looking for each in the text.
    @Test func phrasesAreThoseOfTheText() throws {
        let model = try Transformer(random: configuration, seed: 1)
        var generator = SeededGenerator(seed: 6)
        let tokens = (0..<320).map { _ in Int(generator.uniform() * 4) }
        let site = ActivationSite(layer: 0, .residual)
        let a = try SparseAutoencoder(.init(inputDimensions: 12, width: 30, rule: .topK(3)), seed: 1)
        let atlas = try FeatureAtlas(of: a, in: model, model: "tiny", at: site, tokens: tokens, context: 8, skipping: 2)
        var codes = Tensor<Float>(zeros: [320, 30])
        _ = try model.hiddenStates(tokens, sequenceLength: 8, sites: [site], upTo: 1) { _, x in
            codes = try a.encode(x).densified()
            return false
        }
        var seen = 0
        for feature in atlas.features {
            let j = feature.index
            let active = (0..<320).filter { $0 % 8 >= 2 && codes[$0, j] != 0 }
            let total = active.reduce(0) { $0 + Double(codes[$1, j]) }
            func strength(_ phrase: [Int]) -> (share: Double, count: Int) {
                let ends = active.filter {
                    $0 + 1 >= phrase.count && $0 % 8 + 1 >= phrase.count
                        && Array(tokens[$0 + 1 - phrase.count...$0]) == phrase
                }
                return (ends.reduce(0) { $0 + Double(codes[$1, j]) } / total, ends.count)
            }
            for phrase in feature.phrases {
                let found = strength(phrase.tokens)
                #expect(found.count >= 2 && abs(found.share - phrase.share) < 1e-4)
                #expect((2...3).contains(phrase.tokens.count))
                let longer = (0..<4).map { strength([$0] + phrase.tokens) }.filter { $0.count > 1 }.map(\.share)
                #expect(phrase.tokens.count == 3 || (longer.max() ?? 0) < 0.75 * phrase.share + 1e-6)
            }
            let shares = feature.phrases.map(\.share)
            #expect(shares == shares.sorted(by: >) && shares.count <= 5)
            let pairs = Set(active.map { Array(tokens[$0 - 1...$0]) }).map(strength).filter { $0.count >= 2 }.map(
                \.share)
            if let best = pairs.max() {
                #expect((shares.first ?? 0) >= 0.75 * best - 1e-6)
                seen += 1
            }
        }
        #expect(seen > 3)
    }
}

extension String {
    /// How often a text occurs.
    fileprivate func components(after text: String) -> Int { ranges(of: text).count }

    fileprivate func range(of text: String) -> Range<Index>? { firstRange(of: text) }
}
