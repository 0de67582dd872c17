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
        let count = context.quick ? 5 : 12
        let epochs = context.quick ? 5 : 10
        let rounds = 3
        var accuracy: [String: [Double]] = [:]
        var (candidates, density, looseDensity) = ([Double](), [Double](), [Double]())
        for index in 0..<count {
            try context.progress.report("soups", index, of: count)
            let bed = NMTraining(seed: context.seed &* 1000 &+ UInt64(index))
            var noise = SeededGenerator(seed: bed.seed, stream: 0x50)
            // A fifth of the training labels is wrong.
            var train = try bed.task.train
            for i in 0..<train.count where noise.uniform() < 0.2 {
                train.labels[i] = Int32.random(in: 0..<10, using: &noise)
            }
            let test = try bed.task.test
            // Of the copies of the last round, before they are averaged.
            var last: [Double] = []
            /// Trains with a soup of some copies, each training of some epochs, and returns the network.
            func run(copies: Int, epochs: Int, watch: Bool = false) throws -> MLP {
                let model = bed.fresh()
                let method = try SoupPruning(sparsity: 0.9, rounds: rounds, copies: copies)
                let source = ShuffledBatches(train, batchSize: 32, seed: bed.seed)
                let length = epochs * source.batchesPerEpoch!
                let warm = length / 10
                var plan = TrainingPlan(
                    steps: length * method.phases,
                    learningRate: .repeating(
                        .warmUp(steps: warm, then: .linear(from: 0.1, to: 0, steps: length - warm)), every: length,
                        times: method.phases))
                plan.seed = bed.seed
                plan.logEvery = plan.steps
                let watcher = RoundWatch(from: length * (method.phases - copies), length: length) {
                    last.append(ClassifierTraining.accuracy(model, test))
                }
                try Trainer(
                    model: model, optimizer: SGD(learningRate: 0, momentum: 0.9, weightDecay: 1e-4), source: source,
                    plan: plan, hooks: watch ? [watcher, method] : [method],
                    loss: { batch, tape in Loss.crossEntropy(model(tape.constant(batch.inputs)), labels: batch.labels) }
                ).train()
                return model
            }
            func measure(_ name: String, _ model: MLP) {
                accuracy[name, default: []].append(ClassifierTraining.accuracy(model, test))
            }
            measure("plain", try run(copies: 1, epochs: epochs))
            measure("long", try run(copies: 1, epochs: 3 * epochs))
            let soup = try run(copies: 3, epochs: epochs, watch: true)
            measure("soup", soup)
            candidates.append(last.reduce(0, +) / Double(last.count))
            let all = Double(64 * 256 + 256 * 256 + 2560)
            density.append(
                Double(soup.layers.reduce(0) { $0 + SparsePattern(nonzerosOf: $1.weight.densified()).count }) / all)
            // The control: networks pruned apart have other masks, and their mean is not sparse.
            let start = bed.fresh()
            try ClassifierTraining().train(start, train, seed: bed.seed)
            let apart = try (0..<2).map { number -> MLP in
                let one = bed.fresh()
                for (to, from) in zip(one.layers, start.layers) {
                    to.weight = DenseWeight(from.dense!.parameter.value)
                    to.bias!.value = from.bias!.value
                }
                var recipe = ClassifierTraining()
                (recipe.epochs, recipe.batch, recipe.learningRate, recipe.warmUp) = (5, 32, 0.1, 0.1)
                try recipe.train(one, train, seed: bed.seed &+ 1000 &+ UInt64(number))
                try IterativePruning.prune(one.layers, share: 0.9)
                return one
            }
            looseDensity.append(
                Double(
                    zip(apart[0].layers, apart[1].layers).reduce(0) {
                        $0 + $1.0.dense!.mask!.union($1.1.dense!.mask!).count
                    })
                    / all)
        }
        func sample(_ name: String) -> Sample { Sample(accuracy[name] ?? []) }
        let (plain, long, soup) = (sample("plain"), sample("long"), sample("soup"))
        return Outcome(
            setting:
                "mean of \(count) networks 64-256-256-10 on noisy blobs with 20 % wrong labels; a dense beginning and 3 rounds of "
                + "pruning to 90 %, \(epochs) epochs and 3 copies each",
            measurements: [
                Measurement("accuracy at 90 %, soup", soup, baseline: plain, baselineName: "iterative pruning"),
                Measurement("iterative pruning, three times the epochs everywhere", long),
                Measurement("mean of the last candidates", Sample(candidates)),
                Measurement(
                    "density of the soup", Sample(density), baseline: Sample(looseDensity),
                    baselineName: "mean of two pruned apart"),
            ],
            checks: [
                Check("the soup beats iterative pruning", soup - plain, exceeds: 0),
                Check("and three times the training", soup - long, exceeds: 0),
                Check("and its own ingredients", soup - Sample(candidates), exceeds: 0),
                Check("it is as sparse as they are", Sample(density).mean, .atMost, 0.1001),
                Check("while the mean of networks pruned apart is not", Sample(looseDensity), exceeds: 0.11),
            ])
    }
}
