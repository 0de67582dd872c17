import LacunaLearn
import LacunaModels
import LacunaTensor

extension Module {
    /// The feed-forward parts of a network, in order: of transformers those of the blocks that have no experts, and modules that are
    /// one themselves.
    public var feedForwards: [TrainableFeedForward] {
        var found: [TrainableFeedForward] = []
        forEachModule { _, module in
            if let part = module as? TrainableFeedForward { found.append(part) }
            if let block = module as? TrainableBlock, case .dense(let part) = block.mixer { found.append(part) }
        }
        return found
    }

    /// ``feedForwards``, of which a method is about to see or change the activations.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if there are none;
    ///   ``LacunaError/unsupported(file:what:)`` where blocks are computed again in the backward pass, and with `rectified` for
    ///   parts with another function than ReLU.
    func watchableFeedForwards(rectified: Bool) throws -> [TrainableFeedForward] {
        let parts = feedForwards
        if parts.isEmpty { throw LacunaError.invalidArgument("model", reason: "has no feed-forward part") }
        if let model = self as? TrainableTransformer, model.recomputesBlocks {
            throw LacunaError.unsupported(file: nil, what: "terms about activations in blocks that are computed again")
        }
        if rectified, let other = parts.first(where: { $0.activation != .relu }) {
            throw LacunaError.unsupported(
                file: nil,
                what: "making activations of '\(other.activation.rawValue)' sparser; begin with Transformer.rectified()"
            )
        }
        return parts
    }
}

extension Transformer {
    /// The decoder with ReLU in its feed-forward parts and the same weights: what training for sparse activations begins with. Its
    /// quality comes back with training.
    ///
    /// Iman Mirzadeh and others, "ReLU Strikes Back: Exploiting Activation Sparsity in Large Language Models", arXiv 2310.04564.
    ///
    /// - Throws: ``LacunaError/unsupported(file:what:)`` for a decoder with experts.
    public func rectified() throws -> Transformer {
        guard !hasExperts else { throw LacunaError.unsupported(file: nil, what: "another function in experts") }
        var configuration = configuration
        configuration.activation = .relu
        var result = try Transformer(
            configuration: configuration, embedding: embedding, positions: positions,
            blocks: blocks.map { block in
                var block = block
                block.feedForward.activation = .relu
                return block
            }, finalNorm: finalNorm, untiedHead: untiedHead)
        result.generationSettings = generationSettings
        return result
    }
}

extension ActivationGate {
    /// Computes of each feed-forward part the neurons whose activation is above a threshold: what a network with ReLU (threshold 0),
    /// or with a shifted one, reads. With 0 outputs are those of the whole model.
    ///
    /// - Parameter threshold: Of `f(gate x)`, without a gate of `f(up x)`; 0 or more.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a negative threshold;
    ///   ``LacunaError/unsupported(file:what:)`` for a decoder whose function is another than ReLU.
    public init(rectified decoder: Transformer, above threshold: Float = 0) throws {
        guard threshold >= 0, threshold.isFinite else {
            throw LacunaError.invalidArgument("threshold", reason: "\(threshold) is negative or not finite")
        }
        guard decoder.configuration.activation == .relu, !decoder.hasExperts else {
            throw LacunaError.unsupported(
                file: nil, what: "thresholds on activations of '\(decoder.configuration.activation.rawValue)'")
        }
        let rule = Rule(.above(threshold))
        let hasGates = decoder.configuration.hasGates
        self.init(
            inputs: decoder.blocks.map { _ in hasGates ? [:] : [.down: rule] },
            neurons: hasGates ? decoder.blocks.map { _ in rule } : [])
    }
}
