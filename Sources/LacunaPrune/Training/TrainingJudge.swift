import LacunaLearn
import LacunaTensor

/// What a method may ask of examples that the run does not train on.
public struct TrainingJudge {
    /// How good the network is as it stands, the larger the better.
    public let quality: () throws -> Double
    /// Inputs to take statistics of batch norms from, of the training examples.
    public let batches: [Tensor<Float>]

    /// A judge by a number, with inputs to count statistics on.
    public init(batches: [Tensor<Float>] = [], quality: @escaping () throws -> Double) {
        (self.quality, self.batches) = (quality, batches)
    }
}

/// A method that chooses among networks on the way. Examples to judge by are held out of training: a choice by the test examples
/// would be a test no longer.
public protocol JudgedMethod: TrainingMethod {
    /// Whether the settings ask for a choice, or for statistics taken anew.
    var needsJudge: Bool { get }
    /// Has to be there when the run begins, if it is needed. `lacuna train` gives one of a tenth of the training examples.
    var judge: TrainingJudge? { get set }
}

extension JudgedMethod {
    /// - Throws: `LacunaError.invalidArgument` if there is none.
    func requireJudge() throws -> TrainingJudge {
        guard let judge else {
            throw LacunaError.invalidArgument(
                "judge", reason: "\(card.name) chooses by examples held out, and has none")
        }
        return judge
    }
}
