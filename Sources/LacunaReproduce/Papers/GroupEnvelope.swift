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
        var missing: [String] = []
        var widest = 0
        let count = context.quick ? 5 : 10
        if let path = RealData.file("digits/digits.csv") {
            func method(
                _ lambda: Double, _ scope: EnvelopeRegularization.Scope = .layer,
                _ penalty: EnvelopeRegularization.Penalty = .envelope
            ) -> () throws -> EnvelopeRegularization? {
                { try EnvelopeRegularization(keep: 0.5, lambda: lambda, scope: scope, penalty: penalty) }
            }
            let strengths = [0.01, 0.03, 0.1]
            let arms: [() throws -> EnvelopeRegularization?] =
                [{ nil }, method(0.5), method(0), method(0.5, .neurons), method(0.5, .weights)]
                + strengths.map { method($0, .layer, .lasso) }
            var accuracy = arms.map { _ in [Double]() }
            var leftover = arms.map { _ in [Double]() }
            for index in 0..<count {
                try context.progress.report("digits", index, of: count)
                let seed = context.seed &* 100 &+ UInt64(index)
                let (train, test, _) = try TableFiles.classification(path, testFraction: 0.3, seed: seed)
                for (place, make) in arms.enumerated() {
                    var generator = SeededGenerator(seed: seed, stream: 3)
                    let model = MLP(widths: [64, 64, 64, 10], using: &generator)
                    var hooks: [any TrainingHook] = []
                    let method = try make()
                    if let method { hooks = [Leftover(method), method] }
                    try ClassifierTraining().train(model, train, hooks: hooks, seed: seed)
                    let network = NeuronRemoval.shrunk(model) ?? model
                    accuracy[place].append(ClassifierTraining.accuracy(network, test))
                    leftover[place].append((hooks.first as? Leftover)?.share ?? 0)
                    if method?.scope == .layer {
                        widest = max(widest, network.linears[0].layer.outputDimensions)
                    }
                }
            }
            let found = accuracy.map { Sample($0) }
            let (shares, controls) = (Sample(leftover[1]), Sample(leftover[2]))
            // The best of its strengths by the very accuracies that are compared.
            let lasso = found.suffix(strengths.count).max { $0.mean < $1.mean } ?? Sample([])
            measurements += [
                Measurement(
                    "accuracy on digits, half of the neurons, envelope", found[1], baseline: found[0],
                    baselineName: "dense"),
                Measurement(
                    "the same, largest norms without regularisation", found[2], baseline: found[0],
                    baselineName: "dense"),
                Measurement(
                    "the same, group lasso at the best of \(strengths.count) strengths", lasso, baseline: found[1],
                    baselineName: "envelope"),
                Measurement(
                    "the same, half of the neurons of both layers together", found[3], baseline: found[1],
                    baselineName: "of each"),
                Measurement(
                    "the same, half of the weights of both layers together", found[4], baseline: found[1],
                    baselineName: "half of the neurons of each"),
                Measurement(
                    "size of the removed half beside the other, just before", shares, baseline: controls,
                    baselineName: "without regularisation"),
            ]
            checks += [
                Check("the networks that are left have half of the neurons", Double(widest), .atMost, 32),
                Check("half of the neurons go at a loss of less than a point", found[1] - found[0], exceeds: -0.01),
                Check(
                    "no worse than pruning by norm alone by half a point", found[1] - found[2], exceeds: -0.005),
                Check(
                    "no worse than group lasso at its best strength by half a point", found[1] - lasso, exceeds: -0.005),
                Check("the envelope leaves less to remove", controls - shares, exceeds: 0),
            ]
        } else {
            missing.append(RealData.isMissing("digits", "no network was trained"))
        }
        return Outcome(
            setting:
                "the closed forms; then \(count) networks 64-64-64-10 on 1797 digits, 20 epochs each: three quarters of them "
                + "regularised (λ 0.5), then cut to 32 neurons a layer and trained on",
            measurements: measurements, checks: checks, missing: missing)
    }

    /// The norms of the rows that are about to be removed, over those that stay.
    private final class Leftover: TrainingHook {
        private let method: EnvelopeRegularization
        private(set) var share = Double.nan
        init(_ method: EnvelopeRegularization) { self.method = method }

        func beforeStep(_ run: TrainingRun) throws {
            guard run.step == run.totalSteps - Int(method.fineTune * Double(run.totalSteps)) else { return }
            var (gone, kept) = (0.0, 0.0)
            for (rows, entry) in zip(try method.strongestRows(), try method.layers.layers(of: run.model)) {
                let weight = entry.layer.weight.densified()
                for r in 0..<weight.rows {
                    let norm = (0..<weight.columns).reduce(0.0) { $0 + Double(weight[r, $1] * weight[r, $1]) }
                        .squareRoot()
                    if rows.contains(r) { kept += norm } else { gone += norm }
                }
            }
            share = gone / kept
        }
    }
}
