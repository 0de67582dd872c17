import LacunaIO
import LacunaRegress
import LacunaTensor

/// What `lacuna fit` can fit.
enum FitMethod: String, CaseIterable {
    case lasso
    case elasticNet = "elastic-net"
    case logistic
    case groupLasso = "group-lasso"
    case scad
    case mcp
    case l0
    case mixed

    /// Numbers that a method takes beside the strength of its penalty.
    struct Settings {
        var mixing = 0.5
        var shape: Double?
        var groups: Groups?
        var count = 100
        var ratio = 1e-2
        var folds = 5
        var seed: UInt64 = 0
        var strength: Double?
        var tolerance = 1e-7
        var usesSmallestLoss = false
        var hasIntercept = true
        var mixed: MixedSettings?
    }

    /// A path, where it was cross-validated, and the place that was chosen.
    struct Outcome {
        var path: RegularizationPath
        var maximum: Double
        var validation: CrossValidation?
        var chosen: Int
        var mixed: MixedOutcome?
        var solution: Solution { path.solutions[chosen] }
        var strength: Double { path.strengths[chosen] }
    }

    func fit(
        _ design: any Design, target: [Double], weights: [Double]?, _ settings: Settings,
        progress: (any ProgressReporter)?
    ) throws -> Outcome {
        func squared<P: SeparablePenalty & ScalablePenalty>(_ penalty: P) throws -> Outcome {
            try fitSeparable(design, SquaredLoss(target, weights: weights), penalty, settings, nil, weights, progress)
        }
        switch self {
        case .lasso: return try squared(L1(1))
        case .elasticNet: return try squared(ElasticNet(1, mixing: settings.mixing))
        case .scad: return try squared(SCAD(1, shape: settings.shape ?? 3.7))
        case .mcp: return try squared(MCP(1, shape: settings.shape ?? 3))
        case .l0: return try squared(L0(1))
        case .mixed:
            return try Self.fitMixed(design, target: target, settings, settings.mixed ?? MixedSettings(), progress)
        case .logistic:
            let loss = try LogisticLoss(target, weights: weights)
            return try fitSeparable(
                design, loss, ElasticNet(1, mixing: settings.mixing), settings, loss.signs.map { $0 > 0 ? 1 : 0 },
                weights, progress)
        case .groupLasso:
            guard let groups = settings.groups else {
                throw LacunaError.invalidArgument("--group-size", reason: "or --groups is needed for a group lasso")
            }
            let problem = try Problem(
                design, SquaredLoss(target, weights: weights), GroupLasso(1, groups: groups),
                hasIntercept: settings.hasIntercept)
            let solver = BlockCoordinateDescent(tolerance: settings.tolerance, progress: progress)
            let maximum = RegularizationPath.maximumStrength(problem)
            let strengths = try Self.strengths(maximum, settings)
            let validation =
                settings.strength != nil || settings.folds < 2
                ? nil
                : try CrossValidation(
                    groups: problem, strengths: strengths, folds: Self.folds(design.rows, settings, nil, weights),
                    solver: BlockCoordinateDescent(tolerance: settings.tolerance), progress: progress)
            let path = try RegularizationPath(groups: problem, strengths: strengths, solver: solver)
            return Self.outcome(path, maximum, validation, settings)
        }
    }

    private func fitSeparable<F: Datafit, P: SeparablePenalty & ScalablePenalty>(
        _ design: any Design, _ datafit: F, _ penalty: P, _ settings: Settings, _ strata: [Int]?,
        _ weights: [Double]?, _ progress: (any ProgressReporter)?
    ) throws -> Outcome {
        let problem = try Problem(design, datafit, penalty, hasIntercept: settings.hasIntercept)
        let maximum = RegularizationPath.maximumStrength(problem)
        let strengths = try Self.strengths(maximum, settings)
        let validation =
            settings.strength != nil || settings.folds < 2
            ? nil
            : try CrossValidation(
                problem, strengths: strengths, folds: Self.folds(design.rows, settings, strata, weights),
                solver: ProximalNewton(tolerance: settings.tolerance), progress: progress)
        let path = try RegularizationPath(
            problem, strengths: strengths, solver: ProximalNewton(tolerance: settings.tolerance, progress: progress))
        return Self.outcome(path, maximum, validation, settings)
    }

    private static func folds(
        _ rows: Int, _ settings: Settings, _ strata: [Int]?, _ weights: [Double]?
    ) throws -> [Int] {
        guard rows >= settings.folds else {
            throw LacunaError.invalidArgument("--folds", reason: "\(settings.folds) folds of \(rows) rows")
        }
        let folds = CrossValidation.folds(rows: rows, count: settings.folds, seed: settings.seed, strata: strata)
        guard let weights else { return folds }
        let total = weights.reduce(0, +)
        for fold in 0..<settings.folds {
            let own = folds.indices.reduce(0) { folds[$1] == fold ? $0 + weights[$1] : $0 }
            guard own > 0 && own < total else {
                throw LacunaError.invalidArgument(
                    "--weights",
                    reason: "fold \(fold + 1) of \(settings.folds) has \(own > 0 ? "all of the weight" : "no weight"); "
                        + "fewer --folds, another --seed, or --lambda without cross-validation")
            }
        }
        return folds
    }

    /// The path, cut off at the strength that was asked for.
    static func strengths(_ maximum: Double, _ settings: Settings) throws -> [Double] {
        guard let wanted = settings.strength else {
            return try RegularizationPath.strengths(from: maximum, ratio: settings.ratio, count: settings.count)
        }
        guard maximum.isFinite else {
            throw LacunaError.numerical(operation: "path", reason: "the largest gradient is \(maximum)")
        }
        if maximum <= wanted || wanted == 0 { return [wanted] }
        let steps = max(2, min(settings.count, 20))
        return try RegularizationPath.strengths(from: maximum, ratio: wanted / maximum, count: steps).dropLast()
            + [wanted]
    }

    private static func outcome(
        _ path: RegularizationPath, _ maximum: Double, _ validation: CrossValidation?, _ settings: Settings
    ) -> Outcome {
        let chosen = validation.map { settings.usesSmallestLoss ? $0.best : $0.simplest } ?? path.solutions.count - 1
        return Outcome(path: path, maximum: maximum, validation: validation, chosen: chosen)
    }
}
