import Lacuna

/// Checks that sparsity brings cheap unlearning nearer to training without the forgotten examples.
struct SparseUnlearningReproduction: Reproduction {
    let shortName = "SparseUnlearn"
    let paper = 39
    let title = "Model Sparsity Can Simplify Machine Unlearning"
    let arXiv: String? = "2304.04934"
    let claim =
        "Fine-tuning on what may be remembered leaves traces of what should be forgotten; with a fading L1 penalty, or in a network "
        + "that was pruned before, it comes closer to training anew."

    private enum Arm: String, CaseIterable {
        case tuned = "fine-tuning"
        case penalised = "fine-tuning with L1"
        case proximal = "fine-tuning with proximal L1"
        case ascent = "gradient ascent"
        case pruned = "90 % pruned, then fine-tuning"
    }

    private struct Bed {
        let name: String
        let make: (UInt64) throws -> (train: LabelledExamples, test: LabelledExamples)?
    }

    func run(_ context: ReproductionContext) throws -> Outcome {
        let count = context.quick ? 5 : 8
        var beds = [
            Bed(name: "digits") { seed in
                guard let path = RealData.file("digits/digits.csv") else { return nil }
                let (train, test, _) = try TableFiles.classification(path, testFraction: 0.5, seed: seed)
                return (train.prefix(400), test)
            }
        ]
        if !context.quick {
            beds.append(
                Bed(name: "blobs") { seed in
                    let task = BlobTask(seed: seed)
                    return (try task.train, try task.test)
                })
        }
        var (measurements, checks, notes): ([Measurement], [Check], [String]) = ([], [], [])
        var missing: [String] = []
        for (place, bed) in beds.enumerated() {
            var reports = [Arm: [UnlearningReport]]()
            var gamma = 1e-3
            var (retrained, retrainedPruned) = ([UnlearningReport](), [UnlearningReport]())
            // The first seed is for the choice of γ alone.
            for index in 0...count {
                try context.progress.report(bed.name, place * (count + 1) + index, of: beds.count * (count + 1))
                let seed = context.seed &* 1000 &+ UInt64(index)
                guard let (train, test) = try bed.make(seed) else {
                    missing.append(
                        RealData.isMissing("digits", "its networks were not trained"))
                    break
                }
                let split = try ForgetSplit(train, share: 0.1, seed: seed)
                func fresh() -> MLP {
                    var generator = SeededGenerator(seed: seed, stream: 3)
                    return MLP(widths: [64, 256, 256, 10], using: &generator)
                }
                /// A network trained on some examples, under the masks of another one if there is one.
                func trained(_ examples: LabelledExamples, masks: MLP? = nil) throws -> MLP {
                    let model = fresh()
                    if let masks {
                        for (layer, other) in zip(model.layers, masks.layers) { layer.dense!.mask = other.dense!.mask }
                    }
                    var recipe = ClassifierTraining()
                    recipe.epochs = 30
                    try recipe.train(model, examples, seed: seed)
                    return model
                }
                func copy(_ model: MLP) -> MLP {
                    let result = fresh()
                    for (to, from) in zip(result.layers, model.layers) {
                        to.weight = DenseWeight(from.dense!.parameter.value)
                        to.dense!.mask = from.dense!.mask
                        to.bias!.value = from.bias!.value
                    }
                    return result
                }
                func report(_ model: MLP) throws -> UnlearningReport {
                    try UnlearningReport(of: model, forget: split.forget, retain: split.retain, test: test)
                }
                func tuned(_ model: MLP, _ method: SparseUnlearning) throws -> UnlearningReport {
                    let model = copy(model)
                    var recipe = ClassifierTraining()
                    (recipe.epochs, recipe.isConstant, recipe.weightDecay) = (10, true, 5e-4)
                    try recipe.train(model, split.retain, hooks: [method], seed: seed &+ 500)
                    return try report(model)
                }
                let original = try trained(train)
                let goal = try report(trained(split.retain))
                if index == 0 {
                    let gaps = try [1e-3, 3e-3, 1e-2].map {
                        ($0, try tuned(original, SparseUnlearning(gamma: $0)).gap(to: goal))
                    }
                    gamma = gaps.min { $0.1 < $1.1 }!.0
                    notes.append(
                        "\(bed.name): γ \(gamma), the nearest of 0.001, 0.003 and 0.01 to training anew on another seed."
                    )
                    continue
                }
                retrained.append(goal)
                // The largest weights of the trained network, from the first weights again.
                let ticket = copy(original)
                try IterativePruning.prune(ticket.layers, share: 0.9)
                let pruned = try trained(train, masks: ticket)
                retrainedPruned.append(try report(trained(split.retain, masks: ticket)))
                for arm in Arm.allCases {
                    let found: UnlearningReport
                    switch arm {
                    case .tuned: found = try tuned(original, SparseUnlearning(gamma: 0))
                    case .penalised: found = try tuned(original, SparseUnlearning(gamma: gamma))
                    case .proximal: found = try tuned(original, SparseUnlearning(gamma: 10 * gamma, isProximal: true))
                    case .pruned: found = try tuned(pruned, SparseUnlearning(gamma: 0))
                    case .ascent: found = try report(ascended(copy(original), split.forget, seed: seed))
                    }
                    reports[arm, default: []].append(found)
                }
            }
            if retrained.isEmpty { continue }
            func sample(_ arm: Arm, _ number: (UnlearningReport) -> Double) -> Sample {
                Sample(reports[arm]!.map(number))
            }
            func sample(_ reports: [UnlearningReport], _ number: (UnlearningReport) -> Double) -> Sample {
                Sample(reports.map(number))
            }
            func distance(_ arm: Arm, _ number: (UnlearningReport) -> Double) -> Sample {
                let goal = arm == .pruned ? retrainedPruned : retrained
                return Sample(zip(reports[arm]!, goal).map { abs(number($0) - number($1)) })
            }
            for arm in Arm.allCases {
                let goal = arm == .pruned ? retrainedPruned : retrained
                for (name, number) in [
                    ("accuracy on the forgotten", \UnlearningReport.forgetAccuracy),
                    ("called no members", \UnlearningReport.membershipEfficacy),
                    ("test accuracy", \UnlearningReport.testAccuracy),
                ] {
                    measurements.append(
                        Measurement(
                            "\(bed.name): \(name), \(arm.rawValue)", sample(arm) { $0[keyPath: number] },
                            baseline: sample(goal) { $0[keyPath: number] }, baselineName: "trained anew"))
                }
            }
            let plain = distance(.tuned, \.forgetAccuracy)
            func closed(_ arm: Arm) -> Sample {
                let distances = distance(arm, \.forgetAccuracy)
                return Sample(distances.values.map { 1 - $0 / plain.mean })
            }
            checks += [
                Check("\(bed.name): fine-tuning leaves a distance to training anew", plain, exceeds: 0.01),
                Check("\(bed.name): L1 closes over half of it", closed(.penalised), exceeds: 0.5),
                Check(
                    "\(bed.name): at less than 0.02 of test accuracy",
                    sample(.tuned, \.testAccuracy) - sample(.penalised, \.testAccuracy), staysBelow: 0.02),
                Check(
                    "\(bed.name): an attacker finds less, too",
                    distance(.tuned, \.membershipEfficacy) - distance(.penalised, \.membershipEfficacy), exceeds: 0),
                Check("\(bed.name): pruning first closes over a fifth", closed(.pruned), exceeds: 0.2),
            ]
        }
        return Outcome(
            setting:
                "mean of \(count) networks 64-256-256-10, 30 epochs of SGD on 400 digits\(context.quick ? "" : ", or on 2000 noisy blobs"); a tenth of the "
                + "examples, drawn at random, is forgotten in 10 epochs on the others; ten times γ in proximal steps, which momentum does not multiply",
            measurements: measurements, checks: checks, notes: notes, missing: missing)
    }

    /// Five epochs up the loss of what is to be forgotten, at 0.0001 as the authors do.
    private func ascended(_ model: MLP, _ forget: LabelledExamples, seed: UInt64) throws -> MLP {
        let source = ShuffledBatches(forget, batchSize: min(64, forget.count), seed: seed)
        var plan = TrainingPlan(steps: 5 * source.batchesPerEpoch!, learningRate: .constant(1e-4))
        plan.seed = seed
        try Trainer(
            model: model, optimizer: SGD(learningRate: 0, momentum: 0.9), source: source, plan: plan,
            loss: { batch, tape in
                Loss.crossEntropy(model(tape.constant(batch.inputs)), labels: batch.labels).affine(-1)
            }
        ).train()
        return model
    }
}
