import LacunaDictionary
import Testing

@testable import LacunaDictionary

/// Terms of the loss by their formulas, and what is done to dictionaries between steps.
@Suite struct DictionaryLossTests {
    private let batch = ActivationBatch(step: 0, inputs: normal([30, 6], seed: 1))

    private func learner(
        _ rule: SelectionRule, _ change: (inout DictionaryTraining) -> Void = { _ in }
    ) throws -> DictionaryLearner {
        let a = try SparseAutoencoder(.init(inputDimensions: 6, width: 10, rule: rule), seed: 3)
        a.encoderBias!.value = normal([10], seed: 4).multiplied(byNumber: 0.3)
        a.decoderBias.value = normal([6], seed: 5).multiplied(byNumber: 0.3)
        var settings = DictionaryTraining()
        settings.scalesInputs = false
        settings.auxiliary = nil
        change(&settings)
        return try DictionaryLearner(a, settings, steps: 100, logEvery: 10, label: "", batch: { [batch] _ in batch })
    }

    private func loss(_ learner: DictionaryLearner, step: Int = 0) throws -> Double {
        Double(try learner.loss(batch, on: Tape(), step: step).item)
    }

    private func error(_ a: SparseAutoencoder, _ y: Tensor<Float>) -> Double {
        batch.inputs.subtracting(y).sumOfSquares / 30
    }

    @Test func squaredErrorsAndNestedOnes() throws {
        let plain = try learner(.topK(4))
        let a = plain.dictionary
        let code = try a.encode(batch.inputs)
        #expect(abs(try loss(plain) - error(a, a.decode(code))) < 1e-4)
        let nested = try learner(.topK(4)) { $0.prefixes = [2, 5] }
        let expected = [2, 5, 10].reduce(0.0) { sum, width in
            sum + error(a, a.decode(code.filter { _, j, _ in j < width })) / 3
        }
        #expect(abs(try loss(nested) - expected) < 1e-4)
    }

    @Test func penaltiesOfStrengths() throws {
        let one = try learner(.relu) { $0.sparsity = SparsityPenalty(.linear(from: 0.2, to: 0.4, steps: 10)) }
        let a = one.dictionary
        let code = try a.encode(batch.inputs)
        let sum = code.values.reduce(0.0) { $0 + Double($1) } / 30
        let base = error(a, a.decode(code))
        #expect(abs(try loss(one) - base - 0.2 * sum) < 1e-4)
        #expect(abs(try loss(one, step: 5) - base - 0.3 * sum) < 1e-4)
        // A power from the beginning is that power's sum; λ keeps the penalty where it was when the power changes.
        let annealed = try learner(.relu) {
            $0.sparsity = SparsityPenalty(
                .constant(0.2), power: .steps([.init(from: 0, value: 1), .init(from: 3, value: 0.5)]))
        }
        #expect(abs(try loss(annealed) - base - 0.2 * sum) < 1e-4)
        #expect(abs(try loss(annealed, step: 3) - base - 0.2 * sum) < 1e-3)
        let root = code.values.reduce(0.0) { $0 + Double($1.squareRoot()) } / 30
        #expect(abs(Double(annealed.use.penalty.value[0]) - sum / root) < 1e-4 && annealed.use.penalty.value[1] == 0.5)
        #expect(abs(try loss(annealed, step: 4) - base - 0.2 * sum) < 1e-3)
    }

    @Test func jumpsAreHeldToTheirNumber() throws {
        let jump = try learner(.jumpReLU(2, bandwidth: 0.4)) { $0.sparsity = SparsityPenalty(0.7) }
        let a = jump.dictionary
        let code = try a.encode(batch.inputs)
        let excess = Double(code.count) / 30 / 2 - 1
        #expect(abs(try loss(jump) - error(a, a.decode(code)) - 0.7 * excess * excess) < 1e-4)
    }

    @Test func gatesReconstructByThemselves() throws {
        let gated = try learner(.gated) { $0.sparsity = SparsityPenalty(0.2) }
        let a = gated.dictionary
        a.magnitudeScale!.value = normal([10], seed: 8).multiplied(byNumber: 0.2)
        let open = a.preActivations(batch.inputs).selected(.above([0]), signed: false)
        let sum = open.values.reduce(0.0) { $0 + Double($1) } / 30
        let expected = error(a, try a.reconstruct(batch.inputs)) + error(a, a.decode(open)) + 0.2 * sum
        #expect(abs(try loss(gated) - expected) < 1e-3)
        // The gate's reconstruction does not move directions.
        let tape = Tape<Float>()
        let pass = try a.pass(batch, ranking: nil, prefixes: [], on: tape)
        let out = pass.gateReconstruction!
        tape.backward(from: (out * out).sum())
        #expect(!a.decoderWeight.hasGradient && a.encoderWeight!.hasGradient && a.encoderBias!.hasGradient)
    }

    @Test func featuresThatAreDeadReconstructWhatIsLeft() throws {
        let term = try learner(.topK(2)) {
            $0.auxiliary = AuxiliaryLoss(.dead(afterTokens: 50), coefficient: 0.25, count: 3)
        }
        let a = term.dictionary
        let base = error(a, try a.reconstruct(batch.inputs))
        #expect(abs(try loss(term) - base) < 1e-4)
        let dead = [1, 4, 5, 8]
        for j in dead { term.use.quiet.buffer.pointer[j] = 60 }
        let rest = batch.inputs.subtracting(try a.reconstruct(batch.inputs))
        // The three largest positive pre-activations among the dead.
        let u = a.preActivations(batch.inputs).selected(.above([-.infinity]), signed: false).densified()
        var expected = rest
        for t in 0..<30 {
            for j in dead.sorted(by: { u[t, $0] > u[t, $1] }).prefix(3) where u[t, j] > 0 {
                for i in 0..<6 { expected[t, i] -= u[t, j] * a.decoderWeight.value[j, i] }
            }
        }
        let added = 0.25 * expected.sumOfSquares / rest.sumOfSquaresAroundMean
        #expect(abs(try loss(term) - base - added) < 1e-3)
    }

    @Test func partsCountTheirNorms() throws {
        var configuration = DictionaryConfiguration(inputDimensions: 6, width: 10, rule: .relu)
        configuration.parts = [2, 4]
        let a = try SparseAutoencoder(configuration, seed: 3)
        a.decoderWeight.value = normal([10, 6], seed: 6)
        var settings = DictionaryTraining()
        settings.scalesInputs = false
        settings.auxiliary = nil
        settings.sparsity = SparsityPenalty(0.1)
        let own = try DictionaryLearner(a, settings, steps: 10, logEvery: 1, label: "", batch: { [batch] _ in batch })
        let code = try a.encode(batch.inputs)
        let norms = (0..<10).map { j -> Double in
            let d = (0..<6).map { Double(a.decoderWeight.value[j, $0]) }
            return (d[0] * d[0] + d[1] * d[1]).squareRoot()
                + (d[2] * d[2] + d[3] * d[3] + d[4] * d[4] + d[5] * d[5]).squareRoot()
        }
        var sum = 0.0
        code.forEachEntry { _, j, value in sum += Double(value) * norms[j] / 30 }
        #expect(abs(try loss(own) - error(a, a.decode(code)) - 0.1 * sum) < 1e-3)
    }

    @Test func thresholdsFollowWhatIsKept() throws {
        let a = try SparseAutoencoder(.init(inputDimensions: 6, width: 3, rule: .batchTopK(1)), seed: 3)
        let pattern = SparsePattern(rows: 2, columns: 3) { _, j in j != 1 }
        try a.averageThresholds(pattern, [3, 0, 2, 5], decay: 0.75)
        #expect(a.threshold!.value[0] < 2 && a.threshold!.value[0] > 2 - 1e-5)
        try a.averageThresholds(pattern, [3, 1, 2, 5], decay: 0.75)
        #expect(abs(a.threshold!.value[0] - 1.75) < 1e-5)
        let each = try SparseAutoencoder(
            .init(inputDimensions: 6, width: 3, rule: .featureChoice(1, profile: .uniform)), seed: 3)
        try each.averageThresholds(pattern, [3, 0, 2, 5], decay: 0.75)
        try each.averageThresholds(pattern, [6, 0, 4, 3], decay: 0.75)
        let found = each.threshold!.value.scalars
        #expect(abs(found[0] - 2.5) < 1e-5 && found[1] == 0 && abs(found[2] - 4.5) < 1e-5)
    }

    @Test func newDirectionsAreBadlyReconstructedInputs() throws {
        let a = try SparseAutoencoder(.init(inputDimensions: 4, width: 5, rule: .topK(2)), seed: 3)
        a.decoderBias.value = Tensor([1, 0, 0, 0])
        a.encoderBias!.value = Tensor([1, 1, 1, 1, 1])
        for j in 0..<5 { for i in 0..<4 { a.encoderWeight!.buffer.pointer[j * 4 + i] *= Float(j + 1) } }
        for parameter in [a.encoderWeight!, a.decoderWeight, a.encoderBias!] {
            let slot = parameter.slot("first")
            for i in 0..<parameter.count { slot[i] = 7 }
        }
        a.restart([(3, [1, 3, 4, 0])], encoderScale: 0.2, dead: [3, 4], slots: ["first"])
        for (i, value) in [Float(0), 0.6, 0.8, 0].enumerated() {
            #expect(abs(a.decoderWeight.value[3, i] - value) < 1e-6)
            // The mean norm of live rows is 2.
            #expect(abs(a.encoderWeight!.value[3, i] - 0.4 * value) < 1e-6)
            #expect(a.decoderWeight.slot("first")[12 + i] == 0 && a.encoderWeight!.slot("first")[12 + i] == 0)
        }
        #expect(a.encoderBias!.value == Tensor([1, 1, 1, 0, 1]))
        #expect(a.encoderBias!.slot("first")[3] == 0 && a.encoderBias!.slot("first")[2] == 7)
        #expect(a.decoderWeight.slot("first")[8] == 7 && a.decoderWeight.slot("first")[16] == 7)
        // Nothing at the centre: no direction.
        let before = a.decoderWeight.value
        a.restart([(2, [1, 0, 0, 0])], encoderScale: 0.2, dead: [2], slots: [])
        #expect(a.decoderWeight.value == before)
    }

    @Test func projectionLeavesTheSphere() {
        var directions: Tensor<Float> = normal([7, 5], seed: 1)
        directions.withMutablePointer { Directions.normalize($0, rows: 7, columns: 5) }
        var gradient: Tensor<Float> = normal([7, 5], seed: 2)
        let before = gradient
        gradient.withMutablePointer { g in
            directions.withPointer { Directions.project(g, tangentTo: $0, rows: 7, columns: 5) }
        }
        for j in 0..<7 {
            let along = (0..<5).reduce(Float(0)) { $0 + before[j, $1] * directions[j, $1] }
            for i in 0..<5 { #expect(abs(gradient[j, i] - (before[j, i] - along * directions[j, i])) < 1e-5) }
        }
        var zero = Tensor<Float>(zeros: [1, 3])
        zero.withMutablePointer { Directions.normalize($0, rows: 1, columns: 3) }
        #expect(zero == Tensor(zeros: [1, 3]))
    }
}
