import LacunaTensor

/// `|w|`: large weights matter.
///
/// Song Han, Jeff Pool, John Tran, William J. Dally, "Learning both Weights and Connections for Efficient Neural
/// Networks", arXiv 1506.02626.
public struct MagnitudeScore: ImportanceScore {
    public init() {}

    public var name: String { "magnitude" }
    public var requirement: InputRequirement { .none }

    public func scores(weight: Tensor<Float>, statistics: InputStatistics?) throws -> Tensor<Float> {
        try requireMatrix(weight)
        var result = weight
        let count = result.count
        result.withMutablePointer { p in for i in 0..<count { p[i] = p[i].magnitude } }
        return result
    }
}
