import Lacuna

/// Checks that one-shot magnitude pruning is free up to a point and ruinous behind it, on small trained classifiers.
struct EssentialSparsityReproduction: Reproduction {
    let shortName = "EssentialSparsity"
    let paper = 64
    let title = "The Emergence of Essential Sparsity in Large Pre-trained Models: The Weights that Matter"
    let arXiv: String? = "2306.03805"
    let claim =
        "Large pre-trained models have an essential sparsity: one-shot removal of the smallest weights costs next to "
        + "nothing up to it, and quality falls sharply beyond. It exists for N:M patterns too; random masks have none."

    /// Loss of accuracy that still counts as none. Two points, because accuracy on 3000 samples is known to about one.
    private static let tolerance = 0.02
    private static let groups: [Pattern] = [.nm(n: 4, m: 8), .nm(n: 2, m: 4), .nm(n: 1, m: 4)]

    func run(_ context: ReproductionContext) throws -> Outcome {
        let networks = context.quick ? 2 : 4
        let sweep = SparsitySweep(sparsities: (0..<19).map { Double($0) / 20 })
        var magnitude: [SparsityCurve] = []
        var random: [SparsityCurve] = []
        var patterned = [Double](repeating: 0, count: Self.groups.count)
        for index in 0..<networks {
            try context.progress.report("training and pruning", index, of: networks)
            let seed = context.seed &* 1000 &+ UInt64(index)
            let task = BlobTask(seed: seed)
            var generator = SeededGenerator(seed: seed, stream: 1)
            let network = MLP(widths: [BlobTask.features, 256, 256, BlobTask.classes], using: &generator)
            try ClassifierTraining().train(network, task.train, seed: seed)
            let test = try task.test
            // The output layer is left alone, as the authors leave heads and embeddings.
            let hidden = network.layers.dropLast().map { $0.weight.densified() }
            func accuracy(_ weights: [Tensor<Float>]) -> Double {
                for (layer, weight) in zip(network.layers, weights) { layer.dense?.parameter.value = weight }
                return ClassifierTraining.accuracy(network, test)
            }
            magnitude.append(
                try sweep.run(hidden, method: Magnitude(), metric: .accuracy, evaluate: accuracy))
            random.append(
                try sweep.run(hidden, method: RandomPruning(seed: seed), metric: .accuracy, evaluate: accuracy))
            for (place, pattern) in Self.groups.enumerated() {
                var weights = hidden
                for layer in weights.indices {
                    _ = try Magnitude().prune(
                        &weights[layer], statistics: nil, request: PruningRequest(pattern, layer: layer))
                }
                patterned[place] += accuracy(weights) / Double(networks)
            }
        }
        let mean = Self.mean(magnitude)
        let control = Self.mean(random)
        return outcome(mean, control, patterned, networks: networks)
    }

    private func outcome(
        _ magnitude: SparsityCurve, _ random: SparsityCurve, _ patterned: [Double], networks: Int
    ) -> Outcome {
        func value(_ curve: SparsityCurve, _ sparsity: Double) -> Double {
            curve.points.first { abs($0.sparsity - sparsity) < 1e-9 }?.value ?? .nan
        }
        let essential = magnitude.essentialSparsity(tolerance: Self.tolerance) ?? .nan
        let control = random.essentialSparsity(tolerance: Self.tolerance) ?? .nan
        let knee = magnitude.knee?.sparsity ?? .nan
        let dense = value(magnitude, 0)
        var rows = [0.0, 0.3, 0.5, 0.7, 0.9].map {
            Measurement(
                "accuracy with \(Int($0 * 100 + 0.5)) % removed by magnitude", measured: value(magnitude, $0),
                baseline: value(random, $0), baselineName: "at random")
        }
        rows.append(
            Measurement(
                "essential sparsity (loss of at most 0.02)", measured: essential, baseline: control,
                baselineName: "random mask"))
        rows.append(Measurement("knee of the curve", measured: knee))
        for (pattern, accuracy) in zip(Self.groups, patterned) {
            rows.append(
                Measurement("accuracy at \(pattern)", measured: accuracy, baseline: dense, baselineName: "dense"))
        }
        return Outcome(
            setting: "mean of \(networks) networks 64-256-256-10 trained on ten classes of noisy blobs; one-shot, "
                + "globally over both hidden layers, always from the trained weights, no retraining",
            measurements: rows,
            checks: [
                Check("magnitude pruning is free beyond 40 %", essential, .greater, 0.4),
                Check("a random mask is not free at 10 %", control, .less, 0.1),
                Check("the fall beyond is sharp: over 0.2 lost at 90 %", dense - value(magnitude, 0.9), .greater, 0.2),
                Check("the knee lies behind the essential sparsity", knee, .atLeast, essential),
                Check("free choice of half is no worse than 4:8", value(magnitude, 0.5), .atLeast, patterned[0]),
                Check("4:8 is no worse than 2:4", patterned[0], .atLeast, patterned[1]),
                Check("2:4 is no worse than 1:4", patterned[1], .atLeast, patterned[2]),
            ],
            notes: [
                "The authors read the sharp drop off a plot; here it is the last point of the grid (steps of 0.05) before "
                    + "the accuracy has fallen by more than 0.02.",
                "Their finding that more training data makes models more compressible does not show at this size and is "
                    + "not checked.",
            ])
    }

    /// The mean of curves over the same grid.
    private static func mean(_ curves: [SparsityCurve]) -> SparsityCurve {
        var result = curves[0]
        for place in result.points.indices {
            result.points[place].value = curves.reduce(0) { $0 + $1.points[place].value } / Double(curves.count)
        }
        return result
    }
}
