import LacunaTensor

/// Solutions over strengths from the one at which nothing is selected downwards.
public struct RegularizationPath: Sendable {
    /// Descending.
    public let strengths: [Double]
    /// One for each strength.
    public let solutions: [Solution]

    /// Shares explained of what the best constant predictor loses beyond a perfect fit (R² for least squares).
    public let explained: [Double]

    /// A path that was followed elsewhere.
    public init(strengths: [Double], solutions: [Solution], explained: [Double]) {
        require(strengths.count == solutions.count && explained.count == solutions.count)
        self.strengths = strengths
        self.solutions = solutions
        self.explained = explained
    }

    /// The smallest strength at which no column is selected.
    public static func maximumStrength<F: Datafit, P: ScalablePenalty>(_ problem: Problem<F, P>) -> Double {
        let state = SolverState(problem, from: nil)
        let lipschitz = state.centeredLipschitz(bound: problem.datafit.curvatureBound)
        return problem.penalty.strengthAtZero(
            gradient: state.gradient.pointer, lipschitz: lipschitz.pointer, columns: state.p, outputs: state.outputs)
    }

    /// `count` strengths from `maximum` to `ratio · maximum`, evenly on a logarithmic scale.
    ///
    /// - Throws: ``LacunaError/numerical(operation:reason:)`` if `maximum` is 0: nothing is related to the target.
    public static func strengths(from maximum: Double, ratio: Double = 1e-2, count: Int = 100) throws -> [Double] {
        require(count >= 1 && ratio > 0 && ratio < 1)
        guard maximum > 0, maximum.isFinite else {
            throw LacunaError.numerical(
                operation: "path", reason: "no column is related to the target: the largest gradient is \(maximum)")
        }
        if count == 1 { return [maximum] }
        return (0..<count).map { maximum * power(ratio, Double($0) / Double(count - 1)) }
    }

    /// Follows the path with warm starts.
    ///
    /// - Parameters:
    ///   - strengths: Descending; 100 from the maximum to a hundredth for nil.
    ///   - maximumSupport: The path ends after the first solution that selects more columns.
    /// - Throws: As the solver, and as ``strengths(from:ratio:count:)``.
    public init<F: Datafit, P: SeparablePenalty & ScalablePenalty>(
        _ problem: Problem<F, P>, strengths: [Double]? = nil, solver: some SeparableSolver = ProximalNewton(),
        maximumSupport: Int = .max
    ) throws {
        let all = try strengths ?? Self.strengths(from: Self.maximumStrength(problem))
        solutions = try solver.path(problem, strengths: all) { _, solution in
            solution.selectedColumns.count <= maximumSupport
        }
        self.strengths = Array(all.prefix(solutions.count))
        explained = Self.explained(problem, solutions)
    }

    /// As the other initialiser, for penalties on groups.
    public init<F: Datafit, P: GroupPenalty & ScalablePenalty>(
        groups problem: Problem<F, P>, strengths: [Double]? = nil,
        solver: some GroupSolver = BlockCoordinateDescent(), maximumSupport: Int = .max
    ) throws {
        let all = try strengths ?? Self.strengths(from: Self.maximumStrength(problem))
        solutions = try solver.path(problem, strengths: all) { _, solution in
            solution.selectedColumns.count <= maximumSupport
        }
        self.strengths = Array(all.prefix(solutions.count))
        explained = Self.explained(problem, solutions)
    }

    static func explained<F: Datafit, P: Penalty>(_ problem: Problem<F, P>, _ solutions: [Solution]) -> [Double] {
        let state = SolverState(problem, from: nil)
        let perfect = -problem.datafit.conjugate(gradient: state.slope.pointer, scale: 0)
        return solutions.map { solution in
            let loss = problem.datafit.value(solution.predictors(problem.design)) - perfect
            return state.nullLoss > 0 ? 1 - loss / state.nullLoss : 0
        }
    }
}
