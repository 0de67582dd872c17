import Lacuna

/// Checks that a sparse parameter lets a misspecified linear bandit be played with an error free of the dimension.
struct SparseBanditsReproduction: Reproduction {
    let shortName = "SparseBandits"
    let paper = 13
    let title = "Does Sparsity Help in Learning Misspecified Linear Bandits?"
    let arXiv: String? = "2303.16998"
    let claim =
        "With an s-sparse parameter and rewards that are linear up to ε, O(ε⁻ˢ dˢ) queries find an action within O(ε) of the "
        + "best, whereas algorithms that ignore sparsity can promise no better than O(ε √d)."

    private static let error = 0.1

    func run(_ context: ReproductionContext) throws -> Outcome {
        let dimensions = context.quick ? [100, 400] : [100, 200, 400, 800]
        let repetitions = context.quick ? 5 : 10
        var rows: [Measurement] = []
        var worst = 0.0
        var dense: [Double] = []
        var queries: [Double] = []
        for (step, d) in dimensions.enumerated() {
            var gaps = [0.0, 0.0, 0.0]
            var asked = 0.0
            for repetition in 0..<repetitions {
                try context.progress.report(
                    "playing", step * repetitions + repetition, of: dimensions.count * repetitions, "d = \(d)")
                var generator = SeededGenerator(
                    seed: context.seed &* 100 &+ UInt64(repetition), stream: UInt64(1300 + d))
                let bandit = try Self.bandit(d, &generator)
                let least = try LeastSquaresBandit(queries: 10 * d).decide(bandit, using: &generator)
                let net = try SparseNetSearch(sparsity: 1, resolution: Self.error).decide(bandit, using: &generator)
                let pursuit = try SparseNetSearch(
                    sparsity: 1, resolution: Self.error, support: .pursuit(queries: 4 * d)
                ).decide(bandit, using: &generator)
                for (k, decision) in [least, net, pursuit].enumerated() {
                    gaps[k] += bandit.gap(decision.action) / Self.error / Double(repetitions)
                }
                worst = max(worst, bandit.gap(net.action) / Self.error)
                asked += Double(net.queries) / Double(repetitions)
            }
            rows += [
                Measurement(
                    "gap over ε, d = \(d), net search", measured: gaps[1], baseline: gaps[0],
                    baselineName: "least squares"),
                Measurement(
                    "gap over ε, d = \(d), net search on the support found by pursuit", measured: gaps[2],
                    baseline: gaps[0], baselineName: "least squares"),
                Measurement("queries, d = \(d), net search", measured: asked),
            ]
            dense.append(gaps[0])
            queries.append(asked)
        }
        // Two entries: the bound is a theorem, the advantage is not visible at a dimension that allows d² nets.
        let pairs = try Self.pairs(context)
        rows += [
            Measurement("gap over ε, s = 2, d = 40, net search, worst", measured: pairs.worst),
            Measurement("queries, s = 2, d = 40", measured: pairs.queries),
        ]
        let (first, last) = (dimensions[0], dimensions[dimensions.count - 1])
        let growth = dense[dense.count - 1] / dense[0]
        let root = (Double(last) / Double(first)).squareRoot()
        return Outcome(
            setting:
                "s = 1, ε = 0.1: 20 d random unit actions, 15 between θ and an adversarial dense direction u, the axes; "
                + "r = ⟨φ, θ⟩ + ε sign⟨φ, u⟩ without noise; \(repetitions) draws for each d; least squares gets 10 d queries",
            measurements: rows,
            checks: [
                Check("net search is never farther than 4 ε", max(worst, pairs.worst), .atMost, 4),
                Check("it needs at most 2 d queries", queries[queries.count - 1], .atMost, Double(2 * last)),
                Check(
                    "least squares errs at least three times ε at d = 400", dense[dimensions.firstIndex(of: 400) ?? 0],
                    .atLeast, 3),
                Check(
                    "its error grows at least like √d over the range", growth, .atLeast, root),
            ],
            notes: [
                "The paper has no experiments; the net is this toolkit's construction with the order of the theorem.",
                "That exp(s) queries are necessary is proved there and cannot be measured: only s = 1 and 2 are run.",
                "The bias of least squares along u is about b = ε √(2d/π), less for every queried action that lies along u. Greedy "
                    + "play turns it into a loss of 1 - 1/√(1 + b²): like d while it is small, and at most everything.",
            ])
    }

    private static func unit(_ count: Int, _ generator: inout SeededGenerator) -> [Double] {
        let v = (0..<count).map { _ in generator.normal() }
        let norm = v.reduce(0) { $0 + $1 * $1 }.squareRoot()
        return v.map { $0 / norm }
    }

    private static func bandit(_ d: Int, _ generator: inout SeededGenerator) throws -> LinearBandit {
        let place = Int.random(in: 0..<d, using: &generator)
        var u = unit(d, &generator)
        u[place] = 0
        let norm = u.reduce(0) { $0 + $1 * $1 }.squareRoot()
        for j in 0..<d { u[j] /= norm }
        let (random, arc) = (20 * d, 15)
        var features = Tensor<Double>(zeros: [random + arc + d, d])
        features.withMutablePointer { phi in
            for a in 0..<random { for (j, x) in unit(d, &generator).enumerated() { phi[a * d + j] = x } }
            for k in 0..<arc {
                let angle = Double(k) / Double(arc - 1) * 1.5707963267948966
                for j in 0..<d { phi[(random + k) * d + j] = sine(angle) * u[j] }
                phi[(random + k) * d + place] += cosine(angle)
            }
            for j in 0..<d { phi[(random + arc + j) * d + j] = 1 }
        }
        let along = features.multiplied(by: Tensor(u, shape: [d, 1])).scalars
        let rewards = along.indices.map { a in
            features[a, place] + (along[a] > 0 ? error : along[a] < 0 ? -error : 0)
        }
        return try LinearBandit(features: features, rewards: rewards)
    }

    private static func pairs(_ context: ReproductionContext) throws -> (worst: Double, queries: Double) {
        let repetitions = context.quick ? 2 : 10
        var (worst, queries) = (0.0, 0.0)
        for repetition in 0..<repetitions {
            try context.progress.report("playing with two entries", repetition, of: repetitions)
            var generator = SeededGenerator(seed: context.seed &* 100 &+ UInt64(repetition), stream: 1302)
            let (d, actions) = (40, 2000)
            var features = Tensor<Double>(zeros: [actions, d])
            for a in 0..<actions { for (j, x) in unit(d, &generator).enumerated() { features[a, j] = x } }
            let (places, theta) = ((0..<d).shuffled(using: &generator).prefix(2), unit(2, &generator))
            let linear = (0..<actions).map { a in zip(places, theta).reduce(0) { $0 + features[a, $1.0] * $1.1 } }
            let top = linear.max() ?? 0
            // The error sinks the good actions and lifts the others.
            let rewards = linear.map { $0 + ($0 > top / 2 ? -error : error) }
            let bandit = try LinearBandit(features: features, rewards: rewards)
            let found = try SparseNetSearch(sparsity: 2, resolution: error).decide(bandit, using: &generator)
            worst = max(worst, bandit.gap(found.action) / error)
            queries += Double(found.queries) / Double(repetitions)
        }
        return (worst, queries)
    }
}
