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
    private var masks: [MaskKey: Mask] = [:]
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

    func mask(_ shape: Shapes.Matrix, pattern: Pattern, sparsity: Double) throws -> Mask {
        let key = MaskKey(shape: shape, pattern: pattern, sparsity: sparsity)
        if let known = masks[key] { return known }
        let scores = try MagnitudeScore().scores(weight: weight(shape), statistics: nil)
        let mask = try Selection.mask(scores: scores, pattern: pattern, sparsity: sparsity)
        masks[key] = mask
        return mask
    }

    /// The matrices of every group. Those of equal shape have equal values, but memory of their own.
    func matrices(_ shapes: Shapes, _ storage: Storage) throws -> [[any WeightMatrix]] {
        let all = Array(shapes.groups.joined())
        // The caches of weights and masks are filled before several threads read them.
        let sources = try all.map { shape in
            (weight(shape), try storage.pattern.map { try self.mask(shape, pattern: $0, sparsity: storage.sparsity) })
        }
        var made = [Result<any WeightMatrix, any Error>?](repeating: nil, count: all.count)
        made.withUnsafeMutableBufferPointer { made in
            let made = made
            Parallel.forEach(all.count) { i in
                made[i] = Result {
                    try WeightStore.make(
                        sources[i].0, mask: sources[i].1, layout: storage.layout, values: storage.values)
                }
            }
        }
        var next = made.makeIterator()
        return try shapes.groups.map { group in try group.compactMap { _ in try next.next()??.get() } }
    }
}
