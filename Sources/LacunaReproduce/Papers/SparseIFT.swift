import Lacuna

/// Checks wider sparse networks against dense ones of the same cost, with connections that move and that do not.
struct SparseIFTReproduction: Reproduction {
    let shortName = "Sparse-IFT"
    let paper = 24
    let title = "Sparse Iso-FLOP Transformations for Maximizing Training Efficiency"
    let arXiv: String? = "2303.11525"
    let claim =
        "Replacing dense layers by larger sparse ones of the same cost, trained dynamically, raises accuracy at no extra "
        + "operations."

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = context.quick ? 3 : 8
        let widenings = [2.0, 4, 8]
        var dense = 0.0
        var (moving, fixed) = ([0.0, 0, 0], [0.0, 0, 0])
        var ratios: [Double] = []
        // The check that every dynamic method must pass: 2 % density on a network that is large enough.
        var (large, staticLarge, dynamicLarge) = (0.0, 0.0, 0.0)
        var (staticShare, dynamicShare) = (0.0, 0.0)
        var recipe = ClassifierTraining()
        (recipe.usesAdam, recipe.learningRate) = (true, 2e-3)
        recipe.isConstant = true
        for index in 0..<seeds {
            try context.progress.report("wide networks", index, of: seeds)
            let seed = context.seed &* 1000 &+ UInt64(index)
            let task = try TeacherTask(seed: seed)
            func train(
                _ widths: [Int], steps: Int, _ hook: (any TrainingHook)?
            ) throws -> (accuracy: Double, model: MLP) {
                var generator = SeededGenerator(seed: seed, stream: 3)
                let model = MLP(widths: widths, using: &generator)
                var recipe = recipe
                recipe.steps = steps
                try recipe.train(model, task.train, hooks: hook.map { [$0] } ?? [], seed: seed)
                return (ClassifierTraining.accuracy(model, task.test), model)
            }
            func dynamic(_ budget: any SparsityBudget) throws -> DropAndGrow { try DropAndGrow(.init(budget: budget)) }
            let widths = [TeacherTask.features, 16, 16, TeacherTask.classes]
            dense += try train(widths, steps: 2500, nil).accuracy / Double(seeds)
            for (place, k) in widenings.enumerated() {
                let (wide, budget) = try SparseIFT(sparsity: 1 - 1 / (k * k)).wide(widths)
                let result = try train(wide, steps: 2500, dynamic(budget))
                moving[place] += result.accuracy / Double(seeds)
                fixed[place] +=
                    try train(wide, steps: 2500, StaticRandomSparsity(budget: budget)).accuracy / Double(seeds)
                if index == 0 {
                    let cost = result.model.layers.reduce(0) { $0 + $1.weight.multiplyAdds }
                    ratios.append(Double(cost) / Double(zip(widths, widths.dropFirst()).reduce(0) { $0 + $1.0 * $1.1 }))
                }
            }
            if index < 3 {
                let big = [TeacherTask.features, 128, 128, TeacherTask.classes]
                large += try train(big, steps: 3000, nil).accuracy / 3
                let still = try train(big, steps: 3000, StaticRandomSparsity(budget: ErdosRenyiBudget(0.98)))
                let alive = try train(big, steps: 3000, dynamic(ErdosRenyiBudget(0.98)))
                staticLarge += still.accuracy / 3
                dynamicLarge += alive.accuracy / 3
                staticShare += task.relevantShare(still.model.layers[0]) / 3
                dynamicShare += task.relevantShare(alive.model.layers[0]) / 3
            }
        }
        var measurements = zip(widenings, zip(moving, fixed)).map { k, pair in
            Measurement(
                "accuracy, \(Int(k)) x as wide, RigL (fixed mask: \((pair.1 * 1000).rounded() / 1000))",
                measured: pair.0, baseline: dense, baselineName: "dense, same cost")
        }
        measurements.append(
            Measurement(
                "accuracy of 200-128-128-4 at 2 % density, RigL", measured: dynamicLarge, baseline: staticLarge,
                baselineName: "fixed mask"))
        measurements.append(Measurement("the same, dense", measured: large))
        measurements.append(
            Measurement(
                "share of first-layer connections to inputs that matter (chance 0.06), RigL", measured: dynamicShare,
                baseline: staticShare, baselineName: "fixed mask"))
        let best = zip(moving, fixed).max { $0.0 < $1.0 }!
        return Outcome(
            setting:
                "mean of \(seeds) seeds; a teacher on 12 of 200 inputs; 200-16-16-4 dense, or 2, 4, 8 times as wide and sparse",
            measurements: measurements,
            checks: [
                Check("the best wide network beats dense by a point", best.0 - dense, .atLeast, 0.01),
                Check("and the same network under a fixed mask", best.0, .greater, best.1),
                Check("its cost is within 2 % of dense", ratios.map { abs($0 - 1) }.max() ?? .nan, .atMost, 0.02),
                Check("at 2 % density RigL beats a fixed mask by 0.1", dynamicLarge - staticLarge, .atLeast, 0.1),
                Check("and is no worse than dense", dynamicLarge, .atLeast, large),
                Check("its connections find the inputs: 1.4 times chance", dynamicShare, .atLeast, 1.4 * 0.06),
            ],
            notes: [
                "The last three are the check of the drop-and-grow engine, on three seeds, 3000 steps of Adam, ERK."
            ])
    }
}
