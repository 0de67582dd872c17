import LacunaTensor

/// Normal noise that hides a change of known Euclidean length.
///
/// The classical standard deviation `Δ sqrt(2 ln(1.25/δ)) / ε` (Dwork and Roth, "The Algorithmic Foundations of
/// Differential Privacy", 2014) is proved for ε below 1 only. The analytic one is the smallest for any ε: it solves
/// `δ = Φ(Δ/2σ - εσ/Δ) - exp(ε) Φ(-Δ/2σ - εσ/Δ)` (Balle and Wang, "Improving the Gaussian Mechanism for Differential
/// Privacy", arXiv 1805.06530).
///
/// What is released is rounded to a grid of about a 65,536th of the standard deviation, a power of two that no row decides: the
/// low bits of a sum of floating-point numbers tell which numbers were added (Ilya Mironov, "On Significance of the Least
/// Significant Bits for Differential Privacy", CCS 2012), and rounding, which comes after the noise, costs no privacy. The
/// noise itself is made by a fast generator, not a cryptographic one.
public struct GaussianMechanism: Sendable, Equatable {
    /// How the noise follows from the budget.
    public enum Calibration: String, Sendable, CaseIterable {
        /// Dwork and Roth's formula, up to ε = 1.
        case classical
        /// Balle and Wang's, the smallest for any ε.
        case analytic
    }

    /// The largest Euclidean distance between what two neighbouring tables release.
    public let sensitivity: Double
    /// What one release spends.
    public let budget: PrivacyBudget
    /// How the noise follows from the budget.
    public let calibration: Calibration
    /// Of the noise on every coordinate.
    public let standardDeviation: Double

    /// - Parameter sensitivity: The largest Euclidean distance between what two neighbouring tables release. Above 0.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for δ = 0, which no normal noise reaches, a sensitivity that
    ///   is not above 0 and finite, the classical calibration with ε above 1, and an ε so small that no finite noise does.
    public init(sensitivity: Double, budget: PrivacyBudget, calibration: Calibration = .analytic) throws {
        guard sensitivity > 0, sensitivity.isFinite else {
            throw LacunaError.invalidArgument(
                "sensitivity", reason: "must be a finite number above 0, but is \(sensitivity)")
        }
        guard budget.delta > 0 else {
            throw LacunaError.invalidArgument("delta", reason: "must be above 0: normal noise never gives δ = 0")
        }
        self.sensitivity = sensitivity
        self.budget = budget
        self.calibration = calibration
        switch calibration {
        case .classical:
            guard budget.epsilon <= 1 else {
                throw LacunaError.invalidArgument(
                    "epsilon", reason: "the classical calibration holds up to 1, but ε is \(budget.epsilon)")
            }
            standardDeviation = sensitivity * (2 * logarithm(1.25 / budget.delta)).squareRoot() / budget.epsilon
        case .analytic:
            standardDeviation = sensitivity * Self.analyticRatio(budget)
        }
        guard standardDeviation.isFinite else {
            throw LacunaError.invalidArgument(
                "epsilon", reason: "of \(budget.epsilon) takes more noise than there are numbers for")
        }
    }

    /// The δ that noise of `ratio` times the sensitivity reaches at `epsilon`, but for rounding.
    public static func delta(ratio: Double, epsilon: Double) -> Double {
        let (a, b) = (0.5 / ratio, epsilon * ratio)
        // exp(ε) may overflow where the probability it multiplies underflows.
        let tail = NormalDistribution.share(below: -a - b)
        return max(
            0, NormalDistribution.share(below: a - b) - (tail > 0 ? exponential(epsilon + logarithm(tail)) : 0))
    }

    /// At least ``delta(ratio:epsilon:)``, whatever the rounding of its two terms: for an ε near 0 these are so nearly equal that
    /// their difference may come out as 0.
    private static func largestDelta(ratio: Double, epsilon: Double) -> Double {
        let (a, b) = (0.5 / ratio, epsilon * ratio)
        // Tails are right to some units in the last place times their exponents, and so are arguments that were rounded.
        let exponent = 1 + (a + b) * (a + b) + epsilon
        return delta(ratio: ratio, epsilon: epsilon) + 0x1p-48 * exponent * NormalDistribution.share(below: a - b)
    }

    private static func analyticRatio(_ budget: PrivacyBudget) -> Double {
        // δ falls as the noise grows.
        var (low, high) = (1e-6, 1.0)
        while largestDelta(ratio: high, epsilon: budget.epsilon) > budget.delta { high *= 2 }
        for _ in 0..<200 where high - low > 1e-12 * high {
            let middle = (low + high) / 2
            let delta = largestDelta(ratio: middle, epsilon: budget.epsilon)
            if delta > budget.delta { low = middle } else { high = middle }
        }
        return high
    }

    /// What releases are multiples of.
    public var grid: Double { grid(standardDeviation: standardDeviation) }

    /// The same for another amount of noise, as sums of several releases have it.
    func grid(standardDeviation: Double) -> Double {
        Double(sign: .plus, exponent: standardDeviation.exponent - 16, significand: 1)
    }

    /// Adds noise to every coordinate and rounds to multiples of ``grid``.
    public func privatize(_ values: inout [Double], using generator: inout SeededGenerator) {
        privatize(&values, times: 1, using: &generator)
    }

    /// Noise of several independent releases whose sum is released.
    func privatize(_ values: inout [Double], times: Double, using generator: inout SeededGenerator) {
        let deviation = standardDeviation * times.squareRoot()
        let grid = grid(standardDeviation: deviation)
        for k in values.indices { values[k] = ((values[k] + deviation * generator.normal()) / grid).rounded() * grid }
    }
}

extension SeededGenerator {
    /// A generator that starts from the system's entropy: nobody can draw the same noise again.
    public static func unpredictable() -> SeededGenerator {
        var system = SystemRandomNumberGenerator()
        while true {
            if let generator = SeededGenerator(words: (0..<4).map { _ in system.next() }) { return generator }
        }
    }
}
