import Lacuna

/// Checks N:M training in which masked weights fade out, at high sparsity.
struct ProgressiveGradientFlowReproduction: Reproduction {
    let shortName = "PGF"
    let paper = 22
    let title = "Progressive Gradient Flow for Robust N:M Sparsity Training in Transformers"
    let arXiv: String? = "2402.04744"
    let claim =
        "At over 80 % sparsity, letting masked weights or the pattern decay progressively trains better N:M networks than "
        + "masking from the first step."

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = context.quick ? 2 : 5
        let groups = [8, 16, 32]
        let arms: [(name: String, flow: ProgressiveGradientFlow.Flow, chain: Bool)] = [
            ("masked from the start", .exponential(1e9), false), ("values decay, exp(-6u)", .exponential(6), false),
            ("the same by the chain rule", .exponential(6), true), ("values decay, linear", .linear(1.25), false),
            ("pattern tightens stepwise", .stepwise, false),
        ]
        var table = groups.map { _ in [Double](repeating: 0, count: arms.count + 1) }
        var dense = 0.0
        for index in 0..<seeds {
            let bed = NMTraining(seed: context.seed &* 1000 &+ UInt64(index))
            dense += try bed.accuracy(nil) / Double(seeds)
            for (row, m) in groups.enumerated() {
                try context.progress.report("N:M training", index * groups.count + row, of: seeds * groups.count)
                for (column, arm) in arms.enumerated() {
                    let method = try ProgressiveGradientFlow(n: 1, m: m, flow: arm.flow, appliesChainRule: arm.chain)
                    table[row][column] += try bed.accuracy(method) / Double(seeds)
                }
                table[row][arms.count] += try bed.accuracy(FixedMask(.nm(n: 1, m: m))) / Double(seeds)
            }
        }
        var measurements: [Measurement] = []
        for (m, row) in zip(groups, table) {
            for (name, value) in zip(arms.map(\.name) + ["fixed mask"], row) {
                measurements.append(
                    Measurement("accuracy at 1:\(m), \(name)", measured: value, baseline: dense, baselineName: "dense"))
            }
        }
        let checks = zip(groups, table).prefix(2).flatMap { m, row in
            [
                Check("at 1:\(m) decaying values are no worse than masking at once", row[1], .atLeast, row[0] - 0.005),
                Check("and beat a fixed mask by over 0.02", row[1] - row.last!, .greater, 0.02),
            ]
        }
        return Outcome(
            setting: "mean of \(seeds) networks 64-256-256-10 on ten classes of noisy blobs, both hidden layers sparse",
            measurements: measurements, checks: checks,
            notes: [
                "The authors' gain of a few points over masking from the start is not large enough to show beyond noise "
                    + "here, so the check is that there is no loss; 1:32 is listed and not checked."
            ])
    }
}
