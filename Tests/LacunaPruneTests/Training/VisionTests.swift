import LacunaLearn
import LacunaModels
import LacunaPrune
import LacunaSparse
import LacunaTensor
import Testing

/// Vision transformers whose attention is shaped, and which become 2:4 and rounded.
@Suite struct VisionTests {
    private func fresh(seed: UInt64 = 1) throws -> TrainableViT {
        var generator = SeededGenerator(seed: seed)
        return try TrainableViT(
            ViT(
                random: ViTConfiguration(
                    imageSize: 4, patchSize: 2, channels: 1, hiddenSize: 8, intermediateSize: 12, layerCount: 2,
                    headCount: 2, classes: ["a", "b", "c"]), using: &generator))
    }

    private func pictures(_ count: Int = 60) throws -> LabelledExamples {
        var generator = SeededGenerator(seed: 2)
        let x = Tensor<Float>(normal: [count, 1, 4, 4], using: &generator)
        let labels = x.withPointer { p in
            (0..<count).map { i in Int32((0..<3).max { p[i * 16 + $0] < p[i * 16 + $1] }!) }
        }
        return try LabelledExamples(inputs: x, labels: labels, classes: 3)
    }

    private func train(
        _ model: TrainableViT, steps: Int, rate: Double = 5e-3, hooks: [any TrainingHook] = []
    ) throws {
        var plan = TrainingPlan(steps: steps, learningRate: .constant(rate))
        plan.seed = 4
        try Trainer(
            model: model, optimizer: Adam(), source: ShuffledBatches(pictures(), batchSize: 20, seed: 4), plan: plan,
            hooks: hooks,
            loss: { batch, tape in Loss.crossEntropy(model(tape.constant(batch.inputs)), labels: batch.labels) }
        ).train()
    }

    @Test func newNetworks() throws {
        let model = try fresh()
        let tape = Tape<Float>()
        let images = try pictures(5).inputs
        let learned = tape.evaluating { model(tape.constant(images)).value }
        let run = try model.stored().logits(images)
        #expect(zip(learned.scalars, run.scalars).allSatisfy { abs($0 - $1) < 1e-4 })
        for (patch, heads) in [(3, 2), (2, 3), (0, 2), (2, 0)] {
            #expect(throws: LacunaError.self) {
                try ViTConfiguration(
                    imageSize: 4, patchSize: patch, channels: 1, hiddenSize: 8, intermediateSize: 12, layerCount: 2,
                    headCount: heads, classes: [])
            }
        }
    }

    /// Of n equal weights n log(1 + 1/n²) and log n, of one alone log 2 and 0; gradients by differences.
    @Test func termsOfAttention() throws {
        let tape = Tape<Float>()
        let equal = tape.constant(Tensor(repeating: 1.0 / 16, shape: [3, 16]))
        var single = Tensor<Float>(zeros: [1, 16])
        single.withMutablePointer { $0[5] = 1 }
        let one = tape.constant(single)
        #expect(abs(16 * AttentionPenalty.term(.logarithm, equal).item - 0.0624) < 1e-4)
        #expect(abs(16 * AttentionPenalty.term(.logarithm, one).item - 0.6931) < 1e-4)
        #expect(abs(AttentionPenalty.term(.entropy, equal).item - 2.7726) < 1e-4)
        #expect(abs(AttentionPenalty.term(.entropy, one).item) < 1e-6)
        // Alone, descent on logits spreads attention with one and gathers it with the other.
        for kind in AttentionPenalty.Kind.allCases {
            var generator = SeededGenerator(seed: 3)
            let logits = Parameter(Tensor<Float>(normal: [1, 16], using: &generator))
            func entropy() -> Float {
                tape.evaluating { AttentionPenalty.term(.entropy, logits.on(tape).softmax()).item }
            }
            let before = entropy()
            let optimizer = Adam(learningRate: 0.05)
            for _ in 0..<400 {
                logits.clearGradient()
                tape.backward(from: AttentionPenalty.term(kind, logits.on(tape).softmax()))
                optimizer.step([logits])
            }
            #expect(kind == .logarithm ? entropy() > 2.772 : entropy() < before / 10)
        }
    }

    /// What the hook adds is the coefficient times the term of attention computed from the outside, and it leaves no trace.
    @Test(arguments: AttentionPenalty.Blocks.allCases) func thePenaltyIsThatOfTheNetwork(
        blocks: AttentionPenalty.Blocks
    ) throws {
        final class Probe: TrainingHook {
            let hook: AttentionPenalty
            var seen: Float?
            init(_ hook: AttentionPenalty) { self.hook = hook }
            func penalty(_ run: TrainingRun) -> Variable<Float>? {
                seen = hook.penalty(run)?.item
                return nil
            }
        }
        let model = try fresh()
        let penalty = try AttentionPenalty(coefficient: 2, kind: .entropy, blocks: blocks)
        let probe = Probe(penalty)
        let all = try pictures(20).inputs
        let entropies = AttentionPenalty.entropies(model, all)
        #expect(entropies.count == 2 && entropies.allSatisfy { $0 > 0 && $0 < 1.6095 })
        var plan = TrainingPlan(steps: 1, learningRate: .constant(0))
        plan.seed = 1
        let names = model.namedParameters.map(\.name)
        try Trainer(
            model: model, optimizer: SGD(learningRate: 0),
            source: ShuffledBatches(pictures(20), batchSize: 20, seed: 1),
            plan: plan, hooks: [penalty, probe],
            loss: { batch, tape in Loss.crossEntropy(model(tape.constant(batch.inputs)), labels: batch.labels) }
        ).train()
        let expected = blocks == .last ? entropies[1] : (entropies[0] + entropies[1]) / 2
        #expect(abs(Double(probe.seen!) - 2 * expected) < 1e-4)
        #expect(model.namedParameters.map(\.name) == names && model.linears.allSatisfy { $0.layer.dense != nil })
        #expect(throws: LacunaError.self) { try AttentionPenalty(coefficient: -1) }
        #expect(throws: LacunaError.self) {
            try LacunaPruneTests.train(network(), hooks: [AttentionPenalty()], steps: 1)
        }
    }

    @Test func attentionIsSpreadOrGathered() throws {
        func entropy(_ hooks: [any TrainingHook]) throws -> Double {
            let model = try fresh()
            try train(model, steps: 60, hooks: hooks)
            return AttentionPenalty.entropies(model, try pictures().inputs)[1]
        }
        let plain = try entropy([])
        #expect(try entropy([AttentionPenalty(coefficient: 0)]) == plain)
        #expect(try entropy([AttentionPenalty(coefficient: 5)]) > plain)
        #expect(try entropy([AttentionPenalty(coefficient: 5, kind: .entropy)]) < plain)
    }

    // MARK: Sparse and rounded

    /// Multiples of each row's own scale, the largest of which is kept; zeros stay; inputs are rounded, too.
    @Test(arguments: [8, 4, 2]) func roundedWeights(bits: Int) throws {
        var generator = SeededGenerator(seed: 5)
        let base = DenseWeight(Tensor(normal: [6, 8], using: &generator))
        base.mask = try Selection.mask(magnitudesOf: base.parameter.value, pattern: .nm(n: 2, m: 4))
        let weight = try FakeQuantizedWeight(base, bits: bits)
        let (w, q) = (base.densified(), weight.densified())
        let steps = Float(1 << (bits - 1) - 1)
        for row in 0..<6 {
            let top = (0..<8).map { abs(w[row, $0]) }.max()!
            for c in 0..<8 {
                let level = q[row, c] / (top / steps)
                #expect(abs(level - level.rounded()) < 1e-4 && abs(level) <= steps + 1e-3)
                #expect(abs(q[row, c] - w[row, c]) <= top / steps / 2 + 1e-6)
                if w[row, c] == 0 { #expect(q[row, c] == 0) }
            }
        }
        let tape = Tape<Float>()
        let x = Tensor<Float>(normal: [5, 8], using: &generator)
        tape.isTraining = true
        let y = weight.apply(tape.constant(x), bias: nil).value
        let largest = x.scalars.map(abs).max()!
        #expect(weight.range.value.scalars == [largest])
        for r in 0..<5 {
            for o in 0..<6 {
                let expected = (0..<8).reduce(Float(0)) { sum, c in
                    sum + (x[r, c] / (largest / steps)).rounded() * (largest / steps) * q[o, c]
                }
                #expect(abs(y[r, o] - expected) < 1e-4)
            }
        }
        // Inputs beyond the range are clamped to it, and have no gradient; in tests the range stays.
        let far = tape.variable(Tensor(repeating: 10 * largest, shape: [1, 8]))
        let clamped = tape.evaluating { weight.apply(far, bias: nil).value }
        #expect(
            (0..<6).allSatisfy { o in
                abs(clamped[0, o] - (0..<8).reduce(0) { $0 + largest * q[o, $1] }) < 1e-3 * largest
            })
        #expect(weight.range.value.scalars == [largest])
        #expect(throws: LacunaError.self) { try FakeQuantizedWeight(base, bits: 9) }
    }

    private func copy(_ model: TrainableViT) throws -> TrainableViT {
        let other = try fresh()
        for (a, b) in zip(other.parameters, model.parameters) { a.value = b.value }
        for (a, b) in zip(other.linears, model.linears) { a.layer.dense?.mask = b.layer.dense?.mask }
        return other
    }

    /// A student that is the teacher has nothing to learn; one that is not comes nearer, in features as in predictions.
    @Test func distillingFeatures() throws {
        let teacher = try fresh()
        let name = "vit.encoder.layer.1.output.dense"
        let images = try pictures(20).inputs
        let tape = Tape<Float>()
        func term(_ student: TrainableViT, _ soft: Double, _ features: Double) throws -> Float {
            let distillation = try FeatureDistillation(
                student: student, teacher: teacher, layers: [name], soft: soft, features: features)
            defer { distillation.finish() }
            let value = distillation.term(images, logits: student(tape.constant(images))).item
            tape.reset()
            return value
        }
        #expect(abs(try term(copy(teacher), 10, 5)) < 1e-5)
        let student = try fresh(seed: 9)
        let before = (try term(student, 1, 0), try term(student, 0, 1))
        #expect(before.0 > 1e-3 && before.1 > 1e-3)
        #expect(abs(try term(student, 2, 3) - (2 * before.0 + 3 * before.1)) < 1e-3)
        #expect(
            student.linears.allSatisfy { $0.layer.dense != nil } && teacher.linears.allSatisfy { $0.layer.dense != nil }
        )
        #expect(throws: LacunaError.self) {
            try FeatureDistillation(student: student, teacher: teacher, layers: ["nothing"])
        }
        #expect(throws: LacunaError.self) {
            try FeatureDistillation(student: student, teacher: teacher, layers: [name], weights: [1, 2])
        }
        #expect(throws: LacunaError.self) {
            try FeatureDistillation(student: student, teacher: teacher, layers: [name], temperature: 0)
        }
        let weighted = try FeatureDistillation(
            student: student, teacher: teacher, layers: [name, "vit.encoder.layer.0.output.dense"], weights: [3, 1])
        #expect(weighted.weights == [1.5, 0.5])
        weighted.finish()
    }

    /// Both stages: never more than 2 of 4 after training, features come nearer, and what is stored is what was rounded.
    @Test(arguments: [8, 4]) func sparseThenRounded(bits: Int) throws {
        let teacher = try fresh()
        try train(teacher, steps: 60)
        let student = try copy(teacher)
        let method = try GPUSQViT(bits: bits, hard: 0)
        var plan = TrainingPlan(steps: 60, learningRate: .constant(3e-3))
        plan.seed = 6
        let first = try method.sparsify(
            copy(teacher), teacher: teacher, on: pictures(), optimizer: Adam(),
            plan: TrainingPlan(steps: 1, learningRate: .constant(0)), batch: 60)
        let distances = try method.sparsify(
            student, teacher: teacher, on: pictures(), optimizer: Adam(weightDecay: 0.1), plan: plan, batch: 20)
        #expect(distances.count == 1 && distances[0] < first[0])
        func isSparse(_ model: TrainableViT) -> Bool {
            model.linears.filter { $0.name.contains(".layer.") }.allSatisfy {
                SparsePattern(nonzerosOf: $0.layer.weight.densified()).satisfies(.nm(n: 2, m: 4))
            }
        }
        #expect(isSparse(student) && !isSparse(teacher))
        let sparse = try copy(student)
        try method.quantize(
            student, teacher: sparse, distances: distances, on: pictures(), optimizer: Adam(), plan: plan, batch: 20)
        #expect(isSparse(student))
        #expect(student.linears.count(where: { $0.layer.weight is FakeQuantizedWeight }) == 12)
        let stored = try method.stored(student)
        #expect(stored.count == 12)
        for (name, matrix) in stored {
            let weight = student.linears.first { $0.name == name }!.layer.weight as! FakeQuantizedWeight
            let (w, q) = (weight.base.densified(), matrix.densified())
            let top = w.scalars.map(abs).max()!
            #expect(zip(w.scalars, q.scalars).allSatisfy { abs($0 - $1) <= top / (bits == 8 ? 127 : 7) })
            // Rows this short are padded.
            #expect(matrix.byteCount <= w.count * 4 / 2)
        }
        for (bits, factor) in [(5, 1.0), (8, -1)] {
            #expect(throws: LacunaError.self) { try GPUSQViT(bits: bits, hard: factor) }
        }
        #expect(throws: LacunaError.self) { try GPUSQViT(hard: 0, soft: 0, features: 0) }
    }

    /// The range of inputs follows a hundredth of the way.
    @Test func rangesFollowSlowly() throws {
        let weight = try FakeQuantizedWeight(DenseWeight(Tensor(repeating: 1, shape: [1, 2])), bits: 8)
        let tape = Tape<Float>()
        tape.isTraining = true
        for (x, range) in [(2, 2), (-4, 2.02), (1, 2.0098)] as [(Float, Float)] {
            _ = weight.apply(tape.constant(Tensor([x, 0], shape: [1, 2])), bias: nil)
            #expect(abs(weight.range.value[0] - range) < 1e-5)
        }
    }

    /// What is given back are the distances of the last quarter, in which nothing moves here.
    @Test func distancesAreThoseOfTheEnd() throws {
        let teacher = try fresh()
        let student = try copy(teacher)
        let method = try GPUSQViT(hard: 0)
        var plan = TrainingPlan(
            steps: 40, learningRate: .steps([.init(from: 0, value: 1e-2), .init(from: 30, value: 0)]))
        plan.seed = 6
        let found = try method.sparsify(
            student, teacher: teacher, on: pictures(20), optimizer: Adam(), plan: plan, batch: 20)
        let rest = try method.sparsify(
            copy(student), teacher: teacher, on: pictures(20), optimizer: Adam(),
            plan: TrainingPlan(steps: 1, learningRate: .constant(0)), batch: 20)
        #expect(abs(found[0] - rest[0]) < 1e-4 * rest[0] && rest[0] > 0)
    }
}
