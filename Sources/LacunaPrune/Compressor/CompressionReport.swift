import LacunaIO
import LacunaModels
import LacunaSparse
import LacunaTensor

/// A step on the way from a dense model to a compressed one.
public enum CompressionStage: String, Sendable, Hashable, CaseIterable {
    /// The model as it came.
    case dense
    /// Weights removed by the composition that was chosen.
    case pruned
    /// Trained block by block on what the dense model gives.
    case reconstructed
    /// Stored in integers, nothing trained.
    case rounded
    /// Trained end to end on what the dense model predicts, through the rounding where there is one.
    case healed

    /// Whether values are floats whatever the plan says.
    var precedesRounding: Bool { self == .dense || self == .pruned || self == .reconstructed }

    /// In words, for tables.
    public func title(_ values: ValueType) -> String {
        switch self {
        case .dense: "dense"
        case .pruned: "pruned"
        case .reconstructed: "reconstructed by block"
        case .rounded: "rounded to \(values)"
        case .healed: "healed"
        }
    }
}

/// What a compression did, and what each step of it came to.
public struct CompressionReport: Sendable, Equatable {
    /// A composition that was tried, on half of the calibration text.
    public struct Candidate: Sendable, Equatable {
        /// A name of ``PruningMethods``.
        public var method: String
        /// How the sparsity was shared out.
        public var budget: CompressionPlan.Budget
        /// On held-out text.
        public var fidelity: Fidelity
        /// To search, prune and compare.
        public var seconds: Double
    }

    /// The model after one step, in the form in which it would be stored.
    public struct Step: Sendable, Equatable {
        /// Which.
        public var stage: CompressionStage
        /// On the evaluation text.
        public var fidelity: Fidelity
        /// Fraction of the linear layers' weights that are not stored.
        public var sparsity: Double
        /// Bytes of all weights, embedding and head included.
        public var weightBytes: Int
        /// Bytes that writing a token reads.
        public var bytesPerToken: Int
        /// Of text that the step trained on, each as often as it was read.
        public var trainedTokens: Int
        /// What the step took, measuring not counted.
        public var seconds: Double
        /// Written in a second; nil if that was not measured.
        public var tokensPerSecond: Double?
    }

    /// What was asked for.
    public var plan: CompressionPlan
    /// What tells the texts from others.
    var text: String
    /// In the order in which they were tried.
    public var candidates: [Candidate] = []
    /// The sparsity of every block, for a budget that was searched.
    public var searchedSparsities: [String: Double] = [:]
    /// Steps of training each block by itself, once they are decided.
    public var blockSteps: Int?
    /// Steps of training end to end, once they are decided.
    public var healingSteps: Int?
    /// In order; the dense model first.
    public var steps: [Step] = []
    /// The dense model trained in the same way; nil if nobody asked.
    public var control: Fidelity?
    /// The largest memory of the process so far, in bytes.
    public var peakBytes = 0
    /// Whether nothing is left to do.
    public var isFinished = false

    init(plan: CompressionPlan, text: String) { (self.plan, self.text) = (plan, text) }

    /// The composition that was taken: that of the smallest divergence.
    public var chosen: Candidate? { candidates.min { $0.fidelity.divergence < $1.fidelity.divergence } }

    /// A step, if it has been taken.
    public subscript(stage: CompressionStage) -> Step? { steps.first { $0.stage == stage } }

    /// The perplexity of the last step over that of the dense model, or of the dense model trained in the same way where there is one.
    public var perplexityRatio: Double? {
        guard let dense = control ?? self[.dense]?.fidelity, let last = steps.last else { return nil }
        return last.fidelity.perplexity / dense.perplexity
    }

    // MARK: As JSON

    /// Everything, for programs; the state of a run that may go on.
    public var json: JSONValue {
        var sparsities = JSONObject()
        for block in searchedSparsities.keys.sorted() { sparsities[block] = .number(searchedSparsities[block]!) }
        return [
            "plan": plan.json, "text": .string(text), "candidates": .array(candidates.map(Self.json)),
            "searched_sparsities": .object(sparsities), "block_steps": blockSteps.map { JSONValue($0) } ?? .null,
            "healing_steps": healingSteps.map { JSONValue($0) } ?? .null,
            "steps": .array(steps.map(Self.json)), "control": control.map { .object(Self.members($0)) } ?? .null,
            "perplexity_ratio": perplexityRatio.map { .number($0) } ?? .null, "peak_bytes": JSONValue(peakBytes),
            "finished": .bool(isFinished),
        ]
    }

    private static func members(_ fidelity: Fidelity) -> JSONObject {
        var object = JSONObject()
        object["perplexity"] = .number(fidelity.perplexity)
        object["divergence"] = .number(fidelity.divergence)
        object["agreement"] = .number(fidelity.agreement)
        object["tokens"] = JSONValue(fidelity.tokens)
        return object
    }

    private static func json(_ candidate: Candidate) -> JSONValue {
        var object = members(candidate.fidelity)
        object["method"] = .string(candidate.method)
        object["budget"] = .string(candidate.budget.rawValue)
        object["seconds"] = .number(candidate.seconds)
        return .object(object)
    }

    private static func json(_ step: Step) -> JSONValue {
        var object = members(step.fidelity)
        object["stage"] = .string(step.stage.rawValue)
        object["sparsity"] = .number(step.sparsity)
        object["weight_bytes"] = JSONValue(step.weightBytes)
        object["bytes_per_token"] = JSONValue(step.bytesPerToken)
        object["trained_tokens"] = JSONValue(step.trainedTokens)
        object["seconds"] = .number(step.seconds)
        object["tokens_per_second"] = step.tokensPerSecond.map { .number($0) } ?? .null
        return .object(object)
    }

    /// What ``json`` was made of.
    ///
    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` and what ``CompressionPlan/init(_:)`` throws.
    public init(_ fields: JSONFields) throws {
        func fidelity(_ fields: JSONFields) throws -> Fidelity {
            Fidelity(
                perplexity: try fields.number("perplexity"), divergence: try fields.number("divergence"),
                agreement: try fields.number("agreement"), tokens: try fields.integer("tokens"))
        }
        func members(_ key: String) throws -> [JSONFields] {
            try fields.array(key).enumerated().map {
                try JSONFields($1, file: fields.file, location: "\(key)[\($0)]")
            }
        }
        plan = try CompressionPlan(fields.fields("plan"))
        text = try fields.string("text")
        candidates = try members("candidates").map { member in
            guard let budget = CompressionPlan.Budget(rawValue: try member.string("budget")) else {
                throw member.failure("budget", "is none")
            }
            return Candidate(
                method: try member.string("method"), budget: budget, fidelity: try fidelity(member),
                seconds: try member.number("seconds"))
        }
        let sparsities = try fields.fields("searched_sparsities")
        for key in sparsities.object.keys { searchedSparsities[key] = try sparsities.number(key) }
        blockSteps = try fields.optionalInteger("block_steps")
        healingSteps = try fields.optionalInteger("healing_steps")
        steps = try members("steps").map { member in
            guard let stage = CompressionStage(rawValue: try member.string("stage")) else {
                throw member.failure("stage", "is none")
            }
            return Step(
                stage: stage, fidelity: try fidelity(member), sparsity: try member.number("sparsity"),
                weightBytes: try member.integer("weight_bytes"), bytesPerToken: try member.integer("bytes_per_token"),
                trainedTokens: try member.integer("trained_tokens"), seconds: try member.number("seconds"),
                tokensPerSecond: try member.optionalNumber("tokens_per_second"))
        }
        control = try fields.optionalFields("control").map(fidelity)
        peakBytes = try fields.integer("peak_bytes")
        isFinished = try fields.bool("finished", default: false)
    }
}
