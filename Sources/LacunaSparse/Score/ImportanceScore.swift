import LacunaTensor

/// How much each weight of a linear layer matters: the first of the four verbs.
///
/// Scores are only compared with each other: the smallest are removed. Any score goes with any ``Pattern``.
public protocol ImportanceScore: Sendable {
    /// A short name for tables and messages.
    var name: String { get }
    /// What `scores` needs to be given.
    var requirement: ScoreRequirement { get }

    /// The score of every weight, of the shape of the weight.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if something that is required is missing, of another shape or
    ///   without tokens; ``LacunaError/numerical(operation:reason:)`` if it is not finite or cannot be inverted.
    func scores(_ inputs: ScoreInputs) throws -> Tensor<Float>
}

extension ImportanceScore {
    /// The scores of weights of which nothing, or only the inputs, is known.
    public func scores(weight: Tensor<Float>, statistics: InputStatistics? = nil) throws -> Tensor<Float> {
        try scores(ScoreInputs(weight: weight, inputs: statistics))
    }

    /// The weight, checked to be a matrix.
    public func requireWeight(_ inputs: ScoreInputs) throws -> Tensor<Float> {
        if inputs.weight.rank != 2 {
            throw LacunaError.invalidArgument(
                "weight", reason: "\(name) needs a matrix, not shape \(inputs.weight.shape)")
        }
        return inputs.weight
    }

    /// The statistics of the inputs, checked to be what the score needs for the weight.
    ///
    /// - Throws: As ``scores(_:)``.
    public func requireInputs(_ inputs: ScoreInputs) throws -> InputStatistics {
        let statistics = try require(inputs.inputs, "inputs", count: requireWeight(inputs).columns)
        if requirement.contains(.gram) && !statistics.hasGram {
            throw LacunaError.invalidArgument("statistics", reason: "\(name) needs the Gram matrix of the inputs")
        }
        return statistics
    }

    /// The statistics of the outputs, checked likewise.
    ///
    /// - Throws: As ``scores(_:)``.
    public func requireOutputs(_ inputs: ScoreInputs) throws -> InputStatistics {
        try require(inputs.outputs, "outputs", count: requireWeight(inputs).rows)
    }

    private func require(_ statistics: InputStatistics?, _ what: String, count: Int) throws -> InputStatistics {
        guard let statistics else {
            throw LacunaError.invalidArgument("statistics", reason: "\(name) needs calibration")
        }
        if statistics.columns != count {
            throw LacunaError.invalidArgument(
                "statistics", reason: "\(statistics.columns) \(what) were seen, the weight has \(count)")
        }
        if statistics.tokens == 0 {
            throw LacunaError.invalidArgument("statistics", reason: "\(name) needs at least one token")
        }
        if !statistics.isFinite {
            throw LacunaError.numerical(operation: name, reason: "\(what) of the layer are not finite")
        }
        return statistics
    }

    /// The gradient, checked to have the shape of the weight.
    ///
    /// - Throws: As ``scores(_:)``.
    public func requireGradient(_ inputs: ScoreInputs) throws -> Tensor<Float> {
        let weight = try requireWeight(inputs)
        guard let gradient = inputs.gradient else {
            throw LacunaError.invalidArgument("gradient", reason: "\(name) needs one")
        }
        if gradient.shape != weight.shape {
            throw LacunaError.invalidArgument(
                "gradient", reason: "shape \(gradient.shape) for a weight of shape \(weight.shape)")
        }
        return gradient
    }

    /// The inputs themselves, checked to be as wide as the weight.
    ///
    /// - Throws: As ``scores(_:)``.
    public func requireActivations(_ inputs: ScoreInputs) throws -> Tensor<Float> {
        let weight = try requireWeight(inputs)
        guard let x = inputs.activations, x.rank == 2, x.columns == weight.columns, x.rows > 0 else {
            throw LacunaError.invalidArgument(
                "activations", reason: "\(name) needs tokens of \(weight.columns) inputs each")
        }
        return x
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
