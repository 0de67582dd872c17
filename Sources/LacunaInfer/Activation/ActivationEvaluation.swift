import LacunaIO
import LacunaModels
import LacunaTensor

extension LanguageModel {
    /// The plan that words stand for: a file that ``ActivationPlan/save(to:)`` wrote, or `METHOD:RATIO`, for which the model is
    /// calibrated now.
    ///
    /// - Parameters:
    ///   - calibration: A text for methods that need one; a file was made with its own.
    ///   - allocation: How shares are spread, if the model is calibrated now.
    /// - Throws: ``LacunaError``: as ``ActivationRequest/init(_:)``, ``ActivationPlan/init(contentsOf:)`` and
    ///   ``ActivationCalibrator/plan(_:calibration:progress:)``; ``LacunaError/invalidArgument(_:reason:)`` for a calibration or an
    ///   allocation that a file has already.
    public func activationPlan(
        _ words: String, calibration: CalibrationSet? = nil, allocation: RatioAllocation? = nil,
        progress: (any ProgressReporter)? = nil
    ) throws -> ActivationPlan {
        if FileSystem.isPlainFile(words) {
            if calibration != nil || allocation != nil {
                throw LacunaError.invalidArgument(
                    "activation", reason: "\(words) was calibrated already; leave the text and the allocation out")
            }
            let plan = try ActivationPlan(contentsOf: words)
            try plan.model.check(decoder, file: words)
            return plan
        }
        let calibrator = try ActivationCalibrator(ActivationRequest(words), allocation: allocation ?? .uniform)
        return try calibrator.plan(decoder, calibration: calibration, progress: progress)
    }
}

/// What a way of leaving out inputs costs a model, and what it really leaves out: measured on a text that calibration has not seen.
public struct ActivationEvaluation: Sendable {
    /// Such as `wina:0.4`; `dense` for the model that leaves out nothing.
    public let name: String
    /// Of the text, with the gate in place.
    public let perplexity: Perplexity
    /// Of the weights of linear layers, the share whose input or neuron was left out while the text was scored.
    public let sparsity: Double
    /// The same by role; roles that nothing was left out of have 0.
    public let sparsityByRole: [LinearRole: Double]
    /// Bytes of weights, head included, that decoding one token reads.
    public let bytesPerToken: Int
    /// Of these, what no gate can leave out: the head, norms, and a row of the embedding table.
    public let denseBytes: Int
    /// Bytes of the linear layers that decoding one token reads, over all of them.
    public let linearShare: Double
    /// Numbers that were looked at to choose, over the weights of the linear layers.
    public let cost: Double

    /// Tokens that are decoded one by one to see what is read.
    private static let decodedTokens = 128

    /// Scores a text, then decodes the beginning of it again, one token at a time.
    ///
    /// - Parameters:
    ///   - plan: What to leave out; nil for the dense model.
    ///   - tokens: Of a text that was not calibrated on.
    /// - Throws: As ``Perplexity/measure(_:tokens:window:stride:gate:meter:progress:)`` and
    ///   ``ActivationPlan/applied(to:file:progress:)``.
    public init(
        _ model: LanguageModel, plan: ActivationPlan?, tokens: [Int], window: Int? = nil, stride: Int? = nil,
        progress: (any ProgressReporter)? = nil
    ) throws {
        var model = model
        let meter = SkippingMeter()
        let linearBytes = model.decoder.linearBytes
        let all = model.decoder.bytesTouchedPerToken()
        if let plan { try model.skipActivations(plan, meter: meter, progress: progress) }
        name = plan.map { "\($0.request)" } ?? "dense"
        perplexity = try Perplexity.measure(
            model.decoder, tokens: tokens, window: window ?? model.defaultWindow, stride: stride,
            gate: model.skipping.gate, meter: meter, progress: progress)
        (sparsity, cost) = (meter.total.sparsity, meter.total.cost)
        var byRole: [LinearRole: Double] = [:]
        for role in LinearRole.allCases { byRole[role] = meter.total(role).sparsity }
        sparsityByRole = byRole
        denseBytes = all - linearBytes
        meter.reset()
        var read = linearBytes
        if plan != nil {
            let piece = Array(tokens.prefix(Self.decodedTokens))
            let session = try model.generator.session(context: piece.count)
            for token in piece { try session.decode(token) }
            read = meter.total.bytesRead / piece.count
        }
        linearShare = Double(read) / Double(max(linearBytes, 1))
        bytesPerToken = denseBytes + read
    }
}
