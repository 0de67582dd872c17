import LacunaIO
import LacunaLearn
import LacunaSparse
import LacunaTensor

/// N:M training in which what is masked fades out, instead of vanishing at once.
///
/// - Mask decay: the forward weight is `W (m + (1 - m) β_t)` with `β = max(0, 1 - c u)` or `exp(-c u)`, u in 0..<1 being the
///   share of the decay that is done. The gradient passes to all weights unchanged, as in the authors' release, or by the
///   chain rule.
/// - Structure decay: the pattern itself tightens in equal frames, `M-1:M, M/2:M, ..., N:M`, or at a constant ratio
///   `8N:8M, 4N:4M, 2N:2M, N:M`.
///
/// A share of the run can come before it in which all weights take part, and one after it in which the last mask is fixed and
/// the weights under it are gone: the phases of the authors' recipes, of which most have neither.
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
    /// The share of the run, at its beginning, that is dense training.
    public let dense: Double
    /// The share of the run, at its end, in which the mask is fixed and masked weights are 0.
    public let fineTune: Double
    /// The layers that are pruned. Their weights are dense and without masks.
    public let layers: LayerChoice
    /// Whether gradients of masked weights are multiplied by β, as the chain rule has it; the authors' release passes
    /// them on as they are.
    public let appliesChainRule: Bool
    private let views = StraightThroughLayers()
    private let frames: PatternSchedule?

    /// - Throws: `LacunaError.invalidArgument` for a bad pattern, of the flow's too, a rate that is negative or not finite, and phases
    ///   that leave nothing of the run.
    public init(
        n: Int, m: Int, flow: Flow = .exponential(6), dense: Double = 0, fineTune: Double = 0,
        layers: LayerChoice = .allButOutput, appliesChainRule: Bool = false
    ) throws {
        try Pattern.nm(n: n, m: m).validate()
        for (name, share) in [("dense", dense), ("fine_tune", fineTune)] where !(0..<1).contains(share) {
            throw LacunaError.invalidArgument(name, reason: "\(share) is not in 0..<1")
        }
        guard dense + fineTune < 1 else {
            throw LacunaError.invalidArgument(
                "fine_tune", reason: "\(fineTune) and dense \(dense) leave nothing between")
        }
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
        self.dense = dense
        self.fineTune = fineTune
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
            composition: ["|w|", "N:M", "straight-through, masked values or patterns decaying"],
            implements: [
                "decay of mask values, exponential or linear, straight-through or by the chain rule",
                "decay of the pattern, stepwise or at one ratio",
                "a dense part before and one under the last mask behind",
            ],
            leavesOut: ["products that skip what is masked"])
    }

    /// The share of the decay that is done, 0...1, at a share of the run.
    private func share(at progress: Double) -> Double {
        min(max((progress - dense) / (1 - dense - fineTune), 0), 1)
    }

    /// What masked weights are multiplied by at a share of the run: 1 in the dense part, 0 in the last one.
    public func factor(at progress: Double) -> Double {
        if progress < dense { return 1 }
        if progress >= 1 - fineTune { return 0 }
        return switch flow {
        case .exponential(let c): exponential(-c * share(at: progress))
        case .linear(let c): max(0, 1 - c * share(at: progress))
        case .stepwise, .geometric: 0
        }
    }

    /// The pattern at a share of the run.
    public func pattern(at progress: Double) -> Pattern {
        frames.flatMap { $0.pattern(at: share(at: progress)) } ?? .nm(n: n, m: m)
    }

    /// The first step of the last part; that behind the last if there is none.
    private func cut(_ run: TrainingRun) -> Int {
        run.totalSteps - Int((fineTune * Double(run.totalSteps)).rounded(.down))
    }

    public func attach(_ run: TrainingRun) throws {
        if run.step > cut(run) { return }
        try views.attach(layers, of: run.model, pattern(at: run.progress))
        for (_, _, view) in views.layers { view.appliesChainRule = appliesChainRule }
    }

    public func beforeStep(_ run: TrainingRun) throws {
        if run.step == cut(run) { return try finish() }
        guard run.step < cut(run) else { return }
        for (_, _, view) in views.layers {
            view.pattern = pattern(at: run.progress)
            view.maskedFactor = Float(factor(at: run.progress))
        }
    }

    public func end(_ run: TrainingRun) throws {
        // A run can also end early, before the last part.
        if views.layers.contains(where: { $0.weight.view != nil }) { try finish() }
    }

    /// Fixes the masks of the last pattern.
    private func finish() throws {
        for (_, _, view) in views.layers { view.pattern = .nm(n: n, m: m) }
        try views.finish()
    }
}
