import Lacuna

/// Checks the index of compressibility and the iterative pruning whose rate it sets.
struct PQIndexReproduction: Reproduction {
    let shortName = "SAP"
    let paper = 65
    let title = "Pruning Deep Neural Networks from a Sparsity Perspective"
    let arXiv: String? = "2302.05601"
    let claim =
        "The PQ index of the weights says how much of a network can be pruned; pruning as much as it says in every round beats "
        + "a fixed rate."

    /// What a network was at the end of each round, before it was pruned.
    private typealias Curve = [(density: Double, accuracy: Double, index: Double)]

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = (0..<(context.quick ? 5 : 8)).map { context.seed &* 1000 &+ UInt64($0) }
        let rounds = context.quick ? 8 : 14
        let (half, whole) = (try PQIndex(p: 0.5, q: 1), try PQIndex(p: 1, q: 2))
        let arms: [(name: String, make: () throws -> any TrainingHook)] = [
            ("a fifth a round", { try RewoundPruning(rounds: rounds, share: 0.2, layers: .all) }),
            ("p 1, q 2", { try AdaptivePruning(index: whole, rounds: rounds) }),
            ("p 1/2, q 1", { try AdaptivePruning(index: half, rounds: rounds) }),
            ("p 1, q 2, each layer by itself", { try AdaptivePruning(index: whole, rounds: rounds, scope: .layer) }),
        ]
        var curves = arms.map { _ in [Curve]() }
        for (place, seed) in seeds.enumerated() {
            for (arm, entry) in arms.enumerated() {
                try context.progress.report("pruning rounds", place * arms.count + arm, of: seeds.count * arms.count)
                curves[arm].append(try curve(entry.make(), rounds: rounds, index: whole, seed: seed))
            }
        }
        var generator = SeededGenerator(seed: context.seed, stream: 65)
        let normalIndex = whole.value((0..<200_000).map { _ in Float(generator.normal()) })
        let adaptive = curves[1]
        let first = Sample(adaptive.map { $0[0].index })
        let falls = Sample(adaptive.map { $0[0].index - $0.last!.index })
        let keeps = Sample(adaptive.map { $0[1].density })
        var measurements = [
            Measurement(
                "index of normal numbers", measured: normalIndex, baseline: 1 - (2 / Double.pi).squareRoot(),
                baselineName: "closed form"),
            Measurement("index of the trained weights", first),
            Measurement(
                "index in the last round", Sample(adaptive.map { $0.last!.index }), baseline: first,
                baselineName: "first"),
            Measurement("share kept in the first round", keeps),
            Measurement("accuracy before pruning", Sample(adaptive.map { $0[0].accuracy })),
        ]
        var differences: [Sample] = []
        for (arm, entry) in arms.enumerated().dropFirst() {
            let ends = curves[arm].map { $0.last! }
            // What the fixed rate has at the density that this seed's network came to.
            let matched = zip(ends, curves[0]).map { Self.accuracy(of: $1, at: $0.density) }
            let found = Sample(ends.map(\.accuracy))
            differences.append(found - Sample(matched))
            measurements += [
                Measurement(
                    "accuracy after \(rounds) rounds, \(entry.name)", found, baseline: Sample(matched),
                    baselineName: "a fifth a round at the same density"),
                Measurement("its density", Sample(ends.map(\.density))),
            ]
        }
        return Outcome(
            setting:
                "mean of \(seeds.count) networks 64-256-256-10 on noisy blobs; \(rounds) rounds of 10 epochs from the first weights",
            measurements: measurements,
            checks: [
                Check(
                    "normal numbers have the index of the closed form",
                    abs(normalIndex - (1 - (2 / Double.pi).squareRoot())), .less, 2e-3),
                Check("trained weights are more compressible than normal ones", first, exceeds: normalIndex),
                Check("the first round keeps over 54 %", keeps, exceeds: 0.54),
                Check("and below 62 %", keeps, staysBelow: 0.62),
                Check("the index falls while pruning", falls, exceeds: 0),
                Check(
                    "at equal density adaptive rates are no worse than a fifth a round by over 0.015", differences[0],
                    exceeds: -0.015),
                Check("at equal density adaptive rates are ahead by over 0.005", differences[0], exceeds: 0.005),
            ],
            notes: [
                "Between two rounds of the fixed rate accuracy is taken to be linear in the logarithm of density. The verdict does not ask for "
                    + "the authors' rise of the index before collapse."
            ])
    }

    /// Trains in rounds that each begin a schedule anew.
    private func curve(
        _ method: any TrainingHook, rounds: Int, index: PQIndex, seed: UInt64
    ) throws -> Curve {
        let bed = NMTraining(seed: seed)
        let (model, test) = (bed.fresh(), try bed.task.test)
        let source = ShuffledBatches(try bed.task.train, batchSize: 64, seed: seed)
        let length = 10 * source.batchesPerEpoch!
        var plan = TrainingPlan(
            steps: length * rounds,
            learningRate: .repeating(.linear(from: 0.05, to: 0, steps: length), every: length, times: rounds))
        (plan.seed, plan.logEvery) = (seed, plan.steps)
        var curve: Curve = []
        let watch = RoundWatch(length: length) {
            curve.append(
                (
                    IterativePruning.density(model.layers), ClassifierTraining.accuracy(model, test),
                    index.value(IterativePruning.activeValues(model.layers))
                ))
        }
        try Trainer(
            model: model, optimizer: SGD(learningRate: 0, momentum: 0.9, weightDecay: 1e-4), source: source, plan: plan,
            hooks: [watch, method],
            loss: { batch, tape in Loss.crossEntropy(model(tape.constant(batch.inputs)), labels: batch.labels) }
        ).train()
        return curve
    }

    /// The accuracy of a falling curve at a density, that of its end beyond it.
    private static func accuracy(of curve: Curve, at density: Double) -> Double {
        guard let below = curve.firstIndex(where: { $0.density <= density }) else { return curve.last!.accuracy }
        if below == 0 { return curve[0].accuracy }
        let (a, b) = (curve[below - 1], curve[below])
        let share = logarithm(a.density / density) / logarithm(a.density / b.density)
        return a.accuracy + share * (b.accuracy - a.accuracy)
    }
}
