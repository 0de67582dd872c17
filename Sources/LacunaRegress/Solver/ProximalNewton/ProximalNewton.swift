import LacunaTensor

/// The solver of first choice: Newton's method for the datafit, a working set of columns, and exact steps on it.
///
/// Each pass reads the whole design once: for the gradient, the certificate, and the columns that violate optimality.
/// The worst of those join the working set, on which the quadratic model of the datafit with the penalty is minimised
/// through its Gram matrix (``QuadraticModel``). For least squares one model is the problem itself and its Gram matrix
/// only grows, also along a path; other datafits rebuild it and check each step by its decrease.
///
/// Gap safe screening discards columns for good as soon as the certificate allows; along a path the sequential strong
/// rule proposes the next working set. Nothing rests on the strong rule: every pass checks all columns that are left.
///
/// Tyler Johnson, Carlos Guestrin, "Blitz: A Principled Meta-Algorithm for Scaling Sparse Optimization", ICML 2015; Mathurin
/// Massias, Alexandre Gramfort, Joseph Salmon, "Celer: a Fast Solver for the Lasso with Dual Extrapolation", arXiv
/// 1802.07481; Eugene Ndiaye, Olivier Fercoq, Alexandre Gramfort, Joseph Salmon, "Gap Safe Screening Rules for Sparsity
/// Enforcing Penalties", arXiv 1611.05780; Robert Tibshirani et al., "Strong Rules for Discarding Predictors in
/// Lasso-type Problems", arXiv 1011.2234.
public struct ProximalNewton: SeparableSolver {
    /// Bound of ``Certificate/relative``.
    public var tolerance: Double
    /// Bound on the passes over the design for one solution.
    public var maximumPasses: Int
    /// Newton steps between two passes, for datafits that are not quadratic.
    public var maximumSteps: Int
    /// Told how far the work is; its error, as when a user cancels, ends it.
    public var progress: (any ProgressReporter)?

    /// - Parameter tolerance: Above 0, as are the numbers of passes and steps.
    public init(
        tolerance: Double = 1e-7, maximumPasses: Int = 200, maximumSteps: Int = 12,
        progress: (any ProgressReporter)? = nil
    ) {
        require(tolerance > 0 && maximumPasses > 0 && maximumSteps > 0)
        self.tolerance = tolerance
        self.maximumPasses = maximumPasses
        self.maximumSteps = maximumSteps
        self.progress = progress
    }

    public func solve<F: Datafit, P: SeparablePenalty>(
        _ problem: Problem<F, P>, from start: Solution? = nil
    ) throws -> Solution {
        try NewtonSession(self, problem, from: start).solve(problem.penalty, candidates: nil, screens: true)
    }

    public func path<F: Datafit, P: SeparablePenalty & ScalablePenalty>(
        _ problem: Problem<F, P>, strengths: [Double], each: (Int, Solution) throws -> Bool = { _, _ in true }
    ) throws -> [Solution] {
        let session = try NewtonSession(self, problem, from: nil)
        var solutions: [Solution] = []
        var previous: Double?
        for (index, strength) in strengths.enumerated() {
            let penalty = problem.penalty.with(strength: strength)
            // Strong rule: what would be active if gradients moved by the change of strength.
            let candidates = previous.map { problem.penalty.with(strength: max(0, 2 * strength - $0)) }
            solutions.append(try session.solve(penalty, candidates: candidates, screens: index == 0))
            previous = strength
            if try !each(index, solutions[index]) { break }
        }
        return solutions
    }
}
