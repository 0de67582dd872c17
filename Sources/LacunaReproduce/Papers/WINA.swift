import Lacuna

/// Checks that column norms beside magnitudes choose better inputs, and that they choose best where columns are orthogonal.
struct WINAReproduction: Reproduction {
    let shortName = "WINA"
    let paper = 120
    let title = "WINA: Weight Informed Neuron Activation for Accelerating Large Language Model Inference"
    let arXiv: String? = "2505.19427"
    let claim =
        "Inputs with the largest magnitude times column norm are the ones to keep: exactly the best where columns are "
        + "orthogonal, and at equal sparsity better than magnitudes alone (TEAL) in language models, the more so at high sparsity."

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = (0..<5).map { context.seed &* 1000 &+ UInt64($0) }
        var measurements: [Measurement] = []
        var checks: [Check] = []
        var missing: [String] = []
        var notes: [String] = []
        try matrices(seeds, &measurements, &checks)
        var losses: [String: [Double]] = [:]
        var description = ""
        for (place, seed) in seeds.enumerated() {
            try context.progress.report("language models", place, of: seeds.count)
            guard let task = try SkippingTask.make(context, seed: seed) else { continue }
            description = task.description
            losses["dense", default: []].append(try task.denseLoss())
            for ratio in [0.4, 0.65] {
                for name in ["wina", "teal"] {
                    let (loss, sparsity) = try task.loss("\(name):\(ratio)")
                    losses["\(name) \(ratio)", default: []].append(loss)
                    losses["\(name) \(ratio) sparsity", default: []].append(sparsity)
                }
            }
        }
        if let dense = losses["dense"] {
            for ratio in [0.4, 0.65] {
                func sample(_ key: String) -> Sample { Sample(losses[key]!) }
                let (wina, teal) = (sample("wina \(ratio)"), sample("teal \(ratio)"))
                let percent = "\(Int(ratio * 100 + 0.5)) %"
                measurements.append(
                    Measurement(
                        "loss a token above the dense model's, \(percent) of the weights left out",
                        wina - Sample(dense),
                        baseline: teal - Sample(dense), baselineName: "TEAL"))
                checks.append(Check("\(percent): a smaller loss than TEAL's", wina - teal, staysBelow: 0))
                for name in ["wina", "teal"] {
                    let worst = losses["\(name) \(ratio) sparsity"]!.map { abs($0 - ratio) }.max()!
                    checks.append(
                        Check("\(percent): \(name) leaves out what it should, on fresh text", worst, .less, 0.03))
                }
            }
        } else {
            missing.append(SkippingTask.isMissing)
        }
        notes.append(
            "Norms count in all seven matrices, where the authors' code has them in two; ratios are uniform, where the authors "
                + "spread them greedily; the stream is not turned. No token is left dense.")
        return Outcome(
            setting:
                "\(seeds.count) seeds: matrices of 256 × 256 with columns scaled by exp(σ · normal) and Laplace inputs; "
                + description, measurements: measurements, checks: checks, notes: notes, missing: missing)
    }

    private func matrices(_ seeds: [UInt64], _ measurements: inout [Measurement], _ checks: inout [Check]) throws {
        for sigma in [0.0, 0.5, 1] {
            let found = try Sample(seeds: seeds) { try Self.error(seed: $0, sigma: sigma, isWeighted: true) }
            let rival = try Sample(seeds: seeds) { try Self.error(seed: $0, sigma: sigma, isWeighted: false) }
            measurements.append(
                Measurement(
                    "relative output error, half of the inputs, σ = \(sigma)", found, baseline: rival,
                    baselineName: "magnitude"))
            checks.append(
                sigma == 0
                    ? Check("columns of one length: no difference", abs((found / rival).mean - 1), .less, 0.05)
                    : Check("σ = \(sigma): a smaller error", found / rival, staysBelow: sigma == 1 ? 0.5 : 0.9))
        }
        let trials = 50
        let misses = try [true, false].map { isOrthogonal in
            try (0..<trials).count { try !Self.isBest(seed: seeds[0] &+ UInt64($0), isOrthogonal) }
        }
        measurements.append(
            Measurement(
                "choices of 4 of 10 inputs that are not the best of all 210, orthogonal columns, of \(trials)",
                measured: Double(misses[0]), baseline: Double(misses[1]), baselineName: "other columns"))
        checks += [
            Check("orthogonal columns: always the best choice", Double(misses[0]), .atMost, 0),
            Check("other columns: not always", Double(misses[1]), .greater, 0),
        ]
    }

    private static func scaled(_ weight: Tensor<Float>, sigma: Double, using generator: inout SeededGenerator)
        -> Tensor<Float>
    {
        let scales = (0..<weight.columns).map { _ in Float(exponential(sigma * generator.normal())) }
        return weight * Tensor(scales, shape: [1, scales.count])
    }

    private static func error(seed: UInt64, sigma: Double, isWeighted: Bool) throws -> Double {
        var generator = SeededGenerator(seed: seed, stream: 120)
        let n = 256
        let weight = scaled(Tensor<Float>(normal: [n, n], using: &generator), sigma: sigma, using: &generator)
        let norms = isWeighted ? try WeightStore.make(weight, layout: .dense, values: .f32).columnNorms : nil
        let rule = ActivationGate.Rule(.largest(n / 2), weights: norms)
        var (lost, all) = (0.0, 0.0)
        for _ in 0..<32 {
            let x = (0..<n).map { _ in
                Float(-logarithm(1 - generator.uniform()) * (generator.uniform() < 0.5 ? 1 : -1))
            }
            var rest = x
            for i in rule.active(x, count: n) ?? [] { rest[Int(i)] = 0 }
            let y = Tensor(rest + x, shape: [2, n]).multiplied(by: weight, otherTransposed: true).scalars
            lost += y[..<n].reduce(0) { $0 + Double($1 * $1) }
            all += y[n...].reduce(0) { $0 + Double($1 * $1) }
        }
        return (lost / all).squareRoot()
    }

    private static func isBest(seed: UInt64, _ isOrthogonal: Bool) throws -> Bool {
        var generator = SeededGenerator(seed: seed, stream: 121)
        let gaussian = Tensor<Float>(normal: [16, 10], using: &generator)
        let weight = scaled(isOrthogonal ? try gaussian.qr().q : gaussian, sigma: 1, using: &generator)
        let x = (0..<10).map { _ in Float(generator.normal()) }
        let entries = weight.scalars
        func error(_ kept: Set<Int>) -> Double {
            (0..<16).reduce(0.0) { sum, r in
                let rest = (0..<10).reduce(0.0) {
                    kept.contains($1) ? $0 : $0 + Double(entries[r * 10 + $1]) * Double(x[$1])
                }
                return sum + rest * rest
            }
        }
        let norms = try WeightStore.make(weight, layout: .dense, values: .f32).columnNorms
        let chosen = ActivationGate.Rule(.largest(4), weights: norms).active(x, count: 10) ?? []
        var best = Double.infinity
        for bits in 0..<1024 where bits.nonzeroBitCount == 4 {
            best = min(best, error(Set((0..<10).filter { bits >> $0 & 1 == 1 })))
        }
        return error(Set(chosen.map { Int($0) })) <= best * (1 + 1e-4)
    }
}
