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
        let seeds = (0..<(context.quick ? 5 : 8)).map { context.seed &* 1000 &+ UInt64($0) }
        let sizes = [512, 128, 64, 32, 16]
        let trials = context.quick ? 100 : 500
        var parents: [Double] = []
        var advantages: [Double] = []
        var (searched, random, deviations) = (
            sizes.map { _ in [Double]() }, sizes.map { _ in [Double]() }, sizes.map { _ in [Double]() }
        )
        for (index, seed) in seeds.enumerated() {
            let bed = NMTraining(seed: seed)
            let widths = [BlobTask.features, 1024, BlobTask.classes]
            func parent() -> MLP { bed.fresh(widths: widths) }
            func accuracy(_ model: MLP) throws -> Double {
                try ClassifierTraining().train(model, bed.task.train, seed: bed.seed)
                return ClassifierTraining.accuracy(model, try bed.task.test)
            }
            for (row, size) in sizes.enumerated() {
                try context.progress.report("searching", index * sizes.count + row, of: seeds.count * sizes.count)
                let method = try RandomSearch(
                    keep: Double(size) / 1024, trials: trials, batch: 256, seed: bed.seed)
                searched[row].append(
                    try accuracy(method.shaped(widths, examples: bed.task.train) { bed.fresh(widths: $0) }))
                advantages.append(method.advantage)
                var generator = SeededGenerator(seed: bed.seed, stream: 0xA2)
                let others = Sample(
                    try (0..<5).map { _ in
                        try accuracy(
                            NodeSearch.sliced(parent(), NodeSearch.randomChoice(widths, kept: size, using: &generator)))
                    })
                random[row].append(others.mean)
                // Of one choice: the error of the mean of five times √5.
                deviations[row].append(others.standardError * 5.0.squareRoot())
            }
            parents.append(try accuracy(parent()))
        }
        let (winners, chances, whole) = (searched.map { Sample($0) }, random.map { Sample($0) }, Sample(parents))
        var measurements = sizes.indices.flatMap {
            [
                Measurement(
                    "accuracy of \(sizes[$0]) of 1024 nodes, searched", winners[$0], baseline: chances[$0],
                    baselineName: "random"),
                Measurement("deviation of a random choice's, \(sizes[$0]) nodes", Sample(deviations[$0])),
            ]
        }
        measurements += [
            Measurement("accuracy of the parent", whole),
            Measurement(
                "largest relative advantage of a winner's loss before training", measured: advantages.max() ?? .nan),
        ]
        var checks = sizes.indices.map {
            Check(
                "at \(sizes[$0]) nodes the search gains less than 2 deviations of a choice", winners[$0] - chances[$0],
                staysBelow: 2 * Sample(deviations[$0]).mean)
        }
        checks.append(Check("64 of 1024 nodes keep accuracy within 0.03", chances[2] - whole, exceeds: -0.03))
        checks.append(Check("16 nodes do not", chances[4] - whole, staysBelow: -0.05))
        return Outcome(
            setting:
                "mean of \(seeds.count) networks 64-1024-10 on ten classes of noisy blobs; the best of \(trials) random choices by the "
                + "loss before training, against 5 random ones",
            measurements: measurements, checks: checks)
    }
}
