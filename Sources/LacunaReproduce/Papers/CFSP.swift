import Lacuna

/// Checks that a budget by angle and a choice by activation keep a pruned network close to the whole one, on small
/// stacks of feed-forward blocks.
struct CFSPReproduction: Reproduction {
    let shortName = "CFSP"
    let paper = 108
    let title =
        "CFSP: An Efficient Structured Pruning Framework for LLMs with Coarse-to-Fine Activation Information"
    let arXiv: String? = "2409.13199"
    let claim =
        "One forward pass is enough to prune neurons well: blocks keep as much as the angle between their input and "
        + "output asks for, and within blocks activations tell which neurons matter, better than existing criteria."

    /// Ways to choose within a block.
    private enum Choice: String, CaseIterable {
        case activation = "activation norm (CFSP)"
        case weighted = "weight x activation"
        case weightNorm = "weight norm"
        case random
    }

    func run(_ context: ReproductionContext) throws -> Outcome {
        let stacks = context.quick ? 5 : 8
        var errors: [String: [Double]] = [:]
        var deviation = 0.0
        func key(_ choice: Choice, _ ratio: Double, _ byAngle: Bool) -> String { "\(choice) \(ratio) \(byAngle)" }

        for index in 0..<stacks {
            try context.progress.report("pruning stacks", index, of: stacks)
            let seed = context.seed &* 1000 &+ UInt64(index)
            let stack = try ResidualStack(seed: seed)
            var generator = SeededGenerator(seed: seed, stream: 2)
            let seen = stack.observe(ResidualStack.inputs(1024, using: &generator))
            let unseen = ResidualStack.inputs(1024, using: &generator)
            let whole = stack.output(unseen)
            for (block, observation) in zip(stack.blocks, seen) {
                deviation = max(deviation, try Self.deviation(block, observation.norms))
            }
            for ratio in [0.2, 0.4] {
                for byAngle in [false, true] {
                    let counts = try CFSP(budget: AngularBudget(slope: byAngle ? 13.1072 : 0)).keptCounts(
                        importance: seen.map(\.angle), widths: stack.blocks.map(\.neurons), sparsity: ratio)
                    for choice in Choice.allCases {
                        var pruned = stack
                        for (place, block) in stack.blocks.enumerated() {
                            pruned.blocks[place] = block.keeping(
                                try keep(counts[place], block, seen[place].norms, choice, &generator))
                        }
                        errors[key(choice, ratio, byAngle), default: []].append(
                            Self.relativeError(pruned.output(unseen), whole))
                    }
                }
            }
        }
        return outcome(stacks: stacks, deviation: deviation) { Sample(errors[key($0, $1, $2)]!) }
    }

    private func outcome(
        stacks: Int, deviation: Double, _ error: (Choice, Double, _ byAngle: Bool) -> Sample
    ) -> Outcome {
        var measurements: [Measurement] = []
        var checks: [Check] = []
        for ratio in [0.2, 0.4] {
            let percent = "\(Int(ratio * 100 + 0.5)) %"
            for choice in Choice.allCases {
                measurements.append(
                    Measurement(
                        "relative output error, \(percent) of neurons removed by \(choice.rawValue), budget by angle",
                        error(choice, ratio, true), baseline: error(choice, ratio, false),
                        baselineName: "uniform budget"))
            }
            checks.append(
                Check(
                    "\(percent): the budget by angle at least halves the error",
                    error(.activation, ratio, true) / error(.activation, ratio, false), staysBelow: 0.5))
            for choice in [Choice.weightNorm, .random] {
                checks.append(
                    Check(
                        "\(percent): activations choose better than \(choice.rawValue)",
                        error(choice, ratio, true) - error(.activation, ratio, true), exceeds: 0))
            }
        }
        measurements.append(
            Measurement(
                "largest relative deviation of the published score from the activation norm", measured: deviation))
        return Outcome(
            setting:
                "mean of \(stacks) stacks of 8 residual gated blocks (width 48, 160 neurons each, planted scales); "
                + "1024 vectors to calibrate, 1024 others to judge; no recovery training",
            measurements: measurements, checks: checks,
            notes: [
                "The published score normalises each weight term by its own sum, so the weights cancel and what remains "
                    + "is the activation norm; the deviation measured above is rounding."
            ])
    }

    private func keep(
        _ count: Int, _ block: FeedForwardWeights, _ norms: [Float], _ choice: Choice,
        _ generator: inout SeededGenerator
    ) throws -> [Int] {
        switch choice {
        case .activation: return try CFSP().keptNeurons(block, activations: Self.seen(norms), count: count)
        case .weighted:
            return try CFSP(score: .weighted).keptNeurons(
                block, activations: Self.seen(norms), count: count)
        case .weightNorm:
            let ones = [Float](repeating: 1, count: block.neurons)
            return try CFSP(score: .weighted).keptNeurons(
                block, activations: Self.seen(ones), count: count)
        case .random:
            return Array(0..<block.neurons).shuffled(using: &generator).prefix(count).sorted()
        }
    }

    /// Activations of these norms: one token will do.
    private static func seen(_ norms: [Float]) -> InputStatistics {
        var statistics = InputStatistics(columns: norms.count)
        statistics.accumulate(Tensor(norms, shape: [1, norms.count]))
        return statistics
    }

    /// How far the published score is from `3 n_j / d`, relatively, at worst.
    private static func deviation(_ block: FeedForwardWeights, _ norms: [Float]) throws -> Double {
        let entries = try CFSP().neuronScore(block).score.scores(weight: block.down, statistics: seen(norms))
        let scores = (0..<block.neurons).map { j in
            (0..<entries.rows).reduce(0.0) { $0 + Double(entries[$1, j]) } / Double(entries.rows)
        }
        return zip(scores, norms).map { score, norm in
            let expected = 3 * Double(norm) / Double(block.gate.columns)
            return expected > 0 ? abs(Double(score) - expected) / expected : 0
        }.max() ?? 0
    }

    private static func relativeError(_ found: Tensor<Float>, _ expected: Tensor<Float>) -> Double {
        var (difference, whole) = (0.0, 0.0)
        for (a, b) in zip(found.scalars, expected.scalars) {
            difference += Double(a - b) * Double(a - b)
            whole += Double(b) * Double(b)
        }
        return (difference / whole).squareRoot()
    }
}
