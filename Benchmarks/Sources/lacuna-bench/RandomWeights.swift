import LacunaSparse
import LacunaTensor

/// Normal random weights and the masks of magnitude pruning, made once for each shape.
///
/// The speed of a product depends on where values are, not on what they are: random weights stand for trained ones, but
/// with a mask over the whole matrix, so that rows keep different numbers of values as they do in real models.
final class RandomWeights {
    private struct MaskKey: Hashable {
        var shape: Shapes.Matrix
        var pattern: Pattern
        var sparsity: Double
    }

    private var weights: [Shapes.Matrix: Tensor<Float>] = [:]
    private var masks: [MaskKey: SparsePattern] = [:]
    private let seed: UInt64

    init(seed: UInt64) { self.seed = seed }

    func weight(_ shape: Shapes.Matrix) -> Tensor<Float> {
        if let known = weights[shape] { return known }
        var generator = SeededGenerator(seed: seed, stream: UInt64(shape.rows << 20 | shape.columns))
        let weight = Tensor<Float>(
            normal: [shape.rows, shape.columns], standardDeviation: 1 / Float(shape.columns).squareRoot(),
            using: &generator)
        weights[shape] = weight
        return weight
    }

    func mask(_ shape: Shapes.Matrix, pattern: Pattern, sparsity: Double) throws -> SparsePattern {
        let key = MaskKey(shape: shape, pattern: pattern, sparsity: sparsity)
        if let known = masks[key] { return known }
        let scores = try MagnitudeScore().scores(weight: weight(shape), statistics: nil)
        let mask = try Selection.mask(scores: scores, pattern: pattern, sparsity: sparsity)
        masks[key] = mask
        return mask
    }

    /// One matrix, in memory of its own.
    func matrix(_ shape: Shapes.Matrix, _ storage: Storage) throws -> any StoredMatrix {
        let mask = try storage.pattern.map { try self.mask(shape, pattern: $0, sparsity: storage.sparsity) }
        return try WeightStore.make(weight(shape), mask: mask, layout: storage.layout, values: storage.values)
    }

    /// The matrices of every group, one behind the other in memory, as loading a model puts them. Those of equal shape
    /// have equal values.
    func matrices(_ shapes: Shapes, _ storage: Storage) throws -> [[any StoredMatrix]] {
        try shapes.groups.map { try $0.map { try matrix($0, storage) } }
    }
}
