import LacunaLearn
import LacunaSparse
import LacunaTensor

/// A pruning run in words, as people write it: checked, and turned into a ``Pruner``.
///
/// ```swift
/// var plan = PruningPlan(method: "wanda", pattern: "2:4")
/// plan.ignored = ["model.layers.0.*"]
/// let (pruned, report) = try plan.pruner().prune(decoder, calibration: calibration)
/// ```
public struct PruningPlan: Sendable {
    /// How a sparsity is shared out among layers.
    public enum Budget: String, Sendable, Hashable, CaseIterable {
        /// Every layer the same.
        case uniform
        /// By the layers' shapes: ``ErdosRenyiBudget``.
        case erk
        /// By the layers' scores, which all compete: ``GlobalBudget``.
        case global
        /// By the outliers among a block's scores: ``OutlierBudget``.
        case owl
    }

    /// Fraction removed where nothing else is said.
    public static let defaultSparsity = 0.5

    /// Patterns to suggest.
    public static let patternNames = [
        "unstructured", "unstructured:row", "unstructured:layer", "unstructured:global", "2:4", "4:8", "1:4",
        "block:4x4", "block:16x16", "rows", "columns",
    ]

    /// A name of ``PruningMethods``.
    public var method: String
    /// Nil for the method's own: unstructured, whole neurons, or none.
    public var pattern: String?
    /// 0..<1; nil for what the pattern fixes, otherwise a half.
    public var sparsity: Double?
    /// How the sparsity is shared out among layers; uniform for patterns that fix it.
    public var budget: Budget
    /// Layers that get a sparsity of their own, by names such as `model.layers.0.*`; the first that matches counts.
    public var layerSparsities: [(pattern: NamePattern, sparsity: Double)] = []
    /// Layers that stay as they are.
    public var ignored: [NamePattern] = []
    /// Nil for the layout that suits the pattern.
    public var layout: StorageLayout?
    /// The type of stored values.
    public var values: ValueType
    /// For methods that draw random numbers.
    public var seed: UInt64

    /// Wanda at a sparsity of a half in bf16, unless something else is said. Words are checked by ``pruner()``.
    public init(
        method: String = "wanda", pattern: String? = nil, sparsity: Double? = nil, budget: Budget = .uniform,
        layout: StorageLayout? = nil, values: ValueType = .bf16, seed: UInt64 = 0
    ) {
        self.method = method
        self.pattern = pattern
        self.sparsity = sparsity
        self.budget = budget
        self.layout = layout
        self.values = values
        self.seed = seed
    }

    /// The fraction of the weights that will be removed, layers with a sparsity of their own not counted.
    ///
    /// - Throws: As ``pruner()``.
    public func removed() throws -> Double {
        try parsedPattern(PruningMethods.named(method, seed: seed))?.impliedSparsity ?? sparsity ?? Self.defaultSparsity
    }

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for words that are unknown or contradict each other.
    public func pruner() throws -> Pruner {
        let method = try PruningMethods.named(method, seed: seed)
        let pattern = try parsedPattern(method)
        var pruner = Pruner(
            method, pattern: pattern, budget: try parsedBudget(pattern),
            storage: PrunedStorage(layout: layout, values: values))
        pruner.ignored = ignored
        return pruner
    }

    private func parsedPattern(_ method: any PruningMethod) throws -> Pattern? {
        if let method = method as? any MatrixCompression { return try method.pattern(pattern) }
        if let method = method as? any LayerwisePruning {
            let words = pattern ?? "unstructured"
            do {
                return try method.pattern(words)
            } catch LacunaError.invalidArgument(let argument, let reason) {
                throw LacunaError.invalidArgument(
                    argument, reason: reason + Suggestion.phrase(words, among: Self.patternNames))
            }
        }
        if let pattern, try Pattern(pattern) != .rows {
            throw LacunaError.invalidArgument(
                "pattern", reason: "\(method.card.name) removes whole neurons; it takes no pattern but rows")
        }
        return .rows
    }

    private func parsedBudget(_ pattern: Pattern?) throws -> (any SparsityBudget)? {
        if let pattern, let implied = pattern.impliedSparsity {
            if let sparsity, abs(sparsity - implied) > 1e-9 {
                throw LacunaError.invalidArgument(
                    "sparsity", reason: "\(sparsity) contradicts the pattern \(pattern), which removes \(implied)")
            }
            if budget != .uniform || !layerSparsities.isEmpty {
                throw LacunaError.invalidArgument(
                    "budget", reason: "the pattern \(pattern) fixes the sparsity of every layer")
            }
            return nil
        }
        let sparsity = sparsity ?? Self.defaultSparsity
        guard sparsity >= 0 && sparsity < 1 else {
            throw LacunaError.invalidArgument("sparsity", reason: "\(sparsity) is not at least 0 and below 1")
        }
        let base: any SparsityBudget =
            switch budget {
            case .uniform: UniformBudget(sparsity)
            case .erk: ErdosRenyiBudget(sparsity)
            case .global: GlobalBudget(sparsity)
            case .owl: OutlierBudget(sparsity)
            }
        return layerSparsities.isEmpty ? base : OverriddenBudget(base, overrides: layerSparsities)
    }
}
