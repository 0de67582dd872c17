import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor

/// Prunes a network by scores that are trained while its weights stay: the phase between training and training on.
///
/// Every entry of the chosen layers gets a score (``PopupWeight``), the largest of each layer are kept, and for the whole run the scores
/// alone learn from the loss, through the masks that they choose. At the end the weights are masked, and a next phase trains those
/// that stay. Vikash Sehwag, Shiqi Wang, Prateek Mittal, Suman Jana, "HYDRA: Pruning Adversarially Robust Neural Networks",
/// arXiv 2002.10509; the scores are those of arXiv 1911.13299. They want large rates: 0.1 with SGD and momentum 0.9 for the authors.
public final class PopupScores: TrainingMethod {
    /// Where scores start.
    public enum Start: String, Sendable, Hashable, CaseIterable {
        /// At the weights' own sizes: ``PopupWeight/scaledScores(_:)``.
        case scaled
        /// At random, uniform in ±1/√inputs. Fails at high sparsity.
        case random
    }

    /// What is removed of every layer, 0...1; nil where the pattern says it.
    public let sparsity: Double?
    /// Which entries compete, in each layer by itself.
    public let pattern: Pattern
    /// Where scores start.
    public let start: Start
    /// The layers that are pruned. Their weights are without masks.
    public let layers: LayerChoice
    /// How the result is trained on.
    public let storage: StorageLayout
    private var weights: [(layer: Linear, weight: PopupWeight)] = []
    private var frozen: [Parameter<Float>] = []

    /// - Throws: `LacunaError.invalidArgument` for a sparsity that is missing, out of range or in contradiction to the pattern, and for
    ///   patterns of all layers together.
    public init(
        sparsity: Double? = 0.99, pattern: Pattern = .unstructured(.layer), start: Start = .scaled,
        layers: LayerChoice = .all, storage: StorageLayout = .masked
    ) throws {
        self.sparsity = try pattern.sparsityOfEachLayer(sparsity)
        (self.pattern, self.start, self.layers, self.storage) = (pattern, start, layers, storage)
    }

    public var card: MethodCard {
        MethodCard(
            name: "popup", family: .sparseTraining,
            paper: .init(
                authors: "Vikash Sehwag, Shiqi Wang, Prateek Mittal, Suman Jana",
                title: "HYDRA: Pruning Adversarially Robust Neural Networks", arXiv: "2002.10509"),
            composition: [
                "learned scores, started at |w|", "any pattern, within layers", "straight-through, frozen weights",
            ],
            implements: ["scores that start at the weights' own sizes or at random", "any pattern"],
            leavesOut: ["training that is robust against attacks"])
    }

    /// Replaces the weights of the chosen layers.
    ///
    /// - Throws: `LacunaError.unsupported` for weights that have a mask or a view or are trained sparse.
    public func begin(_ run: TrainingRun) throws {
        weights = try layers.layers(of: run.model).map { name, layer in
            guard layer.isWhole else {
                throw LacunaError.unsupported(file: nil, what: "scores of \(layer.weight.storage) weights ('\(name)')")
            }
            let base = layer.weight.densified()
            let scores: Tensor<Float>? =
                start == .scaled
                ? nil : Initialization.uniform.tensor(base.shape, fanIn: base.columns, using: &run.generator)
            let weight = try PopupWeight(base, scores: scores, pattern: pattern, sparsity: sparsity)
            layer.weight = weight
            return (layer, weight)
        }
    }

    public func attach(_ run: TrainingRun) throws {
        frozen = run.model.freeze(
            allBut: weights.map(\.weight.scores), chosen: weights.map(\.layer), trainsOutput: false)
    }

    public func afterStep(_ run: TrainingRun) throws { try Self.requireFinite(weights.map(\.weight.scores)) }

    public func end(_ run: TrainingRun) throws {
        for (layer, weight) in weights {
            let mask = weight.mask
            layer.weight = DenseWeight(weight.base.value)
            try layer.sparsify(storage, mask: mask)
        }
        for parameter in frozen { parameter.isTrainable = true }
    }
}
