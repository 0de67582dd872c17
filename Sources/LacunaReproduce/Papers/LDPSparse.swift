import Lacuna

/// Checks the rates of locally private sparse regression with a private and with a public covariance.
struct LDPSparseReproduction: Reproduction {
    let shortName = "LDP-Sparse"
    let paper = 2
    let title = "Improved Analysis of Sparse Linear Regression in Local Differential Privacy Model"
    let arXiv: String? = "2310.07367"
    let claim =
        "A closed-form estimator from one randomised message a user has an error of order d√k/(√n ε); knowing the covariance "
        + "of the features from public rows removes a factor √d."

    func run(_ context: ReproductionContext) throws -> Outcome {
        let draws = context.quick ? 41 : 201
        let budget = try PrivacyBudget(epsilon: 1, delta: 1e-5)
        /// Median error with the best threshold of a grid, by [private, public] covariance.
        func errors(columns d: Int, users: Int) throws -> [Double] {
            var generator = SeededGenerator(seed: context.seed, stream: UInt64(d))
            let population = Self.population(d, using: &generator)
            return try [false, true].map { isPublic in
                let model = try LocalSparseRegression(
                    columns: d, budget: budget, featureBound: 3, targetBound: 4,
                    publicCovariance: isPublic ? population.covariance : nil, calibration: .classical)
                let found = try (0..<draws).map { _ in
                    let sums = model.aggregate(
                        users: users, meanCovariance: population.covariance, meanCorrelation: population.correlation,
                        using: &generator)
                    let dense = try model.estimate(sums, threshold: .fixed(0)).dense
                    return (0...60).map { step in
                        let threshold = Double(step) * 0.01
                        return zip(dense, population.theta).reduce(0) { sum, pair in
                            let error = Proximal.softThreshold(pair.0, threshold) - pair.1
                            return sum + error * error
                        }.squareRoot()
                    }.min() ?? .nan
                }
                return found.sorted()[draws / 2]
            }
        }
        let settings = [(8, 9), (8, 10), (16, 9), (16, 10), (32, 10)]
        var found: [[Double]] = []
        for (index, setting) in settings.enumerated() {
            try context.progress.report("drawing messages", index, of: settings.count)
            found.append(try errors(columns: setting.0, users: Int(power(10, Double(setting.1)))))
        }
        func slope(_ kind: Int) -> Double { logarithm(found[3][kind] / found[2][kind]) / logarithm(10) }
        func growth(_ kind: Int) -> Double { found[4][kind] / found[3][kind] }
        var rows = zip(settings, found).map { setting, errors in
            Measurement(
                "error with a public covariance, \(setting.0) columns, 10^\(setting.1) users", measured: errors[1],
                baseline: errors[0], baselineName: "private covariance")
        }
        rows.append(Measurement("slope of log error in log n, private covariance", measured: slope(0)))
        rows.append(
            Measurement(
                "growth of the error from 16 to 32 columns, public covariance", measured: growth(1),
                baseline: growth(0), baselineName: "private covariance"))
        return Outcome(
            setting:
                "ε = 1, δ = 1e-5; two of d standard normal features with effects 0.6 and -0.6, noise 0.5, bounds 3 and 4; "
                + "the best soft threshold for each draw; medians of \(draws) draws of the summed messages",
            measurements: rows,
            checks: [
                Check("the error falls as 1/√n: slope above -0.65", slope(0), .greater, -0.65),
                Check("and below -0.35", slope(0), .less, -0.35),
                Check("a public covariance lowers the error everywhere", found.map { $0[1] / $0[0] }.max()!, .less, 1),
                Check(
                    "from 16 to 32 columns the error grows about in proportion with a private covariance", growth(0),
                    .greater, 1.7),
                Check("but not faster than 1.5 times that", growth(0), .less, 3),
                Check("and by less with a public one", growth(1), .less, growth(0)),
            ],
            notes: [
                "With 16 columns 10^8 users do not suffice: the noise is then larger than the covariance. The estimator "
                    + "says so (isNoiseDominated).",
                "Noise is calibrated classically, as in the paper; the analytic calibration, the default, needs a "
                    + "quarter less.",
            ])
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
