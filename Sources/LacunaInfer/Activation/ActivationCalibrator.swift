import LacunaModels
import LacunaSparse
import LacunaTensor

/// Finds the thresholds, ratios and ranks of a method for a model, from what its layers read on a text: the one calibrator of
/// all methods of activation sparsity.
///
/// The text goes through the dense model layer by layer. In each, the scores of every matrix's inputs are counted
/// (``ScoreHistogram``), the block's share is spread over its matrices (``RatioAllocation``), and thresholds are read from the
/// quantiles.
public struct ActivationCalibrator: Sendable {
    /// The method and how much it is to leave out.
    public let request: ActivationRequest
    /// How a block's share is spread over its matrices.
    public let allocation: RatioAllocation
    /// Tokens that go through a block at a time.
    static let batchTokens = 2048
    /// Tokens on which the greedy allocation measures errors, at most.
    static let errorTokens = 256
    /// Inputs on which shares between inputs and rank are compared.
    static let sampledInputs = 128

    /// - Throws: ``LacunaError/unsupported(file:what:)`` for a greedy allocation of a method that chooses neurons, of which there
    ///   is one set a block, or has bypasses, whose shares are searched.
    public init(_ request: ActivationRequest, allocation: RatioAllocation = .uniform) throws {
        if allocation != .uniform && (request.method.target != .inputs || request.method.hasBypass) {
            throw LacunaError.unsupported(
                file: nil, what: "a greedy allocation for \(request.method.name); use uniform")
        }
        (self.request, self.allocation) = (request, allocation)
    }

    /// Whether the method can do without a text.
    public var needsText: Bool {
        allocation != .uniform || request.method.choice == .threshold || request.method.hasBypass
    }

    /// - Parameter calibration: May be nil for methods that need no text.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` without a text where one is needed, and for sequences longer than the
    ///   model's context; ``LacunaError/unsupported(file:what:)`` for a model without gates where neurons are chosen by them;
    ///   ``LacunaError/numerical(operation:reason:)`` if inputs are not finite.
    public func plan(
        _ decoder: Transformer, calibration: CalibrationSet?, progress: (any ProgressReporter)? = nil
    ) throws -> ActivationPlan {
        let share = try request.share(in: decoder.configuration)
        if request.method.target != .inputs, decoder.blocks.contains(where: { $0.feedForward.gate == nil }) {
            throw LacunaError.unsupported(
                file: nil, what: "\(request.method.name) for feed-forward parts without a gate")
        }
        var rules: [ActivationPlan.Rule] = []
        var factors: [String: ActivationPlan.Factors] = [:]
        if !needsText || share == 0 {
            for layer in decoder.blocks.indices {
                let roles = request.method.target == .inputs ? LinearRole.allCases : [.up]
                rules += roles.map { ActivationPlan.Rule(layer: layer, role: $0, share: share) }
            }
        } else {
            guard let calibration else {
                throw LacunaError.invalidArgument(
                    "calibration", reason: "\(request.method.name) needs a text to find its thresholds on")
            }
            guard calibration.sequenceLength <= decoder.configuration.maximumPositions else {
                throw LacunaError.invalidArgument(
                    "calibration length",
                    reason: "\(calibration.sequenceLength) exceeds the model's "
                        + "\(decoder.configuration.maximumPositions) positions")
            }
            var states = try Self.embedded(decoder, calibration)
            for layer in decoder.blocks.indices {
                let capture = try LayerCapture(
                    decoder, layer: layer, method: request.method, states: &states, length: calibration.sequenceLength)
                if request.method.target != .inputs {
                    rules.append(
                        .init(
                            layer: layer, role: .up, share: share,
                            threshold: capture.neurons.threshold(leavingOut: share)))
                } else if request.method.hasBypass {
                    for role in LinearRole.allCases {
                        let (rule, parts) = try bypass(decoder, capture, role, share)
                        rules.append(rule)
                        if let parts { factors[ActivationPlan.key(role, layer: layer)] = parts }
                    }
                } else {
                    rules += try spread(decoder, capture, share, length: calibration.sequenceLength)
                }
                try progress.report("calibrating", layer + 1, of: decoder.blocks.count)
            }
        }
        return ActivationPlan(
            request: request, rules: rules, factors: factors, model: ModelFingerprint(decoder),
            calibrationTokens: needsText ? calibration?.tokens.count ?? 0 : 0, allocation: allocation.name)
    }

    /// The sequences in front of the first block, some whole ones together.
    private static func embedded(_ decoder: Transformer, _ set: CalibrationSet) throws -> [Tensor<Float>] {
        let batch = max(1, batchTokens / set.sequenceLength) * set.sequenceLength
        return try stride(from: 0, to: set.tokens.count, by: batch).map {
            try decoder.embed(
                Array(set.tokens[$0..<min($0 + batch, set.tokens.count)]), sequenceLength: set.sequenceLength)
        }
    }

    // MARK: Shares of matrices

    private func spread(
        _ decoder: Transformer, _ capture: LayerCapture, _ share: Double, length: Int
    ) throws -> [ActivationPlan.Rule] {
        let (roles, layer) = (LinearRole.allCases, capture.layer)
        let weights = roles.map { decoder.configuration.shape(of: $0, layer: layer).reduce(1, *) }
        let norms: [[Float]?] = roles.map { request.method.score == .weighted ? capture.norms[$0] : nil }
        func threshold(_ role: LinearRole, _ ratio: Double) -> Float? {
            capture.histograms[role]?.threshold(leavingOut: ratio)
        }
        let ratios = try allocation.ratios(weights: weights, target: share) { trial in
            var rules: [LinearRole: ActivationGate.Rule] = [:]
            for (i, role) in roles.enumerated() where trial[i] > 0 {
                rules[role] = .init(.above(threshold(role, trial[i]) ?? 0), weights: norms[i])
            }
            let gate = ActivationGate(
                inputs: decoder.blocks.indices.map { $0 == layer ? rules : [:] })
            var states = capture.errorInput
            try decoder.runBlock(layer, hidden: &states, sequenceLength: length, gate: gate)
            return zip(states.scalars, capture.errorOutput.scalars).reduce(0) {
                $0 + Double(($1.0 - $1.1) * ($1.0 - $1.1))
            }
        }
        return zip(roles, ratios).map { role, ratio in
            .init(
                layer: layer, role: role, share: ratio,
                threshold: request.method.choice == .threshold ? threshold(role, ratio) : nil)
        }
    }

    // MARK: Inputs and rank

    /// Shares ρ of a budget that are tried: what is spent on inputs, the rest on rank.
    static let shares = (0...10).map { Double($0) / 10 } + [0.95, 0.98]

    /// The split of a budget `(1 - sparsity) · inputs · outputs` of weights: inputs that are read, and rank.
    ///
    /// - Parameter share: Of the budget, what is spent on inputs, in `0...1`; 1 has no rank, less at least 1.
    public static func split(inputs: Int, outputs: Int, sparsity: Double, share: Double) -> (channels: Int, rank: Int) {
        let budget = (1 - sparsity) * Double(inputs * outputs)
        if share >= 1 { return (Int(budget / Double(outputs)), 0) }
        let channels = Int(Double(inputs) * (1 - sparsity) * share)
        let rank = Int((budget - Double(channels * outputs)) / Double(inputs + outputs))
        return (channels, max(1, min(rank, min(inputs, outputs))))
    }

    private func bypass(
        _ decoder: Transformer, _ capture: LayerCapture, _ role: LinearRole, _ sparsity: Double
    ) throws -> (ActivationPlan.Rule, ActivationPlan.Factors?) {
        let weight = decoder.blocks[capture.layer][role].weight.densified()
        let (outputs, inputs) = (weight.rows, weight.columns)
        guard let histogram = capture.histograms[role], let norms = capture.norms[role],
            let sample = capture.samples[role]
        else { throw LacunaError.numerical(operation: "calibration", reason: "layer \(capture.layer) was not reached") }
        let (u, s, vt) = try weight.svd()
        var best: (error: Double, rank: Int, share: Double)?
        for share in Self.shares {
            let (channels, rank) = Self.split(inputs: inputs, outputs: outputs, sparsity: sparsity, share: share)
            // What is left out of the inputs, in the coordinates of the singular vectors: the rank copies the first ones.
            let dropped = 1 - Double(channels) / Double(inputs)
            let limit = histogram.threshold(leavingOut: dropped) ?? -1
            let rest = Tensor<Float>(
                sample.scalars.enumerated().map { abs($1) * norms[$0 % inputs] > limit ? 0 : $1 }, shape: sample.shape)
            let turned = rest.multiplied(by: vt, otherTransposed: true)
            var error = 0.0
            turned.withPointer { turned in
                for row in 0..<rest.rows {
                    for i in rank..<max(rank, s.count) {
                        let part = Double(s[i] * turned[row * s.count + i])
                        error += part * part
                    }
                }
            }
            if error < best?.error ?? .infinity { best = (error, rank, dropped) }
        }
        guard let best else {
            throw LacunaError.numerical(
                operation: "calibration", reason: "inputs of layer \(capture.layer) are not finite")
        }
        let rule = ActivationPlan.Rule(
            layer: capture.layer, role: role, share: best.share, threshold: histogram.threshold(leavingOut: best.share),
            rank: best.rank)
        if best.rank == 0 { return (rule, nil) }
        var left = Tensor<Float>(zeros: [outputs, best.rank])
        left.withMutablePointer { left in
            u.withPointer { u in
                for row in 0..<outputs {
                    for i in 0..<best.rank { left[row * best.rank + i] = u[row * s.count + i] * s[i] }
                }
            }
        }
        return (rule, .init(left: left, right: vt.rows(0..<best.rank)))
    }
}

/// What one layer's matrices read on the calibration text.
struct LayerCapture {
    let layer: Int
    /// Of inputs, by matrix; matrices whose scores are the same share one.
    var histograms: [LinearRole: ScoreHistogram] = [:]
    /// Of `|f(gate x)|`.
    var neurons = ScoreHistogram()
    /// Column norms by matrix, where scores have them.
    var norms: [LinearRole: [Float]] = [:]
    /// Some inputs [n, inputs] of each matrix, where they are needed.
    var samples: [LinearRole: Tensor<Float>] = [:]
    /// Some whole sequences in front of the block and behind it.
    var errorInput = Tensor<Float>(zeros: [0, 0])
    var errorOutput = Tensor<Float>(zeros: [0, 0])

    /// Moves `states` behind the block, and looks at what its matrices read meanwhile.
    init(
        _ decoder: Transformer, layer: Int, method: ActivationMethod, states: inout [Tensor<Float>], length: Int
    ) throws {
        self.layer = layer
        let block = decoder.blocks[layer]
        // The observer counts as escaping, and may not write to what is being made.
        var histograms: [LinearRole: ScoreHistogram] = [:]
        var neurons = ScoreHistogram()
        var norms: [LinearRole: [Float]] = [:]
        if method.score == .weighted {
            for role in LinearRole.allCases { norms[role] = block[role].weight.columnNorms }
        }
        let total = states.reduce(0) { $0 + $1.rows }
        let step = max(1, total / ActivationCalibrator.sampledInputs)
        var sampled: [LinearRole: [Float]] = [:]
        // The last sequences, as many as the errors are measured on.
        let tail = max(1, ActivationCalibrator.errorTokens / length) * length
        for index in states.indices {
            if index == states.count - 1 {
                errorInput = states[index].rows(max(0, states[index].rows - tail)..<states[index].rows)
            }
            try decoder.runBlock(layer, hidden: &states[index], sequenceLength: length) { names, inputs, count in
                let roles = names.compactMap { decoder.location(ofLinear: $0)?.role }
                guard let first = roles.first else { return }
                if method.target == .activations, first == .gate, let gate = block.feedForward.gate {
                    let values = Buffer<Float>(uninitialized: max(count * gate.outputs, 1))
                    Product.gemm(gate.weight, inputs, count: count, into: values.pointer)
                    if let bias = gate.bias {
                        let bias = bias.scalars
                        for i in 0..<count * gate.outputs { values.pointer[i] += bias[i % gate.outputs] }
                    }
                    block.feedForward.activation.apply(
                        values.pointer, into: values.pointer, count: count * gate.outputs)
                    neurons.add(values.pointer, count: count * gate.outputs)
                }
                guard method.target == .inputs else { return }
                for role in method.score == .weighted ? roles : [first] {
                    let width = block[role].inputs
                    var histogram = histograms.removeValue(forKey: role) ?? ScoreHistogram()
                    for row in 0..<count {
                        if let norms = norms[role] {
                            norms.withUnsafeBufferPointer {
                                histogram.add(inputs + row * width, count: width, weights: $0.baseAddress)
                            }
                        } else {
                            histogram.add(inputs + row * width, count: width)
                        }
                    }
                    histograms[role] = histogram
                    if method.hasBypass {
                        for row in stride(from: 0, to: count, by: step) {
                            sampled[role, default: []] += UnsafeBufferPointer(start: inputs + row * width, count: width)
                        }
                    }
                }
                if method.score == .magnitude {
                    for role in roles.dropFirst() { histograms[role] = histograms[first] }
                }
            }
            if index == states.count - 1 {
                errorOutput = states[index].rows(max(0, states[index].rows - tail)..<states[index].rows)
            }
        }
        (self.histograms, self.neurons, self.norms) = (histograms, neurons, norms)
        for (role, rows) in sampled {
            let width = block[role].inputs
            samples[role] = Tensor(rows, shape: [rows.count / width, width])
        }
        if histograms.values.contains(where: { $0.undefined > 0 }) || neurons.undefined > 0 {
            throw LacunaError.numerical(operation: "calibration", reason: "inputs of layer \(layer) are not finite")
        }
    }
}
