import LacunaTensor
import Testing

@testable import LacunaStructure

@Suite struct RareEventTests {
    /// Probability that a standard normal number is at least `x`, by Simpson's rule on [x, x + 12].
    private static func tail(_ x: Double) -> Double {
        let (count, width) = (4000, 12.0 / 4000)
        let sum = (0...count).reduce(0.0) { sum, i in
            let at = x + Double(i) * width
            return sum + (i == 0 || i == count ? 1 : i % 2 == 1 ? 4 : 2) * exponential(-at * at / 2)
        }
        return sum * width / 3 / (2 * 3.141592653589793).squareRoot()
    }

    private static func variance(_ y: [Double]) -> Double {
        let mean = y.reduce(0, +) / Double(y.count)
        return y.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(y.count - 1)
    }

    /// A normal number of at least `bound`.
    private static func above(_ bound: Double, _ random: inout SeededGenerator) -> Double {
        if bound < 0.5 {
            while true {
                let x = random.normal()
                if x >= bound { return x }
            }
        }
        // Robert (1995): exponential proposals beyond the bound.
        while true {
            let x = bound - logarithm(1 - random.uniform()) / bound
            if random.uniform() <= exponential(-(x - bound) * (x - bound) / 2) { return x }
        }
    }

    private static let bounds = [-Double.infinity, 1.5, 2, 2.5, 3]
    private static let tails = bounds.map { $0 == -.infinity ? 1 : tail($0) }
    private static func mixture() throws -> MixtureProposal {
        try MixtureProposal(weights: [0.2, 0.2, 0.2, 0.2, 0.2])
    }

    /// One critical number; proposals are the normal distribution beyond a bound.
    private static func tests(
        _ count: Int, _ random: inout SeededGenerator, stratum: (Double) -> Int = { _ in 0 },
        outcome: (Double) -> Double
    ) throws -> [ScenarioTest] {
        (0..<count).map { _ in
            let s = above(bounds[Int.random(in: 0..<bounds.count, using: &random)], &random)
            return ScenarioTest(
                outcome: outcome(s),
                logRatios: [zip(bounds, tails).map { s >= $0 ? -logarithm($1) : -.infinity }], stratum: stratum(s))
        }
    }

    @Test func mixtureRatios() throws {
        let mixture = try MixtureProposal(weights: [0.25, 0.75])
        #expect(abs(mixture.logRatio([0.3, -1]) - logarithm(0.25 * exponential(0.3) + 0.75 * exponential(-1))) < 1e-15)
        #expect(mixture.logRatio([-.infinity, -.infinity]) == -.infinity)
        #expect(abs(mixture.logRatio([900, 905]) - (905 + logarithm(0.75 + 0.25 * exponential(-5)))) < 1e-12)
        let test = ScenarioTest(outcome: 1, logRatios: [[0.5, -0.2], [0.1, 1.2]])
        let (weight, h) = mixture.ratios(test)
        #expect(abs(0.25 * h[0] + 0.75 * h[1] - 1) < 1e-15, "the controls are linearly dependent")
        #expect(abs(weight - 1 / (0.25 * exponential(0.6) + 0.75 * exponential(1))) < 1e-15)
        // Step ratios multiply to the ratios of the whole.
        let steps = mixture.stepControls(test)
        for j in 0..<2 { #expect(abs(steps[0][j] * steps[1][j] - h[j]) < 1e-14) }
    }

    @Test func noVarianceIsLeftWhereProposalsSpanTheEvent() throws {
        let truth = 0.7 * Self.tail(2) + 0.2 * Self.tail(3)
        for seed in 0..<5 {
            var random = SeededGenerator(seed: UInt64(seed))
            // outcome · p is a combination of the proposals.
            let tests = try Self.tests(200, &random) { ($0 >= 2 ? 0.7 : 0) + ($0 >= 3 ? 0.2 : 0) }
            for crossFitting in [false, true] {
                let found = try SparseControlVariates(try Self.mixture(), crossFitting: crossFitting).estimate(tests)
                #expect(abs(found.rate / truth - 1) < 1e-10)
                #expect(found.standardError < 1e-10 * truth && found.explained > 1 - 1e-12)
            }
            let plain = try SparseControlVariates(try Self.mixture(), adjustment: .none).estimate(tests)
            #expect(plain.standardError > 0.02 * truth && plain.explained == 0)
        }
    }

    @Test func adjustmentIsOrdinaryLeastSquares() throws {
        var random = SeededGenerator(seed: 9)
        var blur = SeededGenerator(seed: 10)
        let tests = try Self.tests(300, &random) { $0 + 0.1 * blur.normal() > 2.6 ? 1 : 0 }
        let mixture = try Self.mixture()
        // The intercept of the regression on all but one control, by normal equations.
        let ratios = tests.map(mixture.ratios)
        let y = zip(tests, ratios).map { $0.outcome * $1.weight }
        let x = Tensor(ratios.flatMap { [1] + $0.controls.dropLast().map { $0 - 1 } }, shape: [300, 5])
        let beta = try x.multiplied(by: x, transposed: true).solvePositiveDefinite(
            x.multiplied(by: Tensor(y, shape: [300, 1]), transposed: true)
        ).scalars
        let fitted = x.multiplied(by: Tensor(beta, shape: [5, 1])).scalars
        let error = zip(y, fitted).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) } / Double(300 - 5) / 300
        let found = try SparseControlVariates(mixture).estimate(tests)
        #expect(abs(found.rate - beta[0]) < 1e-12 && abs(found.standardError - error.squareRoot()) < 1e-12)
        let sum = ratios.reduce(0) { $0 + $1.weight }
        #expect(abs(found.effectiveTests - sum * sum / ratios.reduce(0) { $0 + $1.weight * $1.weight }) < 1e-9)
        // 2.5 % of the normal distribution lie beyond either end.
        let half = (found.interval.upperBound - found.interval.lowerBound) / 2
        #expect(abs(Self.tail(half / found.standardError) - 0.025) < 1e-6)
        #expect(abs(found.interval.lowerBound - (found.rate - half)) < 1e-15)
        #expect(abs(found.relativeHalfWidth - half / found.rate) < 1e-12)
        #expect(abs(found.explained - (1 - error * 300 / (Self.variance(y)))) < 1e-9)
    }

    /// Means over many repetitions agree with the truth, also where the stratum follows from what was drawn.
    @Test func estimatesAreUnbiased() throws {
        let truth = Self.tail(2.6)
        let mixture = try Self.mixture()
        // Strata: below and above 2.2; their probabilities under each proposal are known.
        let inside = zip(Self.bounds, Self.tails).map { min(1, Self.tail(max($0, 2.2)) / $1) }
        let strata = try SparseControlVariates.Strata(proposals: inside.map { [1 - $0, $0] }, mixture: mixture)
        #expect(abs(strata.probabilities.reduce(0, +) - 1) < 1e-12)
        let wrong = SparseControlVariates.Strata(probabilities: strata.probabilities, proposals: 5)
        let adjustments: [SparseControlVariates.Adjustment] = [
            .none, .global, .stepwise(steps: 1), .stratified(strata), .stratified(wrong),
        ]
        var sums = adjustments.map { _ in (0.0, 0.0) }
        var covered = adjustments.map { _ in 0 }
        let repetitions = 800
        for repetition in 0..<repetitions {
            var random = SeededGenerator(seed: UInt64(repetition), stream: 4)
            let tests = try Self.tests(
                200, &random, stratum: { $0 > 2.2 ? 1 : 0 }, outcome: { $0 >= 2.6 ? 1 : 0 })
            for (k, adjustment) in adjustments.enumerated() {
                let found = try SparseControlVariates(mixture, adjustment: adjustment, crossFitting: true)
                    .estimate(tests)
                let rate = found.rate / truth
                if found.interval.contains(truth) { covered[k] += 1 }
                sums[k].0 += rate / Double(repetitions)
                sums[k].1 += rate * rate / Double(repetitions)
            }
        }
        for (k, (mean, square)) in sums.enumerated() {
            let error = ((square - mean * mean) / Double(repetitions)).squareRoot()
            if k < 4 {
                #expect(abs(mean - 1) < 4 * error + 1e-3, "\(adjustments[k]): \(mean) ± \(error)")
                // 760 of 800 by the normal approximation, which 200 tests are few for.
                #expect((715...785).contains(covered[k]), "\(adjustments[k]): \(covered[k])")
            } else {
                #expect(abs(mean - 1) > 10 * error, "taking the means as 1 within such strata is wrong, and shows")
            }
        }
        // Controls help, with coefficients for each stratum as well.
        let spread = sums.map { $0.1 - $0.0 * $0.0 }
        #expect(spread[1] < 0.9 * spread[0] && spread[3] < 0.9 * spread[0])
    }

    @Test func smallStrataShareCoefficients() throws {
        var random = SeededGenerator(seed: 3)
        var index = 0
        let tests = try Self.tests(
            400, &random,
            stratum: { _ in
                index += 1
                return index % 40 == 0 ? 1 : 0
            }, outcome: { $0 >= 2 ? 1 : 0 })
        let strata = SparseControlVariates.Strata(probabilities: [0.975, 0.025], proposals: 5)
        let found = try SparseControlVariates(try Self.mixture(), adjustment: .stratified(strata)).estimate(tests)
        #expect(found.pooledStrata == [1])
        #expect(abs(found.rate / Self.tail(2) - 1) < 1e-9, "coefficients of all tests are exact here")
        let crossed = try SparseControlVariates(
            try Self.mixture(), adjustment: .stratified(strata), crossFitting: true
        ).estimate(tests)
        #expect(crossed.pooledStrata == [1] && abs(crossed.rate / Self.tail(2) - 1) < 1e-9)
    }

    /// Cross-fitted, results of a small stratum never choose the coefficients that adjust them: the estimate moves with their
    /// mean and by no more.
    @Test func crossFittingKeepsASmallStratumOut() throws {
        var random = SeededGenerator(seed: 12)
        var tests = try Self.tests(60, &random) { $0 >= 2.4 ? 1 : 0 }
        for i in tests.indices { tests[i].stratum = i < 54 ? 0 : 1 }
        let strata = SparseControlVariates.Strata(probabilities: [0.8, 0.2], proposals: 5)
        let mixture = try Self.mixture()
        let solver = SparseControlVariates(mixture, adjustment: .stratified(strata), crossFitting: true)
        let before = try solver.estimate(tests)
        var moved = 0.0
        for i in 54..<60 {
            tests[i].outcome += Double(i)
            moved += 0.2 * Double(i) * mixture.ratios(tests[i]).weight / 6
        }
        let after = try solver.estimate(tests)
        #expect(before.pooledStrata == [1] && abs(after.rate - before.rate - moved) < 1e-12 * moved)
    }

    /// Strata with coefficients of their own are estimates of their own.
    @Test func strataAddUp() throws {
        var random = SeededGenerator(seed: 15)
        var blur = SeededGenerator(seed: 16)
        var tests = try Self.tests(400, &random) { $0 + 0.2 * blur.normal() >= 2.4 ? 1 : 0 }
        for i in tests.indices { tests[i].stratum = i % 3 == 0 ? 1 : 0 }
        let strata = SparseControlVariates.Strata(probabilities: [0.7, 0.3], proposals: 5)
        let mixture = try Self.mixture()
        let parts = try [0, 1].map { l in
            try SparseControlVariates(mixture).estimate(tests.filter { $0.stratum == l })
        }
        let found = try SparseControlVariates(mixture, adjustment: .stratified(strata)).estimate(tests)
        #expect(found.pooledStrata.isEmpty)
        #expect(abs(found.rate - (0.7 * parts[0].rate + 0.3 * parts[1].rate)) < 1e-14)
        let variance = zip([0.7, 0.3], parts).reduce(0) { $0 + $1.0 * $1.0 * $1.1.standardError * $1.1.standardError }
        #expect(abs(found.standardError - variance.squareRoot()) < 1e-12 * found.standardError)
    }

    /// A regression on as many controls as tests leaves no residuals: that is no certainty.
    @Test func tooFewTestsAreNotCertain() throws {
        // One between any two bounds.
        let tests = [0, 1.7, 2.2, 2.7, 3.2].map { s in
            ScenarioTest(
                outcome: s,
                logRatios: [zip(Self.bounds, Self.tails).map { s >= $0 ? -logarithm($1) : -.infinity }])
        }
        let found = try SparseControlVariates(try Self.mixture()).estimate(tests)
        #expect(found.standardError == .infinity && found.relativeHalfWidth == .infinity)
        let plain = try SparseControlVariates(try Self.mixture(), adjustment: .none).estimate(tests)
        #expect(plain.standardError > 0 && plain.standardError.isFinite)
    }

    /// Tests in which the event never came do not say that it never comes.
    @Test func anEventThatWasNotSeenMayBe() throws {
        var random = SeededGenerator(seed: 12)
        let tests = try Self.tests(40, &random) { _ in 0 }
        let strata = SparseControlVariates.Strata(probabilities: [1], proposals: Self.bounds.count)
        for adjustment in [SparseControlVariates.Adjustment.none, .global, .stepwise(steps: 1), .stratified(strata)] {
            let found = try SparseControlVariates(try Self.mixture(), adjustment: adjustment).estimate(tests)
            #expect(found.rate == 0 && found.standardError == .infinity, "\(adjustment)")
            #expect(found.interval.upperBound == .infinity)
        }
    }

    /// Two critical steps, the second only if the first was high: the mean of every step control is 0 all the same.
    @Test func stepControlsAreMartingales() throws {
        let mixture = try MixtureProposal(weights: [0.5, 0.5])
        var random = SeededGenerator(seed: 7)
        var sums = [Double](repeating: 0, count: 4)
        let count = 40_000
        // Under proposal 1 a step is N(1, 1), under 0 it is N(0, 1): log ratio x - 1/2.
        var tests: [ScenarioTest] = []
        for _ in 0..<count {
            let shift = random.next() % 2 == 0 ? 0.0 : 1
            let first = random.normal() + shift
            var test = ScenarioTest(outcome: first > 3 ? 1 : 0, logRatios: [[0, first - 0.5]])
            if first > 0.7 {
                let second = random.normal() + shift
                test.logRatios.append([0, second - 0.5])
                test.outcome = first + second > 5 ? 1 : 0
            }
            for (m, step) in mixture.stepControls(test).enumerated() {
                for j in 0..<2 { sums[2 * m + j] += (step[j] - 1) / Double(count) }
            }
            tests.append(test)
        }
        for sum in sums { #expect(abs(sum) < 4 * 0.5 / Double(count).squareRoot()) }
        let plain = try SparseControlVariates(mixture, adjustment: .none).estimate(tests)
        let stepwise = try SparseControlVariates(mixture, adjustment: .stepwise(steps: 2)).estimate(tests)
        #expect(abs(stepwise.rate - plain.rate) < 4 * plain.standardError)
        #expect(stepwise.standardError <= plain.standardError)
    }

    @Test func unusableInput() throws {
        #expect(throws: LacunaError.self) { try MixtureProposal(weights: []) }
        #expect(throws: LacunaError.self) { try MixtureProposal(weights: [0.5, 0.4]) }
        #expect(throws: LacunaError.self) { try MixtureProposal(weights: [1.5, -0.5]) }
        let solver = SparseControlVariates(try MixtureProposal(weights: [0.5, 0.5]))
        let good = ScenarioTest(outcome: 1, logRatios: [[0, 1]])
        func fails(_ tests: [ScenarioTest], _ solver: SparseControlVariates = solver) {
            #expect(throws: LacunaError.self) { try solver.estimate(tests) }
        }
        fails([good, good, good])
        fails([good, good, good, ScenarioTest(outcome: .nan, logRatios: [[0, 1]])])
        fails([good, good, good, ScenarioTest(outcome: 1, logRatios: [[0]])])
        fails([good, good, good, ScenarioTest(outcome: 1, logRatios: [[-.infinity, -.infinity]])])
        let strata = SparseControlVariates.Strata(probabilities: [0.5, 0.5], proposals: 2)
        var other = solver
        other.adjustment = .stratified(strata)
        fails([good, good, good, good], other)
        fails([good, good, good, ScenarioTest(outcome: 1, logRatios: [[0, 1]], stratum: 2)], other)
        let second = ScenarioTest(outcome: 1, logRatios: [[0, 1]], stratum: 1)
        for probabilities in [[0.5, 0.4], [1.5, -0.5], [1, 0], [.nan, 0.5]] {
            other.adjustment = .stratified(.init(probabilities: probabilities, proposals: 2))
            fails([good, good, second, second], other)
        }
        other.adjustment = .stratified(.init(probabilities: [0.5, 0.5], proposals: 3))
        fails([good, good, second, second], other)
        other.testsPerCoefficient = 1
        other.adjustment = .stratified(strata)
        fails([good, good, good, second], other)
        other.adjustment = .stepwise(steps: 0)
        fails([good, good, good, good], other)
        #expect(throws: LacunaError.self) {
            try SparseControlVariates.Strata(proposals: [[1, 0], [1]], mixture: solver.mixture)
        }
        #expect(throws: LacunaError.self) {
            try SparseControlVariates.Strata(proposals: [[0.5, 0.5]], mixture: solver.mixture)
        }
    }

    // MARK: Counts of critical variables

    @Test func strataOfCounts() throws {
        let mixture = try MixtureProposal(weights: [0.25, 0.75])
        // Under the first: half 0, half 3; under the second: 0, 1, 2 and 3 alike.
        let counts = [[0, 3], [0, 1, 2, 3]]
        let all = try CriticalCounts(counts: counts, mixture: mixture, most: 10)
        #expect(all.bounds == [0, 1, 2, 3])
        #expect(all.strata.probabilities.map { ($0 * 16).rounded() } == [5, 3, 3, 5])
        // h_j has the mean P_j(l) / P(l) there.
        #expect(abs(all.strata.means[0][0] - 0.5 / 0.3125) < 1e-12 && all.strata.means[1][0] == 0)
        #expect(abs(all.strata.means[2][1] - 0.25 / 0.1875) < 1e-12)
        let two = try CriticalCounts(counts: counts, mixture: mixture, most: 2)
        #expect(two.bounds == [0, 2] && two.strata.probabilities == [0.5, 0.5])
        #expect([0, 1, 2, 3, 99].map(two.stratum) == [0, 0, 1, 1, 1])
        let one = try CriticalCounts(counts: counts, mixture: mixture, most: 1)
        #expect(one.bounds == [0] && one.strata.probabilities == [1] && one.strata.means == [[1, 1]])
        // Nothing to divide, and a first stratum that has more than its share.
        #expect(try CriticalCounts(counts: [[2, 2], [2]], mixture: mixture, most: 3).bounds == [0])
        let heavy = try CriticalCounts(
            counts: [[0, 0, 0, 0, 0, 0, 0, 0, 1, 2], [0, 0, 0, 0, 0, 0, 0, 0, 1, 2]], mixture: mixture, most: 3)
        #expect(heavy.bounds == [0, 1, 2])
        // Whatever the counts: probabilities sum to 1, and means under the mixture to 1 for every proposal.
        var random = SeededGenerator(seed: 6)
        for most in 1...5 {
            let drawn = (0..<2).map { _ in (0..<50).map { _ in Int(random.next() % 12) } }
            let found = try CriticalCounts(counts: drawn, mixture: mixture, most: most)
            #expect(found.bounds.count <= most && abs(found.strata.probabilities.reduce(0, +) - 1) < 1e-12)
            for j in 0..<2 {
                let mean = zip(found.strata.probabilities, found.strata.means).reduce(0) { $0 + $1.0 * $1.1[j] }
                #expect(abs(mean - 1) < 1e-12)
            }
        }
        #expect(throws: LacunaError.self) { try CriticalCounts(counts: [[1]], mixture: mixture, most: 2) }
        #expect(throws: LacunaError.self) { try CriticalCounts(counts: [[1], []], mixture: mixture, most: 2) }
        #expect(throws: LacunaError.self) { try CriticalCounts(counts: [[1], [-1]], mixture: mixture, most: 2) }
        #expect(throws: LacunaError.self) { try CriticalCounts(counts: [[1], [1]], mixture: mixture, most: 0) }
    }

    /// Three coins of which the second and the third matter only if the one before has fallen: the number of critical variables
    /// is what was drawn. All 8 scenarios in their exact proportions give the exact rate, whatever the coefficients.
    @Test func countedStrataAreUnbiased() throws {
        let natural = 0.1
        let biased = [0.1, 0.4, 0.6]
        let mixture = try MixtureProposal(weights: [0.2, 0.3, 0.5])
        struct Scenario {
            var outcome: Double
            var ratios: [[Double]] = []
            var probabilities = [1.0, 1, 1]
        }
        let scenarios = (0..<8).map { code -> Scenario in
            var scenario = Scenario(outcome: code == 7 ? 1 : code == 3 ? 0.5 : 0)
            for step in 0..<3 {
                let fell = code >> step & 1 == 1
                let isCritical = step == 0 || code >> (step - 1) & 1 == 1
                let p = fell ? natural : 1 - natural
                let q = biased.map { isCritical ? (fell ? $0 : 1 - $0) : p }
                if isCritical { scenario.ratios.append(q.map { logarithm($0 / p) }) }
                for j in 0..<3 { scenario.probabilities[j] *= q[j] }
            }
            return scenario
        }
        // As many of each as makes all probabilities whole numbers of a million.
        let counts = (0..<3).map { j in
            scenarios.flatMap { s in
                [Int](repeating: s.ratios.count, count: Int((s.probabilities[j] * 1e3).rounded()))
            }
        }
        let found = try CriticalCounts(counts: counts, mixture: mixture, most: 3)
        #expect(found.bounds == [1, 2, 3].map { $0 == 1 ? 0 : $0 })
        var truth = 0.0
        var tests: [ScenarioTest] = []
        for s in scenarios {
            let q = zip(mixture.weights, s.probabilities).reduce(0) { $0 + $1.0 * $1.1 }
            truth += s.probabilities[0] * s.outcome
            let test = ScenarioTest(outcome: s.outcome, logRatios: s.ratios, stratum: found.stratum(of: s.ratios.count))
            tests += [ScenarioTest](repeating: test, count: Int((q * 1e4).rounded()))
        }
        let estimate = try SparseControlVariates(mixture, adjustment: .stratified(found.strata)).estimate(tests)
        #expect(abs(estimate.rate / truth - 1) < 1e-9, "\(estimate.rate) \(truth)")
        let wrong = SparseControlVariates.Strata(probabilities: found.strata.probabilities, proposals: 3)
        let naive = try SparseControlVariates(mixture, adjustment: .stratified(wrong)).estimate(tests)
        #expect(abs(naive.rate / truth - 1) > 0.05, "control variates have not mean 1 in a stratum")
    }
}
