import LacunaTensor

/// A ``KeyValueStore`` of 8-bit numbers: each key and each value of a head is rounded to 255 steps of a scale of its own,
/// `x ≈ q · max|x| / 127`. A little over a quarter of the dense store's memory; an entry is off by at most half a step.
public final class QuantizedKeyValueCache: KeyValueStore, @unchecked Sendable {
    /// Layers, heads, and positions that fit.
    public let shape: KeyValueShape
    public private(set) var count = 0
    public private(set) var evicted = PositionSet()
    /// Of each layer: [keys, values][head][position][head size].
    private let codes: [Buffer<Int8>]
    /// Of each layer: [keys, values][head][position].
    private let scales: [Buffer<Float>]

    /// An empty store. Memory is reserved for all positions.
    public init(_ shape: KeyValueShape) {
        self.shape = shape
        let vectors = 2 * shape.heads * shape.capacity
        codes = (0..<shape.layers).map { _ in Buffer(uninitialized: vectors * shape.headSize) }
        scales = (0..<shape.layers).map { _ in Buffer(uninitialized: vectors) }
    }

    public var capacity: Int { shape.capacity }
    public var byteCount: Int { 2 * shape.layers * shape.heads * count * (shape.headSize + MemoryLayout<Float>.size) }

    public func truncate(to count: Int) {
        require(count >= 0 && count <= self.count, "\(count) of \(self.count) positions")
        self.count = count
        evicted.truncate(to: count)
    }

    /// The positions stay in memory, unread.
    public func evict(_ positions: Range<Int>) {
        requireEvictable(positions)
        evicted.insert(positions)
    }

    public func advance(by more: Int) { count += more }

    public func fork() -> any KeyValueStore {
        let copy = QuantizedKeyValueCache(shape)
        for layer in 0..<shape.layers {
            for head in 0..<2 * shape.heads {
                let start = head * shape.capacity
                (copy.scales[layer].pointer + start).update(from: scales[layer].pointer + start, count: count)
                (copy.codes[layer].pointer + start * shape.headSize).update(
                    from: codes[layer].pointer + start * shape.headSize, count: count * shape.headSize)
            }
        }
        copy.count = count
        copy.evicted = evicted
        return copy
    }

    public func append(layer: Int, keys: UnsafePointer<Float>, values: UnsafePointer<Float>, count more: Int) {
        let size = shape.headSize
        for (part, source) in [keys, values].enumerated() {
            for head in 0..<shape.heads {
                for i in 0..<more {
                    let place = (part * shape.heads + head) * shape.capacity + count + i
                    let x = source + i * shape.width + head * size
                    var largest: Float = 0
                    for e in 0..<size { largest = max(largest, abs(x[e])) }
                    let inverse = largest > 0 ? 127 / largest : 0
                    let target = codes[layer].pointer + place * size
                    // What is not a number has no code; it becomes 0.
                    for e in 0..<size { target[e] = Int8(clamping: Int(exactly: (x[e] * inverse).rounded()) ?? 0) }
                    scales[layer].pointer[place] = largest / 127
                }
            }
        }
    }

    public func view(layer: Int, head: Int, positions: Range<Int>) -> KeyValueView {
        let size = shape.headSize
        let floats = Buffer<Float>(uninitialized: 2 * positions.count * size)
        for part in 0..<2 {
            for (i, position) in positions.enumerated() {
                let place = (part * shape.heads + head) * shape.capacity + position
                let (source, scale) = (codes[layer].pointer + place * size, scales[layer].pointer[place])
                let target = floats.pointer + (part * positions.count + i) * size
                for e in 0..<size { target[e] = Float(source[e]) * scale }
            }
        }
        return KeyValueView(
            keys: floats.pointer, values: floats.pointer + positions.count * size, owner: floats)
    }
}
