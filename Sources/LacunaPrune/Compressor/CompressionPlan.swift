import LacunaIO
import LacunaModels
import LacunaSparse
import LacunaTensor

/// What a compressed language model should come to, and what may be spent on it: what ``Compressor`` carries out.
///
/// ```swift
/// var plan = try CompressionPlan(target: "50%", values: .int4, healing: "20min")
/// plan.methods = ["sparsegpt"]
/// ```
public struct CompressionPlan: Sendable, Hashable {
    /// Which weights go.
    public enum Target: Sendable, Hashable {
        /// This fraction of them, above 0 and below 1, wherever a method wants them least.
        case sparsity(Double)
        /// Those that a pattern with a sparsity of its own takes, such as 2:4.
        case pattern(Pattern)

        /// Reads `50%`, `0.5`, or a pattern n:m such as `2:4`.
        ///
        /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for anything else.
        public init(_ words: String) throws {
            let isPercent = words.hasSuffix("%")
            if let number = Double(isPercent ? String(words.dropLast()) : words) {
                let fraction = isPercent ? number / 100 : number
                guard fraction > 0, fraction < 1 else {
                    throw LacunaError.invalidArgument("target", reason: "\(words) is not above 0 and below 100 %")
                }
                self = .sparsity(fraction)
                return
            }
            guard let pattern = try? Pattern(words), pattern.impliedSparsity != nil else {
                throw LacunaError.invalidArgument(
                    "target", reason: "'\(words)' is neither a fraction, such as 50%, nor a pattern n:m, such as 2:4")
            }
            self = .pattern(pattern)
        }

        /// The fraction of the weights that go.
        public var sparsity: Double {
            switch self {
            case .sparsity(let value): value
            case .pattern(let pattern): pattern.impliedSparsity ?? 0
            }
        }

        /// As ``init(_:)`` reads it.
        public var words: String {
            switch self {
            case .sparsity(let value): "\(value)"
            case .pattern(let pattern): pattern.description
            }
        }
    }

    /// How long the compressed model is trained.
    public enum Effort: Sendable, Hashable {
        /// Steps of end-to-end training.
        case steps(Int)
        /// Seconds of this machine for all training, of blocks and end to end: the time of some steps is taken, and decides how
        /// many there will be.
        case seconds(Double)

        /// Reads `400steps`, `90s`, `20min`, `4h`, or `none`.
        ///
        /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for anything else.
        public init(_ words: String) throws {
            func number(before unit: String) -> Double? {
                guard words.hasSuffix(unit) else { return nil }
                let text = words.dropLast(unit.count)
                return Double(text.last == " " ? String(text.dropLast()) : String(text)).flatMap {
                    $0 >= 0 && $0 < 1e7 ? $0 : nil
                }
            }
            if words == "none" {
                self = .steps(0)
            } else if let steps = number(before: "steps"), let whole = Int(exactly: steps) {
                self = .steps(whole)
            } else if let minutes = number(before: "min") {
                self = .seconds(60 * minutes)
            } else if let hours = number(before: "h") {
                self = .seconds(3600 * hours)
            } else if !words.hasSuffix("steps"), let seconds = number(before: "s") {
                self = .seconds(seconds)
            } else {
                throw LacunaError.invalidArgument(
                    "healing",
                    reason: "'\(words)' is neither a time, such as 20min, nor a number of steps, such as 400steps")
            }
        }

        /// As ``init(_:)`` reads it.
        public var words: String {
            switch self {
            case .steps(let count): "\(count)steps"
            case .seconds(let seconds): "\(seconds)s"
            }
        }
    }

    /// How a sparsity is shared out among layers.
    public enum Budget: String, Sendable, Hashable, CaseIterable {
        /// Every layer the same.
        case uniform
        /// By the outliers among a block's scores: ``OutlierBudget``.
        case owl
        /// By what pruning each block alone costs: ``SensitivityBudget``.
        case searched
    }

    /// Which weights go.
    public var target: Target
    /// The type of what is kept.
    public var values: ValueType
    /// How long the compressed model is trained.
    public var effort: Effort
    /// The type of embedding and head; nil for that of the model.
    public var head: ValueType?
    /// Methods to choose from: names of ``PruningMethods`` that prune layer by layer.
    public var methods = ["wanda", "dsnot", "sparsegpt"]
    /// Budgets to choose from, for targets that leave a choice; the first is the one with which methods are compared.
    public var budgets: [Budget] = [.uniform, .owl, .searched]
    /// Calibration sequences of the final pruning and of training block by block; choosing takes half of them.
    public var sequences = 64
    /// Tokens of a calibration sequence, or as many as the model can take if these are fewer.
    public var sequenceLength = 512
    /// Tokens of held-out text by which compositions are compared.
    public var heldOutTokens = 4096
    /// Training of a block on what the dense model gives; 0 steps leave it out, and of a time given there are no more than what takes
    /// three tenths. The rate is relative to the size of weights.
    public var reconstruction = {
        var result = Reconstruction(steps: 16, learningRate: 5e-3, batch: 4)
        result.precision = .bf16
        return result
    }()
    /// Training end to end.
    public var healing = Healing()
    /// Whether the dense model is trained in the same way, for comparison.
    public var control = false
    /// Tokens of the text that is only measured.
    public var evaluationTokens = 8192
    /// Decides calibration, order and whatever methods draw.
    public var seed: UInt64 = 0

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for words that ``Target/init(_:)`` or ``Effort/init(_:)`` cannot read.
    public init(target: String, values: ValueType = .bf16, healing words: String = "20min") throws {
        self.init(target: try Target(target), values: values, effort: try Effort(words))
    }

    /// - Parameter effort: How long the compressed model is trained.
    public init(target: Target, values: ValueType = .bf16, effort: Effort) {
        (self.target, self.values, self.effort) = (target, values, effort)
    }

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for numbers out of range, methods that do not exist or prune no
    ///   single layers, and lists that name nothing.
    public func validate() throws {
        func require(_ holds: Bool, _ name: String, _ reason: String) throws {
            if !holds { throw LacunaError.invalidArgument(name, reason: reason) }
        }
        try require(
            target.sparsity > 0 && target.sparsity < 1, "target", "\(target.sparsity) is not above 0 and below 1")
        if case .steps(let steps) = effort { try require(steps >= 0, "healing", "\(steps) steps") }
        if case .seconds(let seconds) = effort {
            try require(seconds >= 0 && seconds.isFinite, "healing", "\(seconds) seconds")
        }
        try require(!methods.isEmpty, "methods", "there are none to choose from")
        try require(!budgets.isEmpty, "budgets", "there are none to choose from")
        for name in methods {
            let method = try PruningMethods.named(name, seed: seed)
            try require(
                method is any LayerwisePruning, "methods", "'\(method.card.name)' keeps no mask over a layer's weights")
        }
        try require(sequences >= 2, "sequences", "\(sequences) are fewer than 2")
        try require(sequenceLength >= 2, "sequence length", "\(sequenceLength) is less than 2")
        try require(heldOutTokens >= 16, "held-out tokens", "\(heldOutTokens) are fewer than 16")
        try require(evaluationTokens >= 16, "evaluation tokens", "\(evaluationTokens) are fewer than 16")
        try reconstruction.validate()
        try healing.validate()
    }

    /// A method and a budget, as a plan of ``Pruner``; nil for a budget that has to be searched first.
    func pruning(_ method: String, _ budget: Budget) -> PruningPlan {
        var plan = PruningPlan(method: method, values: .f32, seed: seed)
        switch target {
        case .sparsity(let value): plan.sparsity = value
        case .pattern(let pattern): plan.pattern = pattern.description
        }
        plan.budget = budget == .owl ? .owl : .uniform
        return plan
    }

    /// Everything that decides what comes out, as it is kept beside a run.
    public var json: JSONValue {
        [
            "target": .string(target.words), "weights": .string(values.rawValue), "heal": .string(effort.words),
            "head": head.map { .string($0.rawValue) } ?? .null, "methods": .array(methods.map { .string($0) }),
            "budgets": .array(budgets.map { .string($0.rawValue) }), "sequences": JSONValue(sequences),
            "sequence_length": JSONValue(sequenceLength), "held_out_tokens": JSONValue(heldOutTokens),
            "reconstruction": [
                "steps": JSONValue(reconstruction.steps), "learning_rate": .number(reconstruction.learningRate),
                "batch": JSONValue(reconstruction.batch), "precision": .string(reconstruction.precision.rawValue),
            ],
            "healing": healing.json, "control": .bool(control),
            "evaluation_tokens": JSONValue(evaluationTokens), "seed": .string(String(seed)),
        ]
    }

    /// The plan of a run that ``json`` was kept of.
    ///
    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` and ``LacunaError/invalidArgument(_:reason:)``.
    public init(_ fields: JSONFields) throws {
        func type(_ key: String, _ name: String) throws -> ValueType {
            guard let type = ValueType(rawValue: name) else {
                throw fields.failure(key, "'\(name)' is no type of values")
            }
            return type
        }
        func strings(_ key: String) throws -> [String] {
            try fields.array(key).map {
                guard let text = $0.stringValue else { throw fields.failure(key, "expected strings") }
                return text
            }
        }
        try self.init(
            target: fields.string("target"), values: type("weights", fields.string("weights")),
            healing: fields.string("heal"))
        head = try fields.optionalString("head").map { try type("head", $0) }
        methods = try strings("methods")
        budgets = try strings("budgets").map {
            guard let budget = Budget(rawValue: $0) else { throw fields.failure("budgets", "'\($0)' is none") }
            return budget
        }
        sequences = try fields.integer("sequences")
        sequenceLength = try fields.integer("sequence_length")
        heldOutTokens = try fields.integer("held_out_tokens")
        let blocks = try fields.fields("reconstruction")
        reconstruction = Reconstruction(
            steps: try blocks.integer("steps"), learningRate: try blocks.number("learning_rate"),
            batch: try blocks.integer("batch"))
        reconstruction.precision = try ProductPrecision(blocks, "precision", default: .f32)
        healing = try Healing(fields.fields("healing"))
        control = try fields.bool("control", default: false)
        evaluationTokens = try fields.integer("evaluation_tokens")
        guard let seed = UInt64(try fields.string("seed")) else { throw fields.failure("seed", "is no number") }
        self.seed = seed
        try validate()
    }
}
