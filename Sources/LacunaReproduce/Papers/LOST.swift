import Lacuna

/// Checks low rank beside whole columns, and what of its gain comes from where it starts and from the nonlinearity.
struct LOSTReproduction: Reproduction {
    let shortName = "LOST"
    let paper = 115
    let title = "LOST: Low-rank and Sparse Pre-training for Large Language Models"
    let arXiv: String? = "2508.02668"
    let claim =
        "A low-rank product and some columns, both initialised from one singular value decomposition, pre-train better than low rank "
        + "at equal size and about as well as full matrices."

    private struct Nothing: BatchSource {
        func batch(step: Int) -> Int { step }
        var batchesPerEpoch: Int? { nil }
    }

    /// The relative squared error with which a weight fits a matrix of rank 8 plus three columns.
    private func fit(_ weight: ChannelLowRankWeight, _ target: Tensor<Float>, steps: Int) throws -> Double {
        let layer = Linear(weight: weight)
        var identity = Tensor<Float>(zeros: [target.columns, target.columns])
        for i in 0..<target.columns { identity[i, i] = 1 }
        // Constant for most of the way, as the largest entries are far from where they start.
        let fall = steps / 4
        var plan = TrainingPlan(
            steps: steps,
            learningRate: .delayed(by: steps - fall, initial: 2e-2, then: .cosine(from: 2e-2, to: 0, steps: fall)))
        plan.logEvery = steps
        try Trainer(
            model: Sequential([layer]), optimizer: Adam(learningRate: 0), source: Nothing(), plan: plan,
            loss: { _, tape in (layer(tape.constant(identity)) - tape.constant(target.transposed())).map(.square).sum()
            }
        ).train()
        let (rest, whole) = ((weight.densified() - target).norm(), target.norm())
        return Double(rest * rest / (whole * whole))
    }

    func run(_ context: ReproductionContext) throws -> Outcome {
        let n = 64
        let seeds = (0..<5).map { context.seed &* 1000 &+ UInt64($0) }
        let steps = 3000
        var (right, wrong, floor) = ([Double](), [Double](), [Double]())
        for (place, seed) in seeds.enumerated() {
            try context.progress.report("recovery", place, of: seeds.count)
            var generator = SeededGenerator(seed: seed, stream: 115)
            var target = Tensor<Float>(normal: [n, 8], using: &generator).multiplied(
                by: Tensor(normal: [8, n], standardDeviation: 1 / Float(8).squareRoot(), using: &generator))
            let columns = [5, 23, 48]
            for column in columns { for row in 0..<n { target[row, column] += Float(3 * generator.normal()) } }
            let method = try LOST(rank: 8, density: 3 / Double(n))
            func start(_ channels: [Int32]) throws -> ChannelLowRankWeight {
                let first = try method.weight(from: Tensor(normal: [n, n], standardDeviation: 0.1, using: &generator))
                return ChannelLowRankWeight(
                    a: first.a.value, b: first.b.value, values: first.values.value, channels: channels, mix: 0.7)
            }
            right.append(try fit(start(columns.map { Int32($0) }), target, steps: steps))
            wrong.append(try fit(start([11, 30, 60]), target, steps: steps))
            let s = try target.svd().s.map { Double($0 * $0) }
            floor.append(s.dropFirst(11).reduce(0, +) / s.reduce(0, +))
        }
        var measurements = [
            Measurement(
                "relative squared error, the right columns", Sample(right), baseline: Sample(wrong),
                baselineName: "other columns"),
            Measurement("least error of rank 8 and any three columns", Sample(floor)),
        ]
        var checks = [
            Check("the right columns fit", Sample(right), staysBelow: 1e-3),
            Check("other columns do not", Sample(wrong), exceeds: 1e-2),
        ]
        var (notes, missing): ([String], [String]) = ([], [])
        if context.quick {
            notes.append("Language models are part of the full run alone.")
        } else if let language = try TinyLanguageModel() {
            let runs = Array(seeds.prefix(3))
            let budget = 1000
            let (rank, density) = (24, 0.1)
            // Rank for rank: low rank alone has that of the columns' numbers more.
            let arms: [(String, () throws -> [any TrainingHook])] = [
                ("full", { [] }), ("LOST", { [try LOST(rank: rank, density: density)] }),
                ("LOST with SiLU", { [try LOST(rank: rank, density: density, activation: .silu)] }),
                ("low rank from the SVD", { [try LOST(rank: 30, density: 0, mix: 1)] }),
                ("low rank with SiLU", { [try LOST(rank: 30, density: 0, mix: 1, activation: .silu)] }),
                ("SLTrain", { [try SLTrain(rank: rank, alpha: 6, density: 0.1, layers: .allButOutput)] }),
            ]
            let rates = [3e-3, 1e-2, 2e-2]
            var perplexities = [[Double]](repeating: [], count: arms.count)
            var (best, parameters) = ([Double](repeating: 0, count: arms.count), [Int](repeating: 0, count: arms.count))
            for (place, seed) in runs.enumerated() {
                for (index, arm) in arms.enumerated() {
                    try context.progress.report(
                        "language models", place * arms.count + index, of: runs.count * arms.count)
                    var least = Double.infinity
                    // Every arm has the best of its rates, found with the first seed.
                    for rate in place == 0 ? rates : [best[index]] {
                        let model = try language.model(seed: seed)
                        try language.train(model, steps: budget, learningRate: rate, hooks: arm.1(), seed: seed)
                        let perplexity = language.perplexity(model, windows: 128)
                        if perplexity < least { (least, best[index]) = (perplexity, rate) }
                        parameters[index] = model.linears.reduce(0) {
                            $0 + $1.layer.weight.parameters.reduce(0) { $0 + $1.count }
                        }
                    }
                    perplexities[index].append(least)
                }
            }
            for (index, arm) in arms.enumerated() {
                measurements.append(
                    Measurement(
                        "perplexity a character, \(arm.0) (\(parameters[index]) numbers)", Sample(perplexities[index]),
                        baseline: Sample(perplexities[0]), baselineName: "full"))
            }
            notes.append("Rates: " + zip(arms, best).map { "\($0.0) \($1)" }.joined(separator: ", ") + ".")
            checks += [
                Check(
                    "ahead of low rank at about equal size", Sample(perplexities[1]) / Sample(perplexities[3]),
                    staysBelow: 1),
                Check(
                    "within 3 % of full matrices", Sample(perplexities[1]) / Sample(perplexities[0]),
                    staysBelow: 1.03),
                Check(
                    "with the nonlinearity too, at about equal size",
                    Sample(perplexities[2]) / Sample(perplexities[4]), staysBelow: 1),
            ]
        } else {
            missing.append(RealData.austenIsMissing)
        }
        return Outcome(
            setting:
                "\(seeds.count) targets of 64 × 64 (rank 8 and three columns), \(steps) steps of Adam; character-level transformers of two blocks "
                + "and width 96 on Jane Austen, rank 24 and a tenth of the columns, γ 0.7",
            measurements: measurements, checks: checks, notes: notes, missing: missing)
    }
}
