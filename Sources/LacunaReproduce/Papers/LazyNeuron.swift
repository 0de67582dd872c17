import Lacuna

/// Checks that activations of networks with ReLU become sparse by training alone, whatever the labels, and that a limit of k is no loss.
struct LazyNeuronReproduction: Reproduction {
    let shortName = "LazyNeuron"
    let paper = 70
    let title = "The Lazy Neuron Phenomenon: On Emergence of Activation Sparsity in Transformers"
    let arXiv: String? = "2210.06313"
    let claim =
        "Trained transformers with ReLU activate few neurons a token though nothing asks for it, in every layer and with random labels too, and not "
        + "because neurons died; descent makes activations smaller from the first step on. Keeping the k largest loses nothing."

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = (0..<(context.quick ? 5 : 8)).map { context.seed &* 1000 &+ UInt64($0) }
        var values: [String: [Double]] = [:]
        func note(_ name: String, _ value: Double) { values[name, default: []].append(value) }
        func sample(_ name: String) -> Sample { Sample(values[name] ?? []) }
        let steps = context.quick ? 600 : 3000
        for (place, seed) in seeds.enumerated() {
            try context.progress.report("classifiers", place, of: seeds.count)
            for (name, random) in [("classes", false), ("random labels", true)] {
                let model = try RectifiedNetwork.make(seed: seed)
                let train = try RectifiedNetwork.examples(seed: seed, count: 20_000, randomLabels: random)
                note("\(name) at first", RectifiedNetwork.density(model, train.prefix(2000).inputs).active)
                var recipe = ClassifierTraining()
                (recipe.usesAdam, recipe.learningRate, recipe.batch, recipe.isConstant) = (true, 3e-2, 128, true)
                recipe.steps = steps
                try recipe.train(model, train, seed: seed)
                let found = RectifiedNetwork.density(model, train.prefix(2000).inputs)
                note("\(name) at last", found.active)
                note("\(name) never", found.never)
            }
            note("gradient", try Self.gradient(seed: seed, networks: 20))
            for (name, value) in try Self.topK(seed: seed, steps: steps) { note(name, value) }
        }
        var measurements = [
            Measurement(
                "activations that are not 0 after training", sample("classes at last"),
                baseline: sample("classes at first"),
                baselineName: "before"),
            Measurement(
                "the same, random labels", sample("random labels at last"), baseline: sample("random labels at first"),
                baselineName: "before"),
            Measurement("neurons that are never active", sample("classes never")),
            Measurement(
                "mean gradient of an active neuron before training, in deviations of its mean", sample("gradient")),
            Measurement(
                "accuracy, at most 32 of 256 active", sample("top accuracy"), baseline: sample("accuracy"),
                baselineName: "any number"),
            Measurement(
                "calibration error, at most 32 active", sample("top error"), baseline: sample("error"),
                baselineName: "any number"),
        ]
        var checks = [
            Check(
                "less than a third of what was active at first", sample("classes at last") / sample("classes at first"),
                staysBelow: 1.0 / 3),
            Check(
                "random labels: fewer than at first",
                sample("random labels at last") - sample("random labels at first"), staysBelow: 0),
            Check("the first gradients make activations smaller", sample("gradient"), exceeds: 3),
            Check(
                "at most 32 active: within 2 points of accuracy", sample("top accuracy") - sample("accuracy"),
                exceeds: -0.02),
        ]
        var missing: [String] = []
        let notes = [
            "Better calibration and robustness of top-k are the authors' too; at this size the sheet of the paper leaves them open, and no check is made of "
                + "them: the calibration error is measured."
        ]
        let modelSteps = context.quick ? 80 : 3000
        for (place, seed) in seeds.prefix(5).enumerated() {
            try context.progress.report("language models", place, of: 5)
            guard let found = try Self.language(seed: seed, steps: modelSteps, context) else {
                missing.append(SkippingTask.isMissing)
                break
            }
            for (name, value) in found { note("language \(name)", value) }
        }
        if values["language at last"] != nil {
            measurements += [
                Measurement(
                    "transformer: activations that are not 0", sample("language at last"),
                    baseline: sample("language at first"),
                    baselineName: "before training"),
                Measurement("transformer: the sparsest layer", sample("language least")),
                Measurement("transformer: neurons that are never active", sample("language never")),
                Measurement(
                    "transformer: loss a character, at most an eighth active", sample("language top loss"),
                    baseline: sample("language loss"), baselineName: "any number"),
            ]
            checks += [
                Check(
                    "transformer: fewer activations than before",
                    sample("language at last") - sample("language at first"), staysBelow: 0),
                Check("transformer: not by dead neurons, fewer than 5 %", sample("language never"), staysBelow: 0.05),
                Check(
                    "transformer: at most an eighth active costs less than 3 %",
                    sample("language top loss") / sample("language loss"),
                    staysBelow: 1.03),
            ]
            if !context.quick {
                checks.append(
                    Check("transformer: less than a quarter in a layer", sample("language least"), staysBelow: 0.25))
            }
        }
        if !context.quick {
            var shares: [Double] = []
            for seed in seeds.prefix(5) {
                guard let task = try SkippingTask.smollm2(seed: seed) else { break }
                let length = 256
                let statistics = try ActivationStatistics(
                    task.decoder, tokens: Array(task.tokens.prefix(4 * length)), length: length, above: 0.1)
                shares.append(statistics.density)
            }
            if shares.isEmpty {
                missing.append("SmolLM2 or WikiText-2 is not at hand, so their part was not run.")
            } else {
                measurements.append(
                    Measurement("SmolLM2, a gated SiLU: activations above 0.1 in magnitude", Sample(shares)))
            }
        }
        return Outcome(
            setting:
                "\(seeds.count) seeds: classifiers 32-256-10 of 30 clusters, Adam at 0.03, \(steps) steps; transformers of two blocks, width 64, plain parts of "
                + "256 ReLUs, on Jane Austen, \(modelSteps) steps",
            measurements: measurements, checks: checks, notes: notes, missing: missing)
    }

    /// The mean over fresh networks of the gradient with respect to an active neuron, over the standard error of that mean.
    private static func gradient(seed: UInt64, networks: Int) throws -> Double {
        let means = try (0..<UInt64(networks)).map { index -> Double in
            let model = try RectifiedNetwork.make(seed: seed &* 100 &+ index)
            let examples = try RectifiedNetwork.examples(seed: seed &* 100 &+ index, count: 128)
            let tape = Tape<Float>()
            var hidden: Variable<Float>?
            model.sparsifier = { h in
                let leaf = tape.variable(h.value)
                hidden = leaf
                return leaf
            }
            tape.backward(from: Loss.crossEntropy(model(tape.constant(examples.inputs)), labels: examples.labels))
            guard let hidden, let gradient = hidden.gradient?.scalars else { return .nan }
            let values = hidden.value.scalars
            let active = values.indices.filter { values[$0] > 0 }
            return active.reduce(0.0) { $0 + Double(gradient[$1]) } / Double(active.count)
        }
        let found = Sample(means)
        return found.mean / found.standardError
    }

    private static func topK(seed: UInt64, steps: Int) throws -> [(String, Double)] {
        let train = try RectifiedNetwork.examples(seed: seed, count: 20_000)
        let test = try RectifiedNetwork.examples(seed: seed, count: 4000, stream: 1)
        var recipe = ClassifierTraining()
        (recipe.usesAdam, recipe.learningRate, recipe.batch, recipe.steps) = (true, 3e-3, 128, steps)
        let settings: [(String, Int?)] = [("", nil), ("top ", 32)]
        return try settings.flatMap { prefix, k -> [(String, Double)] in
            let model = try RectifiedNetwork.make(seed: seed)
            try recipe.train(model, train, hooks: try k.map { [try TopKActivation(k: $0)] } ?? [], seed: seed)
            let tape = Tape<Float>()
            let shares = tape.evaluating { model(tape.constant(test.inputs)).softmax().value }
            var (confidences, right) = ([Double](), [Bool]())
            for row in 0..<test.count {
                let best = (0..<10).max { shares[row, $0] < shares[row, $1] } ?? 0
                confidences.append(min(1, Double(shares[row, best])))
                right.append(Int32(best) == test.labels[row])
            }
            return [
                (prefix + "accuracy", Double(right.count { $0 }) / Double(right.count)),
                (prefix + "error", try CalibrationError.expected(confidences, isRight: right)),
            ]
        }
    }

    /// A transformer with plain parts of ReLUs: densities before and after training, and the losses of it and of one with few.
    private static func language(
        seed: UInt64, steps: Int, _ context: ReproductionContext
    ) throws -> [(String, Double)]? {
        guard let language = try TinyLanguageModel() else { return nil }
        let length = TinyLanguageModel.context
        let text = language.valid.prefix(32 * length).map { Int($0) }
        func model() throws -> TrainableTransformer {
            var configuration = TransformerConfiguration(
                architecture: .gpt2, vocabularySize: language.vocabulary.count, hiddenSize: 64,
                intermediateSizes: [256, 256],
                headCount: 4, keyValueHeadCount: 4, headSize: 16, maximumPositions: length, attentionBias: true,
                tiedEmbeddings: true)
            configuration.activation = .relu
            (configuration.hasGates, configuration.usesLayerNorms, configuration.learnsPositions) = (false, true, true)
            (configuration.feedForwardBias, configuration.attentionOutputBias) = (true, true)
            var random = SeededGenerator(seed: seed, stream: 70)
            return try TrainableTransformer(configuration, using: &random)
        }
        let plain = try model()
        let before = try ActivationStatistics(plain.stored(), tokens: text, length: length)
        try language.train(plain, steps: steps, learningRate: 5e-3, seed: seed, progress: context.progress)
        let decoder = try plain.stored()
        let after = try ActivationStatistics(decoder, tokens: text, length: length)
        let few = try model()
        try language.train(
            few, steps: steps, learningRate: 5e-3, hooks: [try TopKActivation(k: 32)], seed: seed,
            progress: context.progress)
        let small = try few.stored()
        return [
            ("at first", before.density), ("at last", after.density),
            ("least", after.layers.map(\.density).min() ?? .nan),
            ("never", after.layers.reduce(0) { $0 + $1.never } / Double(after.layers.count)),
            ("loss", try Perplexity.measure(decoder, tokens: text, window: length).loss),
            (
                "top loss",
                try Perplexity.measure(
                    small, tokens: text, window: length, gate: ActivationGate(rectified: small, largest: 32)
                ).loss
            ),
        ]
    }
}
