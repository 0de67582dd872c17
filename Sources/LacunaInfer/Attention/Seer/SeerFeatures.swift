import LacunaModels
import LacunaTensor

/// What a ``SeerGate`` sees of a prompt for one head, and what it is to say: blocks of queries and of keys, pooled before rotation,
/// and the attention between them.
public struct SeerFeatures: Sendable {
    /// [tiles, head size]: the mean of each tile's queries.
    public let queries: Tensor<Float>
    /// [blocks, 3 · head size]: of each block of keys the largest entries, the least, the mean.
    public let keys: Tensor<Float>
    /// Positions at which the tiles begin.
    public let tileStarts: [Int]
    /// Positions at which the blocks begin; those that no key is in are left out.
    public let blockStarts: [Int]
    /// [tiles, blocks]: the largest share of attention that a query of the tile pays to a key of the block, rows divided by their
    /// sums; nil unless it was asked for.
    public let truth: Tensor<Float>?

    /// - Parameters:
    ///   - block: Queries of a tile, and positions of a block.
    ///   - rotary: What the model turned queries and keys by; nil if it did not.
    ///   - hasTruth: Whether attention is computed as well.
    public init(_ request: PromptRequest, block: Int, rotary: RotaryEmbedding?, hasTruth: Bool = false) {
        let (size, runs) = (request.size, request.held)
        let held = HeldKeys(request.store, layer: request.layer, head: request.keyHead, runs: runs, size: size)
        tileStarts = Array(stride(from: request.firstPosition, to: request.end, by: block))
        var pooled = Tensor<Float>(zeros: [tileStarts.count, size])
        withUnsafeTemporaryAllocation(of: Float.self, capacity: size) { memory in
            let turned = memory.baseAddress!
            pooled.withMutablePointer { pooled in
                for i in 0..<request.count {
                    turned.update(from: request.queries + i * request.stride, count: size)
                    rotary?.rotate(turned, position: -(request.firstPosition + i))
                    let rows = min(block, request.count - i / block * block)
                    for e in 0..<size { pooled[i / block * size + e] += turned[e] / Float(rows) }
                }
            }
        }
        queries = pooled
        // Of every key the place of its block among those there are.
        var starts: [Int] = []
        var places: [Int] = []
        held.visit { _, position in
            if starts.last != position / block * block { starts.append(position / block * block) }
            places.append(starts.count - 1)
        }
        blockStarts = starts
        var counts = [Int](repeating: 0, count: starts.count)
        for place in places { counts[place] += 1 }
        var features = Tensor<Float>(zeros: [starts.count, 3 * size])
        withUnsafeTemporaryAllocation(of: Float.self, capacity: size) { memory in
            let turned = memory.baseAddress!
            var seen = [Bool](repeating: false, count: starts.count)
            features.withMutablePointer { features in
                held.withKeys { keys in
                    held.visit { i, position in
                        turned.update(from: keys + i * size, count: size)
                        rotary?.rotate(turned, position: -position)
                        let row = features + places[i] * 3 * size
                        let isFirst = !seen[places[i]]
                        seen[places[i]] = true
                        for e in 0..<size {
                            row[e] = isFirst ? turned[e] : max(row[e], turned[e])
                            row[size + e] = isFirst ? turned[e] : min(row[size + e], turned[e])
                            row[2 * size + e] += turned[e] / Float(counts[places[i]])
                        }
                    }
                }
            }
        }
        keys = features
        truth = hasTruth ? Self.truth(request, held, block: block, places: places, blocks: starts.count) : nil
    }

    /// Features that were pooled elsewhere.
    ///
    /// - Precondition: As many rows of queries as tiles, of keys as blocks; truth [tiles, blocks].
    public init(
        queries: Tensor<Float>, keys: Tensor<Float>, tileStarts: [Int], blockStarts: [Int], truth: Tensor<Float>? = nil
    ) {
        require(
            queries.rows == tileStarts.count && keys.rows == blockStarts.count && keys.columns == 3 * queries.columns
                && (truth == nil || truth!.shape == [queries.rows, keys.rows]), "features of other shapes")
        (self.queries, self.keys, self.truth) = (queries, keys, truth)
        (self.tileStarts, self.blockStarts) = (tileStarts, blockStarts)
    }

    private static func truth(
        _ request: PromptRequest, _ held: HeldKeys, block: Int, places: [Int], blocks: Int
    ) -> Tensor<Float> {
        let tiles = (request.count + block - 1) / block
        var result = Tensor<Float>(zeros: [tiles, blocks])
        let shares = Buffer<Float>(uninitialized: block * held.count)
        result.withMutablePointer { result in
            for tile in 0..<tiles {
                let (first, row) = (tile * block, result + tile * blocks)
                let rows = min(block, request.count - first)
                held.attention(
                    request.queries + first * request.stride, rows: rows, stride: request.stride,
                    first: request.firstPosition + first, window: request.window, size: request.size,
                    scale: request.scale, into: shares.pointer)
                for i in 0..<rows {
                    for (t, place) in places.enumerated() {
                        row[place] = max(row[place], shares.pointer[i * held.count + t])
                    }
                }
                let sum = (0..<blocks).reduce(Float(0)) { $0 + row[$1] }
                if sum > 0 { for b in 0..<blocks { row[b] /= sum } }
            }
        }
        return result
    }
}
