import Lacuna

/// `w_ij² · Var(x_j)`: a weight matters as much as it makes the output vary.
///
/// Yongqi An, Xu Zhao, Tao Yu, Ming Tang, Jinqiao Wang, "Fluctuation-based Adaptive Structured Pruning for Large Language
/// Models", arXiv 2312.11983.
public struct FluctuationScore: ImportanceScore {
    public init() {}

    public var name: String { "fluctuation" }
    public var requirement: InputRequirement { .moments }

    public func scores(weight: Tensor<Float>, statistics: InputStatistics?) throws -> Tensor<Float> {
        let statistics = try require(statistics, for: weight)
        return map(weight, factors: statistics.variances) { w, variance in w * w * variance }
    }
}
