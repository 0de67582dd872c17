import LacunaTensor

/// What solvers that walk along single coordinates or blocks keep: coefficients, predictors and row gradients, in step.
final class SolverState<F: Datafit> {
    let design: any Design
    let datafit: F
    let hasIntercept: Bool
    let (n, p, outputs): (Int, Int, Int)
    let beta, eta, slope, work, gradient: Buffer<Double>
    var intercepts: [Double]
    /// Loss of the best constant predictor beyond that of a perfect fit, and the largest gradient there.
    private(set) var nullLoss = 0.0
    private(set) var nullGradient = 0.0
    var bestDual = -Double.infinity
    private let evenWeight: Double?

    init<P: Penalty>(_ problem: Problem<F, P>, from start: Solution?) {
        design = problem.design
        datafit = problem.datafit
        hasIntercept = problem.hasIntercept
        (n, p, outputs) = (design.rows, design.columns, datafit.outputs)
        beta = Buffer(repeating: 0, count: p * outputs)
        eta = Buffer(repeating: 0, count: n * outputs)
        slope = Buffer(uninitialized: n * outputs)
        work = Buffer(uninitialized: 2 * n * outputs)
        gradient = Buffer(uninitialized: p * outputs)
        intercepts = [Double](repeating: 0, count: outputs)
        let weights = datafit.weights
        evenWeight = datafit.isQuadratic && weights.allSatisfy { $0 == weights[0] } ? weights[0] : nil
        refineIntercepts(100)
        refreshSlope()
        nullLoss = datafit.value(eta.pointer) + datafit.conjugate(gradient: slope.pointer, scale: 0)
        refreshGradient()
        for i in 0..<p * outputs { nullGradient = max(nullGradient, abs(gradient.pointer[i])) }
        if let start {
            for (i, value) in zip(start.support, start.values) { beta.pointer[i] = value }
            intercepts = start.intercepts
            updateEta()
            refreshSlope()
        }
    }

    func refineIntercepts(_ steps: Int) {
        guard hasIntercept else { return }
        datafit.refineIntercepts(&intercepts, eta: eta.pointer, work: work.pointer, maximumSteps: steps)
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

    /// `bound · Σ_i w_i x_ij²`.
    func lipschitz(bound: Double) -> Buffer<Double> {
        let result = Buffer<Double>(uninitialized: p)
        design.squaredNorms(weights: datafit.weights, into: result.pointer)
        for j in 0..<p { result.pointer[j] *= bound }
        return result
    }

    /// The certificate at the present coefficients, whose gradients are made fresh.
    func certificate<P: Penalty>(_ penalty: P, lipschitz: UnsafePointer<Double>) -> (Certificate, objective: Double) {
        refineIntercepts(100)
        refreshSlope()
        refreshGradient()
        let objective =
            datafit.value(eta.pointer) + penalty.value(beta.pointer, columns: p, outputs: outputs)
        guard penalty.hasDual else {
            let distance = penalty.distance(
                beta.pointer, gradient: gradient.pointer, lipschitz: lipschitz, columns: p, outputs: outputs)
            return (
                .stationarity(distance: distance, relative: nullGradient > 0 ? distance / nullGradient : distance),
                objective
            )
        }
        let scale = penalty.dualScale(gradient.pointer, columns: p, outputs: outputs)
        let dual =
            -datafit.conjugate(gradient: slope.pointer, scale: scale)
            - penalty.conjugate(gradient.pointer, scale: scale, columns: p, outputs: outputs)
        bestDual = max(bestDual, dual)
        let gap = max(0, objective - bestDual)
        return (.dualityGap(absolute: gap, relative: nullLoss > 0 ? gap / nullLoss : gap), objective)
    }

    func solution(_ certificate: Certificate, _ objective: Double, passes: Int, converged: Bool) -> Solution {
        Solution(
            beta: beta.pointer, columns: p, outputs: outputs, intercepts: intercepts, objective: objective,
            certificate: certificate, passes: passes, converged: converged)
    }
}
