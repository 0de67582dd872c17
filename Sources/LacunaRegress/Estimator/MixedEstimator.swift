import LacunaTensor

/// Fits a ``SparseMixedModel`` to a table: tails, a penalty, and how the strength is chosen.
public struct MixedEstimator: Sendable {
    /// What keeps coefficients few.
    public enum Penalty: String, Sendable, CaseIterable {
        /// L1.
        case lasso
        /// L1 and L2.
        case elasticNet = "elastic-net"
        /// Folded concave; see ``SCAD``.
        case scad
        /// Folded concave; see ``MCP``.
        case mcp
    }

    /// How a strength is chosen.
    public enum Choice: String, Sendable, CaseIterable {
        /// By rows left out, groups kept whole.
        case crossValidation = "cv"
        /// By Bayes' information criterion, or the extended one, which allows for many columns.
        case bic, ebic
    }

    /// The only tail, or those to choose from.
    public var tails = [Tail.gaussian]
    /// What keeps coefficients few.
    public var penalty = Penalty.lasso
    /// Share of the L1 penalty of the elastic net, above 0 up to 1.
    public var mixing = 0.5
    /// Of SCAD (above 2; 3.7) or MCP (above 1; 3).
    public var shape: Double?
    /// How the strength is chosen.
    public var choice = Choice.crossValidation
    /// Chosen for nil.
    public var strength: Double?
    /// Folds, seed, rule and path of a cross-validation.
    public var strengths = StrengthChoice()
    /// Whether a constant is fitted beside the columns.
    public var hasIntercept = true
    /// Whether columns are penalised per standard deviation.
    public var standardizes = true
    /// How near to stationarity fits are, relative to the largest gradient.
    public var tolerance = 1e-7
    /// Told about folds and fits; its error, as when a user cancels, ends the fit.
    public var progress: (any ProgressReporter)?

    /// A lasso with Student's tails of three degrees of freedom, chosen by cross-validation, unless set otherwise.
    public init() {}

    /// From Cauchy's distribution to the normal one.
    public static let candidates: [Tail] = [1, 2, 3, 5, 10, 30, .infinity].compactMap {
        try? Tail(degreesOfFreedom: $0)
    }

    /// - Throws: As ``SparseMixedModel``, and ``LacunaError/invalidArgument(_:reason:)`` for fewer groups than folds.
    public func fit(_ table: Table) throws -> Fit {
        guard table.design.columns > 0 else {
            throw LacunaError.malformed(
                file: table.file, location: "columns", reason: "there is none beside the target")
        }
        guard let response = table.responses.first else {
            throw LacunaError.invalidArgument("--target", reason: "is needed for \(table.file)")
        }
        guard let target = response.numbers else {
            throw LacunaError.invalidArgument(
                "--target", reason: "'\(response.name)' is text; only 'logistic' and 'multinomial' predict classes")
        }
        guard table.weights == nil, table.offset == nil else {
            throw LacunaError.unsupported(file: nil, what: "weights or an offset of a mixed model")
        }
        if let row = target.firstIndex(where: { !(abs($0) <= 1e145) }) {
            throw LacunaError.malformed(
                file: table.file, location: "target, row \(table.number(ofRow: row))",
                reason: target[row].isFinite
                    ? "\(target[row]) is too large to be squared" : "\(target[row]) is not a finite number")
        }
        try table.requireFinite()
        let weights = [Double](repeating: 1 / Double(max(table.rows, 1)), count: table.rows)
        let design =
            standardizes ? table.design.standardized(weights: weights, centered: hasIntercept) : table.design
        func one<P: SeparablePenalty & ScalablePenalty>(_ penalty: P) throws -> Fit {
            try choose(table, design, target, penalty)
        }
        switch penalty {
        case .lasso: return try one(L1(1))
        case .elasticNet: return try one(ElasticNet(1, mixing: mixing))
        case .scad: return try one(SCAD(1, shape: shape ?? 3.7))
        case .mcp: return try one(MCP(1, shape: shape ?? 3))
        }
    }

    /// The best of the tails, each at its best strength.
    private func choose<P: SeparablePenalty & ScalablePenalty>(
        _ table: Table, _ design: any Design, _ target: [Double], _ penalty: P
    ) throws -> Fit {
        let groups = table.groups.map { RowGroups($0) } ?? .singletons(rows: design.rows)
        if strength == nil && choice == .crossValidation && table.folds == nil && groups.count < strengths.folds {
            throw LacunaError.invalidArgument(
                "--folds", reason: "\(strengths.folds) folds of \(groups.count) groups, which are kept whole")
        }
        var best: (score: Double, fit: Fit)?
        var scores: [(tail: Tail, score: Double)] = []
        for tail in tails {
            let model = SparseMixedModel(
                tail: tail, hasIntercept: hasIntercept, tolerance: tolerance, progress: progress)
            let maximum = try model.maximumStrength(design, target, groups: groups, penalty)
            var path = try Estimator.strengths(maximum, strengths, given: strength)
            var validation: CrossValidation?
            if strength == nil && choice == .crossValidation {
                validation = try model.crossValidation(
                    design, target, groups: groups, penalty, strengths: path,
                    folds: table.folds ?? groups.folds(count: strengths.folds, seed: strengths.seed))
                path = validation?.strengths ?? path
            }
            let found = try model.path(
                design, target, groups: groups, penalty, strengths: path,
                maximumSupport: strength == nil ? nil : .max)
            let chosen: Int
            if let strength {
                guard found.strengths.last == strength else {
                    throw LacunaError.numerical(
                        operation: "mixed model", reason: found.ending ?? "no strength was reached")
                }
                chosen = found.fits.count - 1
            } else if let validation {
                let place = strengths.rule == .smallest ? validation.best : validation.simplest
                chosen = min(place, found.fits.count - 1)
            } else {
                chosen = choice == .ebic ? found.bestExtendedBIC : found.bestBIC
            }
            let score =
                validation.map { $0.losses[$0.best] }
                ?? (choice == .ebic ? found.fits[chosen].extendedBIC : found.fits[chosen].bic)
            scores.append((tail, score))
            if let best, best.score <= score { continue }
            best = (
                score, result(table, design, groups, found, validation, chosen, maximum)
            )
        }
        guard var fit = best?.fit else {
            throw LacunaError.invalidArgument("--tail", reason: "there is none to fit")
        }
        if tails.count > 1 { fit.mixed?.tails = scores }
        return fit
    }

    private func result(
        _ table: Table, _ design: any Design, _ groups: RowGroups, _ path: MixedPath, _ validation: CrossValidation?,
        _ chosen: Int, _ maximum: Double
    ) -> Fit {
        let found = path.fits[chosen]
        let plain = found.solution.unscaled(design)
        var known: LinearModel.KnownGroups?
        if let labels = table.groups {
            let pairs = groups.firstRows.enumerated().map { (labels[$1], found.randomIntercepts[$0]) }
            known = .init(
                column: table.groupColumn, intercepts: Dictionary(pairs, uniquingKeysWith: { first, _ in first }))
        }
        let model = LinearModel(
            method: "mixed", family: .gaussian, features: table.features, coefficients: [plain.coefficients],
            intercepts: plain.intercepts, strength: path.strengths[chosen], isZeroBased: table.isZeroBased,
            groups: known)
        return Fit(
            model: model, path: path.regularizationPath, chosen: chosen, maximumStrength: maximum,
            validation: validation, effects: found.solution.coefficients, scales: design.inverseScales,
            mixed: MixedOutcome(
                fit: found, choice: strength == nil ? choice : nil, penalty: penalty, tails: [], ending: path.ending,
                hasGroups: table.groups != nil))
    }
}

/// What a mixed model says beyond coefficients.
public struct MixedOutcome: Sendable {
    /// The chosen fit.
    public let fit: MixedFit
    /// What chose the strength; nil if it was given.
    public let choice: MixedEstimator.Choice?
    /// The penalty it was found with.
    public let penalty: MixedEstimator.Penalty
    /// Tails and how they did, the smaller the better, where there was a choice.
    public internal(set) var tails: [(tail: Tail, score: Double)]
    /// Why the path ends early.
    public let ending: String?
    /// Whether rows were grouped at all.
    public let hasGroups: Bool
}
