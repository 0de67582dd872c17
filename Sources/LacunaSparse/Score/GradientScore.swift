import LacunaTensor

/// `|g|`, the magnitude of the gradient: how fast the loss falls when a weight that is 0 may move. What grows in RigL.
///
/// Utku Evci, Trevor Gale, Jacob Menick, Pablo Samuel Castro, Erich Elsen, "Rigging the Lottery: Making All Tickets Winners",
/// arXiv 1911.11134.
public struct GradientScore: ImportanceScore {
    /// The score; it has no settings.
    public init() {}

    public var name: String { "gradient" }
    public var requirement: ScoreRequirement { .gradient }

    public func scores(_ inputs: ScoreInputs) throws -> Tensor<Float> {
        var result = try requireGradient(inputs)
        let count = result.count
        result.withMutablePointer { p in for i in 0..<count { p[i] = p[i].magnitude } }
        return result
    }
}
