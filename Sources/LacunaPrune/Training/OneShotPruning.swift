import LacunaLearn
import LacunaSparse
import LacunaTensor

/// Prunes once, by magnitude, and trains what is left under masks that no longer change.
///
/// Before the first step every chosen layer keeps its largest weights, as many as the budget or the pattern gives it, of
/// those that it has: a layer that is sparse already keeps a part of that. Song Han, Jeff Pool, John Tran, William J. Dally,
/// "Learning both Weights and Connections for Efficient Neural Networks", arXiv 1506.02626. With a loaded model this is
/// masked fine-tuning; a model that was pruned by another method keeps its own masks without any method. With a
/// ``GlobalBudget`` the weights of all chosen layers compete.
public final class OneShotPruning: TrainingMethod {
    /// Which entries may be kept together; each layer by itself.
    public let pattern: Pattern
    /// nil only for patterns that say themselves how much they keep.
    public let budget: (any SparsityBudget)?
    /// The layers that are pruned.
    public let layers: LayerChoice
    /// How their weights are trained: masked, or in a form without the removed ones.
    public let storage: StorageLayout

    /// - Throws: `LacunaError.invalidArgument` for a pattern that is none, a missing budget, one that contradicts the
    ///   pattern, and patterns of all layers together.
    public init(
        pattern: Pattern = .unstructured(.layer), budget: (any SparsityBudget)?, layers: LayerChoice = .allButOutput,
        storage: StorageLayout = .masked
    ) throws {
        try pattern.validate()
        try budget?.requireAgreement(with: pattern)
        try pattern.requireLayers()
        guard budget != nil || pattern.impliedSparsity != nil else {
            throw LacunaError.invalidArgument("sparsity", reason: "is missing")
        }
        (self.pattern, self.budget, self.layers, self.storage) = (pattern, budget, layers, storage)
    }

    public var card: MethodCard {
        MethodCard(
            name: "prune", family: .sparseTraining,
            paper: .init(
                authors: "Song Han, Jeff Pool, John Tran, William J. Dally",
                title: "Learning both Weights and Connections for Efficient Neural Networks", arXiv: "1506.02626"),
            composition: ["|w|", "any pattern under a budget (uniform)", "fixed mask"],
            implements: [
                "any pattern and budget",
                "the masks of every method of `lacuna prune` (`by`)",
                "training under the mask in any layout that trains",
            ])
    }

    public func begin(_ run: TrainingRun) throws { try prune(run.model) }

    /// Prunes a network as it stands, without training it.
    ///
    /// - Throws: `LacunaError.invalidArgument` if no layer is chosen, or for a budget or storage that its weights cannot have.
    public func prune(_ model: any Module) throws {
        let (chosen, shapes) = (try layers.layers(of: model), model.weightShapes)
        if let budget, budget.needsScores {
            let scores = try chosen.map { ($0.name, try MagnitudeScore().scores(weight: $0.layer.weight.densified())) }
            let masks = try budget.masks(scores: Dictionary(uniqueKeysWithValues: scores), pattern: pattern)
            for (name, layer) in chosen { try sparsify(layer, masks[name]!) }
            return
        }
        let described = chosen.map { (name: $0.name, shape: shapes[ObjectIdentifier($0.layer)]!) }
        let sparsities = try budget?.sparsities(for: pattern, layers: described)
        for (name, layer) in chosen {
            let weight = layer.weight.densified()
            // N:M and blocks choose among all entries: those left out before are zeros, and the last to be kept.
            let mask = try Selection.mask(
                scores: MagnitudeScore().scores(weight: weight), pattern: pattern,
                sparsity: pattern.impliedSparsity == nil ? sparsities?[name] : nil)
            try sparsify(layer, mask)
        }
    }

    /// A layer that is sparse already keeps a part of what it has.
    private func sparsify(_ layer: Linear, _ mask: SparsePattern) throws {
        let within = layer.dense?.mask ?? (layer.weight as? CSRWeight)?.pattern
        try layer.sparsify(storage, mask: within.map { mask.intersection($0) } ?? mask)
    }
}
