import LacunaTensor

/// `minimise F(X β + b) + penalty(β)`: any design, any datafit, any penalty.
///
/// Beside an intercept, solvers see the columns and targets without their means, which changes the intercept alone and keeps
/// every sum as exact as its terms; what they return is for the columns as they were given.
public struct Problem<F: Datafit, P: Penalty>: Sendable {
    /// The columns as they were given.
    public let design: any Design
    /// The loss as it was given.
    public let datafit: F
    /// What coefficients cost.
    public var penalty: P
    /// Whether an unpenalised constant is fitted, one for each output.
    public let hasIntercept: Bool
    /// What solvers work on.
    let core: ProblemCore<F>

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if the numbers of rows differ, the design holds a number that is
    ///   not finite or whose square is not, or the penalty is made for another number of columns.
    public init(_ design: any Design, _ datafit: F, _ penalty: P, hasIntercept: Bool = true) throws {
        guard design.rows == datafit.rows else {
            throw LacunaError.invalidArgument(
                "design", reason: "has \(design.rows) rows, the target has \(datafit.rows)")
        }
        try penalty.requireColumns(of: design)
        self.init(unchecked: design, datafit, penalty, hasIntercept: hasIntercept)
        // Numbers that are not finite show in the moments.
        guard core.columns.isFinite else {
            try design.requireFinite()
            throw LacunaError.invalidArgument("design", reason: "has numbers too large to be squared")
        }
    }

    init(unchecked design: any Design, _ datafit: F, _ penalty: P, hasIntercept: Bool) {
        self.init(
            design, datafit, penalty, hasIntercept, ProblemCore(design, datafit, hasIntercept: hasIntercept))
    }

    private init(_ design: any Design, _ datafit: F, _ penalty: P, _ hasIntercept: Bool, _ core: ProblemCore<F>) {
        self.design = design
        self.datafit = datafit
        self.penalty = penalty
        self.hasIntercept = hasIntercept
        self.core = core
    }

    /// The same problem under another penalty, which must suit the number of columns.
    public func with<Q: Penalty>(penalty: Q) -> Problem<F, Q> {
        require((penalty.columns ?? design.columns) == design.columns, "the penalty is made for other columns")
        return Problem<F, Q>(design, datafit, penalty, hasIntercept, core)
    }

    /// The same problem with other sample weights.
    public func weighted(by weights: [Double]) throws -> Problem {
        Problem(unchecked: design, try datafit.weighted(by: weights), penalty, hasIntercept: hasIntercept)
    }

    /// The objective at a solution, computed afresh.
    public func objective(_ solution: Solution) -> Double {
        let eta = solution.predictors(design)
        let beta = solution.coefficients
        return datafit.value(eta) + penalty.value(beta, columns: design.columns, outputs: datafit.outputs)
    }
}

/// How far a solution may be from the best.
public enum Certificate: Sendable, Equatable {
    /// The objective exceeds the minimum by at most `absolute`, what rounding can hide included; `relative` divides it by what
    /// the best constant predictor (the predictor 0, without intercept) loses beyond a perfect fit.
    case dualityGap(absolute: Double, relative: Double)
    /// The distance of the negative gradient to the subdifferential of the penalty, the largest over coordinates or
    /// groups, what rounding can hide included; `relative` divides it by the largest gradient at `β = 0`.
    case stationarity(distance: Double, relative: Double)

    /// The number that a tolerance bounds.
    public var relative: Double {
        switch self {
        case .dualityGap(_, let relative), .stationarity(_, let relative): relative
        }
    }
}

/// Coefficients and how good they are.
public struct Solution: Sendable, Equatable {
    /// Columns of the design.
    public let columns: Int
    /// Outputs of the datafit.
    public let outputs: Int
    /// Places of the coefficients that are not 0, ascending: column `i % columns` of output `i / columns`.
    public internal(set) var support: [Int]
    /// Their values, on the scale of the design as it was given to the solver.
    public internal(set) var values: [Double]
    /// A constant for each output; 0 without one.
    public internal(set) var intercepts: [Double]
    /// Loss and penalty together.
    public internal(set) var objective: Double
    /// How far this may be from the best.
    public internal(set) var certificate: Certificate
    /// Times that the whole design was read for gradients.
    public internal(set) var passes: Int
    /// Whether the tolerance was reached; for a tolerance below 1e-10, whether the fit is as exact as rounding allows. False
    /// means that the solver stopped at its iteration bound, or that rounding does not allow the statement.
    public internal(set) var converged: Bool

    init(
        beta: UnsafePointer<Double>, columns: Int, outputs: Int, intercepts: [Double], objective: Double,
        certificate: Certificate, passes: Int, converged: Bool
    ) {
        self.columns = columns
        self.outputs = outputs
        support = (0..<columns * outputs).filter { beta[$0] != 0 }
        values = support.map { beta[$0] }
        self.intercepts = intercepts
        self.objective = objective
        self.certificate = certificate
        self.passes = passes
        self.converged = converged
    }

    /// The constant of the first output.
    public var intercept: Double { intercepts.first ?? 0 }

    /// All coefficients [columns, outputs], column-major.
    public var coefficients: [Double] {
        var result = [Double](repeating: 0, count: columns * outputs)
        for (i, value) in zip(support, values) { result[i] = value }
        return result
    }

    /// The columns that matter to any output, ascending.
    public var selectedColumns: [Int] {
        outputs == 1 ? support : Set(support.map { $0 % columns }).sorted()
    }

    /// Linear predictors [rows, outputs] for the rows of a design, scaled as the one that was fitted.
    public func predictors(_ design: any Design) -> [Double] {
        require(design.columns == columns)
        var eta = [Double](repeating: 0, count: design.rows * outputs)
        eta.withUnsafeMutableBufferPointer { eta in
            guard let base = eta.baseAddress else { return }
            for k in 0..<outputs {
                (base + k * design.rows).update(repeating: intercepts[k], count: design.rows)
            }
            for (i, value) in zip(support, values) {
                design.add(value, column: i % columns, to: base + i / columns * design.rows)
            }
        }
        return eta
    }

    /// The same model for the columns as stored, undoing the scales of `design`.
    public func unscaled(_ design: any Design) -> Solution {
        guard let scales = design.inverseScales else { return self }
        var result = self
        for k in result.values.indices { result.values[k] *= scales[support[k] % columns] }
        return result
    }
}

/// A solver for penalties that are sums over coordinates.
public protocol SeparableSolver: Sendable {
    /// - Parameter start: Where to begin; 0 for nil.
    /// - Throws: ``LacunaError/cancelled``, or ``LacunaError/unsupported(file:what:)`` for a datafit that the solver
    ///   cannot handle.
    func solve<F: Datafit, P: SeparablePenalty>(_ problem: Problem<F, P>, from start: Solution?) throws -> Solution

    /// Solutions for each strength in turn, every one starting from the one before. Calls `each` with every solution;
    /// false ends the path there.
    func path<F: Datafit, P: SeparablePenalty & ScalablePenalty>(
        _ problem: Problem<F, P>, strengths: [Double], each: (Int, Solution) throws -> Bool
    ) throws -> [Solution]
}

extension SeparableSolver {
    /// Solves from 0.
    ///
    /// - Throws: As ``solve(_:from:)``.
    public func solve<F: Datafit, P: SeparablePenalty>(_ problem: Problem<F, P>) throws -> Solution {
        try solve(problem, from: nil)
    }

    public func path<F: Datafit, P: SeparablePenalty & ScalablePenalty>(
        _ problem: Problem<F, P>, strengths: [Double], each: (Int, Solution) throws -> Bool = { _, _ in true }
    ) throws -> [Solution] {
        var solutions: [Solution] = []
        for (index, strength) in strengths.enumerated() {
            solutions.append(
                try solve(problem.with(penalty: problem.penalty.with(strength: strength)), from: solutions.last))
            if try !each(index, solutions[index]) { break }
        }
        return solutions
    }
}

/// A solver for penalties that are sums over groups of columns.
public protocol GroupSolver: Sendable {
    /// - Parameter start: Where to begin; 0 for nil.
    /// - Throws: ``LacunaError/cancelled``, or ``LacunaError/unsupported(file:what:)`` for a datafit that the solver cannot
    ///   handle.
    func solve<F: Datafit, P: GroupPenalty>(_ problem: Problem<F, P>, from start: Solution?) throws -> Solution
}

extension GroupSolver {
    /// Solutions for each strength in turn, every one starting from the one before. Calls `each` with every solution;
    /// false ends the path there.
    public func path<F: Datafit, P: GroupPenalty & ScalablePenalty>(
        _ problem: Problem<F, P>, strengths: [Double], each: (Int, Solution) throws -> Bool = { _, _ in true }
    ) throws -> [Solution] {
        var solutions: [Solution] = []
        for (index, strength) in strengths.enumerated() {
            solutions.append(
                try solve(problem.with(penalty: problem.penalty.with(strength: strength)), from: solutions.last))
            if try !each(index, solutions[index]) { break }
        }
        return solutions
    }
}
