import LacunaIO
import LacunaLearn
import LacunaSparse
import LacunaTensor

/// N:M training in which what is masked fades out, instead of vanishing at once.
///
/// - Mask decay: the forward weight is `W (m + (1 - m) β_t)` with `β = max(0, 1 - c u)` or `exp(-c u)`, u in 0..<1 being the
///   share of the run that is done. The gradient passes to all weights unchanged, as in the authors' release, or by the
///   chain rule.
/// - Structure decay: the pattern itself tightens in equal frames, `M-1:M, M/2:M, ..., N:M`, or at a constant ratio
///   `8N:8M, 4N:4M, 2N:2M, N:M`.
///
/// Abhimanyu Rajeshkumar Bambhaniya and others, "Progressive Gradient Flow for Robust N:M Sparsity Training in
/// Transformers", arXiv 2402.04744. Evaluation always uses the hard mask.
public final class ProgressiveGradientFlow: TrainingMethod {
    /// What tightens during the run.
    public enum Flow: Sendable, Hashable {
        /// `exp(-c u)`.
        case exponential(Double)
        /// `max(0, 1 - c u)`.
        case linear(Double)
        /// `M-1:M, M/2:M, …, N:M`.
        case stepwise
        /// `8N:8M, …, N:M`.
        case geometric
    }

    /// Entries kept of every group at the end.
    public let n: Int
    /// Consecutive inputs of a group.
    public let m: Int
    /// What tightens during the run.
    public let flow: Flow
    /// The layers that are pruned. Their weights are dense and without masks.
    public let layers: LayerChoice
    /// Whether gradients of masked weights are multiplied by β, as the chain rule has it; the authors' release passes
    /// them on as they are.
    public let appliesChainRule: Bool
    private let views = StraightThroughLayers()
    private let frames: PatternSchedule?

    /// - Throws: `LacunaError.invalidArgument` for a bad pattern, of the flow's too, or a rate that is negative or not finite.
    public init(
        n: Int, m: Int, flow: Flow = .exponential(6), layers: LayerChoice = .allButOutput,
        appliesChainRule: Bool = false
    ) throws {
        try Pattern.nm(n: n, m: m).validate()
        switch flow {
        case .exponential(let c), .linear(let c):
            // An infinite rate would make the first factor, of no progress at all, no number.
            guard c >= 0, c.isFinite else {
                throw LacunaError.invalidArgument("rate", reason: "\(c) is negative or not finite")
            }
            frames = nil
        case .stepwise: frames = .stepwise(n: n, m: m)
        case .geometric: frames = .geometric(n: n, m: m)
        }
        for pattern in frames?.frames ?? [] { try pattern?.validate() }
        self.n = n
        self.m = m
        self.flow = flow
        self.layers = layers
        self.appliesChainRule = appliesChainRule
    }

    public var card: MethodCard {
        MethodCard(
            name: "pgf", family: .sparseTraining,
            paper: .init(
                authors:
                    "Abhimanyu Rajeshkumar Bambhaniya, Amir Yazdanbakhsh, Suvinay Subramanian, Sheng-Chun Kao, Shivani "
                    + "Agrawal, Utku Evci, Tushar Krishna",
                title: "Progressive Gradient Flow for Robust N:M Sparsity Training in Transformers",
                arXiv: "2402.04744"),
            composition: ["|w|", "N:M", "straight-through, masked values or patterns decaying"])
    }

    /// What masked weights are multiplied by at a share of the run.
    public func factor(at progress: Double) -> Double {
        switch flow {
        case .exponential(let c): exponential(-c * progress)
        case .linear(let c): max(0, 1 - c * progress)
        case .stepwise, .geometric: 0
        }
    }

    /// The pattern at a share of the run.
    public func pattern(at progress: Double) -> Pattern {
        frames.flatMap { $0.pattern(at: progress) } ?? .nm(n: n, m: m)
    }

    public func attach(_ run: TrainingRun) throws {
        try views.attach(layers, of: run.model, pattern(at: run.progress))
        for (_, _, view) in views.layers { view.appliesChainRule = appliesChainRule }
    }

    public func beforeStep(_ run: TrainingRun) throws {
        for (_, _, view) in views.layers {
            view.pattern = pattern(at: run.progress)
            view.maskedFactor = Float(factor(at: run.progress))
        }
    }

    public func end(_ run: TrainingRun) throws {
        for (_, _, view) in views.layers { view.pattern = .nm(n: n, m: m) }
        try views.finish()
    }
}
