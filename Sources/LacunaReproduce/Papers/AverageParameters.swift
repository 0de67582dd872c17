import Lacuna

/// Checks when to prune during training, and that the mean number of weights in use is what counts.
struct AverageParametersReproduction: Reproduction {
    let shortName = "AvgParam"
    let paper = 42
    let title =
        "The Journey Matters: Average Parameter Count over Pre-training Unifies Sparse and Dense Scaling Laws"
    let arXiv: String? = "2501.12486"
    let claim =
        "Pruning between 25 % and 75 % of training is near-optimal, and a sparse run reaches the loss of a dense one whose "
        + "size is the sparse run's mean size."

    func run(_ context: ReproductionContext) throws -> Outcome {
        guard let language = try TinyLanguageModel() else {
            return Outcome.notRun(missing: RealData.austenIsMissing)
        }
        let seeds = (0..<5).map { context.seed &* 1000 &+ UInt64($0) }
        let steps = context.quick ? 300 : 1000
        let blocks = LayerChoice.matching(["model.layers.*"])
        /// The loss, and the mean number of weights of the blocks in use.
        func train(
            _ dimensions: Int, _ method: GradualPruning?, steps: Int, seed: UInt64
        ) throws -> (loss: Double, size: Double) {
            let model = try language.model(dimensions: dimensions, heads: 2, seed: seed)
            try language.train(model, steps: steps, learningRate: 3e-3, hooks: method.map { [$0] } ?? [], seed: seed)
            let whole = try blocks.layers(of: model).reduce(0) {
                $0 + $1.layer.inputDimensions * $1.layer.outputDimensions
            }
            return (logarithm(language.perplexity(model)), Double(whole) * (method?.measuredMeanDensity ?? 1))
        }
        func method(_ window: ClosedRange<Double>, _ sparsity: Double, _ measure: GradualPruning.Measure) throws
            -> GradualPruning
        {
            try GradualPruning(
                sparsity: sparsity, window: window, measure: measure, layers: blocks, interval: max(1, steps / 50))
        }
        let middle = try method(0.25...0.75, 0.8, .steps)
        // Of equal mean density: an early window ends less sparse.
        let unit = 1 - (try method(0...0.25, 1, .steps)).meanDensity
        let early = min(0.99, (1 - middle.meanDensity) / unit)
        let arms: [(name: String, dimensions: Int, method: () throws -> GradualPruning?)] = [
            ("dense", 96, { nil }),
            ("25-75 % of the steps, to 80 %", 96, { try method(0.25...0.75, 0.8, .steps) }),
            ("25-75 % of the compute, to 80 %", 96, { try method(0.25...0.75, 0.8, .compute) }),
            ("0-25 % of the steps, same mean size", 96, { try method(0...0.25, early, .steps) }),
            ("75-100 % of the steps, to 80 %", 96, { try method(0.75...1, 0.8, .steps) }),
            // Blocks of the mean size: 96 √0.5 is 68, two heads of even size.
            ("dense with blocks of the mean size", 68, { nil }),
        ]
        var losses = arms.map { _ in [Double]() }
        var sizes = arms.map { _ in [Double]() }
        for (place, seed) in seeds.enumerated() {
            for (index, arm) in arms.enumerated() {
                try context.progress.report("language models", place * arms.count + index, of: seeds.count * arms.count)
                let found = try train(arm.dimensions, arm.method(), steps: steps, seed: seed)
                losses[index].append(found.loss)
                sizes[index].append(found.size)
            }
        }
        // The law, from dense runs of other sizes and lengths alone, has to know the sparse ones.
        var points: [ScalingLaw.Point] = []
        let (widths, lengths) = ([32, 48, 68, 96], [steps / 4, steps / 2, steps])
        for (index, width) in widths.enumerated() {
            for (place, length) in lengths.enumerated() {
                try context.progress.report(
                    "dense runs for the law", index * lengths.count + place, of: widths.count * lengths.count)
                let found = try train(width, nil, steps: length, seed: context.seed &* 1000 &+ 500)
                points.append(.init(parameters: found.size, tokens: Self.tokens(length), loss: found.loss))
            }
        }
        let fit = try ScalingLaw.fit(points)
        let samples = losses.map { Sample($0) }
        /// How far the law is off, relatively, for an arm's runs.
        func miss(_ index: Int) -> Sample {
            Sample(
                zip(losses[index], sizes[index]).map {
                    abs(fit.law.loss(parameters: $1, tokens: Self.tokens(steps)) / $0 - 1)
                })
        }
        let counted = sizes[1][0] / sizes[0][0]
        var measurements = zip(arms, samples).dropFirst().map { arm, sample in
            Measurement("validation loss, \(arm.name)", sample, baseline: samples[0], baselineName: "dense")
        }
        measurements += [1, 2, 3].map {
            Measurement("relative error of the law, fitted to dense runs, for \(arms[$0].name)", miss($0))
        }
        measurements.append(
            Measurement(
                "mean density as counted", measured: counted, baseline: middle.meanDensity, baselineName: "closed form")
        )
        return Outcome(
            setting:
                "mean of \(seeds.count) character-level transformers of 2 layers and width 96 on two novels by Jane Austen, \(steps) steps; "
                + "linear layers of the blocks pruned by magnitude along a cubic ramp; a law fitted to \(points.count) dense runs of 4 "
                + "widths and 3 lengths, one seed each",
            measurements: measurements,
            checks: [
                Check("25-75 % is within 2 % of the early window", samples[1] / samples[3], staysBelow: 1.02),
                Check(
                    "the run and its dense match agree within 3 %",
                    Sample((samples[1] / samples[5]).values.map { abs($0 - 1) }), staysBelow: 0.03),
                Check(
                    "the counted mean density is the closed form's to 0.01", abs(counted - middle.meanDensity), .atMost,
                    0.01),
                Check(
                    "pruning late, without recovery, is worse although its mean size is larger",
                    samples[4] - samples[1],
                    exceeds: 0),
                Check("the law of dense runs says the loss of sparse ones within 3 %", miss(1), staysBelow: 0.03),
            ],
            notes: [
                "The law found: L = \(Self.rounded(fit.law.irreducible)) + A / N^\(Self.rounded(fit.law.sizeExponent)) "
                    + "+ B / D^\(Self.rounded(fit.law.dataExponent)), N the mean number of weights of the blocks in use."
            ])
    }

    /// Tokens in so many steps.
    private static func tokens(_ steps: Int) -> Double {
        Double(steps * TinyLanguageModel.context * TinyLanguageModel.batch)
    }

    private static func rounded(_ value: Double) -> Double { (value * 1000).rounded() / 1000 }
}
