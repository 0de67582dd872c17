import LacunaLearn
import LacunaTensor

/// How a dictionary is trained: rates, penalties, what is done about features that are never active.
///
/// The defaults are those of TopK dictionaries in the field; dictionaries of a few dozen dimensions want a learning
/// rate of about 3e-3 and dead features after some 20 batches.
public struct DictionaryTraining: Sendable {
    /// Of Adam; nil for `2e-4 / √(width / 16384)`.
    public var learningRate: Double?
    /// Share of the old value in Adam's moving average of gradients; 0 in the runs that ``resampling`` is from.
    public var beta1 = 0.9
    /// Share of the old value in Adam's moving average of their squares.
    public var beta2 = 0.999
    /// Steps in which the rate rises linearly; nil for 1000, or a tenth of the run if that is less.
    public var warmUp: Int?
    /// Share of the run, at its end, in which the rate falls linearly to 0.
    public var decayShare = 0.2
    /// Largest norm of a dictionary's gradients together; nil for no limit.
    public var clipNorm: Double? = 1
    /// What makes rules without a number of active features sparse, or holds JumpReLU to its number.
    public var sparsity: SparsityPenalty?
    /// What is done in the loss for features that are hardly active.
    public var auxiliary: AuxiliaryLoss? = AuxiliaryLoss()
    /// What is done about them from time to time; nil for nothing.
    public var resampling: Resampling?
    /// Widths of nested dictionaries, ascending, that each have to reconstruct by themselves; the loss is their mean,
    /// and the whole width is always one of them. Empty for the whole alone. Bart Bussmann, Noa Nabeshima, Adam
    /// Karvonen, Neel Nanda, "Learning Multi-Level Features with Matryoshka Sparse Autoencoders", arXiv 2503.17547.
    public var prefixes: [Int] = []
    /// Whether directions have norm 1: gradients are freed of their component along them, and every step ends with a
    /// rescaling.
    public var normalizesDirections = true
    /// Whether the decoder's bias begins at the geometric median of the first batch, rather than at 0.
    public var startsAtMedian = true
    /// Whether activations are scaled so that their mean norm in the first batch is `√dimensions`. What is trained is
    /// scaled back at the end, so that the dictionary takes activations as they are.
    public var scalesInputs = true
    /// Share of the old value in the moving average of the thresholds that stand for a batch later on.
    public var thresholdDecay = 0.999
    /// Steps before that average begins; nil for 1000, or half of the run if that is less.
    public var thresholdStart: Int?
    /// Share of the old value in the moving average of how often each feature is active.
    public var activityDecay = 0.99
    /// Of the draws of ``resampling``; nothing else in training is random.
    public var seed: UInt64 = 0

    /// The defaults, which serve rules that fix how many features are active; others need a ``sparsity``.
    public init() {}

    /// - Throws: `LacunaError.invalidArgument` for numbers out of range, and for a setting that the dictionary's rule
    ///   would not use or cannot do without.
    public func validate(for configuration: DictionaryConfiguration, steps: Int) throws {
        func refuse(_ name: String, _ reason: String) -> LacunaError { .invalidArgument(name, reason: reason) }
        func check(_ holds: Bool, _ name: String, _ reason: String) throws { if !holds { throw refuse(name, reason) } }
        try check(steps >= 1, "steps", "\(steps) is not at least 1")
        try check(learningRate ?? 1 > 0 && (learningRate ?? 1).isFinite, "learningRate", "must be positive")
        for (name, value) in [
            ("beta1", beta1), ("beta2", beta2), ("thresholdDecay", thresholdDecay), ("activityDecay", activityDecay),
        ] { try check((0..<1).contains(value), name, "\(value) is not in 0..<1") }
        try check((0...1).contains(decayShare), "decayShare", "\(decayShare) is not in 0...1")
        try check(warmUp ?? 0 >= 0 && thresholdStart ?? 0 >= 0, "warmUp", "must not be negative")
        try check(clipNorm ?? 1 > 0, "clipNorm", "must be positive")
        switch configuration.rule {
        case .relu, .gated:
            guard let sparsity else {
                throw refuse("sparsity", "the rule needs a penalty: nothing else makes codes sparse")
            }
            try sparsity.validate()
        case .jumpReLU:
            guard let sparsity else {
                throw refuse("sparsity", "the rule needs a penalty, which holds it to its number")
            }
            try sparsity.validate()
            try check(sparsity.power == .constant(1), "sparsity", "the penalty of JumpReLU has no power")
        default:
            try check(sparsity == nil, "sparsity", "the rule fixes how many features are active, and takes no penalty")
        }
        if case .matchingPursuit = configuration.rule {
            try check(prefixes.isEmpty, "prefixes", "matching pursuit has no nested dictionaries")
            try check(auxiliary == nil, "auxiliary", "matching pursuit takes no auxiliary loss: it has no encoder")
        }
        try auxiliary?.validate()
        try resampling?.validate()
        var last = 0
        for prefix in prefixes {
            try check(
                prefix > last && prefix <= configuration.width, "prefixes",
                "\(prefixes) are not ascending widths up to \(configuration.width)")
            last = prefix
        }
        try check(prefixes.isEmpty || configuration.rule != .gated, "prefixes", "a gated dictionary has no nested ones")
    }

    func rate(width: Int) -> Double { learningRate ?? 2e-4 / (Double(width) / 16384).squareRoot() }

    /// The rate of every step, relative to the highest.
    func schedule(steps: Int) -> Schedule {
        let warm = min(warmUp ?? min(1000, steps / 10), steps)
        let fall = min(Int(decayShare * Double(steps)), steps - warm)
        let end: Schedule = fall == 0 ? .constant(1) : .linear(from: 1, to: 0, steps: fall)
        let rest: Schedule = .delayed(by: steps - warm - fall, initial: 1, then: end)
        return warm == 0 ? rest : .warmUp(steps: warm, then: rest)
    }
}

/// A term of the loss for strong codes: `λ Σ_j |f_j|^p`, or for JumpReLU `λ (L0 / k - 1)²`.
public struct SparsityPenalty: Sendable, Hashable {
    /// λ of every step.
    public var weight: Schedule
    /// `p` of every step. A power that falls from 1 is p-annealing, in which λ follows so that the penalty does not
    /// jump; Adam Karvonen and others, "Measuring Progress in Dictionary Learning for Language Model Interpretability
    /// with Board Game Models", arXiv 2408.00113.
    public var power: Schedule

    /// - Parameters:
    ///   - weight: λ, 0 or more at every step.
    ///   - power: `p`, above 0 and at most 1; other than 1 not for JumpReLU.
    public init(_ weight: Schedule, power: Schedule = .constant(1)) { (self.weight, self.power) = (weight, power) }
    /// A constant λ after a linear rise over `warmUp` steps.
    public init(_ weight: Double, warmUp: Int = 0) {
        self.init(warmUp > 0 ? .warmUp(steps: warmUp, then: .constant(weight)) : .constant(weight))
    }

    func validate() throws {
        for step in [0, 1 << 40] {
            guard weight(step) >= 0, weight(step).isFinite, power(step) > 0, power(step) <= 1 else {
                throw LacunaError.invalidArgument(
                    "sparsity", reason: "a weight of \(weight(step)) and a power of \(power(step))")
            }
        }
    }
}

/// A second reconstruction, by features that are hardly active, of what the first has left: it moves them to where
/// they are needed.
///
/// `coefficient · mean‖e - f_U W_dec‖² / mean‖e - mean e‖²`, where `e` is the residual, held fixed, and `f_U` the
/// largest pre-activations of each token among the features `U`. Leo Gao and others, arXiv 2406.04093, for the dead;
/// Kola Ayonrinde, arXiv 2411.02124, for the under-used.
public struct AuxiliaryLoss: Sendable, Hashable {
    /// Which features take part.
    public enum Choice: Sendable, Hashable {
        /// Those that have not been active for so many tokens.
        case dead(afterTokens: Int)
        /// Those that are active less often than `share` of what the law of Zipf and Mandelbrot expects at their rank:
        /// `k · tokens` shared out by `(rank + shift)^-exponent`.
        case underUsed(share: Double, exponent: Double, shift: Double)
    }
    /// Which features take part.
    public var choice: Choice
    /// What the term weighs beside the squared error, 0 or more; 0 leaves it out.
    public var coefficient: Double
    /// The most features a token that take part; nil for half of the dimensions.
    public var count: Int?

    /// The defaults are those of TopK dictionaries in the field.
    public init(_ choice: Choice = .dead(afterTokens: 10_000_000), coefficient: Double = 1.0 / 32, count: Int? = nil) {
        (self.choice, self.coefficient, self.count) = (choice, coefficient, count)
    }

    func validate() throws {
        guard coefficient >= 0, coefficient.isFinite, count ?? 1 >= 1 else {
            throw LacunaError.invalidArgument("auxiliary", reason: "a coefficient of \(coefficient)")
        }
        switch choice {
        case .dead(let tokens):
            if !(1...1 << 24).contains(tokens) {
                throw LacunaError.invalidArgument(
                    "auxiliary", reason: "dead after \(tokens) tokens, not 1...\(1 << 24)")
            }
        case .underUsed(let share, let exponent, let shift):
            try FeatureProfile.zipf(exponent: exponent, shift: shift).validate()
            if !(share >= 0 && share.isFinite) {
                throw LacunaError.invalidArgument("auxiliary", reason: "a share of \(share)")
            }
        }
    }
}

/// Features that have not been active since the last time point anew at inputs that are badly reconstructed.
///
/// Inputs are drawn without replacement, each with a probability in proportion to its squared error. The direction
/// becomes the centred input, scaled to norm 1; the encoder's row the same, with 0.2 of the mean norm of the rows of
/// live features; the bias 0. What Adam keeps about them starts at 0, and the learning rate rises anew. Trenton
/// Bricken and others, "Towards Monosemanticity", 2023; constants of Connor Kissane and others, "Interpreting
/// Attention Layer Outputs with Sparse Autoencoders", arXiv 2406.17759.
public struct Resampling: Sendable, Hashable {
    /// Steps between two.
    public var every: Int
    /// How often at most.
    public var times: Int
    /// Batches whose inputs are looked at.
    public var batches: Int
    /// Norm of the new rows of the encoder, relative to those of live features.
    public var encoderScale: Double
    /// Steps over which the learning rate rises again by half a cosine, from a tenth.
    public var rise: Int

    /// - Parameters:
    ///   - every: 25,000 or 100,000 in the authors' runs; as it depends on how long a run is, there is no default.
    ///   - batches: The authors look at 100.
    public init(every: Int, times: Int = 4, batches: Int = 10, encoderScale: Double = 0.2, rise: Int = 1000) {
        (self.every, self.times, self.batches) = (every, times, batches)
        (self.encoderScale, self.rise) = (encoderScale, rise)
    }

    func validate() throws {
        guard every >= 1, times >= 1, batches >= 1, encoderScale > 0, encoderScale.isFinite, rise >= 0 else {
            throw LacunaError.invalidArgument("resampling", reason: "needs positive numbers")
        }
    }

    /// What the learning rate is multiplied by at a step.
    func rate(_ step: Int) -> Double {
        let round = min(step / every, times)
        let since = step - round * every
        guard round > 0, since < rise else { return 1 }
        return Schedule.cosine(from: 0.1, to: 1, steps: rise)(since)
    }
}
