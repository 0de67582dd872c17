import Lacuna

/// Checks that features of the dense network, layer by layer, help a pruned one more than labels alone, and more than its predictions.
struct SquareHeadReproduction: Reproduction {
    let shortName = "SquareHead"
    let paper = 37
    let title = "Sparse Fine-tuning for Inference Acceleration of Large Language Models"
    let arXiv: String? = "2310.06927"
    let claim =
        "Fine-tuning a pruned model by the task's loss alone overfits or diverges at high sparsity; the normalised distance of every "
        + "layer's features from the dense model's, beside it, recovers the accuracy."

    /// What is added to the cross-entropy.
    private enum Arm: String, CaseIterable {
        case labels = "labels alone"
        case predictions = "+ predictions (KL)"
        case features = "+ features (SquareHead)"
    }

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = (0..<(context.quick ? 5 : 8)).map { context.seed &* 1000 &+ UInt64($0) }
        let sparsities = [0.7, 0.8, 0.9]
        var found: [String: [Double]] = [:]
        for (place, seed) in seeds.enumerated() {
            try context.progress.report("classifiers", place, of: seeds.count)
            let task = BlobTask(seed: seed)
            var generator = SeededGenerator(seed: seed, stream: 37)
            let teacher = MLP(widths: [64, 128, 128, 128, 128, 10], using: &generator)
            try ClassifierTraining().train(teacher, task.train, seed: seed)
            found["dense", default: []].append(ClassifierTraining.accuracy(teacher, try task.test))
            let few = try task.train.prefix(200)
            for sparsity in sparsities {
                for arm in Arm.allCases {
                    let student = try pruned(teacher, sparsity)
                    try tune(student, beside: teacher, few, arm, seed: seed)
                    found["\(sparsity) \(arm)", default: []].append(ClassifierTraining.accuracy(student, try task.test))
                }
            }
        }
        func sample(_ name: String) -> Sample { Sample(found[name]!) }
        var measurements = [Measurement("accuracy of the dense network", sample("dense"))]
        var checks: [Check] = []
        for sparsity in sparsities {
            let (labels, features) = (sample("\(sparsity) \(Arm.labels)"), sample("\(sparsity) \(Arm.features)"))
            let percent = "\(Int(sparsity * 100 + 0.5)) %"
            measurements += [
                Measurement(
                    "accuracy, \(percent) removed, features beside labels", features, baseline: labels,
                    baselineName: "labels alone"),
                Measurement(
                    "… predictions beside labels", sample("\(sparsity) \(Arm.predictions)"), baseline: labels,
                    baselineName: "labels alone"),
            ]
            checks.append(Check("\(percent): features give over 0.03 more accuracy", features - labels, exceeds: 0.03))
            checks.append(
                Check(
                    "\(percent): and more than predictions do", features - sample("\(sparsity) \(Arm.predictions)"),
                    exceeds: 0))
        }

        // A language model: the same text again and again, which labels alone learn by heart.
        var perplexities: [Arm: [Double]] = [:]
        var dense: [Double] = []
        var (notes, missing): ([String], [String]) = ([], [])
        if context.quick {
            notes.append("Language models are part of the full run alone.")
        } else if let language = try TinyLanguageModel() {
            let runs = Array(seeds.prefix(5))
            for (place, seed) in runs.enumerated() {
                try context.progress.report("language models", place, of: runs.count)
                let model = try language.model(seed: seed)
                try language.train(model, steps: 1000, learningRate: 1e-2, seed: seed)
                dense.append(language.perplexity(model, windows: 128))
                let decoder = try model.stored()
                let cut = try Pruner(Magnitude(), pattern: .unstructured(.layer), budget: UniformBudget(0.7)).prune(
                    decoder
                ).decoder
                for arm in Arm.allCases {
                    let student = try TrainableTransformer(cut, weight: TrainableTransformer.masked)
                    let teacher = try Distillation(
                        from: decoder, weight: arm == .predictions ? 0.5 : 0, features: arm == .features ? 1 : 0)
                    try tune(student, teacher, language, steps: 200, seed: seed)
                    perplexities[arm, default: []].append(language.perplexity(student, windows: 128))
                }
            }
            let (labels, features) = (Sample(perplexities[.labels]!), Sample(perplexities[.features]!))
            measurements += [
                Measurement("perplexity a character of the dense language model", Sample(dense)),
                Measurement(
                    "perplexity, 70 % removed, features beside the text", features, baseline: labels,
                    baselineName: "the text alone"),
                Measurement(
                    "… predictions beside the text", Sample(perplexities[.predictions]!), baseline: labels,
                    baselineName: "the text alone"),
            ]
            checks.append(
                Check("language model: features lose less than the text alone", features / labels, staysBelow: 1))
        } else {
            missing.append(RealData.austenIsMissing)
        }
        return Outcome(
            setting:
                "\(seeds.count) networks 64-128-128-128-128-10, pruned by magnitude in every layer and tuned for 100 epochs on 200 "
                + "examples under their masks; transformers of two blocks on 4096 characters of Jane Austen; one rate for all arms",
            measurements: measurements, checks: checks, notes: notes, missing: missing)
    }

    private func pruned(_ teacher: MLP, _ sparsity: Double) throws -> MLP {
        var generator = SeededGenerator(seed: 0)
        let student = MLP(widths: [64, 128, 128, 128, 128, 10], using: &generator)
        for (to, from) in zip(student.layers, teacher.layers) {
            let weight = from.weight.densified()
            to.weight = DenseWeight(weight)
            to.bias!.value = from.bias!.value
            try to.sparsify(
                .masked, mask: Selection.mask(magnitudesOf: weight, pattern: .unstructured(.layer), sparsity: sparsity))
        }
        return student
    }

    /// The features of all hidden layers, then the logits.
    private static func features(_ model: MLP, _ x: Variable<Float>) -> [Variable<Float>] {
        var states: [Variable<Float>] = []
        for (index, layer) in model.layers.enumerated() {
            let y = layer(states.last ?? x)
            states.append(index + 1 < model.layers.count ? y.relu() : y)
        }
        return states
    }

    private func tune(_ student: MLP, beside teacher: MLP, _ examples: LabelledExamples, _ arm: Arm, seed: UInt64)
        throws
    {
        let source = ShuffledBatches(examples, batchSize: 50, seed: seed)
        let steps = 100 * source.batchesPerEpoch!
        var plan = TrainingPlan(steps: steps, learningRate: .linear(from: 0.02, to: 0, steps: steps))
        plan.logEvery = steps
        let trainer = try Trainer(
            model: student, optimizer: SGD(learningRate: 0, momentum: 0.9), source: source, plan: plan,
            loss: { batch, tape in
                let x = tape.constant(batch.inputs)
                let own = Self.features(student, x)
                let loss = Loss.crossEntropy(own.last!, labels: batch.labels)
                if arm == .labels { return loss }
                let taught = tape.evaluating { Self.features(teacher, x) }
                if arm == .predictions { return loss + Loss.distillation(student: own.last!, teacher: taught.last!) }
                return zip(own, taught).dropLast().reduce(loss) {
                    $0 + Loss.featureDistance(student: $1.0, teacher: $1.1)
                }
            })
        try trainer.train()
    }

    private func tune(
        _ student: TrainableTransformer, _ teacher: Distillation, _ language: TinyLanguageModel, steps: Int,
        seed: UInt64
    ) throws {
        var plan = TrainingPlan(steps: steps, learningRate: .linear(from: 2e-3, to: 0, steps: steps))
        (plan.clipNorm, plan.logEvery, plan.seed) = (1, steps, seed)
        let text = Array(language.train.prefix(4096))
        let trainer = try Trainer(
            model: student, optimizer: Adam(learningRate: 0),
            source: TokenWindows(text, length: TinyLanguageModel.context, batchSize: 16, seed: seed), plan: plan,
            loss: { batch, tape in try teacher.loss(student, batch.ids, next: batch.next, batch: 16, on: tape) })
        try trainer.train()
    }
}
