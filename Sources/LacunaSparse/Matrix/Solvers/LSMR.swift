import LacunaTensor

extension LinearOperator {
    /// Minimises `‖A x - b‖² + damping² ‖x‖²` as ``leastSquares(_:damping:options:)`` does, with `‖Aᵀ r‖` falling from step to
    /// step: the one to stop early.
    ///
    /// D. C.-L. Fong, M. A. Saunders, "LSMR: An Iterative Algorithm for Sparse Least-Squares Problems", SIAM J. Sci. Comput.
    /// 33, 2011, arXiv 1006.0758.
    ///
    /// - Parameters, throws and complexity: As there.
    public func leastSquaresMinimalResiduals(
        _ b: [Scalar], damping: Scalar = 0, options: SolverOptions = SolverOptions()
    ) throws -> SolverResult<Scalar> {
        var process = try Bidiagonalization(self, b, damping: damping, options: options)
        let x = Vector<Scalar>(zeros: columns)
        let (h, hBar) = (Vector<Scalar>(zeros: columns), Vector<Scalar>(zeros: columns))
        h.copy(from: process.v)
        var (alphaBar, zetaBar) = (process.alpha, process.alpha * process.beta)
        var (rho, rhoBar, cBar, sBar): (Scalar, Scalar, Scalar, Scalar) = (1, 1, 1, 0)
        // For the norm of the residual.
        var (betaDD, betaD, rhoDOld, tauOld, thetaTilde, zeta, damped):
            (Scalar, Scalar, Scalar, Scalar, Scalar, Scalar, Scalar)
        (betaDD, betaD, rhoDOld, tauOld, thetaTilde, zeta, damped) = (process.beta, 0, 1, 0, 0, 0, 0)
        var squares = process.alpha * process.alpha
        var reason = StopReason.iterationLimit
        var iteration = 0
        if process.alpha == 0 || process.beta <= process.target {
            reason = process.beta <= process.target ? .converged : .leastSquares
            return process.result(x, iterations: 0, reason: reason)
        }
        func rotation(_ a: Scalar, _ b: Scalar) -> (c: Scalar, s: Scalar, r: Scalar) {
            let r = (a * a + b * b).squareRoot()
            return r == 0 ? (1, 0, 0) : (a / r, b / r, r)
        }
        while true {
            if iteration == process.limit { break }
            try options.report("least squares", iteration, of: process.limit)
            process.advance()
            let (cHat, sHat, alphaHat) = rotation(alphaBar, damping)
            let rhoOld = rho
            let (c, s, r) = rotation(alphaHat, process.beta)
            rho = r
            let thetaNew = s * process.alpha
            alphaBar = c * process.alpha
            let (rhoBarOld, zetaOld) = (rhoBar, zeta)
            let thetaBar = sBar * rho
            let rhoTemp = cBar * rho
            let (cBarNew, sBarNew, rBar) = rotation(rhoTemp, thetaNew)
            (cBar, sBar, rhoBar) = (cBarNew, sBarNew, rBar)
            zeta = cBar * zetaBar
            zetaBar = -sBar * zetaBar
            guard rho > 0, rhoBar > 0, rho.isFinite, rhoBar.isFinite else {
                reason = .stagnated
                break
            }
            hBar.combine(1, h, -thetaBar * rho / (rhoOld * rhoBarOld))
            x.add(zeta / (rho * rhoBar), hBar)
            h.combine(1, process.v, -thetaNew / rho)
            // ‖r‖ by the rotations that make the bidiagonal matrix of R̄ triangular from the other side.
            let betaAcute = cHat * betaDD
            let betaCheck = -sHat * betaDD
            let betaHat = c * betaAcute
            betaDD = -s * betaAcute
            let thetaTildeOld = thetaTilde
            let (cTilde, sTilde, rhoTilde) = rotation(rhoDOld, thetaBar)
            thetaTilde = sTilde * rhoBar
            rhoDOld = cTilde * rhoBar
            betaD = -sTilde * betaD + cTilde * betaHat
            tauOld = (zetaOld - thetaTildeOld * tauOld) / rhoTilde
            let tauD = (zeta - thetaTilde * tauOld) / rhoDOld
            damped += betaCheck * betaCheck
            let residual = (damped + (betaD - tauD) * (betaD - tauD) + betaDD * betaDD).squareRoot()
            squares += process.beta * process.beta
            let matrixNorm = squares.squareRoot()
            squares += process.alpha * process.alpha
            iteration += 1
            if damping == 0 && residual <= process.target {
                reason = .converged
                break
            }
            if abs(zetaBar) <= Scalar(options.tolerance) * matrixNorm * residual {
                reason = .leastSquares
                break
            }
            if abs(zetaBar) <= Scalar.ulpOfOne * matrixNorm * process.start {
                reason = .stagnated
                break
            }
        }
        return process.result(x, iterations: iteration, reason: reason)
    }
}
