import LacunaSparse

/// `λ ‖β‖₀`: a price for every coefficient that is not 0.
///
/// Every point is stationary in the sense of the subdifferential, so ``distance(_:gradient:lipschitz:_:)`` measures how
/// far a coordinate is from the minimum along itself instead.
public struct L0: SeparablePenalty, ScalablePenalty {
    public var strength: Double

    /// - Parameter strength: λ, at least 0.
    public init(_ strength: Double) {
        require(strength >= 0)
        self.strength = strength
    }

    public func value(_ x: Double, _ j: Int) -> Double { x == 0 ? 0 : strength }
    public func proximal(_ x: Double, step: Double, _ j: Int) -> Double {
        Proximal.hardThreshold(x, (2 * step * strength).squareRoot())
    }
    public func slope(_ x: Double, _ j: Int) -> Double { 0 }
    public func bend(_ x: Double, _ j: Int) -> Double { 0 }

    public func distance(_ x: Double, gradient: Double, lipschitz: Double, _ j: Int) -> Double {
        guard lipschitz > 0 else { return x == 0 ? 0 : abs(gradient) }
        let target = x - gradient / lipschitz
        let better = proximal(target, step: 1 / lipschitz, j)
        // On the edge between keeping and dropping, both are minima.
        let edge = (2 * strength / lipschitz).squareRoot()
        if abs(abs(target) - edge) <= 1e-12 * edge { return min(abs(x), abs(x - target)) * lipschitz }
        return abs(x - better) * lipschitz
    }

    public func strengthAtZero(
        gradient: UnsafePointer<Double>, lipschitz: UnsafePointer<Double>, columns: Int, outputs: Int
    ) -> Double {
        largest(gradient, lipschitz, columns: columns, outputs: outputs) { g, l, _ in l > 0 ? g * g / (2 * l) : 0 }
    }
}

/// Continuous exact L0 for least squares: has the global minima of the L0 penalty and fewer local ones.
///
/// `Σ_j λ - ½ a_j² (|β_j| - √(2λ)/a_j)²` for `|β_j| <= √(2λ)/a_j`, λ beyond, with `a_j` the norm of column `j`.
///
/// Emmanuel Soubies, Laure Blanc-Féraud, Gilles Aubert, "A Continuous Exact ℓ0 Penalty (CEL0) for Least Squares
/// Regularized Problem", SIAM J. Imaging Sciences 2015.
public struct CEL0: SeparablePenalty, ScalablePenalty {
    public var strength: Double
    /// `a_j²`: the curvature of the datafit along each column.
    public let squaredNorms: [Double]

    /// - Parameters:
    ///   - strength: λ, at least 0.
    ///   - squaredNorms: `a_j²`, one for each column, at least 0.
    public init(_ strength: Double, squaredNorms: [Double]) {
        require(strength >= 0 && squaredNorms.allSatisfy { $0 >= 0 })
        self.strength = strength
        self.squaredNorms = squaredNorms
    }

    public var columns: Int? { squaredNorms.count }
    private func edge(_ j: Int) -> Double {
        squaredNorms[j] > 0 ? (2 * strength / squaredNorms[j]).squareRoot() : .infinity
    }

    public func value(_ x: Double, _ j: Int) -> Double {
        if x == 0 || squaredNorms[j] == 0 { return 0 }
        let rest = edge(j) - abs(x)
        return rest > 0 ? strength - squaredNorms[j] / 2 * rest * rest : strength
    }

    public func proximal(_ x: Double, step: Double, _ j: Int) -> Double {
        let (a, magnitude) = (squaredNorms[j], abs(x))
        if a == 0 { return x }
        if step * a < 1 {
            if magnitude >= edge(j) { return x }
            let z = Proximal.softThreshold(magnitude, step * a * edge(j)) / (1 - step * a)
            return x < 0 ? -z : z
        }
        return Proximal.hardThreshold(x, (2 * step * strength).squareRoot())
    }

    public func slope(_ x: Double, _ j: Int) -> Double {
        if squaredNorms[j] == 0 { return 0 }
        let slope = squaredNorms[j] * max(0, edge(j) - abs(x))
        return x > 0 ? slope : -slope
    }

    public func bend(_ x: Double, _ j: Int) -> Double { abs(x) < edge(j) ? -squaredNorms[j] : 0 }

    public func distance(_ x: Double, gradient: Double, lipschitz: Double, _ j: Int) -> Double {
        x == 0
            ? distanceAtKink(gradient, (2 * strength * squaredNorms[j]).squareRoot()) : abs(gradient + slope(x, j))
    }

    public func strengthAtZero(
        gradient: UnsafePointer<Double>, lipschitz: UnsafePointer<Double>, columns: Int, outputs: Int
    ) -> Double {
        largest(gradient, lipschitz, columns: columns, outputs: outputs) { g, _, j in
            squaredNorms[j] > 0 ? g * g / (2 * squaredNorms[j]) : 0
        }
    }
}
