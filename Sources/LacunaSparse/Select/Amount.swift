import LacunaTensor

/// How much of what competes is kept.
public enum Amount: Hashable, Sendable {
    /// All but a fraction, 0...1: of `n` units ``Selection/removedCount(sparsity:of:)`` are removed.
    case sparsity(Double)
    /// So many of every set of competitors, at most as many as there are. In groups of M, an incomplete last one keeps its
    /// share, rounded up.
    case count(Int)
    /// Those whose score exceeds a number; equal ones go, as they do under a proximal operator.
    case above(Float)
    /// The fewest whose scores add up to a fraction, 0...1, of the sum of all scores, which may not be negative.
    case mass(Double)

    /// What one proximal step leaves other than 0, for scores that are magnitudes of entries, or norms of units for the
    /// group lasso. ``Proximal`` moves the values.
    ///
    /// - Parameter weight: λ, 0 or more: the penalty's weight times the step's length.
    public static func proximal(_ penalty: Proximal.Penalty, weight: Float) -> Amount {
        switch penalty {
        case .l1, .groupLasso: .above(weight)
        case .l0: .above((2 * weight).squareRoot())
        }
    }

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for fractions outside 0...1, negative counts, and NaN.
    func validate() throws {
        switch self {
        case .sparsity(let fraction): try Selection.requireFraction(fraction, "sparsity")
        case .mass(let fraction): try Selection.requireFraction(fraction, "mass")
        case .count(let count):
            if count < 0 { throw LacunaError.invalidArgument("count", reason: "\(count) is negative") }
        case .above(let number):
            if number.isNaN { throw LacunaError.invalidArgument("threshold", reason: "is not a number") }
        }
    }
}

extension Proximal {
    /// Penalties whose proximal operators make zeros.
    public enum Penalty: String, Sendable, Hashable, CaseIterable {
        /// `λ‖x‖₁`, soft thresholding.
        case l1
        /// `λ‖x‖₀`, hard thresholding at `√(2λ)`.
        case l0
        /// `λ Σ ‖x_g‖₂` over units.
        case groupLasso
    }
}
