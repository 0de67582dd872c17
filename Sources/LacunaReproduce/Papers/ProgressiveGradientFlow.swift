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
        let seeds = (0..<(context.quick ? 5 : 8)).map { context.seed &* 1000 &+ UInt64($0) }
        let groups = [8, 16, 32]
        func flow(
            _ flow: ProgressiveGradientFlow.Flow, dense: Double = 0, fineTune: Double = 0, chain: Bool = false
        ) -> (Int) throws -> any TrainingHook {
            {
                try ProgressiveGradientFlow(
                    n: 1, m: $0, flow: flow, dense: dense, fineTune: fineTune, appliesChainRule: chain)
            }
        }
        let arms: [(name: String, make: (Int) throws -> any TrainingHook)] = [
            ("masked from the start", { try SRSTE(pattern: .nm(n: 1, m: $0), decay: 0) }),
            ("values decay, exp(-6u)", flow(.exponential(6))),
            ("fixed mask", { FixedMask(.nm(n: 1, m: $0)) }),
            ("values decay, by the chain rule", flow(.exponential(6), chain: true)),
            ("values decay, linear", flow(.linear(1.25))),
            (
                "values decay between a tenth dense and a tenth under a fixed mask",
                flow(.exponential(6), dense: 0.1, fineTune: 0.1)
            ),
            ("pattern tightens stepwise", flow(.stepwise)),
            ("pattern tightens at one ratio", flow(.geometric)),
        ]
        var table = groups.map { _ in arms.map { _ in [Double]() } }
        var (dense, violations) = ([Double](), 0)
        for (index, seed) in seeds.enumerated() {
            let bed = NMTraining(seed: seed)
            dense.append(try bed.accuracy(nil))
            for (row, m) in groups.enumerated() {
                try context.progress.report("N:M training", index * groups.count + row, of: seeds.count * groups.count)
                for (column, arm) in arms.enumerated() {
                    let found = try bed.trained(arm.make(m))
                    table[row][column].append(found.accuracy)
                    violations += found.model.layers.dropLast().count {
                        !SparsePattern(nonzerosOf: $0.weight.densified()).satisfies(.nm(n: 1, m: m))
                    }
                }
            }
        }
        let samples = table.map { $0.map { Sample($0) } }
        let whole = Sample(dense)
        let measurements = zip(groups, samples).flatMap { m, row in
            zip(arms, row).map { arm, sample in
                Measurement("accuracy at 1:\(m), \(arm.name)", sample, baseline: whole, baselineName: "dense")
            }
        }
        var checks = zip(groups, samples).prefix(2).flatMap { m, row in
            [
                Check(
                    "at 1:\(m) decaying values are no worse than masking at once by 0.005", row[1] - row[0],
                    exceeds: -0.005),
                Check("and beat a fixed mask by over 0.02", row[1] - row[2], exceeds: 0.02),
            ]
        }
        checks.append(Check("layers that are not N:M at the end", Double(violations), .atMost, 0))
        /// What decaying values are ahead of masking from the start, in points, with the standard error.
        func gain(_ row: [Sample]) -> String {
            let difference = row[1] - row[0]
            return "\((difference.mean * 1e4).rounded() / 100) ± \((difference.standardError * 1e4).rounded() / 100)"
        }
        return Outcome(
            setting:
                "mean of \(seeds.count) networks 64-256-256-10 on ten classes of noisy blobs, both hidden layers sparse",
            measurements: measurements, checks: checks,
            notes: [
                "The authors gain a few points over masking from the start; here decaying values are ahead by \(gain(samples[0])) points at "
                    + "1:8, \(gain(samples[1])) at 1:16 and \(gain(samples[2])) at 1:32, and the checks ask that there is no loss at the first two."
            ])
    }
}
