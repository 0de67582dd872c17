import LacunaTensor

/// Coefficients and scales between two rounds.
struct MixedState: Equatable {
    var beta: [Double]
    var intercept: Double
    var scale: VarianceComponents

    init(beta: [Double], intercept: Double, scale: VarianceComponents) {
        self.beta = beta
        self.intercept = intercept
        self.scale = scale
    }

    init(_ fit: MixedFit) {
        self.init(beta: fit.solution.coefficients, intercept: fit.solution.intercept, scale: fit.scale)
    }
}

/// What ``SparseMixedModel`` keeps between the fits of a path.
final class MixedSession {
    private let model: SparseMixedModel
    /// Columns and target without their means or medians, where there is an intercept to absorb them.
    private let design: any Design
    private let target: [Double]
    private let columns: Conditioning
    private let targetShift: Double
    private let likelihood: GroupedLikelihood
    private let isVoid: [Bool]
    private let groupSums: DenseDesign?
    private let null: MixedState
    /// The largest gradient of the coefficients at the empty model.
    private let nullGradient: Double

    private var groups: RowGroups { likelihood.groups }

    /// - Parameter included: Which groups take part; all for nil.
    init(
        _ model: SparseMixedModel, _ design: any Design, _ target: [Double], groups: RowGroups?,
        included: [Bool]? = nil
    ) throws {
        let groups = groups ?? .singletons(rows: design.rows)
        guard design.rows > 0 else { throw LacunaError.invalidArgument("data", reason: "there are no rows") }
        guard target.count == design.rows, groups.rows == design.rows else {
            throw LacunaError.invalidArgument(
                "design", reason: "has \(design.rows) rows, the target has \(target.count), the groups \(groups.rows)")
        }
        try SampleWeights.requireFinite(target)
        try design.requireFinite()
        // Those who are left count for all, so that strengths keep their meaning.
        let rows = groups.sizes.indices.reduce(0) { $0 + (included?[$1] ?? true ? groups.sizes[$1] : 0) }
        let share = Double(groups.rows) / Double(max(rows, 1))
        likelihood = GroupedLikelihood(
            groups: groups, tail: model.tail,
            multiplicities: groups.sizes.indices.map { included?[$0] ?? true ? share : 0 })
        let rowWeights = groups.indices.map { [likelihood] in likelihood.multiplicities[$0] / likelihood.total }
        columns = Conditioning(design, weights: rowWeights, hasIntercept: model.hasIntercept)
        guard columns.isFinite else {
            throw LacunaError.invalidArgument("design", reason: "has numbers too large to be squared")
        }
        isVoid = columns.isVoid
        let shift = model.hasIntercept ? Self.median(target) : 0
        targetShift = shift
        let (design, target) = (columns.design, target.map { $0 - shift })
        groupSums = WhitenedDesign.sums(of: design, groups: groups)
        self.model = model
        self.design = design
        self.target = target
        null = try Self.null(target, likelihood, model)
        var gradient = [Double](repeating: 0, count: design.columns)
        let residuals = target.map { [null] in $0 - null.intercept }
        let slopes = likelihood.gradient(residuals, likelihood.moments(residuals), null.scale)
            .map { [null, likelihood] in -$0 * null.scale.residual / likelihood.total }
        design.correlations(nil, with: slopes, into: &gradient)
        nullGradient = gradient.indices.reduce(0) { [isVoid] in isVoid[$1] ? $0 : max($0, abs(gradient[$1])) }
    }

    /// The intercept of the data as they were given, from that of the data here; or the other way round.
    private func restored(_ intercept: Double, _ beta: [Double], toCore: Bool = false) -> Double {
        let sign = toCore ? -1.0 : 1.0
        var sum = intercept + sign * targetShift
        if let shifts = columns.shifts {
            for j in beta.indices where beta[j] != 0 { sum -= sign * beta[j] * shifts[j] }
        }
        return sum
    }

    /// What was found earlier, in the terms of the data here.
    private func start(_ fit: MixedFit) -> MixedState {
        var state = MixedState(fit)
        state.intercept = restored(state.intercept, state.beta, toCore: true)
        return state
    }

    // MARK: The empty model

    private static func null(
        _ target: [Double], _ likelihood: GroupedLikelihood, _ model: SparseMixedModel
    ) throws -> MixedState {
        let groups = likelihood.groups
        let inside = target.indices.filter { likelihood.multiplicities[groups.indices[$0]] > 0 }
        var intercept = model.hasIntercept ? median(inside.map { target[$0] }) : 0
        var residuals = target.map { $0 - intercept }
        var moments = likelihood.moments(residuals)
        guard moments.squares.reduce(0, +).isFinite else {
            throw LacunaError.invalidArgument("target", reason: "has numbers too large to be squared")
        }
        // 1.4826 makes the median deviation of a normal variable its standard deviation.
        let deviation = 1.4826 * median(inside.map { abs(residuals[$0]) })
        let square = inside.reduce(0) { $0 + residuals[$1] * residuals[$1] } / Double(max(inside.count, 1))
        guard square > 0 else { throw unbounded("the target does not vary") }
        let first = deviation > 0 ? deviation * deviation : square
        guard var scale = likelihood.firstScale(moments, residual: first) else {
            throw unbounded("most of the target is one number")
        }
        guard model.hasIntercept else { return MixedState(beta: [], intercept: 0, scale: scale) }
        for _ in 0..<1000 {
            let weights = likelihood.weights(moments, scale)
            var (sum, total) = (0.0, 0.0)
            for (g, n) in groups.sizes.enumerated() {
                let share = likelihood.multiplicities[g] * weights[g] / (1 + scale.ratio * Double(n))
                sum += share * moments.sums[g]
                total += share * Double(n)
            }
            let step = sum / total
            intercept += step
            for i in residuals.indices { residuals[i] = target[i] - intercept }
            moments = likelihood.moments(residuals)
            guard let next = likelihood.mostLikelyScale(moments, from: scale) else {
                throw unbounded("most of the target is one number")
            }
            scale = next
            if abs(step) <= 1e-13 * (abs(intercept) + scale.residual.squareRoot()) { break }
        }
        return MixedState(beta: [], intercept: intercept, scale: scale)
    }

    private static func unbounded(_ reason: String) -> LacunaError {
        .numerical(operation: "mixed model", reason: "\(reason): the likelihood has no bound as residuals vanish")
    }

    private static func median(_ values: [Double]) -> Double {
        let sorted = values.sorted()
        if sorted.isEmpty { return 0 }
        return (sorted[(sorted.count - 1) / 2] + sorted[sorted.count / 2]) / 2
    }

    private var empty: MixedState {
        MixedState(
            beta: [Double](repeating: 0, count: design.columns), intercept: null.intercept, scale: null.scale)
    }

    // MARK: A round

    /// The weighted least-squares problem that lies above the loss and touches it at these residuals.
    private func surrogate<P: SeparablePenalty>(
        _ moments: GroupedLikelihood.Moments, _ scale: VarianceComponents, _ penalty: P
    ) throws -> (problem: Problem<SquaredLoss, P>, design: WhitenedDesign, mean: Double) {
        let weights = zip(likelihood.weights(moments, scale), likelihood.multiplicities).map { $0 * $1 }
        let whitened = WhitenedDesign(
            design, groups: groups, ratio: scale.ratio, weights: weights, hasIntercept: model.hasIntercept,
            isVoid: isVoid, groupSums: groupSums)
        let (values, mean) = whitened.whitened(target)
        return (
            Problem(unchecked: whitened, try SquaredLoss(values), penalty, hasIntercept: false), whitened, mean
        )
    }

    func maximumStrength<P: ScalablePenalty & SeparablePenalty>(_ penalty: P) throws -> Double {
        let residuals = target.map { $0 - null.intercept }
        let (problem, _, _) = try surrogate(likelihood.moments(residuals), null.scale, penalty)
        return RegularizationPath.maximumStrength(problem)
    }

    private func residuals(_ beta: [Double], _ intercept: Double) -> [Double] {
        var eta = [Double](repeating: 0, count: target.count)
        design.product(beta, into: &eta)
        for i in eta.indices { eta[i] = target[i] - eta[i] - intercept }
        return eta
    }

    /// Minus the log likelihood a row, plus the penalty over a fixed `s²`.
    private func objective(_ loss: Double, _ penalty: Double, unit: Double) -> Double {
        loss / likelihood.total + penalty / unit
    }

    func fit<P: SeparablePenalty>(_ penalty: P, from start: MixedFit?) throws -> MixedFit {
        try penalty.requireColumns(of: design)
        let state = start.map { self.start($0) } ?? empty
        require(state.beta.count == design.columns, "the start has another number of columns")
        return try minimize(penalty, state)
    }

    private func minimize<P: SeparablePenalty>(_ penalty: P, _ start: MixedState) throws -> MixedFit {
        var state = start
        for j in isVoid.indices where isVoid[j] { state.beta[j] = 0 }
        var residuals = residuals(state.beta, state.intercept)
        var moments = likelihood.moments(residuals)
        var rounds: [MixedFit.Round] = []
        var distance = distance(penalty, state, residuals, moments)
        var stalled = false
        while distance.relative > model.tolerance && rounds.count < model.maximumRounds && !stalled {
            let unit = state.scale.residual
            let paid = penalty.value(state.beta, columns: state.beta.count, outputs: 1)
            let before = objective(
                likelihood.negativeLogLikelihood(moments, state.scale), paid, unit: unit)
            // The coefficients, and the intercept that goes with them.
            let (problem, whitened, mean) = try surrogate(moments, state.scale, penalty)
            let warm = Solution(
                beta: state.beta, columns: state.beta.count, outputs: 1, intercepts: [0], objective: 0,
                certificate: .stationarity(distance: 0, relative: 0), passes: 0, converged: true)
            let found = try model.solver.solve(problem, from: warm)
            let beta = found.coefficients
            let intercept = zip(beta, whitened.means).reduce(mean) { $0 - $1.0 * $1.1 }
            let nextResiduals = self.residuals(beta, intercept)
            let nextMoments = likelihood.moments(nextResiduals)
            let owed = penalty.value(beta, columns: beta.count, outputs: 1)
            let middle = objective(
                likelihood.negativeLogLikelihood(nextMoments, state.scale), owed, unit: unit)
            // Rounding, or a solver that stopped short, may leave nothing to gain.
            if !(middle <= before + 1e-12 * (1 + abs(before))) { break }
            guard let scale = likelihood.mostLikelyScale(nextMoments, from: state.scale),
                scale.residual > 1e-14 * null.scale.residual
            else { throw Self.unbounded("the columns leave nothing of the target, or nothing within groups") }
            let next = MixedState(beta: beta, intercept: intercept, scale: scale)
            stalled = next == state
            state = next
            (residuals, moments) = (nextResiduals, nextMoments)
            let after = objective(likelihood.negativeLogLikelihood(moments, scale), owed, unit: unit)
            rounds.append(.init(start: before, afterCoefficients: middle, afterScales: after))
            distance = self.distance(penalty, state, residuals, moments)
            if rounds.count % 10 == 0 {
                try model.progress.report(
                    "fitting", rounds.count, of: model.maximumRounds, "distance to stationarity \(distance.relative)")
            }
        }
        return result(penalty, state, residuals, moments, rounds, distance)
    }

    /// How far the coefficients and the intercept are from stationary, the scales being most likely ones.
    private func distance<P: SeparablePenalty>(
        _ penalty: P, _ state: MixedState, _ residuals: [Double], _ moments: GroupedLikelihood.Moments
    ) -> (absolute: Double, relative: Double) {
        let factor = -state.scale.residual / likelihood.total
        let slopes = likelihood.gradient(residuals, moments, state.scale).map { $0 * factor }
        var gradient = [Double](repeating: 0, count: design.columns)
        design.correlations(nil, with: slopes, into: &gradient)
        for j in isVoid.indices where isVoid[j] { gradient[j] = 0 }
        let weights = [Double](repeating: 1 / Double(slopes.count), count: slopes.count)
        let rounding = RoundingBound(
            slopes, eta: residuals, weights: weights, outputs: 1, hasIntercept: false)
        let error = rounding.gradientError(columns.largestRawSquaredNorm)
        let distance = max(
            error,
            penalty.distance(
                state.beta, gradient: gradient, lipschitz: columns.squaredNorms.pointer, columns: design.columns,
                outputs: 1))
        var relative = nullGradient > 0 ? distance / nullGradient : distance
        if model.hasIntercept {
            relative = max(relative, abs(slopes.reduce(0, +)) / state.scale.residual.squareRoot())
        }
        return (distance, relative)
    }

    private func result<P: SeparablePenalty>(
        _ penalty: P, _ state: MixedState, _ residuals: [Double], _ moments: GroupedLikelihood.Moments,
        _ rounds: [MixedFit.Round], _ distance: (absolute: Double, relative: Double)
    ) -> MixedFit {
        let loss = likelihood.negativeLogLikelihood(moments, state.scale)
        let paid = penalty.value(state.beta, columns: state.beta.count, outputs: 1)
        let intercepts = likelihood.randomIntercepts(residuals, state.scale)
        let inverse = 1 / state.scale.residual
        return MixedFit(
            solution: Solution(
                beta: state.beta, columns: state.beta.count, outputs: 1,
                intercepts: [restored(state.intercept, state.beta)],
                objective: objective(loss, paid, unit: state.scale.residual),
                certificate: .stationarity(distance: distance.absolute, relative: distance.relative),
                passes: rounds.count, converged: distance.relative <= model.tolerance),
            tail: model.tail, groups: groups, scale: state.scale, logLikelihood: -loss, residuals: residuals,
            randomIntercepts: intercepts, squaredDistances: likelihood.squaredDistances(moments, state.scale),
            groupWeights: likelihood.weights(moments, state.scale),
            rowWeights: residuals.indices.map {
                let residual = residuals[$0] - intercepts[groups.indices[$0]]
                return model.tail.weight(residual * residual * inverse, count: 1)
            }, rounds: rounds, hasIntercept: model.hasIntercept)
    }

    // MARK: A path

    func path<P: SeparablePenalty & ScalablePenalty>(
        _ penalty: P, _ strengths: [Double], maximumSupport: Int
    ) throws -> MixedPath {
        let maximum = try maximumStrength(penalty)
        var state = empty
        var (fits, ending): ([MixedFit], String?) = ([], nil)
        for (index, strength) in strengths.enumerated() {
            try model.progress.report("fitting", index, of: strengths.count)
            do {
                let fit = try minimize(penalty.with(strength: strength), state)
                if fit.solution.support.count > maximumSupport {
                    throw LacunaError.numerical(
                        operation: "mixed model",
                        reason: "\(fit.solution.support.count) columns are selected, too many for the rows")
                }
                state = start(fit)
                fits.append(fit)
            } catch LacunaError.numerical(_, let reason) where index > 0 {
                ending = reason
                break
            }
        }
        let residuals = residuals(empty.beta, empty.intercept)
        let moments = likelihood.moments(residuals)
        return MixedPath(
            strengths: Array(strengths.prefix(fits.count)), fits: fits, maximumStrength: maximum,
            null: result(penalty, empty, residuals, moments, [], (0, 0)), ending: ending)
    }
}
