import Lacuna

/// Checks that exchanging mask entries cancels the expected error of pruned layers, on synthetic layers.
struct DSnoTReproduction: Reproduction {
    let shortName = "DSnoT"
    let paper = 23
    let title = "Dynamic Sparse No Training: Training-Free Fine-tuning for Sparse LLMs"
    let arXiv: String? = "2310.08915"
    let claim =
        "Exchanging kept and removed weights so as to cancel each output's expected error, without any training, "
        + "improves masks of magnitude pruning and of Wanda, most at high sparsity."

    private struct Result {
        var expected = 0.0
        var error = 0.0
        /// Rows whose number of kept entries is not what it was.
        var brokenRows = 0
    }

    func run(_ context: ReproductionContext) throws -> Outcome {
        let layers = context.quick ? 2 : 6
        let methods: [(name: String, base: any LayerwisePruning)] = [("Wanda", Wanda()), ("magnitude", Magnitude())]
        var measurements: [Measurement] = []
        var checks: [Check] = []
        var notes: [String] = []
        var brokenRows = 0
        for sparsity in [0.5, 0.7] {
            let percent = "\(Int(sparsity * 100 + 0.5)) %"
            for (name, base) in methods {
                var before = Result()
                var after = Result()
                var untested = Result()
                for index in 0..<layers {
                    try context.progress.report("\(name) \(percent)", index, of: layers)
                    let task = LayerTask(seed: context.seed &* 1000 &+ UInt64(index))
                    let initial = try mask(task, base, sparsity)
                    add(task, initial, from: initial, to: &before)
                    add(task, try refined(DSnoT(), task, initial), from: initial, to: &after)
                    let released = DSnoT(threshold: 0.1 / 2048, signTest: false)
                    add(task, try refined(released, task, initial), from: initial, to: &untested)
                }
                let scale = 1 / Double(layers)
                measurements.append(
                    Measurement(
                        "mean |expected error|, \(percent), DSnoT after \(name)", measured: after.expected * scale,
                        baseline: before.expected * scale, baselineName: name))
                measurements.append(
                    Measurement(
                        "relative output error, \(percent), DSnoT after \(name)", measured: after.error * scale,
                        baseline: before.error * scale, baselineName: name))
                checks.append(
                    Check(
                        "\(percent): the expected error of \(name) falls to a third", after.expected * scale, .atMost,
                        before.expected * scale / 3))
                checks.append(
                    Check(
                        "\(percent): the output error is not above that of \(name)", after.error * scale, .atMost,
                        before.error * scale))
                let ratio = (untested.error / before.error * 100).rounded() / 100
                notes.append(
                    "With the released defaults (no sign test, threshold 0.1 over a sequence of 2048 tokens) the output "
                        + "error at \(percent) is \(ratio) times that of \(name).")
                brokenRows += after.brokenRows + untested.brokenRows
            }
        }
        checks.append(Check("rows whose budget changed", Double(brokenRows), .atMost, 0))
        return Outcome(
            setting:
                "mean of \(layers) synthetic layers, 256 inputs with correlations and means, 128 outputs, Student-t "
                + "weights; 2048 tokens to calibrate, 2048 others to judge; threshold 0.001 a token, sign test on",
            measurements: measurements, checks: checks, notes: notes)
    }

    private func mask(_ task: LayerTask, _ base: any LayerwisePruning, _ sparsity: Double) throws -> SparsePattern {
        var weight = task.weight
        return try base.prune(
            &weight, statistics: task.statistics, request: PruningRequest(.unstructured(.row), sparsity: sparsity))
    }

    private func refined(_ refiner: DSnoT, _ task: LayerTask, _ mask: SparsePattern) throws -> SparsePattern {
        try refiner.refine(mask, weight: task.weight, statistics: task.statistics, pattern: .unstructured(.row))
    }

    private func add(_ task: LayerTask, _ mask: SparsePattern, from initial: SparsePattern, to result: inout Result) {
        result.expected += task.expectedError(mask)
        result.error += task.outputError(mask.applied(to: task.weight))
        result.brokenRows += (0..<mask.rows).count { mask.keptCount(row: $0) != initial.keptCount(row: $0) }
    }
}
