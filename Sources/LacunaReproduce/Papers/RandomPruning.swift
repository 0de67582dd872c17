import Lacuna

/// Checks that a random static mask with sensible layer ratios trains well, and better the wider the network.
struct RandomPruningReproduction: Reproduction {
    let shortName = "RandomPruning"
    let paper = 32
    let title =
        "The Unreasonable Effectiveness of Random Pruning: Return of the Most Naive Baseline for Sparse Training"
    let arXiv: String? = "2202.02643"
    let claim =
        "Networks pruned at random before training, with layer-wise ratios such as Erdős-Rényi-Kernel, match dense ones "
        + "when they are wide enough."

    func run(_ context: ReproductionContext) throws -> Outcome {
        let widths = [32, 64, 128, 256, 512]
        let count = context.quick ? 5 : 8
        let budgets: [(any SparsityBudget)?] = [nil, ErdosRenyiBudget(0.9), UniformBudget(0.9)]
        var table = widths.map { _ in budgets.map { _ in [Double]() } }
        for index in 0..<count {
            // One seed for data, weights, masks and batches.
            let seed = context.seed &* 1000 &+ UInt64(index)
            let task = BlobTask(seed: seed)
            for (row, width) in widths.enumerated() {
                try context.progress.report("random masks", index * widths.count + row, of: count * widths.count)
                for (arm, budget) in budgets.enumerated() {
                    var generator = SeededGenerator(seed: seed, stream: 3)
                    let model = MLP(widths: [BlobTask.features, width, width, BlobTask.classes], using: &generator)
                    let hooks = try budget.map { [try StaticRandomSparsity(budget: $0)] } ?? []
                    try ClassifierTraining().train(model, task.train, hooks: hooks, seed: seed)
                    table[row][arm].append(ClassifierTraining.accuracy(model, try task.test))
                }
            }
        }
        // The other ways to share out, at one width: saliency takes its counts from one batch, places are random all the same.
        let ways: [(name: String, make: () throws -> StaticRandomSparsity)] = [
            ("ERK+, the last layer dense", { try .init(budget: ErdosRenyiBudget(0.9, lastDensity: 1)) }),
            ("ratios of SNIP", { try .init(budget: UniformBudget(0.9), ratios: .snip) }),
            ("ratios of GraSP", { try .init(budget: UniformBudget(0.9), ratios: .grasp) }),
            ("ERK, weights not enlarged", { try .init(budget: ErdosRenyiBudget(0.9), rescalesWeights: false) }),
        ]
        var others = ways.map { _ in [Double]() }
        for index in 0..<count {
            try context.progress.report("other budgets", index, of: count)
            let seed = context.seed &* 1000 &+ UInt64(index)
            let task = BlobTask(seed: seed)
            let batch = try task.train.selecting(0..<256)
            for (place, way) in ways.enumerated() {
                var generator = SeededGenerator(seed: seed, stream: 3)
                let model = MLP(widths: [BlobTask.features, 256, 256, BlobTask.classes], using: &generator)
                let method = try way.make()
                method.exampleLoss = { tape in
                    Loss.crossEntropy(model(tape.constant(batch.inputs)), labels: batch.labels)
                }
                try ClassifierTraining().train(model, task.train, hooks: [method], seed: seed)
                others[place].append(ClassifierTraining.accuracy(model, try task.test))
            }
        }
        let samples = table.map { row in row.map { Sample($0) } }
        var measurements = zip(widths, samples).flatMap { width, row in
            [
                Measurement(
                    "accuracy, width \(width), ERK, 10 % kept", row[1], baseline: row[0], baselineName: "dense"),
                Measurement(
                    "accuracy, width \(width), uniform, 10 % kept", row[2], baseline: row[0], baselineName: "dense"),
            ]
        }
        measurements += zip(ways, others).map { way, accuracies in
            Measurement(
                "accuracy, width 256, \(way.name)", Sample(accuracies),
                baseline: samples[widths.firstIndex(of: 256)!][1],
                baselineName: "ERK")
        }
        let gaps = samples.map { $0[0] - $0[1] }
        var checks = zip(widths, samples).map { width, row in
            Check("ERK beats uniform at width \(width)", row[1] - row[2], exceeds: 0)
        }
        checks += zip(widths.dropFirst(), zip(gaps, gaps.dropFirst())).map { width, pair in
            Check("the gap to dense shrinks at width \(width)", pair.0 - pair.1, exceeds: 0)
        }
        checks.append(Check("at width 512 the gap is below 0.05", gaps.last!, staysBelow: 0.05))
        var missing: [String] = []
        let notes = ["Kept weights are enlarged by 1/√density at the start; counts are exact in every layer."]
        if let (train, test) = try RealData.fashionMNIST() {
            var accuracies = [[Double](), []]
            for index in 0..<5 {
                let seed = context.seed &* 1000 &+ UInt64(index)
                for (place, sparsity) in [nil, 0.9].enumerated() {
                    try context.progress.report("Fashion-MNIST", index * 2 + place, of: 10)
                    var generator = SeededGenerator(seed: seed, stream: 4)
                    let model = MLP(widths: [784, 512, 512, 10], using: &generator)
                    var recipe = ClassifierTraining()
                    recipe.epochs = context.quick ? 1 : 8
                    let hooks = try sparsity.map { [try StaticRandomSparsity(budget: ErdosRenyiBudget($0))] } ?? []
                    try recipe.train(model, train, hooks: hooks, seed: seed)
                    accuracies[place].append(ClassifierTraining.accuracy(model, test))
                }
            }
            let (dense, sparse) = (Sample(accuracies[0]), Sample(accuracies[1]))
            measurements.append(
                Measurement(
                    "accuracy on Fashion-MNIST, 784-512-512-10, ERK, 10 % kept, 5 seeds", sparse, baseline: dense,
                    baselineName: "dense"))
            checks.append(Check("on Fashion-MNIST within one point of dense", sparse - dense, exceeds: -0.01))
        } else {
            missing.append(RealData.fashionIsMissing)
        }
        return Outcome(
            setting:
                "mean of \(count) seeds; networks 64-w-w-10 on ten classes of noisy blobs, 20 epochs of SGD; 10 % of all "
                + "weights kept", measurements: measurements, checks: checks, notes: notes, missing: missing)
    }
}
