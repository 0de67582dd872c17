import Lacuna

/// Checks that a decomposition finds the entries that a low-rank change lacks, and that weights can go by their change.
struct DSEEReproduction: Reproduction {
    let shortName = "DSEE"
    let paper = 66
    let title = "DSEE: Dually Sparsity-embedded Efficient Tuning of Pre-trained Language Models"
    let arXiv: String? = "2111.00160"
    let claim =
        "A low-rank update with a few sparse entries, on places that a decomposition of the pre-trained weight finds, tunes better than "
        + "low rank alone; the backbone can then be pruned by the update and tuned on at little loss."

    /// A pre-trained matrix of rank 4 with single entries that stand out, and what it is to become: its entries moved, and a
    /// change of rank 2.
    private struct Bed {
        let base: Tensor<Float>
        let goal: Tensor<Float>
        let places: [Int]
        static let n = 96

        init(seed: UInt64) {
            var generator = SeededGenerator(seed: seed, stream: 66)
            let n = Self.n
            var base = Tensor<Float>(normal: [n, 4], using: &generator).multiplied(
                by: Tensor(normal: [4, n], using: &generator))
            places = sampledPlaces(60, of: n * n, using: &generator).map { Int($0) }
            for place in places { base[place / n, place % n] += generator.uniform() < 0.5 ? 2 : -2 }
            base = base + Tensor(normal: [n, n], standardDeviation: 0.01, using: &generator)
            var goal =
                base + 0.3
                * Tensor<Float>(normal: [n, 2], using: &generator).multiplied(
                    by: Tensor(normal: [2, n], using: &generator))
            for place in places { goal[place / n, place % n] += 3 * Float(generator.normal()) }
            (self.base, self.goal) = (base, goal)
        }

        func recall(_ support: SparsePattern) -> Double {
            Double(places.count { support[$0 / Self.n, $0 % Self.n] }) / Double(places.count)
        }
    }

    private struct Nothing: BatchSource {
        func batch(step: Int) -> Int { step }
        var batchesPerEpoch: Int? { nil }
    }

    /// Tunes a layer to become the goal; what is left of the change's energy.
    private func left(_ bed: Bed, entries: Int, steps: Int, seed: UInt64) throws -> Double {
        var settings = DSEE.Settings()
        (settings.rank, settings.alpha, settings.entries, settings.decompositionRank, settings.pruneAt) = (
            2, 4, entries, 4, 1
        )
        let layer = Linear(weight: DenseWeight(bed.base))
        var identity = Tensor<Float>(zeros: [Bed.n, Bed.n])
        for i in 0..<Bed.n { identity[i, i] = 1 }
        let target = bed.goal.transposed()
        var plan = TrainingPlan(steps: steps, learningRate: .cosine(from: 2e-2, to: 0, steps: steps))
        (plan.logEvery, plan.seed) = (steps, seed)
        try Trainer(
            model: Sequential([layer]), optimizer: Adam(learningRate: 0), source: Nothing(), plan: plan,
            hooks: [try DSEE(settings: settings, layers: .all)],
            loss: { _, tape in (layer(tape.constant(identity)) - tape.constant(target)).map(.square).sum() }
        ).train()
        let (rest, whole) = ((layer.weight.densified() - bed.goal).norm(), (bed.base - bed.goal).norm())
        return Double(rest * rest / (whole * whole))
    }

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = (0..<5).map { context.seed &* 1000 &+ UInt64($0) }
        let steps = context.quick ? 600 : 1500
        var found: [String: [Double]] = [:]
        for (place, seed) in seeds.enumerated() {
            try context.progress.report("tuning", place, of: seeds.count)
            let bed = Bed(seed: seed)
            found["recall", default: []].append(bed.recall(try GoDec.decompose(bed.base, rank: 4, entries: 60).support))
            found["recall, rank too high", default: []].append(
                bed.recall(try GoDec.decompose(bed.base, rank: 64, entries: 60).support))
            found["recall of magnitudes", default: []].append(
                bed.recall(
                    try Selection.mask(
                        magnitudesOf: bed.base, pattern: .unstructured(.layer), sparsity: 1 - 60 / Double(Bed.n * Bed.n)
                    )))
            found["low rank", default: []].append(try left(bed, entries: 0, steps: steps, seed: seed))
            found["low rank and entries", default: []].append(try left(bed, entries: 60, steps: steps, seed: seed))

            // A classifier tuned for another task, its weights pruned in the middle.
            let task = BlobTask(seed: seed)
            var generator = SeededGenerator(seed: seed, stream: 67)
            let start = MLP(widths: [64, 128, 128, 10], using: &generator)
            try ClassifierTraining().train(start, task.train, seed: seed)
            var near = Tensor<Float>(normal: [64, 64], standardDeviation: 0.06, using: &generator)
            for i in 0..<64 { near[i, i] += 1 }
            let turn = try near.qr().q
            func turned(_ examples: LabelledExamples) throws -> LabelledExamples {
                try LabelledExamples(inputs: examples.inputs.multiplied(by: turn), labels: examples.labels, classes: 10)
            }
            let (train, test) = (try turned(task.train), try turned(task.test))
            for (name, score, fraction) in [
                ("none removed", .update, 0.0), ("by update", .update, 0.2), ("by chance", .random, 0.2),
                ("by weight", .weight, 0.2),
            ] as [(String, DSEE.Score, Double)] {
                let model = MLP(widths: [64, 128, 128, 10], using: &generator)
                for (to, from) in zip(model.layers, start.layers) {
                    to.weight = DenseWeight(from.weight.densified())
                    to.bias!.value = from.bias!.value
                }
                var settings = DSEE.Settings()
                (settings.rank, settings.alpha) = (8, 16)
                var recipe = ClassifierTraining()
                (recipe.usesAdam, recipe.learningRate, recipe.steps) = (true, 3e-3, context.quick ? 500 : 1000)
                try recipe.train(
                    model, train,
                    hooks: [
                        try DSEE(
                            settings: settings, removal: .weights(fraction), score: score, layers: .allButOutput,
                            seed: seed)
                    ], seed: seed)
                found[name, default: []].append(ClassifierTraining.accuracy(model, test))
            }
        }
        func sample(_ name: String) -> Sample { Sample(found[name]!) }
        return Outcome(
            setting:
                "\(seeds.count) matrices of 96 × 96 (rank 4, 60 entries of ±2, noise) that become others (rank 2 and the same entries "
                + "moved), \(steps) steps; as many networks 64-128-128-10 tuned for turned inputs, a fifth of the frozen weights taken out in "
                + "the middle of the run",
            measurements: [
                Measurement(
                    "share of the entries that are found", sample("recall"), baseline: sample("recall of magnitudes"),
                    baselineName: "the largest entries"),
                Measurement("… with a decomposition of rank 64", sample("recall, rank too high")),
                Measurement(
                    "part of the change that is left, low rank and entries", sample("low rank and entries"),
                    baseline: sample("low rank"), baselineName: "low rank alone"),
                Measurement(
                    "accuracy, a fifth of the weights gone by their change", sample("by update"),
                    baseline: sample("by chance"), baselineName: "by chance"),
                Measurement(
                    "… by their size", sample("by weight"), baseline: sample("none removed"), baselineName: "none gone"),
            ],
            checks: [
                Check("the decomposition finds nearly all", sample("recall"), exceeds: 0.95),
                Check("the largest entries are others", sample("recall of magnitudes"), staysBelow: 0.3),
                Check("too high a rank spoils it", sample("recall, rank too high"), staysBelow: 0.5),
                Check(
                    "entries leave less than a tenth of what low rank leaves",
                    sample("low rank and entries") / sample("low rank"), staysBelow: 0.1),
                Check(
                    "weights by their change cost less than by chance", sample("by update") - sample("by chance"),
                    exceeds: 0),
            ])
    }
}
