import LacunaTensor

/// Nonlinear conjugate gradients on the proximal gradient mapping: any datafit and any separable penalty.
///
/// With `G(x) = (x - z)/t` for the proximal step `z = prox_t(x - t ∇f(x))`, which is 0 at stationary points, the direction is
/// `d = -G + γ d_before`, `γ = max(0, ⟨G, G - G_before⟩ / ‖G_before‖²)` (Polak and Ribière). Coordinates that the proximal
/// step brings to 0 or away from it take that step and no other; the rest go along `d` as far as their quadratic model asks, and
/// stop at 0 rather than change their sign. So zeros stay exact, and once the support is found the method is conjugate gradients
/// on it. A point that is not better than `x` by a share of what `z` promises is given up for `z`.
///
/// After the proximal nonlinear conjugate gradient method of Kai Yang, "Contributions to Robust and Efficient Methods for Analysis
/// of High Dimensional Data", thesis, McGill University, whose parameters are not transcribed here.
public struct ProximalConjugateGradient: SeparableSolver {
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
    ) throws -> Solution {
        let state = SolverState(problem, from: start)
        let penalty = problem.penalty
        let (n, p, outputs) = (state.n, state.p, state.outputs)
        let size = p * outputs
        let lipschitz = state.centeredLipschitz(bound: state.datafit.curvatureBound)
        // Beside an intercept, which is refitted after every step, only centred columns count.
        let means = problem.hasIntercept ? state.means : []
        var bound =
            (state.datafit.curvatureBound ?? state.nullCurvature)
            * state.design.largestCurvature(weights: state.datafit.weights, means: means)
        bound = max(bound, .leastNormalMagnitude)
        var direction = [Double](repeating: 0, count: size)
        var (mapping, previous, step) = (direction, direction, direction)
        var previousSquare = 0.0
        let trial = Buffer<Double>(uninitialized: n * outputs)
        let change = Buffer<Double>(uninitialized: n * outputs)
        let bend = Buffer<Double>(uninitialized: n * outputs)
        let x = state.beta.pointer
        let centring = [Double](repeating: 0, count: outputs)
        var now = state.certificate(penalty, lipschitz: lipschitz.pointer, tolerance: tolerance)
        var iteration = 0

        func value(_ beta: [Double]) -> Double {
            state.fill(trial.pointer, beta, state.intercepts)
            return state.datafit.value(trial.pointer) + penalty.value(beta, columns: p, outputs: outputs)
        }
        while !now.stops && iteration < maximumIterations {
            iteration += 1
            let objective = now.objective
            let rounding = 1e-14 * abs(objective)
            // The proximal step, shortened until it keeps what it promises.
            var square = 0.0
            var stepValue = 0.0
            for _ in 0..<60 {
                square = 0
                for i in 0..<size {
                    step[i] = penalty.proximal(x[i] - state.gradient.pointer[i] / bound, step: 1 / bound, i % p)
                    mapping[i] = (x[i] - step[i]) * bound
                    square += mapping[i] * mapping[i]
                }
                stepValue = value(step)
                if stepValue <= objective - 1e-4 * square / bound + rounding { break }
                bound *= 2
            }
            // Conjugate directions where the sign does not change.
            var (stableSquare, overlap, descent, curvature) = (0.0, 0.0, 0.0, 0.0)
            for i in 0..<size where x[i] * step[i] > 0 {
                stableSquare += mapping[i] * mapping[i]
                overlap += mapping[i] * previous[i]
            }
            let gamma = previousSquare > 0 ? max(0, (stableSquare - overlap) / previousSquare) : 0
            for i in 0..<size {
                direction[i] = x[i] * step[i] > 0 ? gamma * direction[i] - mapping[i] : 0
                descent -= direction[i] * mapping[i]
            }
            if !(descent > 0) {
                for i in 0..<size { direction[i] = x[i] * step[i] > 0 ? -mapping[i] : 0 }
                descent = stableSquare
            }
            previous = mapping
            previousSquare = stableSquare
            state.fill(change.pointer, direction, centring)
            state.datafit.curvature(state.eta.pointer, into: bend.pointer)
            for k in 0..<outputs {
                // The intercept takes up the mean.
                var (mean, total) = (0.0, 0.0)
                if state.hasIntercept {
                    for i in k * n..<(k + 1) * n {
                        mean += bend.pointer[i] * change.pointer[i]
                        total += bend.pointer[i]
                    }
                    mean = total > 0 ? mean / total : 0
                }
                for i in k * n..<(k + 1) * n {
                    let distance = change.pointer[i] - mean
                    curvature += bend.pointer[i] * distance * distance
                }
            }
            for i in 0..<size where direction[i] != 0 {
                curvature += penalty.bend(x[i], i % p) * direction[i] * direction[i]
            }
            var taken = step
            if curvature > 0, descent > 0 {
                let length = descent / curvature
                var point = step
                for i in 0..<size where direction[i] != 0 {
                    point[i] = x[i] + length * direction[i]
                    if point[i] * x[i] < 0 { point[i] = 0 }
                }
                if value(point) <= min(stepValue, objective - 1e-4 * square / bound) + rounding { taken = point }
            }
            if taken == step { previousSquare = 0 }
            x.update(from: taken, count: size)
            state.updateEta()
            now = state.certificate(penalty, lipschitz: lipschitz.pointer, tolerance: tolerance)
            if iteration % 20 == 0 {
                try progress.report(
                    "fitting", iteration, of: maximumIterations, "relative gap \(now.certificate.relative)")
            }
        }
        return state.solution(
            now.certificate, now.objective, passes: iteration + 1, converged: now.isReached)
    }
}
