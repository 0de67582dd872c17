import Lacuna

/// A small character-level transformer on Jane Austen, for methods that are about language models.
struct TinyLanguageModel {
    /// Tokens of a window.
    static let context = 64
    /// Windows of a step.
    static let batch = 16
    let vocabulary: ByteVocabulary
    let train: [Int32]
    let valid: [Int32]

    /// Other texts.
    init(vocabulary: ByteVocabulary, train: [Int32], valid: [Int32]) {
        (self.vocabulary, self.train, self.valid) = (vocabulary, train, valid)
    }

    /// Nil if the text is not there.
    init?() throws {
        guard let train = RealData.file("austen/train.txt"), let valid = RealData.file("austen/valid.txt") else {
            return nil
        }
        let bytes = try FileSystem.readBytes(train)
        vocabulary = ByteVocabulary(bytes)
        self.train = vocabulary.encode(bytes)
        self.valid = vocabulary.encode(try FileSystem.readBytes(valid))
    }

    /// A transformer of the Llama kind, its feed-forward parts 8/3 as wide as the stream.
    func model(
        dimensions: Int = 96, layers: Int = 2, heads: Int = 4, context: Int = Self.context, seed: UInt64
    ) throws -> TrainableTransformer {
        var generator = SeededGenerator(seed: seed, stream: 5)
        return try TrainableTransformer(
            TransformerConfiguration(
                vocabularySize: vocabulary.count, hiddenSize: dimensions,
                intermediateSizes: Array(repeating: (8 * dimensions / 3 + 7) / 8 * 8, count: layers), headCount: heads,
                keyValueHeadCount: heads, headSize: dimensions / heads, maximumPositions: context,
                tiedEmbeddings: true), using: &generator)
    }

    /// Trains with AdamW, warm-up and a cosine to a tenth of the rate.
    func train(
        _ model: TrainableTransformer, steps: Int, learningRate: Double = 2e-3, length: Int = Self.context,
        batch: Int = Self.batch, hooks: [any TrainingHook] = [], seed: UInt64,
        progress: (any ProgressReporter)? = nil
    ) throws {
        let warm = steps / 10
        var plan = TrainingPlan(
            steps: steps,
            learningRate: .warmUp(
                steps: warm, then: .cosine(from: learningRate, to: learningRate / 10, steps: steps - warm)))
        plan.clipNorm = 1
        plan.seed = seed
        plan.logEvery = steps
        let trainer = try Trainer(
            model: model, optimizer: Adam(learningRate: learningRate, beta2: 0.99),
            source: TokenWindows(train, length: length, batchSize: batch, seed: seed), plan: plan, hooks: hooks,
            loss: { step, tape in model.loss(step.ids, next: step.next, batch: batch, on: tape) })
        try trainer.train(progress: progress)
    }

    /// Perplexity per character on the validation text.
    func perplexity(_ model: TrainableTransformer, windows: Int = 256) -> Double {
        let tape = Tape<Float>()
        var (sum, count) = (0.0, 0)
        let length = Self.context
        for start in stride(from: 0, to: min(valid.count - length - 1, windows * length), by: length) {
            let ids = Array(valid[start..<start + length])
            let next = Array(valid[start + 1...start + length])
            sum += Double(tape.evaluating { model.loss(ids, next: next, batch: 1, on: tape).item })
            count += 1
        }
        return exponential(sum / Double(max(count, 1)))
    }
}
