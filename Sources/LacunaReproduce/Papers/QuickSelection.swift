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
        let seeds = (0..<(context.quick ? 5 : 10)).map { context.seed &* 100 &+ UInt64($0) }
        var (moving, fixed, connections) = ([Double](), [Double](), 0.0)
        for (index, seed) in seeds.enumerated() {
            try context.progress.report("autoencoders", index, of: seeds.count)
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
            moving.append(try recall(0.2))
            fixed.append(try recall(0))
        }
        let (found, still) = (Sample(moving), Sample(fixed))
        let gains = (found - still).values
        var measurements = [
            Measurement("share of the 20 true features found", found, baseline: still, baselineName: "fixed pattern"),
            Measurement(
                "connections of the autoencoder", measured: connections, baseline: 2 * 200 * 100, baselineName: "dense"),
        ]
        var checks = [
            Check("over 0.55 of the true features are found (chance: 0.1)", found, exceeds: 0.55),
            Check("rewiring finds 0.15 more than a fixed pattern", found - still, exceeds: 0.15),
        ]
        var missing: [String] = []
        var notes = [
            "Long training reverses the ranking, as features that are pure noise need the largest direct weights.",
            "What rewiring adds differs from one draw of the data to the next: from \(Self.rounded(gains.min()!)) to "
                + "\(Self.rounded(gains.max()!)) of the true features.",
        ]
        if let (train, test) = try RealData.fashionMNIST(trainCount: 10_000) {
            let standardized = Self.standardized(train.inputs)
            let hidden = context.quick ? 200 : 1000
            let arms = ["sparse autoencoder", "dense autoencoder", "random pixels"]
            var accuracies = arms.map { _ in [Double]() }
            for (index, seed) in seeds.prefix(5).enumerated() {
                for (place, arm) in arms.enumerated() {
                    try context.progress.report("Fashion-MNIST, \(arm)", index * arms.count + place, of: 5 * arms.count)
                    var generator = SeededGenerator(seed: seed, stream: 0x50)
                    var features = sampledPlaces(50, of: 784, using: &generator).map(Int.init)
                    if arm != "random pixels" {
                        let isSparse = arm == "sparse autoencoder"
                        var method = QuickSelection()
                        method.hidden = hidden
                        method.density = isSparse ? 13 : 1e9
                        method.epochs = context.quick ? 3 : 10
                        method.exchange = isSparse ? 0.2 : 0
                        method.seed = seed
                        features = try method.run(standardized).selected(50)
                    }
                    accuracies[place].append(try Self.accuracy(of: features, train, test, seed: seed))
                }
            }
            let samples = accuracies.map { Sample($0) }
            for (arm, sample) in zip(arms, samples).dropFirst() {
                measurements.append(
                    Measurement(
                        "accuracy from 50 of 784 pixels of Fashion-MNIST, 5 seeds, sparse autoencoder", samples[0],
                        baseline: sample, baselineName: arm))
            }
            checks += [
                Check(
                    "pixels of the sparse autoencoder are within a point of the dense one's", samples[0] - samples[1],
                    exceeds: -0.01),
                Check("and beat 50 random pixels", samples[0] - samples[2], exceeds: 0),
            ]
            notes.append(
                "On Fashion-MNIST: 10,000 images, hidden layer of \(hidden), a classifier 50-128-10 trained on the chosen pixels."
            )
        } else {
            missing.append(RealData.fashionIsMissing)
        }
        return Outcome(
            setting:
                "mean of \(seeds.count) data sets of 1000 x 200 with 20 features that share 5 factors; hidden layer of 100, ε 5, "
                + "60 epochs", measurements: measurements, checks: checks, notes: notes, missing: missing)
    }

    /// What a classifier of some features alone reaches.
    private static func accuracy(
        of features: [Int], _ train: LabelledExamples, _ test: LabelledExamples, seed: UInt64
    ) throws -> Double {
        func columns(_ examples: LabelledExamples) throws -> LabelledExamples {
            var inputs = Tensor<Float>(uninitialized: [examples.count, features.count])
            for i in 0..<examples.count {
                for (j, c) in features.enumerated() { inputs[i, j] = examples.inputs[i, c] }
            }
            return try LabelledExamples(inputs: inputs, labels: examples.labels, classes: examples.classes)
        }
        var generator = SeededGenerator(seed: seed, stream: 0x51)
        let model = MLP(widths: [features.count, 128, train.classes], using: &generator)
        try ClassifierTraining().train(model, try columns(train), seed: seed)
        return ClassifierTraining.accuracy(model, try columns(test))
    }
}
