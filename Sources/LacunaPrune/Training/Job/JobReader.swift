import LacunaIO
import LacunaLearn
import LacunaSparse
import LacunaTensor

/// Turns the sections of a configuration into the parts of a run.
struct JobReader {
    let file: ConfigurationFile

    init(_ file: ConfigurationFile) { self.file = file }

    /// Runs `body`, giving errors about arguments the place of `key` in the file.
    private func located<T>(_ key: String, _ body: () throws -> T) throws -> T {
        do {
            return try body()
        } catch let LacunaError.invalidArgument(argument, reason) {
            let named = "method.\(argument)"
            throw file.failure(file.contains(named) ? named : key, reason)
        }
    }

    // MARK: Data

    enum Data {
        case examples(train: LabelledExamples, test: LabelledExamples)
        case text(train: [Int32], valid: [Int32], vocabulary: Int)
    }

    func data(seed: UInt64, fetch: (String) throws -> String) throws -> Data {
        let kind = try file.choice("data.kind", of: ["fashion-mnist", "digits", "csv", "text"])
        let path = try file.optionalString("data.path")
        switch kind {
        case "fashion-mnist":
            let place = try path ?? fetch("fashion-mnist")
            var (train, test, _) = try ImageFiles.fashionMNIST(place)
            guard train.count > 0 && test.count > 0 else {
                throw LacunaError.malformed(
                    file: place, location: "images", reason: "\(train.count) to train and \(test.count) to test")
            }
            if let limit = try file.optionalInteger("data.limit", in: 1...train.count) {
                train = train.prefix(limit)
                test = test.prefix(limit)
            }
            return .examples(train: train, test: test)
        case "digits", "csv":
            guard let table = path ?? (kind == "digits" ? "Data/digits/digits.csv" : nil) else {
                throw file.failure("data.path", "is missing")
            }
            let share = try file.optionalNumber("data.test_fraction", in: 0.01...0.99) ?? 0.2
            let (train, test, _) = try TableFiles.classification(table, testFraction: share, seed: seed)
            return .examples(train: train, test: test)
        default:
            guard let path else { throw file.failure("data.path", "is missing") }
            let text = try FileSystem.readBytes(path)
            let valid = try file.optionalString("data.valid").map { try FileSystem.readBytes($0) }
            // Without a text of its own the last tenth validates.
            let cut = valid == nil ? text.count - text.count / 10 : text.count
            let (first, last) = (Array(text[..<cut]), valid ?? Array(text[cut...]))
            guard !first.isEmpty && !last.isEmpty else {
                throw LacunaError.malformed(
                    file: path, location: "text",
                    reason: "\(first.count) bytes to train and \(last.count) to validate")
            }
            let vocabulary = try file.optionalString("data.vocabulary") ?? "byte"
            if vocabulary == "byte" {
                let bytes = ByteVocabulary(first)
                return .text(train: bytes.encode(first), valid: bytes.encode(last), vocabulary: bytes.count)
            }
            let tokenizer = try Tokenizer(json: vocabulary)
            func encode(_ bytes: [UInt8]) -> [Int32] {
                tokenizer.encode(
                    String(decoding: bytes, as: UTF8.self), recognizesSpecials: false, addsBeginning: false
                )
                .map { Int32($0) }
            }
            return .text(train: encode(first), valid: encode(last), vocabulary: tokenizer.vocabularySize)
        }
    }

    // MARK: Model

    /// - Parameter method: May decide what fully connected network is trained.
    func classifier(
        for examples: LabelledExamples, method: (any TrainingMethod)?, using generator: inout SeededGenerator
    ) throws -> any UnaryLayer {
        let (inputShape, classes) = (examples.inputShape, examples.classes)
        let shaping = method as? any NetworkShaping
        switch try file.choice("model.kind", of: ["mlp", "cnn"]) {
        case "mlp":
            let hidden = try file.integers("model.hidden", in: 1...65_536)
            let dropout = try file.optionalNumber("model.dropout", in: 0...0.99) ?? 0
            let widths = [inputShape.reduce(1, *)] + hidden + [classes]
            try requireMemory(zip(widths, widths.dropFirst()).reduce(0) { $0 + $1.0 * $1.1 })
            func make(_ widths: [Int]) -> MLP { MLP(widths: widths, dropout: dropout, using: &generator) }
            guard let shaping else { return make(widths) }
            return try located("model.hidden") { try shaping.shaped(widths, examples: examples, make: make) }
        default:
            if let shaping { throw needsMLP(shaping) }
            guard inputShape.count == 3 else {
                throw file.failure("model.kind", "a cnn needs images, not inputs of shape \(inputShape)")
            }
            let channels = try file.integers("model.channels", in: 1...4096)
            guard !channels.isEmpty else { throw file.failure("model.channels", "is empty") }
            try requireMemory(zip([inputShape[0]] + channels, channels).reduce(0) { $0 + 9 * $1.0 * $1.1 })
            return ConvNet(inputChannels: inputShape[0], channels: channels, classes: classes, using: &generator)
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

    func languageModel(
        vocabulary: Int, method: (any TrainingMethod)?, using generator: inout SeededGenerator
    ) throws -> GPT {
        _ = try file.choice("model.kind", of: ["gpt"])
        if let shaping = method as? any NetworkShaping { throw needsMLP(shaping) }
        let dimensions = try file.integer("model.dimensions", in: 1...8192)
        let heads = try file.integer("model.heads", in: 1...256)
        guard dimensions % heads == 0, dimensions / heads % 2 == 0 else {
            throw file.failure("model.heads", "\(dimensions) dimensions do not divide into \(heads) heads of even size")
        }
        let isRotary = try file.optionalBool("model.rotary") ?? false
        let layers = try file.integer("model.layers", in: 1...256)
        let hidden = try file.optionalInteger("model.hidden", in: 1...65_536)
        try requireMemory(
            layers * dimensions * (4 * dimensions + 2 * (hidden ?? 4 * dimensions)) + vocabulary * dimensions)
        return GPT(
            .init(
                vocabulary: vocabulary, context: try file.optionalInteger("model.context", in: 1...65_536) ?? 128,
                dimensions: dimensions, layers: layers, heads: heads, hiddenDimensions: hidden,
                dropout: try file.optionalNumber("model.dropout", in: 0...0.99) ?? 0,
                rotaryBase: isRotary ? 10_000 : nil), using: &generator)
    }

    // MARK: Method

    func method(seed: UInt64) throws -> (any TrainingMethod)? {
        let name = try file.choice("method.name", of: ["dense"] + TrainingMethods.names, default: "dense")
        if name == "dense" { return nil }
        return try located("method.name") {
            try TrainingMethods.make(name, options: ConfigurationOptions(file, seed: seed))
        }
    }

    // MARK: Optimiser and schedule

    func optimizer() throws -> any Optimizer {
        let name = try file.choice("optimizer.name", of: ["sgd", "adam", "adamw", "adagrad"], default: "adam")
        let decay = try file.optionalNumber("optimizer.weight_decay", in: 0...10)
        switch name {
        case "sgd":
            return SGD(
                learningRate: 0, momentum: try file.optionalNumber("optimizer.momentum", in: 0...0.9999) ?? 0.9,
                weightDecay: decay ?? 0, nesterov: try file.optionalBool("optimizer.nesterov") ?? false)
        case "adagrad": return Adagrad(learningRate: 0, weightDecay: decay ?? 0)
        default:
            return Adam(
                learningRate: 0, beta1: try file.optionalNumber("optimizer.beta1", in: 0...0.99999) ?? 0.9,
                beta2: try file.optionalNumber("optimizer.beta2", in: 0...0.999999) ?? 0.999,
                weightDecay: decay ?? (name == "adamw" ? 0.01 : 0), isDecoupled: name == "adamw")
        }
    }

    func plan(seed: UInt64, batchesPerEpoch: Int) throws -> TrainingPlan {
        let accumulation = try file.optionalInteger("training.accumulation", in: 1...100_000) ?? 1
        let steps: Int
        if let given = try file.optionalInteger("training.steps", in: 1...1_000_000_000) {
            if file.contains("training.epochs") {
                throw file.failure("training.epochs", "stands beside steps: give one")
            }
            steps = given
        } else {
            let epochs = try file.number("training.epochs", in: 0.001...100_000)
            steps = max(1, Int((epochs * Double(batchesPerEpoch) / Double(accumulation)).rounded()))
        }
        let rate = try file.number("optimizer.learning_rate", in: 0...1000)
        let final = try file.optionalNumber("schedule.final", in: 0...1000) ?? 0
        // A schedule that restarts runs its course in each of several equal parts.
        let restarts = try file.optionalInteger("schedule.restarts", in: 0...10_000) ?? 0
        let length = max(1, steps / (restarts + 1))
        let warm = min(try file.optionalInteger("schedule.warm_up", in: 0...1_000_000_000) ?? 0, length)
        let rest = max(1, length - warm)
        var schedule: Schedule
        switch try file.choice(
            "schedule.name", of: ["constant", "linear", "cosine", "exponential"], default: "cosine")
        {
        case "constant": schedule = .constant(rate)
        case "linear": schedule = .linear(from: rate, to: final, steps: rest)
        case "exponential":
            guard final > 0, rate > 0 else {
                throw file.failure("schedule.final", "an exponential schedule needs a positive final rate")
            }
            schedule = .exponential(from: rate, to: final, steps: rest)
        default: schedule = .cosine(from: rate, to: final, steps: rest)
        }
        if warm > 0 { schedule = .warmUp(steps: warm, then: schedule) }
        if restarts > 0 { schedule = .repeating(schedule, every: length, times: restarts + 1) }
        var plan = TrainingPlan(steps: steps, learningRate: schedule)
        plan.accumulation = accumulation
        plan.clipNorm = try file.optionalNumber("training.clip", in: 1e-9...1e9)
        plan.evaluateEvery =
            try file.optionalInteger("training.evaluate_every", in: 0...1_000_000_000) ?? max(1, steps / 10)
        plan.checkpointEvery =
            try file.optionalInteger("training.checkpoint_every", in: 0...1_000_000_000) ?? max(1, steps / 10)
        plan.logEvery = try file.optionalInteger("training.log_every", in: 1...1_000_000_000) ?? max(1, steps / 100)
        plan.patience = try file.optionalInteger("training.patience", in: 1...1_000_000_000)
        plan.averageDecay = try file.optionalNumber("training.average", in: 0...0.999999)
        plan.rowSparse = try file.optionalBool("training.row_sparse") ?? false
        plan.seed = seed
        try plan.validate()
        return plan
    }
}

/// A method's options as a configuration gives them, under `method`.
struct ConfigurationOptions: MethodOptions {
    let file: ConfigurationFile
    let seed: UInt64
    init(_ file: ConfigurationFile, seed: UInt64) { (self.file, self.seed) = (file, seed) }

    func number(_ name: String) throws -> Double? { try file.optionalNumber("method.\(name)") }
    func integer(_ name: String) throws -> Int? { try file.optionalInteger("method.\(name)") }
    func text(_ name: String) throws -> String? { try file.optionalString("method.\(name)") }
    func truth(_ name: String) throws -> Bool? { try file.optionalBool("method.\(name)") }
}
