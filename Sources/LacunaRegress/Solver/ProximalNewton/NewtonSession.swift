import LacunaTensor

/// What ``ProximalNewton`` keeps between the solutions of a path.
final class NewtonSession<P: SeparablePenalty> {
    let settings: ProximalNewton
    let design: any Design
    let datafit: any Datafit
    let hasIntercept: Bool
    let (n, p): (Int, Int)

    let beta, eta, slope, gradient: Buffer<Double>
    /// Of the rows, for datafits where they change.
    lazy var curvature = Buffer<Double>(uninitialized: n)
    /// Row and column gradients at the last pass over all columns: a dual point that later strengths are screened by. Those of columns,
    /// of which there may be millions, are rounded away from 0, which screens a little less, and in units of the largest.
    let referenceSlope: Buffer<Double>
    private let roundedGradient: Buffer<Float>
    private var gradientUnit = 1.0
    /// How often in a row that point was of no use.
    var staleness = 0
    var intercepts: [Double]
    let model = QuadraticModel()
    /// Whether each column is in the model, or in the working set.
    var isWorking: [Bool]
    /// Whether `slope` and `gradient` belong to the present coefficients, for all columns.
    var isFresh = false
    var passes = 1
    /// Loss of the best constant predictor beyond that of a perfect fit, by which gaps are judged, and the largest
    /// gradient there.
    var nullLoss = 0.0
    var nullGradient = 0.0
    /// What is known of each column. Nothing that can be had from it is kept beside it: there may be millions of columns.
    private let conditioning: Conditioning
    /// `Σ_i w_i (x_ij - m_j)²`, or without means where there is no intercept.
    let norms: Buffer<Double>
    /// ``norms`` times the largest curvature of a row's loss, or that of the first model where there is no bound.
    private(set) var lipschitz: Buffer<Double>
    /// Intercepts of the problem as it was given, from those here; or the other way round.
    private let restored: ([Double], UnsafePointer<Double>, Bool) -> [Double]

    init<F: Datafit>(_ settings: ProximalNewton, _ problem: Problem<F, P>, from start: Solution?) throws {
        guard problem.datafit.outputs == 1 else {
            throw LacunaError.unsupported(
                file: nil, what: "several outputs with ProximalNewton; use BlockCoordinateDescent or FISTA")
        }
        self.settings = settings
        let core = problem.core
        design = core.design
        datafit = core.datafit
        hasIntercept = problem.hasIntercept
        conditioning = core.columns
        norms = conditioning.squaredNorms
        restored = { core.intercepts($0, $1, toCore: $2) }
        (n, p) = (design.rows, design.columns)
        beta = Buffer(repeating: 0, count: p)
        eta = Buffer(repeating: 0, count: n)
        slope = Buffer(uninitialized: n)
        gradient = Buffer(uninitialized: p)
        referenceSlope = Buffer(uninitialized: n)
        roundedGradient = Buffer(uninitialized: p)
        isWorking = [Bool](repeating: false, count: p)
        let weights = problem.datafit.weights
        let perColumn = (core.design as? SparseDesign).map { $0.count / max($0.columns, 1) } ?? .max
        let isShort = problem.penalty.isConvex && problem.datafit.isQuadratic && perColumn < 128
        short = isShort ? core.design as? SparseDesign : nil
        evenWeight = weights.allSatisfy { $0 == weights[0] } ? weights.first : nil
        intercepts = [0]
        lipschitz = norms
        if hasIntercept { refineIntercepts(100) }
        refresh(nil)
        let bend = datafit.curvatureBound ?? meanCurvature()
        if bend != 1 {
            lipschitz = Buffer(uninitialized: p)
            for j in 0..<p { lipschitz.pointer[j] = bend * norms.pointer[j] }
        }
        nullLoss = datafit.value(eta.pointer) + datafit.conjugate(gradient: slope.pointer, scale: 0)
        isFresh = true
        nullGradient = (0..<p).reduce(0) { max($0, abs(gradient.pointer[$1])) }
        if let start {
            for (j, value) in zip(start.support, start.values) { beta.pointer[j] = value }
            intercepts = restored(start.intercepts, beta.pointer, true)
            updateEta()
            isFresh = false
        }
    }

    private func meanCurvature() -> Double {
        datafit.curvature(eta.pointer, into: curvature.pointer)
        return (0..<n).reduce(0) { $0 + curvature.pointer[$1] }
    }

    func updateEta() {
        eta.pointer.update(repeating: intercepts[0], count: n)
        for j in 0..<p where beta.pointer[j] != 0 { design.add(beta.pointer[j], column: j, to: eta.pointer) }
    }

    /// Leaves ``slope`` to be computed anew.
    func refineIntercepts(_ steps: Int) {
        datafit.refineIntercepts(&intercepts, eta: eta.pointer, work: slope.pointer, maximumSteps: steps)
    }

    /// Gradients of the rows and of the columns, or of those that are alive.
    func refresh(_ alive: [UInt32]?) {
        datafit.gradient(eta.pointer, into: slope.pointer)
        guard let alive else {
            design.correlations(nil, with: slope.pointer, into: gradient.pointer)
            referenceSlope.pointer.update(from: slope.pointer, count: n)
            keepReference()
            return
        }
        // The model's columns too, alive or not: its steps move all of them.
        for some in [alive, model.columns] {
            var values = [Double](repeating: 0, count: some.count)
            design.correlations(some, with: slope.pointer, into: &values)
            for (j, value) in zip(some, values) { gradient.pointer[Int(j)] = value }
        }
    }

    private func keepReference() {
        let (g, rounded) = (gradient.pointer, roundedGradient.pointer)
        let largest = (0..<p).reduce(0) { max($0, abs(g[$1])) }
        gradientUnit = largest > 0 && largest.isFinite ? largest : 1
        for j in 0..<p {
            let size = Float(abs(g[j]) / gradientUnit).nextUp
            rounded[j] = g[j] < 0 ? -size : size
        }
    }

    /// The gradient of a column at the last pass over all of them, or a little more.
    @inline(__always)
    func referenceGradient(_ j: Int) -> Double { Double(roundedGradient.pointer[j]) * gradientUnit }

    /// `Σ_i w_i x_ij²`.
    @inline(__always)
    func rawNorm(_ j: Int) -> Double { conditioning.rawSquaredNorm(j) }

    /// The working set of datafits whose model changes at each step.
    var columns: [UInt32] = []

    /// The design, if a column's rows are so few that a Gram matrix is a detour.
    let short: SparseDesign?
    /// The weight of every row, where it is the same; folds of a cross-validation weigh rows by 0.
    let evenWeight: Double?

    // MARK: Solving

    @_specialize(where P == L1)
    @_specialize(where P == WeightedL1)
    @_specialize(where P == ElasticNet)
    @_specialize(where P == MCP)
    @_specialize(where P == SCAD)
    func solve(_ penalty: P, candidates: P?, screens: Bool) throws -> Solution {
        let firstPass = passes - (isFresh ? 1 : 0)
        var alive: [UInt32]?
        var candidates = candidates
        var bestDual = -Double.infinity
        // The best dual value, less what rounding can have added to it.
        var certainDual = -Double.infinity
        // How exact the steps are, of what the certificate seems to need, and what was asked of the last ones.
        var (exactness, asked) = (0.3, 0.0)
        // Once the dual point of a pass no longer serves for the next strength, as in the dense part of a path, looking at
        // all columns at the end of each strength is what the next one begins with.
        if !screens && !isFresh && staleness < 2 {
            alive = remaining(penalty)
            staleness = alive == nil ? staleness + 1 : 0
        }
        while true {
            if !isFresh {
                if hasIntercept && !datafit.isQuadratic { refineIntercepts(20) }
                refresh(alive)
                passes += 1
            }
            isFresh = alive == nil
            if isFresh && !screens && staleness < 2 { alive = remaining(penalty) }
            let norm = lengthAndValue(penalty)
            let loss = datafit.value(eta.pointer)
            let objective = loss + norm.value
            let violation = largestViolation(penalty, alive)
            let rounding = RoundingBound(
                slope.pointer, eta: eta.pointer, weights: datafit.weights, outputs: 1, hasIntercept: hasIntercept)
            var dual = (value: -Double.infinity, scale: 1.0)
            let certificate: Certificate
            let verdict: (stops: Bool, isReached: Bool)
            if penalty.hasDual {
                dual = dualValue(penalty, alive, nil)
                let error = rounding.valueError(
                    reach: norm.reach + abs(intercepts[0]), count: norm.count,
                    magnitude: datafit.magnitude(eta.pointer)
                        + abs(datafit.conjugate(gradient: slope.pointer, scale: 0)) + norm.value)
                bestDual = max(bestDual, dual.value)
                certainDual = max(certainDual, min(dual.value, dualValue(penalty, alive, rounding).value) - error)
                let scale = nullLoss > 0 ? nullLoss : 1
                let gap = max(0, objective - bestDual)
                let certain = max(0, objective + error - certainDual)
                certificate = .dualityGap(absolute: certain, relative: certain / scale)
                verdict = RoundingBound.verdict(
                    gap / scale, error: (certain - gap) / scale, tolerance: settings.tolerance)
            } else {
                let scale = nullGradient > 0 ? nullGradient : 1
                let error = rounding.gradientError(largestNorm)
                certificate = .stationarity(
                    distance: max(violation, error), relative: max(violation, error) / scale)
                verdict = RoundingBound.verdict(
                    violation / scale, error: error / scale, tolerance: settings.tolerance)
            }
            if verdict.stops || passes - firstPass >= settings.maximumPasses {
                return Solution(
                    beta: beta.pointer, columns: p, outputs: 1, intercepts: restored(intercepts, beta.pointer, false),
                    objective: objective, certificate: certificate, passes: passes - firstPass,
                    converged: verdict.isReached)
            }
            try settings.progress.report(
                "fitting", passes - firstPass, of: settings.maximumPasses, "relative gap \(certificate.relative)")
            if screens, penalty.hasDual, let bound = datafit.curvatureBound {
                let radius = (2 * bound * max(0, objective - dual.value)).squareRoot()
                if let left = screened(penalty, alive, radius: radius, scale: dual.scale) { alive = left }
            }
            let hasAll = try extendWorkingSet(penalty, candidates ?? penalty, alive)
            // With the strong rule's candidates the working set is complete as a rule, and worth an exact solution.
            let isComplete = candidates != nil
            candidates = nil
            // It needs more where penalties are small: the dual point is the gradient of the rows scaled until that of the
            // columns is feasible, and a violation that is much beside the penalty makes it another point altogether.
            if violation <= asked { exactness *= 0.1 }
            // What the certificate needs, and no more than this pass can tell.
            let final =
                penalty.hasDual
                ? exactness * settings.tolerance * max(nullLoss, .leastNormalMagnitude)
                    / max(norm.sum, 1e-3 * nullLoss / max(nullGradient, .leastNormalMagnitude), .leastNormalMagnitude)
                : exactness * settings.tolerance * nullGradient
            asked = final
            // On short columns a sweep costs next to nothing beside a pass; so does a model of few columns beside a pass that
            // is read from memory, and is worth an exact solution if it lacks none.
            let isSmall = norm.count * norm.count < 4 * p && design.byteCount > 1 << 23
            let isCheap = short != nil || (!datafit.isQuadratic && isSmall && hasAll)
            let share = isCheap ? 1e-3 : 0.1
            try descend(
                penalty, tolerance: isComplete ? final : max(final, min(share * violation, 1e-2 * nullGradient)))
            isFresh = false
        }
    }

    lazy var largestNorm: Double = conditioning.largestRawSquaredNorm

    /// `Σ |β_j|`, what the penalty asks, how many coefficients are not 0, and `Σ |β_j|` with the lengths of columns.
    func lengthAndValue(_ penalty: P) -> (sum: Double, value: Double, count: Int, reach: Double) {
        var (sum, value, count, reach) = (0.0, 0.0, 0, 0.0)
        let b = beta.pointer
        for j in 0..<p where b[j] != 0 {
            sum += abs(b[j])
            reach += abs(b[j]) * rawNorm(j).squareRoot()
            count += 1
            value += penalty.value(b[j], j)
        }
        return (sum, value, count, reach)
    }

    @inline(__always)
    func forEachAlive(_ alive: [UInt32]?, _ body: (Int) -> Void) {
        if let alive {
            for j in alive { body(Int(j)) }
        } else {
            for j in 0..<p { body(j) }
        }
    }
}
