import LacunaSparse
import LacunaTensor

/// The three matrices of a gated feed-forward part, `y = D (act(G x) ⊙ U x)`.
public struct FeedForwardWeights: Sendable, Equatable {
    /// `G` [neurons, inputs].
    public var gate: Tensor<Float>
    /// `U` [neurons, inputs].
    public var up: Tensor<Float>
    /// `D` [outputs, neurons].
    public var down: Tensor<Float>

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for shapes that do not fit together.
    public init(gate: Tensor<Float>, up: Tensor<Float>, down: Tensor<Float>) throws {
        if gate.rank != 2 || down.rank != 2 || gate.shape != up.shape || down.shape[1] != gate.shape[0] {
            throw LacunaError.invalidArgument(
                "feed-forward", reason: "gate \(gate.shape), up \(up.shape), down \(down.shape) do not fit together")
        }
        self.gate = gate
        self.up = up
        self.down = down
    }

    /// Number of neurons.
    public var neurons: Int { gate.rows }

    /// The same part with only some of its neurons: rows of `gate` and `up`, columns of `down`. What is left computes
    /// what the whole does when the others' activations are 0.
    ///
    /// - Parameter kept: Neurons in ascending order, each at most once.
    public func keeping(_ kept: [Int]) -> FeedForwardWeights {
        require(zip(kept, kept.dropFirst()).allSatisfy(<) && kept.allSatisfy { $0 >= 0 && $0 < neurons })
        var result = self
        result.gate = Self.rows(gate, kept)
        result.up = Self.rows(up, kept)
        result.down = Self.columns(down, kept)
        return result
    }

    private static func rows(_ matrix: Tensor<Float>, _ kept: [Int]) -> Tensor<Float> {
        let width = matrix.columns
        var result = Tensor<Float>(uninitialized: [kept.count, width])
        matrix.withPointer { source in
            result.withMutablePointer { target in
                for (i, row) in kept.enumerated() {
                    (target + i * width).update(from: source + row * width, count: width)
                }
            }
        }
        return result
    }

    private static func columns(_ matrix: Tensor<Float>, _ kept: [Int]) -> Tensor<Float> {
        let (height, width) = (matrix.rows, matrix.columns)
        var result = Tensor<Float>(uninitialized: [height, kept.count])
        matrix.withPointer { source in
            result.withMutablePointer { target in
                for i in 0..<height {
                    for (j, column) in kept.enumerated() { target[i * kept.count + j] = source[i * width + column] }
                }
            }
        }
        return result
    }
}

/// A method that removes neurons of the feed-forward parts, from what one dense pass has seen.
public protocol FeedForwardPruning: PruningMethod {
    /// How many neurons every block keeps.
    ///
    /// - Parameters:
    ///   - importance: Mean angle between input and output of every block, divided by π.
    ///   - widths: Neurons of every block.
    ///   - sparsity: Fraction of all neurons removed, 0..<1.
    func keptCounts(importance: [Double], widths: [Int], sparsity: Double) throws -> [Int]

    /// How much each neuron of a block matters: a score of the columns of `down`, given what was seen of its inputs, the
    /// neurons' activations; and how the scores of a column's entries become the neuron's.
    func neuronScore(_ block: FeedForwardWeights) -> (score: any ImportanceScore, unit: Selection.UnitScore)
}

extension FeedForwardPruning {
    public var requirement: ScoreRequirement { .moments }

    /// The `count` neurons with the largest scores, in ascending order.
    ///
    /// - Parameter activations: What was seen of the neurons' activations.
    /// - Throws: As ``Selection/mask(scores:pattern:amount:unitScore:within:)`` and the score.
    public func keptNeurons(
        _ block: FeedForwardWeights, activations: InputStatistics, count: Int
    ) throws -> [Int] {
        let (score, unit) = neuronScore(block)
        let scores = try score.scores(ScoreInputs(weight: block.down, inputs: activations))
        let mask = try Selection.mask(scores: scores, pattern: .columns, amount: .count(count), unitScore: unit)
        return Array(mask.keptColumns(row: 0))
    }
}
