import LacunaSparse
import LacunaTensor

/// Removes neurons of gated feed-forward parts: rows of gate and up, columns of down. Matrices really become smaller.
///
/// Coarse: blocks that turn their input further keep more (``AngularBudget``). Fine: within a block the neurons with the
/// largest score stay. Everything comes from one pass of the dense model; attention is left alone. The sparsity is that
/// of the feed-forward neurons, not of the model.
///
/// The published score of neuron `j` with activation norm `n_j` is the mean over the hidden dimension `i` of
///
///     ( |D_ij| n_j / Σ_i |D_ij| n_j  +  |U_ji| / Σ_i |U_ji|  +  |G_ji| / Σ_i |G_ji| ) · n_j .
///
/// Each of the three fractions is normalised by its own sum over `i`, so their means are all `1 / d` whatever the
/// weights: the score is `3 n_j / d`, and the ranking that of the activation norm alone. ``NeuronScore/weighted`` asks
/// the down projection instead.
///
/// Yuxin Wang, Minghua Ma, Zekun Wang and others, "CFSP: An Efficient Structured Pruning Framework for LLMs with
/// Coarse-to-Fine Activation Information", arXiv 2409.13199. Without their recovery training.
public struct CFSP: FeedForwardPruning {
    /// What ranks the neurons of a block.
    public enum NeuronScore: String, Sendable, Hashable, CaseIterable {
        /// The formula as published; equal to ranking by the activation norm.
        case published
        /// `‖D_:j‖₂ n_j`: how much of the output the neuron makes.
        case weighted
    }

    /// What shares the neurons out among the blocks.
    public var budget: AngularBudget
    /// What ranks the neurons of a block.
    public var score: NeuronScore
    /// Every block keeps a multiple of this many neurons, 1 or more. The authors use 128 on GPUs.
    public var multiple: Int

    /// The defaults are the authors' budget and score; the latter ranks by the activation norm alone.
    public init(budget: AngularBudget = AngularBudget(), score: NeuronScore = .published, multiple: Int = 1) {
        self.budget = budget
        self.score = score
        self.multiple = multiple
    }

    public var card: MethodCard {
        MethodCard(
            name: "cfsp", family: .structured,
            paper: .init(
                authors: "Yuxin Wang, Minghua Ma, Zekun Wang and others",
                title:
                    "CFSP: An Efficient Structured Pruning Framework for LLMs with Coarse-to-Fine Activation "
                    + "Information", arXiv: "2409.13199"),
            composition: ["activation norm of a neuron", "largest per block, budget by angle", "slicing"])
    }

    public func keptCounts(importance: [Double], widths: [Int], sparsity: Double) throws -> [Int] {
        if multiple < 1 { throw LacunaError.invalidArgument("multiple", reason: "must be positive") }
        require(importance.count == widths.count)
        let fractions = try budget.keptFractions(importance: importance, ratio: sparsity)
        return AngularBudget.keptCounts(fractions, widths: widths, multiple: multiple)
    }

    public func neuronScore(
        _ block: FeedForwardWeights
    ) -> (score: any ImportanceScore, unit: Selection.UnitScore) {
        switch score {
        case .published: (PublishedScore(block: block), .mean)
        case .weighted: (ActivationWeightedScore(), .norm)
        }
    }

    /// What each entry of the down projection adds to the published formula.
    private struct PublishedScore: ImportanceScore {
        let block: FeedForwardWeights
        var name: String { "cfsp" }
        var requirement: ScoreRequirement { .moments }

        func scores(_ inputs: ScoreInputs) throws -> Tensor<Float> {
            let norms = try requireInputs(inputs).norms
            let down = inputs.weight
            let shares = (0..<block.neurons).map { j in
                Self.meanShare(block.gate, row: j) + Self.meanShare(block.up, row: j)
            }
            var sums = [Double](repeating: 0, count: down.columns)
            for i in 0..<down.rows {
                for j in 0..<down.columns { sums[j] += Double(down[i, j].magnitude) * Double(norms[j]) }
            }
            var result = Tensor<Float>(zeros: down.shape)
            for i in 0..<down.rows {
                for j in 0..<down.columns {
                    let norm = Double(norms[j])
                    let share = sums[j] > 0 ? Double(down[i, j].magnitude) * norm / sums[j] : 0
                    result[i, j] = Float((share + shares[j]) * norm)
                }
            }
            return result
        }

        /// The mean of a row's magnitudes divided by their sum; 0 if all vanish.
        private static func meanShare(_ matrix: Tensor<Float>, row: Int) -> Double {
            let width = matrix.columns
            let sum = (0..<width).reduce(0.0) { $0 + Double(matrix[row, $1].magnitude) }
            return sum > 0
                ? (0..<width).reduce(0.0) { $0 + Double(matrix[row, $1].magnitude) / sum } / Double(width) : 0
        }
    }
}
