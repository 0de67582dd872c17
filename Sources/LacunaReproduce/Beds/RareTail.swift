import Lacuna

/// A rare event with one critical variable among many: it happens when `s ≥ threshold + fuzz · x₃`, all variables standard
/// normal. Surrogates know that `s` is critical, and each takes the event to begin at a bound of its own.
struct RareTail {
    /// Where each surrogate believes the event begins; the first, -∞, is the natural distribution.
    let bounds: [Double]
    let mixture: MixtureProposal
    private let tails: [Double]

    init(spacing: Double) throws {
        bounds = [-.infinity] + stride(from: 1.5, through: 3.5 + 1e-9, by: spacing)
        let others = bounds.count - 1
        mixture = try MixtureProposal(weights: [0.1] + [Double](repeating: 0.9 / Double(others), count: others))
        tails = bounds.map { $0 == -.infinity ? 1 : Self.tail($0) }
    }

    /// Probability that a standard normal number is at least `x`, by Simpson's rule on [x, x + 12].
    static func tail(_ x: Double) -> Double {
        let (count, width) = (4000, 12.0 / 4000)
        let sum = (0...count).reduce(0.0) { sum, i in
            let at = x + Double(i) * width
            return sum + (i == 0 || i == count ? 1 : i % 2 == 1 ? 4 : 2) * exponential(-at * at / 2)
        }
        return sum * width / 3 / (2 * 3.141592653589793).squareRoot()
    }

    /// The rate of the event.
    static func rate(threshold: Double, fuzz: Double) -> Double {
        tail(threshold / (1 + fuzz * fuzz).squareRoot())
    }

    /// A normal number of at least `bound`, which is 0.5 or more (Robert, 1995), or any for -∞.
    private static func above(_ bound: Double, _ random: inout SeededGenerator) -> Double {
        if bound == -.infinity { return random.normal() }
        while true {
            let x = bound - logarithm(1 - random.uniform()) / bound
            if random.uniform() <= exponential(-(x - bound) * (x - bound) / 2) { return x }
        }
    }

    /// - Parameters:
    ///   - thresholds: One for each stratum; strata are equally likely and known beforehand.
    ///   - shift: Standard deviation, from proposal to proposal, of the mean that each gives every one of the 20 variables that
    ///     do not matter. Their ratios then have to be counted too. 0 leaves them alone: the sparse case.
    func tests(
        _ count: Int, thresholds: [Double], fuzz: Double, shift: Double = 0, using random: inout SeededGenerator
    ) -> [ScenarioTest] {
        let shifts = bounds.map { bound in (0..<20).map { _ in bound == -.infinity ? 0 : shift * random.normal() } }
        return (0..<count).map { i in
            var (draw, chosen) = (random.uniform(), 0)
            while chosen < bounds.count - 1 && draw >= mixture.weights[chosen] {
                draw -= mixture.weights[chosen]
                chosen += 1
            }
            let s = Self.above(bounds[chosen], &random)
            let x = (0..<20).map { random.normal() + shifts[chosen][$0] }
            let stratum = i % thresholds.count
            var logRatios = [zip(bounds, tails).map { s >= $0 ? -logarithm($1) : -.infinity }]
            if shift > 0 {
                for k in 0..<20 { logRatios.append(shifts.map { $0[k] * x[k] - $0[k] * $0[k] / 2 }) }
            }
            return ScenarioTest(
                outcome: s >= thresholds[stratum] + fuzz * x[3] ? 1 : 0, logRatios: logRatios, stratum: stratum)
        }
    }

    /// Mean and standard deviation of estimates over their truth.
    static func relative(_ estimates: [Double], to truth: Double) -> (mean: Double, deviation: Double) {
        let mean = estimates.reduce(0, +) / Double(estimates.count)
        let variance =
            estimates.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(max(estimates.count - 1, 1))
        return (mean / truth, variance.squareRoot() / truth)
    }
}
