import LacunaIO
import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor

/// A training run as a configuration file describes it: data, model, method, optimiser and schedule by name.
///
/// See ``examples`` for files that work. Every mistake in the file is an error that names the line and the key.
public final class TrainingJob {
    public let configuration: ConfigurationFile
    public let model: any Module
    public let method: (any TrainingMethod)?
    /// What is trained on what, in a sentence.
    public let summary: String
    public let totalSteps: Int
    private let start:
        (_ directory: String?, _ resumes: Bool, _ progress: (any ProgressReporter)?) throws -> TrainingReport
    private let measure: () -> Ledger

    /// - Parameters:
    ///   - configuration: The file.
    ///   - fetch: Where a data set of the catalogue is, such as `fashion-mnist`.
    /// - Throws: `LacunaError.malformed` for mistakes in the file, and what reading data throws.
    public init(_ configuration: ConfigurationFile, fetch: (String) throws -> String) throws {
        self.configuration = configuration
        let reader = JobReader(configuration)
        let seed = UInt64(try configuration.optionalInteger("seed") ?? 0)
        let data = try reader.data(seed: seed, fetch: fetch)
        var generator = SeededGenerator(seed: seed, stream: 0x10B)
        let method = try reader.method(seed: seed)
        let hooks: [any TrainingHook] = method.map { [$0] } ?? []
        let optimizer = try reader.optimizer()
        switch data {
        case .examples(let train, let test) where method is FeatureSelection:
            let selection = method as! FeatureSelection
            let scaler = Standardization(of: train.rows)
            let (x, held) = (scaler(train.rows), scaler(test.rows))
            let model = selection.network(inputs: x.columns, using: &generator)
            let batch = try configuration.optionalInteger("data.batch", in: 1...train.count) ?? min(100, train.count)
            let source = selection.source(x, batch: batch, seed: seed, using: &generator)
            let plan = try reader.plan(seed: seed, batchesPerEpoch: source.batchesPerEpoch!)
            try configuration.requireAllUsed()
            let trainer = try Trainer(
                model: model, optimizer: optimizer, source: source, plan: plan, hooks: hooks,
                evaluate: { tape in Self.evaluate(model, held, tape) }, loss: model.loss)
            self.model = model
            totalSteps = plan.steps
            summary = "\(train.count) rows of \(x.columns) features; \(held.rows) to test"
            start = { directory, resumes, progress in
                try Self.prepare(trainer, configuration, directory, resumes)
                let report = try trainer.train(directory: directory, progress: progress)
                if let directory, report.steps > 0 {
                    try AtomicFile.write(
                        Self.features(selection).serialized() + "\n", to: FileSystem.join(directory, "features.json"))
                }
                return report
            }
            measure = {
                let tape = Tape<Float>()
                return Ledger(model, examples: 1, on: tape) { _ = model(tape.constant(held.rows(0..<1))) }
            }
        case .examples(let train, let test):
            let model = try reader.classifier(for: train, method: method, using: &generator)
            let batch = try configuration.optionalInteger("data.batch", in: 1...train.count) ?? min(64, train.count)
            let source = ShuffledBatches(train, batchSize: batch, seed: seed)
            let plan = try reader.plan(seed: seed, batchesPerEpoch: source.batchesPerEpoch!)
            try configuration.requireAllUsed()
            let trainer = try Trainer(
                model: model, optimizer: optimizer, source: source, plan: plan, hooks: hooks,
                evaluate: { tape in Self.evaluate(model, test, tape) },
                loss: { batch, tape in Loss.crossEntropy(model(tape.constant(batch.inputs)), labels: batch.labels) })
            self.model = model
            totalSteps = plan.steps
            summary = "\(train.count) examples of \(train.inputShape), \(train.classes) classes; \(test.count) to test"
            start = { directory, resumes, progress in
                try Self.prepare(trainer, configuration, directory, resumes)
                return try trainer.train(directory: directory, progress: progress)
            }
            measure = {
                let one = test.selecting(0..<1).inputs
                let tape = Tape<Float>()
                return Ledger(model, examples: 1, on: tape) { _ = model(tape.constant(one)) }
            }
        case .text(let train, let valid, let vocabulary, let tokenizer):
            if method is FeatureSelection {
                throw configuration.failure("data.kind", "quick-selection ranks columns of a table, and text has none")
            }
            let model = try reader.languageModel(vocabulary: vocabulary, method: method, using: &generator)
            let context = model.configuration.maximumPositions
            let batch = try configuration.optionalInteger("data.batch", in: 1...4096) ?? 8
            let source: TokenWindows
            do {
                source = try TokenWindows(train, length: context, batchSize: batch, seed: seed)
            } catch let LacunaError.invalidArgument(_, reason) {
                throw configuration.failure("model.context", reason)
            }
            guard valid.count > context else {
                throw configuration.failure("data.valid", "a text of \(valid.count) tokens has no window of \(context)")
            }
            let plan = try reader.plan(seed: seed, batchesPerEpoch: max(1, train.count / (batch * context)))
            try configuration.requireAllUsed()
            let trainer = try Trainer(
                model: model, optimizer: optimizer, source: source, plan: plan, hooks: hooks,
                evaluate: { tape in Self.evaluate(model, valid, tape) },
                loss: { input, tape in model.loss(input.ids, next: input.next, batch: batch, on: tape) })
            self.model = model
            totalSteps = plan.steps
            summary = "\(train.count) tokens of \(vocabulary) kinds; \(valid.count) to validate"
            start = { directory, resumes, progress in
                try Self.prepare(trainer, configuration, directory, resumes)
                let report = try trainer.train(directory: directory, progress: progress)
                if let directory, report.steps > 0 {
                    // What `Transformer.load` and the other verbs read.
                    let path = FileSystem.join(directory, "model")
                    switch tokenizer {
                    case .tokenizer(let tokenizer):
                        try model.stored().save(to: path, tokenizer: tokenizer, overwrite: true)
                    case .bytes(let bytes):
                        try model.stored().save(to: path, overwrite: true)
                        try AtomicFile.write(
                            bytes.tokenizerJSON.serialized() + "\n", to: FileSystem.join(path, "tokenizer.json"))
                    }
                }
                return report
            }
            measure = {
                let tape = Tape<Float>()
                let ids = [Int32](repeating: 0, count: context)
                return Ledger(model, examples: context, on: tape) { _ = model(ids, batch: 1, on: tape) }
            }
        }
        self.method = method
    }

    /// A run goes on only with the configuration that it began with: another seed would test it on rows that it has
    /// trained on.
    private static func prepare<Source>(
        _ trainer: Trainer<Source>, _ configuration: ConfigurationFile, _ directory: String?, _ resumes: Bool
    ) throws {
        trainer.settings = configuration.settings
        guard resumes, let directory else { return }
        if let begun = try Trainer<Source>.settings(inCheckpointOf: directory) {
            try configuration.requireSettings(begun, of: "the run's checkpoint")
        }
        try trainer.resume(from: directory)
    }

    /// Trains to the end.
    ///
    /// - Parameters:
    ///   - directory: Where metrics, checkpoints and the model go.
    ///   - resumes: Go on from the directory's last checkpoint.
    /// - Throws: `LacunaError.cancelled` after writing a checkpoint, and what the trainer throws.
    public func run(
        directory: String?, resumes: Bool = false, progress: (any ProgressReporter)? = nil
    ) throws -> TrainingReport {
        try start(directory, resumes, progress)
    }

    /// What the model costs: of one example, or of one window of text.
    public var ledger: Ledger { measure() }

    /// What a run of feature selection found, for `features.json`: inputs, the strongest first, with their strengths.
    private static func features(_ selection: FeatureSelection) -> JSONValue {
        let strengths = selection.strengths
        return [
            "ranking": .array(selection.ranking.map { JSONValue($0) }),
            "strengths": .array(strengths.map { .number($0) }),
        ]
    }

    private static func evaluate(
        _ model: SparseAutoencoder, _ rows: Tensor<Float>, _ tape: Tape<Float>
    ) -> [(name: String, value: Double)] {
        var error = 0.0
        for start in stride(from: 0, to: rows.rows, by: 250) {
            let part = tape.constant(rows.rows(start..<min(start + 250, rows.rows)))
            error += Double((model(part) - part).map(.square).sum().item)
        }
        return [("test_loss", error / Double(max(rows.count, 1))), ("connections", Double(model.connections))]
    }

    private static func evaluate(
        _ model: any UnaryLayer, _ examples: LabelledExamples, _ tape: Tape<Float>
    ) -> [(name: String, value: Double)] {
        var (loss, right) = (0.0, 0.0)
        for start in stride(from: 0, to: examples.count, by: 250) {
            let batch = examples.selecting(start..<min(start + 250, examples.count))
            let logits = model(tape.constant(batch.inputs))
            loss += Double(Loss.crossEntropy(logits, labels: batch.labels).item) * Double(batch.labels.count)
            right += Classification.accuracy(logits, batch.labels) * Double(batch.labels.count)
        }
        return [("test_loss", loss / Double(examples.count)), ("test_accuracy", right / Double(examples.count))]
    }

    private static func evaluate(
        _ model: TrainableTransformer, _ tokens: [Int32], _ tape: Tape<Float>
    ) -> [(name: String, value: Double)] {
        // Several windows at once: what is derived from the weights is then derived less often.
        let (length, batch) = (model.configuration.maximumPositions, 16)
        let windows = min((tokens.count - 1) / length, 128)
        var loss = 0.0
        for start in stride(from: 0, to: windows, by: batch) {
            let range = start * length..<min(start + batch, windows) * length
            let next = Array(tokens[range.lowerBound + 1..<range.upperBound + 1])
            let part = model.loss(Array(tokens[range]), next: next, batch: range.count / length, on: tape)
            loss += Double(part.item) * Double(range.count / length)
        }
        let mean = loss / Double(max(windows, 1))
        return [("valid_loss", mean), ("perplexity", exponential(mean))]
    }
}
