import LacunaTensor

/// The solver of first choice: Newton's method for the datafit, a working set of columns, and exact steps on it.
///
/// Each pass reads the whole design once: for the gradient, the certificate, and the columns that violate optimality.
/// The worst of those join the working set, on which the quadratic model of the datafit with the penalty is minimised
/// through its Gram matrix (``QuadraticModel``). For least squares one model is the problem itself and its Gram matrix
/// only grows, also along a path; other datafits rebuild it and check each step by its decrease.
///
/// Gap safe screening discards columns for good as soon as the certificate allows; along a path the sequential strong
/// rule proposes the next working set. Nothing rests on the strong rule: every pass checks all columns that are left.
///
/// Tyler Johnson, Carlos Guestrin, "Blitz: A Principled Meta-Algorithm for Scaling Sparse Optimization", ICML 2015; Mathurin
/// Massias, Alexandre Gramfort, Joseph Salmon, "Celer: a Fast Solver for the Lasso with Dual Extrapolation", arXiv
/// 1802.07481; Eugene Ndiaye, Olivier Fercoq, Alexandre Gramfort, Joseph Salmon, "Gap Safe Screening Rules for Sparsity
/// Enforcing Penalties", arXiv 1611.05780; Robert Tibshirani et al., "Strong Rules for Discarding Predictors in
/// Lasso-type Problems", arXiv 1011.2234.
public struct ProximalNewton: SeparableSolver {
    /// Bound of ``Certificate/relative``.
    public var tolerance: Double
    /// Bound on the passes over the design for one solution.
    public var maximumPasses: Int
    /// Newton steps between two passes, for datafits that are not quadratic.
    public var maximumSteps: Int
    public var progress: (any ProgressReporter)?

    public init(
        tolerance: Double = 1e-7, maximumPasses: Int = 200, maximumSteps: Int = 12,
        progress: (any ProgressReporter)? = nil
    ) {
        precondition(tolerance > 0 && maximumPasses > 0 && maximumSteps > 0)
        self.tolerance = tolerance
        self.maximumPasses = maximumPasses
        self.maximumSteps = maximumSteps
        self.progress = progress
    }

    public func solve<F: Datafit, P: SeparablePenalty>(
        _ problem: Problem<F, P>, from start: Solution? = nil
    ) throws -> Solution {
        try NewtonSession(self, problem, from: start).solve(problem.penalty, candidates: nil, screens: true)
    }

    public func path<F: Datafit, P: SeparablePenalty & ScalablePenalty>(
        _ problem: Problem<F, P>, strengths: [Double], each: (Int, Solution) throws -> Bool = { _, _ in true }
    ) throws -> [Solution] {
        let session = try NewtonSession(self, problem, from: nil)
        var solutions: [Solution] = []
        var previous: Double?
        for (index, strength) in strengths.enumerated() {
            let penalty = problem.penalty.with(strength: strength)
            // Strong rule: what would be active if gradients moved by the change of strength.
            let candidates = previous.map { problem.penalty.with(strength: max(0, 2 * strength - $0)) }
            solutions.append(try session.solve(penalty, candidates: candidates, screens: index == 0))
            previous = strength
            if try !each(index, solutions[index]) { break }
        }
        return solutions
    }
}

/// What ``ProximalNewton`` keeps between the solutions of a path.
final class NewtonSession<P: SeparablePenalty> {
    private let settings: ProximalNewton
    private let design: any Design
    private let datafit: any Datafit
    private let hasIntercept: Bool
    private let (n, p): (Int, Int)

    private let beta, eta, slope, curvature, work, gradient: Buffer<Double>
    /// Row and column gradients at the last pass over all columns: a dual point that later strengths are screened by.
    private let referenceSlope, referenceGradient: Buffer<Double>
    /// How often in a row that point was of no use.
    private var staleness = 0
    private var intercepts: [Double]
    private let model = QuadraticModel()
    /// Place of each column in the model, or -1.
    private var place: [Int32]
    /// Whether `slope` and `gradient` belong to the present coefficients, for all columns.
    private var isFresh = false
    private var passes = 1
    /// Loss of the best constant predictor beyond that of a perfect fit, by which gaps are judged, and the largest
    /// gradient there.
    private var nullLoss = 0.0
    private var nullGradient = 0.0
    private var knownNorms: Buffer<Double>?

    init<F: Datafit>(_ settings: ProximalNewton, _ problem: Problem<F, P>, from start: Solution?) throws {
        guard problem.datafit.outputs == 1 else {
            throw LacunaError.unsupported(
                file: nil, what: "several outputs with ProximalNewton; use BlockCoordinateDescent or FISTA")
        }
        self.settings = settings
        design = problem.design
        datafit = problem.datafit
        hasIntercept = problem.hasIntercept
        (n, p) = (design.rows, design.columns)
        beta = Buffer(repeating: 0, count: p)
        eta = Buffer(repeating: 0, count: n)
        slope = Buffer(uninitialized: n)
        curvature = Buffer(uninitialized: n)
        work = Buffer(uninitialized: 2 * n)
        gradient = Buffer(uninitialized: p)
        referenceSlope = Buffer(uninitialized: n)
        referenceGradient = Buffer(uninitialized: p)
        place = [Int32](repeating: -1, count: p)
        let weights = problem.datafit.weights
        let perColumn = (problem.design as? SparseDesign).map { $0.count / max($0.columns, 1) } ?? .max
        usesResiduals =
            problem.penalty.isConvex && problem.datafit.isQuadratic && perColumn < 128
            && weights.allSatisfy { $0 == weights[0] }
        intercepts = [0]
        if hasIntercept {
            datafit.refineIntercepts(&intercepts, eta: eta.pointer, work: work.pointer, maximumSteps: 100)
        }
        refresh(nil)
        nullLoss = datafit.value(eta.pointer) + datafit.conjugate(gradient: slope.pointer, scale: 0)
        isFresh = true
        nullGradient = (0..<p).reduce(0) { max($0, abs(gradient.pointer[$1])) }
        if let start {
            for (j, value) in zip(start.support, start.values) { beta.pointer[j] = value }
            intercepts = start.intercepts
            updateEta()
            isFresh = false
        }
    }

    private func updateEta() {
        eta.pointer.update(repeating: intercepts[0], count: n)
        for j in 0..<p where beta.pointer[j] != 0 { design.add(beta.pointer[j], column: j, to: eta.pointer) }
    }

    /// Gradients of the rows and of the columns, or of those that are alive.
    private func refresh(_ alive: [UInt32]?) {
        datafit.gradient(eta.pointer, into: slope.pointer)
        guard let alive else {
            design.correlations(nil, with: slope.pointer, into: gradient.pointer)
            referenceSlope.pointer.update(from: slope.pointer, count: n)
            referenceGradient.pointer.update(from: gradient.pointer, count: p)
            return
        }
        var values = [Double](repeating: 0, count: alive.count)
        design.correlations(alive, with: slope.pointer, into: &values)
        for (j, value) in zip(alive, values) { gradient.pointer[Int(j)] = value }
    }

    /// `Σ_i w_i (x_ij - m_j)²`, or without means where there is no intercept.
    private var norms: Buffer<Double> {
        if let knownNorms { return knownNorms }
        if !hasIntercept { return rawNorms }
        let result = rawNorms.copy()
        let means = design.means(weights: datafit.weights)
        for j in 0..<p { result.pointer[j] = max(0, result.pointer[j] - means[j] * means[j]) }
        knownNorms = result
        return result
    }

    /// `Σ_i w_i x_ij²`.
    private lazy var rawNorms: Buffer<Double> = {
        let result = Buffer<Double>(uninitialized: p)
        design.squaredNorms(weights: datafit.weights, into: result.pointer)
        return result
    }()

    /// Whether a column's rows are so few that a Gram matrix is a detour.
    private let usesResiduals: Bool

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
        // Once the dual point of a pass no longer serves for the next strength, as in the dense part of a path, looking at
        // all columns at the end of each strength is what the next one begins with.
        if !screens && !isFresh && staleness < 2 {
            alive = remaining(penalty)
            staleness = alive == nil ? staleness + 1 : 0
        }
        while true {
            if !isFresh {
                if hasIntercept && !datafit.isQuadratic {
                    datafit.refineIntercepts(&intercepts, eta: eta.pointer, work: work.pointer, maximumSteps: 20)
                }
                refresh(alive)
                passes += 1
            }
            isFresh = alive == nil
            if isFresh && !screens && staleness < 2 { alive = remaining(penalty) }
            let norm = lengthAndValue(penalty, alive)
            let loss = datafit.value(eta.pointer)
            let objective = loss + norm.value
            let violation = largestViolation(penalty, alive)
            var certificate = Certificate.stationarity(
                distance: violation, relative: nullGradient > 0 ? violation / nullGradient : violation)
            var dual = (value: -Double.infinity, scale: 1.0)
            if penalty.hasDual {
                dual = dualValue(penalty, alive)
                bestDual = max(bestDual, dual.value)
                let gap = max(0, objective - bestDual)
                certificate = .dualityGap(absolute: gap, relative: nullLoss > 0 ? gap / nullLoss : gap)
            }
            let isDone = certificate.relative <= settings.tolerance
            if isDone || passes - firstPass >= settings.maximumPasses {
                return Solution(
                    beta: beta.pointer, columns: p, outputs: 1, intercepts: intercepts, objective: objective,
                    certificate: certificate, passes: passes - firstPass, converged: isDone)
            }
            try settings.progress.report(
                "fitting", passes - firstPass, of: settings.maximumPasses, "relative gap \(certificate.relative)")
            if screens, penalty.hasDual, let bound = datafit.curvatureBound {
                let radius = (2 * bound * max(0, objective - dual.value)).squareRoot()
                let left = screened(penalty, alive, radius: radius, scale: dual.scale)
                if let left, left.count < (alive?.count ?? p) * 3 / 4 { alive = left }
            }
            extendWorkingSet(penalty, candidates ?? penalty, alive)
            // With the strong rule's candidates the working set is complete as a rule, and worth an exact solution.
            let isComplete = candidates != nil
            candidates = nil
            // What the certificate needs, and no more than this pass can tell.
            let final =
                penalty.hasDual
                ? 0.3 * settings.tolerance * max(nullLoss, .leastNormalMagnitude)
                    / max(norm.sum, 1e-3 * nullLoss / max(nullGradient, .leastNormalMagnitude), .leastNormalMagnitude)
                : 0.3 * settings.tolerance * nullGradient
            // On short columns a sweep costs next to nothing beside a pass.
            let share = usesResiduals ? 1e-3 : 0.1
            descend(
                penalty, tolerance: isComplete ? final : max(final, min(share * violation, 1e-2 * nullGradient)))
            isFresh = false
        }
    }

    private func lengthAndValue(_ penalty: P, _ alive: [UInt32]?) -> (sum: Double, value: Double) {
        var (sum, value) = (0.0, 0.0)
        let b = beta.pointer
        for j in 0..<p where b[j] != 0 {
            sum += abs(b[j])
            value += penalty.value(b[j], j)
        }
        return (sum, value)
    }

    @inline(__always)
    private func forEachAlive(_ alive: [UInt32]?, _ body: (Int) -> Void) {
        if let alive {
            for j in alive { body(Int(j)) }
        } else {
            for j in 0..<p { body(j) }
        }
    }

    private func largestViolation(_ penalty: P, _ alive: [UInt32]?) -> Double {
        // Only penalties without a slope at 0 look at the curvature.
        let lipschitz = penalty.isConvex ? gradient.pointer : norms.pointer
        let (b, g) = (beta.pointer, gradient.pointer)
        var largest = 0.0
        forEachAlive(alive) { j in
            largest = max(largest, penalty.distance(b[j], gradient: g[j], lipschitz: lipschitz[j], j))
        }
        return largest
    }

    private func dualValue(_ penalty: P, _ alive: [UInt32]?) -> (value: Double, scale: Double) {
        let g = gradient.pointer
        var scale = 1.0
        forEachAlive(alive) { scale = min(scale, penalty.dualScale(-g[$0], $0)) }
        var conjugate = 0.0
        if penalty.screeningLevel(0) == nil {
            forEachAlive(alive) { conjugate += penalty.conjugate(-scale * g[$0], $0) }
        }
        return (-datafit.conjugate(gradient: slope.pointer, scale: scale) - conjugate, scale)
    }

    /// The columns that may be active at the optimum; nil if the penalty allows no such statement. What is discarded is 0
    /// from here on.
    private func screened(_ penalty: P, _ alive: [UInt32]?, radius: Double, scale: Double) -> [UInt32]? {
        guard penalty.screeningLevel(0) != nil else { return nil }
        let norms = roots.pointer
        var left: [UInt32] = []
        var changed = false
        forEachAlive(alive) { j in
            let level = penalty.screeningLevel(j) ?? .infinity
            if scale * abs(gradient.pointer[j]) + radius * norms[j] >= level * (1 - 1e-12) {
                left.append(UInt32(j))
            } else if beta.pointer[j] != 0 {
                beta.pointer[j] = 0
                changed = true
            }
        }
        if changed { updateEta() }
        return left
    }

    /// The columns that a later strength of a path has to look at, by the dual point of the last pass over all of them;
    /// nil if those are so many that another such pass is better, or the penalty allows no such statement.
    private func remaining(_ penalty: P) -> [UInt32]? {
        guard penalty.hasDual, penalty.screeningLevel(0) != nil, let bound = datafit.curvatureBound else { return nil }
        let g = referenceGradient.pointer
        var scale = 1.0
        for j in 0..<p { scale = min(scale, penalty.dualScale(-g[j], j)) }
        let objective = datafit.value(eta.pointer) + lengthAndValue(penalty, nil).value
        let gap = max(0, objective + datafit.conjugate(gradient: referenceSlope.pointer, scale: scale))
        let radius = (2 * bound * gap).squareRoot()
        let norms = roots.pointer
        var left: [UInt32] = []
        for j in 0..<p {
            let level = penalty.screeningLevel(j) ?? .infinity
            if beta.pointer[j] != 0 || scale * abs(g[j]) + radius * norms[j] >= level * (1 - 1e-12) {
                left.append(UInt32(j))
            }
        }
        return left.count < p / 3 ? left : nil
    }

    /// Roots of ``norms``.
    private lazy var roots: Buffer<Double> = {
        let result = Buffer<Double>(uninitialized: p)
        let norms = norms.pointer
        for j in 0..<p { result.pointer[j] = norms[j].squareRoot() }
        return result
    }()

    // MARK: The working set

    private func extendWorkingSet(_ penalty: P, _ candidates: P, _ alive: [UInt32]?) {
        let (b, g) = (beta.pointer, gradient.pointer)
        let lipschitz = penalty.isConvex ? gradient.pointer : norms.pointer
        var support = 0
        var scores: [Float] = []
        var violators: [UInt32] = []
        forEachAlive(alive) { j in
            if b[j] != 0 { support += 1 }
            if place[j] >= 0 { return }
            let score = b[j] != 0 ? .infinity : candidates.distance(0, gradient: g[j], lipschitz: lipschitz[j], j)
            if score > 0 {
                violators.append(UInt32(j))
                scores.append(Float(score))
            }
        }
        let room = max(128, support)
        if violators.count > room {
            var (greater, equal) = (0, 0)
            let threshold = kernels.kth_largest(scores, scores.count, room, &greater, &equal)
            violators = zip(violators, scores).compactMap { $1 >= threshold ? $0 : nil }
        }
        if model.count > 2 * (support + violators.count) + 256 {
            let keep = model.columns.map { b[Int($0)] != 0 }
            for (j, kept) in zip(model.columns, keep) where !kept { place[Int(j)] = -1 }
            model.compact(keep)
            for (k, j) in model.columns.enumerated() { place[Int(j)] = Int32(k) }
        }
        if usesResiduals || !datafit.isQuadratic {
            if usesResiduals && columns.count > 2 * (support + violators.count) + 256 {
                for j in columns { place[Int(j)] = -1 }
                columns = columns.filter { b[Int($0)] != 0 }
            }
            columns = (usesResiduals ? columns : model.columns) + violators
            for (k, j) in columns.enumerated() { place[Int(j)] = Int32(k) }
        } else {
            model.append(
                violators, of: design, curvature: datafit.weights, total: 1, centered: hasIntercept)
            for (k, j) in model.columns.enumerated() { place[Int(j)] = Int32(k) }
        }
    }

    /// The working set of datafits whose model changes at each step.
    private var columns: [UInt32] = []

    private func descend(_ penalty: P, tolerance: Double) {
        if !datafit.isQuadratic {
            descendGeneral(penalty, tolerance: tolerance)
        } else if usesResiduals {
            descendResiduals(penalty, tolerance: tolerance)
        } else {
            descendQuadratic(penalty, tolerance: tolerance)
        }
    }

    /// Coordinate descent on the rows instead of a Gram matrix, for columns so short that touching their rows costs less
    /// than a row of the matrix. Ends with extrapolated steps like ``CoordinateDescent``.
    private func descendResiduals(_ penalty: P, tolerance: Double) {
        let (b, r, norms) = (beta.pointer, slope.pointer, rawNorms.pointer)
        let weight = datafit.weights[0]
        var anderson = AndersonAcceleration()
        datafit.gradient(eta.pointer, into: r)
        for _ in 0..<2000 {
            var worst = 0.0
            for column in columns {
                let j = Int(column)
                let curvature = norms[j]
                if curvature < 1e-290 { continue }
                let g = design.correlation(j, with: r)
                let old = b[j]
                if old == 0 && penalty.distance(0, gradient: g, lipschitz: curvature, j) == 0 { continue }
                worst = max(worst, penalty.distance(old, gradient: g, lipschitz: curvature, j))
                let new = penalty.proximal(old - g / curvature, step: 1 / curvature, j)
                if new == old { continue }
                b[j] = new
                design.add((new - old) * weight, column: j, to: r)
            }
            if hasIntercept {
                var total = 0.0
                for i in 0..<n { total += r[i] }
                for i in 0..<n { r[i] -= total * weight }
                worst = max(worst, abs(total))
            }
            if worst <= tolerance { break }
            let iterate = columns.map { b[Int($0)] }
            if let better = anderson.extrapolated(after: iterate) {
                func objective() -> Double {
                    intercepts[0] = 0
                    updateEta()
                    if hasIntercept {
                        datafit.refineIntercepts(
                            &intercepts, eta: eta.pointer, work: work.pointer, maximumSteps: 1)
                    }
                    var sum = datafit.value(eta.pointer)
                    for column in columns where b[Int(column)] != 0 {
                        sum += penalty.value(b[Int(column)], Int(column))
                    }
                    return sum
                }
                let before = objective()
                for (column, value) in zip(columns, better) { b[Int(column)] = value }
                if !(objective() < before) {
                    for (column, value) in zip(columns, iterate) { b[Int(column)] = value }
                    _ = objective()
                }
                datafit.gradient(eta.pointer, into: r)
            }
        }
        finishQuadratic()
    }

    private func descendQuadratic(_ penalty: P, tolerance: Double) {
        let w = model.count
        var z = model.columns.map { beta.pointer[Int($0)] }
        var g = model.columns.map { gradient.pointer[Int($0)] }
        model.minimize(penalty, &z, gradient: &g, tolerance: tolerance)
        for k in 0..<w { beta.pointer[Int(model.columns[k])] = z[k] }
        finishQuadratic()
    }

    /// Predictors afresh, so that rounding does not add up, and the intercept that suits them.
    private func finishQuadratic() {
        intercepts[0] = 0
        updateEta()
        if hasIntercept {
            datafit.refineIntercepts(&intercepts, eta: eta.pointer, work: work.pointer, maximumSteps: 1)
        }
    }

    private func descendGeneral(_ penalty: P, tolerance: Double) {
        let w = columns.count
        if w == 0 { return }
        let old = columns.map { beta.pointer[Int($0)] }
        var (z, g) = (old, [Double](repeating: 0, count: w))
        let direction = Buffer<Double>(uninitialized: n)
        let trial = Buffer<Double>(uninitialized: n)
        for step in 0..<settings.maximumSteps {
            if hasIntercept && step > 0 {
                datafit.refineIntercepts(&intercepts, eta: eta.pointer, work: work.pointer, maximumSteps: 20)
            }
            datafit.gradient(eta.pointer, into: slope.pointer)
            datafit.curvature(eta.pointer, into: curvature.pointer)
            // A floor keeps the model strictly convex where a loss is flat.
            var total = 0.0
            for i in 0..<n {
                curvature.pointer[i] = max(curvature.pointer[i], 1e-9 * datafit.weights[i])
                total += curvature.pointer[i]
            }
            design.correlations(columns, with: slope.pointer, into: &g)
            model.removeAll()
            model.append(columns, of: design, curvature: curvature.pointer, total: total, centered: hasIntercept)
            let distance = model.distance(penalty, z, g)
            if distance <= tolerance { break }
            let start = (z: z, g: g)
            model.minimize(penalty, &z, gradient: &g, tolerance: max(0.3 * tolerance, 1e-3 * distance))
            // The direction in η, and what the model promises.
            direction.pointer.update(repeating: 0, count: n)
            var (promise, shift) = (0.0, 0.0)
            for k in 0..<w where z[k] != start.z[k] {
                let (j, delta) = (Int(columns[k]), z[k] - start.z[k])
                design.add(delta, column: j, to: direction.pointer)
                shift -= model.means[k] * delta
                promise += start.g[k] * delta + penalty.value(z[k], j) - penalty.value(start.z[k], j)
            }
            if hasIntercept { for i in 0..<n { direction.pointer[i] += shift } }
            let before = datafit.value(eta.pointer)
            var length = 1.0
            var accepted = false
            for _ in 0..<30 {
                for i in 0..<n { trial.pointer[i] = eta.pointer[i] + length * direction.pointer[i] }
                var change = datafit.value(trial.pointer) - before
                for k in 0..<w where z[k] != start.z[k] {
                    let j = Int(columns[k])
                    let point = start.z[k] + length * (z[k] - start.z[k])
                    change += penalty.value(point, j) - penalty.value(start.z[k], j)
                }
                if change <= 1e-4 * length * promise + 1e-15 * abs(before) {
                    accepted = true
                    break
                }
                length /= 2
            }
            if !accepted {
                z = start.z
                break
            }
            for k in 0..<w { z[k] = length == 1 ? z[k] : start.z[k] + length * (z[k] - start.z[k]) }
            eta.pointer.update(from: trial.pointer, count: n)
            intercepts[0] += length * shift
        }
        for k in 0..<w { beta.pointer[Int(columns[k])] = z[k] }
        updateEta()
    }
}
