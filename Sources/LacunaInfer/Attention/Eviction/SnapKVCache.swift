import LacunaModels
import LacunaTensor

/// A ``KeyValueStore`` that forgets most of a prompt as soon as it has been read, other positions for every head (``SnapKV``). What
/// is written afterwards stays, and a later prompt is read against what is left and then shares the budget with it.
///
/// Keys and values lie in stores of any form, one for each head. A step of more than ``TokenBatch/draftRows`` rows is a prompt.
/// Memory of forgotten positions is given back. While a prompt is read its last queries are kept as well.
public final class SnapKVCache: DirectKeyValueStore, @unchecked Sendable {
    /// Layers, heads, and positions that fit, forgotten ones included.
    public let shape: KeyValueShape
    /// What is kept.
    public let settings: SnapKV
    public private(set) var count = 0
    /// Products of a query and a key that were made to choose, so far.
    public private(set) var products = 0
    /// [layer · heads + head].
    private var heads: [HeadStore]
    private var common = PositionSet()
    /// Of each layer the last queries of the step, in a ring by their number: [window][query heads · head size].
    private var queries: [Buffer<Float>?]
    private var queryHeads = 0
    private var scales: [Float]

    /// An empty store.
    ///
    /// - Parameter make: The stores of single heads: of one layer, one head, and as many positions as fit here.
    public init(
        _ shape: KeyValueShape, _ settings: SnapKV,
        make: @escaping @Sendable (KeyValueShape) -> any KeyValueStore = { KeyValueCache($0) }
    ) {
        (self.shape, self.settings) = (shape, settings)
        let single = KeyValueShape(layers: 1, heads: 1, headSize: shape.headSize, capacity: shape.capacity)
        heads = (0..<shape.layers * shape.heads).map { _ in HeadStore(size: shape.headSize) { make(single) } }
        queries = [Buffer<Float>?](repeating: nil, count: shape.layers)
        scales = [Float](repeating: 1, count: shape.layers)
    }

    private init(copying other: SnapKVCache) {
        (shape, settings, count) = (other.shape, other.settings, other.count)
        (heads, common) = (other.heads.map { $0.fork() }, other.common)
        queries = other.queries.map { $0?.copy() }
        (queryHeads, scales, products) = (other.queryHeads, other.scales, other.products)
    }

    private func store(_ layer: Int, _ head: Int) -> HeadStore { heads[layer * shape.heads + head] }

    public var direct: (any DirectKeyValueStore)? { heads[0].base.direct == nil ? nil : self }
    public var capacity: Int { shape.capacity }
    public var evicted: PositionSet { common }
    public func evicted(layer: Int, head: Int) -> PositionSet { store(layer, head).missing }

    public var byteCount: Int {
        heads.reduce(0) { $0 + $1.base.byteCount }
            + queries.reduce(0) { $0 + ($1?.count ?? 0) * MemoryLayout<Float>.size }
    }

    public func append(layer: Int, keys: UnsafePointer<Float>, values: UnsafePointer<Float>, count more: Int) {
        let (size, width) = (shape.headSize, shape.heads * shape.headSize)
        withUnsafeTemporaryAllocation(of: Float.self, capacity: 2 * more * size) { memory in
            let (k, v) = (memory.baseAddress!, memory.baseAddress! + more * size)
            for head in 0..<shape.heads {
                for i in 0..<more {
                    (k + i * size).update(from: keys + i * width + head * size, count: size)
                    (v + i * size).update(from: values + i * width + head * size, count: size)
                }
                store(layer, head).base.append(layer: 0, keys: k, values: v, count: more)
            }
        }
    }

    public func observe(
        layer: Int, queries new: UnsafePointer<Float>, heads: Int, scale: Float, count more: Int
    ) {
        // A single token is no prompt, unless it is the end of one.
        if more == 1 && queries[layer] == nil { return }
        let (width, window) = (heads * shape.headSize, settings.window)
        (queryHeads, scales[layer]) = (heads, scale)
        let ring = queries[layer] ?? Buffer<Float>(uninitialized: window * width)
        queries[layer] = ring
        for i in max(0, more - window)..<more {
            (ring.pointer + (count + i) % window * width).update(from: new + i * width, count: width)
        }
    }

    public func advance(by more: Int) {
        for head in heads { head.advance(by: more) }
        count += more
    }

    public func finishStep(rows: Int) {
        if rows > TokenBatch.draftRows && queries.allSatisfy({ $0 != nil }) { forget(rows: rows) }
        for layer in queries.indices { queries[layer] = nil }
    }

    public func truncate(to count: Int) {
        require(count >= 0 && count <= self.count, "\(count) of \(self.count) positions")
        for head in heads { head.truncate(to: count) }
        self.count = count
        common.truncate(to: count)
    }

    public func evict(_ positions: Range<Int>) {
        require(
            positions.lowerBound >= 0 && positions.upperBound < max(count, 1),
            "positions \(positions) of \(count), of which the last stays")
        for head in heads {
            var place = 0
            var places: [Int] = []
            for position in head.held.joined() {
                if !positions.contains(position) { places.append(place) }
                place += 1
            }
            head.keep(places)
        }
        updateCommon()
    }

    public func fork() -> any KeyValueStore { SnapKVCache(copying: self) }

    // MARK: Reading

    public func view(layer: Int, head: Int, positions: Range<Int>) -> KeyValueView {
        let head = store(layer, head)
        return head.base.view(layer: 0, head: 0, positions: head.places(positions))
    }

    public func scores(
        layer: Int, head: Int, positions: Range<Int>, query: UnsafePointer<Float>, scale: Float,
        into scores: UnsafeMutablePointer<Float>
    ) {
        let head = store(layer, head)
        head.base.direct?.scores(
            layer: 0, head: 0, positions: head.places(positions), query: query, scale: scale, into: scores)
    }

    public func addMix(
        layer: Int, head: Int, positions: Range<Int>, weights: UnsafePointer<Float>,
        to output: UnsafeMutablePointer<Float>
    ) {
        let head = store(layer, head)
        head.base.direct?.addMix(
            layer: 0, head: 0, positions: head.places(positions), weights: weights, to: output)
    }

    // MARK: Forgetting

    /// Keeps what the last queries of a prompt of so many rows attend to.
    private func forget(rows: Int) {
        let budget = settings.budget(count)
        let window = min(settings.window, rows)
        let made = Locked(0)
        Parallel.forEach(shape.layers) { layer in
            let masses = (0..<shape.heads).map { attentionMasses(layer: layer, head: $0, window: window) }
            for (head, places) in settings.kept(masses.map(\.masses), budget: budget).enumerated() {
                if places.count < masses[head].masses.count { store(layer, head).keep(places) }
            }
            made.withLock { $0 += masses.reduce(0) { $0 + $1.products } }
        }
        products += made.withLock { $0 }
        updateCommon()
    }

    /// What the last queries pay to each position that a head has: over the query heads that share it the mean, summed over
    /// queries; of adaptive budgets the largest of all.
    private func attentionMasses(layer: Int, head: Int, window: Int) -> (masses: [Float], products: Int) {
        guard let ring = queries[layer] else { return ([], 0) }
        let (size, group, width) = (shape.headSize, queryHeads / shape.heads, queryHeads * shape.headSize)
        let keys = HeldKeys(self, layer: layer, head: head, runs: store(layer, head).held, size: size)
        var masses = [Float](repeating: 0, count: keys.count)
        let rows = Buffer<Float>(uninitialized: window * (size + keys.count))
        let shares = rows.pointer + window * size
        for member in head * group..<(head + 1) * group {
            for i in 0..<window {
                let place = (count - window + i) % settings.window
                (rows.pointer + i * size).update(from: ring.pointer + place * width + member * size, count: size)
            }
            keys.attention(
                rows.pointer, rows: window, stride: size, first: count - window, window: nil, size: size,
                scale: scales[layer], into: shares)
            for i in 0..<window {
                let row = shares + i * keys.count
                for t in 0..<keys.count {
                    masses[t] = settings.isAdaptive ? max(masses[t], row[t]) : masses[t] + row[t] / Float(group)
                }
            }
        }
        return (masses, group * window * keys.count)
    }

    /// What no head has any more.
    private func updateCommon() {
        var missing = heads[0].missing
        for head in heads.dropFirst() where !missing.isEmpty {
            let held = head.missing.removed(from: missing.ranges)
            var both = PositionSet()
            var rest = PositionSet()
            for range in held { rest.insert(range) }
            for range in rest.removed(from: missing.ranges) { both.insert(range) }
            missing = both
        }
        common = missing
    }
}
