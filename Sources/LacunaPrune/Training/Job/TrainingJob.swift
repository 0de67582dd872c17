import LacunaIO
import LacunaLearn
import LacunaModels
import LacunaTensor

/// A training run as a configuration file describes it: data, model, method, optimiser and schedule by name, in one phase
/// or several.
///
/// See ``examples`` for files that work. Every mistake in the file is an error that names the line and the key.
public final class TrainingJob {
    /// What a run asks of the program around it.
    public struct Environment {
        /// Where a data set or model of the catalogue is, such as `fashion-mnist`.
        public var fetch: (String) throws -> String
        /// The form of conversations that a model's tokenizer brings along, as `ChatTemplate` of LacunaInfer reads it.
        public var conversations: (Tokenizer) throws -> any ConversationForm
        /// Kinds of data (`data.kind`) that other rooms read, with what makes a task of the file and of the run's seed.
        public var kinds: [String: TaskReader]

        /// Makes a task of a configuration and of the run's seed.
        public typealias TaskReader = (ConfigurationFile, UInt64, Environment) throws -> any JobTask

        /// By default nothing can be fetched, conversations cannot be read, and kinds of data are this room's.
        public init(
            fetch: @escaping (String) throws -> String = { name in
                throw LacunaError.file(path: name, reason: "is not there")
            },
            conversations: @escaping (Tokenizer) throws -> any ConversationForm = { _ in
                throw LacunaError.unsupported(file: nil, what: "conversations without a reader of chat templates")
            },
            kinds: [String: TaskReader] = [:]
        ) {
            (self.fetch, self.conversations, self.kinds) = (fetch, conversations, kinds)
        }
    }

    /// A stretch of the run with a method and a plan of its own.
    private struct Phase {
        let method: (any TrainingMethod)?
        let optimizer: any Optimizer
        let plan: TrainingPlan
    }

    /// The file that describes the run.
    public let configuration: ConfigurationFile
    /// The method of each phase; nil for dense training, or training of the weights as they are.
    public var methods: [(any TrainingMethod)?] { task is ContinualTask ? [method] : phases.map(\.method) }
    /// The last phase's.
    public var method: (any TrainingMethod)? { phases.last?.method }
    /// What is trained, as it is at the moment.
    public var model: any Module { task.model }
    /// What is trained on what, in a sentence.
    public var summary: String { task.summary }
    /// Steps of all phases.
    public var totalSteps: Int { phases.reduce(0) { $0 + $1.plan.steps } }
    private let task: any JobTask
    private let phases: [Phase]

    /// The folder of a run's directory that holds a language model for the other verbs.
    static let modelFolder = "model"

    /// The file of a run's directory that describes the run.
    public static let configurationName = "config.toml"

    /// Where a run left a model that ``Transformer/load(_:weights:embedding:progress:)`` reads; nil if `directory` is not
    /// that of such a run.
    public static func modelDirectory(of directory: String) -> String? {
        let inside = FileSystem.join(directory, modelFolder)
        return FileSystem.exists(FileSystem.join(inside, "config.json"))
            && !FileSystem.exists(FileSystem.join(directory, "config.json")) ? inside : nil
    }

    /// Whether a directory holds a run that can be gone on with.
    public static func hasRun(_ directory: String) -> Bool {
        [directory, phaseFolder(0, in: directory)].contains { Trainer<ShuffledBatches>.hasCheckpoint($0) }
    }

    /// Says that a directory holds a run that can be gone on with.
    ///
    /// - Parameter advice: What to do if it does not.
    /// - Throws: `LacunaError.file` that names the checkpoint that is missing and gives the advice.
    public static func requireCheckpoint(in directory: String, otherwise advice: String = "start it again") throws {
        if hasRun(directory) { return }
        let first = phaseFolder(0, in: directory)
        try Trainer<ShuffledBatches>.requireCheckpoint(
            in: FileSystem.isDirectory(first) ? first : directory, otherwise: advice)
    }

    private static func phaseFolder(_ phase: Int, in directory: String) -> String {
        FileSystem.join(directory, "phase-\(phase + 1)")
    }

    /// - Throws: `LacunaError.malformed` for mistakes in the file, and what reading data throws.
    public convenience init(_ configuration: ConfigurationFile, fetch: @escaping (String) throws -> String) throws {
        try self.init(configuration, environment: Environment(fetch: fetch))
    }

    /// - Throws: `LacunaError.malformed` for mistakes in the file, and what reading data throws.
    public init(_ configuration: ConfigurationFile, environment: Environment) throws {
        self.configuration = configuration
        let seed = UInt64(try configuration.optionalInteger("seed") ?? 0)
        let count = configuration.tableCount("phase")
        if count > 0, configuration.containsSection("method") {
            throw configuration.failure(
                "method.name", "stands beside [[phase]]: give each phase its own, as method.name")
        }
        for index in 0..<count where !configuration.containsSection("phase.\(index)") {
            throw configuration.failure("phase.\(index)", "says nothing")
        }
        let readers = count == 0 ? [JobReader(configuration)] : (0..<count).map { JobReader(configuration, phase: $0) }
        let methods = try readers.map { try $0.method(seed: seed) }
        for (index, method) in methods.enumerated().dropFirst()
        where method is any NetworkShaping || method is FeatureSelection {
            throw configuration.failure(
                "phase.\(index).method.name",
                "\(method?.card.name ?? "") decides what network is trained: it can only be the first phase")
        }
        if count > 1, methods[0] is FeatureSelection {
            throw configuration.failure("phase.0.method.name", "quick-selection has one phase")
        }
        if let index = methods.firstIndex(where: { ($0 as? any CalibratedMethod)?.textOption != nil }),
            try !JobReader.textKinds.contains(configuration.string("data.kind"))
        {
            let option = (methods[index] as? any CalibratedMethod)?.textOption ?? "name"
            throw configuration.failure(
                count == 0 ? "method.\(option)" : "phase.\(index).method.\(option)",
                "'\(methods[index]?.card.name ?? "")' looks at what the layers of a language model read; there is none here"
            )
        }
        /// The option by which a method's layers are no matrices; nil if they are.
        func nonlinear(_ method: (any TrainingMethod)?) -> String? {
            if (method as? LOST)?.activation != nil { return "activation" }
            return (method as? IsoFLOPLayers)?.isLinear == false ? "variant" : nil
        }
        if let index = methods.firstIndex(where: { nonlinear($0) != nil }), let option = nonlinear(methods[index]),
            try JobReader.textKinds.contains(configuration.string("data.kind"))
        {
            throw configuration.failure(
                count == 0 ? "method.\(option)" : "phase.\(index).method.\(option)",
                "a layer with a norm or a nonlinearity inside is no matrix, and a language model is saved as matrices")
        }
        if count > 0, let method = methods.first(where: { $0 is any ContinualMethod }) {
            throw configuration.failure(
                "phase.0.method.name",
                "\(method?.card.name ?? "") makes a phase of each of its tasks: no other ones go with it")
        }
        // A continual method has one phase a task, all with what the sections say.
        let steps =
            try methods[0] is any ContinualMethod
            ? Array(repeating: (readers[0], methods[0]), count: readers[0].tasks()) : Array(zip(readers, methods))
        let optimizers = try steps.map { try $0.0.optimizer(for: $0.1) }
        let forgets = methods.contains { $0 is SparseUnlearning }
        let task = try Self.task(configuration, readers[0], methods[0], environment, forgets: forgets, seed: seed)
        if forgets, !(task is ClassificationTask) {
            throw configuration.failure("data.kind", "unlearn forgets examples of classes, and there are none")
        }
        let plans = try steps.enumerated().map { index, step in
            let reader = step.0
            var plan = try reader.plan(seed: seed &+ UInt64(index), batchesPerEpoch: task.batchesPerEpoch)
            // What a loaded model is worth before anything is done to it.
            plan.evaluatesFirst = index == 0 && configuration.contains("model.from")
            return plan
        }
        try configuration.requireAllUsed()
        self.task = task
        phases = steps.indices.map { Phase(method: steps[$0].1, optimizer: optimizers[$0], plan: plans[$0]) }
        for parameter in task.model.parameters where !parameter.isTrainable {
            frozen.insert(ObjectIdentifier(parameter))
        }
    }

    private static func task(
        _ file: ConfigurationFile, _ reader: JobReader, _ method: (any TrainingMethod)?, _ environment: Environment,
        forgets: Bool, seed: UInt64
    ) throws -> any JobTask {
        let kind = try file.choice(
            "data.kind", of: JobReader.exampleKinds + JobReader.textKinds + environment.kinds.keys.sorted())
        if let read = environment.kinds[kind] {
            if method is FeatureSelection || method is any ContinualMethod || method is any NetworkShaping {
                throw file.failure("method.name", "\(method?.card.name ?? "") does not train what '\(kind)' is about")
            }
            return try read(file, seed, environment)
        }
        var generator = SeededGenerator(seed: seed, stream: 0x10B)
        if JobReader.textKinds.contains(kind) {
            if method is FeatureSelection {
                throw file.failure("data.kind", "quick-selection ranks columns of a table, and text has none")
            }
            if method is any ContinualMethod {
                throw file.failure("data.kind", "tasks are made of classes, and text has none")
            }
            return try languageTask(file, reader, method, environment, seed: seed, using: &generator)
        }
        if file.containsSection("teacher") {
            throw file.failure("teacher.from", "a teacher is for language models")
        }
        if method is FeatureSelection, file.contains("data.task") {
            throw file.failure("data.task", "quick-selection looks at no target: leave it out")
        }
        if let selection = method as? FeatureSelection, kind == "csv" {
            let (train, test, inputs) = try reader.features(seed: seed)
            return try FeatureTask(
                selection, train: train, test: test, names: inputs.inputNames,
                batch: reader.batch(of: train.rows, default: 100), seed: seed, using: &generator)
        }
        let examples = try reader.examples(kind, seed: seed, fetch: environment.fetch)
        switch examples.parts {
        case .classes(let train, let test):
            if let selection = method as? FeatureSelection {
                var names: [String]?
                if case .table(let encoding) = examples.inputs { names = encoding.inputNames }
                return try FeatureTask(
                    selection, train: train.rows, test: test.rows, names: names,
                    batch: reader.batch(of: train.count, default: 100), seed: seed, using: &generator)
            }
            let continual = method as? any ContinualMethod
            let network = try reader.network(
                inputs: train.inputShape, outputs: continual?.hasHead == false ? nil : train.classes, examples: train,
                method: method, using: &generator)
            if let continual {
                do {
                    return try ContinualTask(
                        continual, network, stream: TaskStream(train: train, test: test, tasks: reader.tasks()),
                        batch: try reader.batch(of: train.count, default: 64), inputs: examples.inputs,
                        classes: examples.classes ?? (0..<train.classes).map(String.init))
                } catch let LacunaError.invalidArgument(argument, reason) {
                    throw file.failure("method.\(argument)", reason)
                } catch let LacunaError.unsupported(_, what) {
                    throw file.failure("model.kind", "\(what) is not supported")
                }
            }
            return ClassificationTask(
                network, train: train, test: test, batch: try reader.batch(of: train.count, default: 64),
                description: examples.classes.map { (examples.inputs, .classes($0)) },
                split: try reader.forgotten(train, classes: examples.classes, isWanted: forgets, seed: seed))
        case .numbers(let train, let test, let target):
            if method is any ContinualMethod {
                throw file.failure("data.task", "tasks are made of classes, and numbers have none")
            }
            let network = try reader.network(
                inputs: train.inputShape, outputs: 1, examples: nil, method: method, using: &generator)
            return RegressionTask(
                network, train: train, test: test, batch: try reader.batch(of: train.count, default: 64),
                inputs: examples.inputs, target: target)
        }
    }

    private static func languageTask(
        _ file: ConfigurationFile, _ reader: JobReader, _ method: (any TrainingMethod)?, _ environment: Environment,
        seed: UInt64, using generator: inout SeededGenerator
    ) throws -> LanguageTask {
        let language = LanguageReader(file: file, environment: environment)
        let loaded = try language.loaded("model.from", precision: "model.precision")
        let data = try language.data(loaded, seed: seed)
        let network: TrainableTransformer
        if let loaded {
            guard data.vocabulary <= loaded.decoder.configuration.vocabularySize else {
                throw file.failure("model.from", "has fewer embeddings than its tokenizer has tokens")
            }
            network = try language.network(loaded, using: &generator)
        } else {
            network = try reader.languageModel(vocabulary: data.vocabulary, method: method, using: &generator)
        }
        let most = network.configuration.maximumPositions
        let values = try file.choice("result.values", of: ["f32", "bf16"], default: "f32")
        let form = LanguageTask.Form(
            window: try file.optionalInteger("data.window", in: 1...most) ?? (loaded == nil ? most : min(256, most)),
            batch: try file.optionalInteger("data.batch", in: 1...4096) ?? 8,
            validCount: try file.optionalInteger("training.evaluate_windows", in: 1...1_000_000) ?? 128,
            values: values == "bf16" ? .bf16 : .f32)
        do {
            return try LanguageTask(
                network, data: data, form: form, teacher: try language.teacher(),
                generationSettings: loaded?.decoder.generationSettings)
        } catch let LacunaError.invalidArgument(argument, reason) {
            let places = [
                "context": file.contains("data.window") ? "data.window" : "model.context", "valid": "data.valid",
                "teacher": "teacher.from", "features": "teacher.features", "data": "data.path",
            ]
            throw file.failure(places[argument] ?? "data.kind", reason)
        }
    }

    // MARK: Running

    /// Parameters that nothing trains, whatever the phases' groups say.
    private var frozen: Set<ObjectIdentifier> = []

    /// Where a phase of the run keeps its files: the directory itself if there is only one.
    private func folder(_ phase: Int, in directory: String) -> String {
        phases.count == 1 ? directory : Self.phaseFolder(phase, in: directory)
    }

    /// Trains to the end.
    ///
    /// - Parameters:
    ///   - directory: Where metrics, checkpoints and the model go. The phases of a run of several have folders there.
    ///   - resumes: Go on from the directory's last checkpoint.
    ///   - collective: Processes that train together, each with some of the batches that `training.accumulation` averages; the first
    ///     writes the files. Nil for this process alone. See ``Trainer``.
    /// - Throws: `LacunaError.cancelled` after writing a checkpoint, and what the trainer throws.
    public func run(
        directory: String?, resumes: Bool = false, collective: (any Collective)? = nil,
        progress: (any ProgressReporter)? = nil
    ) throws -> TrainingReport {
        let writes = (collective?.rank ?? 0) == 0
        var first = 0
        if resumes, let directory {
            first = phases.indices.last { Trainer<ShuffledBatches>.hasCheckpoint(folder($0, in: directory)) } ?? 0
        }
        var result = TrainingReport()
        result.hadNothingToDo = true
        var offset = phases[..<first].reduce(0) { $0 + $1.plan.steps }
        for index in first..<phases.count {
            let phase = phases[index]
            var plan = phase.plan
            let isLast = index == phases.count - 1
            (phase.method as? any ContinualMethod)?.task = index
            let place = directory.map { folder(index, in: $0) }
            if index > 0 { try prepareNext(from: index == first ? folder(index - 1, in: directory ?? "") : nil) }
            plan.savesModel = isLast && phases.count == 1 && task.savesModel
            let trainer = try task.trainer(plan, phase.optimizer, phase.method, collective)
            trainer.settings = configuration.settings
            if resumes, index == first, let place {
                if let begun = try trainer.settings(inCheckpointOf: place) {
                    // A run goes on only with the configuration that it began with: another seed would test it on rows
                    // that it has trained on.
                    try configuration.requireSettings(begun, of: "the run's checkpoint")
                }
                try trainer.resume(from: place)
            }
            let report = try trainer.train(directory: place, progress: progress)
            if let place, !isLast, writes {
                // What the next phase begins with, should it have to begin anew.
                try ModelFile.save(task.model, to: FileSystem.join(place, Self.resultName))
            }
            result.metrics += report.metrics.map { TrainingMetrics(step: $0.step + offset, values: $0.values) }
            result.evaluation = report.evaluation.map { TrainingMetrics(step: $0.step + offset, values: $0.values) }
            result.stoppedEarly = report.stoppedEarly.map { $0 + offset }
            result.steps = offset + report.steps
            result.seconds += report.seconds
            result.hadNothingToDo = result.hadNothingToDo && report.hadNothingToDo
            if report.multiplyAddsPerStep > 0 { result.multiplyAddsPerStep = report.multiplyAddsPerStep }
            offset += phase.plan.steps
        }
        let isSmaller = task.shrink()
        if let directory, writes {
            try task.save(to: directory)
            if (phases.count > 1 || isSmaller) && task.savesModel {
                try ModelFile.save(task.model, to: FileSystem.join(directory, Self.resultName))
            }
        }
        return result
    }

    private static let resultName = "model.safetensors"

    /// Makes the model what the phase before left.
    ///
    /// - Parameter folder: That phase's files, for a model that did not live through it.
    private func prepareNext(from folder: String?) throws {
        if let folder { try ModelFile.load(task.model, from: FileSystem.join(folder, Self.resultName)) }
        for parameter in task.model.parameters {
            parameter.removeSlots()
            parameter.clearGradient()
            parameter.isTrainable = !frozen.contains(ObjectIdentifier(parameter))
        }
    }

    /// The lines of metrics of a run in a directory, steps counted from the run's beginning.
    ///
    /// - Throws: `LacunaError.file` and `.malformed`.
    public func metrics(in directory: String) throws -> [JSONValue] {
        var (lines, offset) = ([JSONValue](), 0)
        for index in phases.indices {
            let path = FileSystem.join(folder(index, in: directory), "metrics.jsonl")
            if FileSystem.exists(path) {
                for line in try FileSystem.readText(path).split(separator: "\n") {
                    guard var object = try JSONValue(parsing: String(line), file: path).objectValue else { continue }
                    object["step"] = object["step"]?.intValue.map { JSONValue($0 + offset) }
                    lines.append(.object(object))
                }
            }
            offset += phases[index].plan.steps
        }
        return lines
    }

    /// What the model costs: of one example, or of one window of text.
    public var ledger: Ledger { task.ledger() }
}
