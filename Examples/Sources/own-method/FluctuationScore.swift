import Lacuna

/// `w_ij² · Var(x_j)`: a weight matters as much as it makes the output vary.
///
/// Yongqi An, Xu Zhao, Tao Yu, Ming Tang, Jinqiao Wang, "Fluctuation-based Adaptive Structured Pruning for Large Language
/// Models", arXiv 2312.11983.
public struct FluctuationScore: ImportanceScore {
    public init() {}

    public var name: String { "fluctuation" }
    public var requirement: ScoreRequirement { .moments }

    public func scores(_ inputs: ScoreInputs) throws -> Tensor<Float> {
        let statistics = try requireInputs(inputs)
        return map(inputs.weight, factors: statistics.variances) { w, variance in w * w * variance }
    }
}
