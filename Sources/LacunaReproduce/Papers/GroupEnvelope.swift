import Lacuna

/// Checks the envelope's proximal map in closed form, and neurons removed with it on handwritten digits.
struct GroupEnvelopeReproduction: Reproduction {
    let shortName = "WGSEF"
    let paper = 105
    let title = "Learning k-Level Structured Sparse Neural Networks Using Group Envelope Regularization"
    let arXiv: String? = "2212.12921"
    let claim =
        "A convex envelope of 'at most k groups' trains networks towards a given number of neurons with negligible loss, and its "
        + "proximal map is cheap and exact."

    func run(_ context: ReproductionContext) throws -> Outcome {
        var v = [3, -2, 1.5, 0.5, -0.1]
        let singletons = (0..<5).map { [$0] }
        try GroupEnvelope(k: 2).prox(&v, groups: singletons, lambda: 1)
        let expected = [1.5, -0.833333, 0.333333, 0, 0]
        let goldenError = zip(v, expected).map { abs($0 - $1) }.max()!
        let norms = [3, 2, 1.5, 0.5, 0.1]
        let values = try [1.0, 2, 5].map { try GroupEnvelope(k: $0).value(norms: norms) }
        let valueError = zip(values, [25.205, 12.6025, 7.755]).map { abs($0 - $1) }.max()!
        var measurements = [
            Measurement("largest error of the proximal map against its closed form", measured: goldenError),
            Measurement("largest error of the value", measured: valueError),
        ]
        var checks = [
            Check("the proximal map is exact", goldenError, .less, 1e-5),
            Check("so is the value", valueError, .less, 1e-9),
        ]
        var notes: [String] = []
        if let path = RealData.file("digits/digits.csv") {
            let seeds = context.quick ? 2 : 5
            var (dense, envelope, magnitude) = (0.0, 0.0, 0.0)
            for index in 0..<seeds {
                try context.progress.report("digits", index, of: seeds)
                let seed = context.seed &* 100 &+ UInt64(index)
                let (train, test, _) = try TableFiles.classification(path, testFraction: 0.3, seed: seed)
                func network() -> MLP {
                    var generator = SeededGenerator(seed: seed, stream: 3)
                    return MLP(widths: [64, 64, 64, 10], using: &generator)
                }
                let recipe = ClassifierTraining()
                func finish(_ model: MLP, _ rows: [[Int]]) throws -> Double {
                    let small = NodeSearch.sliced(model, rows)
                    try recipe.train(small, train, seed: seed)
                    return ClassifierTraining.accuracy(small, test) / Double(seeds)
                }
                let plain = network()
                try recipe.train(plain, train, seed: seed)
                dense += ClassifierTraining.accuracy(plain, test) / Double(seeds)
                let regularized = network()
                let method = try EnvelopeRegularization(keep: 0.5, lambda: 0.05)
                try recipe.train(regularized, train, hooks: [method], seed: seed)
                envelope += try finish(regularized, method.strongestRows())
                let byNorm = try EnvelopeRegularization(keep: 0.5, lambda: 0)
                let control = network()
                try recipe.train(control, train, hooks: [byNorm], seed: seed)
                magnitude += try finish(control, byNorm.strongestRows())
            }
            measurements += [
                Measurement(
                    "accuracy on digits, half of the neurons, envelope", measured: envelope, baseline: dense,
                    baselineName: "dense"),
                Measurement(
                    "the same, largest norms without regularisation", measured: magnitude, baseline: dense,
                    baselineName: "dense"),
            ]
            checks.append(
                Check("half of the neurons go at a loss of at most a point", envelope, .atLeast, dense - 0.01))
            checks.append(
                Check("no worse than pruning by norm alone by over half a point", envelope, .atLeast, magnitude - 0.005)
            )
        } else {
            notes.append("Data/digits was not found from the working directory, so no network was trained.")
        }
        return Outcome(
            setting:
                "the closed forms; then 64-64-64-10 on 1797 digits, regularised, cut to 32 neurons a layer, trained on",
            measurements: measurements, checks: checks, notes: notes)
    }
}
