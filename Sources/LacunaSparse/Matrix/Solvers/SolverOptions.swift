import LacunaTensor

/// When an iterative solver stops.
public struct SolverOptions: Sendable {
    /// Stops when the residual is at most this times the norm of the right-hand side.
    public var tolerance: Double
    /// Stops when the residual is at most this, whatever the right-hand side.
    public var absoluteTolerance: Double
    /// Products with the matrix at most; nil for ten times its columns, at least 1000.
    public var maximumIterations: Int?
    /// Told of every hundredth iteration; may stop the solver.
    public var progress: (any ProgressReporter)?

    /// When to stop; see the properties.
    public init(
        tolerance: Double = 1e-8, absoluteTolerance: Double = 0, maximumIterations: Int? = nil,
        progress: (any ProgressReporter)? = nil
    ) {
        self.tolerance = tolerance
        self.absoluteTolerance = absoluteTolerance
        self.maximumIterations = maximumIterations
        self.progress = progress
    }

    /// - Throws: `LacunaError.invalidArgument` for tolerances that are negative or not finite, or a negative bound.
    func checked<Scalar>(_ b: [Scalar], size: Int) throws -> (limit: Int, target: Scalar) where Scalar: SparseScalar {
        guard tolerance >= 0 && tolerance.isFinite && absoluteTolerance >= 0 && absoluteTolerance.isFinite else {
            throw LacunaError.invalidArgument(
                "tolerance", reason: "\(tolerance) and \(absoluteTolerance) must be finite and not negative")
        }
        guard maximumIterations ?? 0 >= 0 else {
            throw LacunaError.invalidArgument("maximumIterations", reason: "\(maximumIterations!) is negative")
        }
        guard b.allSatisfy({ $0.isFinite }) else {
            throw LacunaError.numerical(operation: "solver", reason: "the right-hand side is not finite")
        }
        let norm = Vector(b).norm
        guard norm.isFinite else {
            throw LacunaError.numerical(
                operation: "solver", reason: "the right-hand side is too large to take its norm")
        }
        return (maximumIterations ?? max(1000, 10 * size), max(Scalar(tolerance) * norm, Scalar(absoluteTolerance)))
    }

    func report(_ name: String, _ iteration: Int, of limit: Int) throws {
        if iteration % 100 == 0 { try progress.report(name, iteration, of: limit) }
    }
}

/// Why a solver stopped.
public enum StopReason: Sendable, Hashable {
    /// The residual, computed anew from its definition, is as small as was asked for.
    case converged
    /// For least squares: `Aᵀ r` is as small as was asked for, relative to the norms of `A` and of the residual `r`.
    case leastSquares
    /// There were as many iterations as allowed.
    case iterationLimit
    /// The matrix (or the preconditioner) is not positive definite, as the method needs it to be.
    case indefinite
    /// Rounding leaves no room for another step: the tolerance is too small for this matrix and these numbers.
    case stagnated
}

/// What an iterative solver found.
public struct SolverResult<Scalar: SparseScalar>: Sendable {
    /// The last iterate, whatever the reason.
    public let solution: [Scalar]
    /// Iterations done.
    public let iterations: Int
    /// ‖b - A x‖ of the solution, computed from this definition, not carried along.
    public let residualNorm: Scalar
    /// Why the solver stopped.
    public let reason: StopReason

    /// Whether the solver stopped because the residual, or that of the normal equations, is small.
    public var isConverged: Bool { reason == .converged || reason == .leastSquares }

    /// Measures a solution. Solvers that carry a residual along take their own word for nothing: one that is not small after
    /// all has stagnated.
    init(
        _ a: some LinearOperator<Scalar>, _ x: Vector<Scalar>, _ b: Vector<Scalar>, iterations: Int, reason: StopReason,
        target: Scalar
    ) {
        let r = Vector<Scalar>(zeros: b.count)
        a.multiply(x, into: r)
        r.combine(1, b, -1)
        residualNorm = r.norm
        solution = x.array
        self.iterations = iterations
        // What a residual that is carried along may differ from the true one by, at the tolerances that are of use.
        let isSmall = residualNorm <= 2 * target
        self.reason = reason == .converged && !isSmall ? .stagnated : isSmall ? .converged : reason
    }
}

extension LinearOperator {
    func multiply(_ x: Vector<Scalar>, into y: Vector<Scalar>) {
        apply(
            UnsafeBufferPointer(start: x.pointer, count: x.count),
            into: UnsafeMutableBufferPointer(start: y.pointer, count: y.count))
    }

    func multiplyTransposed(_ x: Vector<Scalar>, into y: Vector<Scalar>) {
        applyTransposed(
            UnsafeBufferPointer(start: x.pointer, count: x.count),
            into: UnsafeMutableBufferPointer(start: y.pointer, count: y.count))
    }

    /// - Throws: `LacunaError.invalidArgument` unless the operator is square and fits a right-hand side, a start and a
    ///   preconditioner.
    func checkSquare(
        _ b: [Scalar], _ start: [Scalar]?, _ preconditioner: (any LinearOperator<Scalar>)?
    ) throws {
        guard rows == columns && b.count == rows else {
            throw LacunaError.invalidArgument(
                "b", reason: "\(b.count) numbers for [\(rows), \(columns)]; a square matrix is needed")
        }
        guard start.map({ $0.count == columns }) ?? true else {
            throw LacunaError.invalidArgument("startingAt", reason: "\(start!.count) numbers for \(columns) columns")
        }
        if let preconditioner, preconditioner.rows != rows || preconditioner.columns != rows {
            throw LacunaError.invalidArgument(
                "preconditioner", reason: "[\(preconditioner.rows), \(preconditioner.columns)] for \(rows) rows")
        }
    }
}
