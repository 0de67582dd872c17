import Lacuna

/// Checks that robust estimators become private ones at little cost: a median and a sparse regression.
struct RobustToPrivateReproduction: Reproduction {
    let shortName = "Robust2Private"
    let paper = 3
    let title = "From Robustness to Privacy and Back"
    let arXiv: String? = "2302.01855"
    let claim =
        "Any robust estimator becomes a purely private one whose error is about that of the robust one under 1/ε "
        + "corruptions, by drawing outputs according to how many rows must change to make them the answer."

    func run(_ context: ReproductionContext) throws -> Outcome {
        var generator = SeededGenerator(seed: context.seed, stream: 3)
        try context.progress.report("enumerating data sets", 0, of: 3)
        let spent = try largestLogRatio(epsilon: 1)

        try context.progress.report("medians", 1, of: 3)
        let repetitions = context.quick ? 101 : 401
        let median = try PrivateQuantile(range: -1e6...1e6, resolution: 1e-3, epsilon: 1)
        var errors: [String: [Double]] = [:]
        for _ in 0..<repetitions {
            var rows = (0..<1001).map { _ in generator.normal() }
            errors["clean", default: []].append(abs(try median(rows, using: &generator)))
            // Laplace noise of scale 2R/(n ε) on the mean of rows clipped to the same range.
            let (sign, draw) = (generator.uniform() < 0.5 ? -1.0 : 1, -logarithm(max(generator.uniform(), 0x1p-54)))
            let mean = rows.reduce(0, +) / 1001
            errors["laplace", default: []].append(abs(mean + sign * draw * 2e6 / 1001))
            for i in 0..<50 { rows[i] = 1e6 }
            errors["moved", default: []].append(abs(try median(rows, using: &generator)))
            errors["shift", default: []].append(abs(rows.sorted()[500]))
        }
        func middle(_ key: String) -> Double { (errors[key] ?? []).sorted()[repetitions / 2] }

        try context.progress.report("supports", 2, of: 3)
        let trials = context.quick ? 20 : 60
        var right = [0, 0, 0]
        for _ in 0..<trials {
            let (n, d) = (2000, 20)
            let x = (0..<n * d).map { _ in generator.normal() }
            var y = (0..<n).map { x[4 * n + $0] - x[11 * n + $0] + generator.normal() }
            let design = DenseDesign(columnMajor: x, rows: n)
            let robust = try PrivateSubsetRegression(epsilon: 2, size: 2, featureBound: 3, targetBound: 5, radius: 2)
            // Bounds wide enough to clip nothing, and least squares: what a row can do is then without useful limit.
            let plain = try PrivateSubsetRegression(
                epsilon: 2, size: 2, featureBound: 3, targetBound: 1000, radius: 2, huberThreshold: 2000)
            if try robust.fit(design, y, using: &generator).support == [4, 11] { right[0] += 1 }
            for i in 0..<n * 3 / 100 { y[i] = generator.uniform() < 0.5 ? 1000 : -1000 }
            if try robust.fit(design, y, using: &generator).support == [4, 11] { right[1] += 1 }
            if try plain.fit(design, y, using: &generator).support == [4, 11] { right[2] += 1 }
        }
        let shares = right.map { Double($0) / Double(trials) }
        return Outcome(
            setting:
                "all data sets of 5 rows over 5 values; medians of 1001 normal numbers within ±10⁶, ε = 1, "
                + "\(repetitions) repetitions; the 2 of 20 columns that matter (effects 1 and -1, noise 1) from 2000 rows, "
                + "ε = 2, \(trials) repetitions",
            measurements: [
                Measurement("largest log ratio between neighbouring data sets, ε = 1", measured: spent),
                Measurement(
                    "error of the private median", measured: middle("clean"), baseline: middle("laplace"),
                    baselineName: "clipped mean with Laplace noise"),
                Measurement(
                    "error with 5 % of the rows moved to 10⁶", measured: middle("moved"), baseline: middle("shift"),
                    baselineName: "plain median of the same rows"),
                Measurement("right supports", measured: shares[0]),
                Measurement(
                    "right supports with 3 % gross outliers", measured: shares[1], baseline: shares[2],
                    baselineName: "least squares, unclipped targets"),
            ],
            checks: [
                Check("the privacy promised is kept", spent, .atMost, 1 + 1e-9),
                Check("and is not over-fulfilled by much", spent, .greater, 0.5),
                Check("the private median errs by less than 0.06", middle("clean"), .less, 0.06),
                Check(
                    "outliers shift it as they shift the plain median", middle("moved"), .less, middle("shift") + 0.05),
                Check("the mean with Laplace noise is useless at this range", middle("laplace"), .greater, 100),
                Check("the right support is found in 95 % of trials", shares[0], .atLeast, 0.95),
                Check("with outliers too", shares[1], .atLeast, 0.95),
                Check("which the loss without bounds does not", shares[2], .less, 0.5),
            ],
            notes: [
                "The sparse regression is an instance made for this toolkit: supports are scored by a Huber loss on clipped "
                    + "rows over a ball, whose minimum is exact.",
                "The transformation itself is not efficient: supports are enumerated.",
            ])
    }

    /// Over all data sets of 5 rows from {0…4}, their neighbours and all outputs in {0…4}.
    private func largestLogRatio(epsilon: Double) throws -> Double {
        let quantile = try PrivateQuantile(range: -1...5, resolution: 0.1, epsilon: epsilon)
        func logits(_ rows: [Double]) -> [Double] {
            let values = (0..<5).map { -epsilon * Double(quantile.pathLength(to: Double($0), in: rows)) / 2 }
            let total = logarithm(values.reduce(0) { $0 + exponential($1) })
            return values.map { $0 - total }
        }
        var largest = 0.0
        for code in 0..<3125 {
            var rest = code
            var rows: [Double] = []
            for _ in 0..<5 {
                rows.append(Double(rest % 5))
                rest /= 5
            }
            let own = logits(rows.sorted())
            for value in 0..<5 where Double(value) != rows[0] {
                let other = logits(([Double(value)] + rows.dropFirst()).sorted())
                for t in 0..<5 { largest = max(largest, abs(own[t] - other[t])) }
            }
        }
        return largest
    }
}
