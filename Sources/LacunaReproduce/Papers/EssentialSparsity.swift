import Lacuna

/// Checks that one-shot magnitude pruning is free up to a point and ruinous behind it, on small trained classifiers.
struct EssentialSparsityReproduction: Reproduction {
    let shortName = "EssentialSparsity"
    let paper = 64
    let title = "The Emergence of Essential Sparsity in Large Pre-trained Models: The Weights that Matter"
    let arXiv: String? = "2306.03805"
    let claim =
        "Large pre-trained models have an essential sparsity: one-shot removal of the smallest weights costs next to "
        + "nothing up to it, and quality falls sharply beyond. It exists for N:M patterns too; random masks have none."

    /// Loss of accuracy that still counts as none. Two points, because accuracy on 3000 samples is known to about one.
    private static let tolerance = 0.02
    private static let groups: [Pattern] = [.nm(n: 4, m: 8), .nm(n: 2, m: 4), .nm(n: 1, m: 4)]

    /// What one trained network gives.
    private struct Findings {
        var magnitude, random: SparsityCurve
        /// At each of the groups.
        var patterned: [Double] = []
        /// At 70, 80 and 90 %, trained on under the mask.
        var retrained: [Double] = []
        /// The share of the places of one-shot masks that those of iterative pruning have too, round by round.
        var overlaps: [Double] = []

        func at(_ sparsity: Double) -> Double { value(magnitude, sparsity) }
        func randomAt(_ sparsity: Double) -> Double { value(random, sparsity) }
        private func value(_ curve: SparsityCurve, _ sparsity: Double) -> Double {
            curve.points.first { abs($0.sparsity - sparsity) < 1e-9 }?.value ?? .nan
        }
    }

    private static let retrainedAt = [0.7, 0.8, 0.9]
    private static let rounds = 11

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = (0..<(context.quick ? 5 : 8)).map { context.seed &* 1000 &+ UInt64($0) }
        return outcome(
            try seeds.enumerated().map { index, seed in
                try context.progress.report("training and pruning", index, of: seeds.count)
                return try findings(seed: seed, quick: context.quick)
            })
    }

    private func findings(seed: UInt64, quick: Bool) throws -> Findings {
        let sweep = SparsitySweep(sparsities: (0..<19).map { Double($0) / 20 })
        let bed = NMTraining(seed: seed)
        let (network, test) = (try bed.trained(nil).model, try bed.task.test)
        // The output layer is left alone, as the authors leave heads and embeddings.
        let hidden = network.layers.dropLast().map { $0.weight.densified() }
        func accuracy(_ weights: [Tensor<Float>]) -> Double {
            for (layer, weight) in zip(network.layers, weights) { layer.dense?.parameter.value = weight }
            return ClassifierTraining.accuracy(network, test)
        }
        var found = Findings(
            magnitude: try sweep.run(hidden, method: Magnitude(), metric: .accuracy, evaluate: accuracy),
            random: try sweep.run(hidden, method: RandomPruning(seed: seed), metric: .accuracy, evaluate: accuracy))
        for pattern in Self.groups {
            var weights = hidden
            for layer in weights.indices {
                _ = try Magnitude().prune(
                    &weights[layer], statistics: nil, request: PruningRequest(pattern, layer: layer))
            }
            found.patterned.append(accuracy(weights))
        }
        /// The trained network anew.
        func copy() -> MLP {
            let model = bed.fresh()
            for (index, layer) in model.layers.enumerated() {
                layer.weight = DenseWeight(
                    index < hidden.count ? hidden[index] : network.layers[index].weight.densified())
                layer.bias!.value = network.layers[index].bias!.value
            }
            return model
        }
        // The short form prunes alone.
        if quick { return found }
        for sparsity in Self.retrainedAt {
            let model = copy()
            var recipe = ClassifierTraining()
            recipe.epochs = 10
            try recipe.train(
                model, bed.task.train, hooks: [OneShotPruning(budget: GlobalBudget(sparsity))], seed: seed)
            found.retrained.append(ClassifierTraining.accuracy(model, test))
        }
        found.overlaps = try overlaps(bed, with: copy)
        return found
    }

    /// Iterative pruning from the first weights, its masks beside one-shot ones of as many entries.
    private func overlaps(_ bed: NMTraining, with copy: @escaping () -> MLP) throws -> [Double] {
        let model = bed.fresh()
        var overlaps: [Double] = []
        let method = try RewoundPruning(rounds: Self.rounds, share: 0.2)
        method.ticket = { round in
            if round == 0 { return }
            let masks = model.layers.dropLast().map { $0.dense!.mask! }
            let one = copy()
            let density =
                Double(masks.reduce(0) { $0 + $1.count }) / Double(masks.reduce(0) { $0 + $1.rows * $1.columns })
            try OneShotPruning(budget: GlobalBudget(1 - density)).prune(one)
            let shared = zip(masks, one.layers).reduce(0) { $0 + $1.0.intersection($1.1.dense!.mask!).count }
            overlaps.append(Double(shared) / Double(max(masks.reduce(0) { $0 + $1.count }, 1)))
        }
        let source = ShuffledBatches(try bed.task.train, batchSize: 64, seed: bed.seed)
        let length = 20 * source.batchesPerEpoch!
        var plan = TrainingPlan(
            steps: length * Self.rounds,
            learningRate: .repeating(.linear(from: 0.05, to: 0, steps: length), every: length, times: Self.rounds))
        (plan.seed, plan.logEvery) = (bed.seed, plan.steps)
        try Trainer(
            model: model, optimizer: SGD(learningRate: 0, momentum: 0.9, weightDecay: 1e-4), source: source, plan: plan,
            hooks: [method],
            loss: { batch, tape in Loss.crossEntropy(model(tape.constant(batch.inputs)), labels: batch.labels) }
        ).train()
        return overlaps
    }

    private func outcome(_ found: [Findings]) -> Outcome {
        func sample(_ value: (Findings) -> Double) -> Sample { Sample(found.map(value)) }
        let dense = sample { $0.at(0) }
        let essential = sample { $0.magnitude.essentialSparsity(tolerance: Self.tolerance) ?? .nan }
        let control = sample { $0.random.essentialSparsity(tolerance: Self.tolerance) ?? .nan }
        let knee = sample { $0.magnitude.knee?.sparsity ?? .nan }
        var rows = [0.0, 0.3, 0.5, 0.7, 0.9].map { sparsity in
            Measurement(
                "accuracy with \(Int(sparsity * 100 + 0.5)) % removed by magnitude", sample { $0.at(sparsity) },
                baseline: sample { $0.randomAt(sparsity) }, baselineName: "at random")
        }
        rows += [
            Measurement(
                "essential sparsity (loss of at most 0.02)", essential, baseline: control, baselineName: "random mask"),
            Measurement("knee of the curve", knee),
        ]
        for (place, pattern) in Self.groups.enumerated() {
            rows.append(
                Measurement(
                    "accuracy at \(pattern)", sample { $0.patterned[place] }, baseline: dense, baselineName: "dense"))
        }
        let isWhole = found.allSatisfy { !$0.overlaps.isEmpty }
        for (place, sparsity) in Self.retrainedAt.enumerated() where isWhole {
            rows.append(
                Measurement(
                    "accuracy with \(Int(sparsity * 100 + 0.5)) % removed, trained on for 10 epochs",
                    sample { $0.retrained[place] }, baseline: sample { $0.at(sparsity) }, baselineName: "at once"))
        }
        let rounds = [0, 2, 4, 9]
        for round in rounds where isWhole {
            let density = power(0.8, Double(round + 1))
            rows.append(
                Measurement(
                    "places of one-shot masks that iterative pruning keeps too, \(Int(density * 100 + 0.5)) % kept",
                    sample { $0.overlaps[round] }, baseline: Sample(found.map { _ in density }), baselineName: "chance")
            )
        }
        let late =
            !isWhole
            ? []
            : [
                Check(
                    "training on moves the fall: 80 % is within 0.03 of dense", sample { $0.retrained[1] } - dense,
                    exceeds: -0.03),
                Check(
                    "masks of one-shot and iterative pruning agree less where more goes",
                    sample { $0.overlaps[rounds[0]] - $0.overlaps[rounds[3]] }, exceeds: 0),
            ]
        func pattern(_ place: Int) -> Sample { sample { $0.patterned[place] } }
        return Outcome(
            setting: "mean of \(found.count) networks 64-256-256-10 trained on ten classes of noisy blobs; one-shot, "
                + "globally over both hidden layers, always from the trained weights",
            measurements: rows,
            checks: [
                Check("magnitude pruning is free beyond 40 %", essential, exceeds: 0.4),
                Check("a random mask is not free at 10 %", control, staysBelow: 0.1),
                Check("the fall beyond is sharp: over 0.2 lost at 90 %", dense - sample { $0.at(0.9) }, exceeds: 0.2),
                Check("the knee does not lie before the essential sparsity", knee.mean, .atLeast, essential.mean),
                Check("free choice of half is no worse than 4:8", sample { $0.at(0.5) } - pattern(0), exceeds: 0),
                Check("4:8 is no worse than 2:4", pattern(0) - pattern(1), exceeds: 0),
                Check("2:4 is no worse than 1:4", pattern(1) - pattern(2), exceeds: 0),
            ] + late,
            notes: [
                "The authors read the sharp drop off a plot; here it is the last point of the grid (steps of 0.05) before "
                    + "the accuracy has fallen by more than 0.02.",
                "Their finding that more training data makes models more compressible does not show at this size and is "
                    + "not checked.",
            ] + (isWhole ? [] : ["Training on and iterative pruning are parts of the long form."]))
    }
}
