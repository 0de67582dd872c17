import LacunaTensor

/// What solvers that walk along single coordinates or blocks keep: coefficients, predictors and row gradients, in step.
final class SolverState<F: Datafit> {
    let design: any Design
    let datafit: F
    let hasIntercept: Bool
    let (n, p, outputs): (Int, Int, Int)
    let beta, eta, slope, gradient: Buffer<Double>
    var intercepts: [Double]
    /// Loss of the best constant predictor beyond that of a perfect fit, and the largest gradient there.
    private(set) var nullLoss = 0.0
    private(set) var nullGradient = 0.0
    private var bestDual = -Double.infinity
    /// The best dual value, less what rounding can have added to it.
    private var certainDual = -Double.infinity
    private let evenWeight: Double?
    private let columns: Conditioning
    /// Intercepts of the problem as it was given, from those here; or the other way round.
    private let restored: ([Double], UnsafePointer<Double>, Bool) -> [Double]

    init<P: Penalty>(_ problem: Problem<F, P>, from start: Solution?) {
        let core = problem.core
        design = core.design
        datafit = core.datafit
        columns = core.columns
        restored = { core.intercepts($0, $1, toCore: $2) }
        hasIntercept = problem.hasIntercept
        (n, p, outputs) = (design.rows, design.columns, datafit.outputs)
        beta = Buffer(repeating: 0, count: p * outputs)
        eta = Buffer(repeating: 0, count: n * outputs)
        slope = Buffer(uninitialized: n * outputs)
        gradient = Buffer(uninitialized: p * outputs)
        intercepts = [Double](repeating: 0, count: outputs)
        let weights = datafit.weights
        evenWeight = datafit.isQuadratic && weights.allSatisfy { $0 == weights[0] } ? weights[0] : nil
        refineIntercepts(100)
        if datafit.curvatureBound == nil {
            datafit.curvature(eta.pointer, into: slope.pointer)
            nullCurvature = (0..<n * outputs).reduce(0) { $0 + slope.pointer[$1] } / Double(max(outputs, 1))
        }
        refreshSlope()
        nullLoss = datafit.value(eta.pointer) + datafit.conjugate(gradient: slope.pointer, scale: 0)
        refreshGradient()
        for i in 0..<p * outputs { nullGradient = max(nullGradient, abs(gradient.pointer[i])) }
        take(start)
    }

    /// Goes to a solution of the problem as it was given.
    func take(_ solution: Solution?) {
        guard let solution else { return }
        beta.pointer.update(repeating: 0, count: p * outputs)
        for (i, value) in zip(solution.support, solution.values) { beta.pointer[i] = value }
        intercepts = restored(solution.intercepts, beta.pointer, true)
        updateEta()
        refreshSlope()
    }

    /// Leaves ``slope`` to be refreshed.
    func refineIntercepts(_ steps: Int) {
        guard hasIntercept else { return }
        datafit.refineIntercepts(&intercepts, eta: eta.pointer, work: slope.pointer, maximumSteps: steps)
    }

    func refreshSlope() { datafit.gradient(eta.pointer, into: slope.pointer) }

    func refreshGradient() {
        for k in 0..<outputs {
            design.correlations(nil, with: slope.pointer + k * n, into: gradient.pointer + k * p)
        }
    }

    func updateEta() { fill(eta.pointer, beta.pointer, intercepts) }

    func fill(_ eta: UnsafeMutablePointer<Double>, _ beta: UnsafePointer<Double>, _ intercepts: [Double]) {
        for k in 0..<outputs {
            (eta + k * n).update(repeating: intercepts[k], count: n)
            for j in 0..<p where beta[k * p + j] != 0 {
                design.add(beta[k * p + j], column: j, to: eta + k * n)
            }
        }
    }

    /// Moves one coefficient and what depends on it; the row gradients only if that is cheap.
    func move(_ j: Int, output k: Int, by delta: Double) {
        beta.pointer[k * p + j] += delta
        design.add(delta, column: j, to: eta.pointer + k * n)
        if let evenWeight { design.add(delta * evenWeight, column: j, to: slope.pointer + k * n) }
    }

    /// Row gradients after moves.
    func settle() { if evenWeight == nil { refreshSlope() } }

    /// `bound · Σ_i w_i x_ij²`, the curvature along a column while the intercept stands still; for nil that of the first
    /// model.
    func lipschitz(bound: Double?) -> Buffer<Double> {
        let factor = bound ?? nullCurvature
        let result = Buffer<Double>(uninitialized: p)
        for j in 0..<p { result.pointer[j] = columns.rawSquaredNorm(j) * factor }
        return result
    }

    /// The curvature along a column and its intercept together.
    func centeredLipschitz(bound: Double?) -> Buffer<Double> {
        let (factor, norms) = (bound ?? nullCurvature, columns.squaredNorms)
        if factor == 1 { return norms }
        let result = Buffer<Double>(uninitialized: p)
        for j in 0..<p { result.pointer[j] = norms.pointer[j] * factor }
        return result
    }

    /// The mean curvature of a row at the model of intercepts alone.
    private(set) var nullCurvature = 1.0

    /// Weighted means of the columns.
    var means: [Double] { columns.means }

    /// The certificate at the present coefficients, whose gradients are made fresh; whether to stop at it, and whether it is
    /// within the tolerance.
    ///
    /// - Parameter lipschitz: ``centeredLipschitz(bound:)``.
    func certificate<P: Penalty>(
        _ penalty: P, lipschitz: UnsafePointer<Double>, tolerance: Double
    ) -> (certificate: Certificate, objective: Double, stops: Bool, isReached: Bool) {
        refineIntercepts(100)
        refreshSlope()
        refreshGradient()
        let paid = penalty.value(beta.pointer, columns: p, outputs: outputs)
        let objective = datafit.value(eta.pointer) + paid
        let rounding = RoundingBound(
            slope.pointer, eta: eta.pointer, weights: datafit.weights, outputs: outputs, hasIntercept: hasIntercept)
        guard penalty.hasDual else {
            let distance = penalty.distance(
                beta.pointer, gradient: gradient.pointer, lipschitz: lipschitz, columns: p, outputs: outputs)
            let error = (0..<p).reduce(0) { max($0, rounding.gradientError(columns.rawSquaredNorm($1))) }
            let scale = nullGradient > 0 ? nullGradient : 1
            let verdict = RoundingBound.verdict(distance / scale, error: error / scale, tolerance: tolerance)
            let whole = max(distance, error)
            return (
                .stationarity(distance: whole, relative: whole / scale), objective, verdict.stops, verdict.isReached
            )
        }
        func dual(_ gradient: UnsafePointer<Double>) -> Double {
            let scale = penalty.dualScale(gradient, columns: p, outputs: outputs)
            return -datafit.conjugate(gradient: slope.pointer, scale: scale, at: eta.pointer)
                - penalty.conjugate(gradient, scale: scale, columns: p, outputs: outputs)
        }
        let value = dual(gradient.pointer)
        var (reach, count) = (intercepts.reduce(0) { $0 + abs($1) }, 0)
        for i in 0..<p * outputs where beta.pointer[i] != 0 {
            reach += abs(beta.pointer[i]) * columns.rawSquaredNorm(i % p).squareRoot()
            count += 1
        }
        let error = rounding.valueError(
            reach: reach, count: count,
            magnitude: datafit.magnitude(eta.pointer) + abs(datafit.conjugate(gradient: slope.pointer, scale: 0)) + paid
        )
        // The dual value for gradients as far off as they may be.
        let widened = Buffer<Double>(uninitialized: p * outputs)
        for i in 0..<p * outputs {
            let g = gradient.pointer[i]
            let e = rounding.gradientError(columns.rawSquaredNorm(i % p))
            widened.pointer[i] = g < 0 ? g - e : g + e
        }
        bestDual = max(bestDual, value)
        certainDual = max(certainDual, min(value, dual(widened.pointer)) - error)
        let scale = nullLoss > 0 ? nullLoss : 1
        let gap = max(0, objective - bestDual)
        let certain = max(0, objective + error - certainDual)
        let verdict = RoundingBound.verdict(gap / scale, error: (certain - gap) / scale, tolerance: tolerance)
        return (
            .dualityGap(absolute: certain, relative: certain / scale), objective, verdict.stops, verdict.isReached
        )
    }

    func solution(_ certificate: Certificate, _ objective: Double, passes: Int, converged: Bool) -> Solution {
        Solution(
            beta: beta.pointer, columns: p, outputs: outputs, intercepts: restored(intercepts, beta.pointer, false),
            objective: objective, certificate: certificate, passes: passes, converged: converged)
    }
}
