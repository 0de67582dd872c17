import Lacuna

/// Checks that sparse sub-networks for tasks in sequence forget nothing, and what that costs in capacity.
struct IsolatedSubnetworksReproduction: Reproduction {
    let shortName = "CL-DST"
    let paper = 18
    let title = "Continual Learning with Dynamic Sparse Training: Exploring Algorithms for Effective Model Updates"
    let arXiv: String? = "2308.14831"
    let claim =
        "Dynamic sparse training learns tasks one after the other in sparse sub-networks of one network without forgetting; which "
        + "distribution of the sparsity and which rule of growth is best depends on the sparsity."

    private struct Arm {
        let name: String
        let budget: (any SparsityBudget)?
        var growth = DropAndGrow.Growth.random
        var fraction = 0.5
    }

    func run(_ context: ReproductionContext) throws -> Outcome {
        let count = 5
        var arms = [
            Arm(name: "dense, in sequence", budget: nil), Arm(name: "ERK, 20 % kept", budget: ErdosRenyiBudget(0.8)),
        ]
        if !context.quick {
            arms += [
                Arm(name: "uniform, 20 % kept", budget: UniformBudget(0.8)),
                Arm(name: "ERK, 20 % kept, grown by gradient", budget: ErdosRenyiBudget(0.8), growth: .gradient),
                Arm(name: "ERK, 20 % kept, masks that do not move", budget: ErdosRenyiBudget(0.8), fraction: 0),
                Arm(name: "ERK, 5 % kept", budget: ErdosRenyiBudget(0.95)),
                Arm(name: "uniform, 5 % kept", budget: UniformBudget(0.95)),
            ]
        }
        var beds: [(name: String, make: (UInt64) throws -> TaskStream?, epochs: Int, batch: Int)] = [
            ("ten digits a task, pixels permuted", TaskSequences.permutedDigits, context.quick ? 25 : 40, 64)
        ]
        if !context.quick { beds.append(("two digits a task", TaskSequences.splitDigits, 100, 32)) }
        var (measurements, checks, notes): ([Measurement], [Check], [String]) = ([], [], [])
        for (place, bed) in beds.enumerated() {
            var accuracy = arms.map { _ in [Double]() }
            var transfer = accuracy
            var used = accuracy
            /// A learning rate, and exchanges of connections a task.
            var choices = arms.map { _ in (rate: 0.0, exchanges: 0) }
            // The first seed is for these choices alone.
            for index in 0...count {
                let seed = context.seed &* 1000 &+ UInt64(index)
                guard let stream = try bed.make(seed) else {
                    return Outcome.notRun(missing: TaskSequences.missing)
                }
                for (number, arm) in arms.enumerated() {
                    try context.progress.report(
                        bed.name, (place * (count + 1) + index) * arms.count + number,
                        of: beds.count * (count + 1) * arms.count)
                    func run(_ rate: Double, _ exchanges: Int) throws -> (matrix: AccuracyMatrix, used: Double) {
                        let steps = bed.epochs * ((stream.train[0].count + bed.batch - 1) / bed.batch)
                        let method: any ContinualMethod
                        if let budget = arm.budget {
                            var settings = IsolatedSubnetworks.settings(budget: budget, growth: arm.growth)
                            (settings.interval, settings.fraction) = (steps / exchanges, arm.fraction)
                            method = try IsolatedSubnetworks(settings)
                        } else {
                            method = SequentialTraining(.task)
                        }
                        var generator = SeededGenerator(seed: seed, stream: 3)
                        try method.prepare(
                            MLP(widths: [64, 96, 96, stream.train[0].classes], using: &generator), stream: stream)
                        let matrix = try ContinualTraining(stream, batch: bed.batch).run(method) { task in
                            var plan = TrainingPlan(
                                steps: steps, learningRate: .cosine(from: rate, to: 0, steps: steps))
                            plan.seed = seed &+ UInt64(100 * task)
                            plan.logEvery = steps
                            return (Adam(), plan)
                        }
                        return (matrix, (method as? IsolatedSubnetworks)?.subnetworks?.usedShare ?? 1)
                    }
                    if index == 0 {
                        // Twenty are the authors'. Their tasks are long: what has grown has to count before it is judged.
                        let candidates = [1e-3, 3e-3].flatMap { rate in
                            (arm.budget == nil || arm.fraction == 0 ? [20] : [20, 5]).map {
                                (rate: rate, exchanges: $0)
                            }
                        }
                        let found = try candidates.map { ($0, try run($0.rate, $0.exchanges).matrix.finalAverage) }
                        choices[number] = found.max { $0.1 < $1.1 }!.0
                        continue
                    }
                    let found = try run(choices[number].rate, choices[number].exchanges)
                    accuracy[number].append(found.matrix.finalAverage)
                    transfer[number].append(found.matrix.backwardTransfer)
                    used[number].append(found.used)
                }
            }
            notes.append(
                "\(bed.name): learning rates of 0.001 or 0.003, and 20 or 5 exchanges of connections a task, whichever were best on "
                    + "another seed: "
                    + zip(arms, choices).map { arm, choice in
                        "\(arm.name) \(choice.rate)"
                            + (arm.budget == nil || arm.fraction == 0 ? "" : " and \(choice.exchanges)")
                    }.joined(separator: ", ") + ".")
            let found = accuracy.map { Sample($0) }
            for (number, arm) in arms.enumerated() where number > 0 {
                measurements.append(
                    Measurement(
                        "\(bed.name): final average, \(arm.name)", found[number], baseline: found[0],
                        baselineName: arms[0].name))
                measurements.append(
                    Measurement("\(bed.name): share of the weights in use, \(arm.name)", Sample(used[number])))
            }
            measurements.append(Measurement("\(bed.name): backward transfer, \(arms[0].name)", Sample(transfer[0])))
            let largest = transfer.dropFirst().flatMap(\.self).map(abs).max() ?? .nan
            checks += [
                Check("\(bed.name): dense training in sequence forgets", Sample(transfer[0]), staysBelow: 0),
                Check("\(bed.name): sub-networks forget nothing at all", largest, .atMost, 0),
                Check(
                    "\(bed.name): at the end they know more (ERK, 20 % kept)", found[1] - found[0], exceeds: 0),
                Check("\(bed.name): after five tasks weights are left", Sample(used[1]), staysBelow: 0.95),
            ]
        }
        return Outcome(
            setting:
                "mean of \(count) networks 64-96-96 with a logit for every class, on 1797 digits in five tasks; Adam, the rate "
                + "falling by a cosine in every task; the task is known in tests",
            measurements: measurements, checks: checks,
            notes: notes + [
                "Which distribution or growth is the better one is reported and not checked: the authors' finding is that it depends."
            ])
    }
}
