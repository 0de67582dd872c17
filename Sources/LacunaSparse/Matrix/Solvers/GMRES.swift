import LacunaTensor

extension LinearOperator {
    /// Solves `A x = b` for any square matrix by generalised minimal residuals, restarted, preconditioned from the right: what
    /// is minimised is the residual itself.
    ///
    /// Y. Saad, M. H. Schultz, "GMRES: A Generalized Minimal Residual Algorithm for Solving Nonsymmetric Linear Systems", SIAM
    /// J. Sci. Stat. Comput. 7, 1986.
    ///
    /// - Parameters:
    ///   - b: [rows].
    ///   - start: The first iterate [columns]; nil for 0.
    ///   - preconditioner: An approximation of `A⁻¹`.
    ///   - restart: Steps before the space is given up for a new one, at least 1: memory is as many vectors.
    /// - Throws: `LacunaError.invalidArgument` for shapes that do not fit, bad options or a restart below 1,
    ///   `LacunaError.numerical` for a right-hand side that is not finite, `LacunaError.cancelled`.
    /// - Complexity: A product with the matrix and O(rows · restart) an iteration.
    public func generalizedMinimalResiduals(
        _ b: [Scalar], startingAt start: [Scalar]? = nil, preconditioner: (any LinearOperator<Scalar>)? = nil,
        restart: Int = 30, options: SolverOptions = SolverOptions()
    ) throws -> SolverResult<Scalar> {
        try checkSquare(b, start, preconditioner)
        guard restart >= 1 else {
            throw LacunaError.invalidArgument("restart", reason: "must be at least 1, but is \(restart)")
        }
        let (limit, target) = try options.checked(b, size: columns)
        let n = columns
        let m = Swift.min(restart, Swift.max(n, 1))
        let right = Vector(b)
        let x = start.map { Vector($0) } ?? Vector(zeros: n)
        let basis = (0...m).map { _ in Vector<Scalar>(zeros: n) }
        let (r, z) = (Vector<Scalar>(zeros: n), Vector<Scalar>(zeros: n))
        var reason = StopReason.iterationLimit
        var iteration = 0
        var previous = Scalar.infinity
        outer: while true {
            multiply(x, into: r)
            r.combine(1, right, -1)
            let beta = r.norm
            if beta <= target {
                reason = .converged
                break
            }
            guard beta.isFinite, beta < previous else {
                reason = .stagnated
                break
            }
            previous = beta
            if iteration == limit { break }
            basis[0].combine(1 / beta, r, 0)
            // The triangular factor by columns, the rotations that made it, and the right-hand side under them.
            var factor: [[Scalar]] = []
            var rotations: [(c: Scalar, s: Scalar)] = []
            var g = [beta]
            while factor.count < m && iteration < limit && abs(g[factor.count]) > target {
                try options.report("generalised minimal residuals", iteration, of: limit)
                let k = factor.count
                if let preconditioner {
                    preconditioner.multiply(basis[k], into: z)
                    multiply(z, into: basis[k + 1])
                } else {
                    multiply(basis[k], into: basis[k + 1])
                }
                // Twice, since once leaves the basis only as orthogonal as the matrix is well conditioned.
                var column = [Scalar](repeating: 0, count: k + 1)
                for _ in 0..<2 {
                    for i in 0...k {
                        let h = basis[i].dot(basis[k + 1])
                        column[i] += h
                        basis[k + 1].add(-h, basis[i])
                    }
                }
                let following = basis[k + 1].norm
                let scale = column.reduce(following) { $0 + abs($1) }
                for (i, (c, s)) in rotations.enumerated() {
                    (column[i], column[i + 1]) = (c * column[i] + s * column[i + 1], c * column[i + 1] - s * column[i])
                }
                let length = (column[k] * column[k] + following * following).squareRoot()
                iteration += 1
                guard length > 0, length.isFinite else { break }
                rotations.append((column[k] / length, following / length))
                column[k] = length
                factor.append(column)
                g.append(-rotations[k].s * g[k])
                g[k] *= rotations[k].c
                if following <= Scalar.ulpOfOne * scale { break }
                basis[k + 1].scale(by: 1 / following)
            }
            let k = factor.count
            if k == 0 {
                reason = .stagnated
                break
            }
            var y = [Scalar](repeating: 0, count: k)
            for i in stride(from: k - 1, through: 0, by: -1) {
                y[i] = g[i]
                for j in i + 1..<Swift.max(k, i + 1) { y[i] -= factor[j][i] * y[j] }
                y[i] /= factor[i][i]
            }
            r.scale(by: 0)
            for i in 0..<k { r.add(y[i], basis[i]) }
            if let preconditioner {
                preconditioner.multiply(r, into: z)
                x.add(1, z)
            } else {
                x.add(1, r)
            }
        }
        return SolverResult(self, x, right, iterations: iteration, reason: reason, target: target)
    }
}
