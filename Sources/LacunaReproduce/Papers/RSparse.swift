import Lacuna

/// Checks that a low-rank copy for the inputs that are left out helps where weights have decaying spectra, and what it gives a
/// language model.
struct RSparseReproduction: Reproduction {
    let shortName = "R-Sparse"
    let paper = 12
    let title = "R-Sparse: Rank-Aware Activation Sparsity for Efficient LLM Inference"
    let arXiv: String? = "2504.19449"
    let claim =
        "Half of what a matrix reads can go: the largest inputs meet the matrix, the others its low-rank copy, and shares between "
        + "the two, searched for each matrix, beat inputs alone and rank alone."

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = (0..<5).map { context.seed &* 1000 &+ UInt64($0) }
        var measurements: [Measurement] = []
        var checks: [Check] = []
        var missing: [String] = []
        var notes: [String] = []
        for decay in [0.0, 0.5, 1] {
            func sample(_ share: Double) throws -> Sample {
                try Sample(seeds: seeds) { try Self.error(seed: $0, decay: decay, share: share) }
            }
            let (rank, half, inputs) = (try sample(0), try sample(0.5), try sample(1))
            measurements += [
                Measurement(
                    "relative output error, singular values i^-\(decay), half of the budget on inputs", half,
                    baseline: inputs, baselineName: "all of it on inputs"),
                Measurement("the same with all of it on rank", rank),
            ]
            if decay == 1 {
                checks.append(
                    Check("fast decay: less than half of the error of inputs alone", half / inputs, staysBelow: 0.5))
            }
            if decay > 0 {
                checks.append(Check("decay \(decay): better than rank alone", half / rank, staysBelow: 0.75))
            }
            if decay == 0 { checks.append(Check("flat spectra: inputs alone are best", inputs / half, staysBelow: 1)) }
        }
        var losses: [String: [Double]] = [:]
        var description = ""
        for (place, seed) in seeds.enumerated() {
            try context.progress.report("language models", place, of: seeds.count)
            guard let task = try SkippingTask.make(context, seed: seed) else { continue }
            description = task.description
            losses["dense", default: []].append(try task.denseLoss())
            for name in ["r-sparse", "teal"] { losses[name, default: []].append(try task.loss("\(name):0.5").loss) }
        }
        if let dense = losses["dense"] {
            let (found, rival) = (Sample(losses["r-sparse"]!), Sample(losses["teal"]!))
            measurements.append(
                Measurement(
                    "loss a token above the dense model's, half of the weights read", found - Sample(dense),
                    baseline: rival - Sample(dense), baselineName: "magnitudes alone (TEAL)"))
            checks.append(Check("language model: a smaller loss at equal weights read", found - rival, staysBelow: 0))
        } else {
            missing.append(SkippingTask.isMissing)
        }
        notes.append(
            "Shares are searched matrix by matrix on a grid, where the authors evolve all of them by perplexity; every token is "
                + "sparse, where their code leaves the first nine tenths of a text dense.")
        return Outcome(
            setting:
                "\(seeds.count) seeds: matrices of 256 × 256 with random singular vectors, inputs of Student's t with 3 "
                + "degrees of freedom; " + description, measurements: measurements, checks: checks, notes: notes,
            missing: missing)
    }

    /// The error of one split of half of the weights.
    private static func error(seed: UInt64, decay: Double, share: Double) throws -> Double {
        var generator = SeededGenerator(seed: seed, stream: 12)
        let n = 256
        let left = try Tensor<Float>(normal: [n, n], using: &generator).qr().q
        let right = try Tensor<Float>(normal: [n, n], using: &generator).qr().q
        let values = (0..<n).map { Float(power(Double($0 + 1), -decay)) }
        let factor = left * Tensor(values, shape: [1, n])
        let weight = factor.multiplied(by: right, otherTransposed: true)
        let (channels, rank) = ActivationCalibrator.split(inputs: n, outputs: n, sparsity: 0.5, share: share)
        let base = try InputMajorMatrix(weight, values: .f32)
        let rule = ActivationGate.Rule(.largest(channels), weights: base.columnNorms)
        var leading = Tensor<Float>(zeros: [n, max(rank, 1)])
        let width = max(rank, 1)
        let entries = factor.scalars
        if rank > 0 {
            leading.withMutablePointer { p in
                for r in 0..<n { for i in 0..<rank { p[r * width + i] = entries[r * n + i] } }
            }
        }
        let bypass = try LowRankBypass(
            base, left: WeightStore.make(leading, layout: .dense, values: .f32),
            right: WeightStore.make(right.transposed().rows(0..<width), layout: .dense, values: .f32))
        var (lost, all) = (0.0, 0.0)
        for _ in 0..<64 {
            let x = (0..<n).map { _ -> Float in
                let chi = (0..<3).reduce(0.0) { sum, _ in
                    let z = generator.normal()
                    return sum + z * z
                }
                return Float(generator.normal() / (chi / 3).squareRoot())
            }
            var y = [Float](repeating: 0, count: n)
            (rule.active(x, count: n) ?? []).withUnsafeBufferPointer { bypass.multiply(x, activeInputs: $0, into: &y) }
            for (a, b) in zip(y, base.multiplied(by: x)) {
                lost += Double((a - b) * (a - b))
                all += Double(b * b)
            }
        }
        return (lost / all).squareRoot()
    }
}
