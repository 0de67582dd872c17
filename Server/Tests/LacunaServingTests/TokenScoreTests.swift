import LacunaTensor
import Testing

@testable import LacunaServing

struct TokenScoreTests {
    private func score(_ logits: [Float], _ token: Int, _ count: Int) throws -> TokenScore {
        var copy = logits
        return try copy.withUnsafeMutableBufferPointer { try TokenScore(token, logits: $0, alternatives: count) }
    }

    @Test func logarithmsOfTheSoftmax() throws {
        var generator = SeededGenerator(seed: 1)
        let logits = (0..<101).map { _ in Float(4 * generator.normal()) }
        let sum = logits.reduce(0.0) { $0 + exponential(Double($1)) }
        let sorted = logits.indices.sorted { logits[$0] > logits[$1] }
        for token in [0, 17, sorted[0], sorted[100]] {
            let found = try score(logits, token, 3)
            #expect(abs(found.logProbability - (Double(logits[token]) - naturalLogarithm(sum))) < 1e-5)
            #expect(found.alternatives.map(\.token) == Array(sorted[..<3]))
            // What is most probable has exactly the number that a client compares with.
            if token == sorted[0] { #expect(found.alternatives[0].logProbability == found.logProbability) }
        }
        #expect(try score(logits, 4, 0).alternatives.isEmpty)
    }

    @Test func equalLogitsAndExtremes() throws {
        let even = try score([2, 2, 2, 2], 3, 2)
        #expect(abs(even.logProbability + naturalLogarithm(4)) < 1e-6 && even.alternatives.map(\.token) == [0, 1])
        // The probability itself is below what a float holds.
        #expect(abs(try score([300, 0], 1, 1).logProbability + 300) < 1e-4)
        for bad in [Float.nan, .infinity] {
            #expect(throws: LacunaError.self) { try score([0, bad, 1], 0, 1) }
        }
    }
}
