import Lacuna

/// Checks how far recurrent layers can be pruned, how fast they recover, and what the accuracy of networks wired by random graphs
/// goes with.
struct SparseRNNsReproduction: Reproduction {
    let shortName = "SparseRNNs"
    let paper = 56
    let title = "Investigating Sparsity in Recurrent Neural Networks"
    let arXiv: String? = "2407.20601"
    let claim =
        "Recurrent layers keep their accuracy without retraining up to some 60 to 80 % of pruning and come back within an epoch even at "
        + "90 %; without any weight from state to state gated cells still learn, without any weight at all none does. In networks "
        + "wired by random graphs accuracy rises with the number of nodes and of sources."

    private let epochs = 10

    /// What is pruned, and trained for another epoch or not.
    private struct Arm: Hashable {
        let matrices: OneShotPruning.RecurrentMatrices
        let sparsity: Double
        let isRetrained: Bool

        var name: String {
            let what = matrices == .both ? "" : matrices == .states ? ", state to state alone" : ", input alone"
            return "\(Int((sparsity * 100).rounded())) % pruned\(what)" + (isRetrained ? ", one epoch later" : "")
        }
    }

    func run(_ context: ReproductionContext) throws -> Outcome {
        let count = 5
        let cells: [RecurrentCell] = context.quick ? [.gru] : RecurrentCell.allCases
        let examples = context.quick ? 3000 : 4000
        let arms: [Arm] = [
            Arm(matrices: .both, sparsity: 0.5, isRetrained: false),
            Arm(matrices: .both, sparsity: 0.9, isRetrained: false),
            Arm(matrices: .both, sparsity: 0.9, isRetrained: true),
            Arm(matrices: .states, sparsity: 1, isRetrained: true),
            Arm(matrices: .both, sparsity: 1, isRetrained: true),
        ]
        var (measurements, checks) = ([Measurement](), [Check]())
        for (place, cell) in cells.enumerated() {
            var (dense, pruned) = ([Double](), [Arm: [Double]]())
            for index in 0..<count {
                try context.progress.report("\(cell) networks", place * count + index, of: cells.count * count)
                let seed = context.seed &* 1000 &+ UInt64(index)
                let train = try ReberStrings.examples(examples, lengths: 7...20, seed: seed)
                let test = try ReberStrings.examples(1000, lengths: 7...20, seed: seed &+ 500)
                func fresh() -> SequenceClassifier {
                    var generator = SeededGenerator(seed: seed, stream: 1)
                    let body = RecurrentStack(
                        cell, inputDimensions: 32, hidden: context.quick ? [32] : [50, 50], using: &generator)
                    return SequenceClassifier(
                        vocabulary: train.vocabulary, width: 32, body: body, classes: 2, using: &generator)
                }
                func learn(_ model: SequenceClassifier, epochs: Int, _ hooks: [any TrainingHook] = []) throws {
                    let steps = epochs * ((train.count + 31) / 32)
                    var plan = TrainingPlan(steps: steps, learningRate: .constant(context.quick ? 3e-3 : 2e-3))
                    (plan.seed, plan.clipNorm, plan.logEvery) = (seed, 5, steps)
                    try model.train(on: train, optimizer: Adam(), plan: plan, batch: 32, hooks: hooks)
                }
                let model = fresh()
                try learn(model, epochs: epochs)
                dense.append(model.accuracy(on: test))
                for arm in arms {
                    let copy = fresh()
                    for (to, from) in zip(copy.parameters, model.parameters) { to.value = from.value }
                    let pruning = try OneShotPruning.recurrent(arm.matrices, sparsity: arm.sparsity)
                    if arm.isRetrained {
                        try learn(copy, epochs: 1, [pruning])
                    } else {
                        try pruning.prune(copy)
                    }
                    pruned[arm, default: []].append(copy.accuracy(on: test))
                }
            }
            let reference = Sample(dense)
            measurements.append(Measurement("\(cell): accuracy, dense", reference))
            for arm in arms {
                measurements.append(
                    Measurement(
                        "\(cell): accuracy, \(arm.name)", Sample(pruned[arm]!), baseline: reference,
                        baselineName: "dense"))
            }
            func sample(_ index: Int) -> Sample { Sample(pruned[arms[index]]!) }
            checks.append(
                Check("\(cell): an epoch brings back what pruning by 90 % took", sample(2) - sample(1), exceeds: 0))
            checks.append(
                Check("\(cell): that is within 2 points of the dense network", reference - sample(2), staysBelow: 0.02))
            checks.append(
                Check("\(cell): without any weight in the layers nothing is learned", sample(4), staysBelow: 0.6))
            if cell == .gru || cell == .lstm {
                checks.append(Check("\(cell): the dense network knows the grammar", reference, exceeds: 0.95))
                checks.append(
                    Check("\(cell): half of the weights are not needed", reference - sample(0), staysBelow: 0.02))
                checks.append(
                    Check("\(cell): without weights from state to state it still learns", sample(3), exceeds: 0.9))
            }
        }
        let graphs = try wired(context, count: count)
        return Outcome(
            setting:
                "mean of \(count) networks on \(examples) words of 7 to 20 letters, half of them of the Reber grammar, and 1000 to test; "
                + (context.quick ? "one layer of 32 units" : "two layers of 50 units")
                + ", \(epochs) epochs of Adam; \(graphs.setting)",
            measurements: measurements + graphs.measurements, checks: checks + graphs.checks,
            notes: [
                "The thesis has 25,000 words of 11 to 53 letters, three layers and 50 epochs, and reads the state behind the padding; "
                    + "here it is the one at the last letter.",
                "Without any weight from or to the layers a state still has its bias, which is the same for all words.",
                "The thesis also regresses accuracy on all statistics of the graphs; correlations with single ones are what is checked here.",
            ])
    }

    /// Accuracy and statistics of graphs, and how they go together.
    private func wired(
        _ context: ReproductionContext, count: Int
    ) throws -> (setting: String, measurements: [Measurement], checks: [Check]) {
        let graphs = context.quick ? 6 : 24
        let cells: [RecurrentCell] = context.quick ? [.gru] : [.tanh, .gru, .lstm]
        var (measurements, checks) = ([Measurement](), [Check]())
        for (place, cell) in cells.enumerated() {
            var correlations: [String: [Double]] = [:]
            var accuracies: [Double] = []
            for index in 0..<count {
                let seed = context.seed &* 1000 &+ UInt64(index)
                var generator = SeededGenerator(seed: seed, stream: 0x61AF)
                let train = try ReberStrings.examples(context.quick ? 600 : 2000, lengths: 7...14, seed: seed)
                let test = try ReberStrings.examples(600, lengths: 7...14, seed: seed &+ 500)
                var found: [(statistics: [(name: String, value: Double)], accuracy: Double)] = []
                for number in 0..<graphs {
                    try context.progress.report(
                        "\(cell) networks of graphs", (place * count + index) * graphs + number,
                        of: cells.count * count * graphs)
                    let nodes = Int.random(in: 10...50, using: &generator)
                    let graph =
                        number % 2 == 0
                        ? try WiringGraph.smallWorld(
                            nodeCount: nodes, degree: Int.random(in: 2...6, using: &generator), rewiring: 0.5,
                            using: &generator)
                        : try WiringGraph.scaleFree(
                            nodeCount: nodes, attachments: Int.random(in: 1...4, using: &generator), using: &generator)
                    let body = try WiredNetwork(graph, cell: cell, inputDimensions: 16, using: &generator)
                    let model = SequenceClassifier(
                        vocabulary: train.vocabulary, width: 16, body: body, classes: 2, using: &generator)
                    let steps = (context.quick ? 6 : 10) * ((train.count + 63) / 64)
                    var plan = TrainingPlan(steps: steps, learningRate: .constant(5e-3))
                    (plan.seed, plan.clipNorm, plan.logEvery) = (seed &+ UInt64(number), 5, steps)
                    try model.train(on: train, optimizer: Adam(), plan: plan, batch: 64)
                    found.append((try GraphStatistics(graph).values, model.accuracy(on: test)))
                }
                accuracies.append(found.reduce(0) { $0 + $1.accuracy } / Double(graphs))
                for (place, entry) in found[0].statistics.enumerated() {
                    correlations[entry.name, default: []].append(
                        Self.correlation(found.map { $0.statistics[place].value }, found.map(\.accuracy)))
                }
            }
            measurements.append(Measurement("\(cell), wired by graphs: accuracy", Sample(accuracies)))
            for name in ["nodes", "sources", "closeness, variance", "node betweenness, variance"] {
                measurements.append(
                    Measurement(
                        "\(cell), wired by graphs: correlation of accuracy with \(name)", Sample(correlations[name]!)))
            }
            checks += [
                Check("\(cell): accuracy rises with the number of nodes", Sample(correlations["nodes"]!), exceeds: 0),
                Check(
                    "\(cell): accuracy rises with the number of sources", Sample(correlations["sources"]!), exceeds: 0),
            ]
        }
        return (
            "\(count) times \(graphs) networks wired by small-world and scale-free graphs of 10 to 50 nodes",
            measurements,
            checks
        )
    }

    /// Pearson's; 0 where one of the two does not vary.
    private static func correlation(_ x: [Double], _ y: [Double]) -> Double {
        let n = Double(x.count)
        let (a, b) = (x.reduce(0, +) / n, y.reduce(0, +) / n)
        let (xx, yy) = (x.reduce(0) { $0 + ($1 - a) * ($1 - a) }, y.reduce(0) { $0 + ($1 - b) * ($1 - b) })
        let xy = zip(x, y).reduce(0) { $0 + ($1.0 - a) * ($1.1 - b) }
        return xx * yy > 0 ? xy / (xx * yy).squareRoot() : 0
    }
}
