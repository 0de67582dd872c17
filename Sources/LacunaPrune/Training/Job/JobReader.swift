import LacunaIO
import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor

/// Turns the sections of a configuration into the parts of a run.
///
/// A run has one phase, which `[method]`, `[optimizer]`, `[schedule]` and `[training]` describe, or those of `[[phase]]`: a
/// phase has its own method, and takes from the sections whatever it does not say itself.
struct JobReader {
    let file: ConfigurationFile
    /// Which of the phases, if the file has any.
    let phase: Int?

    init(_ file: ConfigurationFile, phase: Int? = nil) {
        self.file = file
        self.phase = phase
    }

    /// Where the file has a setting: in the phase, or in its section.
    private func key(_ name: String) -> String {
        guard let phase else { return name }
        let own = "phase.\(phase).\(name)"
        return file.contains(own) ? own : name
    }

    /// Where the options of the phase's method begin.
    private var method: String { phase.map { "phase.\($0).method" } ?? "method" }

    /// Runs `body`, giving errors about arguments the place of `key` in the file.
    private func located<T>(_ key: String, _ body: () throws -> T) throws -> T {
        do {
            return try body()
        } catch let LacunaError.invalidArgument(argument, reason) {
            let named = "\(method).\(argument)"
            // What is missing has no line, but a name.
            throw file.failure(file.contains(named) || reason == "is missing" ? named : key, reason)
        }
    }

    // MARK: Data

    /// Examples with what they went through.
    struct Examples {
        enum Parts {
            case classes(train: LabelledExamples, test: LabelledExamples)
            case numbers(train: TargetExamples, test: TargetExamples, target: (name: String, scaler: Standardization))
        }

        let parts: Parts
        let inputs: NetworkInputs
        /// nil for numbers, which name themselves.
        let classes: [String]?
    }

    static let exampleKinds = ["fashion-mnist", "digits", "csv", "images"]
    static let textKinds = ["text", "jsonl"]

    func examples(_ kind: String, seed: UInt64, fetch: (String) throws -> String) throws -> Examples {
        let path = try file.optionalString("data.path")
        switch kind {
        case "fashion-mnist":
            let place = try path ?? fetch("fashion-mnist")
            var (train, test, scaler) = try ImageFiles.fashionMNIST(place)
            guard train.count > 0 && test.count > 0 else {
                throw LacunaError.malformed(
                    file: place, location: "images", reason: "\(train.count) to train and \(test.count) to test")
            }
            if let limit = try file.optionalInteger("data.limit", in: 1...train.count) {
                train = train.prefix(limit)
                test = test.prefix(limit)
            }
            let shape = train.inputShape
            // Brightnesses of pictures are 0...1 where those of the files are 0...255.
            let encoding = ImageEncoding(
                channels: shape[0], height: shape[1], width: shape[2], mean: scaler.means[0] / 255,
                scale: scaler.scales[0] * 255)
            return Examples(
                parts: .classes(train: train, test: test), inputs: .images(encoding), classes: ImageFiles.fashionClasses
            )
        case "images":
            guard let path else { throw file.failure("data.path", "is missing: a folder with a folder for each class") }
            let folder = try ImageFolder(path)
            let size = try pictureSize()
            let (train, test, encoding): (LabelledExamples, LabelledExamples, ImageEncoding)
            do {
                (train, test, encoding) = try folder.examples(testFraction: testFraction(), size: size, seed: seed)
            } catch let LacunaError.tensorMismatch(picture, _, expected, found)
                where size == nil && expected.first == found.first
            {
                throw LacunaError.malformed(
                    file: picture, location: "picture",
                    reason:
                        "is \(found) where others are \(expected): [data] size = [height, width] brings all to one size"
                )
            }
            return Examples(
                parts: .classes(train: train, test: test), inputs: .images(encoding), classes: folder.classes)
        default:
            let digits =
                path == nil && kind == "digits"
                ? try RepositoryData.require("digits/digits.csv", otherwise: "give its path as data.path") : nil
            guard let table = path ?? digits else { throw file.failure("data.path", "is missing") }
            let tasks = TableFiles.Task.allCases.map(\.rawValue)
            let task = try file.optionalString("data.task") == nil ? nil : file.choice("data.task", of: tasks)
            let found = try TableFiles.examples(
                table, target: file.optionalString("data.target"), task: task.flatMap { TableFiles.Task(rawValue: $0) },
                testFraction: testFraction(), seed: seed)
            switch (found.parts, found.outputs) {
            case (.numbers(let train, let test), .number(let name, let scaler)):
                return Examples(
                    parts: .numbers(train: train, test: test, target: (name, scaler)), inputs: .table(found.inputs),
                    classes: nil)
            case (.classes(let train, let test), .classes(let names)):
                return Examples(
                    parts: .classes(train: train, test: test), inputs: .table(found.inputs), classes: names)
            default: throw file.failure("data.task", "does not fit the table")
            }
        }
    }

    /// A table of which every column is an input, but the one that `data.target` names.
    func features(seed: UInt64) throws -> (train: Tensor<Float>, test: Tensor<Float>, inputs: TableEncoding) {
        guard let path = try file.optionalString("data.path") else { throw file.failure("data.path", "is missing") }
        return try TableFiles.features(
            path, leavingOut: file.optionalString("data.target"), testFraction: testFraction(), seed: seed)
    }

    private func testFraction() throws -> Double {
        try file.optionalNumber("data.test_fraction", in: 0.01...0.99) ?? 0.2
    }

    /// `data.size`, the height and width that pictures are brought to.
    private func pictureSize() throws -> (height: Int, width: Int)? {
        guard file.contains("data.size") else { return nil }
        let sides = try file.integers("data.size", in: 1...4096)
        guard sides.count == 2 else {
            throw file.failure("data.size", "has \(sides.count) numbers where a height and a width are two")
        }
        return (sides[0], sides[1])
    }

    /// Examples of a batch.
    func batch(of count: Int, default value: Int) throws -> Int {
        try file.optionalInteger("data.batch", in: 1...count) ?? min(value, count)
    }

    /// What phases of unlearning are to forget: a share of the training examples, or a class; nil if nothing is said.
    ///
    /// - Parameter isWanted: Whether there is such a phase.
    func forgotten(_ train: LabelledExamples, classes: [String]?, isWanted: Bool, seed: UInt64) throws -> ForgetSplit? {
        let (shareKey, classKey) = ("data.forget", "data.forget_class")
        let (share, name) = (try file.optionalNumber(shareKey, in: 0...1), try file.optionalString(classKey))
        if share != nil && name != nil { throw file.failure(classKey, "stands beside forget: give one") }
        guard share != nil || name != nil else {
            if isWanted {
                throw file.failure(
                    shareKey, "is missing: the share of the examples to forget, or forget_class, a class")
            }
            return nil
        }
        let key = share == nil ? classKey : shareKey
        guard isWanted else { throw file.failure(key, "is for a phase with the method unlearn, and there is none") }
        do {
            if let share { return try ForgetSplit(train, share: share, seed: seed) }
            let names = classes ?? (0..<train.classes).map(String.init)
            guard let name, let label = names.firstIndex(of: name) else {
                throw file.failure(key, "'\(name ?? "")' is none of \(names.joined(separator: ", "))")
            }
            return try ForgetSplit(train, forgetting: train.labels.indices.filter { Int(train.labels[$0]) == label })
        } catch let LacunaError.invalidArgument(_, reason) {
            throw file.failure(key, reason)
        }
    }

    // MARK: Model

    /// - Parameters:
    ///   - outputs: Classes, or 1 for a number; nil for a network that ends with its last hidden layer.
    ///   - method: May decide what fully connected network is trained.
    func network(
        inputs inputShape: [Int], outputs: Int?, examples: LabelledExamples?, method: (any TrainingMethod)?,
        using generator: inout SeededGenerator
    ) throws -> any UnaryLayer {
        if file.contains("model.from") {
            throw file.failure("model.from", "continues language models; a network for tables or images is made anew")
        }
        let shaping = method as? any NetworkShaping
        switch try file.choice("model.kind", of: ["mlp", "cnn"]) {
        case "mlp":
            let hidden = try file.integers("model.hidden", in: 1...65_536)
            let dropout = try file.optionalNumber("model.dropout", in: 0...0.99) ?? 0
            if outputs == nil, hidden.count < 2 {
                throw file.failure("model.hidden", "the last layer is an embedding: give one before it")
            }
            let widths = [inputShape.reduce(1, *)] + hidden + (outputs.map { [$0] } ?? [])
            try requireMemory(zip(widths, widths.dropFirst()).reduce(0) { $0 + $1.0 * $1.1 })
            func make(_ widths: [Int]) -> MLP { MLP(widths: widths, dropout: dropout, using: &generator) }
            guard let shaping else { return make(widths) }
            guard let examples else {
                throw file.failure("data.task", "\(shaping.card.name) shapes networks by classes, not by numbers")
            }
            return try located("model.hidden") { try shaping.shaped(widths, examples: examples, make: make) }
        default:
            if let shaping { throw needsMLP(shaping) }
            guard let outputs else { throw file.failure("model.kind", "the method trains fully connected networks") }
            guard inputShape.count == 3 else {
                throw file.failure("model.kind", "a cnn needs images, not inputs of shape \(inputShape)")
            }
            let channels = try file.integers("model.channels", in: 1...4096)
            guard !channels.isEmpty else { throw file.failure("model.channels", "is empty") }
            try requireMemory(zip([inputShape[0]] + channels, channels).reduce(0) { $0 + 9 * $1.0 * $1.1 })
            return ConvNet(inputChannels: inputShape[0], channels: channels, classes: outputs, using: &generator)
        }
    }

    /// Weights, gradients and two moments, as floats: what training takes at least, asked for before any of it is made.
    private func requireMemory(_ parameters: Int) throws {
        let floats = 4
        try MachineMemory.require(
            shape: [parameters, floats], of: Float.self, for: "training \(parameters) weights (\(file.file))")
    }

    private func needsMLP(_ method: any NetworkShaping) -> LacunaError {
        file.failure("model.kind", "\(method.card.name) shapes fully connected networks: it needs an mlp")
    }

    /// A language model of random weights.
    func languageModel(
        vocabulary: Int, method: (any TrainingMethod)?, using generator: inout SeededGenerator
    ) throws -> TrainableTransformer {
        _ = try file.choice("model.kind", of: ["transformer"], default: "transformer")
        if let shaping = method as? any NetworkShaping { throw needsMLP(shaping) }
        let dimensions = try file.integer("model.dimensions", in: 1...8192)
        let heads = try file.integer("model.heads", in: 1...256)
        guard dimensions % heads == 0, dimensions / heads % 2 == 0 else {
            throw file.failure("model.heads", "\(dimensions) dimensions do not divide into \(heads) heads of even size")
        }
        let shared = try file.optionalInteger("model.key_value_heads", in: 1...heads) ?? heads
        guard heads % shared == 0 else {
            throw file.failure("model.key_value_heads", "\(heads) heads cannot share \(shared)")
        }
        // Three matrices of this width have as many entries as the usual two of four times the width.
        let hidden = try file.optionalInteger("model.hidden", in: 1...65_536) ?? (8 * dimensions / 3 + 7) / 8 * 8
        let layers = try file.integer("model.layers", in: 1...256)
        try requireMemory(layers * dimensions * (4 * dimensions + 3 * hidden) + vocabulary * dimensions)
        return try TrainableTransformer(
            TransformerConfiguration(
                vocabularySize: vocabulary, hiddenSize: dimensions,
                intermediateSizes: Array(repeating: hidden, count: layers), headCount: heads,
                keyValueHeadCount: shared, headSize: dimensions / heads,
                maximumPositions: try file.optionalInteger("model.context", in: 1...65_536) ?? 128,
                tiedEmbeddings: true),
            dropout: try file.optionalNumber("model.dropout", in: 0...0.99) ?? 0, using: &generator)
    }

    // MARK: Method

    func method(seed: UInt64) throws -> (any TrainingMethod)? {
        let key = "\(method).name"
        let name = try file.choice(key, of: ["dense"] + TrainingMethods.names, default: "dense")
        if name == "dense" { return nil }
        return try located(key) {
            try TrainingMethods.make(name, options: ConfigurationOptions(file, section: method, seed: seed))
        }
    }

    /// How many tasks a continual method learns.
    func tasks() throws -> Int { try file.optionalInteger("\(method).tasks", in: 2...10_000) ?? 5 }

    // MARK: Optimiser and schedule

    /// - Parameter method: May want its own step.
    func optimizer(for method: (any TrainingMethod)?) throws -> any Optimizer {
        let plain = try optimizer()
        guard let method else { return plain }
        return try located(key("optimizer.name")) { try method.optimizer(plain) }
    }

    private func optimizer() throws -> any Optimizer {
        let name = try file.choice(key("optimizer.name"), of: ["sgd", "adam", "adamw", "adagrad"], default: "adam")
        let decay = try file.optionalNumber(key("optimizer.weight_decay"), in: 0...10)
        switch name {
        case "sgd":
            return SGD(
                learningRate: 0, momentum: try file.optionalNumber(key("optimizer.momentum"), in: 0...0.9999) ?? 0.9,
                weightDecay: decay ?? 0, nesterov: try file.optionalBool(key("optimizer.nesterov")) ?? false)
        case "adagrad": return Adagrad(learningRate: 0, weightDecay: decay ?? 0)
        default:
            return Adam(
                learningRate: 0, beta1: try file.optionalNumber(key("optimizer.beta1"), in: 0...0.99999) ?? 0.9,
                beta2: try file.optionalNumber(key("optimizer.beta2"), in: 0...0.999999) ?? 0.999,
                weightDecay: decay ?? (name == "adamw" ? 0.01 : 0), isDecoupled: name == "adamw")
        }
    }

    /// `[[group]]`: rates, decays and what is frozen, by the names of parameters.
    private func groups() throws -> [ParameterGroup] {
        try (0..<file.tableCount("group")).map { index in
            let group = "group.\(index)"
            return ParameterGroup(
                NamePattern(try file.string("\(group).match")),
                rate: try file.optionalNumber("\(group).rate", in: 0...1e6) ?? 1,
                decay: try file.optionalNumber("\(group).decay", in: 0...10),
                isFrozen: try file.optionalBool("\(group).frozen") ?? false)
        }
    }

    func plan(seed: UInt64, batchesPerEpoch: Int) throws -> TrainingPlan {
        let accumulation = try file.optionalInteger(key("training.accumulation"), in: 1...100_000) ?? 1
        let steps: Int
        let (stepsKey, epochsKey) = (key("training.steps"), key("training.epochs"))
        // What a phase says itself comes before what its section says.
        let ownEpochs = epochsKey != "training.epochs" && stepsKey == "training.steps"
        if !ownEpochs, let given = try file.optionalInteger(stepsKey, in: 1...1_000_000_000) {
            if file.contains(epochsKey), (epochsKey == "training.epochs") == (stepsKey == "training.steps") {
                throw file.failure(epochsKey, "stands beside steps: give one")
            }
            steps = given
        } else {
            let epochs = try file.number(key("training.epochs"), in: 0.001...100_000)
            steps = max(1, Int((epochs * Double(batchesPerEpoch) / Double(accumulation)).rounded()))
        }
        let rate = try file.number(key("optimizer.learning_rate"), in: 0...1000)
        let final = try file.optionalNumber(key("schedule.final"), in: 0...1000) ?? 0
        // A schedule that restarts runs its course in each of several equal parts.
        let restarts = try file.optionalInteger(key("schedule.restarts"), in: 0...10_000) ?? 0
        let length = max(1, steps / (restarts + 1))
        let warm = min(try file.optionalInteger(key("schedule.warm_up"), in: 0...1_000_000_000) ?? 0, length)
        let rest = max(1, length - warm)
        var schedule: Schedule
        switch try file.choice(
            key("schedule.name"), of: ["constant", "linear", "cosine", "exponential"], default: "cosine")
        {
        case "constant": schedule = .constant(rate)
        case "linear": schedule = .linear(from: rate, to: final, steps: rest)
        case "exponential":
            guard final > 0, rate > 0 else {
                throw file.failure(key("schedule.final"), "an exponential schedule needs a positive final rate")
            }
            schedule = .exponential(from: rate, to: final, steps: rest)
        default: schedule = .cosine(from: rate, to: final, steps: rest)
        }
        if warm > 0 { schedule = .warmUp(steps: warm, then: schedule) }
        if restarts > 0 { schedule = .repeating(schedule, every: length, times: restarts + 1) }
        var plan = TrainingPlan(steps: steps, learningRate: schedule)
        plan.accumulation = accumulation
        plan.clipNorm = try file.optionalNumber(key("training.clip"), in: 1e-9...1e9)
        plan.evaluateEvery =
            try file.optionalInteger(key("training.evaluate_every"), in: 0...1_000_000_000) ?? max(1, steps / 10)
        plan.checkpointEvery =
            try file.optionalInteger(key("training.checkpoint_every"), in: 0...1_000_000_000) ?? max(1, steps / 10)
        plan.logEvery =
            try file.optionalInteger(key("training.log_every"), in: 1...1_000_000_000) ?? max(1, steps / 100)
        plan.patience = try file.optionalInteger(key("training.patience"), in: 1...1_000_000_000)
        plan.averageDecay = try file.optionalNumber(key("training.average"), in: 0...0.999999)
        plan.groups = try groups()
        plan.rowSparse = try file.optionalBool(key("training.row_sparse")) ?? false
        plan.precision =
            ProductPrecision(
                rawValue: try file.choice(
                    key("training.precision"), of: ProductPrecision.allCases.map(\.rawValue), default: "f32")) ?? .f32
        plan.seed = seed
        try plan.validate()
        return plan
    }
}

/// A method's options as a configuration gives them, in a section.
struct ConfigurationOptions: MethodOptions {
    let file: ConfigurationFile
    let section: String
    let seed: UInt64
    init(_ file: ConfigurationFile, section: String, seed: UInt64) {
        (self.file, self.section, self.seed) = (file, section, seed)
    }

    func number(_ name: String) throws -> Double? { try file.optionalNumber("\(section).\(name)") }
    func integer(_ name: String) throws -> Int? { try file.optionalInteger("\(section).\(name)") }
    func text(_ name: String) throws -> String? { try file.optionalString("\(section).\(name)") }
    func truth(_ name: String) throws -> Bool? { try file.optionalBool("\(section).\(name)") }
}
