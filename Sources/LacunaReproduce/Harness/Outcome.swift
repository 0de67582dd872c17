/// One quantity as measured here, next to what it is compared with.
public struct Measurement: Sendable, Equatable {
    /// What was measured, such as "relative output error, 70 % removed".
    public var quantity: String
    public var measured: Double
    /// The same quantity for the baseline, or nil where there is nothing to compare with.
    public var baseline: Double?
    /// What the baseline is, such as "Wanda".
    public var baselineName: String
    /// The standard error of `measured` over seeds, if it is a mean over them.
    public var standardError: Double?
    /// That of `baseline`.
    public var baselineError: Double?

    public init(_ quantity: String, measured: Double, baseline: Double? = nil, baselineName: String = "") {
        self.quantity = quantity
        self.measured = measured
        self.baseline = baseline
        self.baselineName = baselineName
    }
}

/// An inequality between two measured numbers, with the sentence that it stands for.
public struct Check: Sendable, Equatable {
    public enum Relation: String, Sendable {
        case less = "<"
        case atMost = "<="
        case greater = ">"
        case atLeast = ">="
    }

    /// The part of the claim that this inequality tests.
    public var statement: String
    public var left: Double
    public var relation: Relation
    public var right: Double

    public init(_ statement: String, _ left: Double, _ relation: Relation, _ right: Double) {
        self.statement = statement
        self.left = left
        self.relation = relation
        self.right = right
    }

    /// False too when either side is not a number.
    public var holds: Bool {
        switch relation {
        case .less: left < right
        case .atMost: left <= right
        case .greater: left > right
        case .atLeast: left >= right
        }
    }
}

/// What a set of checks says about a claim.
public enum Verdict: Sendable, Equatable, CustomStringConvertible {
    case reproduced
    /// Some checks hold and some do not.
    case partially(holding: Int, of: Int)
    case notReproduced

    public var description: String {
        switch self {
        case .reproduced: "reproduced"
        case .partially(let holding, let total): "partially reproduced (\(holding) of \(total) checks hold)"
        case .notReproduced: "not reproduced"
        }
    }
}

/// The result of a reproduction.
public struct Outcome: Sendable, Equatable {
    /// Data, model, sizes and repetitions, in a sentence or two.
    public var setting: String
    public var measurements: [Measurement]
    /// The inequalities that make the verdict.
    public var checks: [Check]
    /// What a reader should know besides: differences from the authors' setting, surprises.
    public var notes: [String]
    /// Parts that were not run because their data is not on this machine, a sentence each.
    public var missing: [String]

    public init(
        setting: String, measurements: [Measurement], checks: [Check], notes: [String] = [], missing: [String] = []
    ) {
        self.setting = setting
        self.measurements = measurements
        self.checks = checks
        self.notes = notes
        self.missing = missing
    }

    /// Nothing could be run.
    static func notRun(missing: String) -> Outcome {
        Outcome(setting: "not run", measurements: [], checks: [], missing: [missing])
    }

    /// Follows from ``checks`` alone: those of the parts that were run. A reproduction without checks reproduces nothing.
    public var verdict: Verdict {
        let holding = checks.count { $0.holds }
        if holding == 0 { return .notReproduced }
        return holding == checks.count ? .reproduced : .partially(holding: holding, of: checks.count)
    }
}
