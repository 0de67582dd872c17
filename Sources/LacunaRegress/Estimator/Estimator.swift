import LacunaIO
import LacunaTensor

/// What the target is, and by which loss predictions of it are judged.
public enum Family: Sendable, Equatable, Codable {
    /// Numbers, by half their squared error. With several targets, all of them together.
    case gaussian
    /// Two classes, by the logistic loss.
    case binomial
    /// Classes, by the logarithm of their probability.
    case multinomial
    /// Counts, by the likelihood of Poisson's distribution of a logarithmic rate.
    case poisson
    /// Numbers, by their squared error up to `delta`, in units of the target, and beyond it by their error; nil for 1.345
    /// times the spread of the target, as its median deviation tells it.
    case huber(delta: Double?)
    /// The number below which the target lies with this probability, between 0 and 1.
    case quantile(Double)

    public var name: String {
        switch self {
        case .gaussian: "gaussian"
        case .binomial: "binomial"
        case .multinomial: "multinomial"
        case .poisson: "poisson"
        case .huber: "huber"
        case .quantile: "quantile"
        }
    }

    var hasClasses: Bool { self == .binomial || self == .multinomial }
}

/// What keeps coefficients few or small.
public enum Regularizer: Sendable, Equatable {
    case lasso
    /// `mixing` is the share of the L1 penalty, in 0...1; 0 is ridge regression. Where the strength is chosen, the share is that
    /// for a target in units of its standard deviation, so that the choice does not depend on the unit.
    case elasticNet(mixing: Double)
    /// `shape` above 2.
    case scad(shape: Double)
    /// `shape` above 1.
    case mcp(shape: Double)
    /// A price for every coefficient that is not 0.
    case l0
    /// Whole groups of columns enter together; `mixing` in 0...1 is the share of an L1 penalty beside it.
    case group(Groups, mixing: Double)

    public static var ridge: Regularizer { .elasticNet(mixing: 0) }

    public var name: String {
        switch self {
        case .lasso: "lasso"
        case .elasticNet(let mixing): mixing == 0 ? "ridge" : "elastic-net"
        case .scad: "scad"
        case .mcp: "mcp"
        case .l0: "l0"
        case .group(_, let mixing): mixing == 0 ? "group-lasso" : "sparse-group-lasso"
        }
    }
}

/// How a strength is chosen.
public struct StrengthChoice: Sendable, Equatable {
    public enum Rule: String, Sendable, CaseIterable {
        /// The largest within one standard error of the best.
        case simplest = "1se"
        /// The best.
        case smallest = "min"
    }

    /// What is measured on rows left out.
    public enum Measure: String, Sendable, CaseIterable {
        /// The family's loss.
        case loss
        /// The mean absolute error.
        case absolute = "mae"
        /// The share of wrong classes.
        case errors
        /// 1 minus the area under the receiver operating characteristic.
        case auc
    }

    public var rule = Rule.simplest
    public var measure = Measure.loss
    /// At least 2; not used where the table has folds of its own.
    public var folds = 5
    public var seed: UInt64 = 0
    /// Strengths on the path, from the largest that matters to `ratio` times it.
    public var count = 100
    public var ratio = 1e-2

    public init() {}
}

/// Fits sparse models to tables: a family, a regularizer, and how the strength is chosen.
///
/// Columns and target are brought to unit spread for the fit, so that results do not depend on units; strengths, coefficients
/// and limits are always those for the table as it is.
public struct Estimator: Sendable {
    public var family: Family
    public var regularizer: Regularizer
    /// Chosen by cross-validation for nil.
    public var strength: Double?
    public var choice = StrengthChoice()
    public var hasIntercept = true
    /// Whether columns are penalised per standard deviation.
    public var standardizes = true
    /// Bound of ``Certificate/relative``.
    public var tolerance = 1e-7
    /// One for each column: the lasso and the elastic net penalise it by so much more or less; nil for 1.
    public var factors: [Double]?
    /// Factors are made of a first fit: `1/|β_j|` to this power.
    public var adaptivePower: Double?
    /// Limits of every coefficient, on either side of 0.
    public var lower = -Double.infinity
    public var upper = Double.infinity
    /// Whether the coefficients that are not 0 are fitted again without a penalty.
    public var isRelaxed = false
    public var progress: (any ProgressReporter)?

    public init(_ regularizer: Regularizer = .lasso, family: Family = .gaussian, strength: Double? = nil) {
        self.regularizer = regularizer
        self.family = family
        self.strength = strength
    }

    /// What does not combine is refused here, before anything is computed.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` and ``LacunaError/unsupported(file:what:)``.
    public func validate() throws {
        func refuse(_ what: String, _ reason: String) throws { throw LacunaError.invalidArgument(what, reason: reason) }
        if let strength, !(strength >= 0) || !strength.isFinite { try refuse("strength", "is \(strength)") }
        if strength == nil, choice.folds < 2 { try refuse("folds", "are \(choice.folds); 2 are needed") }
        if !(tolerance > 0 && tolerance < 1) { try refuse("tolerance", "is \(tolerance), not between 0 and 1") }
        if !(choice.ratio > 0 && choice.ratio < 1) { try refuse("ratio", "is \(choice.ratio), not between 0 and 1") }
        if choice.count < 1 { try refuse("count", "is \(choice.count)") }
        switch family {
        case .quantile(let level) where !(level > 0 && level < 1):
            try refuse("quantile", "is \(level), not between 0 and 1")
        case .huber(let delta?) where !(delta > 0) || !delta.isFinite: try refuse("delta", "is \(delta), not above 0")
        default: break
        }
        switch regularizer {
        case .elasticNet(let mixing), .group(_, let mixing):
            if !(mixing >= 0 && mixing <= 1) { try refuse("mixing", "is \(mixing), not from 0 to 1") }
        case .scad(let shape) where !(shape > 2): try refuse("shape", "is \(shape), not above 2")
        case .mcp(let shape) where !(shape > 1): try refuse("shape", "is \(shape), not above 1")
        default: break
        }
        if !(lower <= 0 && upper >= 0) { try refuse("limits", "from \(lower) to \(upper) do not allow 0") }
        let isElastic = regularizer == .lasso || { if case .elasticNet = regularizer { true } else { false } }()
        if !isElastic && (factors != nil || adaptivePower != nil || hasLimits) {
            throw LacunaError.unsupported(
                file: nil,
                what: "factors and limits with \(regularizer.name); they go with lasso, elastic net and ridge")
        }
        if let adaptivePower, !(adaptivePower > 0) || factors != nil {
            try refuse(
                "adaptive", factors != nil ? "makes factors; none can be given" : "is \(adaptivePower), not above 0")
        }
        if isRelaxed && (hasLimits || family == .multinomial) {
            throw LacunaError.unsupported(
                file: nil, what: "a relaxed fit \(hasLimits ? "with limits" : "of several classes")")
        }
        if strength == nil {
            switch choice.measure {
            case .auc where family != .binomial: try refuse("measure", "auc is for two classes")
            case .errors where !family.hasClasses: try refuse("measure", "errors are for classes")
            case .absolute where family.hasClasses: try refuse("measure", "mae is for numbers")
            default: break
            }
        }
    }

    var hasLimits: Bool { lower > -.infinity || upper < .infinity }
}
