import LacunaSparse

/// Removes weights at random: what any method has to beat.
public struct RandomPruning: ScoredPruning {
    /// Changes every choice. Layers of one model draw from separate streams of it.
    public var seed: UInt64

    /// The same seed gives the same masks.
    public init(seed: UInt64 = 0) { self.seed = seed }

    public var card: MethodCard {
        MethodCard(
            name: "random", family: .maskOnly,
            paper: .init(
                authors: "Shiwei Liu and others",
                title:
                    "The Unreasonable Effectiveness of Random Pruning: Return of the Most Naive Baseline for Sparse "
                    + "Training", arXiv: "2202.02643"),
            composition: ["uniform random number", "largest by pattern"])
    }
    public var defaultScope: Pattern.Scope { .layer }
    public func score(layer: Int) -> any ImportanceScore { RandomScore(seed: seed, stream: UInt64(layer)) }
}
