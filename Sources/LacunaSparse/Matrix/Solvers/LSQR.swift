import LacunaTensor

extension LinearOperator {
    /// Minimises `‖A x - b‖² + damping² ‖x‖²` for any matrix, by the bidiagonalisation of Golub and Kahan. Of several
    /// minimisers, the shortest.
    ///
    /// C. C. Paige, M. A. Saunders, "LSQR: An Algorithm for Sparse Linear Equations and Sparse Least Squares", ACM TOMS 8,
    /// 1982.
    ///
    /// - Parameters:
    ///   - b: [rows].
    ///   - damping: Not negative.
    ///   - options: `tolerance` is for the residual of a system that has a solution, relative to ‖b‖, and for `‖Aᵀ r‖`, relative
    ///     to ‖A‖ ‖r‖, of one that has none.
    /// - Throws: `LacunaError.invalidArgument` for shapes that do not fit, bad options or a negative damping,
    ///   `LacunaError.numerical` for a right-hand side that is not finite, `LacunaError.cancelled`.
    /// - Complexity: A product with the matrix and one with its transpose an iteration.
    public func leastSquares(
        _ b: [Scalar], damping: Scalar = 0, options: SolverOptions = SolverOptions()
    ) throws -> SolverResult<Scalar> {
        var process = try Bidiagonalization(self, b, damping: damping, options: options)
        let x = Vector<Scalar>(zeros: columns)
        let w = Vector<Scalar>(zeros: columns)
        w.copy(from: process.v)
        var (rhoBar, phiBar) = (process.alpha, process.beta)
        // Of the squares of what damping leaves over, and of ‖A‖.
        var (damped, squares): (Scalar, Scalar) = (0, 0)
        var reason = StopReason.iterationLimit
        var iteration = 0
        if process.alpha == 0 || process.beta <= process.target {
            reason = process.beta <= process.target ? .converged : .leastSquares
            return process.result(x, iterations: 0, reason: reason)
        }
        while true {
            if iteration == process.limit { break }
            try options.report("least squares", iteration, of: process.limit)
            squares += process.alpha * process.alpha + damping * damping
            process.advance()
            squares += process.beta * process.beta
            // Damping is a row more: rotated away first.
            let rho1 = (rhoBar * rhoBar + damping * damping).squareRoot()
            let (c1, s1) = (rhoBar / rho1, damping / rho1)
            damped += (s1 * phiBar) * (s1 * phiBar)
            phiBar = c1 * phiBar
            let rho = (rho1 * rho1 + process.beta * process.beta).squareRoot()
            guard rho > 0, rho.isFinite else {
                reason = .stagnated
                break
            }
            let (c, s) = (rho1 / rho, process.beta / rho)
            let theta = s * process.alpha
            rhoBar = -c * process.alpha
            let phi = c * phiBar
            phiBar = s * phiBar
            x.add(phi / rho, w)
            w.combine(1, process.v, -theta / rho)
            iteration += 1
            let residual = (phiBar * phiBar + damped).squareRoot()
            let gradient = abs(phiBar) * process.alpha * c
            if damping == 0 && abs(phiBar) <= process.target {
                reason = .converged
                break
            }
            if gradient <= Scalar(options.tolerance) * squares.squareRoot() * residual {
                reason = .leastSquares
                break
            }
            if gradient <= Scalar.ulpOfOne * squares.squareRoot() * process.start {
                reason = .stagnated
                break
            }
        }
        return process.result(x, iterations: iteration, reason: reason)
    }
}

/// The bidiagonalisation of Golub and Kahan: `A v = β u` and `Aᵀ u = α v`, one pair of vectors after another.
struct Bidiagonalization<Operator: LinearOperator> {
    typealias Scalar = Operator.Scalar

    private let a: Operator
    private let right: Vector<Scalar>
    private let (u, nextU, nextV): (Vector<Scalar>, Vector<Scalar>, Vector<Scalar>)
    let v: Vector<Scalar>
    private(set) var (alpha, beta): (Scalar, Scalar)
    let limit: Int
    let target: Scalar
    /// ‖b‖
    let start: Scalar

    init(_ a: Operator, _ b: [Scalar], damping: Scalar, options: SolverOptions) throws {
        try a.checkTranspose()
        guard b.count == a.rows else {
            throw LacunaError.invalidArgument("b", reason: "\(b.count) numbers for \(a.rows) rows")
        }
        guard damping >= 0, damping.isFinite else {
            throw LacunaError.invalidArgument("damping", reason: "\(damping) must be finite and not negative")
        }
        (limit, target) = try options.checked(b, size: a.columns)
        self.a = a
        right = Vector(b)
        (u, v) = (Vector(b), Vector(zeros: a.columns))
        (nextU, nextV) = (Vector(zeros: a.rows), Vector(zeros: a.columns))
        (alpha, beta) = (0, u.norm)
        start = beta
        if beta > 0 { u.scale(by: 1 / beta) }
        a.multiplyTransposed(u, into: v)
        alpha = v.norm
        if alpha > 0 { v.scale(by: 1 / alpha) }
    }

    /// The next `u` and `v`, of length 1, or 0 where the process ends.
    mutating func advance() {
        a.multiply(v, into: nextU)
        u.combine(1, nextU, -alpha)
        beta = u.norm
        if beta > 0 { u.scale(by: 1 / beta) }
        a.multiplyTransposed(u, into: nextV)
        v.combine(1, nextV, -beta)
        alpha = v.norm
        if alpha > 0 { v.scale(by: 1 / alpha) }
    }

    func result(_ x: Vector<Scalar>, iterations: Int, reason: StopReason) -> SolverResult<Scalar> {
        SolverResult(a, x, right, iterations: iterations, reason: reason, target: target)
    }
}
