import LacunaTensor

extension LinearOperator {
    /// Solves `A x = b` for a symmetric matrix, definite or not, by minimal residuals.
    ///
    /// C. C. Paige, M. A. Saunders, "Solution of Sparse Indefinite Systems of Linear Equations", SIAM J. Numer. Anal. 12,
    /// 1975.
    ///
    /// - Parameters:
    ///   - b: [rows].
    ///   - start: The first iterate [columns]; nil for 0.
    /// - Throws: `LacunaError.invalidArgument` for shapes that do not fit or bad options, `LacunaError.numerical` for a
    ///   right-hand side that is not finite, `LacunaError.cancelled`.
    /// - Complexity: A product with the matrix and O(rows) an iteration; six vectors of memory.
    public func minimalResiduals(
        _ b: [Scalar], startingAt start: [Scalar]? = nil, options: SolverOptions = SolverOptions()
    ) throws -> SolverResult<Scalar> {
        try checkSquare(b, start, nil)
        let (limit, target) = try options.checked(b, size: columns)
        let n = columns
        func zeros() -> Vector<Scalar> { Vector(zeros: n) }
        let right = Vector(b)
        let x = start.map { Vector($0) } ?? zeros()
        // Lanczos vectors v, and the directions w = V R⁻¹ of the last steps.
        var (v, before, next) = (zeros(), zeros(), zeros())
        var (w1, w2) = (zeros(), zeros())
        multiply(x, into: v)
        v.combine(1, right, -1)
        var beta = v.norm
        var residual = beta
        if beta > 0 { v.scale(by: 1 / beta) }
        var (c, s, c1, s1): (Scalar, Scalar, Scalar, Scalar) = (1, 0, 1, 0)
        var eta = beta
        var reason = StopReason.iterationLimit
        var iteration = 0
        while true {
            if residual <= target {
                reason = .converged
                break
            }
            if iteration == limit { break }
            try options.report("minimal residuals", iteration, of: limit)
            multiply(v, into: next)
            let alpha = v.dot(next)
            next.add(-alpha, v)
            next.add(-beta, before)
            let following = next.norm
            // The new column of the tridiagonal matrix under the last two rotations, and the rotation that makes it triangular.
            let r3 = s1 * (iteration == 0 ? 0 : beta)
            let rotated = c1 * (iteration == 0 ? 0 : beta)
            let r2 = c * rotated + s * alpha
            let diagonal = c * alpha - s * rotated
            let r1 = (diagonal * diagonal + following * following).squareRoot()
            guard r1 > 0, r1.isFinite else {
                reason = .stagnated
                break
            }
            (c1, s1) = (c, s)
            (c, s) = (diagonal / r1, following / r1)
            w2.combine(-r3 / r1, w2, 0)
            w2.add(-r2 / r1, w1)
            w2.add(1 / r1, v)
            x.add(c * eta, w2)
            (w1, w2) = (w2, w1)
            eta = -s * eta
            residual = abs(eta)
            iteration += 1
            if following <= Scalar.ulpOfOne * r1 {
                // The space is invariant: this is as good as it gets.
                reason = residual <= target ? .converged : .stagnated
                break
            }
            next.scale(by: 1 / following)
            (before, v, next) = (v, next, before)
            beta = following
        }
        return SolverResult(self, x, right, iterations: iteration, reason: reason, target: target)
    }
}
