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
        let steps = context.quick ? 600 : 1000
        let blocks = LayerChoice.matching(["model.layers.*"])
        func train(_ dimensions: Int, _ method: GradualPruning?) throws -> Double {
            let model = try language.model(dimensions: dimensions, heads: 2, seed: context.seed)
            try language.train(
                model, steps: steps, learningRate: 3e-3, hooks: method.map { [$0] } ?? [], seed: context.seed)
            return logarithm(language.perplexity(model))
        }
        func method(_ a: Double, _ b: Double, _ s: Double) throws -> GradualPruning {
            try GradualPruning(sparsity: s, window: a...b, layers: blocks, interval: steps / 50)
        }
        try context.progress.report("language models", 0, of: 5)
        // The three windows have equal mean density: an early one ends less sparse.
        let middle = try method(0.25, 0.75, 0.8)
        func matched(_ a: Double, _ b: Double) throws -> GradualPruning {
            let unit = 1 - (try method(a, b, 1)).meanDensity
            return try method(a, b, min(0.99, (1 - middle.meanDensity) / unit))
        }
        let early = try matched(0, 0.25)
        let middleLoss = try train(96, middle)
        try context.progress.report("language models", 1, of: 5)
        let earlyLoss = try train(96, early)
        try context.progress.report("language models", 2, of: 5)
        let late = try method(0.75, 1, 0.8)
        let lateLoss = try train(96, late)
        try context.progress.report("language models", 3, of: 5)
        let fullLoss = try train(96, nil)
        // A dense model whose blocks have the mean size: 96 √0.5 is 68, two heads of even size.
        try context.progress.report("language models", 4, of: 5)
        let matchedLoss = try train(68, nil)
        return Outcome(
            setting:
                "character-level transformers of 2 layers and width 96 on two novels by Jane Austen, \(steps) steps; linear layers of "
                + "the blocks pruned by magnitude along a cubic ramp",
            measurements: [
                Measurement(
                    "validation loss, pruned in 25-75 % to 80 %", measured: middleLoss, baseline: fullLoss,
                    baselineName: "dense"),
                Measurement(
                    "pruned in 0-25 %, same mean size", measured: earlyLoss, baseline: middleLoss,
                    baselineName: "25-75 %"),
                Measurement(
                    "pruned in 75-100 % to 80 %", measured: lateLoss, baseline: middleLoss, baselineName: "25-75 %"),
                Measurement(
                    "dense with blocks of the mean size", measured: matchedLoss, baseline: middleLoss,
                    baselineName: "25-75 %"),
                Measurement(
                    "mean density as counted", measured: middle.measuredMeanDensity, baseline: middle.meanDensity,
                    baselineName: "closed form"),
            ],
            checks: [
                Check("25-75 % is within 2 % of the early window", middleLoss, .atMost, 1.02 * earlyLoss),
                Check("the run and its dense match agree within 3 %", abs(middleLoss / matchedLoss - 1), .atMost, 0.03),
                Check(
                    "the counted mean density is the closed form's to 0.01",
                    abs(middle.measuredMeanDensity - middle.meanDensity), .atMost, 0.01),
                Check(
                    "pruning late, without recovery, is worse although its mean size is larger", lateLoss, .greater,
                    middleLoss),
            ],
            notes: [
                "One seed of each run. `ScalingLaw` fits the authors' law; runs of as many sizes as that needs are not part of this."
            ])
    }
}
