import LacunaSparse
import LacunaTensor

/// `λ Σ_j c_j (α|β_j| + (1 - α)/2 β_j²)` with `l_j ≤ β_j ≤ u_j`: the elastic net with a factor and limits for each column;
/// with factors alone the adaptive lasso, with limits from 0 up the positive one, with α = 0 ridge regression.
///
/// Hui Zou, Trevor Hastie, "Regularization and Variable Selection via the Elastic Net", JRSS B 2005; factors and limits as
/// Jerome Friedman, Trevor Hastie, Robert Tibshirani, "Regularization Paths for Generalized Linear Models via Coordinate
/// Descent", J. Statistical Software 2010, have them.
public struct ConstrainedElasticNet: SeparablePenalty, ScalablePenalty {
    public var strength: Double
    /// α in 0...1.
    public let mixing: Double
    /// `c_j`, at least 0; 0 leaves a column unpenalised.
    public let factors: [Double]
    /// `l_j`, at most 0, and `u_j`, at least 0; infinite for none.
    public let lower, upper: [Double]

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for numbers out of range and arrays of different lengths.
    public init(
        _ strength: Double, mixing: Double = 1, factors: [Double], lower: [Double]? = nil, upper: [Double]? = nil
    ) throws {
        func refuse(_ what: String, _ reason: String) -> LacunaError { .invalidArgument(what, reason: reason) }
        guard strength >= 0, strength.isFinite else { throw refuse("strength", "is \(strength)") }
        guard mixing >= 0, mixing <= 1 else { throw refuse("mixing", "is \(mixing), not from 0 to 1") }
        if let j = factors.firstIndex(where: { !($0 >= 0) || !$0.isFinite }) {
            throw refuse("factors", "that of column \(j + 1) is \(factors[j])")
        }
        for (what, limits, sign) in [("lower", lower, -1.0), ("upper", upper, 1)] {
            guard let limits else { continue }
            guard limits.count == factors.count else {
                throw refuse("\(what) limits", "are \(limits.count) for \(factors.count) columns")
            }
            if let j = limits.firstIndex(where: { !($0 * sign >= 0) }) {
                throw refuse("\(what) limits", "that of column \(j + 1) is \(limits[j]); 0 must be allowed")
            }
        }
        self.strength = strength
        self.mixing = mixing
        self.factors = factors
        self.lower = lower ?? [Double](repeating: -.infinity, count: factors.count)
        self.upper = upper ?? [Double](repeating: .infinity, count: factors.count)
    }

    public var isConvex: Bool { true }
    public var columns: Int? { factors.count }
    /// Where a column is neither penalised nor limited, the dual point would have to meet an equation.
    public var hasDual: Bool {
        strength > 0 && factors.indices.allSatisfy { factors[$0] > 0 || (lower[$0].isFinite && upper[$0].isFinite) }
    }

    private func absolute(_ j: Int) -> Double { strength * mixing * factors[j] }
    private func square(_ j: Int) -> Double { strength * (1 - mixing) * factors[j] }

    public func value(_ x: Double, _ j: Int) -> Double {
        x < lower[j] || x > upper[j] ? .infinity : absolute(j) * abs(x) + square(j) / 2 * x * x
    }

    public func proximal(_ x: Double, step: Double, _ j: Int) -> Double {
        let free = Proximal.softThreshold(x, step * absolute(j)) / (1 + step * square(j))
        return min(max(free, lower[j]), upper[j])
    }

    public func slope(_ x: Double, _ j: Int) -> Double { (x > 0 ? absolute(j) : -absolute(j)) + square(j) * x }
    public func bend(_ x: Double, _ j: Int) -> Double { square(j) }

    public func distance(_ x: Double, gradient: Double, lipschitz: Double, _ j: Int) -> Double {
        // Downhill beyond a limit is no way.
        if x == 0 {
            if gradient < 0 { return upper[j] > 0 ? max(0, -gradient - absolute(j)) : 0 }
            return lower[j] < 0 ? max(0, gradient - absolute(j)) : 0
        }
        let rest = gradient + slope(x, j)
        return x >= upper[j] ? max(0, rest) : x <= lower[j] ? max(0, -rest) : abs(rest)
    }

    public func dualScale(_ v: Double, _ j: Int) -> Double {
        if square(j) > 0 || abs(v) <= absolute(j) { return 1 }
        return (v > 0 ? upper[j] : -lower[j]) < .infinity ? 1 : absolute(j) / abs(v)
    }

    public func conjugate(_ v: Double, _ j: Int) -> Double {
        let excess = abs(v) - absolute(j)
        if excess <= 0 { return 0 }
        let limit = v > 0 ? upper[j] : -lower[j]
        let q = square(j)
        let best = q > 0 ? min(excess / q, limit) : limit
        // Where scaling left a rounding of excess, there is no limit to reach.
        if best == .infinity { return 0 }
        return excess * best - q / 2 * best * best
    }

    public func strengthAtZero(
        gradient: UnsafePointer<Double>, lipschitz: UnsafePointer<Double>, columns: Int, outputs: Int
    ) -> Double {
        var result = 0.0
        for k in 0..<outputs {
            for j in 0..<columns where factors[j] > 0 {
                let g = gradient[k * columns + j]
                if g < 0 ? upper[j] > 0 : lower[j] < 0 {
                    result = max(result, abs(g) / (factors[j] * max(mixing, 1e-3)))
                }
            }
        }
        return result
    }
}
