import LacunaSparse

/// `λ Σ (α|β_j| + (1 - α)/2 β_j²)`: correlated columns share a coefficient instead of one taking it all.
///
/// Hui Zou, Trevor Hastie, "Regularization and Variable Selection via the Elastic Net", JRSS B 2005; parametrised as in
/// glmnet and scikit-learn.
public struct ElasticNet: SeparablePenalty, ScalablePenalty {
    public var strength: Double
    /// α: 1 is the lasso, 0 is ridge regression.
    public let mixing: Double

    /// - Parameters:
    ///   - strength: λ, 0 or more.
    ///   - mixing: α in 0...1.
    public init(_ strength: Double, mixing: Double = 0.5) {
        require(strength >= 0 && mixing >= 0 && mixing <= 1)
        self.strength = strength
        self.mixing = mixing
    }

    private var absolute: Double { strength * mixing }
    private var square: Double { strength * (1 - mixing) }

    public var isConvex: Bool { true }
    public var hasDual: Bool { strength > 0 }
    public func value(_ x: Double, _ j: Int) -> Double { absolute * abs(x) + square / 2 * x * x }
    public func proximal(_ x: Double, step: Double, _ j: Int) -> Double {
        Proximal.softThreshold(x, step * absolute) / (1 + step * square)
    }
    public func slope(_ x: Double, _ j: Int) -> Double { (x > 0 ? absolute : -absolute) + square * x }
    public func bend(_ x: Double, _ j: Int) -> Double { square }
    public func distance(_ x: Double, gradient: Double, lipschitz: Double, _ j: Int) -> Double {
        x == 0 ? distanceAtKink(gradient, absolute) : abs(gradient + slope(x, j))
    }
    public func dualScale(_ v: Double, _ j: Int) -> Double {
        square > 0 || abs(v) <= absolute ? 1 : absolute / abs(v)
    }
    public func conjugate(_ v: Double, _ j: Int) -> Double {
        let excess = abs(v) - absolute
        return excess > 0 && square > 0 ? excess * excess / (2 * square) : 0
    }
    public func screeningLevel(_ j: Int) -> Double? { square == 0 ? absolute : nil }
    public func strengthAtZero(
        gradient: UnsafePointer<Double>, lipschitz: UnsafePointer<Double>, columns: Int, outputs: Int
    ) -> Double {
        // Pure ridge regression is never 0; as others do, its path starts where that of α = 0.001 does.
        largest(gradient, lipschitz, columns: columns, outputs: outputs) { g, _, _ in abs(g) / max(mixing, 1e-3) }
    }
}
