import LacunaSparse
import LacunaTensor

/// Smoothly clipped absolute deviation: `λ|x|` up to λ, then bending, constant beyond `aλ`, so that large coefficients
/// are not shrunk.
///
/// Jianqing Fan, Runze Li, "Variable Selection via Nonconcave Penalized Likelihood and Its Oracle Properties", JASA 2001,
/// who propose `a = 3.7`.
public struct SCAD: SeparablePenalty, ScalablePenalty {
    public var strength: Double
    /// `a`, above 2; infinity gives the lasso.
    public let shape: Double

    /// - Parameters:
    ///   - strength: λ, at least 0.
    ///   - shape: `a`, above 2.
    public init(_ strength: Double, shape: Double = 3.7) {
        require(strength >= 0 && shape > 2)
        self.strength = strength
        self.shape = shape
    }

    public func value(_ x: Double, _ j: Int) -> Double {
        let x = abs(x)
        if x <= strength || shape == .infinity { return strength * x }
        if x <= shape * strength {
            return (2 * shape * strength * x - x * x - strength * strength) / (2 * (shape - 1))
        }
        return strength * strength * (shape + 1) / 2
    }

    public func proximal(_ x: Double, step: Double, _ j: Int) -> Double {
        let magnitude = abs(x)
        let soft = Proximal.softThreshold(magnitude, step * strength)
        if shape == .infinity { return x < 0 ? -soft : soft }
        // The minimum of each of the three parts, and the best of them.
        var best = min(soft, strength)
        var bestValue = (best - magnitude) * (best - magnitude) / 2 + step * value(best, j)
        func consider(_ z: Double) {
            let candidate = (z - magnitude) * (z - magnitude) / 2 + step * value(z, j)
            if candidate < bestValue { (best, bestValue) = (z, candidate) }
        }
        if shape - 1 > step {
            let z = ((shape - 1) * magnitude - step * shape * strength) / (shape - 1 - step)
            consider(max(strength, min(shape * strength, z)))
        }
        consider(max(magnitude, shape * strength))
        return x < 0 ? -best : best
    }

    public func slope(_ x: Double, _ j: Int) -> Double {
        let magnitude = abs(x)
        let slope =
            magnitude <= strength || shape == .infinity
            ? strength : max(0, shape * strength - magnitude) / (shape - 1)
        return x > 0 ? slope : -slope
    }

    public func bend(_ x: Double, _ j: Int) -> Double {
        let magnitude = abs(x)
        return magnitude > strength && magnitude < shape * strength && shape < .infinity ? -1 / (shape - 1) : 0
    }

    public func distance(_ x: Double, gradient: Double, lipschitz: Double, _ j: Int) -> Double {
        x == 0 ? distanceAtKink(gradient, strength) : abs(gradient + slope(x, j))
    }

    public func strengthAtZero(
        gradient: UnsafePointer<Double>, lipschitz: UnsafePointer<Double>, columns: Int, outputs: Int
    ) -> Double {
        largest(gradient, lipschitz, columns: columns, outputs: outputs) { g, _, _ in abs(g) }
    }
}

/// Minimax concave penalty: `λ|x| - x²/2γ` up to `γλ`, constant beyond.
///
/// Cun-Hui Zhang, "Nearly Unbiased Variable Selection under Minimax Concave Penalty", Annals of Statistics 2010.
public struct MCP: SeparablePenalty, ScalablePenalty {
    public var strength: Double
    /// γ, above 0; infinity gives the lasso. Above the inverse of the smallest curvature along a column, each coordinate's
    /// problem is convex.
    public let shape: Double

    /// - Parameters:
    ///   - strength: λ, at least 0.
    ///   - shape: γ, above 1.
    public init(_ strength: Double, shape: Double = 3) {
        require(strength >= 0 && shape > 0)
        self.strength = strength
        self.shape = shape
    }

    public func value(_ x: Double, _ j: Int) -> Double {
        let x = abs(x)
        return x <= shape * strength ? strength * x - x * x / (2 * shape) : shape * strength * strength / 2
    }

    public func proximal(_ x: Double, step: Double, _ j: Int) -> Double {
        let magnitude = abs(x)
        if magnitude > shape * strength && step <= shape { return x }
        if step < shape {
            let z = Proximal.softThreshold(magnitude, step * strength) / (1 - step / shape)
            return x < 0 ? -z : z
        }
        // The penalty bends more than the square: everything or nothing.
        let far = max(magnitude, shape * strength)
        let gain = (far - magnitude) * (far - magnitude) / 2 + step * value(far, j)
        return gain < magnitude * magnitude / 2 ? (x < 0 ? -far : far) : 0
    }

    public func slope(_ x: Double, _ j: Int) -> Double {
        let slope = max(0, strength - abs(x) / shape)
        return x > 0 ? slope : -slope
    }

    public func bend(_ x: Double, _ j: Int) -> Double { abs(x) < shape * strength ? -1 / shape : 0 }

    public func distance(_ x: Double, gradient: Double, lipschitz: Double, _ j: Int) -> Double {
        x == 0 ? distanceAtKink(gradient, strength) : abs(gradient + slope(x, j))
    }

    public func strengthAtZero(
        gradient: UnsafePointer<Double>, lipschitz: UnsafePointer<Double>, columns: Int, outputs: Int
    ) -> Double {
        largest(gradient, lipschitz, columns: columns, outputs: outputs) { g, _, _ in abs(g) }
    }
}

/// `λ Σ log(1 + |β_j|/ε)`.
///
/// Emmanuel Candès, Michael Wakin, Stephen Boyd, "Enhancing Sparsity by Reweighted l1 Minimization", arXiv 0711.1612.
public struct LogSum: SeparablePenalty, ScalablePenalty {
    public var strength: Double
    /// ε, above 0: coefficients much smaller pay as under an L1 penalty of λ/ε.
    public let width: Double

    /// - Parameters:
    ///   - strength: λ, at least 0.
    ///   - width: Above 0.
    public init(_ strength: Double, width: Double = 0.1) {
        require(strength >= 0 && width > 0)
        self.strength = strength
        self.width = width
    }

    public func value(_ x: Double, _ j: Int) -> Double { strength * logarithm(1 + abs(x) / width) }

    public func proximal(_ x: Double, step: Double, _ j: Int) -> Double {
        let magnitude = abs(x)
        // Stationary points: z² + (ε - m) z + tλ - mε = 0; the larger root is a minimum.
        let sum = magnitude - width
        let discriminant = (magnitude + width) * (magnitude + width) - 4 * step * strength
        guard discriminant >= 0 else { return 0 }
        let z = (sum + discriminant.squareRoot()) / 2
        if z <= 0 { return 0 }
        let gain = (z - magnitude) * (z - magnitude) / 2 + step * value(z, j)
        return gain < magnitude * magnitude / 2 ? (x < 0 ? -z : z) : 0
    }

    public func slope(_ x: Double, _ j: Int) -> Double {
        let slope = strength / (width + abs(x))
        return x > 0 ? slope : -slope
    }

    public func bend(_ x: Double, _ j: Int) -> Double { -strength / ((width + abs(x)) * (width + abs(x))) }

    public func distance(_ x: Double, gradient: Double, lipschitz: Double, _ j: Int) -> Double {
        x == 0 ? distanceAtKink(gradient, strength / width) : abs(gradient + slope(x, j))
    }

    public func strengthAtZero(
        gradient: UnsafePointer<Double>, lipschitz: UnsafePointer<Double>, columns: Int, outputs: Int
    ) -> Double {
        largest(gradient, lipschitz, columns: columns, outputs: outputs) { g, _, _ in abs(g) * width }
    }
}
