import Lacuna

/// A published claim, checked at desk scale: the authors' claim is quoted, everything else is computed.
///
/// A reproduction describes its setting in words, measures the method and what it is compared with under the same
/// conditions, and states inequalities that must hold if the claim does. The verdict follows from those alone.
public protocol Reproduction: Sendable {
    /// The name that a user types, such as `DSnoT`. Unique, compared without regard to case.
    var shortName: String { get }
    /// The paper's number in this toolkit's list. Unique.
    var paper: Int { get }
    /// The paper's title.
    var title: String { get }
    /// arXiv identifier, if there is one.
    var arXiv: String? { get }
    /// What the authors found, in one or two sentences.
    var claim: String { get }

    /// Runs the check.
    ///
    /// - Throws: ``LacunaError/cancelled``, or whatever the method under test throws.
    func run(_ context: ReproductionContext) throws -> Outcome
}

/// What a user may choose about a run.
public struct ReproductionContext: Sendable {
    /// Changes every random choice. A verdict is expected to hold for any value.
    public var seed: UInt64
    /// Asks for a version of about a minute or less, with fewer repetitions where that makes sense.
    public var quick: Bool
    public var progress: (any ProgressReporter)?

    public init(seed: UInt64 = 0, quick: Bool = false, progress: (any ProgressReporter)? = nil) {
        self.seed = seed
        self.quick = quick
        self.progress = progress
    }
}
