import LacunaTensor

/// What a release may reveal about one row: (ε, δ)-differential privacy. For any two tables that differ in one row and any
/// set of outputs, `P[output | one] <= exp(ε) P[output | other] + δ`.
public struct PrivacyBudget: Sendable, Equatable {
    /// Above 0.
    public let epsilon: Double
    /// 0 for pure differential privacy.
    public let delta: Double

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` unless ε is finite and above 0, and δ at least 0 and below 1.
    public init(epsilon: Double, delta: Double = 0) throws {
        guard epsilon > 0, epsilon.isFinite else {
            throw LacunaError.invalidArgument("epsilon", reason: "must be a finite number above 0, but is \(epsilon)")
        }
        guard delta >= 0, delta < 1 else {
            throw LacunaError.invalidArgument("delta", reason: "must be at least 0 and below 1, but is \(delta)")
        }
        self.epsilon = epsilon
        self.delta = delta
    }

    private init(unchecked epsilon: Double, _ delta: Double) {
        self.epsilon = epsilon
        self.delta = delta
    }

    /// The share that each of `parts` releases about the same row may spend.
    public func divided(by parts: Int) -> PrivacyBudget {
        require(parts > 0)
        return PrivacyBudget(unchecked: epsilon / Double(parts), delta / Double(parts))
    }

    /// Sequential composition: what two releases about the same row reveal together, at most.
    public static func + (a: PrivacyBudget, b: PrivacyBudget) -> PrivacyBudget {
        PrivacyBudget(unchecked: a.epsilon + b.epsilon, min(a.delta + b.delta, 1))
    }
}

/// What was spent, release by release.
public struct PrivacyAccount: Sendable, Equatable {
    /// One thing that was let out.
    public struct Release: Sendable, Equatable {
        /// What was released, such as "choice of the support".
        public let name: String
        /// The mechanism and its calibration.
        public let mechanism: String
        /// What it spent.
        public let budget: PrivacyBudget

        /// A release by its name.
        public init(_ name: String, mechanism: String, budget: PrivacyBudget) {
            self.name = name
            self.mechanism = mechanism
            self.budget = budget
        }
    }

    /// Who sees the rows.
    public enum Model: String, Sendable {
        /// Every row is randomised before anyone collects it.
        case local
        /// A trusted curator sees all rows; only the result is private.
        case central
    }

    /// Who sees the rows.
    public let model: Model
    /// Releases about the same row.
    public let releases: [Release]

    /// - Precondition: There is a release.
    public init(model: Model, releases: [Release]) {
        require(!releases.isEmpty)
        self.model = model
        self.releases = releases
    }

    /// The sum over the releases.
    public var total: PrivacyBudget { releases.dropFirst().reduce(releases[0].budget) { $0 + $1.budget } }
}
