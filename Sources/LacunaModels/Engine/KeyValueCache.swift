import LacunaTensor

/// The dense ``KeyValueStore``: floats in the order [key/value head][position][head size], so that one head's history is
/// one run of memory. Memory of positions not yet used is reserved but not touched.
public final class KeyValueCache: KeyValueStore, @unchecked Sendable {
    /// Layers, heads, and positions that fit.
    public let shape: KeyValueShape
    public private(set) var count = 0
    public private(set) var evicted = PositionSet()
    private let keys: [Buffer<Float>]
    private let values: [Buffer<Float>]

    /// An empty store. Memory is reserved for all positions.
    public init(_ shape: KeyValueShape) {
        self.shape = shape
        let size = shape.width * shape.capacity
        keys = (0..<shape.layers).map { _ in Buffer(uninitialized: size) }
        values = (0..<shape.layers).map { _ in Buffer(uninitialized: size) }
    }

    /// - Throws: As ``KeyValueShape/init(_:capacity:)``.
    public convenience init(_ configuration: TransformerConfiguration, capacity: Int) throws {
        self.init(try KeyValueShape(configuration, capacity: capacity))
    }

    public var capacity: Int { shape.capacity }
    public var byteCount: Int { 2 * shape.layers * shape.width * count * MemoryLayout<Float>.size }

    public func truncate(to count: Int = 0) {
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
        let copy = KeyValueCache(shape)
        let (run, stride) = (count * shape.headSize, shape.capacity * shape.headSize)
        for layer in 0..<shape.layers {
            for head in 0..<shape.heads {
                (copy.keys[layer].pointer + head * stride).update(from: keys[layer].pointer + head * stride, count: run)
                (copy.values[layer].pointer + head * stride).update(
                    from: values[layer].pointer + head * stride, count: run)
            }
        }
        copy.count = count
        copy.evicted = evicted
        return copy
    }

    public func view(layer: Int, head: Int, positions: Range<Int>) -> KeyValueView {
        let start = (head * shape.capacity + positions.lowerBound) * shape.headSize
        return KeyValueView(keys: keys[layer].pointer + start, values: values[layer].pointer + start)
    }

    public func append(
        layer: Int, keys newKeys: UnsafePointer<Float>, values newValues: UnsafePointer<Float>, count more: Int
    ) {
        let (width, size) = (shape.width, shape.headSize)
        for head in 0..<shape.heads {
            let end = (head * shape.capacity + count) * size
            for i in 0..<more {
                let offset = i * width + head * size
                (keys[layer].pointer + end + i * size).update(from: newKeys + offset, count: size)
                (values[layer].pointer + end + i * size).update(from: newValues + offset, count: size)
            }
        }
    }
}
