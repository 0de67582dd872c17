import Lacuna

/// Checks N:M sparsity in the forward and the backward product at once.
struct BDWPReproduction: Reproduction {
    let shortName = "BDWP"
    let paper = 121
    let title = "Efficient N:M Sparse DNN Training Using Algorithm, Architecture, and Dataflow Co-Design"
    let arXiv: String? = "2309.13015"
    let claim =
        "Pruning weights to N:M by inputs in the forward pass and by outputs in the backward pass halves the work of "
        + "training at 2:8 with less than one point of accuracy lost."

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = (0..<(context.quick ? 5 : 8)).map { context.seed &* 1000 &+ UInt64($0) }
        let groups: [(n: Int, m: Int)] = [(2, 4), (2, 8), (1, 8)]
        let arms: [(name: String, make: (Int, Int) throws -> any TrainingHook)] = [
            ("forward only", { try SRSTE(pattern: .nm(n: $0, m: $1), decay: 0) }),
            ("backward only", { try BDWP(n: $0, m: $1, isBackwardOnly: true) }),
            ("both", { try BDWP(n: $0, m: $1) }),
            ("both, λ 2e-4", { try BDWP(n: $0, m: $1, decay: 2e-4) }),
        ]
        var table = groups.map { _ in arms.map { _ in [Double]() } }
        var dense: [Double] = []
        // Of steps at 2:8 in those of dense ones.
        var (work, time) = ([Double](), [Double]())
        var violations = 0
        for (index, seed) in seeds.enumerated() {
            let bed = NMTraining(seed: seed)
            let whole = try bed.trained(nil)
            dense.append(whole.accuracy)
            for (row, group) in groups.enumerated() {
                try context.progress.report(
                    "both directions", index * groups.count + row, of: seeds.count * groups.count)
                for (column, arm) in arms.enumerated() {
                    let found = try bed.trained(arm.make(group.n, group.m))
                    table[row][column].append(found.accuracy)
                    if arm.name == "backward only" { continue }
                    violations += found.model.layers.dropLast().count {
                        !SparsePattern(nonzerosOf: $0.weight.densified()).satisfies(.nm(n: group.n, m: group.m))
                    }
                    guard arm.name == "both", group.m == 8, group.n == 2 else { continue }
                    work.append(
                        Double(found.report.multiplyAddsPerStep) / Double(whole.report.multiplyAddsPerStep))
                    time.append(found.report.seconds / whole.report.seconds)
                }
            }
        }
        let samples = table.map { $0.map { Sample($0) } }
        let (whole, atEight) = (Sample(dense), samples[1])
        var measurements = zip(groups, samples).flatMap { group, row in
            zip(arms, row).map { arm, sample in
                Measurement(
                    "accuracy at \(group.n):\(group.m), \(arm.name)", sample, baseline: whole, baselineName: "dense")
            }
        }
        measurements += [
            Measurement(
                "multiply-adds of a step at 2:8, as counted in training, in those of a dense one", Sample(work)),
            Measurement("time of training at 2:8 in that of dense training, batches of 64", Sample(time)),
        ]
        return Outcome(
            setting:
                "mean of \(seeds.count) networks 64-256-256-10 on ten classes of noisy blobs, both hidden layers sparse",
            measurements: measurements,
            checks: [
                Check(
                    "at 2:8 both directions are no worse than forward alone by 0.01", atEight[2] - atEight[0],
                    exceeds: -0.01),
                Check("and within one point of dense", atEight[2] - whole, exceeds: -0.01),
                Check("a step at 2:8 does at most 0.55 of the multiplications", Sample(work), staysBelow: 0.55),
                Check("and takes less time than a dense one", Sample(time), staysBelow: 1),
                Check("layers that are not N:M at the end", Double(violations), .atMost, 0),
            ],
            notes: [
                "Half of the multiplications would be left of layers alone that all three products are done for: the first layer's input needs no "
                    + "gradient, and the last layer is dense. The authors' speeds are of an accelerator of their own."
            ])
    }
}
