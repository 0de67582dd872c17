import LacunaRegress
import LacunaTensor

/// An estimator as it is being set up: what goes into its family and its penalty is put together when it is used.
final class EstimatorObject: @unchecked Sendable {
    var settings = Estimator()
    var family = "gaussian"
    var penalty = "lasso"
    var mixing: Double?
    var shape: Double?
    var size: Int?
    var rate: Double?
    var delta: Double?
    var level = 0.5
    var groups: [Double]?

    static let families = ["gaussian", "binomial", "multinomial", "poisson", "huber", "quantile", "cox"]
    static let penalties = [
        "lasso", "elastic-net", "ridge", "group-lasso", "scad", "mcp", "l0", "slope", "best-subset",
    ]

    /// - Throws: What is set but has no meaning for the penalty is refused, never ignored.
    func estimator(columns: Int, progress: (any ProgressReporter)?) throws -> Estimator {
        func refuse(_ name: String, unless allowed: [String], _ isSet: Bool) throws {
            if isSet && !allowed.contains(penalty) { throw refused(name, "has no meaning for the penalty \(penalty)") }
        }
        try refuse("mixing", unless: ["elastic-net", "group-lasso"], mixing != nil)
        try refuse("shape", unless: ["scad", "mcp"], shape != nil)
        try refuse("size", unless: ["best-subset"], size != nil)
        try refuse("rate", unless: ["slope"], rate != nil)
        try refuse("groups", unless: ["group-lasso"], groups != nil)
        var result = settings
        result.progress = progress
        switch family {
        case "binomial": result.family = .binomial
        case "multinomial": result.family = .multinomial
        case "poisson": result.family = .poisson
        case "huber": result.family = .huber(delta: delta)
        case "quantile": result.family = .quantile(level)
        case "cox": result.family = .cox(ties: .efron)
        default: result.family = .gaussian
        }
        switch penalty {
        case "elastic-net": result.regularizer = .elasticNet(mixing: mixing ?? 0.5)
        case "ridge": result.regularizer = .ridge
        case "group-lasso":
            guard let groups else { throw refused("groups", "are needed for the group lasso") }
            guard groups.count == columns else { throw refused("groups", "are \(groups.count) for \(columns) columns") }
            var members: [Double: [Int]] = [:]
            for (column, group) in groups.enumerated() { members[group, default: []].append(column) }
            let inOrder = members.sorted { $0.key < $1.key }.map(\.value)
            result.regularizer = .group(try Groups(inOrder, columns: columns), mixing: mixing ?? 0)
        case "scad": result.regularizer = .scad(shape: shape ?? 3.7)
        case "mcp": result.regularizer = .mcp(shape: shape ?? 3)
        case "l0": result.regularizer = .l0
        case "slope": result.regularizer = .slope(.falseDiscoveries(rate: rate ?? 0.1))
        case "best-subset": result.regularizer = .subset(size: size)
        default: result.regularizer = .lasso
        }
        if let factors = result.factors, factors.count != columns {
            throw refused("factors", "are \(factors.count) for \(columns) columns")
        }
        if let factors = result.factors, let bad = factors.first(where: { !($0 >= 0) || !$0.isFinite }) {
            throw refused("factors", "\(bad) is not a finite number of at least 0")
        }
        try result.validate()
        return result
    }
}

/// See lacuna.h.
@_cdecl("lacuna_estimator_create")
public func lacunaEstimatorCreate(_ estimator: UnsafeMutablePointer<OpaquePointer?>?) -> Int32 {
    guarded { try give(EstimatorObject(), estimator, "estimator") }
}

/// See lacuna.h.
@_cdecl("lacuna_estimator_set_text")
public func lacunaEstimatorSetText(
    _ estimator: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ text: UnsafePointer<CChar>?
) -> Int32 {
    guarded {
        let estimator = try Objects.get(estimator, EstimatorObject.self, "estimator")
        let name = try Arguments.text(name, "name")
        let text = try Arguments.text(text, name)
        func known(_ all: [String]) throws -> String {
            guard all.contains(text) else {
                throw refused(name, "'\(text)' is none of \(all.joined(separator: ", "))")
            }
            return text
        }
        switch name {
        case "family": estimator.family = try known(EstimatorObject.families)
        case "penalty": estimator.penalty = try known(EstimatorObject.penalties)
        case "rule":
            estimator.settings.choice.rule =
                StrengthChoice.Rule(rawValue: try known(StrengthChoice.Rule.allCases.map(\.rawValue))) ?? .simplest
        case "measure":
            estimator.settings.choice.measure =
                StrengthChoice.Measure(rawValue: try known(StrengthChoice.Measure.allCases.map(\.rawValue))) ?? .loss
        default: throw refused("name", "'\(name)' is not family, penalty, rule or measure")
        }
    }
}

/// See lacuna.h.
@_cdecl("lacuna_estimator_set_number")
public func lacunaEstimatorSetNumber(
    _ estimator: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ number: Double
) -> Int32 {
    guarded {
        let estimator = try Objects.get(estimator, EstimatorObject.self, "estimator")
        let name = try Arguments.text(name, "name")
        let optional = number.isNaN ? nil : number
        switch name {
        case "strength": estimator.settings.strength = optional
        case "mixing": estimator.mixing = optional
        case "shape": estimator.shape = optional
        case "size": estimator.size = try optional.map { try Arguments.integer($0, name) }
        case "rate": estimator.rate = optional
        case "delta": estimator.delta = optional
        case "level": estimator.level = number
        case "tolerance": estimator.settings.tolerance = number
        case "folds": estimator.settings.choice.folds = try Arguments.integer(number, name)
        case "seed":
            let seed = try Arguments.integer(number, name)
            guard seed >= 0 else { throw refused(name, "is \(seed), below 0") }
            estimator.settings.choice.seed = UInt64(seed)
        case "count":
            let count = try Arguments.integer(number, name)
            guard count <= 1_000_000 else { throw refused(name, "is \(count), more than a million") }
            estimator.settings.choice.count = count
        case "ratio": estimator.settings.choice.ratio = number
        case "adaptive": estimator.settings.adaptivePower = optional
        case "lower": estimator.settings.lower = number
        case "upper": estimator.settings.upper = number
        case "intercept": estimator.settings.hasIntercept = number != 0
        case "standardize": estimator.settings.standardizes = number != 0
        case "relaxed": estimator.settings.isRelaxed = number != 0
        default: throw refused("name", "'\(name)' is no setting that is a number")
        }
    }
}

/// See lacuna.h.
@_cdecl("lacuna_estimator_set_numbers")
public func lacunaEstimatorSetNumbers(
    _ estimator: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ numbers: UnsafePointer<Double>?, _ count: Int64
) -> Int32 {
    guarded {
        let estimator = try Objects.get(estimator, EstimatorObject.self, "estimator")
        let name = try Arguments.text(name, "name")
        let values = numbers == nil ? nil : try Arguments.copy(numbers, count, name)
        switch name {
        case "groups":
            if values?.contains(where: { !$0.isFinite }) == true { throw refused(name, "must be finite numbers") }
            estimator.groups = values
        case "factors": estimator.settings.factors = values
        default: throw refused("name", "'\(name)' is not groups or factors")
        }
    }
}

/// See lacuna.h.
@_cdecl("lacuna_estimator_fit")
public func lacunaEstimatorFit(
    _ estimator: OpaquePointer?, _ table: OpaquePointer?,
    _ progress: ProgressCallback?,
    _ context: UnsafeMutableRawPointer?, _ fit: UnsafeMutablePointer<OpaquePointer?>?
) -> Int32 {
    guarded {
        let table = try Objects.get(table, TableObject.self, "table")
        let estimator = try Objects.get(estimator, EstimatorObject.self, "estimator").estimator(
            columns: table.design.columns, progress: CallbackProgress(progress, context))
        guard table.target != nil else { throw refused("target", "is needed: lacuna_table_set") }
        try give(FitObject(estimator.fit(table.table)), fit, "fit")
    }
}

/// See lacuna.h.
@_cdecl("lacuna_estimator_path")
public func lacunaEstimatorPath(
    _ estimator: OpaquePointer?, _ table: OpaquePointer?, _ strengths: UnsafePointer<Double>?, _ count: Int64,
    _ progress: ProgressCallback?,
    _ context: UnsafeMutableRawPointer?, _ fit: UnsafeMutablePointer<OpaquePointer?>?
) -> Int32 {
    guarded {
        let table = try Objects.get(table, TableObject.self, "table")
        let estimator = try Objects.get(estimator, EstimatorObject.self, "estimator").estimator(
            columns: table.design.columns, progress: CallbackProgress(progress, context))
        let given = strengths == nil ? nil : try Arguments.copy(strengths, count, "strengths")
        try give(estimator.path(table, strengths: given), fit, "fit")
    }
}

extension Estimator {
    /// The solutions at strengths of the caller's choice.
    func path(_ table: TableObject, strengths: [Double]?) throws -> FitObject {
        guard let target = table.target else { throw refused("target", "is needed: lacuna_table_set") }
        if let strengths {
            guard !strengths.isEmpty, strengths.allSatisfy({ $0 >= 0 && $0.isFinite }),
                zip(strengths, strengths.dropFirst()).allSatisfy({ $0 >= $1 })
            else { throw refused("strengths", "must be finite numbers of at least 0 that descend") }
        }
        if strength != nil { throw refused("strength", "has no meaning for a path") }
        if factors != nil || adaptivePower != nil || isRelaxed || lower > -.infinity || upper < .infinity {
            throw LacunaError.unsupported(file: nil, what: "a path with factors, limits, or relaxed")
        }
        if let large = target.first(where: { !(abs($0) <= 1e145) }) {
            throw refused("target", "\(large) is not a finite number that can be squared")
        }
        switch family {
        case .gaussian: return try path(table, SquaredLoss(target, weights: table.weights), strengths)
        case .binomial: return try path(table, LogisticLoss(target, weights: table.weights), strengths)
        default: throw LacunaError.unsupported(file: nil, what: "a path with the family \(family.name)")
        }
    }

    private func path<F: Datafit>(_ table: TableObject, _ datafit: F, _ strengths: [Double]?) throws -> FitObject {
        let weights = datafit.weights
        let design =
            standardizes ? table.design.standardized(weights: weights, centered: hasIntercept) : table.design
        func result(_ path: RegularizationPath) -> FitObject { FitObject(path, of: self, design: design) }
        func all<P: ScalablePenalty>(_ problem: Problem<F, P>) throws -> [Double] {
            try strengths
                ?? RegularizationPath.strengths(
                    from: RegularizationPath.maximumStrength(problem), ratio: choice.ratio, count: choice.count)
        }
        func follow<P: SeparablePenalty & ScalablePenalty>(_ penalty: P) throws -> FitObject {
            let problem = try Problem(design, datafit, penalty, hasIntercept: hasIntercept)
            return result(
                try RegularizationPath(
                    problem, strengths: all(problem),
                    solver: ProximalNewton(tolerance: tolerance, progress: progress)))
        }
        switch regularizer {
        case .lasso: return try follow(ElasticNet(1, mixing: 1))
        case .elasticNet(let mixing): return try follow(ElasticNet(1, mixing: mixing))
        case .scad(let shape): return try follow(SCAD(1, shape: shape))
        case .mcp(let shape): return try follow(MCP(1, shape: shape))
        case .l0: return try follow(L0(1))
        case .group(let groups, let mixing):
            let problem = try Problem(
                design, datafit, GroupLasso(1, groups: groups, mixing: mixing), hasIntercept: hasIntercept)
            return result(
                try RegularizationPath(
                    groups: problem, strengths: all(problem),
                    solver: BlockCoordinateDescent(tolerance: tolerance, progress: progress)))
        case .slope, .subset: throw LacunaError.unsupported(file: nil, what: "a path with \(regularizer.name)")
        }
    }
}
