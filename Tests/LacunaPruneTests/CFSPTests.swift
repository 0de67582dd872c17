import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaPrune

@Suite struct CFSPTests {
    private func block(neurons: Int = 12, width: Int = 7, seed: UInt64 = 1) throws -> FeedForwardWeights {
        var generator = SeededGenerator(seed: seed)
        return try FeedForwardWeights(
            gate: Tensor(normal: [neurons, width], using: &generator),
            up: Tensor(normal: [neurons, width], using: &generator),
            down: Tensor(normal: [width, neurons], using: &generator))
    }

    private func seen(_ norms: [Float]) -> InputStatistics {
        var statistics = InputStatistics(columns: norms.count)
        statistics.accumulate(Tensor(norms, shape: [1, norms.count]))
        return statistics
    }

    /// The neurons' scores, put together from those of the down projection's entries.
    private func scores(_ method: CFSP, _ block: FeedForwardWeights, _ norms: [Float]) throws -> [Float] {
        let (score, unit) = method.neuronScore(block)
        let entries = try score.scores(weight: block.down, statistics: seen(norms))
        return (0..<block.neurons).map { j in
            let column = (0..<entries.rows).map { entries[$0, j] }
            return unit == .norm
                ? column.reduce(0) { $0 + $1 * $1 }.squareRoot() : column.reduce(0, +) / Float(column.count)
        }
    }

    @Test(arguments: [0.0, 0.1, 0.2, 0.4, 0.5, 0.7, 0.9])
    func keptFractionsHaveTheRightMean(ratio: Double) throws {
        let importance = [0.3, 0.15, 0.06, 0.04, 0.03, 0.03, 0.06, 0.15]
        let fractions = try AngularBudget().keptFractions(importance: importance, ratio: ratio)
        #expect(abs(fractions.reduce(0, +) / 8 - (1 - ratio)) < 1e-12)
        #expect(fractions.allSatisfy { $0 > 0 && $0 <= 1 + 1e-12 })
        for a in 0..<8 {
            for b in 0..<8 where ratio > 0 && importance[a] > importance[b] { #expect(fractions[a] > fractions[b]) }
        }
    }

    @Test func aFractionAboveOneIsDrawnIn() throws {
        let fractions = try AngularBudget(slope: 100).keptFractions(importance: [0.5, 0.1, 0.1, 0.1], ratio: 0.4)
        #expect(abs(fractions[0] - (0.6 + 0.4 / 1.05)) < 1e-12)
        #expect(abs(fractions.reduce(0, +) / 4 - 0.6) < 1e-12)
    }

    @Test func equalImportanceGivesAUniformBudget() throws {
        for fraction in try AngularBudget().keptFractions(importance: [0.2, 0.2, 0.2], ratio: 0.3) {
            #expect(abs(fraction - 0.7) < 1e-12)
        }
    }

    @Test func countsAddUp() {
        #expect(AngularBudget.keptCounts([0.5, 0.25, 0.75], widths: [9, 9, 9], multiple: 1) == [5, 2, 7])
        #expect(AngularBudget.keptCounts([0.5, 0.5], widths: [64, 64], multiple: 16) == [32, 32])
        #expect(AngularBudget.keptCounts([1, 1], widths: [50, 50], multiple: 16) == [50, 50])
        #expect(AngularBudget.keptCounts([0.001, 1], widths: [10, 10], multiple: 1) == [1, 10])
    }

    @Test func anglesAreThoseOfTheVectors() {
        func angle(_ a: [Float], _ b: [Float]) -> Double { AngularBudget.angle(a, b, count: a.count) }
        #expect(angle([1, 2, 3], [2, 4, 6]) < 1e-7)
        #expect(abs(angle([1, 0], [0, 5]) - 0.5) < 1e-12)
        #expect(abs(angle([1, 1], [-1, -1]) - 1) < 1e-7)
        #expect(abs(angle([1, 0], [1, 1]) - 0.25) < 1e-7)
        #expect(angle([0, 0], [1, 1]) == 0)
        // Parallel vectors whose computed cosine may exceed 1.
        let long = (0..<1000).map { Float($0) * 0.1 + 0.3 }
        #expect(angle(long, long.map { $0 * 3 }).isFinite)
    }

    /// The weights cancel from the published score: it is three norms divided by the width.
    @Test func publishedScoreIsTheActivationNorm() throws {
        let norms = (0..<12).map { Float($0 * 7 % 12) + 0.5 }
        for seed: UInt64 in 1...3 {
            let found = try scores(CFSP(), block(seed: seed), norms)
            for (score, norm) in zip(found, norms) { #expect(abs(score - 3 * norm / 7) < 1e-5 * norm) }
        }
    }

    @Test func weightedScoreSeesTheDownProjection() throws {
        let part = try block()
        let norms = [Float](repeating: 2, count: 12)
        let found = try scores(CFSP(score: .weighted), part, norms)
        for j in 0..<12 {
            let column = (0..<7).reduce(Float(0)) { $0 + part.down[$1, j] * part.down[$1, j] }.squareRoot()
            #expect(abs(found[j] - 2 * column) < 1e-5)
        }
        // It ranks as it is spelled out, and unlike the published one it changes with the weights.
        #expect(try scores(CFSP(score: .weighted), block(seed: 2), norms) != found)
    }

    /// Slicing neurons off equals setting their weights to 0.
    @Test func slicedEqualsMasked() throws {
        let part = try block()
        var generator = SeededGenerator(seed: 4)
        let x = Tensor<Float>(normal: [5, 7], using: &generator)
        let norms = (0..<12).map { _ in Float(generator.uniform()) }
        let kept = try CFSP().keptNeurons(part, activations: seen(norms), count: 5)
        #expect(kept.count == 5)
        #expect(kept == norms.indices.sorted { norms[$0] > norms[$1] }.prefix(5).sorted())
        let sliced = part.keeping(kept)
        #expect(sliced.gate.shape == [5, 7] && sliced.up.shape == [5, 7] && sliced.down.shape == [7, 5])

        var masked = part
        for j in 0..<12 where !kept.contains(j) { for i in 0..<7 { masked.down[i, j] = 0 } }
        func output(_ part: FeedForwardWeights) -> [Float] {
            var hidden = x.multiplied(by: part.gate, otherTransposed: true)
            let up = x.multiplied(by: part.up, otherTransposed: true).scalars
            hidden.withMutablePointer { h in for i in up.indices { h[i] = max(h[i], 0) * up[i] } }
            return hidden.multiplied(by: part.down, otherTransposed: true).scalars
        }
        for (a, b) in zip(output(sliced), output(masked)) { #expect(abs(a - b) < 1e-5) }
        #expect(part.keeping(Array(0..<12)) == part)
    }

    @Test func badInputsAreRefused() throws {
        #expect(throws: LacunaError.self) { try AngularBudget().keptFractions(importance: [0.1], ratio: 1) }
        #expect(throws: LacunaError.self) { try AngularBudget().keptFractions(importance: [.nan], ratio: 0.5) }
        #expect(throws: LacunaError.self) {
            try CFSP(multiple: 0).keptCounts(importance: [0], widths: [4], sparsity: 0)
        }
        #expect(throws: LacunaError.self) { try CFSP().keptNeurons(block(), activations: seen([1, 2]), count: 1) }
        let part = try block()
        #expect(throws: LacunaError.self) { try FeedForwardWeights(gate: part.gate, up: part.up, down: part.up) }
    }
}
