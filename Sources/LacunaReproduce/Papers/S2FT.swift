import Lacuna

/// Checks that training a slice of the weights learns a second task nearly as well as all weights do, and forgets less of the first.
struct S2FTReproduction: Reproduction {
    let shortName = "S2FT"
    let paper = 112
    let title = "S2FT: Efficient, Scalable and Generalizable LLM Fine-tuning by Structured Sparsity"
    let arXiv: String? = "2412.06289"
    let claim =
        "Fine-tuning a few randomly chosen heads and channels, made contiguous by a permutation that changes nothing, comes close to "
        + "full fine-tuning at a fraction of its memory and forgets less."

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = (0..<5).map { context.seed &* 100 &+ UInt64($0) }
        let (first, second) = context.quick ? (1500, 500) : (3000, 800)
        let rates = context.quick ? [1e-3, 4e-3] : [5e-4, 1e-3, 2e-3, 4e-3]
        var found: [String: [Double]] = [:]
        var best: [String: Double] = [:]
        var trained: [String: Int] = [:]
        var shift = 0.0
        var shares = S2FT.Shares()
        shares.down = 0.05
        for (place, seed) in seeds.enumerated() {
            try context.progress.report("related tasks", place, of: seeds.count)
            let tasks = RelatedTasks(seed: seed)
            let start = tasks.network()
            try tasks.train(start, tasks.trainA, first, 1e-3, [])
            let before = RelatedTasks.error(start, tasks.testA)
            found["A before", default: []].append(before)
            func copy() -> MLP {
                let model = tasks.network()
                for (to, from) in zip(model.layers, start.layers) {
                    to.weight = DenseWeight(from.weight.densified())
                    to.bias!.value = from.bias!.value
                }
                return model
            }
            // Another order computes the same.
            let turned = copy()
            for units in try CoupledUnits.all(of: turned) { try units.permute(Array((0..<units.count).reversed())) }
            shift = max(shift, abs(RelatedTasks.error(turned, tasks.testA) - before))
            for arm in ["full", "slices"] {
                func tuned(_ rate: Double) throws -> MLP {
                    let model = copy()
                    let method = try S2FT(shares: shares)
                    try tasks.train(model, tasks.trainB, second, rate, arm == "full" ? [] : [method])
                    trained[arm] =
                        arm == "full" ? model.parameterCount : method.adapters.reduce(0) { $0 + $1.values.count }
                    return model
                }
                // Every arm has the best of its rates, found with the first seed.
                if best[arm] == nil {
                    best[arm] = try rates.min {
                        try RelatedTasks.error(tuned($0), tasks.testB) < RelatedTasks.error(tuned($1), tasks.testB)
                    }
                }
                let model = try tuned(best[arm]!)
                found["B \(arm)", default: []].append(RelatedTasks.error(model, tasks.testB))
                found["A \(arm)", default: []].append(RelatedTasks.error(model, tasks.testA))
            }
            let scratch = tasks.network()
            try tasks.train(scratch, tasks.trainB, second, best["full"]!, [])
            found["B scratch", default: []].append(RelatedTasks.error(scratch, tasks.testB))
        }
        func sample(_ name: String) -> Sample { Sample(found[name]!) }
        return Outcome(
            setting:
                "\(seeds.count) pairs of related tasks on shared features; 20-192-192-4, pre-trained on 8000 samples for \(first) steps, tuned "
                + "on 300 for \(second); the columns behind 5 % of the hidden units, or all weights",
            measurements: [
                Measurement(
                    "relative error of the second task, slices", sample("B slices"), baseline: sample("B full"),
                    baselineName: "all weights"),
                Measurement("… from scratch", sample("B scratch")),
                Measurement(
                    "relative error of the first task afterwards, slices", sample("A slices"),
                    baseline: sample("A full"), baselineName: "all weights"),
                Measurement("… before", sample("A before")),
                Measurement(
                    "trained numbers, slices", measured: Double(trained["slices"]!), baseline: Double(trained["full"]!),
                    baselineName: "all weights"),
            ],
            checks: [
                Check("the order of units changes nothing", shift, .less, 1e-5),
                Check(
                    "the second task within 35 % of all weights", sample("B slices") / sample("B full"),
                    staysBelow: 1.35),
                Check("and better than from scratch", sample("B slices") / sample("B scratch"), staysBelow: 1),
                Check("less of the first is forgotten", sample("A slices") / sample("A full"), staysBelow: 1),
                Check(
                    "with less than a tenth of the trained numbers", Double(trained["slices"]!), .less,
                    0.1 * Double(trained["full"]!)),
            ],
            notes: [
                "Rates: all weights \(best["full"]!), slices \(best["slices"]!). A toy: no language model is part of this."
            ])
    }
}
