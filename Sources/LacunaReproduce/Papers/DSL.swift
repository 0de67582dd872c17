import Lacuna

/// Checks that recommenders keep their quality with a fixed, small number of live weights whose places move.
struct DSLReproduction: Reproduction {
    let shortName = "DSL"
    let paper = 7
    let title = "Dynamic Sparse Learning: A Novel Paradigm for Efficient Recommendation"
    let arXiv: String? = "2402.02855"
    let claim =
        "Recommenders trained from the first to the last step with a fixed share of live weights, the small ones of which give way to "
        + "those of large gradients, rank about as well as dense ones, at much less cost."

    private enum Model: String, CaseIterable {
        case factors = "matrix factorisation"
        case graph = "LightGCN"
        case network = "NeuMF"
        case autoencoder = "MultVAE"
    }

    private enum Kind { case dense, narrow, still, moving }

    private struct Arm {
        let kind: Kind
        var density = 1.0

        var name: String {
            let share = "\(Int((100 * density).rounded())) %"
            switch kind {
            case .dense: return "dense"
            case .narrow: return "dense with \(share) of the numbers a vector"
            case .still: return "\(share), places fixed"
            case .moving: return "\(share), places moving"
            }
        }
    }

    func run(_ context: ReproductionContext) throws -> Outcome {
        let count = 5
        var beds: [(name: String, make: (UInt64) throws -> (train: Interactions, test: Interactions)?)] = [
            ("drawn", InteractionBeds.drawn), ("packages", InteractionBeds.debian),
        ]
        if context.quick { beds.removeFirst() }
        var (measurements, checks, missing) = ([Measurement](), [Check](), [String]())
        for bed in beds {
            for model in bed.name == "drawn" ? [.factors] : context.quick ? [.factors] : Model.allCases {
                var arms = [Arm(kind: .dense)]
                for density in context.quick ? [0.2] : [0.5, 0.2] {
                    arms += [Arm(kind: .still, density: density), Arm(kind: .moving, density: density)]
                    if model != .autoencoder { arms.append(Arm(kind: .narrow, density: density)) }
                }
                var quality = arms.map { _ in (recall: [Double](), gain: [Double](), exploration: [Double]()) }
                for index in 0..<count {
                    let seed = context.seed &* 1000 &+ UInt64(index)
                    guard let (train, test) = try bed.make(seed) else {
                        missing.append(InteractionBeds.missing)
                        break
                    }
                    for (number, arm) in arms.enumerated() {
                        try context.progress.report(
                            "\(bed.name), \(model.rawValue)", index * arms.count + number, of: count * arms.count)
                        let found = try measure(model, arm, train, test, quick: context.quick, seed: seed)
                        quality[number].recall.append(found.recall)
                        quality[number].gain.append(found.gain)
                        quality[number].exploration.append(found.exploration)
                    }
                }
                if quality[0].recall.isEmpty { continue }
                let recall = quality.map { Sample($0.recall) }
                let title = "\(bed.name), \(model.rawValue)"
                for (number, arm) in arms.enumerated() {
                    measurements.append(
                        Measurement(
                            "\(title): recall among 20, \(arm.name)", recall[number],
                            baseline: number == 0 ? nil : recall[0], baselineName: "dense"))
                    if number == 0 || arm.kind == .moving {
                        measurements.append(
                            Measurement(
                                "\(title): nDCG@20, \(arm.name)", Sample(quality[number].gain),
                                baseline: number == 0 ? nil : Sample(quality[0].gain), baselineName: "dense"))
                    }
                    if arm.kind == .moving {
                        measurements.append(
                            Measurement(
                                "\(title): share of the places ever in use, \(arm.name)",
                                Sample(quality[number].exploration)))
                    }
                }
                for (number, arm) in arms.enumerated() where arm.kind == .moving {
                    checks.append(
                        Check(
                            "\(title): \(arm.name) ranks better than fixed", recall[number] - recall[number - 1],
                            exceeds: 0))
                    checks.append(
                        Check(
                            "\(title): \(arm.name) keeps 93 % of the dense recall", recall[number] / recall[0],
                            exceeds: 0.93))
                }
            }
        }
        return Outcome(
            setting:
                "mean of \(count) splits and starts; packages are 1343 of Debian's and what they depend on, 580 others, of which each "
                + "one's last 30 % are to be found; vectors of 32 numbers, Adam, the rate falling by a cosine",
            measurements: measurements, checks: checks,
            notes: [
                "Dense vectors of fewer numbers are the simple rival at the same size; they are measured and not part of the claim.",
                "The authors' data (MovieLens, Yelp, Gowalla …) is larger and may not be passed on.",
            ], missing: missing)
    }

    private func measure(
        _ model: Model, _ arm: Arm, _ train: Interactions, _ test: Interactions, quick: Bool, seed: UInt64
    ) throws -> (recall: Double, gain: Double, exploration: Double) {
        var generator = SeededGenerator(seed: seed, stream: 4)
        let width = arm.kind == .narrow ? max(1, Int((32 * arm.density).rounded())) : 32
        let steps = quick ? 400 : model == .network ? 4000 : 3000
        func learn(_ network: some Recommender, batch: Int, rate: Double) throws
            -> (recall: Double, gain: Double, exploration: Double)
        {
            var plan = TrainingPlan(steps: steps, learningRate: .cosine(from: rate, to: rate / 100, steps: steps))
            (plan.seed, plan.logEvery) = (seed, steps)
            var hooks: [any TrainingHook] = []
            var method: DynamicSparseEmbeddings?
            if arm.kind == .still || arm.kind == .moving {
                method = try DynamicSparseEmbeddings(
                    density: arm.density, interval: steps / 30, fraction: arm.kind == .still ? 0 : 0.5,
                    tables: network.tables)
                hooks.append(method!)
            }
            try network.train(on: train, optimizer: Adam(), plan: plan, batch: batch, hooks: hooks)
            let found = InteractionBeds.quality(network, train, test)
            return (found.recall, found.gain, method?.exploration ?? 1)
        }
        switch model {
        case .factors:
            return try learn(LightGCN(train, dimensions: width, steps: 0, using: &generator), batch: 512, rate: 1e-2)
        case .graph:
            return try learn(LightGCN(train, dimensions: width, steps: 3, using: &generator), batch: 512, rate: 1e-2)
        case .network: return try learn(NeuMF(train, dimensions: width, using: &generator), batch: 512, rate: 3e-3)
        case .autoencoder: return try learn(MultVAE(train, using: &generator), batch: 64, rate: 3e-3)
        }
    }
}
