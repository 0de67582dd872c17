import LacunaIO
import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaPrune

/// Compression on a network small enough for a test, trained a little so that it predicts something.
@Suite struct CompressorTests {
    private static let vocabulary = 40

    /// A text with an order to be learned: the next token follows from the last two.
    private static func text(_ count: Int, seed: UInt64) -> [Int] {
        var generator = SeededGenerator(seed: seed)
        var tokens = [1, 2]
        for _ in 2..<count {
            let (a, b) = (tokens[tokens.count - 2], tokens[tokens.count - 1])
            tokens.append(
                Int.random(in: 0..<10, using: &generator) == 0
                    ? Int.random(in: 0..<vocabulary, using: &generator) : (a * 3 + b * 7 + 1) % vocabulary)
        }
        return tokens
    }

    private static func model(steps: Int = 150) throws -> Transformer {
        let network = try TrainableTransformer(
            Transformer(
                random: TransformerConfiguration(
                    vocabularySize: vocabulary, hiddenSize: 32, intermediateSizes: [64, 64], headCount: 2,
                    keyValueHeadCount: 1, headSize: 16, maximumPositions: 64, tiedEmbeddings: true), seed: 5))
        let source = try TokenWindows(text(6000, seed: 1).map { Int32($0) }, length: 32, batchSize: 4, seed: 2)
        let trainer = try Trainer(
            model: network, optimizer: Adam(learningRate: 0), source: source,
            plan: TrainingPlan(steps: steps, learningRate: .cosine(from: 5e-3, to: 0, steps: steps)),
            loss: { batch, tape in network.loss(batch.ids, next: batch.next, batch: 4, on: tape) })
        try trainer.train()
        return try network.stored(.f32)
    }

    /// Trained once for all tests.
    private static let dense = Result { try model() }

    private func dense() throws -> Transformer { try Self.dense.get() }

    private func texts() throws -> CompressionText {
        try CompressionText(
            sources: [Self.text(4000, seed: 3), Self.text(2000, seed: 4)], evaluation: Self.text(800, seed: 9),
            heldOut: 400)
    }

    private func plan(_ target: String, _ values: ValueType, steps: Int) throws -> CompressionPlan {
        var plan = try CompressionPlan(target: target, values: values, healing: "\(steps)steps")
        (plan.sequences, plan.sequenceLength, plan.heldOutTokens, plan.evaluationTokens) = (16, 32, 400, 800)
        plan.reconstruction = Reconstruction(steps: 8, learningRate: 5e-3, batch: 4)
        plan.healing = Healing(window: 32, batch: 4, learningRate: 1e-2)
        return plan
    }

    private func folder(_ body: (String) throws -> Void) throws {
        let path = "/tmp/lacuna-compressor-\(UInt64.random(in: 0...UInt64.max))"
        try FileSystem.createDirectory(path)
        defer { try? FileSystem.remove(path) }
        try body(path)
    }

    /// Whether two models store the same numbers.
    private func same(_ a: Transformer, _ b: Transformer) -> Bool {
        a.linearNames == b.linearNames
            && a.linearNames.allSatisfy {
                a[linear: $0].format == b[linear: $0].format
                    && a[linear: $0].densified().scalars == b[linear: $0].densified().scalars
            } && a.finalNorm.weight.scalars == b.finalNorm.weight.scalars
    }

    /// Windows of the defaults that a model is too small for are as long as it takes.
    @Test func shortContextsAreEnough() throws {
        var plan = try plan("50%", .bf16, steps: 1)
        (plan.methods, plan.budgets, plan.healing) = (["wanda"], [.uniform], Healing(batch: 2))
        plan.sequenceLength = 512
        let compressor = Compressor(plan, text: try texts())
        #expect(try compressor.calibration(4, for: dense()).sequenceLength == 64)
        let report = try compressor.compress(dense()).report
        #expect(report.isFinished && report[.healed] != nil)
        try folder { path in
            plan.sequences = 100_000
            let short = Compressor(plan, text: try texts(), directory: path)
            #expect(throws: LacunaError.self) { try short.compress(dense()) }
            #expect(try Compressor.report(in: path) == nil, "nothing is begun that cannot be done")
        }
    }

    // MARK: Parts

    @Test func roundingIsTheStores() throws {
        var generator = SeededGenerator(seed: 3)
        var weight = Tensor<Float>(normal: [7, 150], using: &generator)
        let mask = try Selection.mask(magnitudesOf: weight, pattern: .unstructured(.row), sparsity: 0.5)
        mask.apply(to: &weight)
        for values in [ValueType.int8, .int4] {
            let stored = try WeightStore.make(weight, mask: mask, layout: .bitmask, values: values).densified()
            #expect(RoundedView(values).rounded(weight).scalars == stored.scalars)
            #expect(stored.scalars != weight.scalars)
        }
        // The gradient passes as if nothing were rounded.
        let layer = DenseWeight(weight)
        layer.view = RoundedView(.int4)
        let tape = Tape<Float>()
        let x = Tensor<Float>(normal: [3, 150], using: &generator)
        let y = layer.apply(tape.constant(x), bias: nil)
        #expect(y.value.scalars != x.multiplied(by: weight, otherTransposed: true).scalars)
        tape.backward(from: y.sum())
        let gradient = try #require(layer.parameter.gradient)
        for column in [0, 77, 149] {
            let expected = x[0, column] + x[1, column] + x[2, column]
            #expect(abs(gradient[5, column] - expected) < 1e-5)
        }
    }

    /// Blocks come nearer to the dense ones under masks that stay.
    @Test func blocksAreReconstructed() throws {
        let dense = try dense()
        let calibration = try CalibrationSet(text: texts().training, sequences: 16, length: 32)
        let reference = try PredictionReference(dense, tokens: texts().heldOut, window: 32)
        let (pruned, _) = try Pruner(Magnitude(), pattern: .nm(n: 2, m: 4)).prune(dense)
        let before = try reference.compare(pruned).divergence
        var healed = pruned
        try Reconstruction(steps: 16, learningRate: 1e-2, batch: 4).run(
            &healed, toward: dense, calibration: calibration)
        for name in pruned.linearNames {
            let (old, new) = (pruned[linear: name].densified(), healed[linear: name].densified())
            #expect(zip(old.scalars, new.scalars).allSatisfy { $0 != 0 || $1 == 0 }, "\(name)")
            #expect(old.scalars != new.scalars)
        }
        #expect(try reference.compare(healed).divergence < 0.7 * before)
        var unchanged = pruned
        try Reconstruction(steps: 0, learningRate: 1, batch: 1).run(&unchanged, toward: dense, calibration: calibration)
        #expect(same(unchanged, pruned))
    }

    @Test func healingKeepsMasksHeadAndSeed() throws {
        let dense = try dense()
        let text = try texts()
        let reference = try PredictionReference(dense, tokens: text.heldOut, window: 32)
        let (pruned, _) = try Pruner(Magnitude(), pattern: .unstructured(.row), budget: UniformBudget(0.6)).prune(dense)
        let before = try reference.compare(pruned).divergence
        let settings = Healing(window: 32, batch: 4, learningRate: 1e-2)
        func heal(_ seed: UInt64) throws -> Transformer {
            try settings.run(pruned, teacher: dense, tokens: text.training, steps: 30, seed: seed)
        }
        let healed = try heal(0)
        #expect(try reference.compare(healed).divergence < 0.5 * before)
        for name in pruned.linearNames {
            let (old, new) = (pruned[linear: name].densified(), healed[linear: name].densified())
            #expect(zip(old.scalars, new.scalars).allSatisfy { $0 != 0 || $1 == 0 }, "\(name)")
        }
        #expect(healed.embedding.densified().scalars == dense.embedding.densified().scalars)
        let (again, other) = (try heal(0), try heal(1))
        #expect(same(healed, again) && !same(healed, other))
        // A model that predicts what its teacher does has nothing to learn.
        let itself = try settings.run(dense, teacher: dense, tokens: text.training, steps: 1)
        #expect(try reference.compare(itself).divergence < 1e-3 * before)
        let untouched = try settings.run(pruned, teacher: dense, tokens: text.training, steps: 0)
        #expect(same(untouched, pruned))
        #expect(throws: LacunaError.self) {
            try settings.run(pruned, teacher: dense, tokens: [1, 2, 3], steps: 1)
        }
    }

    // MARK: The whole

    @Test func everyStepIsTakenAndMeasured() throws {
        let (dense, text) = (try dense(), try texts())
        try folder { folder in
            var plan = try plan("75%", .int4, steps: 40)
            plan.healing.learningRate = 5e-3
            let compressor = Compressor(plan, text: text, directory: folder + "/run")
            var measured = 0
            compressor.speed = { models in
                measured += 1
                return models.map { Double($0.bytesTouchedPerToken()) }
            }
            let (small, report) = try compressor.compress(dense)
            #expect(report.steps.map(\.stage) == CompressionStage.allCases)
            #expect(report.healingSteps == 40 && report.blockSteps == 8 && measured == 1)
            #expect(report[.healed]?.trainedTokens == 40 * 128 && report[.rounded]?.trainedTokens == 0)
            #expect(report[.reconstructed]?.trainedTokens == 8 * 4 * 32)
            // Three methods, then the other budgets for the best of them.
            #expect(report.candidates.map(\.budget) == [.uniform, .uniform, .uniform, .owl, .searched])
            let best = report.candidates.map(\.fidelity.divergence).min()
            #expect(report.chosen?.fidelity.divergence == best)
            #expect(report.candidates.suffix(2).allSatisfy { $0.method == report.candidates[3].method })
            #expect(report.searchedSparsities.count == 2)
            let divergences = report.steps.map(\.fidelity.divergence)
            #expect(divergences[0] < 1e-6 && report.steps[0].fidelity.agreement == 1)
            #expect(report[.healed]!.fidelity.divergence < report[.rounded]!.fidelity.divergence, "\(divergences)")
            #expect(report[.healed]!.fidelity.divergence < 0.5 * report[.pruned]!.fidelity.divergence, "\(divergences)")
            // Half an entry of the shortest rows.
            for step in report.steps.dropFirst() { #expect(abs(step.sparsity - 0.75) < 1.0 / 64, "\(step.stage)") }
            #expect(report[.rounded]!.bytesPerToken < report[.pruned]!.bytesPerToken)
            #expect(report.steps.allSatisfy { $0.tokensPerSecond == Double($0.bytesPerToken) })
            // What was measured is what is returned and what was written.
            let reference = try PredictionReference(dense, tokens: text.evaluation)
            #expect(try reference.compare(small) == report[.healed]!.fidelity)
            let loaded = try Transformer.load(folder + "/run/model")
            #expect(same(loaded, small))
            #expect(small.linearNames.allSatisfy { small[linear: $0].format.values == .int4 })
            #expect(!FileSystem.exists(folder + "/run/work"))
            #expect(try Compressor.report(in: folder + "/run") == report)
            // A run that is there is not begun anew, and one that is done is done.
            #expect(throws: LacunaError.self) { try compressor.compress(dense) }
            let (again, finished) = try compressor.compress(dense, resumes: true)
            #expect(same(again, small) && finished == report)
        }
    }

    @Test func patternsAreKeptInTheirLayout() throws {
        var plan = try plan("2:4", .bf16, steps: 5)
        plan.methods = ["magnitude", "wanda"]
        let (small, report) = try Compressor(plan, text: texts()).compress(dense())
        #expect(report.candidates.map(\.budget) == [.uniform, .uniform])
        #expect(report.steps.map(\.stage) == [.dense, .pruned, .reconstructed, .healed])
        for name in small.linearNames {
            #expect(small[linear: name].format == StorageFormat(.nm(n: 2, m: 4), .bf16))
        }
        // Nobody asked.
        #expect(report.control == nil && report.steps.allSatisfy { $0.tokensPerSecond == nil })
    }

    @Test func theDenseModelIsItsOwnControl() throws {
        var plan = try plan("50%", .bf16, steps: 5)
        (plan.methods, plan.budgets, plan.control) = (["magnitude"], [.uniform], true)
        let (_, alone) = try Compressor(plan, text: texts()).compress(dense())
        #expect(alone.control == alone[.dense]?.fidelity)
        plan.healing.teacherWeight = 0.5
        let (_, healed) = try Compressor(plan, text: texts()).compress(dense())
        let control = try #require(healed.control)
        #expect(control != healed[.dense]?.fidelity)
        #expect(healed.perplexityRatio == healed[.healed]!.fidelity.perplexity / control.perplexity)
    }

    /// Stops when a piece of work has reported so often.
    private final class Stop: ProgressReporter {
        private let task: String
        private let left: Locked<Int>
        init(_ task: String, after count: Int) { (self.task, left) = (task, Locked(count)) }
        func update(task: String, completed: Int, total: Int, detail: String) {
            if task == self.task { left.withLock { $0 -= 1 } }
        }
        var isCancelled: Bool { left.withLock { $0 <= 0 } }
    }

    @Test func aRunThatWasStoppedEndsInTheSameNumbers() throws {
        let (dense, text) = (try dense(), try texts())
        var plan = try plan("50%", .int4, steps: 32)
        (plan.methods, plan.budgets) = (["wanda", "magnitude"], [.uniform])
        try folder { folder in
            let (whole, report) = try Compressor(plan, text: text, directory: folder + "/whole").compress(dense)
            let stopped = Compressor(plan, text: text, directory: folder + "/stopped")
            // Before anything is chosen, in the middle of blocks, and of healing, twice.
            for (index, stop) in [("pruning", 3), ("reconstructing", 9), ("training", 13), ("training", 9)]
                .enumerated()
            {
                #expect(throws: LacunaError.cancelled, "\(stop)") {
                    try stopped.compress(dense, resumes: index > 0, progress: Stop(stop.0, after: stop.1))
                }
            }
            let (small, resumed) = try stopped.compress(dense, resumes: true)
            #expect(same(small, whole))
            #expect(resumed.steps.map(\.fidelity) == report.steps.map(\.fidelity))
            #expect(resumed.candidates.map(\.fidelity) == report.candidates.map(\.fidelity))
            // Another plan, text or model does not go on with it.
            var other = plan
            other.seed = 1
            for compressor in [
                Compressor(other, text: text, directory: folder + "/stopped"),
                Compressor(
                    plan, text: try CompressionText(sources: [text.training], evaluation: text.evaluation),
                    directory: folder + "/stopped"),
            ] {
                #expect(throws: LacunaError.self) { try compressor.compress(dense, resumes: true) }
            }
            let another = try Transformer(random: dense.configuration, seed: 8)
            #expect(throws: LacunaError.self) { try stopped.compress(another, resumes: true) }
        }
    }

    /// A time decides the number of steps, which is kept.
    @Test func aTimeBecomesSteps() throws {
        var plan = try plan("50%", .bf16, steps: 0)
        (plan.methods, plan.budgets, plan.effort) = (["magnitude"], [.uniform], .seconds(0.4))
        plan.reconstruction.steps = 0
        let (_, report) = try Compressor(plan, text: texts()).compress(dense())
        let steps = try #require(report.healingSteps)
        #expect(steps > 0 && report[.healed]?.trainedTokens == steps * 128 && report.blockSteps == 0)
        // Blocks do not take all of it.
        plan.reconstruction.steps = 100_000
        let (_, shared) = try Compressor(plan, text: texts()).compress(dense())
        let blocks = try #require(shared.blockSteps)
        #expect(blocks < 100_000 && (shared[.reconstructed]?.trainedTokens ?? 0) == blocks * 4 * 32)
        plan.reconstruction.steps = 0
        plan.effort = .seconds(0)
        let (_, none) = try Compressor(plan, text: texts()).compress(dense())
        #expect(none.healingSteps == 0 && none.steps.map(\.stage) == [.dense, .pruned])
    }
}
