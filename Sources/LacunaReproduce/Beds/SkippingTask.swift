import Lacuna

/// A language model that leaves out inputs or keys while it runs, on text that it was neither trained nor calibrated on: SmolLM2 on
/// WikiText-2 where both are at hand and there is time, otherwise a small transformer trained on Jane Austen.
struct SkippingTask {
    let decoder: Transformer
    let calibration: CalibrationSet
    /// Tokens that are scored.
    let tokens: [Int]
    let window: Int
    /// What it is, for settings.
    let description: String

    /// A small model of characters.
    ///
    /// - Returns: Nil if the text is not there.
    static func small(seed: UInt64, steps: Int, progress: (any ProgressReporter)?) throws -> SkippingTask? {
        guard let language = try TinyLanguageModel() else { return nil }
        let model = try language.model(seed: seed)
        try language.train(model, steps: steps, learningRate: 1e-2, seed: seed, progress: progress)
        let length = TinyLanguageModel.context
        return SkippingTask(
            decoder: try model.stored(),
            calibration: try CalibrationSet(
                text: language.train.map { Int($0) }, sequences: 64, length: length, seed: seed),
            tokens: language.valid.prefix(128 * length).map { Int($0) }, window: length,
            description: "transformers of two blocks trained on Jane Austen, perplexity a character")
    }

    /// SmolLM2, calibrated and scored on other parts of WikiText-2 for every seed.
    ///
    /// - Returns: Nil if the model or the text is not there.
    static func smollm2(seed: UInt64) throws -> SkippingTask? {
        guard let path = try RealData.cached("smollm2"), let valid = RealData.file("wikitext-2/valid.txt"),
            let test = RealData.file("wikitext-2/test.txt")
        else { return nil }
        let model = try LanguageModel.load(path, weights: .f32, head: .int8)
        let tokens = model.tokenizer.encode(try FileSystem.readText(test), recognizesSpecials: false)
        let count = 4096
        let start = Int(seed % UInt64(max(1, tokens.count / count))) * count
        return SkippingTask(
            decoder: model.decoder,
            calibration: try CalibrationSet(
                file: valid, tokenizer: model.tokenizer, sequences: 16, length: 256, seed: seed),
            tokens: Array(tokens[start..<min(start + count, tokens.count)]), window: 512,
            description: "SmolLM2-135M-Instruct (Q4_1, run in f32) on \(count) tokens of WikiText-2's test part")
    }

    /// The model and text of a run.
    static func make(_ context: ReproductionContext, seed: UInt64) throws -> SkippingTask? {
        if !context.quick, let task = try smollm2(seed: seed) { return task }
        return try small(seed: seed, steps: context.quick ? 300 : 1000, progress: context.progress)
    }

    /// Loss a token, and the share of the linear layers' weights that was left out, under a method at a ratio.
    func loss(_ words: String, allocation: RatioAllocation = .uniform) throws -> (loss: Double, sparsity: Double) {
        let plan = try ActivationCalibrator(ActivationRequest(words), allocation: allocation).plan(
            decoder, calibration: calibration)
        let (gated, gate) = try plan.applied(to: decoder)
        let meter = SkippingMeter()
        let found = try Perplexity.measure(gated, tokens: tokens, window: window, gate: gate, meter: meter)
        return (found.loss, meter.total.sparsity)
    }

    /// Loss a token of the whole model.
    func denseLoss() throws -> Double { try Perplexity.measure(decoder, tokens: tokens, window: window).loss }

    static let isMissing = RealData.austenIsMissing
}
