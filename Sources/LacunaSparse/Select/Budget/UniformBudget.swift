import LacunaTensor

/// The same sparsity for every layer.
///
/// In every layer ``Selection/removedCount(sparsity:of:)`` of its entries are removed, so the total is exact to one entry a
/// layer.
public struct UniformBudget: SparsityBudget, Hashable {
    /// 0...1.
    public var value: Double

    /// A budget of one sparsity, 0...1, for every layer.
    public init(_ sparsity: Double) { value = sparsity }

    public var sparsity: Double? { value }
    public var variesByLayer: Bool { false }

    public func allocate(layers: [Layer], scores: [String: Tensor<Float>]?) throws -> [String: Double] {
        try requireDifferentNames(layers)
        try Selection.requireFraction(value, "sparsity")
        return Dictionary(uniqueKeysWithValues: layers.map { ($0.name, value) })
    }
}
