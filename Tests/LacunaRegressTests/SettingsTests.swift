import LacunaTensor
import Testing

@testable import LacunaRegress

/// What is not said, the ends of ranges, and rounding: defaults are those that are documented.
@Suite struct SettingsTests {
    private let rows = 60
    private let design = correlatedDesign(rows: 60, columns: 6, seed: 3)
    private var numbers: [Double] { target(design, nonzeros: 3, noise: 0.5) }

    @Test func choicesThatNobodyMakes() throws {
        let choice = StrengthChoice()
        #expect(choice.folds == 5 && choice.count == 100 && choice.ratio == 1e-2 && choice.seed == 0)
        #expect(choice.rule == .simplest && choice.measure == .loss)
        let strengths = try Estimator(.lasso).fit(Table(design, target: numbers)).path.strengths
        #expect(strengths.count == 100 && abs(strengths[99] / strengths[0] - 0.01) < 1e-12)
        #expect(try RegularizationPath.strengths(from: 8, ratio: 0.125, count: 4).map { $0.rounded() } == [8, 4, 2, 1])
    }

    /// 1.345 spreads, by the median of deviations from the median.
    @Test func huberBendsAtSpreads() throws {
        // A few rows far off, where the bend matters.
        let y = numbers.enumerated().map { $0.offset % 7 == 0 ? $0.element + 9 : $0.element }
        let table = try Table(design, target: y)
        let median = y.sorted()[rows / 2]
        let spread = y.map { abs($0 - median) }.sorted()[rows / 2] * 1.4826
        func fit(_ delta: Double?) throws -> [Double] {
            try Estimator(.lasso, family: .huber(delta: delta), strength: 0.05).fit(table).model.coefficients[0]
        }
        #expect(try fit(nil) == fit(1.345 * spread))
        #expect(try largestDifference(fit(nil), fit(1.2 * spread)) > 1e-4)
    }

    /// The width of the smoothing, in spreads of the target.
    @Test func quantilesAreSmoothed() throws {
        let mean = numbers.reduce(0, +) / Double(rows)
        let scale = (numbers.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(rows)).squareRoot()
        let width = max(0.05, 0.21.squareRoot() * power(logarithm(7) / 60, 0.25))
        let weights = [Double](repeating: 1 / Double(rows), count: rows)
        let loss = try QuantileLoss(numbers.map { $0 / scale }, level: 0.3, width: width)
        let expected = try ProximalNewton(tolerance: 1e-10).solve(
            Problem(design.standardized(weights: weights), loss, L1(0.05)))
        let found = try Estimator(.lasso, family: .quantile(0.3), strength: 0.05).fit(Table(design, target: numbers))
        #expect(largestDifference(found.solution.coefficients.map { $0 / scale }, expected.coefficients) < 1e-4)
    }

    /// A refitted constant makes residuals even.
    @Test func relaxedFitsHaveAConstantOfTheirOwn() throws {
        let table = try Table(design, target: numbers.map { $0 + 7 })
        var estimator = Estimator(.lasso, strength: 0.3)
        estimator.isRelaxed = true
        let predicted = try estimator.fit(table).model.predict(table)
        let difference = zip(predicted, numbers).reduce(0) { $0 + $1.0 - $1.1 - 7 }
        #expect(abs(difference) < 1e-5 * Double(rows))
    }

    @Test func subsetsLeaveHalfOfTheRows() throws {
        let small = correlatedDesign(rows: 6, columns: 10)
        var estimator = Estimator(.subset(size: nil))
        estimator.choice.folds = 2
        let fit = try estimator.fit(Table(small, target: target(small, nonzeros: 1, noise: 0.1)))
        #expect(fit.path.strengths == [1, 2, 3])
    }

    @Test func roundsFollowTheRows() throws {
        // ln 100 is 4.6: five rounds.
        let wide = correlatedDesign(rows: 100, columns: 4)
        let y = target(wide, nonzeros: 1, noise: 0.1)
        func fit(_ rounds: Int?) throws -> [Double] {
            var random = SeededGenerator(seed: 8)
            return try LocalHardThresholding(
                epsilon: 5, sparsity: 1, featureBound: 2, targetBound: 3, radius: 2, rounds: rounds
            ).fit(wide, y, using: &random)
        }
        #expect(try fit(nil) == fit(5) && fit(nil) != fit(4))
    }

    @Test func privateQuantilesAreOnAGrid() throws {
        for resolution in [1e-3, 0.7, 12] {
            let grid = try PrivateQuantile(range: -100...100, resolution: resolution, epsilon: 1).grid
            #expect(grid.significand == 1 && grid < resolution / 1000 && grid > resolution / 4000, "\(resolution)")
        }
        // No finer than doubles of the range are.
        #expect(try PrivateQuantile(range: 0...1e12, resolution: 1e-3, epsilon: 1).grid >= 1e12 * 0x1p-50)
        func rank(_ fraction: Double, _ n: Int) throws -> Int {
            try PrivateQuantile(fraction: fraction, range: 0...1, resolution: 0.1, epsilon: 1).rank(of: n)
        }
        #expect(try rank(0.5, 5) == 3 && rank(0.5, 4) == 2 && rank(0.34, 10) == 4)
        #expect(try rank(0, 10) == 1 && rank(1, 10) == 10)
    }

    /// Outliers are held at 8 spreads, and nothing within is moved.
    @Test func scalesHoldOutliers() {
        let values = (0...100).map(Double.init) + [1e9]
        let scaled = RobustScale(sorted: values).apply(values).values
        #expect(scaled.max() == 8)
        let range = (75.75 - 25.25) / 1.3489795003921634
        for (x, found) in zip(values.dropLast(), scaled) { #expect(abs(found - (x - 50.5) / range) < 1e-12) }
        let far = RobustScale(sorted: values).apply([50.5 + 7.5 * range, 50.5 - 9 * range]).values
        #expect(abs(far[0] - 7.5) < 1e-12 && far[1] == -8)
    }

    /// Ranks of rows with equal scores.
    @Test func tiesCountHalf() {
        let ones = [Double](repeating: 1, count: 4)
        #expect(Ranking.areaUnderCurve([1, 1, 1, 1], labels: [0, 1, 0, 1], weights: ones) == 0.5)
        #expect(Ranking.areaUnderCurve([1, 2, 2, 3], labels: [0, 0, 1, 1], weights: ones) == 0.875)
        #expect(
            Ranking.concordance(
                [2, 2, 1, 0], times: [1, 2, 3, 4], events: [true, true, true, true], weights: ones) == 5.5 / 6)
    }

    // MARK: Rounding

    @Test func certificatesKnowTheirRounding() {
        func verdict(_ value: Double, _ error: Double, _ tolerance: Double) -> [Bool] {
            let found = RoundingBound.verdict(value, error: error, tolerance: tolerance)
            return [found.stops, found.isReached]
        }
        #expect(verdict(1e-13, 1e-12, 1e-13) == [true, true])
        // As exact as rounding allows, but that is not exact.
        #expect(verdict(1e-9, 1e-8, 1e-12) == [true, false])
        #expect(verdict(1e-9, 1e-8, 1e-6) == [true, true])
        #expect(verdict(1e-5, 1e-8, 1e-6) == [false, false])
        let n = 1000
        let (slope, eta) = ([Double](repeating: 1e-3, count: n), [Double](repeating: 1e6, count: n))
        let weights = [Double](repeating: 1 / Double(n), count: n)
        let bound = slope.withUnsafeBufferPointer { slope in
            eta.withUnsafeBufferPointer {
                RoundingBound(
                    slope.baseAddress!, eta: $0.baseAddress!, weights: weights, outputs: 1, hasIntercept: false)
            }
        }
        // √(Σ v²/w), and nothing to be balanced without an intercept.
        #expect(abs(bound.length - 1) < 1e-12 && bound.imbalance == 0)
        let unit = 0x1p-53
        // Every term of a sum over the rows may be rounded as often as there are rows.
        #expect(bound.gradientError(4) >= 2 * Double(n) * unit && bound.gradientError(4) < 2 * Double(n + 8) * unit)
        // Row gradients times predictors are 10⁶ together.
        #expect(bound.valueError(reach: 0, count: 0, magnitude: 0) >= Double(n) * unit * 1e6)
        #expect(bound.valueError(reach: 0, count: 0, magnitude: 1e9) >= Double(n) * unit * 1e9)
    }

    /// Shares of intervals: the 2.5th and 97.5th percentiles of what samples gave.
    @Test func bootstrapIntervalsCoverNineteenOfTwenty() throws {
        let table = try Table(design, target: numbers)
        let estimator = Estimator(.lasso, strength: 0.1)
        let fit = try estimator.fit(table)
        let found = try estimator.bootstrap(table, of: fit, samples: 400, seed: 4)
        let interval = try #require(found.intervals?.first)
        // The same samples, drawn again.
        var generator = SeededGenerator(seed: 4, stream: 0xB007)
        var values: [Double] = []
        for _ in 0..<400 {
            var times = [Double](repeating: 0, count: rows)
            for _ in 0..<rows { times[Int(generator.next() % UInt64(rows))] += 1 }
            values.append(try estimator.fit(table.weighted(by: times)).model.coefficients[0][interval.feature])
        }
        let outside = (values.count { $0 < interval.lower }, values.count { $0 > interval.upper })
        #expect((9...10).contains(outside.0) && (9...10).contains(outside.1), "\(outside)")
    }
}
