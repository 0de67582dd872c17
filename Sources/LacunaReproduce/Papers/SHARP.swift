import Lacuna

/// Checks class-incremental learning by ageing units and replayed activations.
struct SHARPReproduction: Reproduction {
    let shortName = "SHARP"
    let paper = 51
    let title = "SHARP: Sparsity and Hidden Activation RePlay for Neuro-Inspired Continual Learning"
    let arXiv: String? = "2305.18563"
    let claim =
        "A sparse network whose important units are frozen as they age, and which replays activations of the most recent tasks "
        + "alone, learns classes in sequence far better than training in sequence does, without keeping inputs."

    func run(_ context: ReproductionContext) throws -> Outcome {
        let count = context.quick ? 5 : 8
        var accuracy = [String: [Double]]()
        var (changes, free) = ([Double](), [Double]())
        for index in 0..<count {
            let seed = context.seed &* 1000 &+ UInt64(index)
            guard let stream = try TaskSequences.splitDigits(seed: seed) else {
                return Outcome.notRun(missing: TaskSequences.missing)
            }
            func plan(_ task: Int) -> TrainingPlan {
                let steps = 30 * ((stream.train[task].count + 63) / 64)
                var plan = TrainingPlan(steps: steps, learningRate: .constant(1e-3))
                plan.seed = seed &+ UInt64(100 * task)
                plan.logEvery = steps
                return plan
            }
            let training = ContinualTraining(stream, batch: 64)
            for (place, replay) in [50, 0].enumerated() {
                try context.progress.report("ageing networks", 2 * index + place, of: 2 * count)
                var settings = SHARP.Settings()
                settings.replay = replay
                let method = try SHARP(settings)
                var generator = SeededGenerator(seed: seed, stream: 3)
                try method.prepare(MLP(widths: [64, 128, 128, 128], using: &generator), stream: stream)
                var watch = Watch()
                let matrix = try training.run(method) { task in
                    if replay > 0, let network = method.ageing { watch.look(network, stream, after: task - 1) }
                    return (Adam(), plan(task))
                }
                accuracy[replay > 0 ? "sharp" : "no replay", default: []].append(matrix.finalAverage)
                guard replay > 0, let network = method.ageing else { continue }
                watch.look(network, stream, after: stream.count - 1)
                changes.append(watch.change)
                let ages = network.ages.flatMap(\.self)
                free.append(Double(ages.count { $0 == 0 }) / Double(ages.count))
            }
            var generator = SeededGenerator(seed: seed, stream: 3)
            let naive = SequentialTraining(.class)
            try naive.prepare(MLP(widths: [64, 128, 128, 10], using: &generator), stream: stream)
            accuracy["sequence", default: []].append(
                try training.run(naive) { (Adam(), plan($0)) }.finalAverage)
            let joint = MLP(widths: [64, 128, 128, 10], using: &generator)
            let all = try LabelledExamples(
                inputs: Tensor(
                    stream.train.flatMap(\.inputs.scalars), shape: [stream.train.reduce(0) { $0 + $1.count }, 64]),
                labels: stream.train.flatMap(\.labels), classes: 10)
            var recipe = ClassifierTraining()
            (recipe.usesAdam, recipe.learningRate, recipe.epochs) = (true, 1e-3, 30)
            try recipe.train(joint, all, seed: seed)
            accuracy["joint", default: []].append(
                stream.test.reduce(0) { $0 + ClassifierTraining.accuracy(joint, $1) } / Double(stream.count))
        }
        func sample(_ name: String) -> Sample { Sample(accuracy[name] ?? []) }
        let (sharp, bare, sequence, joint) = (
            sample("sharp"), sample("no replay"), sample("sequence"), sample("joint")
        )
        return Outcome(
            setting:
                "mean of \(count) networks 64-128-128-128 on 1797 digits in five tasks of two; 30 epochs of Adam a task, 40 % of the "
                + "connections, 50 activations of each class of the last task; all ten digits compete in tests",
            measurements: [
                Measurement("final average", sharp, baseline: sequence, baselineName: "dense, in sequence"),
                Measurement("final average without replay", bare, baseline: joint, baselineName: "all tasks at once"),
                Measurement("largest change of an embedding whose units are frozen", Sample(changes)),
                Measurement("share of the units that is free at the end", Sample(free)),
            ],
            checks: [
                Check("over 0.3 more than training in sequence", sharp - sequence, exceeds: 0.3),
                Check("replay helps", sharp - bare, exceeds: 0),
                Check("frozen embeddings do not change at all", changes.max() ?? .nan, .atMost, 0),
                Check("units are left for more tasks", Sample(free), exceeds: 0),
            ],
            notes: [
                "All tasks at once, dense: \((joint.mean * 1000).rounded() / 10) %. The authors' convolutional networks, data of "
                    + "larger images and Adadelta are not part of this."
            ])
    }

    /// Embeddings of classes whose units are all frozen, compared with what they were when that began.
    private struct Watch {
        private var seen: [Int32: (units: [Int], values: [Float])] = [:]
        private(set) var change = 0.0

        mutating func look(_ network: AgeingNetwork, _ stream: TaskStream, after task: Int) {
            guard task >= 1 else { return }
            for earlier in 0..<task {
                for label in stream.classes[earlier] {
                    guard let entry = network.exemplars[Int32(label)] else { continue }
                    let test = stream.test[earlier]
                    let rows = test.labels.indices.filter { Int(test.labels[$0]) == label }
                    let z = network.embeddings(test.selecting(rows).inputs)
                    let values = (0..<z.rows).flatMap { row in entry.units.map { z[row, $0] } }
                    if let old = seen[Int32(label)] {
                        if old.units != entry.units { change = .infinity }
                        for (a, b) in zip(old.values, values) { change = max(change, Double(abs(a - b))) }
                    } else {
                        seen[Int32(label)] = (entry.units, values)
                    }
                }
            }
        }
    }
}
