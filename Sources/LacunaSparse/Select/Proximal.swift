import LacunaTensor

/// Proximal operators and projections: selection by a penalty or a constraint instead of a count.
///
/// Each maps a vector `v` to `argmin_x ½‖x - v‖² + g(x)` for its own `g`, in closed form. They work in place on `count`
/// numbers, which must be finite for the projections; the thresholds leave NaN where it was.
public enum Proximal {
    /// `g = λ‖x‖₁`: every number moves towards 0 by `threshold` and stops there.
    ///
    /// - Parameter threshold: λ, 0 or more.
    /// - Complexity: O(count).
    public static func softThreshold(_ v: UnsafeMutablePointer<Float>, count: Int, threshold: Float) {
        require(threshold >= 0)
        for i in 0..<count { v[i] = softThreshold(v[i], threshold) }
    }

    /// `g = λ‖x‖₀`: numbers whose magnitude is at most `√(2λ)` become 0, the others stay.
    ///
    /// - Parameter threshold: The magnitude `√(2λ)`, 0 or more.
    /// - Complexity: O(count).
    public static func hardThreshold(_ v: UnsafeMutablePointer<Float>, count: Int, threshold: Float) {
        require(threshold >= 0)
        for i in 0..<count { v[i] = hardThreshold(v[i], threshold) }
    }

    /// `g = λ‖x‖₂` (group lasso): the whole vector is shortened by `threshold`, to 0 if it is no longer than that.
    ///
    /// - Parameter threshold: λ, 0 or more.
    /// - Complexity: O(count).
    @_specialize(where S == Float)
    @_specialize(where S == Double)
    public static func groupSoftThreshold<S: TensorScalar>(
        _ v: UnsafeMutablePointer<S>, count: Int, threshold: S
    ) {
        require(threshold >= 0)
        var square = 0.0
        for i in 0..<count { square += Double(v[i]) * Double(v[i]) }
        let norm = square.squareRoot()
        let factor = norm <= Double(threshold) ? 0 : S(1 - Double(threshold) / norm)
        for i in 0..<count { v[i] *= factor }
    }

    /// The nearest point of the simplex `{x ≥ 0, Σx = radius}`.
    ///
    /// John Duchi, Shai Shalev-Shwartz, Yoram Singer, Tushar Chandra, "Efficient Projections onto the l1-Ball for
    /// Learning in High Dimensions", ICML 2008.
    ///
    /// - Parameter radius: 0 or more.
    /// - Complexity: O(count · log count).
    public static func projectOntoSimplex(_ v: UnsafeMutablePointer<Float>, count: Int, radius: Float = 1) {
        require(radius >= 0)
        let shift = simplexShift(UnsafeBufferPointer(start: v, count: count).map(Double.init), radius: Double(radius))
        for i in 0..<count { v[i] = Float(max(0, Double(v[i]) - shift)) }
    }

    /// The nearest point of the ball `{‖x‖₁ ≤ radius}`: soft thresholding by just as much as is needed.
    ///
    /// - Parameter radius: 0 or more.
    /// - Complexity: O(count), and O(count · log count) for a vector outside the ball.
    public static func projectOntoL1Ball(_ v: UnsafeMutablePointer<Float>, count: Int, radius: Float = 1) {
        require(radius >= 0)
        let magnitudes = UnsafeBufferPointer(start: v, count: count).map { Double($0.magnitude) }
        if magnitudes.reduce(0, +) <= Double(radius) { return }
        let shift = simplexShift(magnitudes, radius: Double(radius))
        for i in 0..<count {
            let rest = Float(max(0, magnitudes[i] - shift))
            v[i] = v[i] < 0 ? -rest : rest
        }
    }

    /// One number of ``softThreshold(_:count:threshold:)``, for solvers that go coordinate by coordinate.
    @inlinable @inline(__always)
    public static func softThreshold<S: BinaryFloatingPoint>(_ x: S, _ threshold: S) -> S {
        if x > threshold { return x - threshold }
        if x < -threshold { return x + threshold }
        return x.isNaN ? x : 0
    }

    /// One number of ``hardThreshold(_:count:threshold:)``.
    @inlinable @inline(__always)
    public static func hardThreshold<S: BinaryFloatingPoint>(_ x: S, _ threshold: S) -> S {
        x.magnitude <= threshold ? 0 : x
    }

    /// The number `t` with `Σ max(0, v_i - t) = radius`.
    private static func simplexShift(_ v: [Double], radius: Double) -> Double {
        var sum = 0.0
        var shift = 0.0
        for (i, value) in v.sorted(by: >).enumerated() {
            sum += value
            let candidate = (sum - radius) / Double(i + 1)
            if value <= candidate && i > 0 { break }
            shift = candidate
        }
        return shift
    }
}
