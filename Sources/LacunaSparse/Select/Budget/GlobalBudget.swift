import LacunaTensor

/// One sparsity over all layers, shared out by their scores: entries of all layers compete.
public struct GlobalBudget: SparsityBudget, Hashable {
    /// 0...1.
    public var value: Double

    /// A budget of an overall sparsity, 0...1.
    public init(_ sparsity: Double) { value = sparsity }

    public var sparsity: Double? { value }
    public var needsScores: Bool { true }

    /// What single entries, all competing with each other, would leave of every layer.
    public func allocate(layers: [Layer], scores: [String: Tensor<Float>]?) throws -> [String: Double] {
        try requireDifferentNames(layers)
        guard let scores else {
            throw LacunaError.invalidArgument("budget", reason: "a global one needs the scores of all layers")
        }
        if let missing = layers.first(where: { scores[$0.name] == nil }) {
            throw LacunaError.invalidArgument("scores", reason: "there are none of layer '\(missing.name)'")
        }
        let chosen = Dictionary(uniqueKeysWithValues: layers.map { ($0.name, scores[$0.name]!) })
        return try Selection.selectGlobally(chosen, sparsity: value).mapValues(\.sparsity)
    }

    /// Units of all layers compete; groups of M, which cannot, get what single entries would leave (`any:m`).
    public func masks(scores: [String: Tensor<Float>], pattern: Pattern) throws -> [String: SparsePattern] {
        try pattern.validate()
        try requireAgreement(with: pattern)
        if case .scope = pattern.competition {
            return try Selection.selectGlobally(scores, pattern: pattern, sparsity: value)
        }
        let layers = scores.keys.sorted().map { ($0, scores[$0]!.shape) }
        let sparsities = try sparsities(for: pattern, layers: layers, scores: scores)
        return try Dictionary(
            uniqueKeysWithValues: scores.map { name, scores in
                (name, try Selection.mask(scores: scores, pattern: pattern, sparsity: sparsities[name]))
            })
    }
}
