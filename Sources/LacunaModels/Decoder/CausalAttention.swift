import LacunaTensor

/// Softmax attention in which a query sees the keys up to its own position, for one head.
enum CausalAttention {
    /// A matrix of which one head occupies `headSize` columns, rows `stride` floats apart.
    struct HeadView {
        var pointer: UnsafePointer<Float>
        var stride: Int
    }

    /// Attention of `count` consecutive queries, the first at `firstPosition`, over keys and values that begin at
    /// position 0. Queries go in blocks, as two dense products around a masked softmax.
    ///
    /// - Parameters:
    ///   - window: How many positions back a query sees, itself included.
    ///   - output: Rows `outputStride` floats apart.
    static func attend(
        queries: HeadView, count: Int, firstPosition: Int, keys: HeadView, values: HeadView, headSize: Int,
        window: Int, into output: UnsafeMutablePointer<Float>, outputStride: Int
    ) {
        let last = firstPosition + count
        let block = max(8, min(64, count, 262_144 / last))
        let scores = Buffer<Float>(uninitialized: block * last)
        let scale = 1 / Float(headSize).squareRoot()
        for start in stride(from: 0, to: count, by: block) {
            let rows = min(block, count - start)
            let position = firstPosition + start
            // Keys that at least one query of the block sees.
            let firstKey = max(0, position - window + 1)
            let keyCount = position + rows - firstKey
            LinearAlgebra.gemm(
                m: rows, n: keyCount, k: headSize, alpha: scale, queries.pointer + start * queries.stride,
                leadingA: queries.stride, keys.pointer + firstKey * keys.stride, leadingB: keys.stride,
                transposedB: true, into: scores.pointer, leadingC: keyCount)
            for i in 0..<rows {
                let row = scores.pointer + i * keyCount
                let low = max(0, position + i - window + 1) - firstKey
                let high = position + i + 1 - firstKey
                (row).update(repeating: 0, count: low)
                VectorMath.softmax(row + low, count: high - low)
                (row + high).update(repeating: 0, count: keyCount - high)
            }
            LinearAlgebra.gemm(
                m: rows, n: headSize, k: keyCount, scores.pointer, leadingA: keyCount,
                values.pointer + firstKey * values.stride, leadingB: values.stride,
                into: output + start * outputStride, leadingC: outputStride)
        }
    }

    /// Attention of a single query over `count` contiguous keys and values.
    ///
    /// - Parameter scores: Room for `count` floats.
    static func attend(
        query: UnsafePointer<Float>, keys: UnsafePointer<Float>, values: UnsafePointer<Float>, count: Int,
        headSize: Int, scores: UnsafeMutablePointer<Float>, into output: UnsafeMutablePointer<Float>
    ) {
        VectorMath.attentionScores(
            query: query, keys: keys, count: count, size: headSize, scale: 1 / Float(headSize).squareRoot(),
            into: scores)
        VectorMath.softmax(scores, count: count)
        VectorMath.attentionMix(weights: scores, values: values, count: count, size: headSize, into: output)
    }
}
