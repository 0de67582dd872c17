import LacunaTensor

/// A lasso in which the columns that ``SpanPeeling`` found are free and the others are penalised by what is left of them.
///
/// `minimise (1/2n) ‖y' - X' v‖² + λ‖v‖₁` for target and columns projected away from the free ones; the fit is that plus the
/// projection of the target. Without free columns this is the lasso on columns of unit mean square.
public struct PeeledLasso: Sendable {
    /// How the penalty's strength is chosen.
    public enum Strength: Sendable, Equatable {
        /// λ itself, at least 0.
        case fixed(Double)
        /// `1.1 σ √(2 log d / n)` for noise of this standard deviation.
        case noise(Double)
        /// The same, σ being estimated by turns with the fit: from the residuals of least squares on the columns selected so
        /// far, whose number counts against the rows.
        ///
        /// After Tingni Sun, Cun-Hui Zhang, "Scaled Sparse Linear Regression", arXiv 1104.4595, whose residuals are those of the
        /// shrunk coefficients.
        case estimated
    }

    /// Finds the free columns.
    public var peeling: SpanPeeling
    /// How λ is chosen.
    public var strength: Strength
    /// Whether a constant is fitted beside the columns.
    public var hasIntercept: Bool
    /// Fits the selected columns again without a penalty.
    public var refits: Bool
    /// Bound of ``Certificate/relative``.
    public var tolerance: Double

    /// - Parameter tolerance: Above 0.
    public init(
        peeling: SpanPeeling, strength: Strength = .estimated, hasIntercept: Bool = true, refits: Bool = false,
        tolerance: Double = 1e-8
    ) {
        require(tolerance > 0)
        self.peeling = peeling
        self.strength = strength
        self.hasIntercept = hasIntercept
        self.refits = refits
        self.tolerance = tolerance
    }

    /// A fit for the columns as they were given.
    public struct Result: Sendable {
        /// For the columns as they were given [columns].
        public let coefficients: [Double]
        /// The constant; 0 without one.
        public let intercept: Double
        /// `X · coefficients + intercept` for the rows that were fitted.
        public let prediction: [Double]
        /// Free columns, whose coefficients were not penalised, and the others that were selected.
        public let free, selected: [Int]
        /// λ, as it was given or chosen.
        public let strength: Double
        /// Standard deviation of the noise, given or estimated.
        public let noise: Double?
        /// Whether the solver reached its tolerance.
        public let converged: Bool
    }

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for numbers of rows that differ and numbers that are not finite;
    ///   as the solver.
    public func fit(_ design: any Design, target: [Double]) throws -> Result {
        let peeled = try peeling.peel(design, centered: hasIntercept)
        let loss = try SquaredLoss(target)
        guard design.rows == loss.rows else {
            throw LacunaError.invalidArgument(
                "design", reason: "has \(design.rows) rows, the target has \(loss.rows)")
        }
        let parts = peeled.split(target)
        let problem = try Problem(peeled.design, SquaredLoss(parts.outside), L1(0), hasIntercept: false)
        let rate = (2 * logarithm(Double(max(design.columns, 2))) / Double(design.rows)).squareRoot()
        let solver = ProximalNewton(tolerance: tolerance)
        var (noise, level): (Double?, Double)
        var solution: Solution
        switch strength {
        case .fixed(let value):
            (noise, level) = (nil, value)
            solution = try solver.solve(problem.with(penalty: L1(level)))
        case .noise(let value):
            (noise, level) = (value, 1.1 * value * rate)
            solution = try solver.solve(problem.with(penalty: L1(level)))
        case .estimated:
            // From all of the target downwards: each fit's selected columns, fitted again, leave less of it.
            var sigma = deviation(parts.outside, rank: peeled.basis.rows)
            level = 1.1 * sigma * rate
            solution = try solver.solve(problem.with(penalty: L1(level)))
            for _ in 0..<50 {
                let rank = peeled.basis.rows + solution.support.count
                guard rank < design.rows, let again = refitted(solution, peeled.design, parts.outside) else { break }
                let fitted = again.predictors(peeled.design)
                let next = deviation(zip(parts.outside, fitted).map { $0 - $1 }, rank: rank)
                if abs(next - sigma) <= 1e-6 * sigma || next == 0 { break }
                sigma = next
                level = 1.1 * sigma * rate
                solution = try solver.solve(problem.with(penalty: L1(level)), from: solution)
            }
            noise = sigma
        }
        if refits, let again = refitted(solution, peeled.design, parts.outside) { solution = again }
        let (coefficients, intercept) = try peeled.coefficients(solution, inside: parts.inside)
        return Result(
            coefficients: coefficients, intercept: intercept,
            prediction: zip(parts.inside, solution.predictors(peeled.design)).map { $0 + $1 }, free: peeled.free,
            selected: solution.support, strength: level, noise: noise, converged: solution.converged)
    }

    private func deviation(_ residuals: [Double], rank: Int) -> Double {
        (residuals.reduce(0) { $0 + $1 * $1 } / Double(max(1, residuals.count - rank))).squareRoot()
    }

    /// The same support by least squares; nil if its columns depend on each other.
    private func refitted(_ solution: Solution, _ design: DenseDesign, _ target: [Double]) -> Solution? {
        let (n, s) = (design.rows, solution.support.count)
        if s == 0 { return solution }
        if s > n { return nil }
        var columns = Tensor<Double>(zeros: [s, n])
        columns.withMutablePointer { c in
            for (k, j) in solution.support.enumerated() { design.add(1, column: j, to: c + k * n) }
        }
        guard let (q, r) = try? columns.transposed().qr() else { return nil }
        let largest = (0..<s).reduce(0) { max($0, abs(r[$1, $1])) }
        guard (0..<s).allSatisfy({ abs(r[$0, $0]) > 1e-10 * largest }) else { return nil }
        let projected = q.multiplied(by: Tensor(target, shape: [n, 1]), transposed: true)
        var result = solution
        result.values = r.solveTriangular(projected, lower: false).scalars
        return result
    }
}
