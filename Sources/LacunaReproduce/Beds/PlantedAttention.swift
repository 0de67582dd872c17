import Lacuna

/// Keys in blocks, each with one spike in the direction of a topic, and queries about topics: what selectors of blocks are judged
/// by, since the attention that each block receives is known.
struct PlantedAttention {
    static let (size, block, blocks, topics) = (32, 32, 32, 8)
    static var count: Int { block * blocks }

    /// Directions [topics, size] of length 1: the same for all texts of a model.
    static func directions(seed: UInt64) -> Tensor<Float> {
        var generator = SeededGenerator(seed: seed, stream: 970)
        var rows = Tensor<Float>(normal: [topics, size], using: &generator)
        rows.withMutablePointer { rows in
            for topic in 0..<topics {
                let row = rows + topic * size
                let length = (0..<size).reduce(Float(0)) { $0 + row[$1] * row[$1] }.squareRoot()
                for e in 0..<size { row[e] /= length }
            }
        }
        return rows
    }

    /// [count, size].
    let keys, queries: Tensor<Float>

    /// Keys of deviation 0.5 with a spike of 8 in every block, queries three times their topic, one for a block.
    init(_ directions: Tensor<Float>, seed: UInt64) {
        var generator = SeededGenerator(seed: seed, stream: 971)
        let (size, block) = (Self.size, Self.block)
        var keys = Tensor<Float>(normal: [Self.count, size], using: &generator).map { 0.5 * $0 }
        var queries = Tensor<Float>(normal: [Self.count, size], using: &generator).map { 0.5 * $0 }
        for b in 0..<Self.blocks {
            let spike = b * block + Int(generator.next() % UInt64(block))
            let topic = Int(generator.next() % UInt64(Self.topics))
            let asked = Int(generator.next() % UInt64(Self.topics))
            for e in 0..<size { keys[spike, e] += 8 * directions[topic, e] }
            for i in b * block..<(b + 1) * block { for e in 0..<size { queries[i, e] += 3 * directions[asked, e] } }
        }
        (self.keys, self.queries) = (keys, queries)
    }

    /// The largest share of causal attention within each pair of blocks, rows adding up to 1: [blocks, blocks].
    var truth: Tensor<Float> {
        let (size, block) = (Self.size, Self.block)
        var result = Tensor<Float>(zeros: [Self.blocks, Self.blocks])
        for i in 0..<Self.count {
            var weights = (0...i).map { t -> Double in
                var sum = 0.0
                for e in 0..<size { sum += Double(queries[i, e]) * Double(keys[t, e]) }
                return sum / Double(size).squareRoot()
            }
            let top = weights.max() ?? 0
            weights = weights.map { exponential($0 - top) }
            let total = weights.reduce(0, +)
            for (t, weight) in weights.enumerated() {
                result[i / block, t / block] = max(result[i / block, t / block], Float(weight / total))
            }
        }
        for row in 0..<Self.blocks {
            let sum = (0..<Self.blocks).reduce(Float(0)) { $0 + result[row, $1] }
            for column in 0..<Self.blocks { result[row, column] /= sum }
        }
        return result
    }

    /// Of the truth in rows from the eighth on, the share in some blocks of each row.
    static func found(_ truth: Tensor<Float>, _ chosen: (_ row: Int) throws -> [Int]) rethrows -> Double {
        let rows = 8..<blocks
        return try rows.reduce(0.0) { sum, row in
            try sum + chosen(row).reduce(0.0) { $0 + Double(truth[row, $1]) } / Double(rows.count)
        }
    }

    /// The `count` best of the blocks up to a row's own, which is always among them.
    static func best(_ row: Int, _ count: Int, _ score: (Int) -> Float) -> [Int] {
        (0..<row).sorted { score($0) > score($1) }.prefix(count - 1) + [row]
    }

    /// A store of these keys.
    func store() throws -> PageBoundsCache {
        let shape = KeyValueShape(layers: 1, heads: 1, headSize: Self.size, capacity: Self.count)
        let store = PageBoundsCache(KeyValueCache(shape), shape: shape, pageSize: Self.block)
        keys.withPointer { store.append(layer: 0, keys: $0, values: $0, count: Self.count) }
        store.advance(by: Self.count)
        return store
    }
}
