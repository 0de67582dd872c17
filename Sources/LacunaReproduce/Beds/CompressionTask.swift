import Lacuna

/// A small transformer trained on Jane Austen, to be compressed after training: perplexities a character on text that it has
/// not seen, each method calibrated on the text that it has.
struct CompressionTask {
    private let language: TinyLanguageModel
    /// The dense model.
    let decoder: Transformer
    private let calibration: CalibrationSet

    /// Nil if the text is not there.
    init?(seed: UInt64, steps: Int, progress: (any ProgressReporter)?) throws {
        guard let language = try TinyLanguageModel() else { return nil }
        self.language = language
        let model = try language.model(seed: seed)
        try language.train(model, steps: steps, learningRate: 1e-2, seed: seed, progress: progress)
        decoder = try model.stored()
        calibration = try CalibrationSet(
            text: language.train.map { Int($0) }, sequences: 256, length: TinyLanguageModel.context, seed: seed)
    }

    /// The model as a method leaves it, in f32 unless said otherwise.
    func compressed(
        _ method: any PruningMethod, pattern: Pattern?, sparsity: Double?, values: ValueType = .f32
    ) throws -> (decoder: Transformer, report: PruningReport) {
        try Pruner(
            method, pattern: pattern, budget: sparsity.map { UniformBudget($0) }, storage: PrunedStorage(values: values)
        ).prune(decoder, calibration: calibration)
    }

    /// Perplexity a character.
    func perplexity(_ decoder: Transformer, windows: Int = 256) throws -> Double {
        let tokens = language.valid.prefix(windows * TinyLanguageModel.context).map { Int($0) }
        return try Perplexity.measure(decoder, tokens: tokens, window: TinyLanguageModel.context).value
    }
}
