import LacunaIO
import LacunaModels
import LacunaSparse
import LacunaTensor

/// What calibration found for a model: the method, and for every matrix (or layer of neurons) a threshold, the share that it
/// leaves out, and the rank of its bypass. It is kept in a file beside the model, and refuses other models.
///
/// ```swift
/// let plan = try ActivationCalibrator(ActivationRequest("wina:0.4")).plan(decoder, calibration: calibration)
/// let (gated, gate) = try plan.applied(to: decoder)
/// let engine = TokenEngine(gated, gate: gate)
/// ```
public struct ActivationPlan: Sendable {
    /// How one matrix reads its inputs, or a layer computes its neurons.
    public struct Rule: Sendable, Hashable {
        /// The block, from 0.
        public var layer: Int
        /// Of methods that choose neurons it is `up`.
        public var role: LinearRole
        /// Share of inputs or neurons to leave out.
        public var share: Double
        /// Scores above it stay. Only thresholds have it.
        public var threshold: Float?
        /// Of the low-rank copy; 0 for none.
        public var rank = 0
    }

    /// `left` [outputs, rank] and `right` [rank, inputs] of a bypass.
    public struct Factors: Sendable {
        /// The two factors, multiplied from the right: `left (right x)`.
        public var left, right: Tensor<Float>
    }

    /// The method and the ratio that were asked for.
    public let request: ActivationRequest
    /// One for each matrix, or for each layer of neurons.
    public let rules: [Rule]
    /// By layer and role, such as `3.down`.
    public let factors: [String: Factors]
    /// What the plan was made for.
    public let model: ModelFingerprint
    /// Tokens that calibration read; 0 for methods that need none.
    public let calibrationTokens: Int
    /// How the ratio was shared out: `uniform`, `greedy`.
    public let allocation: String

    static func key(_ role: LinearRole, layer: Int) -> String { "\(layer).\(role.rawValue)" }

    // MARK: Applying

    /// The model with its matrices stored so that inputs can be left unread, and the gate that leaves them.
    ///
    /// Matrices that nothing is left out of stay as they are. A model is stored once: the new form replaces the old one where
    /// nothing else holds it.
    ///
    /// - Parameter file: Named in errors.
    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` for another model; ``LacunaError/unsupported(file:what:)`` for
    ///   stores that cannot leave inputs unread.
    public func applied(
        to decoder: Transformer, file: String = "calibration", progress: (any ProgressReporter)? = nil
    ) throws -> (decoder: Transformer, gate: ActivationGate) {
        try model.check(decoder, file: file)
        var decoder = decoder
        var inputs = decoder.blocks.map { _ in [LinearRole: ActivationGate.Rule]() }
        var neurons = [ActivationGate.Rule?](repeating: nil, count: decoder.blocks.count)
        for (index, rule) in rules.enumerated() where rule.share > 0 {
            let (layer, role) = (rule.layer, rule.role)
            guard decoder.blocks.indices.contains(layer) else {
                throw LacunaError.malformed(file: file, location: "rules", reason: "there is no layer \(layer)")
            }
            if request.method.target == .inputs {
                let name = decoder.configuration.weightName(role, layer: layer)
                let matrix = decoder[linear: name]
                inputs[layer][role] = try gateRule(
                    rule, count: matrix.columns,
                    weights: request.method.score == .weighted ? matrix.columnNorms : nil, file: file)
                let turned = try GatedStores.turned(matrix, name: name)
                if rule.rank > 0, let factors = factors[Self.key(role, layer: layer)] {
                    let values: ValueType = matrix.format.values == .bf16 ? .bf16 : .f32
                    decoder[linear: name] = try LowRankBypass(
                        turned, left: WeightStore.make(factors.left, layout: .dense, values: values),
                        right: WeightStore.make(factors.right, layout: .dense, values: values))
                } else {
                    decoder[linear: name] = turned
                }
            } else {
                let name = decoder.configuration.weightName(.down, layer: layer)
                let matrix = decoder[linear: name]
                neurons[layer] = try gateRule(rule, count: matrix.columns, weights: nil, file: file)
                decoder[linear: name] = try GatedStores.turned(matrix, name: name)
            }
            try progress.report("turning weights", index + 1, of: rules.count)
        }
        return (
            decoder,
            ActivationGate(
                inputs: inputs, neurons: neurons, byActivations: request.method.target == .activations)
        )
    }

    private func gateRule(_ rule: Rule, count: Int, weights: [Float]?, file: String) throws -> ActivationGate.Rule {
        switch request.method.choice {
        case .threshold:
            guard let threshold = rule.threshold else {
                throw LacunaError.malformed(file: file, location: "rules", reason: "a rule lacks its threshold")
            }
            return .init(.above(threshold), weights: weights)
        case .largest: return .init(.largest(Int((1 - rule.share) * Double(count) + 0.5)), weights: weights)
        case .statistical:
            return .init(.statistical(try StatisticalTopK(density: 1 - rule.share)), weights: weights)
        }
    }

    // MARK: Files

    /// Writes the plan: JSON, and beside it a safetensors file of the same name where there are bypasses.
    public func save(to path: String) throws {
        if !factors.isEmpty {
            let writer = try SafetensorsWriter(Self.companion(of: path))
            for (name, factors) in factors.sorted(by: { $0.key < $1.key }) {
                try writer.write("\(name).left", factors.left)
                try writer.write("\(name).right", factors.right)
            }
            try writer.finish()
        }
        try AtomicFile.write(json.serialized(.pretty) + "\n", to: path)
    }

    /// The file beside a plan that holds its bypasses, if it has some.
    public static func companion(of path: String) -> String {
        (path.hasSuffix(".json") ? String(path.dropLast(5)) : path) + ".safetensors"
    }

    private static let kind = "lacuna activation plan"

    private var json: JSONValue {
        [
            "kind": .string(Self.kind), "version": 1, "method": .string(request.method.name),
            "ratio": .number(request.ratio), "allocation": .string(allocation),
            "calibrationTokens": JSONValue(calibrationTokens), "model": model.json,
            "rules": .array(
                rules.map { rule in
                    [
                        "layer": JSONValue(rule.layer), "role": .string(rule.role.rawValue),
                        "share": .number(rule.share),
                        "threshold": rule.threshold.map { .number(Double($0)) } ?? .null,
                        "rank": JSONValue(rule.rank),
                    ]
                }),
        ]
    }

    init(
        request: ActivationRequest, rules: [Rule], factors: [String: Factors], model: ModelFingerprint,
        calibrationTokens: Int, allocation: String
    ) {
        (self.request, self.rules, self.factors, self.model) = (request, rules, factors, model)
        (self.calibrationTokens, self.allocation) = (calibrationTokens, allocation)
    }

    /// Reads what ``save(to:)`` wrote.
    ///
    /// - Throws: ``LacunaError`` for a file that is none, or whose numbers are out of range.
    public init(contentsOf path: String) throws {
        let fields = try JSONFields(contentsOf: path)
        guard fields.object["kind"]?.stringValue == Self.kind, try fields.integer("version") == 1 else {
            throw LacunaError.malformed(file: path, location: "kind", reason: "is no \(Self.kind) of version 1")
        }
        request = try ActivationRequest(
            ActivationMethod.named(fields.string("method")), ratio: try fields.number("ratio"))
        allocation = try fields.string("allocation")
        calibrationTokens = try fields.integer("calibrationTokens")
        model = try ModelFingerprint(fields.fields("model"))
        rules = try fields.array("rules").map { value in
            let rule = try JSONFields(value, file: path, location: "rules")
            guard let role = LinearRole(rawValue: try rule.string("role")) else {
                throw rule.failure("role", "is no linear layer")
            }
            let found = Rule(
                layer: try rule.integer("layer"), role: role, share: try rule.number("share"),
                threshold: try rule.optionalNumber("threshold").map { Float($0) }, rank: try rule.integer("rank"))
            // A matrix that spends its whole budget on rank reads no input.
            guard found.layer >= 0, found.share >= 0, found.share < 1 || (found.share == 1 && found.rank > 0),
                found.rank >= 0,
                found.threshold.map({ $0 >= 0 && $0.isFinite }) ?? true
            else { throw rule.failure("share", "or another number is out of range") }
            return found
        }
        var factors: [String: Factors] = [:]
        if rules.contains(where: { $0.rank > 0 }) {
            let file = try SafetensorsFile(Self.companion(of: path))
            for rule in rules where rule.rank > 0 {
                let name = Self.key(rule.role, layer: rule.layer)
                factors[name] = Factors(left: try file.float("\(name).left"), right: try file.float("\(name).right"))
            }
        }
        self.factors = factors
    }
}
