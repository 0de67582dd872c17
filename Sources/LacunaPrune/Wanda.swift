import LacunaSparse

/// Removes the weights with the smallest `|w_ij| ‖x_j‖₂`: small weights, and weights that meet small inputs.
///
/// Entries of a row compete with each other, as the authors found best for language models; other scopes and patterns
/// can be asked for. Kept weights stay as they are.
///
/// Mingjie Sun, Zhuang Liu, Anna Bair, J. Zico Kolter, "A Simple and Effective Pruning Approach for Large Language
/// Models", arXiv 2306.11695.
public struct Wanda: ScoredPruning {
    /// Has no settings.
    public init() {}

    public var card: MethodCard {
        MethodCard(
            name: "wanda", family: .maskOnly,
            paper: .init(
                authors: "Mingjie Sun, Zhuang Liu, Anna Bair, J. Zico Kolter",
                title: "A Simple and Effective Pruning Approach for Large Language Models", arXiv: "2306.11695"),
            composition: ["|w| · ‖x‖₂", "largest by pattern, within each row"])
    }
    public var defaultScope: Pattern.Scope { .row }
    public func score(layer: Int) -> any ImportanceScore { ActivationWeightedScore() }
}
