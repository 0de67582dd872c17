import LacunaTensor

extension LinearOperator {
    /// Solves `A x = b` for a symmetric positive definite matrix by preconditioned conjugate gradients.
    ///
    /// M. R. Hestenes, E. Stiefel, "Methods of Conjugate Gradients for Solving Linear Systems", J. Res. NBS 49, 1952.
    ///
    /// - Parameters:
    ///   - b: [rows].
    ///   - start: The first iterate [columns]; nil for 0.
    ///   - preconditioner: A symmetric positive definite approximation of `A⁻¹`.
    /// - Throws: `LacunaError.invalidArgument` for shapes that do not fit or bad options, `LacunaError.numerical` for a
    ///   right-hand side that is not finite, `LacunaError.cancelled`.
    /// - Complexity: A product with the matrix and O(rows) an iteration; four vectors of memory.
    public func conjugateGradients(
        _ b: [Scalar], startingAt start: [Scalar]? = nil, preconditioner: (any LinearOperator<Scalar>)? = nil,
        options: SolverOptions = SolverOptions()
    ) throws -> SolverResult<Scalar> {
        try checkSquare(b, start, preconditioner)
        let (limit, target) = try options.checked(b, size: columns)
        let right = Vector(b)
        let x = start.map { Vector($0) } ?? Vector(zeros: columns)
        let (r, p, q) = (Vector<Scalar>(zeros: rows), Vector<Scalar>(zeros: rows), Vector<Scalar>(zeros: rows))
        let z = preconditioner == nil ? r : Vector<Scalar>(zeros: rows)
        multiply(x, into: r)
        r.combine(1, right, -1)
        var rho: Scalar = 0
        var reason = StopReason.iterationLimit
        var iteration = 0
        while true {
            if r.norm <= target {
                reason = .converged
                break
            }
            if iteration == limit { break }
            try options.report("conjugate gradients", iteration, of: limit)
            preconditioner?.multiply(r, into: z)
            let next = r.dot(z)
            guard next > 0 else {
                reason = next.isFinite ? .indefinite : .stagnated
                break
            }
            p.combine(1, z, iteration == 0 ? 0 : next / rho)
            rho = next
            multiply(p, into: q)
            let curvature = p.dot(q)
            guard curvature > 0, (rho / curvature).isFinite else {
                reason = curvature.isFinite ? .indefinite : .stagnated
                break
            }
            x.add(rho / curvature, p)
            r.add(-rho / curvature, q)
            iteration += 1
        }
        return SolverResult(self, x, right, iterations: iteration, reason: reason, target: target)
    }
}
