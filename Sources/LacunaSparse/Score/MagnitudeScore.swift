import LacunaTensor

/// `|w|`: large weights matter.
///
/// Song Han, Jeff Pool, John Tran, William J. Dally, "Learning both Weights and Connections for Efficient Neural
/// Networks", arXiv 1506.02626.
public struct MagnitudeScore: ImportanceScore {
    /// The score; it has no settings.
    public init() {}

    public var name: String { "magnitude" }
    public var requirement: ScoreRequirement { .none }

    public func scores(_ inputs: ScoreInputs) throws -> Tensor<Float> {
        var result = try requireWeight(inputs)
        let count = result.count
        result.withMutablePointer { p in for i in 0..<count { p[i] = p[i].magnitude } }
        return result
    }
}
