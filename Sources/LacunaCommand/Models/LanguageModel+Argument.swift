import LacunaInfer
import LacunaModels
import LacunaTensor

extension LanguageModel {
    /// What a user called a model, every number of it looked at: a file that is damaged is named before work begins.
    init(
        _ model: ModelArgument, weights: WeightPrecision = .stored, head: WeightPrecision? = nil,
        progress: (any ProgressReporter)?
    ) throws {
        self = try .load(model.text, weights: weights, head: head, checksNumbers: true, progress: progress)
    }
}
