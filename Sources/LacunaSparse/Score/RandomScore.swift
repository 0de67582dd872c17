import LacunaTensor

/// A number drawn uniformly from [0, 1) for every weight: the baseline that every other score has to beat.
///
/// The weights' values are not looked at. The same seed, stream and shape give the same scores.
public struct RandomScore: ImportanceScore {
    /// What the scores are drawn by.
    public var seed: UInt64
    /// Separates the layers of a model: two layers of one shape with the same seed and stream get the same scores.
    public var stream: UInt64

    /// Scores drawn by a seed and one of its streams.
    public init(seed: UInt64, stream: UInt64 = 0) {
        self.seed = seed
        self.stream = stream
    }

    public var name: String { "random" }
    public var requirement: ScoreRequirement { .none }

    public func scores(_ inputs: ScoreInputs) throws -> Tensor<Float> {
        let weight = try requireWeight(inputs)
        var generator = SeededGenerator(seed: seed, stream: stream)
        return Tensor(uniform: weight.shape, using: &generator)
    }
}
