import LacunaModels
import LacunaTensor

/// A ``KeyValueStore`` that knows, of every page of another one's keys, the least and the largest entry in each dimension: what
/// ``Quest`` estimates pages by.
public final class PageBoundsCache: WrappingKeyValueStore, @unchecked Sendable {
    /// Where keys and values are.
    public let base: any KeyValueStore
    /// Of the keys and values.
    public let shape: KeyValueShape
    /// Positions of a page.
    public let pageSize: Int
    private let pages: Int
    /// Of each layer: [head][page][least, largest][head size].
    private let bounds: [Buffer<Float>]

    /// - Parameter pageSize: Positions of a page, at least 1.
    public init(_ base: any KeyValueStore, shape: KeyValueShape, pageSize: Int = 16) {
        require(pageSize >= 1, "pages of \(pageSize) positions")
        (self.base, self.shape, self.pageSize) = (base, shape, pageSize)
        pages = (shape.capacity + pageSize - 1) / pageSize
        let size = shape.heads * pages * 2 * shape.headSize
        bounds = (0..<shape.layers).map { _ in Buffer(uninitialized: size) }
    }

    public var byteCount: Int {
        let used = (count + pageSize - 1) / pageSize
        return base.byteCount + shape.layers * shape.heads * used * 2 * shape.headSize * MemoryLayout<Float>.size
    }

    /// The bounds [pages, 2 · head size] of a head's pages from the first on: the least entries of a page, then the largest.
    public func bounds(layer: Int, head: Int) -> UnsafePointer<Float> {
        UnsafePointer(bounds[layer].pointer) + head * pages * 2 * shape.headSize
    }

    public func append(layer: Int, keys: UnsafePointer<Float>, values: UnsafePointer<Float>, count more: Int) {
        base.append(layer: layer, keys: keys, values: values, count: more)
        let size = shape.headSize
        for head in 0..<shape.heads {
            for i in 0..<more {
                include(keys + i * shape.heads * size + head * size, layer: layer, head: head, position: count + i)
            }
        }
    }

    private func include(_ key: UnsafePointer<Float>, layer: Int, head: Int, position: Int) {
        let size = shape.headSize
        let low = bounds[layer].pointer + (head * pages + position / pageSize) * 2 * size
        let high = low + size
        if position % pageSize == 0 {
            low.update(from: key, count: size)
            high.update(from: key, count: size)
            return
        }
        for e in 0..<size {
            low[e] = min(low[e], key[e])
            high[e] = max(high[e], key[e])
        }
    }

    public func truncate(to count: Int) {
        base.truncate(to: count)
        // The bounds of the last page are those of fewer keys now.
        let start = count / pageSize * pageSize
        if start == count { return }
        for layer in 0..<shape.layers {
            for head in 0..<shape.heads {
                let size = shape.headSize
                let low = bounds[layer].pointer + (head * pages + start / pageSize) * 2 * size
                low.update(repeating: .infinity, count: size)
                (low + size).update(repeating: -.infinity, count: size)
                for run in base.evicted(layer: layer, head: head).removed(from: [start..<count]) {
                    let view = base.view(layer: layer, head: head, positions: run)
                    for (i, position) in run.enumerated() {
                        include(view.keys + i * size, layer: layer, head: head, position: position)
                    }
                    withExtendedLifetime(view) {}
                }
            }
        }
    }

    public func fork() -> any KeyValueStore {
        let copy = PageBoundsCache(base.fork(), shape: shape, pageSize: pageSize)
        for (target, source) in zip(copy.bounds, bounds) {
            target.pointer.update(from: source.pointer, count: source.count)
        }
        return copy
    }
}
