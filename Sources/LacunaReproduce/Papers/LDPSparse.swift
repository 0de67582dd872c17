import Lacuna

/// Checks the rates of locally private sparse regression: in one round with a private and with a public covariance, and in
/// several rounds by private iterative hard thresholding.
struct LDPSparseReproduction: Reproduction {
    let shortName = "LDP-Sparse"
    let paper = 2
    let title = "Improved Analysis of Sparse Linear Regression in Local Differential Privacy Model"
    let arXiv: String? = "2310.07367"
    let claim =
        "A closed-form estimator from one randomised message a user has an error of order d√k/(√n ε); knowing the covariance "
        + "of the features from public rows removes a factor √d. In several rounds, by iterative hard thresholding of "
        + "randomised gradients, ε alone is enough for k√d/(√n ε)."

    func run(_ context: ReproductionContext) throws -> Outcome {
        var (rows, checks): ([Measurement], [Check]) = ([], [])
        try oneRound(context, &rows, &checks)
        try severalRounds(context, &rows, &checks)
        let (seeds, draws, users) = (Self.seeds(context).count, Self.draws(context), Self.users(context))
        return Outcome(
            setting:
                "two of d standard normal features with effects 0.6 and -0.6, noise 0.5, bounds 3 and 4, ε = 1; one round: δ = "
                + "1e-5, means over \(seeds) seeds of \(draws) draws of the summed messages, thresholds from the known noise; "
                + "rounds: \(seeds) seeds of \(users[0]) and \(users[1]) users, each answering once, gradients clipped to 3, steps of "
                + "0.5, 4 coefficients kept",
            measurements: rows, checks: checks,
            notes: [
                "With 16 columns 10^8 users do not suffice for one round: the noise is then larger than the covariance. The "
                    + "estimator says so (isNoiseDominated).",
                "Noise is calibrated classically, as in the paper; the analytic calibration, the default, needs a "
                    + "quarter less.",
                "Gradients clipped to 3, shorter than most of them, tell their direction; that much less noise hides them. The number "
                    + "of rounds is ln n, which the rate leaves out.",
            ])
    }

    private static func seeds(_ context: ReproductionContext) -> [UInt64] {
        (0..<(context.quick ? 12 : 20)).map { context.seed &* 1000 &+ $0 }
    }

    private static func draws(_ context: ReproductionContext) -> Int { context.quick ? 5 : 15 }

    private static func users(_ context: ReproductionContext) -> [Int] {
        context.quick ? [1 << 15, 1 << 18] : [1 << 15, 1 << 20]
    }

    private static func distance(_ a: [Double], _ b: [Double]) -> Double {
        zip(a, b).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }.squareRoot()
    }

    private static func slope(_ error: Sample, from start: Sample, times: Double) -> Sample {
        Sample((error / start).values.map { logarithm($0) / logarithm(times) })
    }

    // MARK: One round

    private func oneRound(
        _ context: ReproductionContext, _ rows: inout [Measurement], _ checks: inout [Check]
    ) throws {
        let budget = try PrivacyBudget(epsilon: 1, delta: 1e-5)
        let settings = [(8, 9), (8, 10), (16, 9), (16, 10), (32, 10)]
        /// By settings: the error with a private and with a public covariance.
        var found: [[Sample]] = []
        for (index, (d, power10)) in settings.enumerated() {
            try context.progress.report("drawing messages", index, of: settings.count)
            found.append(
                try [false, true].map { isPublic in
                    try Sample(seeds: Self.seeds(context)) { seed in
                        var generator = SeededGenerator(seed: seed, stream: UInt64(d))
                        let population = Self.population(d, using: &generator)
                        let model = try LocalSparseRegression(
                            columns: d, budget: budget, featureBound: 3, targetBound: 4,
                            publicCovariance: isPublic ? population.covariance : nil, calibration: .classical)
                        return try (0..<Self.draws(context)).reduce(0) { sum, _ in
                            let sums = model.aggregate(
                                users: Int(power(10, Double(power10))), meanCovariance: population.covariance,
                                meanCorrelation: population.correlation, using: &generator)
                            let error = Self.distance(try model.estimate(sums).coefficients, population.theta)
                            return sum + error / Double(Self.draws(context))
                        }
                    }
                })
        }
        for (setting, errors) in zip(settings, found) {
            rows.append(
                Measurement(
                    "error with a public covariance, \(setting.0) columns, 10^\(setting.1) users", errors[1],
                    baseline: errors[0], baselineName: "private covariance"))
        }
        let slope = Self.slope(found[1][0], from: found[0][0], times: 10)
        let growth = [0, 1].map { found[4][$0] / found[1][$0] }
        rows.append(Measurement("slope of log error in log n, private covariance, 8 columns", slope))
        rows.append(
            Measurement(
                "growth of the error from 8 to 32 columns, public covariance", growth[1], baseline: growth[0],
                baselineName: "private covariance"))
        checks += [
            Check("the error falls as 1/√n: slope above -0.65", slope, exceeds: -0.65),
            Check("and below -0.35", slope, staysBelow: -0.35),
            Check(
                "a public covariance lowers the error everywhere",
                found.map { ($0[1] / $0[0]).mean + ($0[1] / $0[0]).standardError }.max() ?? .nan, .less, 1),
            Check(
                "four times the columns: the error grows about in proportion with a private covariance", growth[0],
                exceeds: 3.2),
            Check(
                "but not faster by a quarter than that and the root of the logarithm in the threshold, 5.2 together",
                growth[0], staysBelow: 6.5),
            Check("and by less with a public one", growth[0] - growth[1], exceeds: 0),
        ]
    }

    // MARK: Several rounds

    private func severalRounds(
        _ context: ReproductionContext, _ rows: inout [Measurement], _ checks: inout [Check]
    ) throws {
        let users = Self.users(context)
        let settings = [(8, users[0]), (8, users[1]), (32, users[0]), (32, users[1])]
        /// One survey of rows drawn anew; all that is read of them are messages.
        func error(_ d: Int, _ n: Int, sparsity: Int, seed: UInt64) throws -> Double {
            var generator = SeededGenerator(seed: seed, stream: UInt64(2000 + d))
            let (design, target, theta) = Self.table(rows: n, columns: d, using: &generator)
            let model = try LocalHardThresholding(
                epsilon: 1, sparsity: sparsity, featureBound: 3, targetBound: 4, gradientBound: 3)
            return Self.distance(try model.fit(design, target, using: &generator), theta)
        }
        var found: [Sample] = []
        for (index, (d, n)) in settings.enumerated() {
            try context.progress.report("asking in rounds", index, of: settings.count + 2)
            found.append(try Sample(seeds: Self.seeds(context)) { try error(d, n, sparsity: 2, seed: $0) })
        }
        try context.progress.report("asking in rounds", settings.count, of: settings.count + 2)
        let kept = try Sample(seeds: Self.seeds(context)) { try error(32, users[1], sparsity: 16, seed: $0) }
        try context.progress.report("asking once", settings.count + 1, of: settings.count + 2)
        let once = try Sample(seeds: Self.seeds(context)) { seed in
            var generator = SeededGenerator(seed: seed, stream: 2008)
            let (design, target, theta) = Self.table(rows: users[1], columns: 8, using: &generator)
            let model = try LocalSparseRegression(
                columns: 8, budget: PrivacyBudget(epsilon: 1, delta: 1e-5), featureBound: 3, targetBound: 4)
            let sums = try model.aggregate(design, target, using: &generator)
            return Self.distance(try model.estimate(sums).coefficients, theta)
        }
        let ratio = Double(users[1] / users[0])
        let slopes = [0, 2].map { Self.slope(found[$0 + 1], from: found[$0], times: ratio) }
        let growth = found[3] / found[1]
        for (setting, sample) in zip(settings, found) {
            rows.append(Measurement("error in rounds, \(setting.0) columns, \(setting.1) users", sample))
        }
        rows += [
            Measurement("slope of log error in log n, rounds, 8 columns", slopes[0]),
            Measurement("slope of log error in log n, rounds, 32 columns", slopes[1]),
            Measurement("growth of the error in rounds from 8 to 32 columns", growth),
            Measurement(
                "error in rounds, 32 columns, \(users[1]) users", found[3], baseline: kept,
                baselineName: "all coefficients kept"),
            Measurement(
                "error in rounds, 8 columns, \(users[1]) users", found[1], baseline: once,
                baselineName: "one round, δ = 1e-5, analytic calibration"),
        ]
        let steepest = slopes.map { $0.mean - $0.standardError }.min() ?? .nan
        let flattest = slopes.map { $0.mean + $0.standardError }.max() ?? .nan
        checks += [
            Check(
                "in rounds the error falls as 1/√n too, up to the number of rounds: slopes above -0.7", steepest,
                .greater,
                -0.7),
            Check("and below -0.3", flattest, .less, -0.3),
            Check("four times the columns: the error grows by less than 3", growth, staysBelow: 3),
            Check("but it grows", growth, exceeds: 1.1),
            Check(
                "hard thresholding lowers the error of 32 columns by a fifth or more", found[3] / kept, staysBelow: 0.8),
            Check(
                "in rounds fewer users suffice than in one: half the error or less", found[1] / once, staysBelow: 0.5),
        ]
    }

    /// Rows of the population below, one a user.
    private static func table(
        rows n: Int, columns d: Int, using generator: inout SeededGenerator
    ) -> (design: DenseDesign, target: [Double], theta: [Double]) {
        var theta = [Double](repeating: 0, count: d)
        (theta[0], theta[d / 2]) = (0.6, -0.6)
        let x = (0..<n * d).map { _ in generator.normal() }
        let y = (0..<n).map { 0.6 * x[$0] - 0.6 * x[d / 2 * n + $0] + 0.5 * generator.normal() }
        return (DenseDesign(columnMajor: x, rows: n), y, theta)
    }

    /// Means of clipped products, from a large sample, and the effects behind it.
    private static func population(
        _ d: Int, using generator: inout SeededGenerator
    ) -> (covariance: Tensor<Double>, correlation: [Double], theta: [Double]) {
        var theta = [Double](repeating: 0, count: d)
        (theta[0], theta[d / 2]) = (0.6, -0.6)
        let n = 400_000
        var square = 0.0
        var cross = 0.0
        // Features are independent, so only the diagonal and the two effects differ from 0.
        for _ in 0..<n {
            let (a, b) = (generator.normal(), generator.normal())
            let y = min(max(0.6 * a - 0.6 * b + 0.5 * generator.normal(), -4), 4)
            let (x, z) = (min(max(a, -3), 3), min(max(b, -3), 3))
            square += (x * x + z * z) / Double(2 * n)
            cross += (x - z) * y / Double(2 * n)
        }
        var covariance = Tensor<Double>(zeros: [d, d])
        for j in 0..<d { covariance[j, j] = square }
        var correlation = [Double](repeating: 0, count: d)
        (correlation[0], correlation[d / 2]) = (cross, -cross)
        return (covariance, correlation, theta)
    }
}
