import LacunaIO
import LacunaLearn
import LacunaSparse
import LacunaTensor

/// N:M sparsity in both directions: the forward product skips by groups of inputs, the one that carries the gradient back
/// by groups of outputs.
///
/// Both sparse copies are chosen anew from one dense weight at every step: `y = W_f x` with N of M consecutive inputs,
/// `dx = W_bᵀ dy` with N of M consecutive outputs, and the gradient of the weight dense and straight through. Two of the
/// three products of training shrink by N/M: they skip what their copy leaves out.
///
/// Chao Fang, Wei Sun, Aojun Zhou, Zhongfeng Wang, "Efficient N:M Sparse DNN Training Using Algorithm, Architecture, and
/// Dataflow Co-Design", arXiv 2309.13015. Whether they pull masked weights to nothing, as ``SRSTE`` does, is not known to us:
/// ``decay`` does it. With `isBackwardOnly` the forward weight stays dense, for comparison.
public final class BDWP: TrainingMethod {
    /// Entries kept of every group.
    public let n: Int
    /// Entries of a group: consecutive inputs forward, consecutive outputs backward.
    public let m: Int
    /// λ, 0 or more: what masked weights of the forward copy times λ is added to their gradients.
    public let decay: Double
    /// The layers with sparse products. Their weights are dense.
    public let layers: LayerChoice
    /// Whether the forward weight stays dense, for comparison; then nothing is pruned at the end.
    public let isBackwardOnly: Bool
    private let views = StraightThroughLayers()

    /// - Throws: `LacunaError.invalidArgument` for a bad pattern, and a λ that is negative, not finite, or given where no forward
    ///   weight is masked.
    public init(
        n: Int, m: Int, decay: Double = 0, layers: LayerChoice = .allButOutput, isBackwardOnly: Bool = false
    ) throws {
        try Pattern.nm(n: n, m: m).validate()
        guard decay >= 0, decay.isFinite, decay == 0 || !isBackwardOnly else {
            throw LacunaError.invalidArgument("decay", reason: "\(decay) is negative, not finite, or pulls nothing")
        }
        self.decay = decay
        self.n = n
        self.m = m
        self.layers = layers
        self.isBackwardOnly = isBackwardOnly
    }

    public var card: MethodCard {
        MethodCard(
            name: "bdwp", family: .sparseTraining,
            paper: .init(
                authors: "Chao Fang, Wei Sun, Aojun Zhou, Zhongfeng Wang",
                title: "Efficient N:M Sparse DNN Training Using Algorithm, Architecture, and Dataflow Co-Design",
                arXiv: "2309.13015"),
            composition: ["|w|", "N:M by inputs forward, by outputs backward", "straight-through, skipping products"],
            implements: [
                "both sparse copies from one dense weight, every step",
                "forward and backward products that skip what is masked, dense gradient of the weight",
                "masked decay λ",
            ],
            leavesOut: [
                "copies made by the optimiser's step, ready for the next one",
                "sparse products of convolutions' patches are those of linear layers",
            ])
    }

    /// Multiply-adds of training the chosen layers relative to dense: the gradient of the weight is not sparse.
    public var computeRatio: Double {
        (1 + (isBackwardOnly ? 1 : 2) * Double(n) / Double(m) + (isBackwardOnly ? 1 : 0)) / 3
    }

    public func attach(_ run: TrainingRun) throws {
        try views.attach(
            layers, of: run.model, isBackwardOnly ? nil : .nm(n: n, m: m),
            backward: .nm(n: n, m: m, axis: .output), skipsMasked: true)
    }

    public func gradientsReady(_ run: TrainingRun) throws { views.pull(decay) }

    public func end(_ run: TrainingRun) throws { try views.finish() }
}
