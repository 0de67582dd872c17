import LacunaIO
import LacunaLearn
import LacunaSparse
import LacunaTensor

/// Training under a random mask that never changes.
///
/// Before the first step every chosen layer keeps a random set of its weights, as many as the budget gives it; the
/// others are 0 from then on, and so are their optimiser states. Weights keep their dense initialisation, or are
/// enlarged by `1/√density` so that activations keep their size.
///
/// Shiwei Liu and others, "The Unreasonable Effectiveness of Random Pruning: Return of the Most Naive Baseline for Sparse
/// Training", arXiv 2202.02643. The default budget is theirs (Erdős-Rényi-Kernel); counts are exact where theirs are
/// expectations. Ratios by saliency (``SaliencyRatios``) take their counts from one batch; places are random all the same.
public final class StaticRandomSparsity: TrainingMethod {
    /// What shares a sparsity out among the layers.
    public let budget: any SparsityBudget
    /// The layers with sparse weights.
    public let layers: LayerChoice
    /// How their weights are trained: masked, or in a form without the removed ones.
    public let storage: StorageLayout
    /// Whether kept weights are multiplied by `1/√density` at the start.
    public let rescalesWeights: Bool
    /// What shares the budget's sparsity out instead of the budget; nil for the budget itself.
    public let ratios: SaliencyRatios?
    /// The loss of one batch, which ratios by saliency need when the run begins. `lacuna train` gives that of the first batch.
    public var exampleLoss: ((Tape<Float>) throws -> Variable<Float>)?

    /// - Parameter ratios: With these, the budget must have a sparsity.
    /// - Throws: `LacunaError.invalidArgument` for storage that cannot hold single entries, and ratios of no sparsity.
    public init(
        budget: any SparsityBudget, layers: LayerChoice = .all, storage: StorageLayout = .masked,
        rescalesWeights: Bool = true, ratios: SaliencyRatios? = nil
    ) throws {
        if ratios != nil, budget.sparsity == nil {
            throw LacunaError.invalidArgument("budget", reason: "has no sparsity to share out by saliency")
        }
        if storage.base is BSRLayout {
            throw LacunaError.invalidArgument("storage", reason: "random masks keep single entries, not blocks")
        }
        self.budget = budget
        self.layers = layers
        self.storage = storage
        self.rescalesWeights = rescalesWeights
        self.ratios = ratios
    }

    public var card: MethodCard {
        MethodCard(
            name: "static", family: .sparseTraining,
            paper: .init(
                authors: "Shiwei Liu and others",
                title:
                    "The Unreasonable Effectiveness of Random Pruning: Return of the Most Naive Baseline for Sparse Training",
                arXiv: "2202.02643"),
            composition: ["random", "exact counts by layer under a budget (ERK)", "fixed mask"],
            implements: [
                "uniform, uniform+, ERK and ERK+ budgets",
                "ratios of SNIP and GraSP",
                "exact counts in place of chances",
                "weights enlarged by 1/√density or not",
                "stored sparse from the first step",
            ],
            leavesOut: ["robustness, uncertainty and detection of other data"])
    }

    /// - Throws: `LacunaError.invalidArgument` for ratios by saliency without ``exampleLoss``.
    public func begin(_ run: TrainingRun) throws {
        var budget = budget
        if let ratios {
            guard let exampleLoss else {
                throw LacunaError.invalidArgument("budget", reason: "\(ratios) needs the loss of a batch")
            }
            budget = try ratios.budget(
                budget.sparsity ?? 0, layers: layers.layers(of: run.model), loss: exampleLoss)
        }
        try Self.install(
            budget, on: run.model, layers, storage, rescalesWeights: rescalesWeights, using: &run.generator)
    }

    /// Gives each chosen layer of a model a random mask. Convolutions are described to the budget by their kernels.
    static func install(
        _ budget: any SparsityBudget, on model: any Module, _ choice: LayerChoice, _ storage: StorageLayout,
        rescalesWeights: Bool, using generator: inout SeededGenerator
    ) throws {
        let layers = try choice.layers(of: model)
        let shapes = model.weightShapes
        let sparsities = try budget.allocate(
            layers: layers.map { ($0.name, shapes[ObjectIdentifier($0.layer)]!) })
        for (name, layer) in layers {
            let (rows, columns) = (layer.outputDimensions, layer.inputDimensions)
            let kept = rows * columns - Selection.removedCount(sparsity: sparsities[name]!, of: rows * columns)
            let mask = try SparsePattern(rows: rows, columns: columns, keepingRandom: kept, using: &generator)
            if rescalesWeights, kept > 0 {
                var weight = layer.weight.densified()
                let factor = (Float(rows * columns) / Float(kept)).squareRoot()
                weight.withMutablePointer { w in for i in 0..<rows * columns { w[i] *= factor } }
                layer.weight = DenseWeight(weight)
            }
            try layer.sparsify(storage, mask: mask)
        }
    }
}
