import Lacuna

/// Checks how much of a graph transformer's nodes, heads, layers and weights can go.
struct GTSPReproduction: Reproduction {
    let shortName = "GTSP"
    let paper = 57
    let title = "Exploring Sparsity in Graph Transformers"
    let arXiv: String? = "2312.05479"
    let claim =
        "Graph transformers are redundant in the nodes that take part in attention, in heads, in layers and in weights: leaving out parts "
        + "of each costs little accuracy, or none."

    private struct Arm {
        let name: String
        let settings: GraphTransformerSparsification.Settings

        init(_ name: String, _ change: (inout GraphTransformerSparsification.Settings) -> Void) {
            var settings = GraphTransformerSparsification.Settings()
            change(&settings)
            (self.name, self.settings) = (name, settings)
        }
    }

    func run(_ context: ReproductionContext) throws -> Outcome {
        let count = 5
        let interval = context.quick ? 20 : 60
        let arms = [
            Arm("everything") { _ in },
            Arm("half of the nodes") { $0.tokenRatio = 0.5 },
            Arm("half of the nodes, at random") {
                $0.tokenRatio = 0.5
                $0.tokenChoice = .random
            },
            Arm("2 of 4 heads") {
                $0.heads = 2
                $0.headInterval = interval
            },
            Arm("attention in 1 of 2 layers") {
                $0.attentionLayers = 1
                $0.attentionDrop = 0.25
                $0.headInterval = interval
            },
            Arm("half of the weights") { $0.sparsity = 0.5 },
            Arm("a tenth of the weights") { $0.sparsity = 0.9 },
            Arm("a tenth of the weights, none coming back") {
                $0.sparsity = 0.9
                $0.regeneration = 0
            },
            Arm("half of nodes, heads and weights") {
                $0.tokenRatio = 0.5
                $0.heads = 2
                $0.headInterval = interval
                $0.sparsity = 0.5
            },
        ]
        var (measurements, checks, missing) = ([Measurement](), [Check](), [String]())
        let graphs = context.quick ? ["cora"] : ["cora", "citeseer"]
        for (place, name) in graphs.enumerated() {
            var accuracy = arms.map { _ in [Double]() }
            for index in 0..<count {
                let seed = context.seed &* 1000 &+ UInt64(index)
                guard
                    let (train, test) = try CitationGraphs.papers(
                        name, limit: context.quick ? 10 : 20, trainCount: context.quick ? 320 : 640,
                        testCount: context.quick ? 400 : 1000, seed: seed)
                else {
                    missing.append(CitationGraphs.missing)
                    break
                }
                for (number, arm) in arms.enumerated() {
                    try context.progress.report(
                        name, (place * count + index) * arms.count + number, of: graphs.count * count * arms.count)
                    var generator = SeededGenerator(seed: seed, stream: 1)
                    let model = GraphTransformer(
                        inputDimensions: train.inputDimensions, width: context.quick ? 32 : 64, layers: 2, heads: 4,
                        classes: train.classes, pooling: .first, attentionDropout: 0.5, using: &generator)
                    let epochs = context.quick ? 12 : 30
                    let steps = epochs * ((train.count + 31) / 32)
                    var plan = TrainingPlan(steps: steps, learningRate: .cosine(from: 5e-3, to: 0, steps: steps))
                    (plan.seed, plan.logEvery) = (seed, steps)
                    try model.train(
                        on: train, optimizer: Adam(weightDecay: 1e-5), plan: plan, batch: 32,
                        hooks: [GraphTransformerSparsification(arm.settings)])
                    accuracy[number].append(model.accuracy(on: test))
                }
            }
            if accuracy[0].isEmpty { continue }
            let found = accuracy.map { Sample($0) }
            for (number, arm) in arms.enumerated() {
                measurements.append(
                    Measurement(
                        "\(name): accuracy, \(arm.name)", found[number], baseline: number == 0 ? nil : found[0],
                        baselineName: arms[0].name))
            }
            for number in [1, 3, 4, 5] {
                checks.append(
                    Check(
                        "\(name): \(arms[number].name) costs less than 2 points", found[0] - found[number],
                        staysBelow: 0.02))
            }
        }
        let search = try marked(context, count: count)
        return Outcome(
            setting:
                "mean of \(count) graph transformers of 2 layers and 4 heads: papers of a citation graph, each with up to "
                + "\(context.quick ? 9 : 19) others around it; and rings of 20 to 40 nodes, 3 of them marked, of which the first node has "
                + "to tell the commonest colour",
            measurements: measurements + search.measurements, checks: checks + search.checks,
            notes: [
                "The authors classify molecules; these are papers by their surroundings, and layer norms take the place of batch norms.",
                "The rings say whether the choice of nodes is learned: nodes taken at random miss the marks.",
            ], missing: missing)
    }

    /// Whether scores learn which nodes matter.
    private func marked(
        _ context: ReproductionContext, count: Int
    ) throws -> (measurements: [Measurement], checks: [Check]) {
        let names = ["all nodes", "a quarter of the nodes", "a quarter of the nodes, at random"]
        var accuracy = names.map { _ in [Double]() }
        var kept: [Double] = []
        for index in 0..<count {
            let seed = context.seed &* 1000 &+ UInt64(index)
            let train = try CitationGraphs.marked(context.quick ? 1000 : 2000, seed: seed)
            let test = try CitationGraphs.marked(500, seed: seed &+ 500)
            for number in names.indices {
                try context.progress.report("marked nodes", index * names.count + number, of: count * names.count)
                var settings = GraphTransformerSparsification.Settings()
                settings.tokenRatio = number == 0 ? 1 : 0.25
                settings.tokenChoice = number == 2 ? .random : .learned
                var generator = SeededGenerator(seed: seed, stream: 2)
                let model = GraphTransformer(
                    inputDimensions: train.inputDimensions, width: 32, layers: 1, heads: 4, classes: 2, pooling: .first,
                    using: &generator)
                let steps = context.quick ? 300 : 800
                var plan = TrainingPlan(steps: steps, learningRate: .cosine(from: 5e-3, to: 0, steps: steps))
                (plan.seed, plan.logEvery) = (seed, steps)
                try model.train(
                    on: train, optimizer: Adam(), plan: plan, batch: 32,
                    hooks: [GraphTransformerSparsification(settings)])
                accuracy[number].append(model.accuracy(on: test))
                if number == 1 {
                    let batch = test.batch(0..<test.count)
                    let tape = Tape<Float>()
                    _ = tape.evaluating { model(batch, on: tape) }
                    let chosen = model.layers[0].chosenTokens!
                    // Column 2 is the mark.
                    let marks = chosen.indices.filter { batch.inputs[$0, 2] == 1 }
                    kept.append(Double(marks.count { chosen[$0] }) / Double(marks.count))
                }
            }
        }
        let found = accuracy.map { Sample($0) }
        return (
            names.enumerated().map { number, name in
                Measurement(
                    "marked nodes: accuracy, \(name)", found[number], baseline: number == 0 ? nil : found[0],
                    baselineName: names[0])
            } + [Measurement("marked nodes: share of them that is kept", Sample(kept))],
            [
                Check("marked nodes: a learned quarter holds 95 % of the marked ones", Sample(kept), exceeds: 0.95),
                Check("marked nodes: it costs less than 2 points", found[0] - found[1], staysBelow: 0.02),
                Check("marked nodes: a quarter at random costs at least 15 more", found[1] - found[2], exceeds: 0.15),
            ]
        )
    }
}
