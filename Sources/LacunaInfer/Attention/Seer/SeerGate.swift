import LacunaModels
import LacunaTensor

/// Says, for blocks of a prompt's queries, which blocks of keys they will attend to: linear maps of pooled queries and keys, turned
/// by their places and multiplied, one for every head. It is learned from the attention of the model itself, which stays as it is.
///
/// `softmax(R(s_i) W_q q̄_i · R(s_j) W_k [max k_j, min k_j, k̄_j] / √width)` over the blocks j that tile i may see, with q̄ and k
/// before rotation, s the positions at which tile and block begin, and R the rotation of the model over the gate's width.
///
/// Yizhao Gao and others, "SeerAttention: Learning Intrinsic Sparse Attention in Your LLMs", arXiv 2410.13276. The map of queries is
/// a query head's own, that of keys is shared as keys are.
public struct SeerGate: Sendable {
    /// The maps of a layer.
    public struct Layer: Sendable {
        /// Of every query head, [width, head size].
        public var queries: [Tensor<Float>]
        /// Of every key head, [width, 3 · head size].
        public var keys: [Tensor<Float>]

        /// Maps of one layer.
        public init(queries: [Tensor<Float>], keys: [Tensor<Float>]) { (self.queries, self.keys) = (queries, keys) }
    }

    /// Queries of a tile, and positions of a block.
    public let block: Int
    /// Of what is multiplied. Even.
    public let width: Int
    /// One for every layer.
    public let layers: [Layer]
    /// What the model turns queries and keys by, of every layer; nil where it does not.
    public let rotations: [RotaryEmbedding?]
    /// The same over the gate's width.
    let gateRotations: [RotaryEmbedding?]

    /// A gate of given maps.
    ///
    /// - Precondition: As many rotations as layers; an even width.
    public init(block: Int, width: Int, layers: [Layer], rotations: [RotaryEmbedding?]) {
        require(
            block >= 1 && width >= 2 && width % 2 == 0 && layers.count == rotations.count,
            "a gate of \(layers.count) layers, blocks of \(block), width \(width)")
        (self.block, self.width, self.layers, self.rotations) = (block, width, layers, rotations)
        gateRotations = rotations.map { Self.widened($0, to: width) }
    }

    /// The rotation of a model over another width; scalings that have a number for each frequency do not carry over.
    static func widened(_ rotation: RotaryEmbedding?, to width: Int) -> RotaryEmbedding? {
        rotation.map { rotation in
            var parameters = rotation.parameters
            parameters.layout = .halves
            if case .perFrequency = parameters.scaling { parameters.scaling = .none }
            return RotaryEmbedding(parameters, headSize: width)
        }
    }

    /// Logits [tiles, blocks] of a head; of blocks that begin after a tile's end -∞.
    public func logits(_ features: SeerFeatures, layer: Int, head: Int) -> Tensor<Float> {
        let maps = layers[layer]
        let keyHead = head / (maps.queries.count / maps.keys.count)
        let (tiles, blocks) = (features.tileStarts, features.blockStarts)
        func mapped(_ x: Tensor<Float>, _ map: Tensor<Float>, _ starts: [Int]) -> Tensor<Float> {
            var y = Tensor<Float>(uninitialized: [x.rows, width])
            y.withMutablePointer { y in
                x.withPointer { x in
                    map.withPointer {
                        LinearAlgebra.gemm(
                            m: starts.count, n: width, k: map.columns, x, leadingA: map.columns, $0,
                            leadingB: map.columns, transposedB: true, into: y, leadingC: width)
                    }
                }
                if let rotation = gateRotations[layer] {
                    for (i, start) in starts.enumerated() { rotation.rotate(y + i * width, position: start) }
                }
            }
            return y
        }
        let q = mapped(features.queries, maps.queries[head], tiles)
        let k = mapped(features.keys, maps.keys[keyHead], blocks)
        var result = Tensor<Float>(uninitialized: [tiles.count, blocks.count])
        result.withMutablePointer { result in
            q.withPointer { q in
                k.withPointer {
                    LinearAlgebra.gemm(
                        m: tiles.count, n: blocks.count, k: width, alpha: 1 / Float(width).squareRoot(), q,
                        leadingA: width, $0, leadingB: width, transposedB: true, into: result, leadingC: blocks.count)
                }
            }
            for (i, tile) in tiles.enumerated() {
                for (j, start) in blocks.enumerated() where start >= tile + block {
                    result[i * blocks.count + j] = -.infinity
                }
            }
        }
        return result
    }
}
