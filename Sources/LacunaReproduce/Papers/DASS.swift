import Lacuna

/// Checks that scores find the weights that matter, and that a search with pruning inside decides otherwise than one without.
struct DASSReproduction: Reproduction {
    let shortName = "DASS"
    let paper = 26
    let title = "DASS: Differentiable Architecture Search for Sparse Neural Networks"
    let arXiv: String? = "2207.06968"
    let claim =
        "Architectures found for dense networks are not the best when they are pruned hard: a search with learned masks inside, by scores that "
        + "start at the weights' own sizes, finds ones that are 7.9 points more accurate at extreme sparsity."

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = (0..<5).map { context.seed &* 1000 &+ UInt64($0) }
        var (learned, random, magnitude) = ([Double](), [Double](), [Double]())
        for (index, seed) in seeds.enumerated() {
            try context.progress.report("scores", index, of: seeds.count)
            let bed = SupportBed(seed: seed)
            learned.append(try bed.recovery(.scaled, steps: 3000, seed: seed))
            if !context.quick { random.append(try bed.recovery(.random, steps: 3000, seed: seed)) }
            magnitude.append(
                bed.share(
                    try Selection.mask(
                        magnitudesOf: bed.student, pattern: .unstructured(.layer), sparsity: bed.sparsity)))
        }
        let sparsity = 0.95
        var chosen: [[MotifNetwork.Candidate]] = [[], []]
        var accuracy: [[Double]] = [[], []]
        var each = MotifNetwork.Candidate.allCases.map { _ in [Double]() }
        var weights: [[Double]] = [[], []]
        for (index, seed) in seeds.enumerated() {
            let task = try MotifTask(seed: seed)
            // What each candidate is worth when it is trained alone, at this sparsity.
            func retrained(_ candidate: MotifNetwork.Candidate) throws -> Double {
                var generator = SeededGenerator(seed: seed, stream: 0xDA55)
                let network = MotifNetwork(channels: 32, choice: candidate, using: &generator)
                // A pool has nothing to prune.
                try method(candidate == .pool ? 0 : sparsity, context).train(network, on: task.train, seed: seed)
                return ClassifierTraining.accuracy(network, task.test)
            }
            for candidate in MotifNetwork.Candidate.allCases {
                try context.progress.report("candidates", index * 3 + candidate.rawValue, of: seeds.count * 3)
                each[candidate.rawValue].append(try retrained(candidate))
            }
            for (arm, sparsity) in [0, sparsity].enumerated() {
                try context.progress.report("searches", index * 2 + arm, of: seeds.count * 2)
                var generator = SeededGenerator(seed: seed, stream: 0xDA5)
                let network = MotifNetwork(channels: 32, choice: nil, using: &generator)
                try method(sparsity, context).search(
                    network, training: task.train, validation: task.validation, seed: seed)
                let found = network.weights
                let best = MotifNetwork.Candidate(rawValue: found.indices.max { found[$0] < found[$1] }!)!
                chosen[arm].append(best)
                weights[arm].append(Double(found[MotifNetwork.Candidate.convolution.rawValue]))
                accuracy[arm].append(each[best.rawValue].last!)
            }
        }
        let (dense, sparse) = (Sample(accuracy[0]), Sample(accuracy[1]))
        func count(_ arm: Int, _ candidate: MotifNetwork.Candidate) -> Double {
            Double(chosen[arm].count { $0 == candidate })
        }
        /// Searches that chose what is most accurate when it is trained alone and pruned.
        func best(_ arm: Int) -> Double {
            Double(
                seeds.indices.count { seed in each.allSatisfy { $0[seed] <= each[chosen[arm][seed].rawValue][seed] } })
        }
        let names = ["pool", "separable convolution", "dense layer"]
        return Outcome(
            setting:
                "support: a teacher 64 -> 16 with a tenth of its weights, scores over frozen weights of which the others are distractors one and "
                + "a half times as large, 3000 steps; search: one place with three candidates on sequences of 32 symbols, classes that neighbours "
                + "tell, 95 % removed; \(seeds.count) seeds",
            measurements: [
                Measurement(
                    "share of the support found, scores from the weights", Sample(learned),
                    baseline: Sample(magnitude), baselineName: "magnitude")
            ]
                + (random.isEmpty
                    ? [] : [Measurement("share of the support found, scores from chance", Sample(random))])
                + names.indices.map {
                    Measurement("accuracy of the \(names[$0]) alone, 95 % removed", Sample(each[$0]))
                } + [
                    Measurement(
                        "accuracy of what the sparse search chose, 95 % removed", sparse, baseline: dense,
                        baselineName: "dense search"),
                    Measurement(
                        "weight of the convolution after the sparse search", Sample(weights[1]),
                        baseline: Sample(weights[0]), baselineName: "dense search"),
                    Measurement(
                        "searches of \(seeds.count) that chose what is best when sparse, sparse", measured: best(1),
                        baseline: best(0), baselineName: "dense search"),
                    Measurement(
                        "searches of \(seeds.count) that chose the convolution, sparse",
                        measured: count(1, .convolution), baseline: count(0, .convolution), baselineName: "dense search"
                    ),
                ],
            checks: [
                Check("learned scores find at least 0.95 of the support", Sample(learned), exceeds: 0.95),
                Check("magnitudes do not", Sample(magnitude), staysBelow: 0.1),
                Check(
                    "the sparse search chooses the candidate that is best when sparse, in at least 4 of 5", best(1),
                    .atLeast,
                    4),
                Check(
                    "what it chooses is better when sparse than what a dense search chooses", sparse - dense, exceeds: 0
                ),
            ],
            notes: [
                "A dense search chose "
                    + names.indices.map { place in
                        "the \(names[place]) \(chosen[0].count { $0.rawValue == place }) times"
                    }.joined(separator: ", ") + ".",
                "The authors search cells for CIFAR-10; the same search over such cells is in the library (`CellNetwork`), not measured here.",
            ])
    }

    /// Fewer passes than the authors', at larger rates: some hundred steps instead of thousands.
    private func method(_ sparsity: Double, _ context: ReproductionContext) throws -> DASS {
        var method = try DASS(sparsity: sparsity)
        let factor = context.quick ? 1 : 4
        (method.pretrain.epochs, method.prune.epochs, method.finetune.epochs) = (6 * factor, 3 * factor, 6 * factor)
        (method.pretrain.rate, method.finetune.rate) = (0.1, 0.1)
        method.bilevel.rate = 3e-3
        method.batch = 50
        method.layers = MotifNetwork.pruned
        return method
    }
}

/// A layer whose weights a teacher uses in a tenth of its places: there the student has them, elsewhere it has larger ones of no use.
private struct SupportBed {
    let teacher: Tensor<Float>
    let student: Tensor<Float>
    let support: SparsePattern
    var sparsity: Double { 1 - Double(support.count) / Double(student.count) }

    init(seed: UInt64) {
        var generator = SeededGenerator(seed: seed, stream: 0x5B)
        let places = Set(sampledPlaces(102, of: 16 * 64, using: &generator))
        let values = Tensor<Float>(normal: [16, 64], using: &generator)
        let others = Tensor<Float>(normal: [16, 64], standardDeviation: 1.5, using: &generator)
        let support = SparsePattern(rows: 16, columns: 64) { places.contains(Int32($0 * 64 + $1)) }
        self.support = support
        teacher = support.applied(to: values)
        student = teacher + others - support.applied(to: others)
    }

    func share(_ mask: SparsePattern) -> Double { Double(mask.intersection(support).count) / Double(support.count) }

    /// The share of the support that scores keep after learning by the squared error.
    func recovery(_ start: PopupScores.Start, steps: Int, seed: UInt64) throws -> Double {
        let layer = Linear(weight: DenseWeight(student))
        let network = OneLayer(layer)
        var plan = TrainingPlan(steps: steps, learningRate: .cosine(from: 0.1, to: 0, steps: steps))
        (plan.seed, plan.logEvery) = (seed, steps)
        try Trainer(
            model: network, optimizer: SGD(learningRate: 0.1, momentum: 0.9),
            source: GaussianBatches(dimensions: 64, batch: 64, seed: seed), plan: plan,
            hooks: [try PopupScores(sparsity: sparsity, start: start, layers: .all)],
            loss: { batch, tape in
                let x = tape.constant(batch)
                return (network.layer(x) - x.linear(tape.constant(teacher))).map(.square).mean()
            }
        ).train()
        return share(layer.dense!.mask!)
    }
}

private final class OneLayer: Module {
    let layer: Linear
    init(_ layer: Linear) { self.layer = layer }
}

/// Fresh rows of N(0, I) at every step.
private struct GaussianBatches: BatchSource {
    let dimensions: Int
    let batch: Int
    let seed: UInt64
    var batchesPerEpoch: Int? { nil }
    func batch(step: Int) -> Tensor<Float> {
        var generator = SeededGenerator(seed: seed, stream: 0x6A55 &+ UInt64(step))
        return Tensor(normal: [batch, dimensions], using: &generator)
    }
}
