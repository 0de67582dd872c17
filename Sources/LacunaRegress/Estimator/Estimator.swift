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
    /// Times to an event, some of which were not lived to see, by Cox's partial likelihood. The predictor is the logarithm of the
    /// hazard over that of an average row.
    case cox(ties: CoxLoss.Ties)

    /// As the command line and model files call it.
    public var name: String {
        switch self {
        case .gaussian: "gaussian"
        case .binomial: "binomial"
        case .multinomial: "multinomial"
        case .poisson: "poisson"
        case .huber: "huber"
        case .quantile: "quantile"
        case .cox: "cox"
        }
    }

    var hasClasses: Bool { self == .binomial || self == .multinomial }
    var hasEvents: Bool { if case .cox = self { true } else { false } }
}

/// What keeps coefficients few or small.
public enum Regularizer: Sendable, Equatable {
    /// An L1 penalty: few coefficients, shrunk ones.
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
    /// Larger coefficients pay more (``SortedL1``).
    case slope(SortedL1.Sequence)
    /// So many columns and no more, without a penalty (``BestSubset``); nil for as many as cross-validation chooses. The strength
    /// is that number.
    case subset(size: Int?)

    /// An L2 penalty alone: all coefficients, shrunk ones.
    public static var ridge: Regularizer { .elasticNet(mixing: 0) }

    /// As the command line and model files call it.
    public var name: String {
        switch self {
        case .lasso: "lasso"
        /// An L2 penalty alone: all coefficients, shrunk ones.
        case .elasticNet(let mixing): mixing == 0 ? "ridge" : "elastic-net"
        case .scad: "scad"
        case .mcp: "mcp"
        case .l0: "l0"
        case .group(_, let mixing): mixing == 0 ? "group-lasso" : "sparse-group-lasso"
        case .slope: "slope"
        case .subset: "best-subset"
        }
    }
}

/// How a strength is chosen.
public struct StrengthChoice: Sendable, Equatable {
    /// Which of the strengths that were tried is taken.
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
        /// 1 minus the share of pairs of rows, of those whose order is known, in which the larger hazard met its event first
        /// (Harrell's index).
        case concordance
    }

    /// Which of the strengths that were tried is taken.
    public var rule = Rule.simplest
    /// What is measured on rows left out.
    public var measure = Measure.loss
    /// At least 2; not used where the table has folds of its own.
    public var folds = 5
    /// Decides which row is in which fold.
    public var seed: UInt64 = 0
    /// Strengths on the path, from the largest that matters to `ratio` times it.
    public var count = 100
    /// The smallest strength of the path over the largest, between 0 and 1.
    public var ratio = 1e-2

    /// Five folds, a hundred strengths, and the simplest within one standard error.
    public init() {}
}

/// Fits sparse models to tables: a family, a regularizer, and how the strength is chosen.
///
/// Columns and target are brought to unit spread for the fit, so that results do not depend on units; strengths, coefficients
/// and limits are always those for the table as it is.
public struct Estimator: Sendable {
    /// What the target is.
    public var family: Family
    /// What keeps coefficients few or small.
    public var regularizer: Regularizer
    /// Chosen by cross-validation for nil.
    public var strength: Double?
    /// How the strength is chosen where none is given.
    public var choice = StrengthChoice()
    /// Whether a constant is fitted beside the columns.
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
    /// The largest that a coefficient may be, at least 0; as ``lower``, for the columns as they are.
    public var upper = Double.infinity
    /// Whether the coefficients that are not 0 are fitted again without a penalty.
    public var isRelaxed = false
    /// Told about folds and fits; its error, as when a user cancels, ends the fit.
    public var progress: (any ProgressReporter)?

    /// - Parameter strength: At least 0, for the table as it is; chosen by cross-validation for nil.
    public init(_ regularizer: Regularizer = .lasso, family: Family = .gaussian, strength: Double? = nil) {
        self.regularizer = regularizer
        self.family = family
        self.strength = strength
    }

    /// What does not combine is refused here, before anything is read or computed.
    ///
    /// - Parameter responses: How many targets there are to be.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` and ``LacunaError/unsupported(file:what:)``.
    public func validate(responses: Int = 1) throws {
        if responses > 1, case .subset = regularizer {
            throw LacunaError.unsupported(file: nil, what: "a best subset for several targets")
        }
        if responses > 1 && family != .gaussian {
            throw LacunaError.unsupported(file: nil, what: "several targets with the family \(family.name)")
        }
        func refuse(_ what: String, _ reason: String) throws { throw LacunaError.invalidArgument(what, reason: reason) }
        if let strength, !(strength >= 0) || !strength.isFinite { try refuse("strength", "is \(strength)") }
        if strength == nil, !isSubsetOfSize, choice.folds < 2 {
            try refuse("folds", "are \(choice.folds); 2 are needed")
        }
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
        case .slope(let sequence): _ = try sequence.factors(columns: 2)
        case .subset(let size):
            if let size, size < 1 { try refuse("size", "is \(size); at least 1 column can be chosen") }
            if strength != nil { try refuse("strength", "has no meaning for a best subset, where the size counts") }
            if family == .multinomial {
                throw LacunaError.unsupported(file: nil, what: "a best subset for several classes")
            }
            if isRelaxed { try refuse("relaxed", "has no meaning for a best subset, which has no penalty") }
        default: break
        }
        if family.hasEvents && !hasIntercept {
            try refuse("intercept", "cannot be left out of a hazard, which has none")
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
        if strength == nil, !isSubsetOfSize {
            switch choice.measure {
            case .auc where family != .binomial: try refuse("measure", "auc is for two classes")
            case .errors where !family.hasClasses: try refuse("measure", "errors are for classes")
            case .absolute where family.hasClasses || family.hasEvents:
                try refuse("measure", "mae is for numbers")
            case .concordance where !family.hasEvents: try refuse("measure", "concordance is for times of events")
            default: break
            }
        }
    }

    private var isSubsetOfSize: Bool { if case .subset(_?) = regularizer { true } else { false } }

    var hasLimits: Bool { lower > -.infinity || upper < .infinity }
}
