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
    public enum NeuronScore: String, Sendable, Hashable, CaseIterable {
        /// The formula as published; equal to ranking by the activation norm.
        case published
        /// `‖D_:j‖₂ n_j`: how much of the output the neuron makes.
        case weighted
    }

    public var budget: AngularBudget
    public var score: NeuronScore
    /// Every block keeps a multiple of this many neurons, 1 or more. The authors use 128 on GPUs.
    public var multiple: Int

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
        precondition(importance.count == widths.count)
        let fractions = try budget.keptFractions(importance: importance, ratio: sparsity)
        return AngularBudget.keptCounts(fractions, widths: widths, multiple: multiple)
    }

    public func neuronScores(_ block: FeedForwardWeights, norms: [Float]) throws -> [Float] {
        if norms.count != block.neurons {
            throw LacunaError.invalidArgument(
                "statistics", reason: "\(norms.count) activations were seen of \(block.neurons) neurons")
        }
        let (outputs, neurons, inputs) = (block.down.rows, block.neurons, block.gate.columns)
        return block.gate.withPointer { gate in
            block.up.withPointer { up in
                block.down.withPointer { down in
                    (0..<neurons).map { j in
                        let norm = Double(norms[j])
                        func column(_ i: Int) -> Double { Double(down[i * neurons + j]) }
                        switch score {
                        case .weighted:
                            return Float((0..<outputs).reduce(0) { $0 + column($1) * column($1) }.squareRoot() * norm)
                        case .published:
                            let shares =
                                Self.meanShare(outputs) { column($0).magnitude * norm }
                                + Self.meanShare(inputs) { Double(up[j * inputs + $0].magnitude) }
                                + Self.meanShare(inputs) { Double(gate[j * inputs + $0].magnitude) }
                            return Float(shares * norm)
                        }
                    }
                }
            }
        }
    }

    /// The mean of numbers divided by their sum; 0 if all vanish.
    private static func meanShare(_ count: Int, _ number: (Int) -> Double) -> Double {
        let sum = (0..<count).reduce(0) { $0 + number($1) }
        return sum > 0 ? (0..<count).reduce(0) { $0 + number($1) / sum } / Double(count) : 0
    }
}
