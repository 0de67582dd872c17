import Lacuna

/// Checks how lottery tickets transfer to another task by two cheap adapters, and how honest they are there.
struct ReprogramLTReproduction: Reproduction {
    let shortName = "ReprogramLT"
    let paper = 25
    let title =
        "Reprogramming under Constraints: Revisiting Efficient and Reliable Transferability of Lottery Tickets"
    let arXiv: String? = "2308.14969"
    let claim =
        "Tickets that match their dense network on its own task can be clearly worse when they are reprogrammed for another, most with few "
        + "examples, and dense networks are better calibrated than their tickets under linear probes and prompts."

    /// Rounds of pruning whose tickets are looked at: 0, 59, 83, 89 and 93 % removed.
    private static let looked = [0, 4, 8, 10, 12]

    private enum Arm: String, CaseIterable {
        case own = "its own task"
        case probe50 = "probe, 50 a class"
        case probe10 = "probe, 10 a class"
        case prompt = "prompt, 50 a class"
        case random = "prompt, random mapping"
    }

    /// Accuracies and calibration errors by arm, ticket and seed.
    private struct Table {
        var accuracy = Arm.allCases.map { _ in ReprogramLTReproduction.looked.map { _ in [Double]() } }
        var error = Arm.allCases.map { _ in ReprogramLTReproduction.looked.map { _ in [Double]() } }

        mutating func note(_ arm: Arm, _ place: Int, _ result: TransferAudit.Result) {
            let number = Arm.allCases.firstIndex(of: arm)!
            accuracy[number][place].append(result.accuracy)
            error[number][place].append(result.calibrationError)
        }
        func accuracy(_ arm: Arm, _ place: Int) -> Sample { Sample(accuracy[Arm.allCases.firstIndex(of: arm)!][place]) }
        func error(_ arm: Arm, _ place: Int) -> Sample { Sample(error[Arm.allCases.firstIndex(of: arm)!][place]) }
        /// How much a number changes from the dense network to the ticket of 89 %.
        func change(_ value: (Arm, Int) -> Sample, _ arm: Arm) -> Sample { value(arm, 3) - value(arm, 0) }
    }

    /// The tickets of some seeds, adapted.
    private static func tickets(
        noise: Float, arms: [Arm], rounds: Int, epochs: Int, count: Int, _ context: ReproductionContext
    ) throws -> Table {
        var table = Table()
        for index in 0..<count {
            let seed = context.seed &* 1000 &+ UInt64(index)
            let bed = try TransferBed(seed: seed, noise: noise)
            var generator = SeededGenerator(seed: seed, stream: 7)
            let model = MLP(widths: [TransferBed.own + TransferBed.free, 128, 128, 10], using: &generator)
            let source = ShuffledBatches(bed.train, batchSize: 64, seed: seed)
            let length = epochs * source.batchesPerEpoch!
            // The authors return to the second epoch.
            let tickets = try RewoundPruning(rounds: rounds, rewind: 2 * source.batchesPerEpoch!)
            func result(_ arm: Arm) throws -> TransferAudit.Result {
                func probe(_ shots: Int) throws -> TransferAudit.Result {
                    try TransferAudit(examplesPerClass: shots).probe(
                        model, train: bed.probeTrain, test: bed.probeTest, seed: seed)
                }
                func prompt(_ mapping: [Int]?) throws -> TransferAudit.Result {
                    var audit = TransferAudit(examplesPerClass: 50)
                    audit.promptEpochs = context.quick ? 40 : 100
                    let prompt = try InputPrompt(
                        model, shape: [TransferBed.own + TransferBed.free], places: Array(0..<TransferBed.own))
                    return try audit.reprogram(
                        prompt, train: bed.targetTrain, test: bed.targetTest, mapping: mapping, seed: seed)
                }
                switch arm {
                case .own: return try TransferAudit.result(model, on: bed.test)
                case .probe50: return try probe(50)
                case .probe10: return try probe(10)
                case .prompt: return try prompt(nil)
                case .random:
                    var random = SeededGenerator(seed: seed, stream: 0x9A)
                    return try prompt(Array((0..<10).shuffled(using: &random).prefix(5)))
                }
            }
            tickets.ticket = { round in
                try context.progress.report("rounds", index * rounds + round, of: count * rounds)
                guard let place = looked.firstIndex(of: round) else { return }
                for arm in arms { table.note(arm, place, try result(arm)) }
            }
            var plan = TrainingPlan(
                steps: rounds * length,
                learningRate: .repeating(.linear(from: 0.05, to: 0, steps: length), every: length, times: rounds))
            (plan.seed, plan.logEvery) = (seed, rounds * length)
            try Trainer(
                model: model, optimizer: SGD(learningRate: 0.05, momentum: 0.9, weightDecay: 1e-4), source: source,
                plan: plan, hooks: [tickets],
                loss: { batch, tape in Loss.crossEntropy(model(tape.constant(batch.inputs)), labels: batch.labels) }
            ).train()
        }
        return table
    }

    func run(_ context: ReproductionContext) throws -> Outcome {
        let count = 5
        let (epochs, rounds) = (context.quick ? 10 : 30, Self.looked.last! + 1)
        let found = try Self.tickets(
            noise: 0.1, arms: Arm.allCases, rounds: rounds, epochs: epochs, count: count, context)
        let noisy = try Self.tickets(
            noise: 1, arms: [.own, .probe50], rounds: rounds, epochs: epochs, count: count, context)
        var measurements: [Measurement] = []
        func add(_ table: Table, _ arm: Arm, _ suffix: String = "") {
            for (place, round) in Self.looked.enumerated() {
                let removed = Int((100 * (1 - power(0.8, Double(round)))).rounded())
                let name = "\(arm.rawValue), \(removed) % removed" + suffix
                measurements.append(
                    Measurement(
                        "accuracy, " + name, table.accuracy(arm, place),
                        baseline: place == 0 ? nil : table.accuracy(arm, 0), baselineName: "dense"))
                measurements.append(
                    Measurement(
                        "calibration error, " + name, table.error(arm, place),
                        baseline: place == 0 ? nil : table.error(arm, 0), baselineName: "dense"))
            }
        }
        for arm in Arm.allCases { add(found, arm) }
        for arm in [Arm.own, .probe50] { add(noisy, arm, ", loud noise in a third of the inputs") }
        let mapped = Sample(
            (0..<count).map { seed in
                Self.looked.indices.reduce(0) {
                    $0 + found.accuracy(.prompt, $1).values[seed] - found.accuracy(.random, $1).values[seed]
                } / Double(Self.looked.count)
            })
        measurements.append(
            Measurement("gain of the frequent mapping over a random one, mean of all tickets", mapped))
        return Outcome(
            setting:
                "mean of \(count) networks 96-128-128-10 on ten classes of noisy blobs, \(rounds) rounds of \(epochs) epochs that remove a fifth of "
                + "what is left and return to epoch 2; a second task of five classes around fresh centres",
            measurements: measurements,
            checks: [
                Check(
                    "the dense network is better calibrated than the ticket of 89 % under a probe, by more than 0.02",
                    found.change(found.error, .probe50), exceeds: 0.02),
                Check(
                    "the same with 10 examples a class, by anything", found.change(found.error, .probe10), exceeds: 0),
                Check("and under a prompt", found.change(found.error, .prompt), exceeds: 0),
                Check(
                    "the ticket of 89 % loses more under a probe than on its own task",
                    found.change(found.accuracy, .own) - found.change(found.accuracy, .probe50), exceeds: 0),
                Check(
                    "and more with 10 examples a class than with 50",
                    found.change(found.accuracy, .probe50) - found.change(found.accuracy, .probe10), exceeds: 0),
                Check("a frequent mapping beats a random one", mapped, exceeds: 0),
            ],
            notes: [
                "Calibration errors are those of softmax probabilities over the whole test set; the authors' script averages logits over batches, so that "
                    + "its numbers compare with nothing.",
                "The free inputs are nearly silent in the checks, as a picture's frame is. Where they are loud and say nothing, pruning also takes out what "
                    + "misleads, which hides or turns what it costs: compare the last rows.",
                "Networks here are small and far from the authors' ResNets; what is compared is the same network before and after pruning.",
            ])
    }
}
