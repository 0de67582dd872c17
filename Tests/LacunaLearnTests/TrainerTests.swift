import LacunaIO
import LacunaLearn
import LacunaSparse
import LacunaTensor
import Testing

@Suite struct TrainerTests {
    /// Two noisy rings, hard enough to need a hidden layer.
    static func rings(_ count: Int, seed: UInt64) -> LabelledExamples {
        var generator = SeededGenerator(seed: seed)
        var inputs = Tensor<Float>(uninitialized: [count, 2])
        var labels: [Int32] = []
        inputs.withMutablePointer { p in
            for i in 0..<count {
                let (angle, label) = (generator.uniform() * 6.283, i % 2)
                let radius = 1 + Double(label) + 0.15 * generator.normal()
                p[2 * i] = Float(radius * cosine(angle))
                p[2 * i + 1] = Float(radius * sine(angle))
                labels.append(Int32(label))
            }
        }
        return try! LabelledExamples(inputs: inputs, labels: labels, classes: 2)
    }

    private func folder() throws -> String {
        let path = FileSystem.join("/tmp", "lacuna-learn-\(UInt64.random(in: 0...UInt64.max))")
        try FileSystem.createDirectory(path)
        return path
    }

    /// A hook with random choices and state of its own.
    private final class NoisyHook: TrainingHook {
        var total = 0.0
        func afterStep(_ run: TrainingRun) {
            let draw = run.generator.normal()
            total += draw
            let bias = run.model.parameters.last!
            bias.buffer.pointer[0] += Float(draw + 1e-3 * total) * 1e-3
        }
        var state: JSONValue { .number(total) }
        func restore(_ state: JSONValue) { total = state.doubleValue ?? .nan }
    }

    private func makeTrainer(steps: Int, every: Int = 0) throws -> (MLP, Trainer<ShuffledBatches>) {
        var generator = SeededGenerator(seed: 1)
        let model = MLP(widths: [2, 24, 24, 2], dropout: 0.1, using: &generator)
        try model.layers[1].sparsify(
            .csr, mask: SparsePattern(rows: 24, columns: 24) { _, _ in generator.uniform() < 0.3 })
        let (train, test) = (Self.rings(300, seed: 1), Self.rings(200, seed: 2))
        var plan = TrainingPlan(
            steps: steps, learningRate: .warmUp(steps: 5, then: .cosine(from: 0.02, to: 0, steps: steps)))
        plan.clipNorm = 1
        plan.accumulation = 2
        plan.averageDecay = 0.9
        plan.logEvery = 10
        plan.evaluateEvery = 25
        plan.checkpointEvery = every
        let trainer = try Trainer(
            model: model, optimizer: Adam(), source: ShuffledBatches(train, batchSize: 32, seed: 4), plan: plan,
            hooks: [NoisyHook()],
            evaluate: { tape in
                let logits = model(tape.constant(test.inputs))
                return [
                    ("test_loss", Double(Loss.crossEntropy(logits, labels: test.labels).item)),
                    ("accuracy", Classification.accuracy(logits, test.labels)),
                ]
            },
            loss: { batch, tape in Loss.crossEntropy(model(tape.constant(batch.inputs)), labels: batch.labels) })
        return (model, trainer)
    }

    @Test func learnsTheRings() throws {
        let (_, trainer) = try makeTrainer(steps: 300)
        let report = try trainer.train()
        #expect(report.evaluation!["accuracy"]! > 0.95)
        #expect(report.metrics.first!["loss"]! > report.metrics.last!["loss"]!)
        #expect(report.steps == 300 && report.stoppedEarly == nil)
    }

    /// Interrupted at any step and resumed by new objects: bit for bit the run that was not interrupted.
    @Test(arguments: [1, 20, 37, 59]) func resumedRunsAreExact(stop: Int) throws {
        let (whole, interrupted) = (try folder(), try folder())
        defer { for path in [whole, interrupted] { try? FileSystem.remove(path) } }
        let (model, trainer) = try makeTrainer(steps: 60)
        try trainer.train(directory: whole)
        let (_, first) = try makeTrainer(steps: 60)
        try first.train(directory: interrupted, stopAfter: stop)
        #expect(!FileSystem.exists(FileSystem.join(interrupted, "model.safetensors")))
        let (resumedModel, second) = try makeTrainer(steps: 60)
        try second.resume(from: interrupted)
        #expect(second.run.step == stop)
        try second.train(directory: interrupted)
        #expect(model.parameters.map(\.value) == resumedModel.parameters.map(\.value))
        for name in ["model.safetensors", "checkpoint.safetensors"] {
            #expect(
                try FileSystem.readBytes(FileSystem.join(whole, name))
                    == FileSystem.readBytes(FileSystem.join(interrupted, name)))
        }
    }

    /// Killed between checkpoints: the steps after the last one are done again, with the same result.
    @Test func killedRunsAreExact() throws {
        let (whole, killed) = (try folder(), try folder())
        defer { for path in [whole, killed] { try? FileSystem.remove(path) } }
        let (model, trainer) = try makeTrainer(steps: 60)
        try trainer.train(directory: whole)
        let (_, first) = try makeTrainer(steps: 60, every: 20)
        try first.train(directory: killed, stopAfter: 20)
        // Work past the checkpoint that is lost: metrics written, nothing saved.
        let log = FileSystem.join(killed, "metrics.jsonl")
        let lines = try FileSystem.readText(log)
        try AtomicFile.write(lines + "{\"step\":30,\"loss\":9}\n{\"step\":", to: log)
        let (resumed, second) = try makeTrainer(steps: 60, every: 20)
        try second.resume(from: killed)
        try second.train(directory: killed)
        #expect(model.parameters.map(\.value) == resumed.parameters.map(\.value))
        let steps = try FileSystem.readText(log).split(separator: "\n").map {
            try JSONValue(parsing: String($0))["step"]!.intValue!
        }
        #expect(steps == [10, 20, 25, 30, 40, 50, 60])
    }

    @Test func cancellingWritesACheckpoint() throws {
        final class Canceller: ProgressReporter, @unchecked Sendable {
            var updates = 0
            func update(task: String, completed: Int, total: Int, detail: String) { updates += 1 }
            var isCancelled: Bool { updates >= 3 }
        }
        let path = try folder()
        defer { try? FileSystem.remove(path) }
        let (_, trainer) = try makeTrainer(steps: 60)
        #expect(throws: LacunaError.cancelled) { try trainer.train(directory: path, progress: Canceller()) }
        let (_, second) = try makeTrainer(steps: 60)
        try second.resume(from: path)
        #expect(second.run.step > 0 && second.run.step < 60)
    }

    /// A run that ended before its first checkpoint cannot be gone on with, which the error says with the name of the file.
    @Test func aMissingCheckpointIsNamed() throws {
        let path = try folder()
        defer { try? FileSystem.remove(path) }
        let (_, trainer) = try makeTrainer(steps: 60)
        let attempts: [() throws -> Void] = [
            { try trainer.resume(from: path) },
            { _ = try Trainer<ShuffledBatches>.settings(inCheckpointOf: path) },
        ]
        for attempt in attempts {
            do {
                try attempt()
                Issue.record("no error was thrown")
            } catch LacunaError.file(let file, let reason) {
                #expect(file == FileSystem.join(path, "checkpoint.safetensors"))
                #expect(reason.contains("holds no run") && reason.contains("start it again"))
            }
        }
    }

    @Test func earlyStopping() throws {
        var generator = SeededGenerator(seed: 1)
        let model = MLP(widths: [2, 4, 2], using: &generator)
        var plan = TrainingPlan(steps: 100, learningRate: .constant(0))
        plan.evaluateEvery = 5
        plan.patience = 3
        let trainer = try Trainer(
            model: model, optimizer: SGD(learningRate: 0),
            source: ShuffledBatches(Self.rings(50, seed: 1), batchSize: 10, seed: 1), plan: plan,
            evaluate: { _ in [("loss", 1)] },
            loss: { batch, tape in Loss.crossEntropy(model(tape.constant(batch.inputs)), labels: batch.labels) })
        #expect(try trainer.train().stoppedEarly == 20)
        plan.patience = 0
        #expect(throws: LacunaError.self) { try plan.validate() }
    }

    @Test func divergenceIsAnError() throws {
        var generator = SeededGenerator(seed: 1)
        let model = MLP(widths: [2, 8, 2], using: &generator)
        let trainer = try Trainer(
            model: model, optimizer: SGD(learningRate: 0),
            source: ShuffledBatches(Self.rings(50, seed: 1), batchSize: 10, seed: 1),
            plan: TrainingPlan(steps: 50, learningRate: .constant(1e30)),
            loss: { batch, tape in Loss.crossEntropy(model(tape.constant(batch.inputs)), labels: batch.labels) })
        #expect(throws: LacunaError.self) { try trainer.train() }
    }

    @Test func batchesAreFunctionsOfTheStep() throws {
        let examples = Self.rings(25, seed: 3)
        let source = ShuffledBatches(examples, batchSize: 10, seed: 5)
        #expect(source.batchesPerEpoch == 3)
        var seen: [[Float]] = []
        for step in 3..<6 {
            let batch = source.batch(step: step)
            for i in 0..<batch.labels.count { seen.append([batch.inputs[i, 0], batch.inputs[i, 1]]) }
        }
        // An epoch sees every example once, and the next one in another order.
        #expect(seen.count == 25 && Set(seen.map { $0.map(\.bitPattern) }).count == 25)
        #expect(source.batch(step: 0).inputs != source.batch(step: 3).inputs)
        #expect(source.batch(step: 7).inputs == ShuffledBatches(examples, batchSize: 10, seed: 5).batch(step: 7).inputs)
        let loader = Prefetcher(source, first: 2, depth: 3)
        for step in 2..<40 { #expect(loader.batch(step: step).inputs == source.batch(step: step).inputs) }
        loader.stop()
        let windows = try TokenWindows((0..<100).map { Int32($0) }, length: 7, batchSize: 4, seed: 1)
        let batch = windows.batch(step: 3)
        #expect(batch.ids.count == 28 && zip(batch.ids, batch.next).allSatisfy { $0 + 1 == $1 })
        #expect(throws: LacunaError.self) { try TokenWindows([1, 2], length: 2, batchSize: 1, seed: 0) }
        #expect(throws: LacunaError.self) {
            try LabelledExamples(inputs: Tensor(zeros: [2, 2]), labels: [0, 2], classes: 2)
        }
    }

    @Test func modelFilesKeepEverything() throws {
        let path = try folder()
        defer { try? FileSystem.remove(path) }
        let file = FileSystem.join(path, "m.safetensors")
        func make(_ seed: UInt64) throws -> MLP {
            var generator = SeededGenerator(seed: seed)
            let model = MLP(widths: [16, 12, 8, 8, 4], using: &generator)
            func mask(_ layer: Linear, _ keep: Double) -> SparsePattern {
                SparsePattern(rows: layer.outputDimensions, columns: layer.inputDimensions) { _, _ in
                    generator.uniform() < keep
                }
            }
            try model.layers[0].sparsify(.csr, mask: mask(model.layers[0], 0.3))
            try model.layers[1].sparsify(.bitmask, mask: mask(model.layers[1], 0.5))
            try model.layers[2].sparsify(.masked, mask: mask(model.layers[2], 0.5))
            model.layers[3].weight = LowRankSparseWeight(
                outputs: 4, inputs: 8, rank: 2, alpha: 4, density: 0.2, using: &generator)
            return model
        }
        let (original, other) = (try make(1), try make(2))
        try ModelFile.save(original, to: file)
        try ModelFile.load(other, from: file)
        for (a, b) in zip(original.layers, other.layers) { #expect(a.weight.densified() == b.weight.densified()) }
        #expect(original.layers[2].dense!.mask == other.layers[2].dense!.mask)
        var generator = SeededGenerator(seed: 3)
        #expect(throws: LacunaError.self) { try ModelFile.load(MLP(widths: [16, 12], using: &generator), from: file) }
        #expect(throws: LacunaError.self) { try ModelFile.load(MLP(widths: [3, 2], using: &generator), from: file) }
    }

    /// Two batches of b, averaged, are one batch of 2b.
    @Test func accumulationAverages() throws {
        func weights(batch: Int, accumulation: Int, limit: Double?) throws -> [Tensor<Float>] {
            var generator = SeededGenerator(seed: 6)
            let model = MLP(widths: [2, 5, 2], using: &generator)
            var plan = TrainingPlan(steps: 1, learningRate: .constant(0.5))
            plan.accumulation = accumulation
            plan.clipNorm = limit
            let trainer = try Trainer(
                model: model, optimizer: SGD(learningRate: 0),
                source: ShuffledBatches(Self.rings(32, seed: 1), batchSize: batch, seed: 2), plan: plan,
                loss: { batch, tape in Loss.crossEntropy(model(tape.constant(batch.inputs)), labels: batch.labels) })
            try trainer.train()
            return model.parameters.map(\.value)
        }
        let whole = try weights(batch: 32, accumulation: 1, limit: nil)
        for (a, b) in zip(whole, try weights(batch: 16, accumulation: 2, limit: nil)) { #expect(close(a, b, 1e-5)) }
        for (a, b) in zip(whole, try weights(batch: 8, accumulation: 4, limit: 1e3)) { #expect(close(a, b, 1e-5)) }
        #expect(try weights(batch: 32, accumulation: 1, limit: 1e-3) != whole)
    }

    /// A line has the mean loss of the steps since the last one, the rate of its step, and the norm before it was limited.
    @Test func linesAreOfTheirSteps() throws {
        let layer = Linear(weight: DenseWeight(Tensor([0], shape: [1, 1])))
        var plan = TrainingPlan(steps: 5, learningRate: .linear(from: 0.1, to: 0, steps: 5))
        (plan.logEvery, plan.clipNorm) = (2, 0.5)
        let trainer = try Trainer(
            model: layer, optimizer: SGD(learningRate: 0),
            source: ShuffledBatches(Self.rings(4, seed: 1), batchSize: 2, seed: 1), plan: plan,
            loss: { _, tape in layer(tape.constant(Tensor([3], shape: [1, 1]))).sum() })
        let metrics = try trainer.train().metrics
        #expect(metrics.map(\.step) == [2, 4, 5])
        // The gradient 3 counts as 0.5: losses 0, -0.15, -0.27, -0.36 and -0.42 at rates 0.1, 0.08, 0.06, 0.04 and 0.02.
        for (line, expected) in zip(metrics, [(-0.075, 0.08), (-0.315, 0.04), (-0.42, 0.02)]) {
            let (loss, rate) = (try #require(line["loss"]), try #require(line["learning_rate"]))
            #expect(abs(loss - expected.0) < 1e-6 && abs(rate - expected.1) < 1e-12)
            let norm = try #require(line["gradient_norm"])
            #expect(abs(norm - 3) < 1e-6)
        }
    }

    /// The loss of a step is the mean over the batches that it is made of.
    @Test func lossesOfAccumulatedBatchesAreMeans() throws {
        struct Numbers: BatchSource {
            var batchesPerEpoch: Int? { nil }
            func batch(step: Int) -> Float { [1, 2, 3, 6][step % 4] }
        }
        let layer = Linear(weight: DenseWeight(Tensor([1], shape: [1, 1])))
        var plan = TrainingPlan(steps: 2, learningRate: .constant(0))
        (plan.logEvery, plan.accumulation) = (1, 2)
        let trainer = try Trainer(
            model: layer, optimizer: SGD(learningRate: 0), source: Numbers(), plan: plan,
            loss: { batch, tape in layer(tape.constant(Tensor([batch], shape: [1, 1]))).sum() })
        let losses = try trainer.train().metrics.map { $0["loss"] }
        #expect(losses == [1.5, 4.5])
    }

    /// A term of a hook is part of the loss of every batch: of 3 w + w² at w = 1 the slope is 5.
    @Test(arguments: [1, 2]) func termsOfHooksCount(accumulation: Int) throws {
        final class Square: TrainingHook {
            func penalty(_ run: TrainingRun) -> Variable<Float>? {
                run.model.linears[0].layer.dense!.parameter.on(run.tape).map(.square).sum()
            }
        }
        let layer = Linear(weight: DenseWeight(Tensor([1], shape: [1, 1])))
        var plan = TrainingPlan(steps: 1, learningRate: .constant(0.1))
        plan.accumulation = accumulation
        let trainer = try Trainer(
            model: Sequential([layer]), optimizer: SGD(learningRate: 0),
            source: ShuffledBatches(Self.rings(4, seed: 1), batchSize: 2, seed: 1), plan: plan, hooks: [Square()],
            loss: { _, tape in layer(tape.constant(Tensor([3], shape: [1, 1]))).sum() })
        let report = try trainer.train()
        #expect(report.metrics.last!["loss"] == 4)
        #expect(abs(layer.weight.densified()[0, 0] - 0.5) < 1e-6)
    }

    /// Evaluated before the first step only where it is said, and then what was there.
    @Test(arguments: [false, true]) func whatARunStartsFrom(isEvaluated: Bool) throws {
        let layer = Linear(weight: DenseWeight(Tensor([1], shape: [1, 1])))
        var plan = TrainingPlan(steps: 2, learningRate: .constant(0.5))
        (plan.logEvery, plan.evaluatesFirst) = (1, isEvaluated)
        let trainer = try Trainer(
            model: layer, optimizer: SGD(learningRate: 0),
            source: ShuffledBatches(Self.rings(4, seed: 1), batchSize: 2, seed: 1), plan: plan,
            evaluate: { _ in [("weight", Double(layer.weight.densified()[0, 0]))] },
            loss: { _, tape in layer(tape.constant(Tensor([1], shape: [1, 1]))).sum() })
        let metrics = try trainer.train().metrics
        #expect(metrics.map(\.step) == (isEvaluated ? [0, 1, 2] : [1, 2]))
        #expect(metrics.compactMap { $0["weight"] } == (isEvaluated ? [1, 0] : [0]))
    }

    /// Each number of a plan up to its limit, and no further.
    @Test func plansHaveLimits() {
        func isRefused(_ change: (inout TrainingPlan) -> Void) -> Bool {
            var plan = TrainingPlan(steps: 10, learningRate: .constant(0.1))
            change(&plan)
            return (try? plan.validate()) == nil
        }
        let refused: [(inout TrainingPlan) -> Void] = [
            { $0.steps = -1 }, { $0.accumulation = 0 }, { $0.clipNorm = 0 }, { $0.evaluateEvery = -1 },
            { $0.checkpointEvery = -1 }, { $0.logEvery = 0 }, { $0.patience = 0 }, { $0.averageDecay = 1 },
            { $0.averageDecay = -0.1 }, { $0.groups = [ParameterGroup("*", rate: -1)] },
        ]
        let taken: [(inout TrainingPlan) -> Void] = [
            { $0.steps = 0 }, { $0.accumulation = 1 }, { $0.clipNorm = 1e-9 }, { $0.evaluateEvery = 0 },
            { $0.checkpointEvery = 0 }, { $0.logEvery = 1 }, { $0.patience = 1 }, { $0.averageDecay = 0 },
        ]
        for (index, change) in refused.enumerated() { #expect(isRefused(change), "\(index)") }
        for (index, change) in taken.enumerated() { #expect(!isRefused(change), "\(index)") }
    }

    /// A checkpoint of more steps, another optimiser or other hooks is of another run.
    @Test func otherRunsAreNotTakenUp() throws {
        let path = try folder()
        defer { try? FileSystem.remove(path) }
        let (_, whole) = try makeTrainer(steps: 60)
        try whole.train(directory: path, stopAfter: 20)
        func trainer(steps: Int, _ optimizer: any Optimizer, _ hooks: [any TrainingHook]) throws
            -> Trainer<ShuffledBatches>
        {
            let (model, _) = try makeTrainer(steps: 60)
            return try Trainer(
                model: model, optimizer: optimizer,
                source: ShuffledBatches(Self.rings(300, seed: 1), batchSize: 32, seed: 4),
                plan: TrainingPlan(steps: steps, learningRate: .constant(0.1)), hooks: hooks,
                loss: { batch, tape in Loss.crossEntropy(model(tape.constant(batch.inputs)), labels: batch.labels) })
        }
        try trainer(steps: 20, Adam(), [NoisyHook()]).resume(from: path)
        #expect(throws: LacunaError.self) { try trainer(steps: 19, Adam(), [NoisyHook()]).resume(from: path) }
        #expect(throws: LacunaError.self) {
            try trainer(steps: 60, Adam.decoupled(), [NoisyHook()]).resume(from: path)
        }
        #expect(throws: LacunaError.self) { try trainer(steps: 60, Adam(), []).resume(from: path) }
        #expect(throws: LacunaError.self) { try whole.resume(from: path + "/none") }
    }

    @Test func nothingToDoIsSaid() throws {
        final class Listener: ProgressReporter, @unchecked Sendable {
            var details: [String] = []
            func update(task: String, completed: Int, total: Int, detail: String) { details.append(detail) }
            var isCancelled: Bool { false }
        }
        let path = try folder()
        defer { try? FileSystem.remove(path) }
        let (_, trainer) = try makeTrainer(steps: 10)
        #expect(try !trainer.train(directory: path).hadNothingToDo)
        let (_, again) = try makeTrainer(steps: 10)
        try again.resume(from: path)
        let listener = Listener()
        let report = try again.train(directory: path, progress: listener)
        #expect(report.hadNothingToDo && report.steps == 10 && listener.details.count == 1)
        #expect(listener.details[0].contains("nothing to do"))
        let (model, frozen) = try makeTrainer(steps: 10)
        for parameter in model.parameters { parameter.isTrainable = false }
        #expect(throws: LacunaError.invalidArgument("model", reason: "has no parameters to train")) {
            try frozen.train()
        }
    }

    @Test func groupsOfAPlanApplyToWhatIsTrained() throws {
        func train(_ groups: [ParameterGroup]) throws -> MLP {
            var generator = SeededGenerator(seed: 7)
            let model = MLP(widths: [2, 4, 2], using: &generator)
            var plan = TrainingPlan(steps: 3, learningRate: .constant(0.1))
            plan.groups = groups
            try Trainer(
                model: model, optimizer: SGD(learningRate: 0),
                source: ShuffledBatches(Self.rings(20, seed: 1), batchSize: 10, seed: 2), plan: plan,
                loss: { batch, tape in Loss.crossEntropy(model(tape.constant(batch.inputs)), labels: batch.labels) }
            ).train()
            return model
        }
        let (free, held) = (try train([]), try train([ParameterGroup("layers.0.*", isFrozen: true)]))
        var generator = SeededGenerator(seed: 7)
        let start = MLP(widths: [2, 4, 2], using: &generator)
        #expect(held.layers[0].weight.densified() == start.layers[0].weight.densified())
        #expect(free.layers[0].weight.densified() != start.layers[0].weight.densified())
        #expect(held.layers[1].weight.densified() != start.layers[1].weight.densified())
        #expect(throws: LacunaError.self) { try train([ParameterGroup("no.such")]) }
        #expect(throws: LacunaError.self) { try train([ParameterGroup("*", rate: .infinity)]) }
    }

    /// A dense model takes the storage that a file has.
    @Test func sparseFilesRestoreTheirStorage() throws {
        let path = try folder()
        defer { try? FileSystem.remove(path) }
        let file = FileSystem.join(path, "m.safetensors")
        func make(_ seed: UInt64) -> MLP {
            var generator = SeededGenerator(seed: seed)
            return MLP(widths: [16, 12, 8, 4], using: &generator)
        }
        let (original, other) = (make(1), make(2))
        original.layers[0].dense!.mask = SparsePattern(rows: 12, columns: 16) { ($0 + $1) % 5 == 0 }
        original.layers[1].dense!.mask = SparsePattern(rows: 8, columns: 12) { ($0 + $1) % 2 == 0 }
        let x = Tensor<Float>(repeating: 0.5, shape: [3, 16])
        let tape = Tape<Float>()
        let before = original(tape.constant(x)).value
        // Masks become storage, and nothing that is computed changes.
        #expect(original.compress() == ["layers.0", "layers.1"] && original.compress().isEmpty)
        #expect(original.layers.map(\.weight.storage) == ["csr", "bitmask", "dense"])
        #expect(close(original(tape.constant(x)).value, before))
        try ModelFile.save(original, to: file, metadata: ["note": "kept"])
        try ModelFile.load(other, from: file)
        #expect(try SafetensorsFile(file).metadata["note"] == "kept")
        #expect(other.layers.map(\.weight.storage) == ["csr", "bitmask", "dense"])
        #expect(other(tape.constant(x)).value == original(tape.constant(x)).value)
        // Another network's file is refused.
        var generator = SeededGenerator(seed: 3)
        #expect(throws: LacunaError.self) {
            try ModelFile.load(MLP(widths: [16, 13, 8, 4], using: &generator), from: file)
        }
    }

    @Test func scalersAreReturned() throws {
        let path = try folder()
        defer { try? FileSystem.remove(path) }
        let file = FileSystem.join(path, "t.csv")
        try AtomicFile.write("a,b,c,class\n" + (0..<20).map { "\($0),\(2 * $0 + 5),7,\($0 % 3)\n" }.joined(), to: file)
        let (train, test, scaler) = try TableFiles.classification(file, testFraction: 0.25, seed: 4)
        #expect(train.count == 15 && test.count == 5 && train.classes == 3)
        // Training columns have mean 0 and deviation 1; a column that does not change is 0.
        for c in 0..<2 {
            let column = (0..<15).map { Double(train.inputs[$0, c]) }
            #expect(abs(column.reduce(0, +)) < 1e-4 && abs(column.reduce(0) { $0 + $1 * $1 } / 15 - 1) < 1e-4)
        }
        #expect((0..<5).allSatisfy { test.inputs[$0, 2] == 0 } && scaler.scales[2] == 0 && scaler.means[2] == 7)
        // The scaler prepares a new row as the test rows were: x and 2 x + 5 become the same number.
        let row = scaler(Tensor([3, 11, 9], shape: [1, 3]))
        #expect(abs(row[0, 0] - row[0, 1]) < 1e-5 && row[0, 2] == 0)
        #expect(abs(row[0, 0] - (3 - scaler.means[0]) * scaler.scales[0]) < 1e-6)
        let fields = try JSONFields(scaler.json, file: "x", location: "scaler")
        #expect(try Standardization(fields) == scaler)
        let bad: JSONValue = ["means": [1], "scales": [1, 2]]
        #expect(throws: LacunaError.self) { try Standardization(JSONFields(bad, file: "x", location: "scaler")) }
    }

    /// What is evaluated is the average of the weights. Of -0.1 and -0.2, with a decay of a half, it is -0.15.
    @Test func evaluationReadsTheAverage() throws {
        let layer = Linear(weight: DenseWeight(Tensor([0], shape: [1, 1])))
        var plan = TrainingPlan(steps: 2, learningRate: .constant(0.1))
        plan.averageDecay = 0.5
        let trainer = try Trainer(
            model: layer, optimizer: SGD(learningRate: 0),
            source: ShuffledBatches(Self.rings(4, seed: 1), batchSize: 2, seed: 1), plan: plan,
            evaluate: { _ in [("weight", Double(layer.weight.densified()[0, 0]))] },
            loss: { _, tape in layer(tape.constant(Tensor([1], shape: [1, 1]))).sum() })
        let report = try trainer.train()
        #expect(abs(report.evaluation!["weight"]! + 0.15) < 1e-6)
        #expect(abs(layer.weight.densified()[0, 0] + 0.2) < 1e-6)
    }

    /// Steps round as the plan says, evaluations do not: 257 is no bf16, its neighbour 256 is.
    @Test(arguments: ProductPrecision.allCases) func precisionIsThatOfSteps(precision: ProductPrecision) throws {
        let layer = Linear(weight: DenseWeight(Tensor([257], shape: [1, 1])))
        var plan = TrainingPlan(steps: 1, learningRate: .constant(0))
        (plan.precision, plan.evaluatesFirst) = (precision, true)
        var (seen, evaluated): ([Float], [Float]) = ([], [])
        let trainer = try Trainer(
            model: layer, optimizer: SGD(learningRate: 0),
            source: ShuffledBatches(Self.rings(4, seed: 1), batchSize: 2, seed: 1), plan: plan,
            evaluate: { tape in
                evaluated.append(layer(tape.constant(Tensor([1], shape: [1, 1]))).item)
                return [("score", 0)]
            },
            loss: { _, tape in
                let y = layer(tape.constant(Tensor([1], shape: [1, 1])))
                seen.append(y.item)
                return y.sum()
            })
        try trainer.train()
        #expect(seen == [precision == .bf16 ? 256 : 257])
        #expect(evaluated == [257, 257])
    }

    /// Nothing gets better, evaluated every 5 steps, for 3 times after the first: 20 steps, also when interrupted between.
    @Test(arguments: [7, 12, 17]) func patienceIsRemembered(stop: Int) throws {
        func make() throws -> Trainer<ShuffledBatches> {
            var generator = SeededGenerator(seed: 1)
            let model = MLP(widths: [2, 4, 2], using: &generator)
            var plan = TrainingPlan(steps: 100, learningRate: .constant(0))
            (plan.evaluateEvery, plan.patience) = (5, 3)
            return try Trainer(
                model: model, optimizer: SGD(learningRate: 0),
                source: ShuffledBatches(Self.rings(50, seed: 1), batchSize: 10, seed: 1), plan: plan,
                evaluate: { _ in [("loss", 1)] },
                loss: { batch, tape in Loss.crossEntropy(model(tape.constant(batch.inputs)), labels: batch.labels) })
        }
        let path = try folder()
        defer { try? FileSystem.remove(path) }
        try make().train(directory: path, stopAfter: stop)
        let resumed = try make()
        try resumed.resume(from: path)
        #expect(try resumed.train(directory: path).stoppedEarly == 20)
    }

    /// What optimisers and averages of a run before kept is not taken for what those of this one have seen.
    @Test func newRunsBeginAnew() throws {
        let examples = Self.rings(100, seed: 1)
        func network() -> MLP {
            var generator = SeededGenerator(seed: 1)
            return MLP(widths: [2, 8, 2], using: &generator)
        }
        func train(_ model: MLP, _ optimizer: Adam) throws {
            var plan = TrainingPlan(steps: 30, learningRate: .constant(0.01))
            plan.averageDecay = 0.9
            try Trainer(
                model: model, optimizer: optimizer, source: ShuffledBatches(examples, batchSize: 10, seed: 3),
                plan: plan,
                loss: { batch, tape in Loss.crossEntropy(model(tape.constant(batch.inputs)), labels: batch.labels) }
            ).train()
        }
        let (trained, fresh, going) = (network(), network(), network())
        let used = Adam()
        try train(trained, Adam())
        try train(going, used)
        for (parameter, source) in zip(fresh.parameters, trained.parameters) { parameter.value = source.value }
        for model in [trained, fresh] { try train(model, Adam()) }
        try train(going, used)
        for (one, two) in zip(fresh.parameters, trained.parameters) {
            #expect(one.value == two.value)
            let (a, b) = (try #require(one.slots["average"]), try #require(two.slots["average"]))
            #expect(Array(a.elements) == Array(b.elements))
        }
        // An optimiser that goes on keeps its moments.
        #expect(zip(going.parameters, trained.parameters).contains { $0.value != $1.value })
    }

    /// A network that gives all classes the same score has not got them right.
    @Test func equalScoresAreNoAnswers() {
        let tape = Tape<Float>()
        let logits = tape.constant(Tensor<Float>([1, 1, 0, 2, 3, 3, 0, 0, 5], shape: [3, 3]))
        #expect(Classification.accuracy(logits, [0, 1, 2]) == 1.0 / 3)
        #expect(Classification.accuracy(logits, [1, 2, 0]) == 0)
    }

    /// The token that is predicted decides whether the prediction counts.
    @Test func countedTokensAreThePredicted() throws {
        let example = TokenExamples.Example(tokens: [5, 6, 7, 8], counts: [true, false, true, false])
        let longer = TokenExamples.Example(tokens: [1, 2, 3, 4, 9], counts: [false, true, false, false, true])
        let batch = TokenExamples.batch([example, longer], 9)
        #expect(batch.ids == [5, 6, 7, 0, 1, 2, 3, 4] && batch.next == [-1, 7, -1, -1, 2, -1, -1, 9])
        #expect(example.countedTokens == 1 && longer.countedTokens == 2)
    }
}
