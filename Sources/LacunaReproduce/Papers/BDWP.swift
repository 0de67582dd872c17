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
        let seeds = context.quick ? 2 : 5
        let groups: [(n: Int, m: Int)] = [(2, 4), (2, 8), (1, 8)]
        var table = groups.map { _ in [0.0, 0.0, 0.0] }
        var dense = 0.0
        var wrongGroups = 0
        for index in 0..<seeds {
            let bed = NMTraining(seed: context.seed &* 1000 &+ UInt64(index))
            dense += try bed.accuracy(nil) / Double(seeds)
            for (row, group) in groups.enumerated() {
                try context.progress.report("both directions", index * groups.count + row, of: seeds * groups.count)
                let pattern = Pattern.nm(n: group.n, m: group.m)
                table[row][0] += try bed.accuracy(SRSTE(pattern: pattern, decay: 0)) / Double(seeds)
                table[row][1] += try bed.accuracy(BDWP(n: group.n, m: group.m, isBackwardOnly: true)) / Double(seeds)
                table[row][2] += try bed.accuracy(BDWP(n: group.n, m: group.m)) / Double(seeds)
                // Down every column at most N of M consecutive rows may be used on the way back.
                let weight = bed.fresh().layers[1].weight.densified()
                let outputs = Pattern.nm(n: group.n, m: group.m, axis: .output)
                if try !StraightThroughView.mask(weight, outputs).satisfies(outputs) { wrongGroups += 1 }
            }
        }
        var measurements: [Measurement] = []
        for (group, row) in zip(groups, table) {
            for (name, value) in zip(["forward only", "backward only", "both"], row) {
                measurements.append(
                    Measurement(
                        "accuracy at \(group.n):\(group.m), \(name)", measured: value, baseline: dense,
                        baselineName: "dense"))
            }
        }
        let cost = try BDWP(n: 2, m: 8).computeRatio
        measurements.append(
            Measurement("multiply-adds of training at 2:8", measured: cost, baseline: 1, baselineName: "dense"))
        return Outcome(
            setting: "mean of \(seeds) networks 64-256-256-10 on ten classes of noisy blobs, both hidden layers sparse",
            measurements: measurements,
            checks: [
                Check(
                    "at 2:8 both directions are within 0.01 of forward alone", table[1][2], .atLeast, table[1][0] - 0.01
                ),
                Check("and within one point of dense", table[1][2], .atLeast, dense - 0.01),
                Check("at 2:8 training costs half", cost, .atMost, 0.5),
                Check("masks with groups along the wrong side", Double(wrongGroups), .atMost, 0),
            ], notes: ["The authors' speeds are of an accelerator of their own; here the work is counted, not timed."])
    }
}
