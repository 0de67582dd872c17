import LacunaSparse
import LacunaTensor

/// Causal self-attention with rotary positions, in which groups of query heads share a key/value head (Ainslie et al.,
/// "GQA: Training Generalized Multi-Query Transformer Models from Multi-Head Checkpoints", arXiv:2305.13245).
public struct Attention: Sendable {
    public var query: LinearLayer
    public var key: LinearLayer
    public var value: LinearLayer
    public var output: LinearLayer
    public let headCount: Int
    public let keyValueHeadCount: Int
    public let headSize: Int
    /// How many positions back a query sees, itself included; nil for all.
    public let slidingWindow: Int?

    public init(
        query: LinearLayer, key: LinearLayer, value: LinearLayer, output: LinearLayer,
        configuration: DecoderConfiguration
    ) {
        self.query = query
        self.key = key
        self.value = value
        self.output = output
        headCount = configuration.headCount
        keyValueHeadCount = configuration.keyValueHeadCount
        headSize = configuration.headSize
        slidingWindow = configuration.slidingWindow
    }

    /// The outputs for `count` rows of `x`: whole sequences of `run.sequenceLength` rows.
    func forward(
        _ x: UnsafePointer<Float>, count: Int, run: BlockRun, into result: UnsafeMutablePointer<Float>,
        observe: BlockObserver?
    ) throws {
        let (queryWidth, keyWidth) = (headCount * headSize, keyValueHeadCount * headSize)
        let queries = Buffer<Float>(uninitialized: count * queryWidth)
        let keys = Buffer<Float>(uninitialized: count * keyWidth)
        let values = Buffer<Float>(uninitialized: count * keyWidth)
        try observe?([.query, .key, .value], x, count)
        LinearLayer.multiply([(query, queries.pointer), (key, keys.pointer), (value, values.pointer)], x, count: count)
        Parallel.forRanges(count, grain: 32) { rows in
            for i in rows {
                let angles = run.angles.pointer + i % run.sequenceLength * headSize
                run.rotary.rotate(queries.pointer + i * queryWidth, heads: headCount, angles: angles)
                run.rotary.rotate(keys.pointer + i * keyWidth, heads: keyValueHeadCount, angles: angles)
            }
        }
        let mixed = Buffer<Float>(uninitialized: count * queryWidth)
        if let (cache, layer) = run.cache {
            cache.store(layer: layer, keys: keys.pointer, values: values.pointer, count: count)
        }
        attend(queries.pointer, keys.pointer, values.pointer, count: count, run: run, into: mixed.pointer)
        try observe?([.output], mixed.pointer, count)
        LinearLayer.multiply([(output, result)], mixed.pointer, count: count)
    }

    private func attend(
        _ queries: UnsafePointer<Float>, _ keys: UnsafePointer<Float>, _ values: UnsafePointer<Float>, count: Int,
        run: BlockRun, into mixed: UnsafeMutablePointer<Float>
    ) {
        let (queryWidth, keyWidth) = (headCount * headSize, keyValueHeadCount * headSize)
        let length = run.sequenceLength
        // Long sequences are cut so that there is work for many threads even when there is one of them.
        let piece = max(256, (length + 3) / 4)
        let pieces = (length + piece - 1) / piece
        Parallel.forEach(count / length * headCount * pieces) { item in
            let (sequence, rest) = (item / (headCount * pieces), item % (headCount * pieces))
            let (head, start) = (rest / pieces, rest % pieces * piece)
            let shared = head / (headCount / keyValueHeadCount)
            let first = sequence * length
            var keyView = CausalAttention.HeadView(
                pointer: keys + first * keyWidth + shared * headSize, stride: keyWidth)
            var valueView = CausalAttention.HeadView(
                pointer: values + first * keyWidth + shared * headSize, stride: keyWidth)
            if let (cache, layer) = run.cache {
                keyView = .init(pointer: cache.keys(layer: layer, head: shared), stride: headSize)
                valueView = .init(pointer: cache.values(layer: layer, head: shared), stride: headSize)
            }
            let offset = (first + start) * queryWidth + head * headSize
            CausalAttention.attend(
                queries: .init(pointer: queries + offset, stride: queryWidth), count: min(piece, length - start),
                firstPosition: run.firstPosition + start, keys: keyView, values: valueView, headSize: headSize,
                window: slidingWindow ?? Int.max / 2, into: mixed + offset, outputStride: queryWidth)
        }
    }

    /// The output for one vector at the position after those in the cache.
    func decode(_ workspace: DecodingWorkspace, rotary: RotaryEmbedding, cache: KeyValueCache, layer: Int) {
        let (q, k, v) = (workspace.query.pointer, workspace.key.pointer, workspace.value.pointer)
        Product.gemv(
            [(query.weight, q), (key.weight, k), (value.weight, v)], x: workspace.normalized.pointer)
        query.addBias(q)
        key.addBias(k)
        value.addBias(v)
        rotary.rotate(q, heads: headCount, angles: workspace.angles.pointer)
        rotary.rotate(k, heads: keyValueHeadCount, angles: workspace.angles.pointer)
        cache.store(layer: layer, keys: k, values: v, count: 1)

        let end = cache.count + 1
        let start = max(0, end - (slidingWindow ?? end))
        let group = headCount / keyValueHeadCount
        let mixed = workspace.mixed.pointer
        // The heads of a group read the same keys and values, so they stay on one thread, where those stay in cache.
        func attend(shared: Int) {
            for head in shared * group..<(shared + 1) * group {
                CausalAttention.attend(
                    query: q + head * headSize, keys: cache.keys(layer: layer, head: shared) + start * headSize,
                    values: cache.values(layer: layer, head: shared) + start * headSize, count: end - start,
                    headSize: headSize, scores: workspace.scores.pointer + shared * cache.capacity,
                    into: mixed + head * headSize)
            }
        }
        if (end - start) * headCount * headSize < 262_144 {
            for shared in 0..<keyValueHeadCount { attend(shared: shared) }
        } else {
            Parallel.forEach(keyValueHeadCount) { attend(shared: $0) }
        }
        Product.gemv([(output.weight, workspace.projected.pointer)], x: mixed)
        output.addBias(workspace.projected.pointer)
    }
}
