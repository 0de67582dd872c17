import LacunaIO
import LacunaLearn
import LacunaTensor

/// Evaluation goes through this many examples at a time.
private let evaluationBatch = 250

/// A network that names the class of an input.
final class ClassificationTask: JobTask {
    private var network: any UnaryLayer
    private let train, test: LabelledExamples
    private let batch: Int
    private let description: (inputs: NetworkInputs, outputs: NetworkOutputs)?
    /// What phases of unlearning are to forget.
    private let split: ForgetSplit?

    init(
        _ network: any UnaryLayer, train: LabelledExamples, test: LabelledExamples, batch: Int,
        description: (inputs: NetworkInputs, outputs: NetworkOutputs)?, split: ForgetSplit? = nil
    ) {
        (self.network, self.train, self.test, self.batch) = (network, train, test, batch)
        (self.description, self.split) = (description, split)
    }

    var model: any Module { network }
    var batchesPerEpoch: Int { (train.count + batch - 1) / batch }
    var summary: String {
        "\(train.count) examples of \(train.inputShape), \(train.classes) classes; \(test.count) to test"
            + (split.map { "; \($0.forget.count) to forget" } ?? "")
    }

    func trainer(
        _ plan: TrainingPlan, _ optimizer: any Optimizer, _ method: (any TrainingMethod)?,
        _ collective: (any Collective)?
    ) throws -> any PhaseTrainer {
        let (network, test, split) = (network, test, split)
        var examples = method is SparseUnlearning ? split?.retain ?? train : train
        if let judged = method as? any JudgedMethod {
            var held: LabelledExamples?
            if judged.needsJudge {
                // What is chosen by is not trained on, nor is it what the result is tested on.
                let part = try ForgetSplit(examples, share: 0.1, seed: plan.seed)
                (examples, held) = (part.retain, part.forget)
            }
            judged.judge = Self.judge(network, calibration: examples, held: held, batch: batch)
        }
        if let fixed = method as? StaticRandomSparsity {
            let first = examples.selecting(0..<min(examples.count, 256))
            fixed.exampleLoss = { tape in Loss.crossEntropy(network(tape.constant(first.inputs)), labels: first.labels)
            }
        }
        return try Trainer(
            model: network, optimizer: optimizer,
            source: ShuffledBatches(examples, batchSize: min(batch, examples.count), seed: plan.seed), plan: plan,
            hooks: hooks(method), collective: collective,
            evaluate: { tape in
                var (loss, right) = (0.0, 0.0)
                for start in stride(from: 0, to: test.count, by: evaluationBatch) {
                    let part = test.selecting(start..<min(start + evaluationBatch, test.count))
                    let logits = network(tape.constant(part.inputs))
                    loss += Double(Loss.crossEntropy(logits, labels: part.labels).item) * Double(part.labels.count)
                    right += Classification.accuracy(logits, part.labels) * Double(part.labels.count)
                }
                let found = [("test_loss", loss / Double(test.count)), ("test_accuracy", right / Double(test.count))]
                guard let split else { return found }
                let report = try UnlearningReport(of: network, forget: split.forget, retain: split.retain, test: test)
                return found + [
                    ("forget_accuracy", report.forgetAccuracy), ("retain_accuracy", report.retainAccuracy),
                    ("membership_efficacy", report.membershipEfficacy),
                ]
            }, loss: { batch, tape in Loss.crossEntropy(network(tape.constant(batch.inputs)), labels: batch.labels) })
    }

    /// The accuracy on examples held out, and a fifth of the others as batches for statistics.
    private static func judge(
        _ network: any UnaryLayer, calibration: LabelledExamples, held: LabelledExamples?, batch: Int
    ) -> TrainingJudge {
        let count = max(1, calibration.count / 5)
        let batches = stride(from: 0, to: count, by: batch).map {
            calibration.selecting($0..<min($0 + batch, count)).inputs
        }
        return TrainingJudge(batches: batches) {
            guard let held else { return .nan }
            let tape = Tape<Float>()
            var right = 0.0
            for start in stride(from: 0, to: held.count, by: evaluationBatch) {
                let part = held.selecting(start..<min(start + evaluationBatch, held.count))
                tape.evaluating {
                    right +=
                        Classification.accuracy(network(tape.constant(part.inputs)), part.labels)
                        * Double(part.labels.count)
                }
            }
            return right / Double(held.count)
        }
    }

    func ledger() -> Ledger {
        let (one, tape) = (test.selecting(0..<1).inputs, Tape<Float>())
        return Ledger(network, on: tape) { _ = network(tape.constant(one)) }
    }

    func shrink() -> Bool {
        guard let smaller = NeuronRemoval.shrunk(network) else { return false }
        network = smaller
        return true
    }

    func save(to directory: String) throws {
        guard let description, NetworkArchitecture(of: network) != nil else { return }
        try TrainedNetwork(network, inputs: description.inputs, outputs: description.outputs)
            .saveDescription(to: directory)
    }
}

/// A network that gives one number for an input.
final class RegressionTask: JobTask {
    private var network: any UnaryLayer
    private let train, test: TargetExamples
    private let batch: Int
    private let inputs: NetworkInputs
    private let outputs: NetworkOutputs
    /// The deviation of the targets, which were divided by it.
    private let deviation: Double

    /// - Parameter target: The target's name and what it went through.
    init(
        _ network: any UnaryLayer, train: TargetExamples, test: TargetExamples, batch: Int, inputs: NetworkInputs,
        target: (name: String, scaler: Standardization)
    ) {
        (self.network, self.train, self.test, self.batch) = (network, train, test, batch)
        (self.inputs, outputs) = (inputs, .number(name: target.name, target.scaler))
        deviation = target.scaler.scales[0] > 0 ? 1 / Double(target.scaler.scales[0]) : 0
    }

    var model: any Module { network }
    var batchesPerEpoch: Int { (train.count + batch - 1) / batch }
    var summary: String { "\(train.count) examples of \(train.inputShape) with a number each; \(test.count) to test" }

    func trainer(
        _ plan: TrainingPlan, _ optimizer: any Optimizer, _ method: (any TrainingMethod)?,
        _ collective: (any Collective)?
    ) throws -> any PhaseTrainer {
        let (network, test, deviation) = (network, test, deviation)
        return try Trainer(
            model: network, optimizer: optimizer,
            source: ShuffledTargets(train, batchSize: batch, seed: plan.seed), plan: plan, hooks: hooks(method),
            collective: collective,
            evaluate: { tape in
                var error = 0.0
                for start in stride(from: 0, to: test.count, by: evaluationBatch) {
                    let part = test.selecting(start..<min(start + evaluationBatch, test.count))
                    let found = network(tape.constant(part.inputs))
                    error += Double(Loss.meanSquaredError(found, tape.constant(part.targets)).item) * Double(found.rows)
                }
                let mean = Double(test.targets.reduce(0, +)) / Double(test.count)
                let spread = test.targets.reduce(0.0) { $0 + (Double($1) - mean) * (Double($1) - mean) }
                return [
                    ("test_loss", error / Double(test.count)),
                    ("test_rmse", deviation * (error / Double(test.count)).squareRoot()),
                    // Of targets that are all the same nothing is explained.
                    ("test_r_squared", spread > 0 ? 1 - error / spread : 0),
                ]
            },
            loss: { batch, tape in
                Loss.meanSquaredError(network(tape.constant(batch.inputs)), tape.constant(batch.targets))
            })
    }

    func ledger() -> Ledger {
        let (one, tape) = (test.selecting(0..<1).inputs, Tape<Float>())
        return Ledger(network, on: tape) { _ = network(tape.constant(one)) }
    }

    func shrink() -> Bool {
        guard let smaller = NeuronRemoval.shrunk(network) else { return false }
        network = smaller
        return true
    }

    func save(to directory: String) throws {
        try TrainedNetwork(network, inputs: inputs, outputs: outputs).saveDescription(to: directory)
    }
}

/// The ranking of a table's columns by ``FeatureSelection``.
final class FeatureTask: JobTask {
    private let selection: FeatureSelection
    private let autoencoder: SparseAutoencoder
    private let rows, held: Tensor<Float>
    private let source: NoisyRows
    /// What the inputs are called; nil for those of pictures.
    private let names: [String]?

    init(
        _ selection: FeatureSelection, train: Tensor<Float>, test: Tensor<Float>, names: [String]?, batch: Int,
        seed: UInt64, using generator: inout SeededGenerator
    ) throws {
        self.names = names
        let scaler = Standardization(of: train)
        (rows, held) = (scaler(train), scaler(test))
        self.selection = selection
        autoencoder = try selection.network(inputs: train.columns, using: &generator)
        source = try selection.source(rows, batch: batch, seed: seed, using: &generator)
    }

    var model: any Module { autoencoder }
    var batchesPerEpoch: Int { source.batchesPerEpoch ?? 1 }
    var summary: String { "\(rows.rows) rows of \(rows.columns) features; \(held.rows) to test" }

    func trainer(
        _ plan: TrainingPlan, _ optimizer: any Optimizer, _ method: (any TrainingMethod)?,
        _ collective: (any Collective)?
    ) throws -> any PhaseTrainer {
        let (model, held) = (autoencoder, held)
        return try Trainer(
            model: model, optimizer: optimizer, source: source, plan: plan, hooks: hooks(method),
            collective: collective,
            evaluate: { tape in
                var error = 0.0
                for start in stride(from: 0, to: held.rows, by: evaluationBatch) {
                    let part = tape.constant(held.rows(start..<min(start + evaluationBatch, held.rows)))
                    error += Double((model(part) - part).map(.square).sum().item)
                }
                return [
                    ("test_loss", error / Double(max(held.count, 1))), ("connections", Double(model.connections)),
                ]
            }, loss: model.loss)
    }

    func ledger() -> Ledger {
        let tape = Tape<Float>()
        return Ledger(autoencoder, on: tape) { _ = autoencoder(tape.constant(held.rows(0..<1))) }
    }

    /// What was found, for `features.json`: the numbers of the inputs, the strongest first, and the strengths of all inputs in the
    /// table's order, with their names.
    func save(to directory: String) throws {
        var features = JSONObject()
        features["ranking"] = .array(selection.ranking.map { JSONValue($0) })
        features["strengths"] = .array(selection.strengths.map { .number($0) })
        if let names { features["names"] = .array(names.map { .string($0) }) }
        try AtomicFile.write(
            JSONValue.object(features).serialized() + "\n", to: FileSystem.join(directory, "features.json"))
    }
}
