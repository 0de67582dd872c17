import LacunaDictionary
import Testing

@testable import LacunaDictionary

@Suite struct DictionaryTrainingTests {
    static let rules: [SelectionRule] = [
        .relu, .topK(3), .absTopK(3), .batchTopK(3), .batchAbsTopK(3), .featureChoice(3, profile: .uniform),
        .jumpReLU(3, bandwidth: 0.3), .gated, .gradientAware(3, strength: 1), .matchingPursuit(3),
    ]

    private func settings(_ rule: SelectionRule) -> DictionaryTraining {
        var settings = DictionaryTraining()
        settings.learningRate = 3e-3
        settings.warmUp = 5
        settings.thresholdStart = 4
        settings.auxiliary = rule == .matchingPursuit(3) ? nil : AuxiliaryLoss(.dead(afterTokens: 100))
        switch rule {
        case .relu, .gated: settings.sparsity = SparsityPenalty(0.05)
        case .jumpReLU: settings.sparsity = SparsityPenalty(0.1)
        default: break
        }
        return settings
    }

    private let bed = try! SuperposedAtoms(dimensions: 8, atoms: 12, activity: .exactly(2), seed: 1)

    private func source(nanAt bad: Int? = nil) -> GeneratedBatches {
        GeneratedBatches { [bed] step in
            var generator = SeededGenerator(seed: 4, stream: UInt64(step))
            var x = bed.draw(40, using: &generator).x
            let g = Tensor<Float>(normal: [40, 8], using: &generator)
            if step == bad { x[1, 1] = .infinity }
            return ActivationBatch(step: step, inputs: x, gradients: g)
        }
    }

    private func state(_ a: SparseAutoencoder) -> [[Float]] { a.parameters.map { $0.buffer.array } }

    /// Loss and gradients of a step by dense masks, next to those by codes.
    @Test(arguments: [SelectionRule.topK(3), .absTopK(3), .batchTopK(3), .relu])
    func gradientsAreThoseOfMaskedDenseProducts(rule: SelectionRule) throws {
        let a = try SparseAutoencoder(.init(inputDimensions: 8, width: 12, rule: rule), seed: 5)
        a.encoderBias!.value = normal([12], seed: 6)
        a.decoderBias.value = normal([8], seed: 7)
        let batch = source().batch(step: 0)
        let tape = Tape<Float>()
        let pass = try a.pass(batch, ranking: nil, prefixes: [], on: tape)
        tape.backward(from: (pass.reconstructions[0] * pass.reconstructions[0]).sum())
        let found = a.trainableParameters.map { $0.gradient! }
        a.clearGradients()
        let mask = try a.encode(batch.inputs, scope: .batch).densified()
        let ones = tape.constant(Tensor(mask.scalars.map { $0 == 0 ? 0 : 1 }, shape: mask.shape))
        let bias = a.decoderBias.on(tape)
        let u = tape.constant(batch.inputs).addingRow(bias.affine(-1)).linear(
            a.encoderWeight!.on(tape), bias: a.encoderBias!.on(tape))
        let y = (u * ones).multiplied(by: a.decoderWeight.on(tape)).addingRow(bias)
        expectClose(pass.reconstructions[0].value, y.value, 1e-4)
        tape.backward(from: (y * y).sum())
        for (a, b) in zip(found, a.trainableParameters.map { $0.gradient! }) { expectClose(a, b, 2e-3) }
    }

    @Test func nestedReconstructionsAreThoseOfPrefixes() throws {
        let a = try SparseAutoencoder(.init(inputDimensions: 8, width: 12, rule: .topK(6)), seed: 5)
        a.decoderBias.value = normal([8], seed: 7)
        let batch = source().batch(step: 0)
        let code = try a.encode(batch.inputs)
        let pass = try a.pass(batch, ranking: nil, prefixes: [3, 7], on: Tape())
        #expect(pass.reconstructions.count == 3)
        for (width, found) in zip([3, 7, 12], pass.reconstructions) {
            expectClose(found.value, a.decode(code.filter { _, j, _ in j < width }), 1e-5)
        }
    }

    @Test(arguments: rules) func aKilledRunResumesExactly(rule: SelectionRule) throws {
        func make() throws -> (SparseAutoencoder, DictionaryTrainer<GeneratedBatches>) {
            let a = try SparseAutoencoder(.init(inputDimensions: 8, width: 12, rule: rule), seed: 2)
            var settings = settings(rule)
            if rule != .matchingPursuit(3) { settings.resampling = Resampling(every: 6, times: 2, batches: 2, rise: 3) }
            return (a, try DictionaryTrainer([(a, settings)], source: source(), steps: 20, logEvery: 4))
        }
        let (whole, trainer) = try make()
        try trainer.train()
        let directory = try temporaryDirectory()
        defer { try? FileSystem.remove(directory) }
        let (_, first) = try make()
        try first.train(directory: directory, stopAfter: 9)
        let (resumed, second) = try make()
        try second.resume(from: directory)
        try second.train(directory: directory)
        #expect(state(resumed) == state(whole))
    }

    @Test func severalAtOnceAreAsIfAlone() throws {
        let rules: [SelectionRule] = [.topK(3), .batchTopK(2), .relu]
        func make(_ i: Int) throws -> (dictionary: SparseAutoencoder, settings: DictionaryTraining) {
            (
                try SparseAutoencoder(.init(inputDimensions: 8, width: 12 + i, rule: rules[i]), seed: UInt64(i)),
                settings(rules[i])
            )
        }
        let together = try rules.indices.map(make)
        let report = try DictionaryTrainer(together, source: source(), steps: 12, logEvery: 6).train()
        #expect(report.metrics.last!["1.unexplained"] != nil)
        for i in rules.indices {
            let alone = try make(i)
            try DictionaryTrainer([alone], source: source(), steps: 12).train()
            #expect(state(together[i].dictionary) == state(alone.dictionary))
        }
    }

    @Test(arguments: rules) func scaledActivationsGiveScaledDictionaries(rule: SelectionRule) throws {
        let source = source()
        let large = GeneratedBatches { step in
            var batch = source.batch(step: step)
            batch.inputs = batch.inputs.multiplied(byNumber: 64)
            return batch
        }
        func trained(_ source: GeneratedBatches) throws -> SparseAutoencoder {
            let a = try SparseAutoencoder(.init(inputDimensions: 8, width: 12, rule: rule), seed: 2)
            try a.train(on: source, steps: 10, settings(rule))
            return a
        }
        let (a, b) = (try trained(source), try trained(large))
        let x = source.batch(step: 50).inputs
        let (small, big) = (try a.reconstruct(x), try b.reconstruct(x.multiplied(byNumber: 64)))
        expectClose(small, big.multiplied(byNumber: 1.0 / 64), 1e-3)
        #expect(try a.encode(x).pattern == b.encode(x.multiplied(byNumber: 64)).pattern)
        let norms = a.decoderWeight.value.withPointer { Directions.norms($0, rows: 12, columns: 8) }
        #expect(norms.allSatisfy { abs($0 - 1) < 1e-5 })
    }

    @Test func whatCannotWorkIsRefusedAtOnce() throws {
        func refused(
            _ rule: SelectionRule, _ name: String, steps: Int = 10, _ change: (inout DictionaryTraining) -> Void
        ) throws {
            let a = try SparseAutoencoder(.init(inputDimensions: 8, width: 12, rule: rule), seed: 2)
            var settings = settings(rule)
            change(&settings)
            do {
                _ = try DictionaryTrainer([(a, settings)], source: source(), steps: steps)
                Issue.record("\(name) is not refused")
            } catch LacunaError.invalidArgument(let argument, _) {
                #expect(argument == name)
            }
        }
        try refused(.topK(3), "sparsity") { $0.sparsity = SparsityPenalty(1) }
        try refused(.relu, "sparsity") { $0.sparsity = nil }
        try refused(.gated, "sparsity") { $0.sparsity = nil }
        try refused(.jumpReLU(3, bandwidth: 1), "sparsity") { $0.sparsity = nil }
        try refused(.jumpReLU(3, bandwidth: 1), "sparsity") { $0.sparsity!.power = .constant(0.5) }
        try refused(.relu, "sparsity") { $0.sparsity!.weight = .constant(-1) }
        try refused(.relu, "sparsity") { $0.sparsity!.power = .linear(from: 1, to: 0, steps: 5) }
        try refused(.topK(3), "prefixes") { $0.prefixes = [4, 4] }
        try refused(.topK(3), "prefixes") { $0.prefixes = [4, 13] }
        try refused(.gated, "prefixes") { $0.prefixes = [4] }
        try refused(.matchingPursuit(3), "auxiliary") { $0.auxiliary = AuxiliaryLoss() }
        try refused(.matchingPursuit(3), "prefixes") { $0.prefixes = [4] }
        try refused(.topK(3), "auxiliary") { $0.auxiliary = AuxiliaryLoss(.dead(afterTokens: 0)) }
        try refused(.topK(3), "auxiliary") { $0.auxiliary = AuxiliaryLoss(coefficient: -1) }
        try refused(.topK(3), "resampling") { $0.resampling = Resampling(every: 0) }
        try refused(.topK(3), "learningRate") { $0.learningRate = 0 }
        try refused(.topK(3), "beta1") { $0.beta1 = 1 }
        try refused(.topK(3), "decayShare") { $0.decayShare = 1.5 }
        try refused(.topK(3), "clipNorm") { $0.clipNorm = 0 }
        try refused(.topK(3), "steps", steps: 0) { _ in }
    }

    @Test func aBadBatchIsNamed() throws {
        let a = try SparseAutoencoder(.init(inputDimensions: 8, width: 12, rule: .topK(3)), seed: 2)
        #expect(
            throws: LacunaError.numerical(
                operation: "training a dictionary", reason: "the activations of batch 7 are not all finite")
        ) { try a.train(on: source(nanAt: 7), steps: 10, settings(.topK(3))) }
        let narrow = GeneratedBatches { ActivationBatch(step: $0, inputs: Tensor(zeros: [4, $0 == 3 ? 7 : 8])) }
        #expect(throws: LacunaError.self) { try a.train(on: narrow, steps: 10, settings(.topK(3))) }
        let g = try SparseAutoencoder(
            .init(inputDimensions: 8, width: 12, rule: .gradientAware(3, strength: 1)), seed: 2)
        let plain = GeneratedBatches { ActivationBatch(step: $0, inputs: normal([4, 8], seed: 1)) }
        #expect(throws: LacunaError.self) { try g.train(on: plain, steps: 10, settings(.topK(3))) }
    }

    @Test func rates() {
        var settings = DictionaryTraining()
        settings.warmUp = 4
        settings.decayShare = 0.5
        let schedule = settings.schedule(steps: 20)
        #expect(schedule(0) == 0.25 && schedule(3) == 1 && schedule(4) == 1 && schedule(10) == 1)
        #expect(abs(schedule(15) - 0.5) < 1e-12 && abs(schedule(19) - 0.1) < 1e-12)
        #expect(abs(settings.rate(width: 16384) - 2e-4) < 1e-12 && abs(settings.rate(width: 4096) - 4e-4) < 1e-12)
        let again = Resampling(every: 10, times: 2, rise: 4)
        #expect(again.rate(9) == 1 && abs(again.rate(10) - 0.1) < 1e-12 && abs(again.rate(12) - 0.55) < 1e-12)
        #expect(again.rate(14) == 1 && abs(again.rate(20) - 0.1) < 1e-12 && again.rate(30) == 1)
    }

    @Test func theMedianIsWhereForcesCancel() {
        let x: Tensor<Float> = normal([50, 3], seed: 8)
        let m = GeometricMedian.of(rows: x)
        for i in 0..<3 {
            let force = (0..<50).reduce(0.0) { sum, t in
                let difference = (0..<3).map { Double(x[t, $0] - m[$0]) }
                return sum + difference[i] / difference.reduce(0) { $0 + $1 * $1 }.squareRoot()
            }
            #expect(abs(force) < 0.05)
        }
        // An outlier hardly moves it.
        let far = GeometricMedian.of(rows: Tensor([0, 0, 1, 0, 0, 1, 1, 1, 1000, 1000], shape: [5, 2]))
        #expect(abs(far[0]) < 1.1 && abs(far[1]) < 1.1)
    }

    @Test func featuresThatAreNeverActiveAreFound() throws {
        let use = FeatureUse(width: 4)
        let pattern = SparsePattern(rows: 2, columns: 4) { t, j in j == t || j == 2 }
        try use.note(pattern, values: [1, 1, -1, 0], decay: 0.5)
        // Column 2 is active in the first token alone: the stored zero of the second is not.
        #expect(use.quiet.value == Tensor([0, 0, 0, 2]))
        #expect(use.activity.value == Tensor([0.25, 0.25, 0.25, 0]))
        try use.note(SparsePattern(rows: 2, columns: 4) { _, j in j == 1 }, values: [1, 1], decay: 0.5)
        #expect(use.quiet.value == Tensor([2, 0, 2, 4]))
        #expect(use.activity.value == Tensor([0.125, 0.625, 0.125, 0]))
        #expect(use.chosen(.dead(afterTokens: 2), active: 1) == [0, 2, 3])
        #expect(use.chosen(.dead(afterTokens: 3), active: 1) == [3])
        #expect(use.ranking == [1, 0, 2, 3])
        // Expected 0.48, 0.24, 0.16, 0.12: half of it is 0.24, 0.12, 0.08, 0.06.
        #expect(use.chosen(.underUsed(share: 0.5, exponent: 1, shift: 0), active: 1) == [3])
        #expect(use.chosen(.underUsed(share: 0.6, exponent: 1, shift: 0), active: 1) == [0, 3])
        #expect(use.chosen(.underUsed(share: 0, exponent: 1, shift: 0), active: 1) == [3])
        // Of two active features a token twice as much is expected: 0.48, 0.24, 0.16, 0.12.
        #expect(use.chosen(.underUsed(share: 0.5, exponent: 1, shift: 0), active: 2) == [0, 2, 3])
        #expect(use.deadShare(afterTokens: 4) == 0.25)
    }

    /// A threshold taken from one batch keeps what the batch kept, its smallest code included.
    @Test(arguments: [SelectionRule.batchTopK(3), .featureChoice(3, profile: .uniform)])
    func thresholdsKeepTheBatch(rule: SelectionRule) throws {
        let a = try SparseAutoencoder(.init(inputDimensions: 8, width: 12, rule: rule), seed: 5)
        let x = source().batch(step: 0).inputs
        let code = try a.encode(x, scope: .batch)
        try a.averageThresholds(code.pattern, code.values, decay: 0)
        let again = try a.encode(x)
        // Of equal codes a batch may keep some, a threshold keeps all.
        #expect(code.count > 40 && again.count <= code.count + 2)
        for row in 0..<x.rows {
            #expect(code.pattern.keptColumns(row: row).allSatisfy { again.pattern[row, $0] })
        }
    }

    /// Features that point away from all data come alive by the auxiliary loss, and by resampling, and by nothing else.
    @Test func deadFeaturesComeAlive() throws {
        func deadShare(_ change: (inout DictionaryTraining) -> Void) throws -> Double {
            let a = try SparseAutoencoder(.init(inputDimensions: 8, width: 16, rule: .topK(2)), seed: 2)
            // Half of the features can not win.
            a.encoderBias!.value = Tensor((0..<16).map { $0 < 5 ? 0 : -2 })
            var settings = settings(.topK(2))
            settings.auxiliary = nil
            change(&settings)
            try a.train(on: source(), steps: 250, settings)
            let x = GeneratedBatches { [bed] step in
                var generator = SeededGenerator(seed: 77, stream: UInt64(step))
                return ActivationBatch(step: step, inputs: bed.draw(400, using: &generator).x)
            }.batch(step: 0).inputs
            let active = Set(try a.encode(x).pattern.columnIndices)
            return 1 - Double(active.count) / 16
        }
        let nothing = try deadShare { _ in }
        let auxiliary = try deadShare { $0.auxiliary = AuxiliaryLoss(.dead(afterTokens: 200)) }
        let resampled = try deadShare { $0.resampling = Resampling(every: 30, times: 3, batches: 2, rise: 5) }
        #expect(auxiliary < nothing - 0.1, "\(nothing), \(auxiliary)")
        #expect(resampled < nothing - 0.1, "\(nothing), \(resampled)")
    }

    /// The encoder of a transcoder points at inputs, whose dimensions are not those of what it decodes.
    @Test func resampledTranscodersPointAtInputs() throws {
        let (inputs, targets): (Tensor<Float>, Tensor<Float>) = (normal([40, 3], seed: 1), normal([40, 5], seed: 2))
        let source = try ActivationRows(inputs, targets: targets, batchSize: 40, seed: 3)
        let a = try SparseAutoencoder(
            .init(inputDimensions: 3, outputDimensions: 5, width: 8, rule: .topK(1)), seed: 4)
        // No feature but the first can win.
        a.encoderBias!.value = Tensor((0..<8).map { $0 == 0 ? 0 : -100 })
        let before = a.decoderWeight.value
        var settings = settings(.topK(1))
        settings.auxiliary = nil
        settings.learningRate = 1e-9
        settings.scalesInputs = false
        settings.resampling = Resampling(every: 2, times: 1, batches: 1, rise: 1)
        try a.train(on: source, steps: 3, settings)
        #expect(a.encoderBias!.buffer.array.dropFirst().allSatisfy { abs($0) < 1e-3 })
        let rows = (0..<40).map { t in (0..<3).map { inputs[t, $0] } }
        for j in 1..<8 {
            let row = (0..<3).map { a.encoderWeight!.value[j, $0] }
            let cosines = rows.map { x in
                let dot = zip(row, x).reduce(Float(0)) { $0 + $1.0 * $1.1 }
                func norm(_ v: [Float]) -> Float { v.reduce(0) { $0 + $1 * $1 }.squareRoot() }
                return dot / (norm(row) * norm(x))
            }
            #expect(cosines.max()! > 0.9999, "feature \(j)")
        }
        expectClose(a.decoderWeight.value, before, 1e-4)
    }
}

func temporaryDirectory() throws -> String {
    var generator = SystemRandomNumberGenerator()
    let path = "/tmp/lacuna-dictionary-\(UInt64.random(in: 0 ..< .max, using: &generator))"
    try FileSystem.createDirectory(path)
    return path
}
