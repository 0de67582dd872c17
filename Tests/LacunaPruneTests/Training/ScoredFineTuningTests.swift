import LacunaIO
import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaPrune

/// PST: factored scores, what they keep, and their gradients.
@Suite struct PSTTests {
    private static func weight(
        sparsity: Double?, _ change: (inout PST.Settings) -> Void = { _ in }
    ) -> ScoredWeight {
        var generator = SeededGenerator(seed: 3)
        var settings = PST.Settings()
        (settings.rank, settings.scoreRank) = (2, 3)
        change(&settings)
        let base = Tensor<Float>(normal: [6, 8], using: &generator)
        let weight = ScoredWeight(base, pattern: .unstructured(.layer), settings: settings, using: &generator)
        weight.sparsity = sparsity
        return weight
    }

    /// Gives every factor numbers of its own.
    private static func fill(_ weight: ScoredWeight) {
        var generator = SeededGenerator(seed: 8)
        for parameter in [weight.update.a, weight.score.a, weight.rows, weight.columns] {
            parameter.value = Tensor(normal: parameter.shape, standardDeviation: 0.3, using: &generator)
        }
    }

    private static func product(_ factors: FactoredWeight) -> Tensor<Float> {
        factors.b.value.multiplied(by: factors.a.value)
    }

    @Test func scoresAreTheirFormula() throws {
        let weight = Self.weight(sparsity: 0.5) { ($0.lowRank, $0.structure, $0.change) = (0.7, 1.3, 0.5) }
        // At the beginning everything but magnitudes is 0.
        let first = try Selection.mask(
            magnitudesOf: weight.base.value, pattern: .unstructured(.layer), sparsity: 0.5)
        #expect(weight.mask == first)
        #expect(weight.updated == weight.base.value)
        Self.fill(weight)
        let updated = weight.base.value + 0.5 * Self.product(weight.update)
        #expect(weight.updated.isApproximatelyEqual(to: updated, tolerance: 1e-6))
        var scores = 0.7 * Self.product(weight.score)
        for row in 0..<6 {
            for column in 0..<8 {
                scores[row, column] +=
                    abs(updated[row, column]) + 1.3 * (weight.rows.value[row, 0] + weight.columns.value[0, column])
            }
        }
        let mask = try Selection.mask(scores: scores, pattern: .unstructured(.layer), sparsity: 0.5)
        #expect(weight.mask == mask && mask.count == 24)
        let magnitude = try Selection.mask(magnitudesOf: updated, pattern: .unstructured(.layer), sparsity: 0.5)
        #expect(mask != magnitude)
        #expect(weight.densified().isApproximatelyEqual(to: mask.applied(to: updated), tolerance: 1e-6))
        let trained = weight.parameters.filter(\.isTrainable).reduce(0) { $0 + $1.count }
        // Two factors of rank 2, two of rank 3, and a number for each row and column.
        #expect(trained == 28 + 42 + 14)
    }

    /// Without learned parts the scores are the magnitudes of the changed weight.
    @Test func withoutLearnedPartsMagnitudesDecide() throws {
        let weight = Self.weight(sparsity: 0.25) { ($0.lowRank, $0.structure) = (0, 0) }
        Self.fill(weight)
        let plain = try Selection.mask(
            magnitudesOf: weight.updated, pattern: .unstructured(.layer), sparsity: 0.25)
        #expect(weight.mask == plain)
    }

    @Test(arguments: [true, false]) func gradientsPassTheMask(scoresReachChange: Bool) {
        let weight = Self.weight(sparsity: 0.5) { $0.scoresReachChange = scoresReachChange }
        Self.fill(weight)
        var generator = SeededGenerator(seed: 2)
        // The gradient of the masked weight: for rows of the identity, that of what the layer gives, transposed.
        let g = Tensor<Float>(normal: [6, 8], using: &generator)
        var identity = Tensor<Float>(zeros: [8, 8])
        for i in 0..<8 { identity[i, i] = 1 }
        let tape = Tape<Float>()
        let y = weight.apply(tape.constant(identity), bias: nil)
        tape.backward(from: (y * tape.constant(g.transposed())).sum())
        let (updated, mask) = (weight.updated, weight.mask)
        let toScores = g * updated
        let signs = updated.map { $0 < 0 ? -1 : Float(1) }
        var toWeight = mask.applied(to: g)
        if scoresReachChange { toWeight = toWeight + toScores * signs }
        func expect(_ parameter: Parameter<Float>, _ wanted: Tensor<Float>) {
            #expect(parameter.gradient!.isApproximatelyEqual(to: wanted, tolerance: 1e-4))
        }
        expect(weight.score.a, weight.score.b.value.multiplied(by: toScores, transposed: true))
        expect(weight.score.b, toScores.multiplied(by: weight.score.a.value, otherTransposed: true))
        expect(weight.rows, toScores.sum(axis: 1, keepingAxis: true))
        expect(weight.columns, toScores.sum(axis: 0, keepingAxis: true))
        expect(weight.update.a, weight.update.b.value.multiplied(by: toWeight, transposed: true))
        expect(weight.update.b, toWeight.multiplied(by: weight.update.a.value, otherTransposed: true))
        #expect(weight.base.gradient == nil)
    }

    @Test func theSparsityRisesAsThePaperSays() throws {
        let method = try PST(sparsity: 0.9)
        for (progress, sparsity) in [(0.0, 0.0), (0.1, 0), (0.4, 0.7875), (0.7, 0.9), (1, 0.9)] {
            #expect(abs(method.sparsity(at: progress)! - sparsity) < 1e-9)
        }
        let model = network()
        let frozen = (model.layers[0].bias!.value, model.layers[0].weight.densified())
        let head = model.layers[2].weight.densified()
        try train(model, hooks: [method], steps: 60, optimizer: Adam(), rate: 3e-3)
        for layer in model.layers.dropLast() {
            let mask = try #require(layer.dense?.mask)
            let all = layer.outputDimensions * layer.inputDimensions
            let removed = Selection.removedCount(sparsity: 0.9, of: all)
            #expect(mask.count == all - removed)
        }
        #expect(model.layers[0].bias!.value == frozen.0 && model.layers[2].weight.densified() != head)
        let kept = model.layers[0].weight.densified()
        let mask = SparsePattern(nonzerosOf: kept)
        #expect(mask.applied(to: frozen.1) != kept)
        #expect(model.parameters.allSatisfy { $0.isTrainable })
    }

    @Test func patternsThatSayHowMuchAreKeptFromTheStart() throws {
        let model = network()
        try train(model, hooks: [PST(sparsity: nil, pattern: .nm(n: 2, m: 4))], steps: 5, optimizer: Adam(), rate: 3e-3)
        #expect(try #require(model.layers[0].dense?.mask).satisfies(.nm(n: 2, m: 4)))
        #expect(throws: LacunaError.self) { try PST(sparsity: 0.3, pattern: .nm(n: 2, m: 4)) }
        #expect(throws: LacunaError.self) { try PST(sparsity: nil) }
        #expect(throws: LacunaError.self) { try PST(sparsity: 1.5) }
        #expect(throws: LacunaError.self) { try PST(pattern: .unstructured(.global)) }
        var settings = PST.Settings()
        settings.rank = 0
        #expect(throws: LacunaError.self) { try PST(settings: settings) }
    }
}

/// LOST: identities of the split, columns that are found, a layer that is no matrix.
@Suite struct LOSTTests {
    private static func first(_ rows: Int = 10, _ columns: Int = 14, seed: UInt64 = 5) -> Tensor<Float> {
        var generator = SeededGenerator(seed: seed)
        return Tensor(normal: [rows, columns], using: &generator)
    }

    @Test func partsOfOneDecomposition() throws {
        let w = Self.first()
        // All ranks leave nothing; half of all of it and half of nothing is half.
        let full = try LOST(rank: 10, density: 1, mix: 0.5, start: .residual).weight(from: w)
        #expect(full.densified().isApproximatelyEqual(to: 0.5 * w, tolerance: 1e-5))
        // Half of what a rank explains and half of the rest.
        let half = try LOST(rank: 3, density: 1, mix: 0.5, start: .residual).weight(from: w)
        #expect(half.densified().isApproximatelyEqual(to: 0.5 * w, tolerance: 1e-5))
        #expect(half.rank == 3 && half.channels.count == 14 && half.parameterCount == 3 * 24 + 10 * 14)
        // Rescaled, the parts make the whole.
        let whole = try LOST(rank: 3, density: 1, mix: 0.8, start: .residual, rescales: true).weight(from: w)
        #expect(whole.densified().isApproximatelyEqual(to: w, tolerance: 1e-5))
        // Both factors share the singular values.
        let s = try w.svd().s
        for r in 0..<3 {
            #expect(abs(half.b.value.column(r).reduce(0) { $0 + $1 * $1 } - s[r]) < 1e-3)
            #expect(abs(half.a.value.row(r).reduce(0) { $0 + $1 * $1 } - s[r]) < 1e-3)
        }
    }

    @Test func columnsThatStandOutAreFound() throws {
        var generator = SeededGenerator(seed: 2)
        // Of rank 2, with three columns that are their own.
        var w =
            3
            * Tensor<Float>(normal: [40, 2], using: &generator).multiplied(
                by: Tensor(normal: [2, 30], using: &generator))
        for column in [4, 17, 25] { for row in 0..<40 { w[row, column] += Float(2 * generator.normal()) } }
        let found = try LOST(rank: 2, density: 0.1).weight(from: w)
        #expect(found.channels == [4, 17, 25])
        #expect(found.values.value.column(1) == w.column(17))
        let residual = try LOST(rank: 2, density: 0.1, start: .residual).weight(from: w)
        #expect(residual.channels == [4, 17, 25] && residual.values.value.column(1) != w.column(17))
    }

    @Test func forwardIsItsFormula() throws {
        let w = Self.first()
        var generator = SeededGenerator(seed: 9)
        let x = Tensor<Float>(normal: [5, 14], using: &generator)
        let bias = Tensor<Float>(normal: [10], using: &generator)
        for activation in [nil, Activation.silu] {
            let weight = try LOST(rank: 4, density: 0.25, mix: 0.7, activation: activation).weight(from: w)
            #expect(weight.channels.count == 3 && weight.isLinear == (activation == nil))
            let tape = Tape<Float>()
            let found = weight.apply(tape.constant(x), bias: tape.constant(bias))
            var low = x.multiplied(by: weight.a.value, otherTransposed: true)
            if activation != nil { low = low.map { $0 / (1 + Float(exponential(-Double($0)))) } }
            var expected = 0.7 * low.multiplied(by: weight.b.value, otherTransposed: true)
            for row in 0..<5 {
                for column in 0..<10 {
                    for (place, channel) in weight.channels.enumerated() {
                        expected[row, column] += 0.3 * weight.values.value[column, place] * x[row, Int(channel)]
                    }
                    expected[row, column] += bias[column]
                }
            }
            #expect(found.value.isApproximatelyEqual(to: expected, tolerance: 1e-4))
            if activation == nil {
                let dense = x.multiplied(by: weight.densified(), otherTransposed: true)
                let plain = tape.evaluating { weight.apply(tape.constant(x), bias: nil) }.value
                #expect(plain.isApproximatelyEqual(to: dense, tolerance: 1e-4))
                _ = try weight.stored()
            } else {
                #expect(throws: LacunaError.self) { try weight.stored() }
            }
            // Along its gradient the loss changes by the square of its norm.
            func loss() -> Variable<Float> { weight.apply(tape.constant(x), bias: nil).map(.square).sum() }
            tape.backward(from: loss())
            let gradients = weight.parameters.map { $0.gradient! }
            let norm = gradients.reduce(0.0) { $0 + $1.scalars.reduce(0.0) { $0 + Double($1 * $1) } }
            let starts = weight.parameters.map(\.value)
            func moved(_ step: Float) -> Double {
                for (index, parameter) in weight.parameters.enumerated() {
                    parameter.value = starts[index] + step * gradients[index]
                }
                return Double(tape.evaluating { loss().item })
            }
            let step = Float(1e-2 / norm.squareRoot())
            #expect(abs((moved(step) - moved(-step)) / Double(2 * step) - norm) < 0.01 * norm)
        }
    }

    @Test func networksTrainAndComeBackFromFiles() throws {
        let model = network()
        try train(
            model, hooks: [LOST(rank: 4, density: 0.2, activation: .silu)], steps: 30, optimizer: Adam(), rate: 1e-2)
        let path = "/tmp/lacuna-lost-\(UInt64.random(in: 0...UInt64.max)).safetensors"
        defer { try? FileSystem.remove(path) }
        try ModelFile.save(model, to: path)
        let other = network(seed: 2)
        try ModelFile.load(other, from: path)
        let tape = Tape<Float>()
        let x = Tensor<Float>(repeating: 0.5, shape: [1, 20])
        #expect(tape.evaluating { model(tape.constant(x)).value == other(tape.constant(x)).value })
        #expect((other.layers[0].weight as? ChannelLowRankWeight)?.activation == .silu)
        #expect(other.layers[2].dense != nil)
        for bad in [(0, 0.1, 0.7), (2, 1.1, 0.7), (2, 0.1, -0.1)] {
            #expect(throws: LacunaError.self) { try LOST(rank: bad.0, density: bad.1, mix: bad.2) }
        }
        #expect(throws: LacunaError.self) { try LOST(rank: 2, mix: 1, rescales: true) }
    }
}
