import Lacuna

/// Checks, at equal work a vector, what more experts bring where there is data enough, and where there is not.
struct OptimalSparsityReproduction: Reproduction {
    let shortName = "OptimalSparsityMoE"
    let paper = 48
    let title = "Optimal Sparsity of Mixture-of-Experts Language Models for Reasoning Tasks"
    let arXiv: String? = "2508.18672"
    let claim =
        "At equal active work more experts lower the training loss without end; what is asked of the model on other data has an optimum, near a number "
        + "of examples for each parameter. A term that balances loads keeps experts alive."

    private static let counts = [1, 4, 8, 16, 32, 64]
    private static let (clusters, width, outputs) = (32, 16, 4)

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = (0..<5).map { context.seed &* 1000 &+ UInt64($0) }
        let steps = context.quick ? 250 : 1500
        var plenty: [Int: [ExpertReport]] = [:]
        var scarce: [Int: [ExpertReport]] = [:]
        var (unbalanced, balanced) = ([Double](), [Double]())
        for (place, seed) in seeds.enumerated() {
            try context.progress.report("experts", place, of: seeds.count)
            for count in Self.counts {
                plenty[count, default: []].append(
                    try Self.train(seed: seed, experts: count, steps: steps, distinct: nil))
                // 512 vectors, again and again.
                scarce[count, default: []].append(try Self.train(seed: seed, experts: count, steps: steps, distinct: 2))
            }
            unbalanced.append(
                Double(
                    try Self.train(seed: seed, experts: 64, steps: steps, distinct: nil, balance: 0).routing.deadExperts
                ))
            balanced.append(Double(plenty[64]!.last!.routing.deadExperts))
        }
        func sample(_ runs: [Int: [ExpertReport]], _ count: Int, _ value: (ExpertReport) -> Double) -> Sample {
            Sample((runs[count] ?? []).map(value))
        }
        var measurements: [Measurement] = []
        for count in Self.counts {
            let sizes = plenty[count]![0]
            measurements += [
                Measurement(
                    "error, \(count) experts (\(sizes.parameters) weights, \(sizes.activeParameters) active)",
                    sample(plenty, count, \.loss), baseline: sample(scarce, count, \.loss),
                    baselineName: "512 vectors only"),
                Measurement(
                    "training error, \(count) experts", sample(plenty, count, \.trainingLoss),
                    baseline: sample(scarce, count, \.trainingLoss), baselineName: "512 vectors only"),
            ]
        }
        for count in [16, 64] {
            measurements += [
                Measurement(
                    "deviation of loads over their mean, \(count) experts",
                    sample(plenty, count, \.routing.loadVariation)),
                Measurement(
                    "nats that an expert tells about the cluster, \(count) experts",
                    sample(plenty, count) { $0.information ?? .nan }),
            ]
        }
        measurements.append(
            Measurement(
                "dead experts of 64", Sample(balanced), baseline: Sample(unbalanced), baselineName: "without balance"))
        let order = zip(Self.counts, Self.counts.dropFirst())
        let best = seeds.indices.map { i in
            Self.counts.min { scarce[$0]![i].loss < scarce[$1]![i].loss } ?? 1
        }
        var checks = order.map { fewer, more in
            Check(
                "plenty of data: \(more) experts are better than \(fewer)",
                sample(plenty, more, \.loss) / sample(plenty, fewer, \.loss), staysBelow: 1)
        }
        checks += [
            Check(
                "few data: the training error falls to the end",
                sample(scarce, 64, \.trainingLoss) / sample(scarce, 8, \.trainingLoss),
                staysBelow: 1),
            Check(
                "few data: the best number lies within, most experts are worse than it",
                Sample(seeds.indices.map { scarce[64]![$0].loss / scarce[best[$0]]![$0].loss }), exceeds: 1.1),
            Check(
                "few data: and so is one",
                Sample(seeds.indices.map { scarce[1]![$0].loss / scarce[best[$0]]![$0].loss }), exceeds: 1.1),
            Check("without balance more experts are dead", Sample(unbalanced) - Sample(balanced), exceeds: 0),
        ]
        var notes = [
            "Small parts on planted clusters, trained here, not language models on reasoning; active work is that of two experts and the router, which grows "
                + "with their number.",
            "Best numbers of experts with 512 vectors, by seed: \(best.map(String.init).joined(separator: ", ")).",
        ]
        // Data as the third size: the law of losses in weights and examples, over all runs with new data.
        let points = try Self.points(context, seeds: Array(seeds.prefix(2)), steps: steps)
        if let fit = try? ScalingLaw.fit(points, delta: 0.05) {
            let residual = points.reduce(0.0) { sum, point in
                let r = logarithm(point.loss / fit.law.loss(parameters: point.parameters, tokens: point.tokens))
                return sum + r * r
            }
            measurements.append(
                Measurement(
                    "exponent of the error in all weights, fitted with that in vectors", measured: fit.law.sizeExponent,
                    baseline: fit.law.dataExponent, baselineName: "in vectors"))
            notes.append(
                "Law E + A/N^α + B/D^β over \(points.count) runs: root mean square of log residuals "
                    + "\((1000 * (residual / Double(points.count)).squareRoot()).rounded() / 1000).")
        }
        return Outcome(
            setting:
                "5 seeds: \(Self.clusters) clusters in \(Self.width) dimensions, each with a linear map of its own to \(Self.outputs) outputs; experts of 8 "
                + "ReLUs of which 2 read a vector (1 of 1), weights of loads 0.01 and logits 0.001, Adam, \(steps) steps of 256 vectors",
            measurements: measurements, checks: checks, notes: notes)
    }

    private static func points(
        _ context: ReproductionContext, seeds: [UInt64], steps: Int
    ) throws -> [ScalingLaw.Point] {
        var points: [ScalingLaw.Point] = []
        for seed in seeds {
            for count in [4, 8, 16, 32] {
                for share in [4, 2, 1] {
                    let run = try train(seed: seed, experts: count, steps: steps / share, distinct: nil)
                    points.append(
                        .init(parameters: Double(run.parameters), tokens: Double(steps / share * 256), loss: run.loss))
                }
            }
        }
        return points
    }

    private static func train(
        seed: UInt64, experts: Int, steps: Int, distinct: Int?, balance: Double = 1e-2
    ) throws -> ExpertReport {
        let task = TopicTask(
            topics: clusters, width: width, outputs: outputs, length: 256, dwell: 1, distinct: distinct, seed: seed)
        var random = SeededGenerator(seed: seed, stream: 4800 &+ UInt64(experts))
        func linear(_ rows: Int, _ columns: Int, _ deviation: Float) throws -> LinearLayer {
            LinearLayer(
                try WeightStore.make(
                    Tensor(normal: [rows, columns], standardDeviation: deviation, using: &random), layout: .dense,
                    values: .f32), bias: Tensor(zeros: [rows]))
        }
        let part = try ExpertFeedForward(
            router: TopRouter(linear(experts, width, 0.1), count: min(2, experts), normalizes: experts > 1),
            experts: (0..<experts).map { _ in
                FeedForward(
                    gate: nil, up: try linear(8, width, 0.35), down: try linear(outputs, 8, 0.35), activation: .relu)
            })
        let model = TrainableExperts(part) { _, matrix in DenseWeight(matrix.densified()) }
        let hooks = [try LoadBalancing(weight: balance, sizeWeight: balance > 0 ? 1e-3 : 0)]
        try task.train(model, steps: steps, hooks: hooks, seed: seed)
        // Without the terms of the hook, which the loss of a run has.
        let tape = Tape<Float>()
        func error(_ batch: (inputs: Tensor<Float>, targets: Tensor<Float>, topics: [Int])) -> Double {
            let found = tape.evaluating { model(tape.constant(batch.inputs)).value }
            let squares = zip(found.scalars, batch.targets.scalars).reduce(0.0) {
                $0 + Double(($1.0 - $1.1) * ($1.0 - $1.1))
            }
            return squares / batch.targets.scalars.reduce(0.0) { $0 + Double($1 * $1) }
        }
        var more = task
        more.distinct = nil
        let fresh = (1...8).map { more.batch(step: -$0) }
        let seen = (0..<(distinct ?? 4)).map { task.batch(step: $0) }
        let inputs = Tensor(fresh.flatMap { $0.inputs.scalars }, shape: [fresh.count * 256, width])
        return try ExpertReport(
            model.stored(.f32), inputs: inputs, domains: fresh.flatMap { $0.topics }, examples: steps * 256,
            trainingLoss: seen.map(error).reduce(0, +) / Double(seen.count),
            loss: fresh.map(error).reduce(0, +) / Double(fresh.count))
    }
}
