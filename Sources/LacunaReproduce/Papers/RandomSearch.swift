import Lacuna

/// Checks that a search over sub-networks by their loss at initialisation is worth no more than chance.
struct RandomSearchReproduction: Reproduction {
    let shortName = "RandomSearch"
    let paper = 10
    let title = "Random Search as a Baseline for Sparse Neural Network Architecture Search"
    let arXiv: String? = "2403.08265"
    let claim =
        "Highly sparse sub-networks keep much of a network's quality, and those that a random search picks end no better "
        + "than others of their size."

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = context.quick ? 2 : 3
        let sizes = [512, 128, 64, 32, 16]
        let trials = context.quick ? 100 : 500
        var (parentAccuracy, advantage) = (0.0, 0.0)
        var (searched, random, deviations) = (
            [Double](repeating: 0, count: sizes.count), [Double](repeating: 0, count: sizes.count),
            [Double](repeating: 0, count: sizes.count)
        )
        for index in 0..<seeds {
            let bed = NMTraining(seed: context.seed &* 1000 &+ UInt64(index))
            let widths = [BlobTask.features, 1024, BlobTask.classes]
            let parent = bed.fresh(widths: widths)
            func accuracy(_ model: MLP) throws -> Double {
                try ClassifierTraining().train(model, bed.task.train, seed: bed.seed)
                return ClassifierTraining.accuracy(model, try bed.task.test)
            }
            let batch = try bed.task.train.selecting(0..<256)
            for (row, size) in sizes.enumerated() {
                try context.progress.report("searching", index * sizes.count + row, of: seeds * sizes.count)
                let found = NodeSearch(trials: trials, seed: bed.seed).best(of: parent, kept: size, batch: batch)
                let mean = found.losses.reduce(0, +) / Double(found.losses.count)
                advantage = max(advantage, 1 - found.losses.min()! / mean)
                searched[row] += try accuracy(NodeSearch.sliced(parent, found.choice)) / Double(seeds)
                var generator = SeededGenerator(seed: bed.seed, stream: 0xA2)
                let others = try (0..<5).map { _ in
                    try accuracy(
                        NodeSearch.sliced(parent, NodeSearch.randomChoice(widths, kept: size, using: &generator)))
                }
                let average = others.reduce(0, +) / 5
                random[row] += average / Double(seeds)
                deviations[row] +=
                    (others.reduce(0) { $0 + ($1 - average) * ($1 - average) } / 4).squareRoot() / Double(seeds)
            }
            parentAccuracy += try accuracy(parent) / Double(seeds)
        }
        let rows = sizes.indices.map {
            Measurement(
                "accuracy of \(sizes[$0]) of 1024 nodes, searched", measured: searched[$0], baseline: random[$0],
                baselineName: "random, sd \((deviations[$0] * 10_000).rounded() / 10_000)")
        }
        var checks = sizes.indices.map {
            // Means over seeds of a winner and of five others differ by this much by chance, and accuracy is known to 0.005.
            Check(
                "at \(sizes[$0]) nodes the search gains no more than 2 sd", searched[$0] - random[$0], .less,
                max(2 * deviations[$0], 0.01))
        }
        checks.append(Check("64 of 1024 nodes keep accuracy within 0.03", random[2], .atLeast, parentAccuracy - 0.03))
        checks.append(Check("16 nodes do not", random[4], .less, parentAccuracy - 0.05))
        return Outcome(
            setting:
                "mean of \(seeds) networks 64-1024-10 on ten classes of noisy blobs; the best of \(trials) random choices by the loss "
                + "before training, against 5 random ones",
            measurements: rows + [
                Measurement("accuracy of the parent", measured: parentAccuracy),
                Measurement("largest relative advantage of a winner's loss before training", measured: advantage),
            ], checks: checks)
    }
}
