import LacunaTensor

/// Solves problems with a ``SortedL1`` penalty: accelerated proximal steps on a working set of columns, which grows by the
/// columns that pull hardest until the duality gap over all columns closes.
public struct SortedDescent: Sendable {
    /// Bound of ``Certificate/relative``.
    public var tolerance: Double
    /// Steps on one working set at most.
    public var maximumIterations: Int
    /// Told about every pass, and asked whether to stop.
    public var progress: (any ProgressReporter)?

    /// - Parameters:
    ///   - tolerance: Above 0.
    ///   - maximumIterations: At least 1.
    public init(
        tolerance: Double = 1e-7, maximumIterations: Int = 20_000, progress: (any ProgressReporter)? = nil
    ) {
        require(tolerance > 0 && maximumIterations > 0)
        self.tolerance = tolerance
        self.maximumIterations = maximumIterations
        self.progress = progress
    }

    /// Columns that are not worth being left out.
    private static let few = 100

    /// - Parameter start: Where to begin; 0 for nil.
    /// - Throws: ``LacunaError/cancelled``.
    public func solve<F: Datafit>(_ problem: Problem<F, SortedL1>, from start: Solution? = nil) throws -> Solution {
        let columns = problem.design.columns
        if columns <= Self.few {
            return try FISTA(tolerance: tolerance, maximumIterations: maximumIterations, progress: progress)
                .minimize(problem, from: start)
        }
        let state = SolverState(problem, from: start)
        let lipschitz = state.centeredLipschitz(bound: state.datafit.curvatureBound)
        var best = start
        var working = Set(start?.selectedColumns ?? [])
        var (passes, last) = (0, Double.infinity)
        while true {
            let now = state.certificate(problem.penalty, lipschitz: lipschitz.pointer, tolerance: tolerance)
            passes += 1
            try progress.report("fitting", working.count, of: columns, "relative gap \(now.certificate.relative)")
            // With all columns at hand the solver's own end is the end.
            if now.stops || working.count == columns || passes > 200 {
                return state.solution(now.certificate, now.objective, passes: passes, converged: now.isReached)
            }
            // A working set that closes no more of the gap lacks columns.
            let pulls = (0..<columns).filter { !working.contains($0) }.map { j in
                (j, (0..<state.outputs).reduce(0) { max($0, abs(state.gradient.pointer[$1 * columns + j])) })
            }.sorted { ($0.1, $1.0) > ($1.1, $0.0) }
            for (j, _) in pulls.prefix(max(Self.few / 4, working.count)) { working.insert(j) }
            let order = working.sorted()
            let part = try Problem(
                ColumnSubset(problem.design, order), problem.datafit, problem.penalty.prefix(order.count),
                hasIntercept: problem.hasIntercept)
            // No more exact than the columns left out allow.
            let inner = max(0.3 * tolerance, min(1e-3, 0.01 * min(last, now.certificate.relative)))
            last = now.certificate.relative
            let found = try FISTA(tolerance: inner, maximumIterations: maximumIterations, progress: progress)
                .minimize(part, from: best.map { $0.restricted(to: order) })
            best = found.spread(from: order, columns: columns)
            state.take(best)
        }
    }

    /// Solutions for each strength in turn, every one starting from the one before.
    ///
    /// - Throws: ``LacunaError/cancelled``.
    public func path<F: Datafit>(_ problem: Problem<F, SortedL1>, strengths: [Double]) throws -> [Solution] {
        var solutions: [Solution] = []
        for strength in strengths {
            solutions.append(
                try solve(problem.with(penalty: problem.penalty.with(strength: strength)), from: solutions.last))
        }
        return solutions
    }
}

extension Solution {
    /// The coefficients of some columns, ascending; the intercepts stay.
    func restricted(to chosen: [Int]) -> Solution {
        let places = Dictionary(uniqueKeysWithValues: chosen.enumerated().map { ($1, $0) })
        var all = [Double](repeating: 0, count: chosen.count * outputs)
        for (i, value) in zip(support, values) {
            if let place = places[i % columns] { all[i / columns * chosen.count + place] = value }
        }
        return Solution(
            beta: all, columns: chosen.count, outputs: outputs, intercepts: intercepts, objective: objective,
            certificate: certificate, passes: passes, converged: converged)
    }

    /// The other way round: a solution for some columns as one for all of them.
    func spread(from chosen: [Int], columns all: Int) -> Solution {
        var beta = [Double](repeating: 0, count: all * outputs)
        for (i, value) in zip(support, values) { beta[i / columns * all + chosen[i % columns]] = value }
        return Solution(
            beta: beta, columns: all, outputs: outputs, intercepts: intercepts, objective: objective,
            certificate: certificate, passes: passes, converged: converged)
    }
}
