import LacunaModels
import LacunaTensor
import Testing

/// Predictions of two models against each other, by the definitions in double precision.
@Suite struct FidelityTests {
    private static func model(_ seed: UInt64, vocabulary: Int = 60) throws -> Transformer {
        try Transformer(
            random: TransformerConfiguration(
                vocabularySize: vocabulary, hiddenSize: 16, intermediateSizes: [24, 24], headCount: 2,
                keyValueHeadCount: 1, headSize: 8, maximumPositions: 64, tiedEmbeddings: true), seed: seed)
    }

    // Windows of 20, and a rest of 11.
    private static let tokens = (0..<151).map { ($0 * 37 + $0 / 7) % 60 }

    private func logSoftmax(_ row: [Double]) -> [Double] {
        let most = row.max()!
        let sum = row.reduce(0) { $0 + exponential($1 - most) }
        return row.map { $0 - most - logarithm(sum) }
    }

    @Test func aModelKeepsAllOfItself() throws {
        let model = try Self.model(1)
        let own = try PredictionReference(model, tokens: Self.tokens, window: 20).compare(model)
        #expect(own.divergence < 1e-7 && own.agreement == 1)
        let perplexity = try Perplexity.measure(model, tokens: Self.tokens, window: 20)
        #expect(own.tokens == perplexity.tokens)
        #expect(abs(own.perplexity - perplexity.value) < 1e-6 * perplexity.value)
    }

    @Test func theNumbersAreTheirDefinitions() throws {
        let (dense, other) = (try Self.model(1), try Self.model(2))
        let found = try PredictionReference(dense, tokens: Self.tokens, window: 20).compare(other)
        var (divergence, loss, agreeing, count) = (0.0, 0.0, 0, 0)
        for start in stride(from: 0, to: Self.tokens.count, by: 20) {
            let window = Array(Self.tokens[start..<min(start + 20, Self.tokens.count)])
            let (p, q) = (try dense.logits(window), try other.logits(window))
            for row in 0..<window.count - 1 {
                let a = logSoftmax((0..<60).map { Double(p[row, $0]) })
                let b = logSoftmax((0..<60).map { Double(q[row, $0]) })
                divergence += (0..<60).reduce(0) { $0 + exponential(a[$1]) * (a[$1] - b[$1]) }
                loss -= b[window[row + 1]]
                agreeing += a.firstIndex(of: a.max()!) == b.firstIndex(of: b.max()!) ? 1 : 0
                count += 1
            }
        }
        #expect(found.tokens == count && count == 151 - 8)
        #expect(abs(found.divergence - divergence / Double(count)) < 1e-5 * found.divergence)
        #expect(abs(found.perplexity - exponential(loss / Double(count))) < 1e-5 * found.perplexity)
        #expect(abs(found.agreement - Double(agreeing) / Double(count)) < 1e-12)
        // The divergence is not the same the other way round.
        let back = try PredictionReference(other, tokens: Self.tokens, window: 20).compare(dense)
        #expect(abs(back.divergence - found.divergence) > 1e-3 * found.divergence)
        #expect(back.agreement == found.agreement)
    }

    @Test func whatCannotBeComparedIsRefused() throws {
        let model = try Self.model(1)
        #expect(throws: LacunaError.self) { try PredictionReference(model, tokens: [1], window: 20) }
        #expect(throws: LacunaError.self) { try PredictionReference(model, tokens: Self.tokens, window: 65) }
        #expect(throws: LacunaError.self) { try PredictionReference(model, tokens: Self.tokens, window: 1) }
        #expect(throws: LacunaError.self) { try PredictionReference(model, tokens: [1, 60], window: 2) }
        let reference = try PredictionReference(model, tokens: Self.tokens, window: 20)
        #expect(throws: LacunaError.self) { try reference.compare(Self.model(1, vocabulary: 61)) }
    }
}
