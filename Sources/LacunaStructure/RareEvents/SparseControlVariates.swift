import LacunaTensor

/// Estimates how often a rare event happens from few tests of a system: importance sampling from a mixture of proposals, with
/// the proposals themselves as control variates.
///
/// A test of a scenario drawn from `q = Σ α_j q_j` gives `Y = outcome · p/q`. The ratios `h_j = q_j / q` are known, have mean
/// 1, and explain much of `Y` where some proposal resembles the event: the estimate is `mean(Y - Σ_j β_j (h_j - 1))` with `β`
/// by least squares on the tests of this very system. Ratios are products over critical steps, which is the sparsity: over
/// all steps they would have enormous variance.
///
/// Jingxuan Yang and others, "Adaptive Testing for Connected and Automated Vehicles with Sparse Control Variates in Overtaking
/// Scenarios", arXiv 2207.09259, and, with strata, "Adaptive Safety Evaluation for Connected and Automated Vehicles with Sparse
/// Control Variates", arXiv 2212.00517; after Art Owen, Yi Zhou, "Safe and Effective Importance Sampling", JASA 95, 2000.
public struct SparseControlVariates: Sendable {
    /// What is regressed on the control variates.
    public enum Adjustment: Sendable, Equatable {
        /// Importance sampling alone: `mean(Y)`.
        case none
        /// One `β` for all tests.
        case global
        /// A `β` for each stratum.
        case stratified(Strata)
        /// Controls step by step: the `m`-th critical step of a scenario has coefficients of its own, for the first so many
        /// steps (1 or more). Each control has mean 0 given the past, so it does not matter what decides how many there are.
        /// One proposal has to exclude nothing, such as the natural distribution.
        case stepwise(steps: Int)
    }

    /// What is known about classes of scenarios.
    public struct Strata: Sendable, Equatable {
        /// Probability of each under the mixture.
        public let probabilities: [Double]
        /// `means[l][j]`: mean of `h_j` within stratum `l`, under the mixture.
        public let means: [[Double]]

        /// Strata that are decided before anything is drawn from a proposal, so that ratios have mean 1 within each.
        ///
        /// - Parameters:
        ///   - probabilities: Of each stratum.
        ///   - proposals: How many there are.
        public init(probabilities: [Double], proposals: Int) {
            self.probabilities = probabilities
            means = probabilities.map { _ in [Double](repeating: 1, count: proposals) }
        }

        /// Strata that depend on what is drawn.
        ///
        /// - Parameter proposals: `proposals[j][l]`: the probability of stratum `l` under proposal `j`, which can be simulated
        ///   without a single test.
        /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if there are not as many probabilities for every proposal of the
        ///   mixture.
        public init(proposals: [[Double]], mixture: MixtureProposal) throws {
            let count = proposals.first?.count ?? 0
            guard proposals.count == mixture.count, proposals.allSatisfy({ $0.count == count }) else {
                throw LacunaError.invalidArgument(
                    "proposals", reason: "\(proposals.map(\.count)) probabilities for \(mixture.count) proposals")
            }
            let probabilities = (0..<count).map { l in
                zip(mixture.weights, proposals).reduce(0) { $0 + $1.0 * $1.1[l] }
            }
            self.probabilities = probabilities
            means = (0..<count).map { l in
                proposals.map { probabilities[l] > 0 ? $0[l] / probabilities[l] : 1 }
            }
        }
    }

    /// A rate and how sure it is.
    public struct Estimate: Sendable, Equatable {
        /// The mean outcome under the natural distribution.
        public var rate: Double
        /// Of ``rate``; ∞ where tests are no more than coefficients, so that the regression leaves nothing to judge it by, and where no
        /// test came to anything but 0, which says nothing about how rare the event is.
        public var standardError: Double
        /// Share of the variance of `Y` that the controls explain, of the tests that they were used for.
        public var explained: Double
        /// `(Σ p/q)² / Σ (p/q)²`.
        public var effectiveTests: Double
        /// Strata with too few tests for coefficients of their own.
        public var pooledStrata: [Int]

        /// 95 %, by the normal approximation.
        public var interval: ClosedRange<Double> {
            rate - 1.959964 * standardError...rate + 1.959964 * standardError
        }
        /// Half of ``interval`` over ``rate``; tests customarily end at 0.3.
        public var relativeHalfWidth: Double { rate > 0 ? 1.959964 * standardError / rate : .infinity }
    }

    /// Where scenarios were drawn from.
    public var mixture: MixtureProposal
    /// What is regressed on the control variates.
    public var adjustment: Adjustment
    /// Coefficients come from the other half of the tests, or from the other strata where a stratum has too few, which makes
    /// the estimate exactly unbiased; otherwise from all tests, with a bias that vanishes like 1/n.
    public var crossFitting: Bool
    /// Tests for each coefficient that a stratum must have to get coefficients of its own.
    public var testsPerCoefficient: Int

    /// Settings as their properties say.
    public init(
        _ mixture: MixtureProposal, adjustment: Adjustment = .global, crossFitting: Bool = false,
        testsPerCoefficient: Int = 10
    ) {
        require(testsPerCoefficient > 0)
        self.mixture = mixture
        self.adjustment = adjustment
        self.crossFitting = crossFitting
        self.testsPerCoefficient = testsPerCoefficient
    }

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for fewer than 4 tests, ratios for another number of proposals,
    ///   numbers that are not finite, strata that do not exist or cannot happen, probabilities of strata that are negative or do
    ///   not sum to 1 (within 1e-6), a stratum that may happen with fewer than 2 tests, and fewer than 1 step;
    ///   ``LacunaError/numerical(operation:reason:)`` if the least-squares problem cannot be decomposed.
    public func estimate(_ tests: [ScenarioTest]) throws -> Estimate {
        let count = mixture.count
        guard tests.count >= 4 else {
            throw LacunaError.invalidArgument("tests", reason: "\(tests.count); at least 4 are needed")
        }
        for (i, test) in tests.enumerated() {
            guard test.outcome.isFinite, test.logRatios.allSatisfy({ $0.count == count }) else {
                throw LacunaError.invalidArgument(
                    "tests", reason: "test \(i + 1) is not finite or has not \(count) ratios a step")
            }
        }
        let ratios = tests.map(mixture.ratios)
        let y = zip(tests, ratios).map { $0.outcome * $1.weight }
        guard y.allSatisfy(\.isFinite), ratios.allSatisfy({ $0.weight.isFinite }) else {
            throw LacunaError.invalidArgument("tests", reason: "a scenario is impossible under the mixture")
        }
        let sum = ratios.reduce(0) { $0 + $1.weight }
        let squares = ratios.reduce(0) { $0 + $1.weight * $1.weight }
        let effective = squares > 0 ? sum * sum / squares : 0
        let isSeen = y.contains { $0 != 0 }
        func estimate(_ mean: AdjustedMean, _ pooled: [Int]) -> Estimate {
            Estimate(
                rate: mean.value, standardError: isSeen ? mean.variance.squareRoot() : .infinity,
                explained: mean.explained, effectiveTests: effective, pooledStrata: pooled)
        }
        switch adjustment {
        case .none: return estimate(try AdjustedMean(y, controls: y.map { _ in [] }, crossFitting: false), [])
        case .global:
            let controls = ratios.map { $0.controls.map { $0 - 1 } }
            return estimate(try AdjustedMean(y, controls: controls, crossFitting: crossFitting), [])
        case .stepwise(let most):
            guard most > 0 else { throw LacunaError.invalidArgument("adjustment", reason: "by \(most) steps") }
            let steps = min(most, tests.reduce(0) { max($0, $1.logRatios.count) })
            let controls = tests.map { test in
                let known = mixture.stepControls(test).prefix(steps).flatMap { $0.map { $0 - 1 } }
                return known + [Double](repeating: 0, count: max(0, steps * count - known.count))
            }
            return estimate(try AdjustedMean(y, controls: controls, crossFitting: crossFitting), [])
        case .stratified(let strata):
            return try stratified(tests, y, ratios.map(\.controls), strata, estimate)
        }
    }

    private func stratified(
        _ tests: [ScenarioTest], _ y: [Double], _ h: [[Double]], _ strata: Strata,
        _ estimate: (AdjustedMean, [Int]) -> Estimate
    ) throws -> Estimate {
        let total = strata.probabilities.count
        guard strata.means.allSatisfy({ $0.count == mixture.count }) else {
            throw LacunaError.invalidArgument("strata", reason: "have not \(mixture.count) means each")
        }
        guard strata.probabilities.allSatisfy({ $0 >= 0 }), abs(strata.probabilities.reduce(0, +) - 1) <= 1e-6,
            strata.means.allSatisfy({ $0.allSatisfy(\.isFinite) })
        else {
            throw LacunaError.invalidArgument("strata", reason: "\(strata.probabilities) do not sum to 1")
        }
        if let wrong = tests.first(where: {
            !(0..<total).contains($0.stratum) || strata.probabilities[$0.stratum] == 0
        }) {
            throw LacunaError.invalidArgument(
                "tests", reason: "stratum \(wrong.stratum) of \(total), or one that cannot happen")
        }
        let centred = zip(tests, h).map { test, h in zip(h, strata.means[test.stratum]).map { $0 - $1 } }
        let members = (0..<total).map { l in tests.indices.filter { tests[$0].stratum == l } }
        let enough = testsPerCoefficient * mixture.count
        let small = (0..<total).filter { strata.probabilities[$0] > 0 && members[$0].count < enough }
        var (value, variance, left, before) = (0.0, 0.0, 0.0, 0.0)
        func add(_ mean: AdjustedMean, _ probability: Double) {
            value += probability * mean.value
            variance += probability * probability * mean.variance
            left += probability * mean.residual
            before += probability * mean.spread
        }
        // With too few tests to learn from, a stratum shares the coefficients of all tests.
        let everything =
            small.isEmpty || crossFitting ? nil : try AdjustedMean(y, controls: centred, crossFitting: false)
        for l in 0..<total where strata.probabilities[l] > 0 {
            guard members[l].count >= 2 else {
                throw LacunaError.invalidArgument(
                    "tests", reason: "stratum \(l) has \(members[l].count) tests; 2 are needed")
            }
            let (results, controls) = (members[l].map { y[$0] }, members[l].map { centred[$0] })
            guard small.contains(l) else {
                add(try AdjustedMean(results, controls: controls, crossFitting: crossFitting), strata.probabilities[l])
                continue
            }
            let others = crossFitting ? tests.indices.filter { tests[$0].stratum != l } : []
            let shared =
                try everything?.coefficients
                ?? AdjustedMean.leastSquares(others.map { y[$0] }, others.map { centred[$0] }).beta
            add(AdjustedMean(results, controls: controls, coefficients: shared), strata.probabilities[l])
        }
        let mean = AdjustedMean(value: value, variance: variance, residual: left, spread: before)
        return estimate(mean, small)
    }
}

/// `mean(y - βᵀc)` for controls `c` of mean 0, and how far it may be off.
struct AdjustedMean {
    var value: Double
    /// Of `value`; ∞ without a degree of freedom left.
    var variance: Double
    /// Variance of one adjusted number, and of one unadjusted one.
    var residual: Double
    var spread: Double
    var coefficients: [Double] = []

    var explained: Double { spread > 0 ? 1 - residual / spread : 0 }

    init(value: Double, variance: Double, residual: Double, spread: Double) {
        (self.value, self.variance, self.residual, self.spread) = (value, variance, residual, spread)
    }

    /// With coefficients that were found elsewhere.
    init(_ y: [Double], controls: [[Double]], coefficients: [Double]) {
        let adjusted = zip(y, controls).map { y, c in y - zip(c, coefficients).reduce(0) { $0 + $1.0 * $1.1 } }
        (value, residual) = Self.moments(adjusted, freedom: y.count - 1)
        variance = residual / Double(y.count)
        spread = Self.moments(y, freedom: y.count - 1).variance
        self.coefficients = coefficients
    }

    /// With coefficients by least squares.
    init(_ y: [Double], controls: [[Double]], crossFitting: Bool) throws {
        let n = y.count
        spread = Self.moments(y, freedom: n - 1).variance
        let (beta, rank) = try Self.leastSquares(y, controls)
        coefficients = beta
        func adjusted(_ i: Int, _ beta: [Double]) -> Double {
            y[i] - zip(controls[i], beta).reduce(0) { $0 + $1.0 * $1.1 }
        }
        if crossFitting {
            // Every second test: halves that do not depend on the results.
            let halves = [0, 1].map { half in (0..<n).filter { $0 % 2 == half } }
            let fitted = try halves.map { half in
                try Self.leastSquares(half.map { y[$0] }, half.map { controls[$0] }).beta
            }
            (value, residual) = Self.moments((0..<n).map { adjusted($0, fitted[1 - $0 % 2]) }, freedom: n - 1)
        } else {
            (value, residual) = Self.moments((0..<n).map { adjusted($0, beta) }, freedom: n - 1 - rank)
        }
        // A regression that reproduces all results says nothing about the next one.
        variance = crossFitting || rank == 0 || n > rank + 1 ? residual / Double(n) : .infinity
    }

    private static func moments(_ x: [Double], freedom: Int) -> (mean: Double, variance: Double) {
        let mean = x.reduce(0, +) / Double(x.count)
        return (mean, x.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(max(freedom, 1)))
    }

    /// `β` of `y` on controls and a constant: the shortest solution, as controls are linearly dependent by construction.
    static func leastSquares(_ y: [Double], _ controls: [[Double]]) throws -> (beta: [Double], rank: Int) {
        let (n, k) = (y.count, controls.first?.count ?? 0)
        if k == 0 || n < 2 { return ([Double](repeating: 0, count: k), 0) }
        let mean = (0..<k).map { j in controls.reduce(0) { $0 + $1[j] } / Double(n) }
        let height = y.reduce(0, +) / Double(n)
        var design = Tensor<Double>(uninitialized: [n, k])
        design.withMutablePointer { p in
            for i in 0..<n { for j in 0..<k { p[i * k + j] = controls[i][j] - mean[j] } }
        }
        let (u, s, vt) = try design.svd()
        let projections = u.multiplied(by: Tensor(y.map { $0 - height }, shape: [n, 1]), transposed: true).scalars
        var beta = [Double](repeating: 0, count: k)
        var rank = 0
        for r in s.indices where s[r] > 1e-10 * s[0] && s[r] > 0 {
            rank += 1
            for j in 0..<k { beta[j] += projections[r] / s[r] * vt[r, j] }
        }
        return (beta, rank)
    }
}
