import Lacuna

/// Checks that a sparse autoencoder that rewires itself finds the features that carry structure.
struct QuickSelectionReproduction: Reproduction {
    let shortName = "QuickSelection"
    let paper = 36
    let title =
        "Quick and Robust Feature Selection: the Strength of Energy-efficient Sparse Training for Autoencoders"
    let arXiv: String? = "2012.00560"
    let claim =
        "The strength of the input neurons of an autoencoder that is sparse throughout training ranks features as well "
        + "as or better than established unsupervised selectors, at a fraction of their cost."

    /// 200 features, 20 of them linear images of 5 factors with noise, the others independent.
    private static func planted(seed: UInt64) -> (x: Tensor<Float>, relevant: Set<Int>) {
        var generator = SeededGenerator(seed: seed, stream: 0x36)
        let (n, d) = (1000, 200)
        let relevant = sampledPlaces(20, of: d, using: &generator).map(Int.init)
        let factors = Tensor<Float>(normal: [n, 5], using: &generator)
        let images = factors.multiplied(by: Tensor<Float>(normal: [5, 20], using: &generator))
        var x = Tensor<Float>(normal: [n, d], using: &generator)
        for (j, column) in relevant.enumerated() {
            for i in 0..<n { x[i, column] = images[i, j] + 0.3 * x[i, column] }
        }
        return (standardized(x), Set(relevant))
    }

    private static func rounded(_ share: Double) -> Double { (share * 100).rounded() / 100 }

    /// Every column to mean 0 and deviation 1; columns that never change become 0.
    private static func standardized(_ x: Tensor<Float>) -> Tensor<Float> {
        var result = x
        let (n, d) = (x.rows, x.columns)
        result.withMutablePointer { p in
            for c in 0..<d {
                let mean = (0..<n).reduce(Float(0)) { $0 + p[$1 * d + c] } / Float(n)
                let variance =
                    (0..<n).reduce(Float(0)) { $0 + (p[$1 * d + c] - mean) * (p[$1 * d + c] - mean) } / Float(n)
                let scale = variance > 1e-12 ? 1 / variance.squareRoot() : 0
                for i in 0..<n { p[i * d + c] = (p[i * d + c] - mean) * scale }
            }
        }
        return result
    }

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = context.quick ? 4 : 8
        var (moving, fixed, connections) = (0.0, 0.0, 0.0)
        var gains: [Double] = []
        for index in 0..<seeds {
            try context.progress.report("autoencoders", index, of: seeds)
            let seed = context.seed &* 100 &+ UInt64(index)
            let (x, relevant) = Self.planted(seed: seed)
            func recall(_ exchange: Double) throws -> Double {
                var method = QuickSelection()
                (method.hidden, method.density, method.epochs, method.exchange, method.seed) = (
                    100, 5, 60, exchange, seed
                )
                let result = try method.run(x)
                connections = Double(result.connections)
                return Double(result.selected(20).count { relevant.contains($0) }) / 20
            }
            let (found, without) = (try recall(0.2), try recall(0))
            moving += found / Double(seeds)
            fixed += without / Double(seeds)
            gains.append(found - without)
        }
        var measurements = [
            Measurement(
                "share of the 20 true features found", measured: moving, baseline: fixed, baselineName: "fixed pattern"),
            Measurement(
                "connections of the autoencoder", measured: connections, baseline: 2 * 200 * 100, baselineName: "dense"),
        ]
        var checks = [
            Check("over half of the true features are found (chance: 0.1)", moving, .atLeast, 0.55),
            Check("rewiring finds 0.15 more than a fixed pattern", moving - fixed, .atLeast, 0.15),
        ]
        var missing: [String] = []
        var notes = [
            "Long training reverses the ranking, as features that are pure noise need the largest direct weights.",
            "What rewiring adds differs from one draw of the data to the next: from \(Self.rounded(gains.min()!)) to "
                + "\(Self.rounded(gains.max()!)) of the true features.",
        ]
        if let (train, test) = try RealData.fashionMNIST(trainCount: 10_000) {
            var arms: [(name: String, features: [Int])] = []
            let standardized = Self.standardized(train.inputs)
            for (name, density) in [("sparse", 13.0), ("dense", 1e9)] {
                try ClassifierTraining.report(context, "Fashion-MNIST, \(name) autoencoder")
                var method = QuickSelection()
                method.hidden = context.quick ? 200 : 1000
                method.density = density
                method.epochs = context.quick ? 3 : 10
                method.exchange = density > 1e6 ? 0 : 0.2
                method.seed = context.seed
                arms.append((name, try method.run(standardized).selected(50)))
            }
            var generator = SeededGenerator(seed: context.seed, stream: 0x50)
            arms.append(("random", sampledPlaces(50, of: 784, using: &generator).map(Int.init)))
            let accuracies = try arms.map { arm -> Double in
                func columns(_ examples: LabelledExamples) throws -> LabelledExamples {
                    var inputs = Tensor<Float>(uninitialized: [examples.count, 50])
                    for i in 0..<examples.count {
                        for (j, c) in arm.features.enumerated() { inputs[i, j] = examples.inputs[i, c] }
                    }
                    return try LabelledExamples(inputs: inputs, labels: examples.labels, classes: 10)
                }
                var generator = SeededGenerator(seed: context.seed, stream: 0x51)
                let model = MLP(widths: [50, 128, 10], using: &generator)
                try ClassifierTraining().train(model, try columns(train), seed: context.seed)
                return ClassifierTraining.accuracy(model, try columns(test))
            }
            measurements.append(
                Measurement(
                    "accuracy from 50 of 784 pixels of Fashion-MNIST, sparse autoencoder", measured: accuracies[0],
                    baseline: accuracies[1], baselineName: "dense autoencoder"))
            measurements.append(
                Measurement("the same", measured: accuracies[0], baseline: accuracies[2], baselineName: "random pixels")
            )
            checks.append(
                Check(
                    "pixels of the sparse autoencoder are within a point of the dense one's", accuracies[0], .atLeast,
                    accuracies[1] - 0.01))
            checks.append(
                Check("and beat 50 random pixels", accuracies[0], .greater, accuracies[2]))
            notes.append(
                "On Fashion-MNIST: 10,000 images, hidden layer of 1000, a classifier 50-128-10 trained on the chosen pixels."
            )
        } else {
            missing.append(RealData.fashionIsMissing)
        }
        return Outcome(
            setting:
                "mean of \(seeds) data sets of 1000 x 200 with 20 features that share 5 factors; hidden layer of 100, ε 5, "
                + "60 epochs", measurements: measurements, checks: checks, notes: notes, missing: missing)
    }
}
