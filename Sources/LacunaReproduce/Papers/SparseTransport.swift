import Lacuna

/// Checks that transport plans with few entries a column cost little more than any, and that as a router they share work out.
struct SparseTransportReproduction: Reproduction {
    let shortName = "SparseOT"
    let paper = 46
    let title = "Sparsity-Constrained Optimal Transport"
    let arXiv: String? = "2209.15466"
    let claim =
        "Optimal transport with at most k entries in a column is solved through a dual that can be climbed; k = m is quadratic "
        + "regularisation, small k sparse plans of nearly the same cost; between tokens and experts it is a router whose experts "
        + "have bounded, even loads."

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = (0..<(context.quick ? 5 : 20)).map { context.seed &* 1000 &+ UInt64($0) }
        let (m, n, gamma) = (8, 12, 1.0)
        let (a, b) = ([Double](repeating: 1 / 8, count: m), [Double](repeating: 1 / 12, count: n))
        var values: [String: [Double]] = [:]
        for (place, seed) in seeds.enumerated() {
            try context.progress.report("transport", place, of: seeds.count)
            var generator = SeededGenerator(seed: seed, stream: 46)
            let costs = Tensor((0..<m * n).map { _ in generator.uniform() }, shape: [m, n])
            func solve(_ entries: Int, _ form: SparseTransport.Form = .semiDual) throws -> SparseTransport.Plan {
                try SparseTransport(entries: entries, regularization: gamma, form: form, iterations: 2000).solve(
                    costs, rows: a, columns: b)
            }
            let (free, dual, few, one) = (try solve(m), try solve(m, .dual), try solve(4), try solve(1))
            func note(_ name: String, _ value: Double) { values[name, default: []].append(value) }
            note("gap", abs(free.value - dual.value))
            note("error", free.rowError)
            note("few cost", few.cost)
            note("free cost", free.cost)
            note("few error", few.rowError)
            note("one error", one.rowError)
            note("few entries", Double((0..<n).map { j in (0..<m).count { few.plan[$0, j] > 0 } }.max() ?? m))
            for (name, value) in try Self.loads(seed: seed) { note(name, value) }
        }
        func sample(_ name: String) -> Sample { Sample(values[name] ?? []) }
        return Outcome(
            setting:
                "\(seeds.count) seeds: uniform costs \(m) × \(n), even sums, γ = 1; batches of 256 vectors of 16 between 8 experts, "
                + "of which one has scores of 2 more",
            measurements: [
                Measurement("distance of the two duals, k = \(m)", sample("gap")),
                Measurement(
                    "cost of the plan, k = 4", sample("few cost"), baseline: sample("free cost"),
                    baselineName: "k = \(m)"),
                Measurement("sum of distances of row sums, k = 4", sample("few error")),
                Measurement("the same, k = 1", sample("one error")),
                Measurement(
                    "largest load of an expert over the even one, by transport", sample("transport load"),
                    baseline: sample("top load"), baselineName: "top 1"),
                Measurement(
                    "mean score of the expert that weighs most, by transport", sample("transport score"),
                    baseline: sample("even score"), baselineName: "experts in turn"),
            ],
            checks: [
                Check("both duals have one value", sample("gap"), staysBelow: 1e-4),
                Check("k = \(m) meets both sums", sample("error"), staysBelow: 1e-3),
                Check("no column has more than k entries", sample("few entries").values.max() ?? 9, .atMost, 4),
                Check("k = 4 costs at most 2 % more", sample("few cost") / sample("free cost"), staysBelow: 1.02),
                Check("k = 1 misses the rows' sums by more", sample("one error") - sample("few error"), exceeds: 0.05),
                Check("transport: no expert has more than 1.5 of its share", sample("transport load"), staysBelow: 1.5),
                Check("scores alone: one has more than twice", sample("top load"), exceeds: 2),
                Check(
                    "transport keeps more of the scores than turns do",
                    sample("transport score") - sample("even score"),
                    exceeds: 0),
            ],
            notes: [
                "For small k one side's sums are met only approximately, as the authors say; routing divides by what a vector received.",
                "Vision models with experts are not part of this check.",
            ])
    }

    private static func loads(seed: UInt64) throws -> [(String, Double)] {
        var generator = SeededGenerator(seed: seed, stream: 461)
        let (vectors, experts, size) = (256, 8, 16)
        var bias = [Float](repeating: 0, count: experts)
        bias[0] = 2
        let weight = Tensor<Float>(normal: [experts, size], standardDeviation: 0.25, using: &generator)
        let scores = LinearLayer(
            try WeightStore.make(weight, layout: .dense, values: .f32), bias: Tensor(bias, shape: [experts]))
        let x = Tensor<Float>(normal: [vectors, size], using: &generator)
        func score(_ row: Int, _ expert: Int) -> Double {
            (0..<size).reduce(Double(bias[expert])) { $0 + Double(weight[expert, $1] * x[row, $1]) }
        }
        func judged(_ routes: [[RoutedExpert]]) -> (load: Double, score: Double) {
            var loads = [Double](repeating: 0, count: experts)
            var sum = 0.0
            for (row, chosen) in routes.enumerated() {
                for route in chosen { loads[route.expert] += Double(route.weight) }
                let best = chosen.max { $0.weight < $1.weight }
                sum += score(row, best?.expert ?? 0)
            }
            return ((loads.max() ?? 0) * Double(experts) / Double(vectors), sum / Double(vectors))
        }
        let transport = judged(
            try x.withPointer { try TransportRouter(scores, capacity: 1.25).route($0, count: vectors, layer: 0) })
        let top = try x.withPointer { try TopRouter(scores).route($0, count: vectors, layer: 0) }
        let turns = judged((0..<vectors).map { [RoutedExpert($0 % experts, weight: 1)] })
        let whole = judged(top.map { [RoutedExpert($0[0].expert, weight: 1)] })
        return [
            ("transport load", transport.load), ("transport score", transport.score), ("top load", whole.load),
            ("even score", turns.score),
        ]
    }
}
