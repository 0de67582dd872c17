import Lacuna

/// Removes the weights that make the output vary least. A constant part of the output, which a bias could take over, does
/// not count.
public struct Fluctuation: ScoredPruning {
    public init() {}

    public var card: MethodCard {
        MethodCard(
            name: "fluctuation", family: .maskOnly,
            paper: .init(
                authors: "Yongqi An, Xu Zhao, Tao Yu, Ming Tang, Jinqiao Wang",
                title: "Fluctuation-based Adaptive Structured Pruning for Large Language Models", arXiv: "2312.11983"),
            composition: ["w² · Var(x)", "largest by pattern, within the layer"])
    }
    public var defaultScope: Pattern.Scope { .layer }
    public func score(layer: Int) -> any ImportanceScore { FluctuationScore() }
}
