import Lacuna

/// A small vision transformer on real pictures.
enum SmallViT {
    static let missing = RealData.isMissing("digits", "no network was trained")

    /// Handwritten digits of 8 x 8 pixels as pictures; nil if they are not there.
    static func digits(seed: UInt64) throws -> (train: LabelledExamples, test: LabelledExamples)? {
        guard let path = RealData.file("digits/digits.csv") else { return nil }
        let (train, test, _) = try TableFiles.classification(path, testFraction: 0.3, seed: seed)
        func pictures(_ examples: LabelledExamples) throws -> LabelledExamples {
            try LabelledExamples(
                inputs: examples.inputs.reshaped([examples.count, 1, 8, 8]), labels: examples.labels,
                classes: examples.classes)
        }
        return (try pictures(train), try pictures(test))
    }

    /// Fashion-MNIST, of which the first `trainCount` pictures are trained on; nil if it is not in the cache.
    static func fashion(trainCount: Int, testCount: Int) throws -> (train: LabelledExamples, test: LabelledExamples)? {
        guard let (train, test) = try RealData.fashionMNIST(trainCount: trainCount) else { return nil }
        func pictures(_ examples: LabelledExamples) throws -> LabelledExamples {
            try LabelledExamples(
                inputs: examples.inputs.reshaped([examples.count, 1, 28, 28]), labels: examples.labels,
                classes: examples.classes)
        }
        return (try pictures(train), try pictures(test.prefix(testCount)))
    }

    /// Two blocks of width 32 with 4 heads on 16 patches of 2 x 2 pixels, or for pictures of 28 pixels on 49 of 4 x 4.
    static func fresh(_ examples: LabelledExamples, seed: UInt64) throws -> TrainableViT {
        var generator = SeededGenerator(seed: seed, stream: 0x717)
        let side = examples.inputShape[1]
        let configuration = try ViTConfiguration(
            imageSize: side, patchSize: side == 8 ? 2 : 4, channels: 1, hiddenSize: 32, intermediateSize: 64,
            layerCount: 2,
            headCount: 4, classes: (0..<examples.classes).map { "\($0)" })
        return try TrainableViT(ViT(random: configuration, using: &generator))
    }

    /// The same network once more.
    static func copy(_ model: TrainableViT, _ examples: LabelledExamples) throws -> TrainableViT {
        let result = try fresh(examples, seed: 0)
        for (to, from) in zip(result.parameters, model.parameters) { to.value = from.value }
        for (to, from) in zip(result.linears, model.linears) { to.layer.dense?.mask = from.layer.dense?.mask }
        return result
    }

    /// Adam with a rate that falls by a cosine.
    static func train(
        _ model: TrainableViT, _ examples: LabelledExamples, epochs: Int, rate: Double = 2e-3,
        hooks: [any TrainingHook] = [], seed: UInt64
    ) throws {
        let plan = plan(examples, epochs: epochs, rate: rate, seed: seed)
        try Trainer(
            model: model, optimizer: Adam(weightDecay: 0.01, isDecoupled: true),
            source: ShuffledBatches(examples, batchSize: 64, seed: seed), plan: plan, hooks: hooks,
            loss: { batch, tape in Loss.crossEntropy(model(tape.constant(batch.inputs)), labels: batch.labels) }
        ).train()
    }

    static func plan(_ examples: LabelledExamples, epochs: Int, rate: Double, seed: UInt64) -> TrainingPlan {
        let steps = epochs * ((examples.count + 63) / 64)
        var plan = TrainingPlan(steps: steps, learningRate: .cosine(from: rate, to: 0, steps: steps))
        (plan.seed, plan.logEvery, plan.clipNorm) = (seed, steps, 1)
        return plan
    }
}
