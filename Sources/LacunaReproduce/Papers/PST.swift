import Lacuna

/// Checks that learned scores of low rank choose better masks than magnitudes while a frozen network is tuned by a low-rank change.
struct PSTReproduction: Reproduction {
    let shortName = "PST"
    let paper = 43
    let title = "Parameter-Efficient Sparsity for Large Language Models Fine-Tuning"
    let arXiv: String? = "2205.11005"
    let claim =
        "Importance factored into low-rank and row and column parts, trained beside a low-rank update of frozen weights, prunes as well "
        + "as scores for every weight with a few percent of the trained numbers."

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = (0..<(context.quick ? 5 : 8)).map { context.seed &* 1000 &+ UInt64($0) }
        var found: [String: [Double]] = [:]
        var trained = (pst: 0, full: 0)
        let sparsities = [0.5, 0.9]
        for (place, seed) in seeds.enumerated() {
            try context.progress.report("classifiers", place, of: seeds.count)
            let task = BlobTask(seed: seed)
            var generator = SeededGenerator(seed: seed, stream: 43)
            let start = MLP(widths: [64, 128, 128, 10], using: &generator)
            try ClassifierTraining().train(start, task.train, seed: seed)
            // The task that is tuned for: turned inputs, classes by other names.
            let noise = Tensor<Float>(normal: [64, 64], standardDeviation: 0.06, using: &generator)
            var near = noise
            for i in 0..<64 { near[i, i] += 1 }
            let turn = try near.qr().q
            let names = Array(0..<10).shuffled(using: &generator)
            func turned(_ examples: LabelledExamples) throws -> LabelledExamples {
                try LabelledExamples(
                    inputs: examples.inputs.multiplied(by: turn), labels: examples.labels.map { Int32(names[Int($0)]) },
                    classes: 10)
            }
            let (train, test) = (try turned(task.train), try turned(task.test))
            var recipe = ClassifierTraining()
            (recipe.usesAdam, recipe.learningRate, recipe.steps) = (true, 3e-3, 700)
            func tuned(_ hooks: [any TrainingHook]) throws -> Double {
                var generator = SeededGenerator(seed: seed, stream: 44)
                let model = MLP(widths: [64, 128, 128, 10], using: &generator)
                for (to, from) in zip(model.layers.dropLast(), start.layers) {
                    to.weight = DenseWeight(from.weight.densified())
                    to.bias!.value = from.bias!.value
                }
                final class Counter: TrainingHook {
                    var count = 0
                    func beforeStep(_ run: TrainingRun) {
                        if run.step == 0 { count = run.model.trainableParameters.reduce(0) { $0 + $1.count } }
                    }
                }
                let counter = Counter()
                try recipe.train(model, train, hooks: hooks + [counter], seed: seed)
                if hooks.first is PST {
                    trained.pst = counter.count
                } else if hooks.isEmpty {
                    trained.full = counter.count
                }
                return ClassifierTraining.accuracy(model, test)
            }
            found["full", default: []].append(try tuned([]))
            for sparsity in sparsities {
                var plain = PST.Settings()
                (plain.lowRank, plain.structure) = (0, 0)
                let arms: [(String, any TrainingHook)] = [
                    ("PST", try PST(sparsity: sparsity)), ("magnitude", try PST(sparsity: sparsity, settings: plain)),
                    ("all weights", try GradualPruning(sparsity: sparsity, window: 0.1...0.7)),
                ]
                for (name, method) in arms { found["\(sparsity) \(name)", default: []].append(try tuned([method])) }
            }
        }
        func sample(_ name: String) -> Sample { Sample(found[name]!) }
        var measurements = [Measurement("accuracy, all weights tuned, none removed", sample("full"))]
        var checks: [Check] = []
        for sparsity in sparsities {
            let percent = "\(Int(sparsity * 100 + 0.5)) %"
            let (own, plain) = (sample("\(sparsity) PST"), sample("\(sparsity) magnitude"))
            measurements += [
                Measurement(
                    "accuracy, \(percent) removed, learned scores", own, baseline: plain,
                    baselineName: "magnitudes of the tuned weight"),
                Measurement("… all weights tuned under gradual magnitude pruning", sample("\(sparsity) all weights")),
            ]
            checks.append(
                Check(
                    "\(percent): learned scores give over 0.02 more accuracy than magnitudes", own - plain,
                    exceeds: 0.02))
        }
        measurements.append(
            Measurement(
                "trained numbers, PST", measured: Double(trained.pst), baseline: Double(trained.full),
                baselineName: "all weights"))
        checks.append(Check("with fewer trained numbers", Double(trained.pst), .less, Double(trained.full)))
        return Outcome(
            setting:
                "\(seeds.count) networks 64-128-128-10 of one task, tuned for another (inputs turned a little, classes renamed) by 700 steps of "
                + "Adam at 3e-3, the last layer new; ranks of 8",
            measurements: measurements, checks: checks,
            notes: [
                "At widths of 128 the factors of rank 8 are a quarter of the weights; at the authors' 768 they are about 4 %."
            ])
    }
}
