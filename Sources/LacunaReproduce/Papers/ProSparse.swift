import Lacuna

/// Checks that an L1 penalty that grows by sines costs less than one that is there at once, for as few activations, and that what it
/// trains runs with neurons left out.
struct ProSparseReproduction: Reproduction {
    let shortName = "ProSparse"
    let paper = 50
    let title =
        "ProSparse: Introducing and Enhancing Intrinsic Activation Sparsity within Large Language Models"
    let arXiv: String? = "2402.13516"
    let claim =
        "ReLU, an L1 penalty on activations whose weight grows in smooth stages, and a ReLU shifted in the end give high activation sparsity "
        + "at the quality of the dense model; a strong penalty at once does not."

    private struct Result {
        var accuracy, density, peak: Double
    }

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = (0..<(context.quick ? 5 : 10)).map { context.seed &* 1000 &+ UInt64($0) }
        let steps = context.quick ? 900 : 3500
        var found: [String: [Result]] = [:]
        for (place, seed) in seeds.enumerated() {
            try context.progress.report("classifiers", place, of: seeds.count)
            for name in ["none", "sudden", "sine", "weak sudden", "weak sine"] {
                found[name, default: []].append(try Self.result(seed: seed, name, steps: steps))
            }
        }
        func sample(_ name: String, _ value: (Result) -> Double) -> Sample { Sample((found[name] ?? []).map(value)) }
        var measurements: [Measurement] = []
        for (name, other, words) in [
            ("sine", "sudden", "weight growing by a sine"), ("weak sine", "weak sudden", "a third of the weight"),
        ] {
            measurements += [
                Measurement(
                    "accuracy, \(words)", sample(name, \.accuracy), baseline: sample(other, \.accuracy),
                    baselineName: "at once"),
                Measurement(
                    "activations that are not 0, \(words)", sample(name, \.density), baseline: sample(other, \.density),
                    baselineName: "at once"),
                Measurement(
                    "largest cross-entropy of 25 steps, \(words)", sample(name, \.peak),
                    baseline: sample(other, \.peak),
                    baselineName: "at once"),
            ]
        }
        measurements += [
            Measurement("accuracy without penalty", sample("none", \.accuracy)),
            Measurement("activations that are not 0 without penalty", sample("none", \.density)),
        ]
        var checks = [
            Check("less than a tenth of the activations is left", sample("sine", \.density), staysBelow: 0.1),
            Check(
                "no more of them than at once, by 0.5 points", sample("sine", \.density) - sample("sudden", \.density),
                staysBelow: 0.005),
            Check("the accuracy is higher", sample("sine", \.accuracy) - sample("sudden", \.accuracy), exceeds: 0),
            Check(
                "the loss peaks at less than half", sample("sine", \.peak) / sample("sudden", \.peak), staysBelow: 0.5),
            Check(
                "the accuracy is within 5 points of no penalty's",
                sample("none", \.accuracy) - sample("sine", \.accuracy), staysBelow: 0.05),
        ]
        var (notes, missing): ([String], [String]) = ([], [])
        if context.quick {
            notes.append("Language models, and running them, are part of the longer version.")
        } else {
            try language(context, Array(seeds.prefix(5)), &measurements, &checks, &missing)
        }
        notes.append(
            "Whether the authors' penalty is a sum or a mean they do not say; here it is a mean over neurons and tokens, and a weight of 0.3 "
                + "a neuron.")
        return Outcome(
            setting:
                "\(seeds.count) seeds: classifiers 32-256-10 of 30 normal clusters, Adam at 0.001 in batches of 128, \(steps) steps, the penalty "
                + "from 3/7 of them on, growing over as many"
                + (context.quick
                    ? "" : "; transformers of two blocks on Jane Austen, 1000 steps as they are and 1500 with ReLU"),
            measurements: measurements, checks: checks, notes: notes, missing: missing)
    }

    private static func result(seed: UInt64, _ name: String, steps: Int) throws -> Result {
        let model = try RectifiedNetwork.make(seed: seed)
        let train = try RectifiedNetwork.examples(seed: seed, count: 20_000)
        let test = try RectifiedNetwork.examples(seed: seed, count: 4000, stream: 1)
        let begin = steps * 3 / 7
        let weight = Double(RectifiedNetwork.width) * (name.hasPrefix("weak") ? 0.1 : 0.3)
        let end = name.hasSuffix("sudden") ? begin + 1 : 2 * begin
        var hooks: [any TrainingHook] = []
        if name != "none" {
            hooks = [
                try ProSparse(weight: StagedWeight([.init(weight: 0, end: begin), .init(weight: weight, end: end)]))
            ]
        }
        var plan = TrainingPlan(steps: steps, learningRate: .constant(1e-3))
        plan.seed = seed
        plan.logEvery = steps
        var losses: [Double] = []
        try Trainer(
            model: model, optimizer: Adam(learningRate: 1e-3),
            source: ShuffledBatches(train, batchSize: 128, seed: seed),
            plan: plan, hooks: hooks,
            loss: { batch, tape in
                let loss = Loss.crossEntropy(model(tape.constant(batch.inputs)), labels: batch.labels)
                losses.append(Double(loss.item))
                return loss
            }
        ).train()
        let peak =
            stride(from: begin, to: steps - 24, by: 25).map { losses[$0..<$0 + 25].reduce(0, +) / 25 }.max() ?? .nan
        return Result(
            accuracy: ClassifierTraining.accuracy(model, test),
            density: RectifiedNetwork.density(model, test.inputs).active, peak: peak)
    }

    /// A model of characters: SiLU, then ReLU, then with the penalty; run with what is 0, and what is small, left out.
    private func language(
        _ context: ReproductionContext, _ seeds: [UInt64], _ measurements: inout [Measurement], _ checks: inout [Check],
        _ missing: inout [String]
    ) throws {
        var values: [String: [Double]] = [:]
        func note(_ name: String, _ value: Double) { values[name, default: []].append(value) }
        for (place, seed) in seeds.enumerated() {
            try context.progress.report("language models", place, of: seeds.count)
            guard let language = try TinyLanguageModel() else {
                missing.append(SkippingTask.isMissing)
                return
            }
            let length = TinyLanguageModel.context
            let text = language.valid.prefix(64 * length).map { Int($0) }
            let start = try language.model(seed: seed)
            try language.train(start, steps: 1000, learningRate: 1e-2, seed: seed, progress: context.progress)
            let decoder = try start.stored()
            func loss(_ decoder: Transformer, _ gate: (any InputGate)?, _ meter: SkippingMeter? = nil) throws -> Double
            {
                try Perplexity.measure(decoder, tokens: text, window: length, gate: gate, meter: meter).loss
            }
            for (name, scale) in [("relu", 0.0), ("pro", 1)] {
                let model = try TrainableTransformer(decoder.rectified())
                let hook = try ProSparse(weight: ProSparse.stages(steps: 1500, scale: scale), shiftStep: 1400)
                try language.train(
                    model, steps: 1500, learningRate: 5e-3, hooks: scale > 0 ? [hook] : [], seed: seed &+ 1,
                    progress: context.progress)
                let result = try model.stored()
                let meter = SkippingMeter()
                let gate = try ActivationGate(rectified: result, above: scale > 0 ? hook.threshold : 0)
                note("\(name) loss", try loss(result, gate, meter))
                note("\(name) sparsity", meter.total(.down).sparsity)
                if scale > 0 { continue }
                note("exact", abs(try loss(result, gate) - loss(result, nil)))
            }
            // The same share of neurons left out of a model with SiLU that had as much training.
            let plain = try TrainableTransformer(decoder)
            try language.train(plain, steps: 1500, learningRate: 5e-3, seed: seed &+ 1, progress: context.progress)
            let silu = try plain.stored()
            note("silu loss", try loss(silu, nil))
            let configuration = silu.configuration
            func weights(_ roles: [LinearRole]) -> Double {
                roles.reduce(0) { $0 + Double(configuration.shape(of: $1, layer: 0).reduce(1, *)) }
            }
            let share = min(0.97, values["pro sparsity"]!.last!)
            let plan = try ActivationCalibrator(
                ActivationRequest("cats:\(share * weights([.up, .down]) / weights(LinearRole.allCases))"),
                allocation: .uniform
            ).plan(
                silu,
                calibration: CalibrationSet(
                    text: language.train.map { Int($0) }, sequences: 64, length: length, seed: seed))
            let (gated, gate) = try plan.applied(to: silu)
            note("cats loss", try loss(gated, gate))
        }
        func sample(_ name: String) -> Sample { Sample(values[name] ?? []) }
        measurements += [
            Measurement(
                "language: neurons left out on fresh text", sample("pro sparsity"), baseline: sample("relu sparsity"),
                baselineName: "ReLU without penalty"),
            Measurement(
                "language: loss a character with these left out", sample("pro loss"), baseline: sample("silu loss"),
                baselineName: "SiLU, all neurons"),
            Measurement("language: the same, ReLU without penalty", sample("relu loss")),
            Measurement("language: as many left out of SiLU by CATS", sample("cats loss")),
        ]
        checks += [
            Check(
                "language: more neurons are left out than by ReLU alone",
                sample("pro sparsity") - sample("relu sparsity"), exceeds: 0.1),
            Check(
                "language: the loss is within 5 % of SiLU's", sample("pro loss") / sample("silu loss"), staysBelow: 1.05
            ),
            Check(
                "language: leaving as many out untrained costs more", sample("cats loss") - sample("pro loss"),
                exceeds: 0),
            Check("language: leaving out zeros changes no loss", sample("exact").values.max() ?? 1, .less, 1e-4),
        ]
    }
}
