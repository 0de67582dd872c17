import LacunaTensor

/// Every pruning method, by name.
public enum PruningMethods {
    /// One of each, with default settings, in the order of listings.
    public static let all: [any PruningMethod] = [
        RandomPruning(), Magnitude(), Wanda(), SparseGPT(), RefinedPruning.dsnot, CFSP(), LowRank(), WeLore(),
        CoSpaDi(), ARMOR(), GQSA(),
    ]

    /// The method of a name, in any case. `dsnot` refines Wanda's masks; `magnitude+dsnot` and `random+dsnot` refine
    /// those of another method.
    ///
    /// - Parameter seed: For methods that draw random numbers.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` with the names there are, and
    ///   ``LacunaError/unsupported(file:what:)`` for a refinement after a method that changes weights.
    public static func named(_ name: String, seed: UInt64 = 0) throws -> any PruningMethod {
        let parts = name.lowercased().split(separator: "+", omittingEmptySubsequences: false).map(String.init)
        if parts.count == 2, parts[1] == DSnoT().card.name, let base = single(parts[0], seed) as? any LayerwisePruning {
            return try RefinedPruning(base, then: DSnoT())
        }
        if parts.count == 1, let method = single(parts[0], seed) { return method }
        let names = all.map(\.card.name).joined(separator: ", ")
        throw LacunaError.invalidArgument(
            "method",
            reason: "there is no '\(name)'; there are \(names), and NAME+dsnot for methods that choose a mask"
                + Suggestion.phrase(name, among: all.map(\.card.name)))
    }

    private static func single(_ name: String, _ seed: UInt64) -> (any PruningMethod)? {
        switch name {
        case RandomPruning().card.name: return RandomPruning(seed: seed)
        case CoSpaDi().card.name: return CoSpaDi(seed: seed)
        case ARMOR().card.name: return ARMOR(seed: seed)
        case GQSA().card.name: return GQSA(seed: seed)
        default: break
        }
        return all.first { $0.card.name == name }
    }
}
