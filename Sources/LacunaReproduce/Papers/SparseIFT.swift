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
        let seeds = (0..<(context.quick ? 5 : 8)).map { context.seed &* 1000 &+ UInt64($0) }
        let widenings = [2.0, 4, 8]
        let widths = [TeacherTask.features, 16, 16, TeacherTask.classes]
        var dense: [Double] = []
        var (moving, fixed) = (widenings.map { _ in [Double]() }, widenings.map { _ in [Double]() })
        var others = IsoFLOPLayers.Variant.allCases.map { _ in [Double]() }
        var ratios: [Double] = []
        // The check that every dynamic method must pass: 2 % density on a network that is large enough.
        var (large, staticLarge, dynamicLarge) = ([Double](), [Double](), [Double]())
        var (staticShare, dynamicShare) = ([Double](), [Double]())
        var recipe = ClassifierTraining()
        (recipe.usesAdam, recipe.learningRate) = (true, 2e-3)
        recipe.isConstant = true
        for (index, seed) in seeds.enumerated() {
            try context.progress.report("wide networks", index, of: seeds.count)
            let task = try TeacherTask(seed: seed)
            func fit(_ model: MLP, steps: Int, _ hook: (any TrainingHook)?) throws -> Double {
                var recipe = recipe
                recipe.steps = steps
                try recipe.train(model, task.train, hooks: hook.map { [$0] } ?? [], seed: seed)
                return ClassifierTraining.accuracy(model, task.test)
            }
            func fresh(_ widths: [Int]) -> MLP {
                var generator = SeededGenerator(seed: seed, stream: 3)
                return MLP(widths: widths, using: &generator)
            }
            /// Transformed and trained as `lacuna train` does it, at the cost of the dense network; wide for no variant.
            func transformed(_ variant: IsoFLOPLayers.Variant?, _ sparsity: Double) throws -> Double {
                let transformation = try SparseIFT(sparsity: sparsity)
                var settings = DropAndGrow.Settings(budget: UniformBudget(sparsity))
                settings.layers = variant == nil ? .all : .allButOutput
                let (model, method): (MLP, any TrainingMethod)
                if let variant {
                    (model, method) = (
                        fresh(widths), try IsoFLOPLayers(transformation, variant: variant, settings: settings)
                    )
                } else {
                    let wide = try IsoFLOPTraining(transformation, settings: settings)
                    (model, method) = (try wide.shaped(widths, examples: task.train, make: fresh), wide)
                }
                let found = try fit(model, steps: 2500, method)
                let cost = model.layers.reduce(0) { $0 + $1.weight.multiplyAdds }
                ratios.append(Double(cost) / Double(zip(widths, widths.dropFirst()).reduce(0) { $0 + $1.0 * $1.1 }))
                return found
            }
            dense.append(try fit(fresh(widths), steps: 2500, nil))
            for (place, k) in widenings.enumerated() {
                let sparsity = 1 - 1 / (k * k)
                moving[place].append(try transformed(nil, sparsity))
                let (wide, budget) = try SparseIFT(sparsity: sparsity).wide(widths)
                fixed[place].append(try fit(fresh(wide), steps: 2500, StaticRandomSparsity(budget: budget)))
            }
            for (place, variant) in IsoFLOPLayers.Variant.allCases.enumerated() {
                others[place].append(try transformed(variant, 0.75))
            }
            let big = [TeacherTask.features, 128, 128, TeacherTask.classes]
            let (still, alive) = (fresh(big), fresh(big))
            large.append(try fit(fresh(big), steps: 3000, nil))
            staticLarge.append(
                try fit(still, steps: 3000, StaticRandomSparsity(budget: ErdosRenyiBudget(0.98))))
            dynamicLarge.append(try fit(alive, steps: 3000, DropAndGrow(.init(budget: ErdosRenyiBudget(0.98)))))
            staticShare.append(task.relevantShare(still.layers[0]))
            dynamicShare.append(task.relevantShare(alive.layers[0]))
        }
        let (whole, wide, masked) = (Sample(dense), moving.map { Sample($0) }, fixed.map { Sample($0) })
        var measurements = widenings.indices.flatMap { place in
            let k = Int(widenings[place])
            return [
                Measurement(
                    "accuracy, \(k) x as wide, RigL", wide[place], baseline: whole, baselineName: "dense, same cost"),
                Measurement(
                    "accuracy, \(k) x as wide, fixed mask", masked[place], baseline: whole,
                    baselineName: "dense, same cost"),
            ]
        }
        measurements += zip(IsoFLOPLayers.Variant.allCases, others).map {
            Measurement(
                "accuracy, \($0.rawValue), s 0.75", Sample($1), baseline: whole, baselineName: "dense, same cost")
        }
        measurements += [
            Measurement(
                "accuracy of 200-128-128-4 at 2 % density, RigL", Sample(dynamicLarge), baseline: Sample(staticLarge),
                baselineName: "fixed mask"),
            Measurement("the same, dense", Sample(large)),
            Measurement(
                "share of first-layer connections to inputs that matter (chance 0.06), RigL", Sample(dynamicShare),
                baseline: Sample(staticShare), baselineName: "fixed mask"),
        ]
        let best = widenings.indices.max { wide[$0].mean < wide[$1].mean }!
        return Outcome(
            setting:
                "mean of \(seeds.count) seeds; a teacher on 12 of 200 inputs; 200-16-16-4 dense, or 2, 4, 8 times as wide and sparse",
            measurements: measurements,
            checks: [
                Check("the best wide network beats dense by a point", wide[best] - whole, exceeds: 0.01),
                Check("and the same network under a fixed mask", wide[best] - masked[best], exceeds: 0),
                Check(
                    "no transformation costs over 2 % more or less than dense",
                    ratios.map { abs($0 - 1) }.max() ?? .nan,
                    .atMost, 0.02),
                Check(
                    "at 2 % density RigL beats a fixed mask by 0.1", Sample(dynamicLarge) - Sample(staticLarge),
                    exceeds: 0.1),
                Check("and is no worse than dense", Sample(dynamicLarge) - Sample(large), exceeds: 0),
                Check("its connections find the inputs: 1.4 times chance", Sample(dynamicShare), exceeds: 1.4 * 0.06),
            ],
            notes: ["The last three are the check of the drop-and-grow engine: 3000 steps of Adam, ERK."])
    }
}
