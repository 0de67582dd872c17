import Lacuna

/// Checks that one threshold over all singular values shares ranks out better than the same rank everywhere.
struct WeLoreReproduction: Reproduction {
    let shortName = "WeLore"
    let paper = 113
    let title = "From Low Rank Gradient Subspace Stabilization to Low-Rank Weights"
    let arXiv: String? = "2407.11239"
    let claim =
        "Weights differ widely in how low-rank they have become; one data-free threshold on normalised singular values finds a "
        + "rank for each, which loses far less than the same rank for all, and training the low-rank factors alone recovers."

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = (0..<(context.quick ? 3 : 5)).map { context.seed &* 1000 &+ UInt64($0) }
        var measurements: [Measurement] = []
        var checks: [Check] = []
        var missing: [String] = []
        var notes: [String] = []
        for sparsity in [0.3, 0.5] {
            let percent = "\(Int(sparsity * 100 + 0.5)) %"
            var wrong = 0
            let found = try Sample(seeds: seeds) { seed in
                let network = Self.network(seed: seed)
                let method = try Self.prepared(network, sparsity)
                for (name, isLow) in Self.isLowRank where (method.ranks[name]! < 48) != isLow { wrong += 1 }
                return try Self.error(network) { method.ranks[$0]! }
            }
            let uniform = try Sample(seeds: seeds) { seed in
                try Self.error(Self.network(seed: seed)) { _ in Int((1 - sparsity) * 96) }
            }
            measurements.append(
                Measurement(
                    "mean relative error of six matrices, \(percent) of all ranks removed", found, baseline: uniform,
                    baselineName: "the same rank for all"))
            checks += [
                Check("\(percent): less than half of the error", found / uniform, staysBelow: 0.5),
                Check("\(percent): low-rank matrices told from others", Double(wrong), .atMost, 0),
            ]
        }

        // Trained weights, at equal numbers stored, then the same steps of training for both.
        let sparsity = 0.2
        var before: [String: [Double]] = [:]
        for (place, seed) in seeds.enumerated() {
            try context.progress.report("language models", place, of: seeds.count)
            guard
                let task = try CompressionTask(
                    seed: seed, steps: context.quick ? 400 : 1000, progress: context.progress)
            else { continue }
            before["dense", default: []].append(try task.perplexity(task.decoder))
            let arms: [(String, any MatrixCompression)] = [
                ("WeLore", WeLore()), ("uniform", LowRank(isWhitened: false)),
            ]
            for (name, method) in arms {
                let (decoder, _) = try task.compressed(method, pattern: nil, sparsity: sparsity)
                before[name, default: []].append(try task.perplexity(decoder))
            }
        }
        if let dense = before["dense"] {
            let (found, rival) = (Sample(before["WeLore"]!), Sample(before["uniform"]!))
            measurements += [
                Measurement(
                    "perplexity a character, 20 % fewer numbers stored", found, baseline: rival,
                    baselineName: "one rank for each shape"),
                Measurement("perplexity of the dense model", Sample(dense)),
            ]
            checks.append(
                Check("trained weights: the threshold loses less than one rank", found / rival, staysBelow: 1))
        } else {
            missing.append(RealData.austenIsMissing)
        }
        notes.append(
            "Half of all ranks removed leaves about 0.7 of the numbers: full-rank matrices stay as they are. Recovery by training "
                + "the factors alone is not part of this check.")
        return Outcome(
            setting:
                "\(seeds.count) draws of six matrices of 96 × 96 (rank 8, rank 16 and 32 with noise, two Gaussian, one that "
                + "decays) and as many transformers of two blocks trained on Jane Austen; no data for the ranks",
            measurements: measurements, checks: checks, notes: notes, missing: missing)
    }

    private static let isLowRank = [("w0", true), ("w1", true), ("w3", false), ("w4", false)]

    private static func network(seed: UInt64) -> [(name: String, weight: Tensor<Float>)] {
        var generator = SeededGenerator(seed: seed, stream: 113)
        let n = 96
        func low(_ rank: Int, _ noise: Float) -> Tensor<Float> {
            let product = Tensor<Float>(normal: [n, rank], using: &generator).multiplied(
                by: Tensor(normal: [rank, n], using: &generator))
            let rest = Tensor<Float>(normal: [n, n], using: &generator)
            return Tensor(zip(product.scalars, rest.scalars).map { $0 + noise * $1 }, shape: [n, n])
        }
        func gaussian() -> Tensor<Float> { Tensor(normal: [n, n], using: &generator) }
        let decays = (0..<n).map { Float(exponential(-Double($0) / 12)) }
        let decaying = Tensor<Float>(gaussian().scalars.enumerated().map { $1 * decays[$0 % n] }, shape: [n, n])
        let all = [low(8, 0), low(16, 0.05), low(32, 0.1), gaussian(), gaussian(), decaying]
        return all.enumerated().map { ("w\($0)", $1) }
    }

    private static func prepared(_ network: [(name: String, weight: Tensor<Float>)], _ sparsity: Double) throws
        -> WeLore
    {
        let weights = Dictionary(uniqueKeysWithValues: network)
        return try WeLore(target: .ranks).shared(
            among: network.map { ($0.name, $0.weight.shape) }, sparsity: sparsity
        ) { weights[$0]! }
    }

    private static func error(_ network: [(name: String, weight: Tensor<Float>)], _ rank: (String) -> Int) throws
        -> Double
    {
        let errors = try network.map { name, weight in
            let s = try weight.svd().s.map { Double($0) * Double($0) }
            return (s.dropFirst(rank(name)).reduce(0, +) / s.reduce(0, +)).squareRoot()
        }
        return errors.reduce(0, +) / Double(errors.count)
    }
}
