import LacunaTensor

/// Block coordinate descent on any loss with any penalty that is a sum over coordinates: which coordinates make the next block is chosen
/// anew at every step, by what they promise, and the block moves by a proximal step or by a proximal Newton step.
///
/// With `g` the gradient of the loss, a step on the block `B` minimises `g_B·d + ½ dᵀ M d + Σ_B penalty(β_i + d_i)`, where `M` is
/// `L_B I` for a bound `L_B` of the block's curvature, or the block's Hessian itself; then the step is shortened until the objective
/// falls by a share of what the model promised. Intercepts are refitted after every step.
///
/// Each step reads the whole design for the gradient, so that these rules pay where blocks are large or the gradient is cheap; a working set
/// (``ProximalNewton``) is faster on usual tables. What is special here is that steps can be watched (``trace(_:iterations:)``): once
/// the coordinates that are 0 are identified, Newton steps on blocks that hold the others converge superlinearly.
///
/// Julie Nutini, Issam Laradji, Mark Schmidt, "Let's Make Block Coordinate Descent Converge Faster: Faster Greedy Rules,
/// Message-Passing, Active-Set Complexity, and Superlinear Convergence", arXiv 1712.08859.
public struct ProximalBlockDescent: SeparableSolver {
    /// How a block is chosen. `L_i` is the curvature of the loss along a coordinate.
    public enum Rule: String, Sendable, CaseIterable {
        /// Coordinates drawn at random.
        case random
        /// One coordinate after another.
        case cyclic
        /// The farthest from stationarity: the largest `|g_i|` beyond what the penalty holds.
        case gaussSouthwell = "GS"
        /// The same over `√L_i`.
        case gaussSouthwellLipschitz = "GSL"
        /// The largest decrease that a proximal step of the coordinate alone is sure of.
        case gaussSouthwellQuadratic = "GSQ"
    }

    /// How a block moves.
    public enum Update: String, Sendable, CaseIterable {
        /// A proximal step of length `1 / L_B`, where `L_B` bounds the largest eigenvalue of the block's Hessian everywhere.
        case gradient = "Lb"
        /// The same with an `L_B` that is doubled until it bounds the loss where the step leads. Each coordinate remembers how that compared
        /// with the largest `L_i` of its block, and the next search begins there.
        case lineSearched = "LA"
        /// A proximal Newton step by the block's Hessian, halved until the objective falls.
        case newton = "Hb"
    }

    /// Which coordinates move next.
    public var rule: Rule
    /// How they move.
    public var update: Update
    /// Coordinates of a block, at least 1.
    public var blockSize: Int
    /// Of the random rule.
    public var seed: UInt64
    /// Bound of ``Certificate/relative``.
    public var tolerance: Double
    /// Steps of one solution at most.
    public var maximumIterations: Int
    /// Told how far the work is; its error, as when a user cancels, ends it.
    public var progress: (any ProgressReporter)?

    /// - Parameter blockSize: At least 1, as is the number of iterations; the tolerance is above 0.
    public init(
        rule: Rule = .gaussSouthwellQuadratic, update: Update = .newton, blockSize: Int = 32, seed: UInt64 = 0,
        tolerance: Double = 1e-7, maximumIterations: Int = 100_000, progress: (any ProgressReporter)? = nil
    ) {
        require(blockSize > 0 && tolerance > 0 && maximumIterations > 0)
        (self.rule, self.update, self.blockSize, self.seed) = (rule, update, blockSize, seed)
        (self.tolerance, self.maximumIterations, self.progress) = (tolerance, maximumIterations, progress)
    }

    /// Steps that were watched.
    public struct Trace: Sendable {
        /// Where they led.
        public let solution: Solution
        /// The objective after each.
        public let values: [Double]
        /// Steps after which the coefficients at 0 no longer changed.
        public let identification: Int
    }

    /// - Throws: ``LacunaError/cancelled``; ``LacunaError/unsupported(file:what:)`` for ``Update/gradient`` with a datafit of
    ///   unbounded curvature.
    /// - Complexity: A step takes as long as the product of the design with a vector, and O(rows · block²) for the block.
    public func solve<F: Datafit, P: SeparablePenalty>(
        _ problem: Problem<F, P>, from start: Solution? = nil
    ) throws -> Solution {
        let run = try BlockRun(self, problem, start)
        while true {
            let now = run.state.certificate(problem.penalty, lipschitz: run.centred.pointer, tolerance: tolerance)
            if now.stops || run.steps >= maximumIterations {
                return run.state.solution(
                    now.certificate, now.objective, passes: run.steps + 1, converged: now.isReached)
            }
            try progress.report(
                "fitting", run.steps, of: maximumIterations, "relative gap \(now.certificate.relative)")
            // A certificate costs about as much as a step.
            for _ in 0..<min(10, maximumIterations - run.steps) { try run.step() }
        }
    }

    /// Takes `iterations` (0 or more) steps from 0, whatever the certificate says.
    ///
    /// - Throws: As ``solve(_:from:)``.
    public func trace<F: Datafit, P: SeparablePenalty>(_ problem: Problem<F, P>, iterations: Int) throws -> Trace {
        require(iterations >= 0)
        let run = try BlockRun(self, problem, nil)
        var values: [Double] = []
        for iteration in 0..<iterations {
            if iteration % 100 == 0 { try progress.report("fitting", iteration, of: iterations) }
            try run.step()
            values.append(run.objective)
        }
        let now = run.state.certificate(problem.penalty, lipschitz: run.centred.pointer, tolerance: tolerance)
        return Trace(
            solution: run.state.solution(
                now.certificate, now.objective, passes: iterations + 1, converged: now.isReached), values: values,
            identification: run.lastChange)
    }
}

/// One run: where it is, and what it remembers.
private final class BlockRun<F: Datafit, P: SeparablePenalty> {
    let state: SolverState<F>
    /// Curvatures beside an intercept, for certificates.
    let centred: Buffer<Double>
    private let settings: ProximalBlockDescent
    private let penalty: P
    private let bound: Double?
    /// `L_i` while intercepts stand still [columns].
    private let curvatures: Buffer<Double>
    /// Coordinates that the loss depends on.
    private let movable: [Int]
    /// The largest ratio of `L_B` to the largest `L_i` of the blocks that a coordinate was in.
    private var ratios: [Double]
    private var generator: SeededGenerator
    private let trial, change, bend: Buffer<Double>
    private(set) var steps = 0
    private(set) var lastChange = 0

    init(_ settings: ProximalBlockDescent, _ problem: Problem<F, P>, _ start: Solution?) throws {
        bound = problem.datafit.curvatureBound
        if bound == nil && settings.update == .gradient {
            throw LacunaError.unsupported(
                file: nil,
                what: "steps by a bound of the curvature for a datafit that has none; use .lineSearched or .newton")
        }
        let state = SolverState(problem, from: start)
        self.state = state
        self.settings = settings
        penalty = problem.penalty
        centred = state.centeredLipschitz(bound: bound)
        let curvatures = state.lipschitz(bound: bound)
        self.curvatures = curvatures
        movable = (0..<state.p * state.outputs).filter { curvatures.pointer[$0 % state.p] > 0 }
        ratios = [Double](repeating: 1, count: state.p * state.outputs)
        generator = SeededGenerator(seed: settings.seed, stream: 120)
        let size = state.n * state.outputs
        trial = Buffer(uninitialized: size)
        change = Buffer(uninitialized: size)
        bend = Buffer(uninitialized: size)
    }

    var objective: Double {
        state.datafit.value(state.eta.pointer)
            + penalty.value(state.beta.pointer, columns: state.p, outputs: state.outputs)
    }

    func step() throws {
        let block = chosen()
        steps += 1
        if block.isEmpty { return }
        let old = block.map { state.beta.pointer[$0] }
        let slope = block.map { state.gradient.pointer[$0] }
        var found: (values: [Double], shifts: [Double])?
        switch settings.update {
        case .gradient: found = (proximal(block, old, slope, curvature: largestCurvature(block)), [])
        case .lineSearched: break
        case .newton: found = try newton(block, old, slope)
        }
        let step = found ?? (searched(block, old, slope), [])
        for (k, i) in block.enumerated() where step.values[k] != old[k] {
            state.move(i % state.p, output: i / state.p, by: step.values[k] - old[k])
            state.beta.pointer[i] = step.values[k]
            if (old[k] == 0) != (step.values[k] == 0) { lastChange = steps }
        }
        for (k, shift) in step.shifts.enumerated() where shift != 0 {
            state.intercepts[k] += shift
            for i in k * state.n..<(k + 1) * state.n { state.eta.pointer[i] += shift }
        }
        // Rounding in the predictors does not add up for long.
        if steps % 256 == 0 { state.updateEta() }
        state.refineIntercepts(1)
        state.refreshSlope()
    }

    // MARK: The choice

    private func chosen() -> [Int] {
        let size = settings.blockSize
        switch settings.rule {
        case .random, .cyclic:
            let places =
                settings.rule == .random
                ? BlockChoice.random(size, of: movable.count, using: &generator)
                : BlockChoice.cyclic(size, of: movable.count, iteration: steps)
            let block = places.map { movable[$0] }
            for i in block {
                state.gradient.pointer[i] = state.design.correlation(
                    i % state.p, with: state.slope.pointer + i / state.p * state.n)
            }
            return block
        case .gaussSouthwell, .gaussSouthwellLipschitz, .gaussSouthwellQuadratic:
            state.refreshGradient()
            let scores = movable.map(score)
            return BlockChoice.top(size, of: scores).filter { scores[$0] > 0 }.map { movable[$0] }
        }
    }

    private func score(_ i: Int) -> Double {
        let j = i % state.p
        let (x, g, l) = (state.beta.pointer[i], state.gradient.pointer[i], curvatures.pointer[j])
        if settings.rule == .gaussSouthwellQuadratic {
            let next = penalty.proximal(x - g / l, step: 1 / l, j)
            let d = next - x
            if d == 0 { return 0 }
            // Of small steps rounding leaves nothing; a convex penalty is sure of this much.
            let least = penalty.isConvex ? l * d * d / 2 : .leastNormalMagnitude
            return max(least, penalty.value(x, j) - penalty.value(next, j) - d * (g + l * d / 2))
        }
        let distance = penalty.distance(x, gradient: g, lipschitz: l, j)
        return settings.rule == .gaussSouthwell ? distance : distance / l.squareRoot()
    }

    // MARK: The step

    private func proximal(_ block: [Int], _ old: [Double], _ slope: [Double], curvature l: Double) -> [Double] {
        block.indices.map { penalty.proximal(old[$0] - slope[$0] / l, step: 1 / l, block[$0] % state.p) }
    }

    /// Bounds the block's Hessian, which is that of the squared loss times the bound for each output.
    private func largestCurvature(_ block: [Int]) -> Double {
        let byOutput = Dictionary(grouping: block) { $0 / state.p }.values
        let largest = byOutput.map { members in
            state.design.largestEigenvalue(of: members.map { $0 % state.p }, weights: state.datafit.weights)
        }
        return max((bound ?? 1) * (largest.max() ?? 0), .leastNormalMagnitude)
    }

    /// The predictors after moving the block, in `trial`.
    private func setTrial(_ share: Double) {
        for i in 0..<state.n * state.outputs {
            trial.pointer[i] = state.eta.pointer[i] + share * change.pointer[i]
        }
    }

    private func setChange(_ block: [Int], _ moves: [Double], _ shifts: [Double] = []) {
        for k in 0..<state.outputs {
            (change.pointer + k * state.n).update(repeating: shifts.isEmpty ? 0 : shifts[k], count: state.n)
        }
        for (i, d) in zip(block, moves) where d != 0 {
            state.design.add(d, column: i % state.p, to: change.pointer + i / state.p * state.n)
        }
    }

    private func searched(_ block: [Int], _ old: [Double], _ slope: [Double]) -> [Double] {
        let loss = state.datafit.value(state.eta.pointer)
        let largest = block.reduce(.leastNormalMagnitude) { max($0, curvatures.pointer[$1 % state.p]) }
        var l = largest * block.reduce(0) { max($0, ratios[$1]) }
        var next = old
        for _ in 0..<200 {
            next = proximal(block, old, slope, curvature: l)
            let moves = zip(next, old).map { $0 - $1 }
            let promise = zip(moves, slope).reduce(0) { $0 + $1.0 * $1.1 + l / 2 * $1.0 * $1.0 }
            setChange(block, moves)
            setTrial(1)
            if state.datafit.value(trial.pointer) <= loss + promise + 1e-14 * abs(loss) { break }
            l *= 2
            next = old
        }
        for i in block { ratios[i] = l / largest }
        return next
    }

    /// The minimum of the block's quadratic model beside intercepts that follow; nil where no share of the way there is better.
    private func newton(
        _ block: [Int], _ old: [Double], _ slope: [Double]
    ) throws -> (values: [Double], shifts: [Double])? {
        let (n, p) = (state.n, state.p)
        state.datafit.curvature(state.eta.pointer, into: bend.pointer)
        var (target, shifts) = (old, [Double](repeating: 0, count: state.outputs))
        for k in 0..<state.outputs {
            let places = block.indices.filter { block[$0] / p == k }
            if places.isEmpty { continue }
            var total = 0.0
            for i in k * n..<(k + 1) * n { total += bend.pointer[i] }
            guard total > 0 else { return nil }
            let model = QuadraticModel()
            try model.append(
                places.map { UInt32(block[$0] % p) }, of: state.design, curvature: bend.pointer + k * n, total: total,
                centered: state.hasIntercept)
            var (z, g) = (places.map { old[$0] }, places.map { slope[$0] })
            let far = model.distance(penalty, z, g)
            if far == 0 { continue }
            model.minimize(penalty, &z, gradient: &g, tolerance: 1e-9 * far, maximumRounds: 50)
            for (a, place) in places.enumerated() {
                target[place] = z[a]
                if state.hasIntercept { shifts[k] -= model.means[a] * (z[a] - old[place]) }
            }
        }
        let moves = zip(target, old).map { $0 - $1 }
        func paid(_ values: [Double]) -> Double {
            zip(block, values).reduce(0) { $0 + penalty.value($1.1, $1.0 % p) }
        }
        let before = (loss: state.datafit.value(state.eta.pointer), paid: paid(old))
        let promise = zip(moves, slope).reduce(0) { $0 + $1.0 * $1.1 } + paid(target) - before.paid
        guard promise < 0 else { return nil }
        setChange(block, moves, shifts)
        var share = 1.0
        for _ in 0..<30 {
            setTrial(share)
            let values = share == 1 ? target : zip(old, moves).map { $0 + share * $1 }
            let after = state.datafit.value(trial.pointer) + paid(values)
            let start = before.loss + before.paid
            if after <= start + 1e-4 * share * promise + 1e-14 * abs(start) {
                return (values, shifts.map { share * $0 })
            }
            share /= 2
        }
        return nil
    }
}
