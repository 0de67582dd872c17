import LacunaTensor

/// Cyclic proximal descent over groups of columns, with growing working sets and Anderson acceleration: the group lasso,
/// the sparse group lasso, several tasks or classes that share their columns.
///
/// Each block moves by a proximal step with the block's own curvature, the largest eigenvalue of its Gram matrix.
public struct BlockCoordinateDescent: GroupSolver {
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

    public func solve<F: Datafit, P: GroupPenalty>(
        _ problem: Problem<F, P>, from start: Solution? = nil
    ) throws -> Solution {
        guard let bound = problem.datafit.curvatureBound else {
            throw LacunaError.unsupported(
                file: nil, what: "a datafit of unbounded curvature with BlockCoordinateDescent; use FISTA")
        }
        let state = SolverState(problem, from: start)
        let lipschitz = state.centeredLipschitz(bound: bound)
        var curvatures = [Double](repeating: -1, count: problem.penalty.groups.count)
        var pass = 0
        while true {
            let now = state.certificate(problem.penalty, lipschitz: lipschitz.pointer, tolerance: tolerance)
            pass += 1
            if now.stops || pass > maximumPasses {
                return state.solution(now.certificate, now.objective, passes: pass, converged: now.isReached)
            }
            try progress.report("fitting", pass, of: maximumPasses, "relative gap \(now.certificate.relative)")
            let (working, worst) = workingSet(state, problem.penalty)
            for g in working where curvatures[g] < 0 {
                curvatures[g] =
                    bound
                    * state.design.largestEigenvalue(
                        of: problem.penalty.groups.members[g], weights: state.datafit.weights)
            }
            var sum = 0.0
            for i in 0..<state.p * state.outputs { sum += abs(state.beta.pointer[i]) }
            let floor = 1e-3 * state.nullLoss / max(state.nullGradient, .leastNormalMagnitude)
            let final =
                problem.penalty.hasDual
                ? 0.3 * tolerance * state.nullLoss / max(sum, floor, .leastNormalMagnitude)
                : 0.3 * tolerance * state.nullGradient
            descend(state, problem.penalty, working, curvatures, tolerance: max(final, 0.3 * worst))
        }
    }

    private func block(_ source: UnsafePointer<Double>, _ members: [Int], p: Int, outputs: Int) -> [Double] {
        (0..<outputs).flatMap { k in members.map { source[k * p + $0] } }
    }

    /// Groups that are not 0, and the worst of the others, as many again.
    private func workingSet<F: Datafit, P: GroupPenalty>(
        _ state: SolverState<F>, _ penalty: P
    ) -> (groups: [Int], worst: Double) {
        var (active, rest): ([Int], [(score: Double, group: Int)]) = ([], [])
        var worst = 0.0
        for (g, members) in penalty.groups.members.enumerated() {
            let own = block(state.beta.pointer, members, p: state.p, outputs: state.outputs)
            let slope = block(state.gradient.pointer, members, p: state.p, outputs: state.outputs)
            let distance = penalty.distance(own, gradient: slope, count: own.count, group: g)
            worst = max(worst, distance)
            if own.contains(where: { $0 != 0 }) {
                active.append(g)
            } else if distance > 0 {
                rest.append((distance, g))
            }
        }
        rest.sort { ($0.score, $1.group) > ($1.score, $0.group) }
        return ((active + rest.prefix(max(16, active.count)).map(\.group)).sorted(), worst)
    }

    private func descend<F: Datafit, P: GroupPenalty>(
        _ state: SolverState<F>, _ penalty: P, _ working: [Int], _ curvatures: [Double], tolerance: Double
    ) {
        let (n, p, outputs) = (state.n, state.p, state.outputs)
        let coordinates = working.flatMap { g in
            (0..<outputs).flatMap { k in penalty.groups.members[g].map { k * p + $0 } }
        }
        var anderson = AndersonAcceleration(depth: max(acceleration, 1))
        for sweep in 0..<maximumSweeps {
            state.refineIntercepts(1)
            state.refreshSlope()
            var worst = 0.0
            for g in working where curvatures[g] > 0 {
                let members = penalty.groups.members[g]
                let columns = members.map { UInt32($0) }
                let old = block(state.beta.pointer, members, p: p, outputs: outputs)
                var slope = [Double](repeating: 0, count: old.count)
                slope.withUnsafeMutableBufferPointer { slope in
                    for k in 0..<outputs {
                        state.design.correlations(
                            columns, with: state.slope.pointer + k * n,
                            into: slope.baseAddress! + k * members.count)
                    }
                }
                worst = max(worst, penalty.distance(old, gradient: slope, count: old.count, group: g))
                let step = 1 / curvatures[g]
                var new = zip(old, slope).map { $0 - step * $1 }
                penalty.proximal(&new, count: new.count, step: step, group: g)
                var moved = false
                for k in 0..<outputs {
                    for (m, j) in members.enumerated() {
                        let i = k * members.count + m
                        if new[i] == old[i] { continue }
                        state.move(j, output: k, by: new[i] - old[i])
                        state.beta.pointer[k * p + j] = new[i]
                        moved = true
                    }
                }
                if moved { state.settle() }
            }
            if worst <= tolerance { break }
            if acceleration > 0 {
                let iterate = coordinates.map { state.beta.pointer[$0] } + state.intercepts
                if let better = anderson.extrapolated(after: iterate) {
                    tryExtrapolation(state, penalty, coordinates, better)
                }
            }
            if sweep % 64 == 63 { state.updateEta() }
        }
        state.updateEta()
    }

    private func tryExtrapolation<F: Datafit, P: GroupPenalty>(
        _ state: SolverState<F>, _ penalty: P, _ coordinates: [Int], _ better: [Double]
    ) {
        let before = coordinates.map { state.beta.pointer[$0] }
        let intercepts = state.intercepts
        func objective() -> Double {
            state.datafit.value(state.eta.pointer)
                + penalty.value(state.beta.pointer, columns: state.p, outputs: state.outputs)
        }
        let old = objective()
        for (i, value) in zip(coordinates, better) { state.beta.pointer[i] = value }
        state.intercepts = Array(better[coordinates.count...])
        state.updateEta()
        if !(objective() < old) {
            for (i, value) in zip(coordinates, before) { state.beta.pointer[i] = value }
            state.intercepts = intercepts
            state.updateEta()
        }
        state.refreshSlope()
    }
}
