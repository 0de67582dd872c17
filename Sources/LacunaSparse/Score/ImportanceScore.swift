import LacunaTensor

/// What a score must know of a layer's inputs, in ascending order of cost.
public enum InputRequirement: Int, Sendable, Comparable {
    /// Nothing: the weights alone decide.
    case none
    /// Sums and sums of squares of every input.
    case moments
    /// The Gram matrix `XᵀX`.
    case gram

    public static func < (a: InputRequirement, b: InputRequirement) -> Bool { a.rawValue < b.rawValue }
}

/// How much each weight of a linear layer matters: the first of the four verbs.
///
/// Scores are only compared with each other: the smallest are removed. Any score goes with any ``Pattern``.
public protocol ImportanceScore: Sendable {
    /// A short name for tables and messages.
    var name: String { get }
    /// What `scores` needs of the layer's inputs.
    var requirement: InputRequirement { get }

    /// The score of every weight.
    ///
    /// - Parameters:
    ///   - weight: `W` [outputs, inputs].
    ///   - statistics: What calibration saw of the layer's inputs; nil suffices if `requirement` is none.
    /// - Returns: Scores of the shape of `weight`.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if the statistics are missing, of another width or without
    ///   tokens; ``LacunaError/numerical(operation:reason:)`` if they are not finite or cannot be inverted.
    func scores(weight: Tensor<Float>, statistics: InputStatistics?) throws -> Tensor<Float>
}

extension ImportanceScore {
    func requireMatrix(_ weight: Tensor<Float>) throws {
        if weight.rank != 2 {
            throw LacunaError.invalidArgument("weight", reason: "\(name) needs a matrix, not shape \(weight.shape)")
        }
    }

    /// The statistics, checked to be what the score needs for `weight`.
    ///
    /// - Throws: As ``scores(weight:statistics:)``.
    public func require(_ statistics: InputStatistics?, for weight: Tensor<Float>) throws -> InputStatistics {
        try requireMatrix(weight)
        guard let statistics else {
            throw LacunaError.invalidArgument("statistics", reason: "\(name) needs calibration")
        }
        if statistics.columns != weight.columns {
            throw LacunaError.invalidArgument(
                "statistics", reason: "\(statistics.columns) inputs were seen, the weight has \(weight.columns)")
        }
        if statistics.tokens == 0 {
            throw LacunaError.invalidArgument("statistics", reason: "\(name) needs at least one token")
        }
        if requirement == .gram && !statistics.hasGram {
            throw LacunaError.invalidArgument("statistics", reason: "\(name) needs the Gram matrix of the inputs")
        }
        if !statistics.isFinite {
            throw LacunaError.numerical(operation: name, reason: "an input of the layer is not finite")
        }
        return statistics
    }

    /// `result[i, j] = body(weight[i, j], factors[j])` for every entry.
    @inlinable
    public func map(_ weight: Tensor<Float>, factors: [Float], _ body: (Float, Float) -> Float) -> Tensor<Float> {
        let (rows, columns) = (weight.rows, weight.columns)
        var result = Tensor<Float>(uninitialized: [rows, columns])
        weight.withPointer { source in
            factors.withUnsafeBufferPointer { factors in
                result.withMutablePointer { target in
                    for i in 0..<rows {
                        let (from, to) = (source + i * columns, target + i * columns)
                        for j in 0..<columns { to[j] = body(from[j], factors[j]) }
                    }
                }
            }
        }
        return result
    }
}
