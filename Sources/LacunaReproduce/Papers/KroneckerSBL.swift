import Lacuna

/// Checks that knowing the support to be a Kronecker product makes sparse Bayesian learning more accurate, of real and of complex numbers.
struct KroneckerSBLReproduction: Reproduction {
    let shortName = "KroSBL"
    let paper = 9
    let title =
        "Bayesian Algorithms for Kronecker-structured Sparse Vector Recovery With Application to IRS-MIMO Channel Estimation"
    let arXiv: String? = "2307.14719"
    let claim =
        "Sparse Bayesian learning with Kronecker-structured variances recovers vectors with smaller error and finds their "
        + "support more often than classical sparse Bayesian learning and Kronecker matching pursuit; updating by singular "
        + "vectors is faster than alternating and at least as accurate. So are channels found that an intelligent surface reflects "
        + "between arrays of antennas."

    private static let names = ["SBL", "KroSBL (AM)", "KroSBL (SVD)", "Kronecker OMP", "OMP"]

    func run(_ context: ReproductionContext) throws -> Outcome {
        var (rows, checks): ([Measurement], [Check]) = ([], [])
        let trials = context.quick ? 30 : 50
        // The loudest noise last: there all methods meet.
        let ratios: [Double] = context.quick ? [20] : [20, 30, 10]
        for ratio in ratios {
            let scores = try measure(context, "N = 8", sizes: 8, rows: [5, 6, 6], decibels: ratio, trials: trials)
            append("N = 8, \(Int(ratio)) dB", scores, to: &rows)
            if ratio == 20 {
                checks += [
                    Check(
                        "SVD: a third of SBL's error or less, in the geometric mean", scores.error(2, over: 0),
                        staysBelow: decimalLogarithm(1 / 3)),
                    Check("AM: less error than SBL", scores.error(1, over: 0), staysBelow: 0),
                    Check("SVD: less error than Kronecker OMP", scores.error(2, over: 3), staysBelow: 0),
                    Check(
                        "SVD: no more than a tenth above AM's error", scores.error(2, over: 1),
                        staysBelow: decimalLogarithm(1.1)),
                    Check("SVD: finds more of the support than SBL", scores.support[2] - scores.support[0], exceeds: 0),
                    Check("SVD: takes less time than SBL", scores.seconds[2] / scores.seconds[0], staysBelow: 1),
                ]
            } else {
                checks.append(
                    Check("\(Int(ratio)) dB, SVD: less error than SBL", scores.error(2, over: 0), staysBelow: 0))
            }
        }
        let channels = try channels(context, trials: context.quick ? 10 : 40)
        append("channels", channels, to: &rows)
        checks += [
            Check(
                "channels, SVD: a third of SBL's error or less", channels.error(2, over: 0),
                staysBelow: decimalLogarithm(1 / 3)),
            Check("channels, SVD: less error than SBL", channels.error(2, over: 0), staysBelow: 0),
            Check(
                "channels, SVD: less error than Kronecker OMP, which is told how many paths there are",
                channels.error(2, over: 3), staysBelow: 0),
            Check("channels, SVD: finds more of the support", channels.support[2] - channels.support[0], exceeds: 0),
        ]
        if !context.quick {
            // The authors' size, where the product has 3375 entries and 1800 measurements.
            let large = try measure(context, "N = 15", sizes: 15, rows: [10, 12, 15], decibels: 20, trials: 20)
            append("N = 15", large, to: &rows)
            checks += [
                Check("N = 15, SVD: less error than SBL", large.error(2, over: 0), staysBelow: 0),
                Check(
                    "N = 15, SVD: finds more of the support than SBL", large.support[2] - large.support[0], exceeds: 0),
                Check("N = 15, SVD: less time than AM", large.seconds[2] / large.seconds[1], staysBelow: 1),
            ]
        }
        return Outcome(
            setting:
                "x is the Kronecker product of three vectors of length N with 3 normal entries each; normal dictionaries of "
                + "5, 6 and 6 rows (N = 8) and of 10, 12 and 15 (N = 15); 20 dB unless said otherwise, noise variance known; "
                + "\(trials) and 20 trials. Channels: complex, 8 angles at the user, the surface and the base station, 2, 2 and 2 of which "
                + "carry paths of normal gains, seen by 4, 5 and 5 settings of random phases, 20 dB, \(context.quick ? 10 : 40) trials",
            measurements: rows, checks: checks,
            notes: [
                "Errors are squared, over those of predicting 0, and compared trial by trial by their logarithms to the base 10.",
                "Support recovery is intersection over union of places above 1e-3 of the largest magnitude. Kronecker OMP "
                    + "and OMP are told the true numbers of entries.",
                "A first factor with fewer rows than twice its entries fails for every method in some trials.",
                "Channels are drawn by the geometry alone: angles on a grid, so that the dictionary holds them exactly.",
            ])
    }

    /// One value a trial, by method.
    private struct Scores {
        /// Logarithms of errors.
        var errors: [Sample]
        var support: [Sample]
        var seconds: [Sample]

        init(methods: Int) {
            let none = [Sample](repeating: Sample([]), count: methods)
            (errors, support, seconds) = (none, none, none)
        }

        func error(_ method: Int, over other: Int) -> Sample { errors[method] - errors[other] }

        mutating func add(_ method: Int, wrong: Double, of all: Double, overlap: Double, seconds time: Double) {
            errors[method].values.append(decimalLogarithm(max(wrong / all, 1e-30)))
            support[method].values.append(overlap)
            seconds[method].values.append(time)
        }
    }

    private func append(_ name: String, _ scores: Scores, to rows: inout [Measurement]) {
        let methods = scores.errors.indices.filter { $0 > 0 && !scores.errors[$0].values.isEmpty }
        for k in methods {
            rows += [
                Measurement(
                    "\(name): log₁₀ of the error, \(Self.names[k])", scores.errors[k], baseline: scores.errors[0],
                    baselineName: "SBL"),
                Measurement(
                    "\(name): support recovery, \(Self.names[k])", scores.support[k], baseline: scores.support[0],
                    baselineName: "SBL"),
            ]
        }
        for k in 1...2 {
            rows.append(
                Measurement(
                    "\(name): seconds, \(Self.names[k])", scores.seconds[k], baseline: scores.seconds[0],
                    baselineName: "SBL"))
        }
    }

    private func measure(
        _ context: ReproductionContext, _ name: String, sizes n: Int, rows: [Int], decibels: Double, trials: Int
    ) throws -> Scores {
        var scores = Scores(methods: Self.names.count)
        let nonzeros = 3
        for trial in 0..<trials {
            try context.progress.report("recovering, \(name)", trial, of: trials)
            var generator = SeededGenerator(seed: context.seed &* 1000 &+ UInt64(trial), stream: UInt64(9 + n))
            let a = try KroneckerProduct(rows.map { Tensor<Double>(normal: [$0, n], using: &generator) })
            let parts = rows.map { _ -> [Double] in
                var part = [Double](repeating: 0, count: n)
                for j in (0..<n).shuffled(using: &generator).prefix(nonzeros) { part[j] = generator.normal() }
                return part
            }
            let truth = KroneckerProduct.vector(parts)
            var y = a.multiplied(truth)
            let variance = y.reduce(0) { $0 + $1 * $1 } / Double(y.count) * power(10, -decibels / 10)
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
                let seconds = monotonicSeconds() - start
                let (wrong, all) = zip(found, truth).reduce((0.0, 0.0)) {
                    ($0.0 + ($1.0 - $1.1) * ($1.0 - $1.1), $0.1 + $1.1 * $1.1)
                }
                scores.add(
                    k, wrong: wrong, of: all, overlap: Self.overlap(found.map(abs), truth.map(abs)), seconds: seconds)
            }
        }
        return scores
    }

    /// Channels that a surface reflects: gains on pairs of angles at each of three places, which are a Kronecker product, seen through
    /// settings of phases. Classical learning is that with one factor, the whole matrix.
    private func channels(_ context: ReproductionContext, trials: Int) throws -> Scores {
        var scores = Scores(methods: Self.names.count)
        let (angles, settings, paths) = (8, [4, 5, 5], 2)
        for trial in 0..<trials {
            try context.progress.report("estimating channels", trial, of: trials)
            var generator = SeededGenerator(seed: context.seed &* 1000 &+ UInt64(trial), stream: 90)
            func normal() -> (Double, Double) {
                (generator.normal() / 2.0.squareRoot(), generator.normal() / 2.0.squareRoot())
            }
            let factors = try settings.map { m -> ComplexKroneckerProduct.Factor in
                // Phases [m, antennas] times steering vectors [antennas, angles]: exp(iπ a cos φ), cosines on a grid.
                var (real, imaginary) = (Tensor<Double>(zeros: [m, angles]), Tensor<Double>(zeros: [m, angles]))
                for i in 0..<m {
                    for antenna in 0..<angles {
                        let phase = 2 * Double.pi * generator.uniform()
                        for j in 0..<angles {
                            let turn = phase + Double.pi * Double(antenna) * (2 * Double(j) / Double(angles) - 1)
                            real[i, j] += cosine(turn) / Double(angles).squareRoot()
                            imaginary[i, j] += sine(turn) / Double(angles).squareRoot()
                        }
                    }
                }
                return try .init(real: real, imaginary: imaginary)
            }
            let a = try ComplexKroneckerProduct(factors)
            let parts = settings.map { _ -> ComplexVector in
                var part = ComplexVector(real: [Double](repeating: 0, count: angles))
                for j in (0..<angles).shuffled(using: &generator).prefix(paths) {
                    (part.real[j], part.imaginary[j]) = normal()
                }
                return part
            }
            let truth = ComplexVector.product(parts)
            var y = a.multiplied(truth)
            let variance = y.squaredMagnitudes.reduce(0, +) / Double(y.count) / 100
            for i in 0..<y.count {
                let (re, im) = normal()
                y.real[i] += variance.squareRoot() * re
                y.imaginary[i] += variance.squareRoot() * im
            }
            let whole = try ComplexKroneckerProduct([Self.whole(a)])
            let target = y
            let methods: [() throws -> ComplexVector] = [
                {
                    try KroneckerSparseBayesianLearning(
                        update: .alternating, noise: .known(variance), pruning: 1e-3
                    ).fit(whole, target).mean
                },
                {
                    try KroneckerSparseBayesianLearning(update: .alternating, noise: .known(variance)).fit(a, target)
                        .mean
                },
                { try KroneckerSparseBayesianLearning(noise: .known(variance)).fit(a, target).mean },
                { try KroneckerMatchingPursuit(counts: settings.map { _ in paths }).fit(a, target).coefficients },
            ]
            for (k, method) in methods.enumerated() {
                let start = monotonicSeconds()
                let found = try method()
                let seconds = monotonicSeconds() - start
                var wrong = 0.0
                for i in 0..<truth.count {
                    let (re, im) = (found.real[i] - truth.real[i], found.imaginary[i] - truth.imaginary[i])
                    wrong += re * re + im * im
                }
                let magnitudes = [found, truth].map { $0.squaredMagnitudes.map { $0.squareRoot() } }
                scores.add(
                    k, wrong: wrong, of: truth.squaredMagnitudes.reduce(0, +),
                    overlap: Self.overlap(magnitudes[0], magnitudes[1]), seconds: seconds)
            }
        }
        return scores
    }

    /// The whole matrix, column by column.
    private static func whole(_ a: ComplexKroneckerProduct) throws -> ComplexKroneckerProduct.Factor {
        var real = Tensor<Double>(zeros: [a.rows, a.columns])
        var imaginary = real
        for j in 0..<a.columns {
            var unit = ComplexVector(real: [Double](repeating: 0, count: a.columns))
            unit.real[j] = 1
            let column = a.multiplied(unit)
            for i in 0..<a.rows { (real[i, j], imaginary[i, j]) = (column.real[i], column.imaginary[i]) }
        }
        return try .init(real: real, imaginary: imaginary)
    }

    /// Intersection over union of the places above 1e-3 of the largest magnitude.
    private static func overlap(_ found: [Double], _ truth: [Double]) -> Double {
        func places(_ x: [Double]) -> Set<Int> {
            let largest = x.max() ?? 0
            return Set(x.indices.filter { x[$0] > 1e-3 * largest && largest > 0 })
        }
        let (mine, theirs) = (places(found), Set(truth.indices.filter { truth[$0] != 0 }))
        return Double(mine.intersection(theirs).count) / Double(max(mine.union(theirs).count, 1))
    }
}

/// Base 10, as errors are read.
private func decimalLogarithm(_ x: Double) -> Double { logarithm(x) / logarithm(10) }
