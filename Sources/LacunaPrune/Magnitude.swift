import LacunaSparse

/// Removes the weights of smallest magnitude: `|w|`, and nothing about the data.
///
/// The oldest method, the cheapest, and for moderate sparsity often enough. Entries of a matrix compete with each other.
public struct Magnitude: ScoredPruning {
    /// Has no settings.
    public init() {}

    public var card: MethodCard {
        MethodCard(
            name: "magnitude", family: .maskOnly,
            paper: .init(
                authors: "Song Han, Jeff Pool, John Tran, William J. Dally",
                title: "Learning both Weights and Connections for Efficient Neural Networks", arXiv: "1506.02626"),
            composition: ["|w|", "largest by pattern"])
    }
    public var defaultScope: Pattern.Scope { .layer }
    public func score(layer: Int) -> any ImportanceScore { MagnitudeScore() }
}
