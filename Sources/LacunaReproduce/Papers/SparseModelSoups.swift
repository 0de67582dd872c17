import Lacuna

/// Checks that averaging copies retrained under one mask, after every round of pruning, beats one copy.
struct SparseModelSoupsReproduction: Reproduction {
    let shortName = "SMS"
    let paper = 33
    let title = "Sparse Model Soups: A Recipe for Improved Pruning via Model Averaging"
    let arXiv: String? = "2306.16788"
    let claim =
        "Averaging several copies that were retrained from one pruned network, before each further pruning, beats iterative "
        + "pruning, also with as much training."

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = context.quick ? 6 : 12
        let phases = 3
        var (plain, long, soup, candidates) = (0.0, 0.0, 0.0, 0.0)
        var (density, looseDensity) = (0.0, 0.0)
        for index in 0..<seeds {
            try context.progress.report("soups", index, of: seeds)
            let bed = NMTraining(seed: context.seed &* 1000 &+ UInt64(index))
            var noise = SeededGenerator(seed: bed.seed, stream: 0x50)
            // A fifth of the training labels is wrong.
            var train = try bed.task.train
            for i in 0..<train.count where noise.uniform() < 0.2 {
                train.labels[i] = Int32.random(in: 0..<10, using: &noise)
            }
            let start = bed.fresh()
            try ClassifierTraining().train(start, train, seed: bed.seed)
            func copy(_ model: MLP) -> MLP {
                let result = bed.fresh()
                for (to, from) in zip(result.layers, model.layers) {
                    to.weight = DenseWeight(from.dense!.parameter.value)
                    to.dense!.mask = from.dense!.mask
                    to.bias!.value = from.bias!.value
                }
                return result
            }
            func retrain(_ model: MLP, epochs: Int, seed: UInt64) throws {
                var recipe = ClassifierTraining()
                (recipe.epochs, recipe.batch, recipe.learningRate, recipe.warmUp) = (epochs, 32, 0.1, 0.1)
                for parameter in model.parameters { parameter.removeSlots() }
                try recipe.train(model, train, seed: seed)
            }
            let share = 1 - power(0.1, 1 / Double(phases))
            func accuracy(_ model: MLP) throws -> Double {
                ClassifierTraining.accuracy(model, try bed.task.test) / Double(seeds)
            }
            for epochs in [10, 30] {
                let model = copy(start)
                for phase in 0..<phases {
                    try IterativePruning.prune(model.layers, share: share)
                    try retrain(model, epochs: epochs, seed: bed.seed &+ UInt64(phase))
                }
                if epochs == 10 { plain += try accuracy(model) } else { long += try accuracy(model) }
            }
            let model = copy(start)
            for phase in 0..<phases {
                try IterativePruning.prune(model.layers, share: share)
                let copies = try (0..<3).map { number -> MLP in
                    let one = copy(model)
                    try retrain(one, epochs: 10, seed: bed.seed &+ UInt64(100 * phase + number))
                    return one
                }
                try SparseModelSoup.average(copies, into: model)
                if phase == phases - 1 { candidates += try copies.reduce(0) { try $0 + accuracy($1) / 3 } }
            }
            soup += try accuracy(model)
            density +=
                Double(model.layers.reduce(0) { $0 + SparsePattern(nonzerosOf: $1.weight.densified()).count })
                / Double(64 * 256 + 256 * 256 + 2560) / Double(seeds)
            // The control: networks pruned apart have other masks, and their mean is not sparse.
            let apart = try (0..<2).map { number -> MLP in
                let one = copy(start)
                try retrain(one, epochs: 5, seed: bed.seed &+ 1000 &+ UInt64(number))
                try IterativePruning.prune(one.layers, share: 0.9)
                return one
            }
            var union = 0
            for (a, b) in zip(apart[0].layers, apart[1].layers) {
                union += a.dense!.mask!.union(b.dense!.mask!).count
            }
            looseDensity += Double(union) / Double(64 * 256 + 256 * 256 + 2560) / Double(seeds)
        }
        return Outcome(
            setting:
                "mean of \(seeds) networks 64-256-256-10 on noisy blobs with 20 % wrong labels; 3 rounds of pruning to 90 %, 3 copies",
            measurements: [
                Measurement(
                    "accuracy at 90 %, soup", measured: soup, baseline: plain, baselineName: "iterative pruning"),
                Measurement("iterative pruning, three times the epochs", measured: long),
                Measurement("mean of the last candidates", measured: candidates),
                Measurement(
                    "density of the soup", measured: density, baseline: looseDensity,
                    baselineName: "mean of two pruned apart"),
            ],
            checks: [
                Check("the soup beats iterative pruning by over 0.01", soup - plain, .greater, 0.01),
                Check("and three times the training", soup, .greater, long),
                Check("and its own ingredients", soup, .greater, candidates),
                Check("it is as sparse as they are", density, .atMost, 0.1001),
                Check("while the mean of networks pruned apart is not", looseDensity, .greater, 0.11),
            ])
    }
}
