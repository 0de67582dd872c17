import LacunaLearn
import LacunaSparse
import LacunaTensor

/// A budget with exceptions: layers whose names match a pattern get the sparsity beside it, all others what the budget gives
/// them, its own sparsity over these others.
public struct OverriddenBudget: SparsityBudget {
    /// What shares a sparsity out among the layers that no exception names.
    public var base: any SparsityBudget
    /// The first that matches a name counts; 0...1 each.
    public var overrides: [(pattern: NamePattern, sparsity: Double)]

    /// Checked when it allocates: each pattern has to match a layer.
    public init(_ base: any SparsityBudget, overrides: [(pattern: NamePattern, sparsity: Double)]) {
        self.base = base
        self.overrides = overrides
    }

    /// Nil unless there are no exceptions: it depends on the layers.
    public var sparsity: Double? { overrides.isEmpty ? base.sparsity : nil }
    public var variesByLayer: Bool { !overrides.isEmpty || base.variesByLayer }
    public var needsScores: Bool { base.needsScores }

    public func allocate(layers: [Layer], scores: [String: Tensor<Float>]?) throws -> [String: Double] {
        for (pattern, sparsity) in overrides {
            guard (0...1).contains(sparsity) else {
                throw LacunaError.invalidArgument("sparsity", reason: "\(sparsity) of '\(pattern)' is not in 0...1")
            }
            guard layers.contains(where: { pattern.matches($0.name) }) else {
                throw LacunaError.invalidArgument("sparsity", reason: "'\(pattern)' is the name of no layer")
            }
        }
        func given(_ layer: Layer) -> Double? { overrides.first { $0.pattern.matches(layer.name) }?.sparsity }
        let others = layers.filter { given($0) == nil }
        var result = try others.isEmpty ? [:] : base.allocate(layers: others, scores: scores)
        for layer in layers { if let sparsity = given(layer) { result[layer.name] = sparsity } }
        return result
    }
}
