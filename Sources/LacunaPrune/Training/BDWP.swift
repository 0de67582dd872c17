import LacunaIO
import LacunaLearn
import LacunaSparse
import LacunaTensor

/// N:M sparsity in both directions: the forward product skips by groups of inputs, the one that carries the gradient back
/// by groups of outputs.
///
/// Both sparse copies are chosen anew from one dense weight at every step: `y = W_f x` with N of M consecutive inputs,
/// `dx = W_bᵀ dy` with N of M consecutive outputs, and the gradient of the weight dense and straight through. Two of the
/// three products of training shrink by N/M.
///
/// Chao Fang, Wei Sun, Aojun Zhou, Zhongfeng Wang, "Efficient N:M Sparse DNN Training Using Algorithm, Architecture, and
/// Dataflow Co-Design", arXiv 2309.13015. With `isBackwardOnly` the forward weight stays dense, for comparison.
public final class BDWP: TrainingMethod {
    /// Entries kept of every group.
    public let n: Int
    /// Entries of a group: consecutive inputs forward, consecutive outputs backward.
    public let m: Int
    /// The layers with sparse products. Their weights are dense.
    public let layers: LayerChoice
    /// Whether the forward weight stays dense, for comparison; then nothing is pruned at the end.
    public let isBackwardOnly: Bool
    private let views = StraightThroughLayers()

    /// - Throws: `LacunaError.invalidArgument` for a bad pattern.
    public init(n: Int, m: Int, layers: LayerChoice = .allButOutput, isBackwardOnly: Bool = false) throws {
        try Pattern.nm(n: n, m: m).validate()
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
            composition: ["|w|", "N:M by inputs forward, by outputs backward", "straight-through"])
    }

    /// Multiply-adds of training relative to dense: the gradient of the weight is not sparse.
    public var computeRatio: Double {
        (1 + (isBackwardOnly ? 1 : 2) * Double(n) / Double(m) + (isBackwardOnly ? 1 : 0)) / 3
    }

    public func attach(_ run: TrainingRun) throws {
        try views.attach(
            layers, of: run.model, isBackwardOnly ? nil : .nm(n: n, m: m),
            backward: .nm(n: n, m: m, axis: .output))
    }

    public func end(_ run: TrainingRun) throws { try views.finish() }
}
