import LacunaTensor

/// Least squares of tall matrices by a sketch: solved for the sketch alone, or with the sketch as preconditioner for the whole.
public enum SketchedLeastSquares {
    /// A solution and how long its residual is.
    public struct Result: Sendable {
        /// One a column of `A`.
        public let coefficients: [Double]
        /// `‖A x - b‖` on the whole matrix.
        public let residual: Double
        /// Steps of the iteration; 0 if there was none.
        public let iterations: Int
        /// Whether the iteration met its tolerance rather than its bound; true if there was none.
        public let converged: Bool
    }

    /// `argmin ‖S A x - S b‖`: residuals come within a factor of the best, single coefficients as near as the kind of sketch
    /// allows. If the sketch loses a direction of the columns, the shortest of the minimisers.
    ///
    /// - Parameters:
    ///   - a: `A` [n, d].
    ///   - b: [n].
    ///   - sketch: Of n rows, to d or more.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for shapes that do not match and fewer rows in the sketch than
    ///   columns; ``LacunaError/numerical(operation:reason:)`` for numbers that are not finite.
    public static func solve(
        _ a: Tensor<Double>, _ b: [Double], sketch: some Sketch
    ) throws -> Result {
        let unit = unit(of: b)
        let b = b.map { $0 / unit }
        let (q, r, right, isRegular) = try factor(a, b, sketch)
        let projected = q.multiplied(by: right, transposed: true)
        var x = r.solveTriangular(projected, lower: false).scalars
        if !isRegular {
            let (u, s, vt) = try r.svd()
            let inner = u.multiplied(by: projected, transposed: true)
            var scaled = Tensor<Double>(zeros: [s.count, 1])
            for (k, value) in s.enumerated() where value > 1e-13 * s[0] { scaled[k, 0] = inner[k, 0] / value }
            x = vt.multiplied(by: scaled, transposed: true).scalars
        }
        return try result(a, b, x, unit: unit, iterations: 0, converged: true)
    }

    /// `argmin ‖A x - b‖` by LSQR on `A R⁻¹`, where `R` is the triangle of the sketch: as exact as asked for, in a number of
    /// steps that does not depend on how ill-conditioned `A` is.
    ///
    /// Vladimir Rokhlin, Mark Tygert, "A Fast Randomized Algorithm for Overdetermined Linear Least-Squares Regression", PNAS
    /// 2008; Christopher Paige, Michael Saunders, "LSQR: An Algorithm for Sparse Linear Equations and Sparse Least Squares",
    /// ACM TOMS 1982.
    ///
    /// - Parameters:
    ///   - a: `A` [n, d].
    ///   - b: [n].
    ///   - sketch: Of n rows, to d or more.
    ///   - tolerance: Bound on `‖(A R⁻¹)ᵀ r‖ / (‖A R⁻¹‖ ‖r‖)`, and on `‖r‖ / ‖b‖` for systems with a solution.
    ///   - maximumIterations: Bound on the steps; ``Result/converged`` tells whether they sufficed.
    /// - Throws: As the other, and ``LacunaError/numerical(operation:reason:)`` if the sketch loses a direction of the columns.
    public static func solve(
        _ a: Tensor<Double>, _ b: [Double], preconditionedBy sketch: some Sketch, tolerance: Double = 1e-13,
        maximumIterations: Int = 200
    ) throws -> Result {
        require(tolerance > 0 && maximumIterations > 0)
        let unit = unit(of: b)
        let b = b.map { $0 / unit }
        let (q, r, right, isRegular) = try factor(a, b, sketch)
        guard isRegular else {
            throw LacunaError.numerical(
                operation: "sketched least squares", reason: "the sketch of the matrix is singular")
        }
        let (n, d) = (a.rows, a.columns)
        func forward(_ v: [Double]) -> [Double] {
            let x = r.solveTriangular(Tensor(v, shape: [d, 1]), lower: false)
            return a.multiplied(by: x).scalars
        }
        func backward(_ u: [Double]) -> [Double] {
            let g = a.multiplied(by: Tensor(u, shape: [n, 1]), transposed: true)
            return r.solveTriangular(g, lower: false, transposed: true).scalars
        }
        func norm(_ v: [Double]) -> Double { v.reduce(0) { $0 + $1 * $1 }.squareRoot() }
        // From the sketch's own solution.
        var z = q.multiplied(by: right, transposed: true).scalars
        let fitted = forward(z)
        var u = zip(b, fitted).map { $0 - $1 }
        var beta = norm(u)
        guard beta.isFinite else { throw notFinite }
        let scale = max(norm(b), .leastNormalMagnitude)
        var (iterations, converged) = (0, beta <= tolerance * scale)
        if !converged {
            for i in 0..<n { u[i] /= beta }
            var v = backward(u)
            var alpha = norm(v)
            var frobenius = alpha * alpha
            converged = alpha <= tolerance
            if !converged {
                for j in 0..<d { v[j] /= alpha }
                var w = v
                var (phi, rho) = (beta, alpha)
                for iteration in 1...maximumIterations {
                    iterations = iteration
                    u = zip(forward(v), u).map { $0 - alpha * $1 }
                    beta = norm(u)
                    if beta > 0 { for i in 0..<n { u[i] /= beta } }
                    v = zip(backward(u), v).map { $0 - beta * $1 }
                    alpha = norm(v)
                    if alpha > 0 { for j in 0..<d { v[j] /= alpha } }
                    frobenius += alpha * alpha + beta * beta
                    let radius = (rho * rho + beta * beta).squareRoot()
                    let (c, s) = (rho / radius, beta / radius)
                    for j in 0..<d { z[j] += phi * c / radius * w[j] }
                    let theta = s * alpha
                    rho = -c * alpha
                    for j in 0..<d { w[j] = v[j] - theta / radius * w[j] }
                    phi *= s
                    if abs(phi) <= tolerance * scale || alpha * abs(c) <= tolerance * frobenius.squareRoot() {
                        converged = true
                        break
                    }
                }
            }
        }
        let x = r.solveTriangular(Tensor(z, shape: [d, 1]), lower: false).scalars
        return try result(a, b, x, unit: unit, iterations: iterations, converged: converged)
    }

    private static func factor(
        _ a: Tensor<Double>, _ b: [Double], _ sketch: some Sketch
    ) throws -> (q: Tensor<Double>, r: Tensor<Double>, right: Tensor<Double>, isRegular: Bool) {
        guard a.rank == 2, a.rows == b.count, sketch.inputRows == a.rows, a.columns > 0 else {
            throw LacunaError.invalidArgument(
                "sketch",
                reason: "takes \(sketch.inputRows) rows; the matrix is \(a.shape), the target has \(b.count) values")
        }
        guard sketch.rows >= a.columns else {
            throw LacunaError.invalidArgument(
                "sketch", reason: "has \(sketch.rows) rows for \(a.columns) columns")
        }
        let small = sketch.apply(a)
        let right = sketch.apply(Tensor(b, shape: [b.count, 1]))
        let (q, r) = try small.qr()
        // A column's distance from those before it, measured by the column itself: scales of columns do not matter.
        let isRegular = (0..<a.columns).allSatisfy { j in
            let unit = unit(of: (0...j).map { r[$0, j] })
            let square = (0...j).reduce(0) { $0 + r[$1, j] / unit * (r[$1, j] / unit) }
            return abs(r[j, j]) / unit > 1e-13 * square.squareRoot()
        }
        return (q, r, right, isRegular)
    }

    private static let notFinite = LacunaError.numerical(
        operation: "sketched least squares", reason: "the result is not finite")

    /// A power of two of the size of the largest of these numbers, by which they are divided without rounding: so that the squares of
    /// no target overflow or vanish, whatever its unit.
    private static func unit(of numbers: [Double]) -> Double {
        let largest = numbers.reduce(0) { max($0, abs($1)) }
        return largest > 0 && largest.isFinite ? largest.binade : 1
    }

    /// - Parameters:
    ///   - b: The target in units of `unit`, as are the coefficients.
    /// - Throws: ``LacunaError/numerical(operation:reason:)`` if something is not finite, as with any coefficient, entry of the matrix
    ///   or target that is not: a sparse sketch may have passed over the row.
    private static func result(
        _ a: Tensor<Double>, _ b: [Double], _ x: [Double], unit: Double, iterations: Int, converged: Bool
    ) throws -> Result {
        let fitted = a.multiplied(by: Tensor(x, shape: [x.count, 1])).scalars
        let residual = unit * zip(b, fitted).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }.squareRoot()
        let coefficients = x.map { $0 * unit }
        guard residual.isFinite, coefficients.allSatisfy(\.isFinite) else { throw notFinite }
        return Result(coefficients: coefficients, residual: residual, iterations: iterations, converged: converged)
    }
}
