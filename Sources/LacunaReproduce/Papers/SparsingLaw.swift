import Lacuna

/// Checks that contributions measure activation sparsity better than magnitudes, at equal perplexity, and how it goes with training.
struct SparsingLawReproduction: Reproduction {
    let shortName = "SparsingLaw"
    let paper = 47
    let title = "Sparsing Law: Towards Large Language Models with Greater Activation Sparsity"
    let arXiv: String? = "2411.02335"
    let claim =
        "The share of neurons that a perplexity 1 % higher needs, their contributions to the output deciding which, is a measure under which models "
        + "compare: it needs fewer neurons than equal numbers in all layers or one threshold on activations. With training it falls to a limit for ReLU and "
        + "rises to one for SiLU."

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = (0..<5).map { context.seed &* 1000 &+ UInt64($0) }
        var values: [String: [Double]] = [:]
        func note(_ name: String, _ value: Double) { values[name, default: []].append(value) }
        func sample(_ name: String) -> Sample { Sample(values[name] ?? []) }
        for (place, seed) in seeds.enumerated() {
            try context.progress.report("tails and laws", place, of: seeds.count)
            for (name, spread) in [("alike", 0.0), ("unlike", 1)] {
                let (contribution, magnitude) = try Self.tails(seed: seed, spread: spread)
                note("\(name) contribution", contribution)
                note("\(name) magnitude", magnitude)
            }
            note("limit", try Self.refitted(seed: seed))
        }
        var measurements = [
            Measurement(
                "output lost with three quarters of the neurons, columns of unlike length",
                sample("unlike contribution"),
                baseline: sample("unlike magnitude"), baselineName: "by magnitude"),
            Measurement(
                "the same, columns of like length", sample("alike contribution"), baseline: sample("alike magnitude"),
                baselineName: "by magnitude"),
            Measurement("distance of a refitted limit from 0.07", sample("limit")),
        ]
        var checks = [
            Check(
                "unlike columns: half of what magnitudes lose",
                sample("unlike contribution") / sample("unlike magnitude"), staysBelow: 0.5),
            Check(
                "like columns: as much, within 5 %",
                (sample("alike contribution") / sample("alike magnitude")).values.map { abs($0 - 1) }.max() ?? 1, .less,
                0.05),
            Check("the limit of noisy points is found within 0.02", sample("limit"), staysBelow: 0.02),
        ]
        var missing: [String] = []
        var notes: [String] = []
        var setting = "5 seeds: parts 64-512-32 of ReLUs; laws from 15 points with 1 % noise"
        let steps = context.quick ? 96 : 3200
        var curves: [Activation: [[(tokens: Double, ratio: Double)]]] = [:]
        var isComplete = true
        for (place, seed) in seeds.enumerated() where isComplete {
            try context.progress.report("language models", place, of: seeds.count)
            for activation in [Activation.relu, .silu] {
                guard let curve = try Self.curve(seed: seed, activation, steps: steps, context, note) else {
                    isComplete = false
                    break
                }
                curves[activation, default: []].append(curve)
            }
        }
        if isComplete, let relu = curves[.relu], let silu = curves[.silu] {
            setting +=
                "; transformers of two blocks, width 48, gated parts of 128, on Jane Austen, \(steps) steps of 1024 characters, searched on 2048 characters "
                + "of other text"
            func last(_ curves: [[(tokens: Double, ratio: Double)]]) -> Sample {
                Sample(curves.map { $0.last?.ratio ?? .nan })
            }
            func change(_ curves: [[(tokens: Double, ratio: Double)]]) -> Sample {
                Sample(curves.map { ($0.last?.ratio ?? .nan) - ($0.first?.ratio ?? .nan) })
            }
            measurements += [
                Measurement("perplexity that was met, 1.01 wanted", sample("ratio")),
                Measurement(
                    "neurons needed, ReLU after training", last(relu), baseline: sample("top-k"),
                    baselineName: "as many in all layers"),
                Measurement("the same, one threshold on activations", sample("fat")),
                Measurement("neurons needed, SiLU after training", last(silu)),
                Measurement("change of it from a quarter of training on, ReLU", change(relu)),
                Measurement("the same, SiLU", change(silu)),
            ]
            checks += [
                Check(
                    "the perplexity is met within 0.1 %", sample("ratio").values.map { abs($0 - 1.01) }.max() ?? 1,
                    .less, 1e-3),
                Check("fewer neurons than as many in all layers", last(relu) - sample("top-k"), staysBelow: 0),
                Check("fewer than by one threshold", last(relu) - sample("fat"), staysBelow: 0),
                Check("ReLU needs fewer than SiLU", last(relu) - last(silu), staysBelow: 0),
            ]
            if !context.quick {
                checks.append(Check("with training ReLU needs fewer", change(relu), staysBelow: 0))
                checks.append(Check("SiLU does not", change(silu), exceeds: 0))
                for (form, curves) in [(ActivationLaw.Form.relu, relu), (.silu, silu)] {
                    // One curve of the means over seeds: single runs are too noisy for four unknowns.
                    let points = curves[0].indices.map { i in
                        (
                            tokens: curves[0][i].tokens,
                            ratio: curves.reduce(0) { $0 + $1[i].ratio } / Double(curves.count)
                        )
                    }
                    let (law, error) = try ActivationLaw.fit(form, points)
                    measurements.append(
                        Measurement("limit of the fitted law, \(form.rawValue)", measured: law.limit))
                    notes.append(
                        "\(form.rawValue): fitted to the means with α = \(Self.rounded(law.exponent)) and a root mean square error of \(Self.rounded(error))."
                    )
                }
            }
        } else {
            missing.append(SkippingTask.isMissing)
        }
        if !context.quick {
            var ratios: [Double] = []
            for seed in seeds {
                guard let task = try SkippingTask.smollm2(seed: seed) else { break }
                let search = try ActivationRatioSearch(
                    task.decoder, tokens: Array(task.tokens.prefix(1024)), length: 256, sampledTokens: 64)
                ratios.append(try search.find(.tailEnergy, tolerance: 1e-3).activationRatio)
            }
            if ratios.isEmpty {
                missing.append("SmolLM2 or WikiText-2 is not at hand, so their part was not run.")
            } else {
                measurements.append(Measurement("SmolLM2-135M, SiLU: neurons needed", Sample(ratios)))
            }
        }
        notes.append(
            "Laws of width over depth, and models of 0.1 to 1.2 billion parameters, are not part of this check.")
        return Outcome(setting: setting, measurements: measurements, checks: checks, notes: notes, missing: missing)
    }

    private static func rounded(_ value: Double) -> Double { (value * 1e4).rounded() / 1e4 }

    /// What is lost of the output with three quarters of tokens and neurons: the smallest contributions, the smallest magnitudes.
    private static func tails(seed: UInt64, spread: Double) throws -> (contribution: Double, magnitude: Double) {
        var random = SeededGenerator(seed: seed, stream: 47)
        let (inputs, neurons, width, tokens) = (64, 512, 32, 256)
        let scales = (0..<neurons).map { _ in Float(exponential(spread * random.normal())) }
        var down = Tensor<Float>(normal: [width, neurons], using: &random)
        // Columns of unit length first, so that "alike" is exact.
        for c in 0..<neurons {
            let norm = (0..<width).reduce(Float(0)) { $0 + down[$1, c] * down[$1, c] }.squareRoot()
            for r in 0..<width { down[r, c] *= scales[c] / norm }
        }
        let up = Tensor<Float>(normal: [neurons, inputs], standardDeviation: 0.125, using: &random)
        let x = Tensor<Float>(normal: [tokens, inputs], using: &random)
        let hidden = x.multiplied(by: up, otherTransposed: true).map { max($0, 0) }
        func quantile(_ values: [Float]) -> Float { values.sorted()[values.count * 3 / 4] }
        let matrix = try WeightStore.make(down, layout: .dense, values: .f32)
        let tail = try TailEnergy(hidden, down: matrix)
        let contributions = hidden.scalars.enumerated().map { $1 * tail.norms[$0 % neurons] }
        // A matrix of unit columns sees magnitudes; energies are those of the one there is.
        let line = quantile(hidden.scalars)
        let small = hidden.map { $0 <= line ? $0 : 0 }
        func norms(_ h: Tensor<Float>) -> [Double] {
            let y = h.multiplied(by: down, otherTransposed: true)
            return (0..<tokens).map { t in
                (0..<width).reduce(0.0) { $0 + Double(y[t, $1] * y[t, $1]) }.squareRoot()
            }
        }
        let magnitude = zip(norms(small), norms(hidden)).reduce(0) { $0 + $1.0 / $1.1 } / Double(tokens)
        return (tail(quantile(contributions)), magnitude)
    }

    private static func refitted(seed: UInt64) throws -> Double {
        var random = SeededGenerator(seed: seed, stream: 4700)
        let law = ActivationLaw(.relu, limit: 0.07, factor: 0.05, exponent: 0.3, offset: 0.5)
        let points = (0..<15).map { i -> (tokens: Double, ratio: Double) in
            let tokens = 1e6 * power(100, Double(i) / 14)
            return (tokens, law(tokens) * (1 + 0.01 * random.normal()))
        }
        return abs(try ActivationLaw.fit(.relu, points).law.limit - law.limit)
    }

    /// Measures a model while it is trained.
    private final class Watcher: TrainingHook {
        let steps: Set<Int>
        let measure: (TrainableTransformer) throws -> Double
        var found: [(step: Int, ratio: Double)] = []

        init(_ steps: [Int], _ measure: @escaping (TrainableTransformer) throws -> Double) {
            (self.steps, self.measure) = (Set(steps), measure)
        }

        func afterStep(_ run: TrainingRun) throws {
            guard steps.contains(run.step + 1), let model = run.model as? TrainableTransformer else { return }
            found.append((run.step + 1, try measure(model)))
        }
    }

    /// Ratios at some numbers of tokens; nil without the text.
    private static func curve(
        seed: UInt64, _ activation: Activation, steps: Int, _ context: ReproductionContext,
        _ note: (String, Double) -> Void
    ) throws -> [(tokens: Double, ratio: Double)]? {
        guard let language = try TinyLanguageModel() else { return nil }
        let length = TinyLanguageModel.context
        let text = language.valid.prefix(32 * length).map { Int($0) }
        var configuration = TransformerConfiguration(
            vocabularySize: language.vocabulary.count, hiddenSize: 48, intermediateSizes: [128, 128], headCount: 4,
            keyValueHeadCount: 4, headSize: 12, maximumPositions: length, tiedEmbeddings: true)
        configuration.activation = activation
        var random = SeededGenerator(seed: seed, stream: 471)
        let model = try TrainableTransformer(configuration, using: &random)
        func search(_ model: TrainableTransformer) throws -> ActivationRatioSearch {
            try ActivationRatioSearch(model.stored(), tokens: text, length: length, sampledTokens: 128)
        }
        let shares = context.quick ? [4] : [4, 6, 8, 11, 16, 23]
        let watcher = Watcher(shares.map { steps * $0 / 32 * (context.quick ? 2 : 1) }) {
            try search($0).find(.tailEnergy).activationRatio
        }
        try language.train(
            model, steps: steps, learningRate: 5e-3, hooks: [watcher], seed: seed, progress: context.progress)
        let last = try search(model)
        let found = try last.find(.tailEnergy)
        note("ratio", found.perplexityRatio)
        if activation == .relu {
            note("top-k", try last.find(.largest).activationRatio)
            note("fat", try last.find(.magnitude).activationRatio)
        }
        return (watcher.found + [(steps, found.activationRatio)]).map {
            (Double($0.step * length * 16), $0.ratio)
        }
    }
}
