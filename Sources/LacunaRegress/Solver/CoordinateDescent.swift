import LacunaTensor

/// Cyclic coordinate descent on the rows' residuals, with growing working sets and Anderson acceleration.
///
/// Needs no Gram matrix, so it serves where thousands of coefficients are not 0 and rows are few, or columns are very
/// sparse. Works for every datafit of bounded curvature and every separable penalty.
///
/// Quentin Bertrand, Quentin Klopfenstein, Pierre-Antoine Bannier, Gauthier Gidel, Mathurin Massias, "Beyond L1: Faster and
/// Better Sparse Models with skglm", arXiv 2204.07826.
public struct CoordinateDescent: SeparableSolver {
    /// Bound of ``Certificate/relative``.
    public var tolerance: Double
    /// Bound on the passes over the whole design.
    public var maximumPasses: Int
    /// Bound on the sweeps over the working set between two passes.
    public var maximumSweeps: Int
    /// Iterates that an extrapolation combines; 0 for none.
    public var acceleration: Int
    /// Told how far the work is; its error, as when a user cancels, ends it.
    public var progress: (any ProgressReporter)?

    /// - Parameter tolerance: Above 0, as are the numbers of passes and sweeps.
    public init(
        tolerance: Double = 1e-7, maximumPasses: Int = 100, maximumSweeps: Int = 5000, acceleration: Int = 5,
        progress: (any ProgressReporter)? = nil
    ) {
        require(tolerance > 0 && maximumPasses > 0 && maximumSweeps > 0 && acceleration >= 0)
        self.tolerance = tolerance
        self.maximumPasses = maximumPasses
        self.maximumSweeps = maximumSweeps
        self.acceleration = acceleration
        self.progress = progress
    }

    public func solve<F: Datafit, P: SeparablePenalty>(
        _ problem: Problem<F, P>, from start: Solution? = nil
    ) throws -> Solution {
        guard let bound = problem.datafit.curvatureBound else {
            throw LacunaError.unsupported(
                file: nil, what: "a datafit of unbounded curvature with CoordinateDescent; use ProximalNewton")
        }
        let state = SolverState(problem, from: start)
        // The intercept stands still while a coordinate moves.
        let lipschitz = state.lipschitz(bound: bound)
        var pass = 0
        while true {
            let now = state.certificate(problem.penalty, lipschitz: lipschitz.pointer, tolerance: tolerance)
            pass += 1
            if now.stops || pass > maximumPasses {
                return state.solution(now.certificate, now.objective, passes: pass, converged: now.isReached)
            }
            try progress.report("fitting", pass, of: maximumPasses, "relative gap \(now.certificate.relative)")
            let (working, worst) = workingSet(state, problem.penalty, lipschitz.pointer)
            let final = finalTolerance(state, problem.penalty)
            descend(state, problem.penalty, working, lipschitz.pointer, tolerance: max(final, 0.3 * worst))
        }
    }

    /// The distance to stationarity that lets the certificate pass.
    private func finalTolerance<F: Datafit, P: SeparablePenalty>(_ state: SolverState<F>, _ penalty: P) -> Double {
        guard penalty.hasDual else { return 0.3 * tolerance * state.nullGradient }
        var sum = 0.0
        for i in 0..<state.p * state.outputs { sum += abs(state.beta.pointer[i]) }
        let floor = 1e-3 * state.nullLoss / max(state.nullGradient, .leastNormalMagnitude)
        return 0.3 * tolerance * state.nullLoss / max(sum, floor, .leastNormalMagnitude)
    }

    /// Coordinates (of all outputs) to work on: those that are not 0, and the worst of the others, as many again.
    private func workingSet<F: Datafit, P: SeparablePenalty>(
        _ state: SolverState<F>, _ penalty: P, _ lipschitz: UnsafePointer<Double>
    ) -> (coordinates: [Int], worst: Double) {
        let (b, g) = (state.beta.pointer, state.gradient.pointer)
        var set: [Int] = []
        var (rest, scores): ([Int], [Float]) = ([], [])
        var worst = 0.0
        for i in 0..<state.p * state.outputs {
            let j = i % state.p
            let distance = penalty.distance(b[i], gradient: g[i], lipschitz: lipschitz[j], j)
            worst = max(worst, distance)
            if b[i] != 0 {
                set.append(i)
            } else if distance > 0 && lipschitz[j] > 0 {
                rest.append(i)
                scores.append(Float(distance))
            }
        }
        let room = max(64, set.count)
        if rest.count > room {
            var (greater, equal) = (0, 0)
            let threshold = kernels.kth_largest(scores, scores.count, room, &greater, &equal)
            rest = zip(rest, scores).compactMap { $1 >= threshold ? $0 : nil }
        }
        return ((set + rest).sorted(), worst)
    }

    private func descend<F: Datafit, P: SeparablePenalty>(
        _ state: SolverState<F>, _ penalty: P, _ working: [Int], _ lipschitz: UnsafePointer<Double>,
        tolerance: Double
    ) {
        var anderson = AndersonAcceleration(depth: max(acceleration, 1))
        let (p, n) = (state.p, state.n)
        for sweep in 0..<maximumSweeps {
            state.refineIntercepts(1)
            state.refreshSlope()
            var worst = 0.0
            for i in working {
                let (j, k) = (i % p, i / p)
                let slope = state.design.correlation(j, with: state.slope.pointer + k * n)
                let old = state.beta.pointer[i]
                worst = max(worst, penalty.distance(old, gradient: slope, lipschitz: lipschitz[j], j))
                let new = penalty.proximal(old - slope / lipschitz[j], step: 1 / lipschitz[j], j)
                if new == old { continue }
                state.move(j, output: k, by: new - old)
                state.beta.pointer[i] = new
                state.settle()
            }
            if worst <= tolerance { break }
            if acceleration > 0 {
                let iterate = working.map { state.beta.pointer[$0] } + state.intercepts
                if let better = anderson.extrapolated(after: iterate) {
                    tryExtrapolation(state, penalty, working, better)
                }
            }
            // Rounding in the predictors does not add up for long.
            if sweep % 64 == 63 {
                state.updateEta()
                state.refreshSlope()
            }
        }
        state.updateEta()
    }

    private func tryExtrapolation<F: Datafit, P: SeparablePenalty>(
        _ state: SolverState<F>, _ penalty: P, _ working: [Int], _ better: [Double]
    ) {
        let before = working.map { state.beta.pointer[$0] }
        let (intercepts, p) = (state.intercepts, state.p)
        func objective() -> Double {
            state.datafit.value(state.eta.pointer)
                + working.reduce(0) { sum, i in
                    let x = state.beta.pointer[i]
                    return x == 0 ? sum : sum + penalty.value(x, i % p)
                }
        }
        let old = objective()
        for (i, value) in zip(working, better) { state.beta.pointer[i] = value }
        state.intercepts = Array(better[working.count...])
        state.updateEta()
        if !(objective() < old) {
            for (i, value) in zip(working, before) { state.beta.pointer[i] = value }
            state.intercepts = intercepts
            state.updateEta()
        }
        state.refreshSlope()
    }
}
