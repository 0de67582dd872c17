import LacunaSparse
import LacunaTensor

/// `λ Σ|β_j|`: the lasso.
///
/// Robert Tibshirani, "Regression Shrinkage and Selection via the Lasso", JRSS B 1996.
public struct L1: SeparablePenalty, ScalablePenalty {
    public var strength: Double

    /// - Parameter strength: λ, 0 or more.
    public init(_ strength: Double) {
        require(strength >= 0)
        self.strength = strength
    }

    public var isConvex: Bool { true }
    public var hasDual: Bool { strength > 0 }
    public func value(_ x: Double, _ j: Int) -> Double { strength * abs(x) }
    public func proximal(_ x: Double, step: Double, _ j: Int) -> Double {
        Proximal.softThreshold(x, step * strength)
    }
    public func slope(_ x: Double, _ j: Int) -> Double { x > 0 ? strength : -strength }
    public func bend(_ x: Double, _ j: Int) -> Double { 0 }
    public func distance(_ x: Double, gradient: Double, lipschitz: Double, _ j: Int) -> Double {
        x == 0 ? distanceAtKink(gradient, strength) : abs(gradient + slope(x, j))
    }
    public func dualScale(_ v: Double, _ j: Int) -> Double { abs(v) <= strength ? 1 : strength / abs(v) }
    public func conjugate(_ v: Double, _ j: Int) -> Double { 0 }
    public func screeningLevel(_ j: Int) -> Double? { strength }
    public func strengthAtZero(
        gradient: UnsafePointer<Double>, lipschitz: UnsafePointer<Double>, columns: Int, outputs: Int
    ) -> Double {
        largest(gradient, lipschitz, columns: columns, outputs: outputs) { g, _, _ in abs(g) }
    }
}

/// `λ Σ c_j|β_j|`: the weighted, or adaptive, lasso.
///
/// Hui Zou, "The Adaptive Lasso and Its Oracle Properties", JASA 2006.
public struct WeightedL1: SeparablePenalty, ScalablePenalty {
    public var strength: Double
    /// `c_j`, one for each column; 0 leaves a column unpenalised.
    public let factors: [Double]

    /// - Parameters:
    ///   - strength: λ, at least 0.
    ///   - factors: One for each column, at least 0.
    public init(_ strength: Double, factors: [Double]) {
        require(strength >= 0 && factors.allSatisfy { $0 >= 0 })
        self.strength = strength
        self.factors = factors
    }

    /// Factors `1 / |pilot_j|^power`: columns that a first fit found small are penalised more.
    ///
    /// - Parameter floor: Stands in for pilots of smaller magnitude.
    public static func adaptive(
        _ strength: Double, pilot: [Double], power exponent: Double = 1, floor: Double = 1e-6
    ) -> WeightedL1 {
        WeightedL1(strength, factors: pilot.map { 1 / power(max(abs($0), floor), exponent) })
    }

    public var isConvex: Bool { true }
    public var hasDual: Bool { strength > 0 && factors.allSatisfy { $0 > 0 } }
    public var columns: Int? { factors.count }
    private func level(_ j: Int) -> Double { strength * factors[j] }
    public func value(_ x: Double, _ j: Int) -> Double { level(j) * abs(x) }
    public func proximal(_ x: Double, step: Double, _ j: Int) -> Double {
        Proximal.softThreshold(x, step * level(j))
    }
    public func slope(_ x: Double, _ j: Int) -> Double { x > 0 ? level(j) : -level(j) }
    public func bend(_ x: Double, _ j: Int) -> Double { 0 }
    public func distance(_ x: Double, gradient: Double, lipschitz: Double, _ j: Int) -> Double {
        x == 0 ? distanceAtKink(gradient, level(j)) : abs(gradient + slope(x, j))
    }
    public func dualScale(_ v: Double, _ j: Int) -> Double { abs(v) <= level(j) ? 1 : level(j) / abs(v) }
    public func conjugate(_ v: Double, _ j: Int) -> Double { 0 }
    public func screeningLevel(_ j: Int) -> Double? { level(j) }
    public func strengthAtZero(
        gradient: UnsafePointer<Double>, lipschitz: UnsafePointer<Double>, columns: Int, outputs: Int
    ) -> Double {
        largest(gradient, lipschitz, columns: columns, outputs: outputs) { g, _, j in
            factors[j] > 0 ? abs(g) / factors[j] : 0
        }
    }
}

/// `λ Σ β_j` with `β_j >= 0`: the non-negative lasso; with λ = 0, non-negative least squares.
public struct NonNegativeL1: SeparablePenalty, ScalablePenalty {
    public var strength: Double

    /// - Parameter strength: λ, at least 0.
    public init(_ strength: Double) {
        require(strength >= 0)
        self.strength = strength
    }

    public var isConvex: Bool { true }
    public var hasDual: Bool { strength > 0 }
    public func value(_ x: Double, _ j: Int) -> Double { x >= 0 ? strength * x : .infinity }
    public func proximal(_ x: Double, step: Double, _ j: Int) -> Double { max(0, x - step * strength) }
    public func slope(_ x: Double, _ j: Int) -> Double { strength }
    public func bend(_ x: Double, _ j: Int) -> Double { 0 }
    public func distance(_ x: Double, gradient: Double, lipschitz: Double, _ j: Int) -> Double {
        x <= 0 ? max(0, -gradient - strength) : abs(gradient + strength)
    }
    public func dualScale(_ v: Double, _ j: Int) -> Double { v <= strength ? 1 : strength / v }
    public func conjugate(_ v: Double, _ j: Int) -> Double { 0 }
    public func screeningLevel(_ j: Int) -> Double? { strength }
    public func strengthAtZero(
        gradient: UnsafePointer<Double>, lipschitz: UnsafePointer<Double>, columns: Int, outputs: Int
    ) -> Double {
        largest(gradient, lipschitz, columns: columns, outputs: outputs) { g, _, _ in max(0, -g) }
    }
}
