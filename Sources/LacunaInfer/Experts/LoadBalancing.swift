import LacunaLearn
import LacunaModels
import LacunaTensor

/// Keeps the experts of ``TrainableExperts`` in work while they are trained: adds ``RoutingLoss/balance(_:chosen:)`` and
/// ``RoutingLoss/size(_:)``, each the mean over the layers.
///
/// As in Taishi Nakamura and others, "Optimal Sparsity of Mixture-of-Experts Language Models for Reasoning Tasks", arXiv 2508.18672,
/// whose weights are the defaults. No token is dropped.
public final class LoadBalancing: TrainingHook {
    /// Of the term about loads.
    public let weight: Double
    /// Of the term about the size of logits.
    public let sizeWeight: Double
    private var layers: [TrainableExperts] = []
    private var terms: [Variable<Float>] = []

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for weights that are negative or not finite.
    public init(weight: Double = 1e-2, sizeWeight: Double = 1e-3) throws {
        guard weight >= 0, sizeWeight >= 0, weight.isFinite, sizeWeight.isFinite else {
            throw LacunaError.invalidArgument("weight", reason: "\(weight) or \(sizeWeight) is negative or not finite")
        }
        (self.weight, self.sizeWeight) = (weight, sizeWeight)
    }

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a model without experts whose router is learned;
    ///   ``LacunaError/unsupported(file:what:)`` for one that computes its blocks again in the backward pass.
    public func attach(_ run: TrainingRun) throws {
        if let model = run.model as? TrainableTransformer, model.recomputesBlocks {
            throw LacunaError.unsupported(file: nil, what: "terms about experts in blocks that are computed again")
        }
        layers = []
        run.model.forEachModule { _, module in
            if let layer = module as? TrainableExperts, layer.scores != nil { layers.append(layer) }
        }
        if layers.isEmpty { throw LacunaError.invalidArgument("model", reason: "has no experts with a learned router") }
        let count = Float(layers.count)
        for layer in layers {
            layer.watch = { [weak self] logits, shares, chosen in
                guard let self, logits.tape.isRecording else { return }
                terms.append(
                    RoutingLoss.balance(shares, chosen: chosen).affine(Float(weight) / count)
                        + RoutingLoss.size(logits).affine(Float(sizeWeight) / count))
            }
        }
    }

    public func beforeStep(_ run: TrainingRun) throws { terms = [] }

    public func penalty(_ run: TrainingRun) -> Variable<Float>? {
        defer { terms = [] }
        return terms.dropFirst().reduce(terms.first) { sum, term in sum.map { $0 + term } }
    }

    public func end(_ run: TrainingRun) throws {
        for layer in layers { layer.watch = nil }
    }
}
