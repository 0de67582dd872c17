import LacunaTensor

/// Accelerated proximal gradient steps with backtracking and adaptive restart: any datafit, any penalty, any number of
/// outputs.
///
/// Amir Beck, Marc Teboulle, "A Fast Iterative Shrinkage-Thresholding Algorithm for Linear Inverse Problems", SIAM J.
/// Imaging Sciences 2009; Brendan O'Donoghue, Emmanuel Candès, "Adaptive Restart for Accelerated Gradient Schemes", arXiv
/// 1204.3982.
public struct FISTA: SeparableSolver, GroupSolver {
    /// Bound of ``Certificate/relative``.
    public var tolerance: Double
    /// Steps of one solution at most.
    public var maximumIterations: Int
    /// Told how far the work is; its error, as when a user cancels, ends it.
    public var progress: (any ProgressReporter)?

    /// - Parameter tolerance: Above 0, as is the number of iterations.
    public init(
        tolerance: Double = 1e-7, maximumIterations: Int = 20_000, progress: (any ProgressReporter)? = nil
    ) {
        require(tolerance > 0 && maximumIterations > 0)
        self.tolerance = tolerance
        self.maximumIterations = maximumIterations
        self.progress = progress
    }

    public func solve<F: Datafit, P: SeparablePenalty>(
        _ problem: Problem<F, P>, from start: Solution? = nil
    ) throws -> Solution { try minimize(problem, from: start) }

    public func solve<F: Datafit, P: GroupPenalty>(
        _ problem: Problem<F, P>, from start: Solution? = nil
    ) throws -> Solution { try minimize(problem, from: start) }

    /// The intercepts are the last `outputs` numbers of a point.
    func minimize<F: Datafit, P: Penalty>(_ problem: Problem<F, P>, from start: Solution?) throws -> Solution {
        let state = SolverState(problem, from: start)
        let (n, p, outputs) = (state.n, state.p, state.outputs)
        let size = p * outputs
        let datafit = state.datafit
        let raw = state.lipschitz(bound: datafit.curvatureBound)
        let lipschitz = state.centeredLipschitz(bound: datafit.curvatureBound)
        var curvature = max((0..<p).reduce(0) { max($0, raw.pointer[$1]) }, .leastNormalMagnitude)
        let (current, ahead) = (Buffer<Double>(repeating: 0, count: size), Buffer<Double>(repeating: 0, count: size))
        let eta = Buffer<Double>(uninitialized: n * outputs)
        current.pointer.update(from: state.beta.pointer, count: size)
        ahead.pointer.update(from: state.beta.pointer, count: size)
        var (currentIntercepts, aheadIntercepts) = (state.intercepts, state.intercepts)
        var momentum = 1.0
        var now = state.certificate(problem.penalty, lipschitz: lipschitz.pointer, tolerance: tolerance)
        currentIntercepts = state.intercepts
        aheadIntercepts = state.intercepts

        for iteration in 1...maximumIterations {
            if now.stops { break }
            // Gradient at the point ahead.
            state.fill(eta.pointer, ahead.pointer, aheadIntercepts)
            let value = datafit.value(eta.pointer)
            datafit.gradient(eta.pointer, into: state.slope.pointer)
            state.refreshGradient()
            var slopes = [Double](repeating: 0, count: outputs)
            if state.hasIntercept {
                for k in 0..<outputs { for i in 0..<n { slopes[k] += state.slope.pointer[k * n + i] } }
            }
            // A step that the quadratic bound holds for.
            for _ in 0..<60 {
                let step = 1 / curvature
                for i in 0..<size {
                    state.beta.pointer[i] = ahead.pointer[i] - step * state.gradient.pointer[i]
                }
                problem.penalty.proximal(state.beta.pointer, step: step, columns: p, outputs: outputs)
                for k in 0..<outputs { state.intercepts[k] = aheadIntercepts[k] - step * slopes[k] }
                state.updateEta()
                var bound = value
                for i in 0..<size {
                    let d = state.beta.pointer[i] - ahead.pointer[i]
                    bound += state.gradient.pointer[i] * d + curvature / 2 * d * d
                }
                for k in 0..<outputs {
                    let d = state.intercepts[k] - aheadIntercepts[k]
                    bound += slopes[k] * d + curvature / 2 * d * d
                }
                if datafit.value(state.eta.pointer) <= bound + 1e-13 * abs(bound) { break }
                curvature *= 1.5
            }
            // Momentum, given up when it points uphill.
            var uphill = 0.0
            for i in 0..<size {
                uphill +=
                    (ahead.pointer[i] - state.beta.pointer[i]) * (state.beta.pointer[i] - current.pointer[i])
            }
            if uphill > 0 { momentum = 1 }
            let next = (1 + (1 + 4 * momentum * momentum).squareRoot()) / 2
            let weight = uphill > 0 ? 0 : (momentum - 1) / next
            momentum = next
            for i in 0..<size {
                ahead.pointer[i] = state.beta.pointer[i] + weight * (state.beta.pointer[i] - current.pointer[i])
            }
            for k in 0..<outputs {
                aheadIntercepts[k] = state.intercepts[k] + weight * (state.intercepts[k] - currentIntercepts[k])
            }
            current.pointer.update(from: state.beta.pointer, count: size)
            currentIntercepts = state.intercepts
            if iteration % 10 == 0 || iteration == maximumIterations {
                // With the best intercepts for these coefficients, which the sequence itself does not take over.
                now = state.certificate(problem.penalty, lipschitz: lipschitz.pointer, tolerance: tolerance)
                try progress.report(
                    "fitting", iteration, of: maximumIterations, "relative gap \(now.certificate.relative)")
                if now.stops || iteration == maximumIterations {
                    return state.solution(
                        now.certificate, now.objective, passes: iteration, converged: now.isReached)
                }
                state.intercepts = currentIntercepts
            }
        }
        return state.solution(now.certificate, now.objective, passes: 1, converged: now.isReached)
    }
}
