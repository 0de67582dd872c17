import LacunaPrune
import LacunaSparse
import LacunaTensor

/// A pruning run as a user describes it: the words, checked and turned into a ``Pruner``.
struct PruningPlan {
    enum Budget: String, CaseIterable {
        case uniform, erk, global
    }

    static let defaultSparsity = 0.5

    var method = "wanda"
    /// Nil for the method's own: unstructured, or whole neurons.
    var pattern: String?
    /// Nil for what the pattern fixes, otherwise a half.
    var sparsity: Double?
    var budget = Budget.uniform
    /// Nil for the layout that suits the pattern.
    var layout: StorageLayout?
    var values = ValueType.bf16
    var seed: UInt64 = 0

    /// The fraction of the weights that will be removed.
    ///
    /// - Throws: As ``pruner()``.
    func removed() throws -> Double {
        try parsedPattern(PruningMethods.named(method, seed: seed)).impliedSparsity ?? sparsity ?? Self.defaultSparsity
    }

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for words that are unknown or contradict each other.
    func pruner() throws -> Pruner {
        let method = try PruningMethods.named(method, seed: seed)
        let pattern = try parsedPattern(method)
        return Pruner(
            method, pattern: pattern, budget: try parsedBudget(pattern),
            storage: PrunedStorage(layout: layout, values: values))
    }

    private func parsedPattern(_ method: any PruningMethod) throws -> Pattern {
        if let method = method as? any LayerwisePruning {
            let words = pattern ?? "unstructured"
            do {
                return try method.pattern(words)
            } catch LacunaError.invalidArgument(let argument, let reason) {
                throw LacunaError.invalidArgument(
                    argument, reason: reason + Suggestion.phrase(words, among: NameCompletion.patternNames))
            }
        }
        if let pattern, try Pattern(pattern) != .rows {
            throw LacunaError.invalidArgument(
                "--pattern", reason: "\(method.card.name) removes whole neurons; it takes no pattern but rows")
        }
        return .rows
    }

    private func parsedBudget(_ pattern: Pattern) throws -> SparsityBudget? {
        if let implied = pattern.impliedSparsity {
            if let sparsity, abs(sparsity - implied) > 1e-9 {
                throw LacunaError.invalidArgument(
                    "--sparsity", reason: "\(sparsity) contradicts the pattern \(pattern), which removes \(implied)")
            }
            if budget != .uniform {
                throw LacunaError.invalidArgument(
                    "--budget", reason: "the pattern \(pattern) fixes the sparsity of every layer")
            }
            return nil
        }
        let sparsity = sparsity ?? Self.defaultSparsity
        guard sparsity >= 0 && sparsity < 1 else {
            throw LacunaError.invalidArgument("--sparsity", reason: "\(sparsity) is not at least 0 and below 1")
        }
        return switch budget {
        case .uniform: .uniform(sparsity)
        case .erk: .erdosRenyiKernel(sparsity)
        case .global: .global(sparsity)
        }
    }
}
