import LacunaIO
import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor

/// A language model on text.
final class LanguageTask: JobTask {
    private let network: TrainableTransformer
    private let train, valid: LanguageData.Part
    private let coding: LanguageData.Coding
    private let form: Form
    private let teacher: Distillation?
    /// What the loaded model's `generation_config.json` says, which goes along.
    private let generationSettings: JSONObject?

    /// Sizes of the run.
    struct Form {
        /// Tokens of a window, or of an example at most.
        var window: Int
        /// Windows or examples of a batch.
        var batch: Int
        /// Windows or examples that are evaluated.
        var validCount: Int
        /// The type of stored values in the result.
        var values: ValueType
    }

    /// - Throws: `LacunaError.invalidArgument` for text without a window, and examples from which nothing is learned.
    init(
        _ network: TrainableTransformer, data: LanguageData, form: Form, teacher: Distillation?,
        generationSettings: JSONObject?
    ) throws {
        (train, valid, coding) = (data.train, data.valid, data.coding)
        (self.network, self.form, self.teacher) = (network, form, teacher)
        self.generationSettings = generationSettings
        try teacher?.requireFit(network)
        _ = try train.source(form, seed: 0)
        if case .stream(let tokens) = valid, tokens.count <= form.window {
            throw LacunaError.invalidArgument(
                "valid", reason: "a text of \(tokens.count) tokens has no window of \(form.window)")
        }
        if case .examples = valid { _ = try valid.source(form, seed: 0) }
    }

    var model: any Module { network }
    var savesModel: Bool { false }
    var batchesPerEpoch: Int { train.batchesPerEpoch(form) }
    var summary: String {
        "\(train.summary) of \(network.configuration.vocabularySize) kinds; \(valid.summary) to validate"
    }

    func trainer(
        _ plan: TrainingPlan, _ optimizer: any Optimizer, _ method: (any TrainingMethod)?,
        _ collective: (any Collective)?
    ) throws -> any PhaseTrainer {
        let (network, teacher) = (network, teacher)
        if let method = method as? any CalibratedMethod, method.textOption != nil {
            let length = min(method.length ?? form.window, network.configuration.maximumPositions)
            let text = train.tokens
            method.calibration = try CalibrationSet(
                text: text, sequences: max(1, min(method.sequences, text.count / length)), length: length,
                seed: plan.seed)
        }
        return try Trainer(
            model: network, optimizer: optimizer, source: train.source(form, seed: plan.seed), plan: plan,
            hooks: hooks(method), collective: collective, evaluate: { [self] tape in evaluate(tape) },
            loss: { input, tape in
                if let teacher {
                    return try teacher.loss(network, input.ids, next: input.next, batch: input.count, on: tape)
                }
                return network.loss(input.ids, next: input.next, batch: input.count, on: tape)
            })
    }

    private func evaluate(_ tape: Tape<Float>) -> [(name: String, value: Double)] {
        var (loss, counted) = (0.0, 0)
        for batch in valid.batches(form) {
            let tokens = batch.next.count { $0 >= 0 }
            let part = network.loss(batch.ids, next: batch.next, batch: batch.count, on: tape)
            loss += Double(part.item) * Double(tokens)
            counted += tokens
        }
        let mean = loss / Double(max(counted, 1))
        return [("valid_loss", mean), ("perplexity", exponential(mean))]
    }

    func ledger() -> Ledger {
        let tape = Tape<Float>()
        let ids = [Int32](repeating: 0, count: form.window)
        return Ledger(network, on: tape) { _ = network(ids, batch: 1, on: tape) }
    }

    /// A directory that the other verbs read: configuration, weights, tokenizer.
    func save(to directory: String) throws {
        var decoder = try network.stored(form.values)
        decoder.generationSettings = generationSettings
        let path = FileSystem.join(directory, TrainingJob.modelFolder)
        switch coding {
        case .tokenizer(let tokenizer): try decoder.save(to: path, tokenizer: tokenizer, overwrite: true)
        case .bytes(let bytes):
            try decoder.save(to: path, overwrite: true)
            try AtomicFile.write(
                bytes.tokenizerJSON.serialized() + "\n", to: FileSystem.join(path, "tokenizer.json"))
        }
    }
}

/// Text as tokens, to train and to validate.
struct LanguageData {
    var train: Part
    var valid: Part
    var vocabulary: Int
    var coding: Coding

    /// What turned text into tokens.
    enum Coding {
        case bytes(ByteVocabulary)
        case tokenizer(Tokenizer)
    }

    enum Part {
        /// One text, of which windows are read.
        case stream([Int32])
        case examples([TokenExamples.Example])

        /// All of it, examples one after the other.
        var tokens: [Int] {
            switch self {
            case .stream(let tokens): tokens.map { Int($0) }
            case .examples(let examples): examples.flatMap { $0.tokens.map { Int($0) } }
            }
        }

        var summary: String {
            switch self {
            case .stream(let tokens): "\(tokens.count) tokens"
            case .examples(let examples):
                "\(examples.count) examples with \(examples.reduce(0) { $0 + $1.countedTokens }) tokens to learn"
            }
        }

        func batchesPerEpoch(_ form: LanguageTask.Form) -> Int {
            switch self {
            case .stream(let tokens): max(1, tokens.count / (form.batch * form.window))
            case .examples(let examples): (examples.count + form.batch - 1) / form.batch
            }
        }

        func source(_ form: LanguageTask.Form, seed: UInt64) throws -> Source {
            switch self {
            case .stream(let tokens):
                .windows(try TokenWindows(tokens, length: form.window, batchSize: form.batch, seed: seed))
            case .examples(let examples):
                .examples(try TokenExamples(examples, length: form.window, batchSize: form.batch, seed: seed))
            }
        }

        /// The first windows or examples, for evaluation; several at once, so that what is derived from the weights is
        /// derived less often.
        func batches(_ form: LanguageTask.Form) -> [TokenExamples.Batch] {
            let (length, size) = (form.window, min(16, max(1, 4096 / form.window)))
            switch self {
            case .stream(let tokens):
                let windows = min((tokens.count - 1) / length, form.validCount)
                return stride(from: 0, to: windows, by: size).map { start in
                    let range = start * length..<min(start + size, windows) * length
                    return TokenExamples.Batch(
                        ids: Array(tokens[range]), next: Array(tokens[range.lowerBound + 1..<range.upperBound + 1]),
                        count: range.count / length)
                }
            case .examples(let examples):
                let used = Array(examples.prefix(form.validCount))
                return stride(from: 0, to: used.count, by: size).map { start in
                    TokenExamples.batch(Array(used[start..<min(start + size, used.count)]), length)
                }
            }
        }
    }

    /// Batches of windows or of examples.
    enum Source: BatchSource {
        case windows(TokenWindows)
        case examples(TokenExamples)

        var batchesPerEpoch: Int? {
            switch self {
            case .windows(let source): source.batchesPerEpoch
            case .examples(let source): source.batchesPerEpoch
            }
        }

        func batch(step: Int) -> TokenExamples.Batch {
            switch self {
            case .windows(let source):
                let (ids, next) = source.batch(step: step)
                return TokenExamples.Batch(ids: ids, next: next, count: source.batchSize)
            case .examples(let source): return source.batch(step: step)
            }
        }
    }
}
