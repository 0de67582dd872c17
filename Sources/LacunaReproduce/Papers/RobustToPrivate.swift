import Lacuna

/// Checks that robust estimators become private ones at little cost, a median and a sparse regression, and private ones robust.
struct RobustToPrivateReproduction: Reproduction {
    let shortName = "Robust2Private"
    let paper = 3
    let title = "From Robustness to Privacy and Back"
    let arXiv: String? = "2302.01855"
    let claim =
        "Any robust estimator becomes a purely private one whose error is about that of the robust one under 1/ε "
        + "corruptions, by drawing outputs according to how many rows must change to make them the answer; with (ε, δ) no "
        + "bound on the answer is needed. And an accurate private estimator is a robust one."

    func run(_ context: ReproductionContext) throws -> Outcome {
        var (rows, checks): ([Measurement], [Check]) = ([], [])
        try context.progress.report("audits", 0, of: 5)
        try audit(context, &rows, &checks)
        try context.progress.report("medians", 1, of: 5)
        try medians(context, &rows, &checks)
        try context.progress.report("medians anywhere", 2, of: 5)
        try anywhere(context, &rows, &checks)
        try context.progress.report("the way back", 3, of: 5)
        try back(context, &rows, &checks)
        try context.progress.report("supports", 4, of: 5)
        try supports(context, &rows, &checks)
        let (seeds, draws) = (Self.seeds(context).count, Self.draws(context))
        return Outcome(
            setting:
                "neighbouring tables of 5 rows over 5 values, all of them, and of 21 at random; medians of 1001 normal numbers "
                + "within ±10⁶, ε = 1, and anywhere within ±10⁹ of 0, δ = 10⁻⁶; the way back from answers within 0.5 of the "
                + "median; the 2 of 20 columns that matter (effects 1 and -1, noise 1) from 2000 rows, ε = 2; \(seeds) seeds, "
                + "\(draws) draws each",
            measurements: rows, checks: checks,
            notes: [
                "What is audited is the distribution that answers are drawn from, integrated exactly.",
                "How the paper tests whether a table is calm enough for an unbounded answer is not known to us; the test here is "
                    + "proved in `UnboundedPrivateQuantile`. The bound that it does without costs little in the other direction: "
                    + "its logarithm, over ε, in rows.",
                "Most private answers of ε are as good with k rows replaced while exp(kε) times their failures is below a half.",
                "The sparse regression is an instance made for this toolkit: supports are scored by a Huber loss on clipped "
                    + "rows over a ball, whose minimum is exact.",
                "The transformation itself is not efficient: supports are enumerated.",
            ])
    }

    private static func seeds(_ context: ReproductionContext) -> [UInt64] {
        (0..<(context.quick ? 6 : 20)).map { context.seed &* 1000 &+ $0 }
    }

    private static func draws(_ context: ReproductionContext) -> Int { context.quick ? 10 : 20 }

    // MARK: Privacy

    private func audit(
        _ context: ReproductionContext, _ rows: inout [Measurement], _ checks: inout [Check]
    ) throws {
        let quantile = try PrivateQuantile(range: -1...5, resolution: 0.1, epsilon: 1)
        // Over all tables of 5 rows from {0…4} and their neighbours, δ at the promised ε and at half of it.
        var (spent, half) = (0.0, 0.0)
        for code in 0..<3125 where code % 5 < 4 {
            var rest = code
            var table: [Double] = []
            for _ in 0..<5 {
                table.append(Double(rest % 5))
                rest /= 5
            }
            let own = quantile.distribution(of: table)
            for value in Int(table[0]) + 1..<5 {
                let other = quantile.distribution(of: [Double(value)] + table.dropFirst())
                spent = max(spent, own.excess(over: other, epsilon: 1), other.excess(over: own, epsilon: 1))
                half = max(half, own.excess(over: other, epsilon: 0.5), other.excess(over: own, epsilon: 0.5))
            }
        }
        rows.append(Measurement("median: the δ that ε = 1 leaves, largest over neighbouring tables", measured: spent))
        rows.append(Measurement("the same at half of ε", measured: half))
        checks += [
            Check("the privacy promised is kept", spent, .atMost, 1e-12),
            Check("and is not over-fulfilled by much: half of ε would not do", half, .greater, 1e-3),
        ]
        let free = try UnboundedPrivateQuantile(resolution: 0.25, budget: PrivacyBudget(epsilon: 6, delta: 0.05))
        var (freeSpent, freeThird, answered) = (0.0, 0.0, 0)
        var generator = SeededGenerator(seed: context.seed, stream: 31)
        let pairs = context.quick ? 1000 : 5000
        for _ in 0..<pairs {
            // From crowded to far apart, so that some tables are calm and others are not.
            let spread = exponential(4 * generator.uniform() - 3)
            let table = (0..<21).map { _ in spread * generator.normal() }
            let value = generator.uniform() < 0.5 ? spread * generator.normal() : 1e4 * generator.normal()
            let (own, other) = (free.distribution(of: table), free.distribution(of: [value] + table.dropFirst()))
            freeSpent = max(freeSpent, own.excess(over: other, epsilon: 6), other.excess(over: own, epsilon: 6))
            freeThird = max(freeThird, own.excess(over: other, epsilon: 2), other.excess(over: own, epsilon: 2))
            if own.refusal < 0.5 { answered += 1 }
        }
        rows += [
            Measurement("without a range: the δ that ε = 6 leaves, of 0.05 promised", measured: freeSpent),
            Measurement("the same at a third of ε", measured: freeThird),
            Measurement("share of those tables that mostly get an answer", measured: Double(answered) / Double(pairs)),
        ]
        checks += [
            Check("without a range δ is kept too", freeSpent, .atMost, 0.05 + 1e-12),
            Check("which a third of ε would not do", freeThird, .greater, 0.05),
        ]
    }

    // MARK: Accuracy

    private func medians(
        _ context: ReproductionContext, _ rows: inout [Measurement], _ checks: inout [Check]
    ) throws {
        let median = try PrivateQuantile(range: -1e6...1e6, resolution: 1e-3, epsilon: 1)
        var (clean, laplace, moved, shift): ([Double], [Double], [Double], [Double]) = ([], [], [], [])
        for seed in Self.seeds(context) {
            var generator = SeededGenerator(seed: seed, stream: 3)
            var sums = [0.0, 0, 0, 0]
            for _ in 0..<Self.draws(context) {
                var table = (0..<1001).map { _ in generator.normal() }
                sums[0] += abs(try median(table, using: &generator))
                // Laplace noise of scale 2R/(n ε) on the mean of rows clipped to the same range.
                sums[1] += abs(table.reduce(0, +) / 1001 + Self.laplace(2e6 / 1001, &generator))
                for i in 0..<50 { table[i] = 1e6 }
                sums[2] += abs(try median(table, using: &generator))
                sums[3] += abs(table.sorted()[500])
            }
            let draws = Double(Self.draws(context))
            clean.append(sums[0] / draws)
            laplace.append(sums[1] / draws)
            moved.append(sums[2] / draws)
            shift.append(sums[3] / draws)
        }
        rows += [
            Measurement(
                "error of the private median", Sample(clean), baseline: Sample(laplace),
                baselineName: "clipped mean with Laplace noise"),
            Measurement(
                "error with 5 % of the rows moved to 10⁶", Sample(moved), baseline: Sample(shift),
                baselineName: "plain median of the same rows"),
        ]
        checks += [
            Check("the private median errs by less than 0.06", Sample(clean), staysBelow: 0.06),
            Check("outliers shift it as they shift the plain median", Sample(moved) - Sample(shift), staysBelow: 0.05),
            Check("the mean with Laplace noise is useless at this range", Sample(laplace), exceeds: 100),
        ]
    }

    private static func laplace(_ scale: Double, _ generator: inout SeededGenerator) -> Double {
        let (sign, draw) = (generator.uniform() < 0.5 ? -1.0 : 1, -logarithm(max(generator.uniform(), 0x1p-54)))
        return sign * scale * draw
    }

    /// Rows around a place that nobody told.
    private func anywhere(
        _ context: ReproductionContext, _ rows: inout [Measurement], _ checks: inout [Check]
    ) throws {
        let free = try UnboundedPrivateQuantile(
            resolution: 1e-3, budget: PrivacyBudget(epsilon: 1, delta: 1e-6))
        let bounded = try PrivateQuantile(range: -1e6...1e6, resolution: 1e-3, epsilon: 1)
        var (errors, wrong, refused, spread): ([Double], [Double], [Double], [Double]) = ([], [], [], [])
        for seed in Self.seeds(context) {
            var generator = SeededGenerator(seed: seed, stream: 32)
            var (sum, misplaced, none, scattered) = (0.0, 0.0, 0.0, 0.0)
            let draws = Double(Self.draws(context))
            for _ in 0..<Self.draws(context) {
                let place = (generator.uniform() < 0.5 ? -1 : 1) * (1e7 + 9e8 * generator.uniform())
                let table = (0..<1001).map { _ in place + generator.normal() }
                if let found = try free(table, using: &generator) { sum += abs(found - place) } else { none += 1 }
                misplaced += abs(try bounded(table, using: &generator) - place) / draws
                // Few rows, far apart: any answer would tell of one of them.
                let few = (0..<21).map { _ in 1e8 * generator.normal() }
                if try free(few, using: &generator) == nil { scattered += 1 / draws }
            }
            errors.append(none < draws ? sum / (draws - none) : .infinity)
            wrong.append(misplaced)
            refused.append(none / draws)
            spread.append(scattered)
        }
        rows += [
            Measurement(
                "error of the median of rows anywhere, (ε, δ)", Sample(errors), baseline: Sample(wrong),
                baselineName: "ε alone, within ±10⁶"),
            Measurement("of which got no answer", Sample(refused)),
            Measurement("21 rows far apart that got no answer", Sample(spread)),
        ]
        checks += [
            Check(
                "with δ no range is needed: the error is below 0.1 wherever the rows are", Sample(errors),
                staysBelow: 0.1
            ),
            Check("and there is an answer", Sample(refused).mean, .atMost, 0.01),
            Check("but none for few rows far apart", Sample(spread).mean, .atLeast, 0.99),
        ]
    }

    // MARK: Back

    private func back(
        _ context: ReproductionContext, _ rows: inout [Measurement], _ checks: inout [Check]
    ) throws {
        let (near, epsilon) = (0.5, 1.0)
        let median = try PrivateQuantile(range: -100...100, resolution: 1e-3, epsilon: epsilon)
        var (slack, counts, errors, means): ([Double], [Double], [Double], [Double]) = ([], [], [], [])
        for seed in Self.seeds(context) {
            var generator = SeededGenerator(seed: seed, stream: 33)
            let table = (0..<501).map { _ in generator.normal() }.sorted()
            let center = table[250]
            func missing(_ table: [Double]) -> Double {
                median.distribution(of: table).pieces.reduce(0) { sum, piece in
                    let (low, high) = (piece.interval.lowerBound, piece.interval.upperBound)
                    let inside = max(0, min(high, center + near) - max(low, center - near))
                    return sum + piece.probability * (1 - inside / (high - low))
                }
            }
            let failure = missing(table)
            let most = RobustFromPrivate.tolerated(failure: failure, epsilon: epsilon)
            // The worst that so many rows can do to a median: all from the lower side to the far end of the other.
            var closest = -Double.infinity
            for k in stride(from: 1, through: most, by: max(1, most / 8)) {
                let corrupted = Array(table.dropFirst(k)) + [Double](repeating: 100, count: k)
                closest = max(closest, logarithm(missing(corrupted)) - Double(k) * epsilon - logarithm(failure))
            }
            let corrupted = Array(table.dropFirst(most)) + [Double](repeating: 100, count: most)
            let robust = try RobustFromPrivate()({ [try median(corrupted, using: &generator)] })
            slack.append(closest)
            counts.append(Double(most))
            errors.append(abs(robust[0] - center))
            means.append(abs(corrupted.reduce(0, +) / 501 - center))
        }
        rows += [
            Measurement("the way back: corruptions promised to be withstood, of 501 rows", Sample(counts)),
            Measurement(
                "error with so many rows moved to 100, majority of private answers", Sample(errors),
                baseline: Sample(means), baselineName: "mean"),
            Measurement("log of failures over exp(kε) times those of clean rows, largest over k", Sample(slack)),
        ]
        checks += [
            Check("failures never exceed exp(kε) times those of clean rows", slack.max() ?? .nan, .atMost, 1e-9),
            Check("more than 5 % of the rows may be corrupted", Sample(counts), exceeds: 25),
            Check("and then most answers are still within 0.5", errors.max() ?? .nan, .atMost, near),
            Check("where the mean is not", Sample(means), exceeds: 2 * near),
        ]
    }

    // MARK: Supports

    private func supports(
        _ context: ReproductionContext, _ rows: inout [Measurement], _ checks: inout [Check]
    ) throws {
        let trials = context.quick ? 4 : 6
        // Bounds wide enough to clip nothing, and least squares: what a row can do is then without useful limit.
        let robust = try PrivateSubsetRegression(epsilon: 2, size: 2, featureBound: 3, targetBound: 5, radius: 2)
        let plain = try PrivateSubsetRegression(
            epsilon: 2, size: 2, featureBound: 3, targetBound: 1000, radius: 2, huberThreshold: 2000)
        var right: [[Double]] = [[], [], []]
        for seed in Self.seeds(context) {
            var generator = SeededGenerator(seed: seed, stream: 34)
            var count = [0.0, 0, 0]
            for _ in 0..<trials {
                let (n, d) = (2000, 20)
                let x = (0..<n * d).map { _ in generator.normal() }
                var y = (0..<n).map { x[4 * n + $0] - x[11 * n + $0] + generator.normal() }
                let design = DenseDesign(columnMajor: x, rows: n)
                if try robust.fit(design, y, using: &generator).support == [4, 11] { count[0] += 1 }
                for i in 0..<n * 3 / 100 { y[i] = generator.uniform() < 0.5 ? 1000 : -1000 }
                if try robust.fit(design, y, using: &generator).support == [4, 11] { count[1] += 1 }
                if try plain.fit(design, y, using: &generator).support == [4, 11] { count[2] += 1 }
            }
            for k in 0..<3 { right[k].append(count[k] / Double(trials)) }
        }
        rows += [
            Measurement("right supports", Sample(right[0])),
            Measurement(
                "right supports with 3 % gross outliers", Sample(right[1]), baseline: Sample(right[2]),
                baselineName: "least squares, unclipped targets"),
        ]
        checks += [
            Check("the right support is found in 95 % of trials", Sample(right[0]).mean, .atLeast, 0.95),
            Check("with outliers too", Sample(right[1]).mean, .atLeast, 0.95),
            Check("which the loss without bounds does not", Sample(right[2]), staysBelow: 0.5),
        ]
    }
}
