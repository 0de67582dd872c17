import ArgumentParser
import LacunaRegress
import LacunaTensor

/// What `lacuna fit mixed` takes beside the strength of its penalty.
struct MixedSettings {
    enum Penalty: String, CaseIterable, ExpressibleByArgument {
        case lasso
        case elasticNet = "elastic-net"
        case scad
        case mcp
    }

    /// How a strength is chosen.
    enum Choice: String, CaseIterable, ExpressibleByArgument {
        case crossValidation = "cv"
        case bic, ebic
    }

    /// The group of each row; nil if every row is one.
    var labels: [String]?
    /// The only tail, or those to choose from.
    var tails = [Tail.gaussian]
    var penalty = Penalty.lasso
    var choice = Choice.crossValidation

    /// From Cauchy's distribution to the normal one.
    static let candidates: [Tail] = [1, 2, 3, 5, 10, 30, .infinity].compactMap { try? Tail(degreesOfFreedom: $0) }
}

/// What a mixed model says beyond coefficients.
struct MixedOutcome {
    let fit: MixedFit
    /// What chose the strength; nil if it was given.
    let choice: MixedSettings.Choice?
    let penalty: MixedSettings.Penalty
    /// Tails and how they did, the smaller the better, where there was a choice.
    let tails: [(tail: Tail, score: Double)]
    /// Why the path ends early.
    let ending: String?
    /// Whether rows were grouped at all.
    let hasGroups: Bool

    func knownGroups(of table: FitData) -> FittedModel.KnownGroups? {
        guard let labels = table.groups else { return nil }
        let pairs = fit.groups.firstRows.enumerated().map { (labels[$1], fit.randomIntercepts[$0]) }
        return .init(column: table.groupColumn, intercepts: Dictionary(pairs, uniquingKeysWith: { first, _ in first }))
    }
}

extension FitMethod {
    static func fitMixed(
        _ design: any Design, target: [Double], _ settings: Settings, _ mixed: MixedSettings,
        _ progress: (any ProgressReporter)?
    ) throws -> Outcome {
        func outcome<P: SeparablePenalty & ScalablePenalty>(_ penalty: P) throws -> Outcome {
            try choose(design, target, settings, mixed, penalty, progress)
        }
        switch mixed.penalty {
        case .lasso: return try outcome(L1(1))
        case .elasticNet: return try outcome(ElasticNet(1, mixing: settings.mixing))
        case .scad: return try outcome(SCAD(1, shape: settings.shape ?? 3.7))
        case .mcp: return try outcome(MCP(1, shape: settings.shape ?? 3))
        }
    }

    /// The best of the tails, each at its best strength.
    private static func choose<P: SeparablePenalty & ScalablePenalty>(
        _ design: any Design, _ target: [Double], _ settings: Settings, _ mixed: MixedSettings, _ penalty: P,
        _ progress: (any ProgressReporter)?
    ) throws -> Outcome {
        let groups = mixed.labels.map { RowGroups($0) } ?? .singletons(rows: design.rows)
        if settings.strength == nil && mixed.choice == .crossValidation && groups.count < settings.folds {
            throw LacunaError.invalidArgument(
                "--folds", reason: "\(settings.folds) folds of \(groups.count) groups, which are kept whole")
        }
        var best: (score: Double, outcome: Outcome)?
        var scores: [(tail: Tail, score: Double)] = []
        for tail in mixed.tails {
            let model = SparseMixedModel(
                tail: tail, hasIntercept: settings.hasIntercept, tolerance: settings.tolerance, progress: progress)
            let maximum = try model.maximumStrength(design, target, groups: groups, penalty)
            var strengths = try strengths(maximum, settings)
            var validation: CrossValidation?
            if settings.strength == nil && mixed.choice == .crossValidation {
                validation = try model.crossValidation(
                    design, target, groups: groups, penalty, strengths: strengths,
                    folds: groups.folds(count: settings.folds, seed: settings.seed))
                strengths = validation?.strengths ?? strengths
            }
            let path = try model.path(
                design, target, groups: groups, penalty, strengths: strengths,
                maximumSupport: settings.strength == nil ? nil : .max)
            let chosen: Int
            if let wanted = settings.strength {
                guard path.strengths.last == wanted else {
                    throw LacunaError.numerical(
                        operation: "mixed model", reason: path.ending ?? "no strength was reached")
                }
                chosen = path.fits.count - 1
            } else if let validation {
                chosen = min(settings.usesSmallestLoss ? validation.best : validation.simplest, path.fits.count - 1)
            } else {
                chosen = mixed.choice == .ebic ? path.bestExtendedBIC : path.bestBIC
            }
            let score =
                validation.map { $0.losses[$0.best] }
                ?? (mixed.choice == .ebic ? path.fits[chosen].extendedBIC : path.fits[chosen].bic)
            scores.append((tail, score))
            if let best, best.score <= score { continue }
            best = (
                score,
                Outcome(
                    path: path.regularizationPath, maximum: maximum, validation: validation, chosen: chosen,
                    mixed: MixedOutcome(
                        fit: path.fits[chosen], choice: settings.strength == nil ? mixed.choice : nil,
                        penalty: mixed.penalty, tails: [],
                        ending: path.ending,
                        hasGroups: mixed.labels != nil))
            )
        }
        guard var outcome = best?.outcome, let found = outcome.mixed else {
            throw LacunaError.invalidArgument("--tail", reason: "there is none to fit")
        }
        if mixed.tails.count > 1 {
            outcome.mixed = MixedOutcome(
                fit: found.fit, choice: found.choice, penalty: found.penalty, tails: scores, ending: found.ending,
                hasGroups: found.hasGroups)
        }
        return outcome
    }
}
