import LacunaTensor

/// What coefficients cost: a function of `β` [columns, outputs], column-major, that makes most of them 0.
public protocol Penalty: Sendable {
    /// Whether the whole is convex, so that a stationary point is a minimum.
    var isConvex: Bool { get }
    /// Whether a duality gap can certify a solution: convex, and nothing unpenalised.
    var hasDual: Bool { get }
    /// The number of columns that the penalty is made for; nil if any number will do.
    var columns: Int? { get }
    /// What `β` [columns, outputs] costs.
    func value(_ beta: UnsafePointer<Double>, columns: Int, outputs: Int) -> Double
    /// `β <- argmin_z ½‖z - β‖² + step · penalty(z)`.
    func proximal(_ beta: UnsafeMutablePointer<Double>, step: Double, columns: Int, outputs: Int)
    /// The largest distance, over coordinates or groups, from `-gradient` to the subdifferential at `β`: 0 at stationary
    /// points. `lipschitz` [columns] bounds the curvature of the datafit along each column: ``Datafit/curvatureBound`` times
    /// the weighted variance of the column, or its mean square where there is no intercept or the solver's steps leave it
    /// where it is. For a datafit without such a bound it is the curvature at the model of intercepts alone.
    func distance(
        _ beta: UnsafePointer<Double>, gradient: UnsafePointer<Double>, lipschitz: UnsafePointer<Double>, columns: Int,
        outputs: Int
    ) -> Double
    /// The largest `s <= 1` for which the conjugate of the penalty at `-s · gradient` is finite.
    func dualScale(_ gradient: UnsafePointer<Double>, columns: Int, outputs: Int) -> Double
    /// The conjugate at `-scale · gradient`, where it is finite.
    func conjugate(_ gradient: UnsafePointer<Double>, scale: Double, columns: Int, outputs: Int) -> Double
}

extension Penalty {
    public var columns: Int? { nil }

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a design of another number of columns.
    func requireColumns(of design: any Design) throws {
        guard let columns, columns != design.columns else { return }
        throw LacunaError.invalidArgument(
            self is any GroupPenalty ? "groups" : "penalty",
            reason: "is made for \(columns) columns, the design has \(design.columns)")
    }
}

/// A penalty with one strength: what a path varies.
public protocol ScalablePenalty: Penalty {
    /// λ, which the penalty grows with. At least 0.
    var strength: Double { get set }
    /// The smallest strength at which `β = 0` is stationary, given the gradient there.
    func strengthAtZero(
        gradient: UnsafePointer<Double>, lipschitz: UnsafePointer<Double>, columns: Int, outputs: Int
    ) -> Double
}

extension ScalablePenalty {
    /// The same penalty at another strength, at least 0.
    public func with(strength: Double) -> Self {
        var result = self
        result.strength = strength
        return result
    }
}

/// A penalty that is a sum over coordinates. `j` is the column of the coordinate `x`.
public protocol SeparablePenalty: Penalty {
    /// What a coordinate costs; 0 at 0.
    func value(_ x: Double, _ j: Int) -> Double
    /// `argmin_z ½(z - x)² + step · value(z)`; of equal minima the one nearest 0.
    func proximal(_ x: Double, step: Double, _ j: Int) -> Double
    /// The derivative at `x ≠ 0`.
    func slope(_ x: Double, _ j: Int) -> Double
    /// The second derivative at `x ≠ 0`.
    func bend(_ x: Double, _ j: Int) -> Double
    /// The distance from `-gradient` to the subdifferential at `x`.
    func distance(_ x: Double, gradient: Double, lipschitz: Double, _ j: Int) -> Double
    /// As ``Penalty/dualScale(_:columns:outputs:)`` for the conjugate's argument `v`.
    func dualScale(_ v: Double, _ j: Int) -> Double
    /// `sup_x (v x - value(x))`; infinite outside the domain.
    func conjugate(_ v: Double, _ j: Int) -> Double
    /// For penalties that grow as `c|x|` from 0 and whose conjugate is 0 below `c`: that `c`, by which a safe screening
    /// rule may discard the column.
    func screeningLevel(_ j: Int) -> Double?
}

extension SeparablePenalty {
    public var isConvex: Bool { false }
    public var hasDual: Bool { false }
    public func dualScale(_ v: Double, _ j: Int) -> Double { 0 }
    public func conjugate(_ v: Double, _ j: Int) -> Double { .infinity }
    public func screeningLevel(_ j: Int) -> Double? { nil }

    public func value(_ beta: UnsafePointer<Double>, columns: Int, outputs: Int) -> Double {
        var sum = 0.0
        for k in 0..<outputs {
            for j in 0..<columns {
                let x = beta[k * columns + j]
                if x != 0 { sum += value(x, j) }
            }
        }
        return sum
    }

    public func proximal(_ beta: UnsafeMutablePointer<Double>, step: Double, columns: Int, outputs: Int) {
        for k in 0..<outputs {
            for j in 0..<columns { beta[k * columns + j] = proximal(beta[k * columns + j], step: step, j) }
        }
    }

    public func distance(
        _ beta: UnsafePointer<Double>, gradient: UnsafePointer<Double>, lipschitz: UnsafePointer<Double>, columns: Int,
        outputs: Int
    ) -> Double {
        var largest = 0.0
        for k in 0..<outputs {
            for j in 0..<columns {
                let i = k * columns + j
                largest = max(largest, distance(beta[i], gradient: gradient[i], lipschitz: lipschitz[j], j))
            }
        }
        return largest
    }

    public func dualScale(_ gradient: UnsafePointer<Double>, columns: Int, outputs: Int) -> Double {
        var scale = 1.0
        for k in 0..<outputs { for j in 0..<columns { scale = min(scale, dualScale(-gradient[k * columns + j], j)) } }
        return scale
    }

    public func conjugate(_ gradient: UnsafePointer<Double>, scale: Double, columns: Int, outputs: Int) -> Double {
        var sum = 0.0
        for k in 0..<outputs { for j in 0..<columns { sum += conjugate(-scale * gradient[k * columns + j], j) } }
        return sum
    }
}

/// Penalties that are `c|x|` near 0 have the same condition there.
@inline(__always)
func distanceAtKink(_ gradient: Double, _ c: Double) -> Double { max(0, abs(gradient) - c) }

extension SeparablePenalty {
    /// The largest of `ratio(|gradient|, lipschitz, column)`.
    func largest(
        _ gradient: UnsafePointer<Double>, _ lipschitz: UnsafePointer<Double>, columns: Int, outputs: Int,
        _ ratio: (Double, Double, Int) -> Double
    ) -> Double {
        var result = 0.0
        for k in 0..<outputs {
            for j in 0..<columns { result = max(result, ratio(gradient[k * columns + j], lipschitz[j], j)) }
        }
        return result
    }
}
