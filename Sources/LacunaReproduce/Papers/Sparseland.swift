import Lacuna

/// The questions of a handbook on sparse networks, asked of runs on one task: what is a run, and how does it compare?
struct SparselandReproduction: Reproduction {
    let shortName = "Sparseland"
    let paper = 29
    let title =
        "Ten Lessons We Have Learned in the New \"Sparseland\": A Short Handbook for Sparse Neural Network Researchers"
    let arXiv: String? = "2302.02596"
    let claim =
        "When sparsity comes, from what, whether it moves and what structure it has are different things, and a comparison has to hold the "
        + "cost equal: moving patterns beat fixed ones, random patterns are a serious baseline, unstructured ones keep the most."

    private enum Arm: String, CaseIterable {
        case dense
        case small = "dense, as few weights"
        case after = "pruned after training"
        case gradual = "pruned while training"
        case fixed = "random, fixed"
        case moving = "random, moving"
        case groups = "1:8 from the start"
        case neurons = "neurons removed"
    }

    func run(_ context: ReproductionContext) throws -> Outcome {
        let count = 5
        let steps = context.quick ? 1200 : 3000
        let sparsity = 0.95
        var accuracy = [Arm: [Double]]()
        var cards = [Arm: SparsityCard]()
        for index in 0..<count {
            let seed = context.seed &* 1000 &+ UInt64(index)
            let task = try TeacherTask(seed: seed)
            for (place, arm) in Arm.allCases.enumerated() {
                try context.progress.report("runs", index * Arm.allCases.count + place, of: count * Arm.allCases.count)
                var generator = SeededGenerator(seed: seed, stream: 7)
                let widths = [TeacherTask.features] + (arm == .small ? [10, 10] : [128, 128]) + [TeacherTask.classes]
                let model = MLP(widths: widths, using: &generator)
                let audit = SparsityAudit()
                var hooks: [any TrainingHook] = []
                switch arm {
                case .dense, .small, .after: break
                case .gradual: hooks = [try GradualPruning(sparsity: sparsity)]
                case .fixed:
                    hooks = [
                        try StaticRandomSparsity(budget: ErdosRenyiBudget(sparsity), layers: .allButOutput)
                    ]
                case .moving:
                    var settings = DropAndGrow.Settings(budget: ErdosRenyiBudget(sparsity))
                    settings.layers = .allButOutput
                    settings.interval = steps / 30
                    hooks = [try DropAndGrow(settings)]
                case .groups: hooks = [try SRSTE(pattern: .nm(n: 1, m: 8))]
                case .neurons:
                    // As many as leave the share of weights: the outer layer loses them once, the inner one twice.
                    for layer in model.layers.dropLast() {
                        let weight = layer.weight.densified()
                        let norms = (0..<weight.rows).map { row in
                            (0..<weight.columns).reduce(Float(0)) { $0 + weight[row, $1] * weight[row, $1] }
                        }
                        let kept = norms.indices.sorted { norms[$0] > norms[$1] }.prefix(7).sorted()
                        try NeuronRemoval.silence(allBut: kept, of: layer, in: model)
                    }
                }
                var recipe = ClassifierTraining()
                (recipe.steps, recipe.usesAdam, recipe.learningRate) = (steps, true, 2e-3)
                try recipe.train(model, task.train, hooks: hooks + [audit], seed: seed)
                if arm == .after {
                    try OneShotPruning(budget: UniformBudget(sparsity)).prune(model)
                    try audit.observe(model)
                }
                accuracy[arm, default: []].append(ClassifierTraining.accuracy(model, task.test))
                if index == 0 { cards[arm] = audit.card }
            }
        }
        let found = Arm.allCases.map { ($0, Sample(accuracy[$0]!)) }
        let sample = Dictionary(uniqueKeysWithValues: found)
        var measurements = found.map { arm, values in
            Measurement(
                "accuracy, \(arm.rawValue)", values, baseline: arm == .dense ? nil : sample[.dense],
                baselineName: "dense")
        }
        for arm in Arm.allCases {
            let card = cards[arm]!
            measurements.append(Measurement("share of the weights kept, \(arm.rawValue)", measured: card.density))
            measurements.append(
                Measurement(
                    "multiply-adds of training in millions, as computed, \(arm.rawValue)",
                    measured: Double(card.trainingMultiplyAdds) / 1e6))
        }
        func agrees(
            _ arm: Arm, _ time: SparsityCard.Time, _ origin: SparsityCard.Origin, _ isDynamic: Bool, _ structure: String
        ) -> Bool {
            let card = cards[arm]!
            return card.time == time && card.origin == origin && card.isDynamic == isDynamic
                && card.structures.allSatisfy { $0.structure.description == structure }
        }
        let labels = [
            agrees(.dense, .never, .dense, false, "dense"),
            agrees(.after, .after, .denseToSparse, false, "unstructured"),
            agrees(.gradual, .during, .denseToSparse, true, "unstructured"),
            agrees(.fixed, .before, .sparseToSparse, false, "unstructured"),
            agrees(.moving, .before, .sparseToSparse, true, "unstructured"),
            agrees(.groups, .during, .denseToSparse, true, "1:8"),
            agrees(.neurons, .before, .sparseToSparse, false, "neurons"),
        ]
        return Outcome(
            setting:
                "mean of \(count) networks 200-128-128-4 on 2500 examples of which 12 inputs matter, \(steps) steps of Adam; 95 % of the "
                + "weights of the hidden layers removed, by 1:8 87.5 %",
            measurements: measurements,
            checks: [
                Check(
                    "runs are told apart by what they did (time, origin, movement, structure): share of right answers",
                    Double(labels.count { $0 }) / Double(labels.count), .atLeast, 1),
                Check("a moving pattern beats a fixed one", sample[.moving]! - sample[.fixed]!, exceeds: 0),
                Check("pruning while training beats pruning after it", sample[.gradual]! - sample[.after]!, exceeds: 0),
                Check(
                    "a random sparse network beats a dense one of as few weights", sample[.fixed]! - sample[.small]!,
                    exceeds: 0),
                Check(
                    "single weights beat whole neurons at the same share", sample[.fixed]! - sample[.neurons]!,
                    exceeds: 0),
                Check("a fixed pattern explores no more than it has", cards[.fixed]!.exploration, .atMost, 0.0501),
                Check("a moving one looks at more", cards[.moving]!.exploration, .greater, 0.06),
            ],
            notes: Arm.allCases.map { arm in
                "\(arm.rawValue): " + cards[arm]!.description.split(separator: "\n").joined(separator: "; ") + "."
            } + [
                "The article has no experiments; these are its distinctions and comparisons on one small task.",
                "Multiply-adds are what was computed: masked weights cost as much as dense ones. Seconds are not compared.",
            ])
    }
}
