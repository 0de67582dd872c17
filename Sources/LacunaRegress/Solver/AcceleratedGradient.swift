import LacunaTensor

/// A penalty that is `λ|x|` at 0 and bends down from there: an L1 penalty plus a smooth concave part.
public protocol FoldedConcavePenalty: SeparablePenalty, ScalablePenalty {
    /// How fast the slope of the concave part falls at most: a Lipschitz constant of ``concaveSlope(_:)``.
    var concavity: Double { get }
}

extension FoldedConcavePenalty {
    /// The derivative of the concave part, `penalty(x) - λ|x|`.
    func concaveSlope(_ x: Double, _ j: Int) -> Double {
        x == 0 ? 0 : slope(x, j) - (x > 0 ? strength : -strength)
    }
}

extension SCAD: FoldedConcavePenalty {
    public var concavity: Double { shape == .infinity ? 0 : 1 / (shape - 1) }
}

extension MCP: FoldedConcavePenalty {
    public var concavity: Double { shape == .infinity ? 0 : 1 / shape }
}

/// Accelerated gradient steps for SCAD and MCP: the concave part counts as smooth, so that every step is a soft threshold.
///
/// Three sequences: `b` runs ahead, `b_ag` follows by safe steps, gradients are taken at `b_md` between them,
///
///     α ← 2 / (1 + √(1 + 4/α²)),   b_md = (1 - α) b_ag + α b
///     b    ← soft(b - (t/α) g, (t/α) λ)
///     b_ag ← soft(b_md - t g, t λ)
///
/// with `t = 0.99/L` and L a bound on the curvature of the loss and of the concave part, whichever is larger. α begins anew
/// at 1 when the change of `b_md` shrank, three steps after the last time at the earliest. On a path the sequential strong
/// rule proposes the columns; the optimality conditions of all others are checked and violators admitted.
///
/// Kai Yang, Masoud Asgharian, Sahir Bhatnagar, "Accelerated Gradient Methods for Sparse Statistical Learning with Nonconvex
/// Penalties", arXiv 2009.10629.
public struct AcceleratedGradient: Sendable {
    /// Bound of ``Certificate/relative``.
    public var tolerance: Double
    /// Steps of one solution at most.
    public var maximumIterations: Int
    /// False for plain proximal gradient steps of the same length.
    public var accelerates: Bool
    /// Told how far the work is; its error, as when a user cancels, ends it.
    public var progress: (any ProgressReporter)?

    /// - Parameter tolerance: Above 0, as is the number of iterations.
    public init(
        tolerance: Double = 1e-7, maximumIterations: Int = 20_000, accelerates: Bool = true,
        progress: (any ProgressReporter)? = nil
    ) {
        require(tolerance > 0 && maximumIterations > 0)
        self.tolerance = tolerance
        self.maximumIterations = maximumIterations
        self.accelerates = accelerates
        self.progress = progress
    }

    /// - Parameter each: Called with the number of each step and the objective after it, which costs a product with the
    ///   design; false ends the iteration there.
    /// - Throws: ``LacunaError/unsupported(file:what:)`` for several outputs and datafits of unbounded curvature;
    ///   ``LacunaError/cancelled``.
    public func solve<F: Datafit, P: FoldedConcavePenalty>(
        _ problem: Problem<F, P>, from start: Solution? = nil, each: ((Int, Double) -> Bool)? = nil
    ) throws -> Solution {
        let session = try AcceleratedSession(self, problem, from: start)
        return try session.solve(problem.penalty, candidates: nil, each: each)
    }

    /// Solutions for descending strengths, each starting from the one before on the columns that the strong rule keeps:
    /// those with `|x_jᵀ g| >= 2 λ_new - λ_old`.
    public func path<F: Datafit, P: FoldedConcavePenalty>(
        _ problem: Problem<F, P>, strengths: [Double]
    ) throws -> [Solution] {
        let session = try AcceleratedSession(self, problem, from: nil)
        var solutions: [Solution] = []
        var previous = RegularizationPath.maximumStrength(problem)
        for strength in strengths {
            let threshold = 2 * strength - previous
            solutions.append(
                try session.solve(
                    problem.penalty.with(strength: strength), candidates: session.columns(above: threshold), each: nil))
            previous = strength
        }
        return solutions
    }
}

/// What ``AcceleratedGradient`` keeps between the solutions of a path.
///
/// Columns count as centred by their weighted means where there is an intercept, which changes the intercept alone and
/// keeps it out of the curvature of the rest.
private final class AcceleratedSession<F: Datafit, P: FoldedConcavePenalty> {
    let settings: AcceleratedGradient
    let state: SolverState<F>
    let means: [Double]
    let curvature: Double
    let norms: Buffer<Double>

    init(_ settings: AcceleratedGradient, _ problem: Problem<F, P>, from start: Solution?) throws {
        guard problem.datafit.outputs == 1 else {
            throw LacunaError.unsupported(file: nil, what: "several outputs with AcceleratedGradient; use FISTA")
        }
        guard let bound = problem.datafit.curvatureBound else {
            throw LacunaError.unsupported(
                file: nil, what: "a datafit of unbounded curvature with AcceleratedGradient; use ProximalNewton")
        }
        self.settings = settings
        state = SolverState(problem, from: start)
        norms = state.centeredLipschitz(bound: bound)
        means = problem.hasIntercept ? state.means : []
        curvature = bound * state.design.largestCurvature(weights: state.datafit.weights, means: means)
    }

    /// Columns whose gradient at the present coefficients is at least `threshold`, and those that are not 0.
    func columns(above threshold: Double) -> [UInt32] {
        state.refreshSlope()
        state.refreshGradient()
        return (0..<state.p).filter { abs(state.gradient.pointer[$0]) >= threshold || state.beta.pointer[$0] != 0 }
            .map { UInt32($0) }
    }

    func solve(_ penalty: P, candidates: [UInt32]?, each: ((Int, Double) -> Bool)?) throws -> Solution {
        var columns = candidates ?? (0..<state.p).map { UInt32($0) }
        var used = 0
        while true {
            used += try descend(penalty, columns, bound: settings.maximumIterations - used, each: each)
            let now = state.certificate(penalty, lipschitz: norms.pointer, tolerance: settings.tolerance)
            var extra: [UInt32] = []
            if !now.stops && columns.count < state.p {
                var present = [Bool](repeating: false, count: state.p)
                for j in columns { present[Int(j)] = true }
                extra = (0..<state.p).filter { !present[$0] && abs(state.gradient.pointer[$0]) > penalty.strength }
                    .map { UInt32($0) }
            }
            if extra.isEmpty || used >= settings.maximumIterations {
                return state.solution(now.certificate, now.objective, passes: used, converged: now.isReached)
            }
            columns += extra
        }
    }

    /// Returns the number of steps.
    private func descend(
        _ penalty: P, _ columns: [UInt32], bound: Int, each: ((Int, Double) -> Bool)?
    ) throws -> Int {
        let (n, w) = (state.n, columns.count)
        let level = penalty.strength
        let step = 0.99 / max(curvature, penalty.concavity, .leastNormalMagnitude)
        var ahead = columns.map { state.beta.pointer[Int($0)] }
        var (safe, middle) = (ahead, ahead)
        var gradient = [Double](repeating: 0, count: w)
        var alpha = 1.0
        var previousChange = Double.infinity
        var sinceRestart = 0
        func soft(_ x: Double, _ threshold: Double) -> Double {
            x > threshold ? x - threshold : x < -threshold ? x + threshold : 0
        }
        for iteration in 1...max(bound, 1) {
            if settings.accelerates {
                alpha = sinceRestart == 0 ? 1 : 2 / (1 + (1 + 4 / (alpha * alpha)).squareRoot())
            }
            var change = 0.0
            for k in 0..<w {
                let next = settings.accelerates ? (1 - alpha) * safe[k] + alpha * ahead[k] : safe[k]
                change += (next - middle[k]) * (next - middle[k])
                middle[k] = next
            }
            setPredictors(columns, middle)
            state.refineIntercepts(state.datafit.isQuadratic ? 1 : 20)
            state.refreshSlope()
            state.design.correlations(columns, with: state.slope.pointer, into: &gradient)
            if !means.isEmpty {
                var total = 0.0
                for i in 0..<n { total += state.slope.pointer[i] }
                for k in 0..<w { gradient[k] -= means[Int(columns[k])] * total }
            }
            // The conditions at the point where the gradient was taken.
            var distance = 0.0
            for k in 0..<w {
                let j = Int(columns[k])
                distance = max(
                    distance, penalty.distance(middle[k], gradient: gradient[k], lipschitz: norms.pointer[j], j))
            }
            if distance <= 0.5 * settings.tolerance * state.nullGradient {
                safe = middle
                finish(columns, safe)
                return iteration
            }
            for k in 0..<w {
                let slope = gradient[k] + penalty.concaveSlope(middle[k], Int(columns[k]))
                if settings.accelerates {
                    ahead[k] = soft(ahead[k] - step / alpha * slope, step / alpha * level)
                }
                safe[k] = soft(middle[k] - step * slope, step * level)
            }
            sinceRestart += 1
            if settings.accelerates && change < previousChange && sinceRestart >= 3 {
                sinceRestart = 0
            }
            previousChange = change
            if let each, !each(iteration, objective(penalty, columns, safe)) { break }
            if iteration % 50 == 0 {
                try settings.progress.report(
                    "fitting", iteration, of: bound, "distance \(distance / max(state.nullGradient, 1e-300))")
            }
            if iteration == bound { break }
        }
        finish(columns, safe)
        return bound
    }

    private func objective(_ penalty: P, _ columns: [UInt32], _ beta: [Double]) -> Double {
        setPredictors(columns, beta)
        state.refineIntercepts(state.datafit.isQuadratic ? 1 : 20)
        var sum = state.datafit.value(state.eta.pointer)
        for (j, value) in zip(columns, beta) where value != 0 { sum += penalty.value(value, Int(j)) }
        return sum
    }

    /// Predictors of centred columns.
    private func setPredictors(_ columns: [UInt32], _ beta: [Double]) {
        var shift = 0.0
        state.eta.pointer.update(repeating: state.intercepts[0], count: state.n)
        for (j, value) in zip(columns, beta) where value != 0 {
            state.design.add(value, column: Int(j), to: state.eta.pointer)
            if !means.isEmpty { shift += value * means[Int(j)] }
        }
        if shift != 0 { for i in 0..<state.n { state.eta.pointer[i] -= shift } }
    }

    private func finish(_ columns: [UInt32], _ beta: [Double]) {
        for (j, value) in zip(columns, beta) {
            state.beta.pointer[Int(j)] = value
            if !means.isEmpty { state.intercepts[0] -= value * means[Int(j)] }
        }
        state.updateEta()
        state.refineIntercepts(100)
    }
}
