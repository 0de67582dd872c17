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

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = context.quick ? 1 : 3
        let rounds = context.quick ? 8 : 14
        let index = try PQIndex(p: 1, q: 2)
        var firstIndex = 0.0
        var adaptive = [(density: Double, accuracy: Double)](repeating: (0, 0), count: rounds)
        var fixed = adaptive
        var indices = [Double](repeating: 0, count: rounds)
        for seed in 0..<seeds {
            for arm in 0..<2 {
                try context.progress.report("pruning rounds", seed * 2 + arm, of: seeds * 2)
                let bed = NMTraining(seed: context.seed &* 1000 &+ UInt64(seed))
                let model = bed.fresh()
                let start = model.layers.map { ($0.weight.densified(), $0.bias!.value) }
                var recipe = ClassifierTraining()
                recipe.epochs = 10
                for round in 0..<rounds {
                    // Surviving weights go back to where they started; the mask stays.
                    for (layer, initial) in zip(model.layers, start) {
                        layer.dense!.parameter.value = initial.0
                        layer.bias!.value = initial.1
                        for parameter in layer.parameters { parameter.removeSlots() }
                    }
                    try recipe.train(model, bed.task.train, seed: bed.seed)
                    let accuracy = ClassifierTraining.accuracy(model, try bed.task.test) / Double(seeds)
                    let density = IterativePruning.density(model.layers) / Double(seeds)
                    let value = index.value(IterativePruning.activeValues(model.layers))
                    if arm == 0 {
                        if round == 0 { firstIndex += value / Double(seeds) }
                        indices[round] += value / Double(seeds)
                        adaptive[round] = (adaptive[round].density + density, adaptive[round].accuracy + accuracy)
                        try IterativePruning.prune(model.layers, share: index.pruneShare(index: value))
                    } else {
                        fixed[round] = (fixed[round].density + density, fixed[round].accuracy + accuracy)
                        try IterativePruning.prune(model.layers, share: 0.2)
                    }
                }
            }
        }
        func at(_ curve: [(density: Double, accuracy: Double)], _ density: Double) -> (
            density: Double, accuracy: Double
        ) {
            curve.min { abs($0.density - density) < abs($1.density - density) }!
        }
        let last = adaptive.last!
        let match = at(fixed, last.density)
        var generator = SeededGenerator(seed: 1)
        let gaussian = (0..<200_000).map { _ in Float(generator.normal()) }
        let normalIndex = index.value(gaussian)
        let difference = ((last.accuracy - match.accuracy) * 10_000).rounded() / 100
        return Outcome(
            setting:
                "mean of \(seeds) networks 64-256-256-10 on noisy blobs; \(rounds) rounds of 10 epochs from the first weights",
            measurements: [
                Measurement(
                    "index of normal numbers", measured: normalIndex, baseline: 1 - (2 / Double.pi).squareRoot(),
                    baselineName: "closed form"),
                Measurement("index of the trained weights", measured: firstIndex),
                Measurement("share kept in the first round", measured: adaptive[1].density),
                Measurement(
                    "accuracy at density \((last.density * 1000).rounded() / 1000), adaptive", measured: last.accuracy,
                    baseline: match.accuracy,
                    baselineName: "20 % a round, density \((match.density * 1000).rounded() / 1000)"),
                Measurement("accuracy before pruning", measured: adaptive[0].accuracy),
                Measurement(
                    "index in the last round", measured: indices.last!, baseline: indices[0], baselineName: "first"),
            ],
            checks: [
                Check(
                    "normal numbers have the index of the closed form",
                    abs(normalIndex - (1 - (2 / Double.pi).squareRoot())), .less, 2e-3),
                Check("trained weights are more compressible than normal ones", firstIndex, .greater, normalIndex),
                Check("the first round keeps about 58 %", abs(adaptive[1].density - 0.58), .less, 0.04),
                Check("the index falls while pruning", indices.last!, .less, indices[0]),
                Check(
                    "at equal density adaptive rates are no worse than 20 % a round by over 0.015", last.accuracy,
                    .atLeast, match.accuracy - 0.015),
                Check(
                    "at equal density adaptive rates are ahead by over 0.005", last.accuracy, .greater,
                    match.accuracy + 0.005),
            ],
            notes: [
                "At equal density adaptive and fixed rates differ here by \(difference) points of accuracy. The verdict does not ask "
                    + "for the authors' rise of the index before collapse."
            ])
    }
}
