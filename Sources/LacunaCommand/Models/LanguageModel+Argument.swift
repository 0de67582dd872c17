import LacunaInfer
import LacunaModels
import LacunaTensor

extension LanguageModel {
    /// What a user called a model, every number of it looked at: a file that is damaged is named before work begins.
    init(
        _ model: ModelArgument, weights: WeightPrecision = .stored, head: WeightPrecision? = nil,
        progress: (any ProgressReporter)?
    ) throws {
        let path = try model.path(progress: progress)
        let loaded = try LanguageModel.load(
            path, weights: weights, head: head, checksNumbers: true, progress: progress)
        self.init(
            name: model.text == path ? loaded.name : model.text, path: path, decoder: loaded.decoder,
            tokenizer: loaded.tokenizer, diskBytes: loaded.diskBytes)
    }
}
