import Lacuna

/// Checks that knowing the support to be a Kronecker product makes sparse Bayesian learning more accurate.
struct KroneckerSBLReproduction: Reproduction {
    let shortName = "KroSBL"
    let paper = 9
    let title =
        "Bayesian Algorithms for Kronecker-structured Sparse Vector Recovery With Application to IRS-MIMO Channel Estimation"
    let arXiv: String? = "2307.14719"
    let claim =
        "Sparse Bayesian learning with Kronecker-structured variances recovers vectors with smaller error and finds their "
        + "support more often than classical sparse Bayesian learning and Kronecker matching pursuit; updating by singular "
        + "vectors is faster than alternating and at least as accurate."

    private static let names = ["SBL", "KroSBL (AM)", "KroSBL (SVD)", "Kronecker OMP", "OMP"]

    func run(_ context: ReproductionContext) throws -> Outcome {
        var rows: [Measurement] = []
        let small = try measure(context, sizes: 8, rows: [5, 6, 6], nonzeros: 3, trials: context.quick ? 30 : 50)
        append("N = 8", small, to: &rows)
        let (error, support, time) = (small.error, small.support, small.seconds)
        var checks = [
            Check("SVD: a third of SBL's median error or less", error[2], .atMost, error[0] / 3),
            Check("AM: less error than SBL", error[1], .less, error[0]),
            Check("SVD: less error than Kronecker OMP", error[2], .less, error[3]),
            Check("SVD: at least AM's accuracy", error[2], .atMost, error[1]),
            Check("SVD: finds more of the support than SBL", support[2], .greater, support[0]),
            Check("SVD: takes less time than SBL", time[2], .less, time[0]),
        ]
        if !context.quick {
            // The authors' size, where the product has 3375 entries and 1800 measurements.
            let large = try measure(context, sizes: 15, rows: [10, 12, 15], nonzeros: 3, trials: 8)
            append("N = 15", large, to: &rows)
            checks += [
                Check("N = 15, SVD: less error than SBL", large.error[2], .less, large.error[0]),
                Check("N = 15, SVD: finds more of the support than SBL", large.support[2], .greater, large.support[0]),
                Check("N = 15, SVD: at most AM's time", large.seconds[2], .atMost, large.seconds[1]),
            ]
        }
        return Outcome(
            setting:
                "x is the Kronecker product of three vectors of length N with 3 normal entries each; normal dictionaries of "
                + "5, 6 and 6 rows (N = 8) and of 10, 12 and 15 (N = 15); 20 dB, noise variance known; "
                + "\(context.quick ? 30 : 50) and 8 trials; medians of errors, means of support recovery and time",
            measurements: rows, checks: checks,
            notes: [
                "Support recovery is intersection over union of places above 1e-3 of the largest magnitude. Kronecker OMP "
                    + "and OMP are told the true numbers of entries.",
                "Real numbers here; the authors' channels are complex. A first factor with fewer rows than twice its "
                    + "entries fails for every method in some trials.",
            ])
    }

    private struct Scores {
        var error: [Double]
        var support: [Double]
        var seconds: [Double]
    }

    private func append(_ name: String, _ scores: Scores, to rows: inout [Measurement]) {
        for (k, method) in Self.names.enumerated() where k > 0 {
            rows += [
                Measurement(
                    "\(name): median error, \(method)", measured: scores.error[k], baseline: scores.error[0],
                    baselineName: "SBL"),
                Measurement(
                    "\(name): support recovery, \(method)", measured: scores.support[k], baseline: scores.support[0],
                    baselineName: "SBL"),
            ]
        }
        for k in 1...2 {
            rows.append(
                Measurement(
                    "\(name): seconds, \(Self.names[k])", measured: scores.seconds[k], baseline: scores.seconds[0],
                    baselineName: "SBL"))
        }
    }

    private func measure(
        _ context: ReproductionContext, sizes n: Int, rows: [Int], nonzeros: Int, trials: Int
    ) throws -> Scores {
        var errors = [[Double]](repeating: [], count: Self.names.count)
        var scores = Scores(
            error: [], support: [Double](repeating: 0, count: Self.names.count),
            seconds: [Double](repeating: 0, count: Self.names.count))
        for trial in 0..<trials {
            try context.progress.report("recovering, N = \(n)", trial, of: trials)
            var generator = SeededGenerator(seed: context.seed &* 1000 &+ UInt64(trial), stream: UInt64(9 + n))
            let a = try KroneckerProduct(rows.map { Tensor<Double>(normal: [$0, n], using: &generator) })
            let parts = rows.map { _ -> [Double] in
                var part = [Double](repeating: 0, count: n)
                for j in (0..<n).shuffled(using: &generator).prefix(nonzeros) { part[j] = generator.normal() }
                return part
            }
            let truth = KroneckerProduct.vector(parts)
            var y = a.multiplied(truth)
            let variance = y.reduce(0) { $0 + $1 * $1 } / Double(y.count) / 100
            for i in y.indices { y[i] += variance.squareRoot() * generator.normal() }
            let whole = a.dense()
            let count = nonzeros * nonzeros * nonzeros
            let methods: [() throws -> [Double]] = [
                { try SparseBayesianLearning(noise: .known(variance)).fit(whole, y).mean },
                { try KroneckerSparseBayesianLearning(update: .alternating, noise: .known(variance)).fit(a, y).mean },
                { try KroneckerSparseBayesianLearning(noise: .known(variance)).fit(a, y).mean },
                {
                    try KroneckerMatchingPursuit(counts: rows.map { _ in nonzeros }).fit(a, y).coefficients
                }, { try OrthogonalMatchingPursuit(count: count).fit(whole, y).coefficients },
            ]
            for (k, method) in methods.enumerated() {
                let start = monotonicSeconds()
                let found = try method()
                scores.seconds[k] += (monotonicSeconds() - start) / Double(trials)
                let (wrong, all) = zip(found, truth).reduce((0.0, 0.0)) {
                    ($0.0 + ($1.0 - $1.1) * ($1.0 - $1.1), $0.1 + $1.1 * $1.1)
                }
                errors[k].append(wrong / all)
                scores.support[k] += Self.overlap(found, truth) / Double(trials)
            }
        }
        scores.error = errors.map { $0.sorted()[$0.count / 2] }
        return scores
    }

    /// Intersection over union of the places above 1e-3 of the largest magnitude.
    private static func overlap(_ found: [Double], _ truth: [Double]) -> Double {
        func places(_ x: [Double]) -> Set<Int> {
            let largest = x.reduce(0) { max($0, abs($1)) }
            return Set(x.indices.filter { abs(x[$0]) > 1e-3 * largest && largest > 0 })
        }
        let (mine, theirs) = (places(found), Set(truth.indices.filter { truth[$0] != 0 }))
        return Double(mine.intersection(theirs).count) / Double(max(mine.union(theirs).count, 1))
    }
}
