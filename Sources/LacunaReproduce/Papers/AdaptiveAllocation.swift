import Lacuna

/// Checks that sharing a batch's budget among tokens or among features explains more than giving every token the same.
struct AdaptiveAllocationReproduction: Reproduction {
    let shortName = "MutualChoice"
    let paper = 28
    let title = "Adaptive Sparse Allocation with Mutual Choice & Feature Choice Sparse Autoencoders"
    let arXiv: String? = "2411.02124"
    let claim =
        "Mutual Choice and Feature Choice sparse autoencoders reconstruct better than TopK ones at the same mean number of "
        + "active features, and Feature Choice leaves hardly any feature dead."

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = 5
        let steps = context.quick ? 1500 : 4000
        let count = context.quick ? 15_360 : 40_960
        let k = 4
        let profile = FeatureProfile.zipf(exponent: 1, shift: 3)
        var unexplained = [Sample](repeating: Sample(), count: 3)
        var dead = unexplained
        var active = unexplained
        var even = [Sample](repeating: Sample(), count: 2)
        for index in 0..<seeds {
            try context.progress.report("dictionaries", index, of: seeds)
            let seed = context.seed &* 1000 &+ UInt64(index)
            var atoms = try SuperposedAtoms(
                dimensions: 32, atoms: 96, activity: .geometric(mean: 4, limit: 12), seed: seed)
            atoms.frequencies = (1...96).map { 1 / (Double($0) + 3) }
            atoms.noise = 0.01
            let bed = DictionaryBed(atoms, count: count, seed: seed)
            for (i, rule) in [SelectionRule.topK(k), .batchTopK(k), .featureChoice(k, profile: profile)].enumerated() {
                let (dictionary, _) = try bed.trained(rule, width: 128, steps: steps) {
                    if i == 2 {
                        $0.auxiliary = AuxiliaryLoss(.underUsed(share: 0.5, exponent: 1, shift: 3))
                    }
                }
                // At an equal number of active features: a batch of all held-out vectors shares its budget exactly.
                let quality = try DictionaryQuality(
                    of: dictionary, on: [ActivationBatch(step: 0, inputs: bed.test)], scope: .batch)
                unexplained[i].values.append(quality.unexplained)
                dead[i].values.append(quality.dead)
                active[i].values.append(quality.active)
            }
            // The control: the same number of active atoms in every vector.
            var constant = atoms
            constant.activity = .exactly(4)
            let control = DictionaryBed(constant, count: count, seed: seed)
            for (i, rule) in [SelectionRule.topK(k), .batchTopK(k)].enumerated() {
                let (dictionary, _) = try control.trained(rule, width: 128, steps: steps)
                even[i].values.append(
                    try DictionaryQuality(
                        of: dictionary, on: [ActivationBatch(step: 0, inputs: control.test)], scope: .batch
                    ).unexplained)
            }
        }
        let gain = unexplained[1] / unexplained[0]
        let controlGain = even[1] / even[0]
        return Outcome(
            setting:
                "96 atoms of Zipf frequencies in 32 dimensions, 1 + geometric active (mean 4); dictionaries of 128, "
                + "k = 4, \(steps) steps of 512; \(seeds) seeds",
            measurements: [
                unexplained[1].measured("variance not explained, Mutual Choice", against: unexplained[0], "TopK"),
                unexplained[2].measured("variance not explained, Feature Choice", against: unexplained[0], "TopK"),
                dead[1].measured("dead features, Mutual Choice", against: dead[0], "TopK"),
                dead[2].measured("dead features, Feature Choice", against: dead[0], "TopK"),
                active[1].measured("active features a token, Mutual Choice", against: active[0], "TopK"),
                active[2].measured("active features a token, Feature Choice", against: active[0], "TopK"),
                even[1].measured(
                    "the same with 4 active atoms in every vector, Mutual Choice", against: even[0], "TopK"),
            ],
            checks: [
                Check("Mutual Choice leaves at most 3/4 of what TopK leaves", gain.high, .less, 0.75),
                Check("Feature Choice leaves less than TopK", (unexplained[2] - unexplained[0]).high, .less, 0),
                Check("Feature Choice has no more than 1 % of dead features", dead[2].high, .less, 0.01),
                Check("and fewer than TopK", (dead[2] - dead[0]).high, .less, 0),
                Check("budgets are equal", abs(active[1].mean - active[0].mean), .less, 0.1),
                Check(
                    "the gain is smaller where all vectors are equally hard", (controlGain - gain).low, .greater, 0.1),
            ],
            notes: [
                "Feature Choice takes the Zipf profile (exponent 1, shift 3) that the atoms' frequencies follow, and the "
                    + "auxiliary loss for under-used features; TopK and Mutual Choice the one for dead features.",
                "All are scored with the budget of the held-out batch shared exactly, so that the numbers of active features "
                    + "are the same.",
            ])
    }
}
