import LacunaTensor

/// A sparsity for every layer by name.
public struct LayerBudget: SparsityBudget, Hashable {
    /// 0...1 each; for just the layers that are pruned.
    public var sparsities: [String: Double]

    /// A budget of the sparsity, 0...1, of every layer by its name.
    public init(_ sparsities: [String: Double]) { self.sparsities = sparsities }

    /// Nil unless all layers have one: it depends on their sizes.
    public var sparsity: Double? {
        Set(sparsities.values).count == 1 ? sparsities.values.first : nil
    }

    public var variesByLayer: Bool { Set(sparsities.values).count > 1 }

    public func allocate(layers: [Layer], scores: [String: Tensor<Float>]?) throws -> [String: Double] {
        try requireDifferentNames(layers)
        let names = Set(layers.map(\.name))
        if let unknown = sparsities.keys.sorted().first(where: { !names.contains($0) }) {
            throw LacunaError.invalidArgument("sparsity", reason: "there is no layer '\(unknown)'")
        }
        for layer in layers {
            guard let sparsity = sparsities[layer.name] else {
                throw LacunaError.invalidArgument("sparsity", reason: "none is given for layer '\(layer.name)'")
            }
            try Selection.requireFraction(sparsity, "sparsity of '\(layer.name)'")
        }
        return sparsities
    }
}
