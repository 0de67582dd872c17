import LacunaTensor
import Testing

@testable import LacunaRegress

@Suite struct PrivacyTests {
    // MARK: Budget

    @Test func budgetsAddAndDivide() throws {
        let budget = try PrivacyBudget(epsilon: 1, delta: 1e-5)
        let half = budget.divided(by: 2)
        #expect(half.epsilon == 0.5 && half.delta == 5e-6)
        #expect(half + half == budget)
        for (epsilon, delta) in [(0.0, 0.0), (-1, 0), (.nan, 0), (.infinity, 0), (1, -0.1), (1, 1), (1, .nan)] {
            #expect(throws: LacunaError.self) { try PrivacyBudget(epsilon: epsilon, delta: delta) }
        }
    }

    @Test func probabilitiesAddUpToOneAtMost() throws {
        let (a, b) = (try PrivacyBudget(epsilon: 1, delta: 0.6), try PrivacyBudget(epsilon: 0.5, delta: 0.7))
        #expect((a + b).epsilon == 1.5 && (a + b).delta == 1)
        let releases = [a, b, b].map { PrivacyAccount.Release("x", mechanism: "y", budget: $0) }
        let account = PrivacyAccount(model: .central, releases: releases)
        #expect(account.total.epsilon == 2 && account.total.delta == 1)
        // Up to ε = 1, that included.
        let whole = try PrivacyBudget(epsilon: 1, delta: 1e-5)
        let noise = try GaussianMechanism(sensitivity: 2, budget: whole, calibration: .classical).standardDeviation
        #expect(abs(noise - 2 * (2 * logarithm(1.25e5)).squareRoot()) < 1e-12)
    }

    // MARK: Gaussian mechanism

    /// Both sides of the definition by numerical integration of two normal densities at distance 1.
    @Test(arguments: [0.3, 1.0, 4.0], [1e-3, 1e-6])
    func analyticNoiseSpendsTheWholeBudget(epsilon: Double, delta: Double) throws {
        let sigma = try GaussianMechanism(sensitivity: 1, budget: PrivacyBudget(epsilon: epsilon, delta: delta))
            .standardDeviation
        func density(_ x: Double, _ mean: Double) -> Double {
            exponential(-(x - mean) * (x - mean) / (2 * sigma * sigma)) / (sigma * (2 * Double.pi).squareRoot())
        }
        var excess = 0.0
        let step = sigma / 2000
        for k in -40_000..<40_000 {
            let x = (Double(k) + 0.5) * step
            excess += max(0, density(x, 1) - exponential(epsilon) * density(x, 0)) * step
        }
        #expect(abs(excess - delta) < 1e-3 * delta, "\(excess)")
    }

    /// Where the two terms of δ are equal to the last bit: to first order in ε, δ is `φ(εσ)/σ - ε Φ(-εσ)`.
    @Test(arguments: [(1e-20, 1e-20), (1e-13, 1e-14), (1e-16, 1e-5), (1e-9, 1e-12)])
    func roundingHidesNothing(epsilon: Double, delta: Double) throws {
        let sigma = try GaussianMechanism(sensitivity: 1, budget: PrivacyBudget(epsilon: epsilon, delta: delta))
            .standardDeviation
        func reached(_ sigma: Double) -> Double {
            let b = epsilon * sigma
            // The tail by Simpson's rule, far enough out.
            let (count, width) = (4000, 12.0 / 4000)
            let tail =
                (0...count).reduce(0.0) { sum, i in
                    let at = b + Double(i) * width
                    return sum + (i == 0 || i == count ? 1 : i % 2 == 1 ? 4 : 2) * exponential(-at * at / 2)
                } * width / 3
            return (exponential(-b * b / 2) / sigma - epsilon * tail) / (2 * Double.pi).squareRoot()
        }
        #expect(reached(sigma) <= delta * (1 + 1e-6), "\(sigma) reaches \(reached(sigma))")
        // No more than rounding asks for.
        #expect(reached(sigma / 20) > delta)
        #expect(throws: LacunaError.self) {
            try GaussianMechanism(
                sensitivity: 1e300, budget: PrivacyBudget(epsilon: .leastNonzeroMagnitude, delta: 1e-300))
        }
    }

    @Test func classicalNoise() throws {
        let budget = try PrivacyBudget(epsilon: 0.5, delta: 1e-5)
        let classical = try GaussianMechanism(sensitivity: 3, budget: budget, calibration: .classical)
        #expect(abs(classical.standardDeviation - 3 * (2 * logarithm(1.25e5)).squareRoot() / 0.5) < 1e-12)
        let analytic = try GaussianMechanism(sensitivity: 3, budget: budget)
        #expect(analytic.standardDeviation < classical.standardDeviation)
        #expect(throws: LacunaError.self) {
            try GaussianMechanism(
                sensitivity: 1, budget: PrivacyBudget(epsilon: 2, delta: 1e-5), calibration: .classical)
        }
        #expect(throws: LacunaError.self) {
            try GaussianMechanism(sensitivity: 1, budget: PrivacyBudget(epsilon: 1))
        }
        #expect(throws: LacunaError.self) { try GaussianMechanism(sensitivity: .infinity, budget: budget) }
    }

    @Test func unpredictableNoiseDiffers() {
        var (a, b) = (SeededGenerator.unpredictable(), SeededGenerator.unpredictable())
        #expect(a.next() != b.next())
    }

    // MARK: Sphere

    @Test(arguments: [1, 2, 3, 8]) func theSphereIsUnbiased(dimensions: Int) throws {
        let randomizer = try SphereRandomizer(dimensions: dimensions, bound: 2, epsilon: 1)
        if dimensions == 1 {
            let e = exponential(1)
            #expect(abs(randomizer.radius - 2 * (e + 1) / (e - 1)) < 1e-12)
        }
        let g = (0..<dimensions).map { ($0 % 2 == 0 ? 0.9 : -0.6) / Double(dimensions).squareRoot() }
        var generator = SeededGenerator(seed: 5)
        var sum = [Double](repeating: 0, count: dimensions)
        let draws = 100_000
        for _ in 0..<draws {
            let answer = randomizer(g, using: &generator)
            for j in 0..<dimensions { sum[j] += answer[j] }
        }
        let error = randomizer.radius / (Double(dimensions) * Double(draws)).squareRoot()
        for j in 0..<dimensions { #expect(abs(sum[j] / Double(draws) - g[j]) < 4.5 * error) }
    }

    /// The half a point lies in is all that an answer tells about the vector; its odds must stay below `e^ε`.
    @Test func theSphereIsPrivate() throws {
        let randomizer = try SphereRandomizer(dimensions: 3, bound: 1, epsilon: 0.7)
        let sectors = 8
        func histogram(_ g: [Double], seed: UInt64) -> [Double] {
            var generator = SeededGenerator(seed: seed)
            var counts = [Double](repeating: 0, count: sectors)
            for _ in 0..<100_000 {
                let v = randomizer(g, using: &generator)
                counts[(v[0] > 0 ? 1 : 0) + (v[1] > 0 ? 2 : 0) + (v[2] > 0 ? 4 : 0)] += 1
            }
            return counts
        }
        let vectors: [[Double]] = [[1, 0, 0], [-1, 0, 0], [0, 5, 0], [0, 0, 0], [0.6, -0.6, 0.2]]
        let histograms = vectors.enumerated().map { histogram($1, seed: UInt64($0)) }
        var largest = 0.0
        for a in histograms { for b in histograms { for s in 0..<sectors { largest = max(largest, a[s] / b[s]) } } }
        #expect(logarithm(largest) < 0.7 + 0.05)
        #expect(logarithm(largest) > 0.6, "opposite vectors of full length spend the budget")
    }

    // MARK: Exponential mechanism

    @Test func choicesFollowTheSoftmax() throws {
        let mechanism = try ExponentialMechanism(sensitivity: 2, epsilon: 1.5)
        let losses = [0.0, 1, 3, 8]
        let mass = [0.0, 0.5, 0, 1]
        let weights = zip(losses, mass).map { exponential(-1.5 * $0 / 4 + $1) }
        let total = weights.reduce(0, +)
        var generator = SeededGenerator(seed: 1)
        var counts = [Double](repeating: 0, count: 4)
        let draws = 200_000
        for _ in 0..<draws { counts[mechanism.choose(losses, logMass: mass, using: &generator)] += 1 }
        for k in 0..<4 {
            let p = weights[k] / total
            let error = (p * (1 - p) / Double(draws)).squareRoot()
            #expect(abs(counts[k] / Double(draws) - p) < 4.5 * error)
        }
        #expect(mechanism.choose([1e9, 1e9 + 1000], using: &generator) == 0, "no overflow")
    }

    // MARK: Quantiles

    /// Path lengths of all data sets of 5 rows over 5 values, by breadth-first search over data sets.
    @Test(arguments: [0.5, 0.2, 0.9]) func pathLengthsEqualTheSearch(fraction: Double) throws {
        let quantile = try PrivateQuantile(fraction: fraction, range: -1...5, resolution: 0.1, epsilon: 1)
        let all = Self.multisets(of: 5, from: 5)
        for rows in all {
            for t in 0..<5 {
                let length = all.filter { $0[quantile.rank(of: 5) - 1] == Double(t) }
                    .map { Self.replacements(rows, $0) }.min()
                #expect(quantile.pathLength(to: Double(t), in: rows) == length)
            }
        }
    }

    static func multisets(of size: Int, from values: Int) -> [[Double]] {
        guard size > 0 else { return [[]] }
        return multisets(of: size - 1, from: values).flatMap { rows in
            (Int(rows.last ?? 0)..<values).map { rows + [Double($0)] }
        }
    }

    /// The fewest rows of one to replace to get the other.
    static func replacements(_ a: [Double], _ b: [Double]) -> Int {
        var rest = b
        for value in a { if let place = rest.firstIndex(of: value) { rest.remove(at: place) } }
        return rest.count
    }

    @Test(arguments: [0.5, 0.25, 1.0]) func theDensityIsPrivateAndCoversTheRange(fraction: Double) throws {
        let quantile = try PrivateQuantile(fraction: fraction, range: -10...10, resolution: 0.05, epsilon: 1)
        var generator = SeededGenerator(seed: 3)
        for _ in 0..<50 {
            var rows = (0..<7).map { _ in (4 * generator.normal()).rounded() }
            func density(_ rows: [Double]) -> (Double) -> Double {
                let pieces = quantile.pieces(rows.map { min(max($0, -10), 10) }.sorted())
                let width = pieces.reduce(0) { $0 + $1.interval.upperBound - $1.interval.lowerBound }
                #expect(abs(width - 20) < 1e-9)
                let total = pieces.reduce(0) {
                    $0 + ($1.interval.upperBound - $1.interval.lowerBound) * exponential(-Double($1.length) / 2)
                }
                return { t in exponential(-Double(pieces.first { $0.interval.contains(t) }!.length) / 2) / total }
            }
            let before = density(rows)
            rows[Int(generator.next() % 7)] = 20 * generator.normal()
            let after = density(rows)
            for k in 0..<400 {
                let t = -9.987 + 0.05 * Double(k)
                #expect(abs(logarithm(before(t) / after(t))) <= 1 + 1e-9)
            }
        }
    }

    @Test func mediansAreNearAndRobust() throws {
        let quantile = try PrivateQuantile(range: -1e6...1e6, resolution: 1e-3, epsilon: 1)
        var generator = SeededGenerator(seed: 9)
        var rows = (0..<1001).map { _ in 3 + generator.normal() }
        #expect(abs(try quantile(rows, using: &generator) - 3) < 0.2)
        for i in 0..<50 { rows[i] = .infinity }
        #expect(abs(try quantile(rows, using: &generator) - 3) < 0.3)
        #expect(throws: LacunaError.self) { try quantile([], using: &generator) }
        #expect(throws: LacunaError.self) { try quantile([.nan], using: &generator) }
        #expect(throws: LacunaError.self) { try PrivateQuantile(range: 0...1, resolution: 1, epsilon: 1) }
        #expect(throws: LacunaError.self) {
            try PrivateQuantile(fraction: 2, range: 0...1, resolution: 0.1, epsilon: 1)
        }
        #expect(throws: LacunaError.self) { try PrivateQuantile(range: 0 ... .infinity, resolution: 0.1, epsilon: 1) }
    }

    /// One row at 0: the answer is within ρ of it at odds of 1 to 3 exp(-ε/2), as the rest of the range is three times as long.
    @Test func quantilesSpendTheirBudget() throws {
        let quantile = try PrivateQuantile(range: -2...2, resolution: 0.5, epsilon: 2)
        let near = 1 / (1 + 3 * exponential(-1))
        let pieces = quantile.distribution(of: [0]).pieces
        #expect(pieces.map(\.interval) == [-2...(-0.5), -0.5...0.5, 0.5...2])
        #expect(abs(pieces[1].probability - near) < 1e-12 && abs(pieces[0].probability - (1 - near) / 2) < 1e-12)
        var generator = SeededGenerator(seed: 21)
        var count = 0.0
        let draws = 4000
        for _ in 0..<draws {
            let answer = try quantile([0], using: &generator)
            if abs(answer) <= 0.5 { count += 1 }
        }
        let error = (near * (1 - near) / Double(draws)).squareRoot()
        #expect(abs(count / Double(draws) - near) < 4.5 * error)
    }

    /// Rows beyond the range count as its ends: where most of them are, the answer is there, too.
    @Test func rowsBeyondTheRange() throws {
        let quantile = try PrivateQuantile(range: -1...1, resolution: 0.125, epsilon: 20)
        let free = try UnboundedPrivateQuantile(
            resolution: 0.125, budget: PrivacyBudget(epsilon: 20, delta: 1e-6))
        var generator = SeededGenerator(seed: 4)
        for sign in [1.0, -1] {
            let inside = try quantile([100, 0, 100, 1e9, .infinity].map { sign * $0 }, using: &generator)
            #expect(inside * sign >= 0.875)
            let rows = [Double](repeating: sign * 1e300, count: 101)
            let outside = try #require(try free(rows, using: &generator))
            #expect(outside * sign >= free.limit - 0.125)
        }
    }

    /// Grids are powers of two: a thousandth of the resolution of 0.01, whose exponent is -7, unless doubles are coarser.
    @Test func gridsByHand() throws {
        #expect(try PrivateQuantile(range: -1...1, resolution: 0.01, epsilon: 1).grid == 0x1p-17)
        // 2^60 / 2^50, and the next power.
        #expect(try PrivateQuantile(range: 0...0x1p60, resolution: 0.01, epsilon: 1).grid == 2048)
        #expect(try PrivateQuantile(range: -0x1p60...0, resolution: 1e6, epsilon: 1).grid == 2048)
        let budget = try PrivacyBudget(epsilon: 1, delta: 1e-6)
        let free = try UnboundedPrivateQuantile(resolution: 0.25, budget: budget)
        #expect(free.grid == 0x1p-12 && free.limit == 0x1p38)
        let mechanism = try GaussianMechanism(sensitivity: 3, budget: budget)
        #expect(mechanism.grid(standardDeviation: 5) == 0x1p-14)
        // Ranks of quantiles among ten and three rows.
        func rank(_ fraction: Double, _ rows: Int) throws -> Int {
            try PrivateQuantile(fraction: fraction, range: 0...9, resolution: 1, epsilon: 1).rank(of: rows)
        }
        #expect(try [rank(0, 10), rank(0.25, 10), rank(0.5, 10), rank(1, 10)] == [1, 3, 5, 10])
        #expect(try [rank(0.5, 3), rank(0.5, 1)] == [2, 1])
    }

    // MARK: Local regression

    @Test func noiseAsPublished() throws {
        let budget = try PrivacyBudget(epsilon: 1, delta: 1e-5)
        let model = try LocalSparseRegression(
            columns: 8, budget: budget, featureBound: 3, targetBound: 4, calibration: .classical)
        let log = logarithm(2.5e5)
        #expect(abs(model.covarianceNoise - (32 * 81 * 64 * log).squareRoot()) < 1e-9)
        #expect(abs(model.correlationNoise - (32 * 8 * 9 * 16 * log).squareRoot()) < 1e-9)
        #expect(model.account.total == budget)
        let known = try LocalSparseRegression(
            columns: 8, budget: budget, featureBound: 3, targetBound: 4,
            publicCovariance: Tensor(zeros: [8, 8]))
        #expect(known.covarianceNoise == 0 && known.account.total == budget)
    }

    /// With next to no noise the threshold 0 gives least squares on the clipped rows.
    @Test func withoutNoiseItIsLeastSquares() throws {
        let design = correlatedDesign(rows: 60, columns: 4)
        let y = target(design, nonzeros: 2, noise: 0.3)
        let model = try LocalSparseRegression(
            columns: 4, budget: PrivacyBudget(epsilon: 1e12, delta: 0.5), featureBound: 20, targetBound: 100)
        var generator = SeededGenerator(seed: 2)
        let sums = try model.aggregate(design, y, using: &generator)
        let estimate = try model.estimate(sums, threshold: .fixed(0))
        let plain = try ProximalNewton(tolerance: 1e-12).solve(
            Problem(design, SquaredLoss(y), L1(0), hasIntercept: false))
        for j in 0..<4 { #expect(abs(estimate.coefficients[j] - plain.coefficients[j]) < 1e-2) }
        #expect(!estimate.isNoiseDominated)
    }

    /// Messages one by one and all at once have the same mean and the same spread.
    @Test func sumsOfMessagesAreDrawnAtOnce() throws {
        let design = correlatedDesign(rows: 40, columns: 3)
        let y = target(design, nonzeros: 2, noise: 0.3)
        let model = try LocalSparseRegression(
            columns: 3, budget: PrivacyBudget(epsilon: 5, delta: 1e-2), featureBound: 1, targetBound: 1)
        let rows = try design.rowMajor(y)
        var generator = SeededGenerator(seed: 4)
        var (single, whole): ([Double], [Double]) = ([], [])
        for _ in 0..<400 {
            var sum = model.message([0, 0, 0], 0, using: &generator)
            for i in 0..<39 { sum += model.message(Array(rows[3 * i..<3 * i + 3]), y[i], using: &generator) }
            #expect(sum.users == 40)
            single.append(sum.covariance[1])
            whole.append(try model.aggregate(design, y, using: &generator).covariance[1])
        }
        func spread(_ x: [Double]) -> (mean: Double, deviation: Double) {
            let mean = x.reduce(0, +) / Double(x.count)
            return (mean, (x.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(x.count)).squareRoot())
        }
        let (a, b) = (spread(single), spread(whole))
        let expected = model.covarianceNoise * 40.0.squareRoot()
        #expect(abs(a.deviation / expected - 1) < 0.15 && abs(b.deviation / expected - 1) < 0.15)
        #expect(abs(a.mean - b.mean) < 5 * expected / 20 + 1)
    }

    /// The estimate from sums by hand: what solves the equations, and `√(2 ln d)` deviations of each coefficient as its
    /// threshold.
    @Test func estimatesByHand() throws {
        let model = try LocalSparseRegression(
            columns: 2, budget: PrivacyBudget(epsilon: 1, delta: 1e-5), featureBound: 1.5, targetBound: 4)
        let users = 100_000_000
        let n = Double(users)
        // [2 1; 1 3] (1, -2) = (0, -5); the inverse is [3 -1; -1 2] / 5.
        let sums = LocalSparseRegression.Aggregate(
            users: users, covariance: [2 * n, n, 3 * n], correlation: [0, -5 * n])
        let found = try model.estimate(sums)
        #expect(largestDifference(found.dense, [1, -2]) < 1e-9 && !found.isNoiseDominated)
        let (large, small) = (model.covarianceNoise, model.correlationNoise)
        let deviation = ((small * small + 5 * large * large) / n).squareRoot()
        let factor = (2 * logarithm(2)).squareRoot()
        let expected = [10.0, 5].map { factor * deviation * $0.squareRoot() / 5 }
        #expect(largestDifference(found.thresholds, expected) < 1e-9)
        #expect(expected[0] > 1e-3 && expected[0] < 1)
        #expect(largestDifference(found.coefficients, [1 - expected[0], expected[1] - 2]) < 1e-9)
        // Messages of two groups of users are those of all.
        var both = sums
        both += sums
        #expect(both.users == 2 * users)
        #expect(largestDifference(both.covariance, [4 * n, 2 * n, 6 * n]) == 0)
        #expect(largestDifference(both.correlation, [0, -10 * n]) == 0)
    }

    /// A direction counts as noise below a quarter of the noise's largest eigenvalue, 2 σ √(d/n), and is not divided by less.
    @Test func directionsBelowTheNoise() throws {
        let model = try LocalSparseRegression(
            columns: 2, budget: PrivacyBudget(epsilon: 1, delta: 1e-5), featureBound: 1.5, targetBound: 4)
        let users = 10_000
        let n = Double(users)
        let floor = model.covarianceNoise * (2 / n).squareRoot() / 2
        for share in [0.9, 1.1] {
            let sums = LocalSparseRegression.Aggregate(
                users: users, covariance: [9 * n, 0, share * floor * n], correlation: [9 * n, floor * n])
            let found = try model.estimate(sums, threshold: .fixed(0))
            #expect(found.isNoiseDominated == (share < 1))
            #expect(abs(found.dense[1] - 1 / max(share, 1)) < 1e-9)
        }
    }

    /// Means of so many users are sums of their number, the covariance in its upper triangle row by row.
    @Test func meansOfManyUsers() throws {
        let model = try LocalSparseRegression(
            columns: 3, budget: PrivacyBudget(epsilon: 1e12, delta: 0.5), featureBound: 1, targetBound: 1)
        let mean = Tensor<Double>([1, 2, 3, 2, 5, 6, 3, 6, 9], shape: [3, 3])
        var generator = SeededGenerator(seed: 3)
        let sums = model.aggregate(
            users: 1000, meanCovariance: mean, meanCorrelation: [7, -8, 9], using: &generator)
        #expect(sums.users == 1000)
        #expect(largestDifference(sums.covariance, [1000, 2000, 3000, 5000, 6000, 9000]) < 1)
        #expect(largestDifference(sums.correlation, [7000, -8000, 9000]) < 1)
    }

    @Test func fewRowsSayNothing() throws {
        let design = correlatedDesign(rows: 100, columns: 6)
        let y = target(design, nonzeros: 2, noise: 0.3)
        let model = try LocalSparseRegression(
            columns: 6, budget: PrivacyBudget(epsilon: 1, delta: 1e-6), featureBound: 3, targetBound: 3)
        var generator = SeededGenerator(seed: 2)
        let estimate = try model.estimate(model.aggregate(design, y, using: &generator))
        #expect(estimate.isNoiseDominated)
        #expect(estimate.coefficients.allSatisfy { $0.isFinite })
        #expect(throws: LacunaError.self) {
            try model.aggregate(correlatedDesign(rows: 100, columns: 5), y, using: &generator)
        }
        #expect(throws: LacunaError.self) { try model.aggregate(design, [.nan] + y.dropFirst(), using: &generator) }
        #expect(throws: LacunaError.self) {
            try model.estimate(model.aggregate(design, y, using: &generator), threshold: .fixed(-1))
        }
    }

    @Test func hardThresholdingFindsTheColumns() throws {
        var generator = SeededGenerator(seed: 6)
        let (n, d) = (60_000, 5)
        let x = (0..<n * d).map { _ in generator.normal() }
        let y = (0..<n).map { 0.7 * x[$0] - 0.6 * x[2 * n + $0] + 0.2 * generator.normal() }
        let model = try LocalHardThresholding(
            epsilon: 4, sparsity: 1, featureBound: 3, targetBound: 3, gradientBound: 4)
        let theta = try model.fit(DenseDesign(columnMajor: x, rows: n), y, using: &generator)
        #expect(theta.count { $0 != 0 } == 2)
        #expect(abs(theta[0] - 0.7) < 0.25 && abs(theta[2] + 0.6) < 0.25, "\(theta)")
        #expect(model.account.total.epsilon == 4 && model.account.total.delta == 0)
        #expect(throws: LacunaError.self) {
            try LocalHardThresholding(epsilon: 1, sparsity: 0, featureBound: 3, targetBound: 3)
        }
    }

    /// A step of the rounds by hand: down the gradient by half, twice as many coefficients kept as matter, back into the ball.
    @Test func stepsOfRounds() throws {
        let model = try LocalHardThresholding(epsilon: 1, sparsity: 1, featureBound: 1.5, targetBound: 4)
        #expect(model.kept == 2 && model.gradientBound == 6 && model.radius == 1 && model.step == 0.5)
        let randomizer = try model.randomizer(columns: 3)
        #expect(randomizer.bound == 6 && randomizer.epsilon == 1 && randomizer.dimensions == 3)
        let inside = model.stepped([0.2, 0, -0.1], by: [1, -0.6, 0.2])
        #expect(largestDifference(inside, [-0.3, 0.3, 0]) < 1e-12)
        let outside = model.stepped([0.2, 0, -0.1], by: [-1.2, 3.2, 0.2])
        #expect(largestDifference(outside, [0.8 / 3.2.squareRoot(), -1.6 / 3.2.squareRoot(), 0]) < 1e-12)
        // Of equals the first stay.
        #expect(model.stepped([0, 0, 0], by: [-0.4, 0.4, -0.4]) == [0.2, -0.2, 0])
    }

    /// As many rounds as the logarithm of the rows, rounded, and every row in one of them.
    @Test func roundsFollowTheRows() throws {
        let design = correlatedDesign(rows: 20, columns: 3)
        let y = target(design, nonzeros: 1, noise: 0.3)
        func fit(_ rounds: Int?) throws -> [Double] {
            var generator = SeededGenerator(seed: 5)
            return try LocalHardThresholding(
                epsilon: 2, sparsity: 1, featureBound: 2, targetBound: 2, rounds: rounds
            ).fit(design, y, using: &generator)
        }
        // ln 20 = 2.996
        #expect(try fit(nil) == fit(3))
        #expect(try fit(nil) != fit(2))
        #expect(throws: Never.self) { try fit(20) }
        #expect(throws: LacunaError.self) { try fit(21) }
    }

    /// Round by round with the same random numbers: the rows in a random order, of which every round takes the next ones.
    @Test func everyUserAnswersOnce() throws {
        let design = correlatedDesign(rows: 23, columns: 3)
        let y = target(design, nonzeros: 1, noise: 0.3)
        let model = try LocalHardThresholding(
            epsilon: 5, sparsity: 1, featureBound: 2, targetBound: 2, step: 0.05, rounds: 4)
        var (one, two) = (SeededGenerator(seed: 7), SeededGenerator(seed: 7))
        let found = try model.fit(design, y, using: &one)
        let (rows, randomizer) = (try design.rowMajor(y), try model.randomizer(columns: 3))
        var waiting = Array(0..<23)
        waiting.shuffle(using: &two)
        var theta = [0.0, 0, 0]
        for size in [5, 6, 6, 6] {
            var mean = [0.0, 0, 0]
            for i in waiting.prefix(size) {
                let row = Array(rows[3 * i..<3 * i + 3])
                let answer = model.answer(row, y[i], at: theta, by: randomizer, using: &two)
                for j in 0..<3 { mean[j] += answer[j] / Double(size) }
            }
            waiting.removeFirst(size)
            theta = model.stepped(theta, by: mean)
        }
        #expect(waiting.isEmpty && largestDifference(found, theta) < 1e-9 && theta.contains { $0 != 0 })
    }

    // MARK: Subsets

    @Test func subsetsAndGrids() throws {
        #expect(
            PrivateSubsetRegression.subsets(of: 2, from: 4) == [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]])
        #expect(PrivateSubsetRegression.subsets(of: 3, from: 3) == [[0, 1, 2]])
        for size in 1...4 {
            let model = try PrivateSubsetRegression(
                epsilon: 1, size: size, featureBound: 1, targetBound: 1, radius: 2)
            let (points, spacing) = model.grid()
            #expect(points.count > 3_000 && points.count < 40_000, "\(size): \(points.count)")
            #expect(points.allSatisfy { $0.reduce(0) { $0 + $1 * $1 } <= 4 + 1e-9 })
            #expect(points.contains([Double](repeating: 0, count: size)))
            let neighbour = [spacing] + [Double](repeating: 0, count: size - 1)
            #expect(points.contains { zip($0, neighbour).allSatisfy { abs($0 - $1) < 1e-12 } })
        }
    }

    /// No row, however far off, moves a loss by more than the stated sensitivity.
    @Test func oneRowMovesALossByNoMoreThanTheSensitivity() throws {
        let model = try PrivateSubsetRegression(epsilon: 1, size: 2, featureBound: 2, targetBound: 3, radius: 1.5)
        var generator = SeededGenerator(seed: 8)
        var largest = 0.0
        for _ in 0..<300 {
            var x = (0..<40).map { _ in min(max(3 * generator.normal(), -2), 2) }
            var y = (0..<20).map { _ in min(max(3 * generator.normal(), -3), 3) }
            func loss() throws -> Double {
                try #require(
                    HuberBallTask(huberThreshold: model.huberThreshold, radius: 1.5, targets: y)
                        .minimum(x, within: model.sensitivity / 1000))
            }
            let before = try loss()
            (x[0], x[1], y[0]) = (generator.uniform() < 0.5 ? 2 : -2, 2, generator.uniform() < 0.5 ? 3 : -3)
            largest = max(largest, abs(try loss() - before))
        }
        #expect(largest <= model.sensitivity * 1.001)
        #expect(largest > 0.1 * model.sensitivity, "the bound is not idle: \(largest / model.sensitivity)")
    }

    /// The minimum over the ball against a fine search.
    @Test func minimaOverTheBall() throws {
        var generator = SeededGenerator(seed: 12)
        for radius in [0.3, 1.0, 5.0] {
            let x = (0..<60).map { _ in generator.normal() }
            let y = (0..<30).map { 2 * x[2 * $0] - x[2 * $0 + 1] + generator.normal() }
            let task = HuberBallTask(huberThreshold: 1, radius: radius, targets: y)
            let found = try #require(task.minimum(x, within: 1e-6))
            var least = Double.infinity
            for a in 0...200 {
                for b in 0...200 {
                    let beta = [radius * (Double(a) / 100 - 1), radius * (Double(b) / 100 - 1)]
                    if beta[0] * beta[0] + beta[1] * beta[1] <= radius * radius {
                        least = min(least, task.loss(x, beta))
                    }
                }
            }
            #expect(found <= least + 1e-6 && found > least - 0.02 * least)
        }
    }

    /// Both choices of a fit at their odds, each with half of ε. Eight rows of y = 1, the first column 1 and the second 0: the
    /// supports lose 0 and 4, the coefficients 1, 0 and -1 on the first 0, 4 and 16; what a row moves a loss by is 2.
    @Test func fitsSpendTheirBudget() throws {
        var model = try PrivateSubsetRegression(
            epsilon: 2, size: 1, featureBound: 1, targetBound: 1, radius: 1, huberThreshold: 10)
        model.gridPoints = 3
        #expect(model.sensitivity == 2 && model.grid().points == [[-1], [0], [1]])
        let design = DenseDesign(
            columnMajor: [Double](repeating: 1, count: 8) + [Double](repeating: 0, count: 8), rows: 8)
        let y = [Double](repeating: 1, count: 8)
        var generator = SeededGenerator(seed: 31)
        var counts = [Double](repeating: 0, count: 3)
        let draws = 2000.0
        for _ in 0..<2000 {
            let estimate = try model.fit(design, y, using: &generator)
            if estimate.support == [0] { counts[Int(estimate.values[0]) + 1] += 1 }
        }
        let first = counts.reduce(0, +)
        // The loss of a support may be off by a hundredth of what a row moves.
        let expected = 1 / (1 + exponential(-4 / (2 * 2.02)))
        #expect(abs(first / draws - expected) < 0.045, "\(first / draws), not \(expected)")
        let weights = [exponential(-4), exponential(-1), 1]
        let total = weights.reduce(0, +)
        for k in 0..<3 {
            let p = weights[k] / total
            let error = (p * (1 - p) / first).squareRoot()
            #expect(abs(counts[k] / first - p) < 4.5 * error, "\(k): \(counts[k] / first), not \(p)")
        }
    }

    /// A target of 1000 counts as one of 1: seven others of -1 outvote it, where its own square would outweigh them.
    @Test func targetsBeyondTheBoundDoNotDecide() throws {
        var model = try PrivateSubsetRegression(
            epsilon: 1000, size: 1, featureBound: 1, targetBound: 1, radius: 1, huberThreshold: 1e6)
        model.gridPoints = 3
        let design = DenseDesign(columnMajor: [Double](repeating: 1, count: 8), rows: 8)
        for sign in [1.0, -1] {
            let y = [1000 * sign] + [Double](repeating: -sign, count: 7)
            var generator = SeededGenerator(seed: 2)
            #expect(try model.fit(design, y, using: &generator).values == [-sign])
        }
    }

    /// Where no residual reaches the threshold the loss is a square, and so is what a row moves it by.
    @Test func sensitivityOnEitherSideOfTheThreshold() throws {
        func sensitivity(_ threshold: Double?) throws -> Double {
            try PrivateSubsetRegression(
                epsilon: 1, size: 4, featureBound: 0.5, targetBound: 2, radius: 3, huberThreshold: threshold
            ).sensitivity
        }
        // Residuals up to 2 + 3 · 0.5 · √4 = 5.
        #expect(try sensitivity(5) == 12.5 && sensitivity(50) == 12.5)
        #expect(try sensitivity(4) == 4 * 3.0)
        // A tenth of the target's bound, unless it is said.
        #expect(abs(try sensitivity(nil) - 0.2 * 4.9) < 1e-12)
    }

    @Test func theSupportSurvivesOutliers() throws {
        var generator = SeededGenerator(seed: 14)
        let (n, d) = (2000, 8)
        let x = (0..<n * d).map { _ in generator.normal() }
        var y = (0..<n).map { x[2 * n + $0] - x[5 * n + $0] + generator.normal() }
        for i in 0..<60 { y[i] = 1e6 }
        let design = DenseDesign(columnMajor: x, rows: n)
        let model = try PrivateSubsetRegression(epsilon: 2, size: 2, featureBound: 3, targetBound: 5, radius: 2)
        let estimate = try model.fit(design, y, using: &generator)
        #expect(estimate.support == [2, 5] && estimate.candidates == 28)
        #expect(abs(estimate.values[0] - 1) < 0.6 && abs(estimate.values[1] + 1) < 0.6)
        #expect(model.account.total.epsilon == 2)
        #expect(throws: LacunaError.self) {
            try PrivateSubsetRegression(epsilon: 1, size: 9, featureBound: 3, targetBound: 5, radius: 2)
                .fit(design, y, using: &generator)
        }
        #expect(throws: LacunaError.self) {
            try PrivateSubsetRegression(epsilon: 1, size: 1, featureBound: 3, targetBound: 5, radius: 0)
        }
    }
}
