import LacunaTensor

/// How far rounding can have moved what a certificate says.
///
/// Every predictor is a sum over the coefficients that are not 0, every gradient a sum over the rows; each term of a sum of
/// `n` is rounded at most `n` times by `u = 2⁻⁵³`. With `S = √(Σ v²/w)` for row gradients `v` of weights `w`, Cauchy and
/// Schwarz bound a column's share: `Σ_i |x_ij v_i| ≤ √(Σ_i w_i x_ij²) S`. The dual value is taken of gradients that are
/// larger by this error, so that the dual point is feasible for the true ones; a sum of row gradients that is not 0, as
/// it has to be beside an intercept, counts as such an error too.
struct RoundingBound {
    private static let unit = 0x1p-53

    /// `S` of all outputs together.
    private(set) var length = 0.0
    /// The largest `|Σ v|` of an output, with what rounding may hide of it.
    private(set) var imbalance = 0.0
    /// Row gradients times predictors, without signs.
    private var products = 0.0
    private let rows: Int

    /// - Parameters:
    ///   - slope: Row gradients [rows, outputs].
    ///   - eta: Predictors [rows, outputs].
    init(
        _ slope: UnsafePointer<Double>, eta: UnsafePointer<Double>, weights: [Double], outputs: Int, hasIntercept: Bool
    ) {
        rows = weights.count
        var square = 0.0
        for k in 0..<outputs {
            var (sum, magnitude) = (0.0, 0.0)
            for i in 0..<rows where weights[i] > 0 {
                let v = slope[k * rows + i]
                square += v * v / weights[i]
                sum += v
                magnitude += abs(v)
                products += abs(v * eta[k * rows + i])
            }
            if hasIntercept { imbalance = max(imbalance, abs(sum) + Double(rows) * Self.unit * magnitude) }
        }
        length = square.squareRoot()
    }

    /// How far the gradient along a column of `Σ w x² = norm` can be off.
    @inline(__always)
    func gradientError(_ norm: Double) -> Double {
        norm.squareRoot() * (Double(rows + 4) * Self.unit * length + imbalance)
    }

    /// How far the objective and the conjugate of the loss can be off.
    ///
    /// - Parameters:
    ///   - reach: `Σ |β_j| √(Σ w x_j²)` and the magnitudes of the intercepts.
    ///   - count: Coefficients that are not 0.
    ///   - magnitude: The loss and its conjugate where they are largest, and the penalty.
    func valueError(reach: Double, count: Int, magnitude: Double) -> Double {
        Double(count + 2) * Self.unit * length * reach + imbalance * reach
            + Double(rows + 8) * Self.unit * (magnitude + products)
    }

    /// What the tolerance of a solver is compared with, and what a certificate says: `(whether to stop, whether the
    /// tolerance was reached, what the certificate says)`.
    ///
    /// - Parameters:
    ///   - value: The gap or distance as computed, relative.
    ///   - error: How far rounding can have moved it, relative.
    static func verdict(_ value: Double, error: Double, tolerance: Double) -> (stops: Bool, isReached: Bool) {
        let stops = value <= max(tolerance, error)
        // Below this, "as exact as rounding allows" is what was asked for.
        return (stops, stops && error <= max(tolerance, 1e-10))
    }
}
