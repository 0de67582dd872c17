import LacunaTensor

/// Keys and values of the positions of one sequence, for every layer: what a model need not compute again.
///
/// Keys are stored as they are after rotation. Layers append the same positions one after the other in a step;
/// ``advance(by:)`` then counts them. A store belongs to one sequence and, while a step runs, to that step: reading views
/// of different heads from several threads at once is what a step does, nothing else may change the store meanwhile.
public protocol KeyValueStore: AnyObject, Sendable {
    /// Positions that fit.
    var capacity: Int { get }
    /// Positions held.
    var count: Int { get }
    /// Bytes of the positions held.
    var byteCount: Int { get }
    /// Stores rows [count, key/value heads · head size] of a layer for the positions after those held.
    func append(layer: Int, keys: UnsafePointer<Float>, values: UnsafePointer<Float>, count: Int)
    /// Counts positions that every layer has appended.
    func advance(by count: Int)
    /// Forgets all positions from `count` on.
    ///
    /// - Precondition: `count` is in `0...self.count`.
    func truncate(to count: Int)
    /// Forgets positions among those held, for good; the others keep their numbers. Attention no longer reads them, whatever
    /// a selector says. Forms that keep positions one by one or in pages give their memory back.
    ///
    /// - Precondition: The range ends at `count` at the latest, and leaves the last position.
    func evict(_ positions: Range<Int>)
    /// What was evicted, of all heads.
    var evicted: PositionSet { get }
    /// What is not there for a head, of stores that forget head by head; ``evicted`` unless said.
    func evicted(layer: Int, head: Int) -> PositionSet
    /// Shows the queries [count, heads · head size] of the positions just appended, after rotation, to stores whose memory depends
    /// on what is looked for. Nothing unless said.
    ///
    /// - Parameters:
    ///   - heads: Of the queries.
    ///   - scale: What the model multiplies scores by.
    func observe(layer: Int, queries: UnsafePointer<Float>, heads: Int, scale: Float, count: Int)
    /// A step is over, in which the sequence had so many rows, however they went through the layers. Nothing unless said.
    func finishStep(rows: Int)
    /// A store of its own that holds the same positions: the start of another continuation.
    func fork() -> any KeyValueStore
    /// Keys and values of a head as floats, appended but not yet counted positions included.
    func view(layer: Int, head: Int, positions: Range<Int>) -> KeyValueView
    /// What multiplies these keys and values without making floats of them: the store itself if it can, or what a store that wraps
    /// another one has; nil if there is none.
    var direct: (any DirectKeyValueStore)? { get }
}

extension KeyValueStore {
    public func evicted(layer: Int, head: Int) -> PositionSet { evicted }
    public func observe(layer: Int, queries: UnsafePointer<Float>, heads: Int, scale: Float, count: Int) {}
    public func finishStep(rows: Int) {}
    public var direct: (any DirectKeyValueStore)? { self as? any DirectKeyValueStore }
}

/// A store that knows more of the positions of another one: whatever it does not say itself, the other one does.
public protocol WrappingKeyValueStore: KeyValueStore {
    /// Where keys and values are.
    var base: any KeyValueStore { get }
}

extension WrappingKeyValueStore {
    public var direct: (any DirectKeyValueStore)? { base.direct }
    public var capacity: Int { base.capacity }
    public var count: Int { base.count }
    public var evicted: PositionSet { base.evicted }
    public func evicted(layer: Int, head: Int) -> PositionSet { base.evicted(layer: layer, head: head) }
    public func observe(layer: Int, queries: UnsafePointer<Float>, heads: Int, scale: Float, count: Int) {
        base.observe(layer: layer, queries: queries, heads: heads, scale: scale, count: count)
    }
    public func finishStep(rows: Int) { base.finishStep(rows: rows) }
    public func append(layer: Int, keys: UnsafePointer<Float>, values: UnsafePointer<Float>, count: Int) {
        base.append(layer: layer, keys: keys, values: values, count: count)
    }
    public func advance(by count: Int) { base.advance(by: count) }
    public func truncate(to count: Int) { base.truncate(to: count) }
    public func evict(_ positions: Range<Int>) { base.evict(positions) }
    public func view(layer: Int, head: Int, positions: Range<Int>) -> KeyValueView {
        base.view(layer: layer, head: head, positions: positions)
    }
}

/// Positions of a sequence, as ranges.
public struct PositionSet: Sendable, Hashable {
    /// Ascending, apart from each other, none empty.
    public private(set) var ranges: [Range<Int>] = []

    /// The empty set.
    public init() {}

    /// Whether there is no position in the set.
    public var isEmpty: Bool { ranges.isEmpty }
    /// How many positions are in the set.
    public var count: Int { ranges.reduce(0) { $0 + $1.count } }

    /// Adds positions.
    public mutating func insert(_ new: Range<Int>) {
        if new.isEmpty { return }
        var merged = new
        ranges.removeAll { range in
            guard range.lowerBound <= merged.upperBound && merged.lowerBound <= range.upperBound else { return false }
            merged = min(range.lowerBound, merged.lowerBound)..<max(range.upperBound, merged.upperBound)
            return true
        }
        ranges.insert(merged, at: ranges.firstIndex { $0.lowerBound > merged.lowerBound } ?? ranges.count)
    }

    /// Forgets positions from `end` on.
    public mutating func truncate(to end: Int) {
        ranges = ranges.compactMap { $0.lowerBound < end ? $0.clamped(to: 0..<end) : nil }
    }

    /// Ascending ranges without the positions that are in the set.
    public func removed(from ranges: [Range<Int>]) -> [Range<Int>] {
        if isEmpty { return ranges }
        return ranges.flatMap { range in
            var rest: [Range<Int>] = []
            var start = range.lowerBound
            for hole in self.ranges where hole.overlaps(range) {
                if hole.lowerBound > start { rest.append(start..<hole.lowerBound) }
                start = max(start, hole.upperBound)
            }
            if start < range.upperBound { rest.append(start..<range.upperBound) }
            return rest
        }
    }
}

/// Keys and values of consecutive positions of one head.
public struct KeyValueView {
    /// [positions, head size], contiguous, valid while the view lives and the store does not change.
    public let keys: UnsafePointer<Float>
    /// [positions, head size], as ``keys`` are.
    public let values: UnsafePointer<Float>
    /// What holds memory made for this view alone.
    private let owner: AnyObject?

    /// Memory that a store has.
    ///
    /// - Parameter owner: Kept alive by the view, if the memory was made for it alone.
    public init(keys: UnsafePointer<Float>, values: UnsafePointer<Float>, owner: AnyObject? = nil) {
        (self.keys, self.values, self.owner) = (keys, values, owner)
    }

    func withPointers<R>(_ body: (_ keys: UnsafePointer<Float>, _ values: UnsafePointer<Float>) -> R) -> R {
        withExtendedLifetime(owner) { body(keys, values) }
    }
}

extension KeyValueStore {
    /// Stops the program unless `positions` may be evicted.
    func requireEvictable(_ positions: Range<Int>) {
        require(
            positions.lowerBound >= 0 && positions.upperBound < max(count, 1),
            "positions \(positions) of \(count), of which the last stays")
    }

    /// Checks that `more` positions fit.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` naming the context if they do not.
    func requireRoom(for more: Int) throws {
        if more > capacity - count {
            throw LacunaError.invalidArgument(
                "context", reason: "\(count) + \(more) positions do not fit a context of \(capacity)")
        }
    }
}

/// The shape of what a ``KeyValueStore`` holds.
public struct KeyValueShape: Sendable, Hashable {
    /// Layers of the model.
    public let layers: Int
    /// Heads of keys, and as many of values.
    public let heads: Int
    /// Entries of one key or value.
    public let headSize: Int
    /// Positions that fit.
    public let capacity: Int

    /// - Parameter capacity: Positions to make room for: at most ``TransformerConfiguration/maximumPositions``.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if the capacity is not in `1...maximumPositions`.
    public init(_ configuration: TransformerConfiguration, capacity: Int) throws {
        guard capacity >= 1 && capacity <= configuration.maximumPositions else {
            throw LacunaError.invalidArgument(
                "context", reason: "\(capacity) is not in 1...\(configuration.maximumPositions), the model's positions")
        }
        layers = configuration.layerCount
        heads = configuration.keyValueHeadCount
        headSize = configuration.headSize
        self.capacity = capacity
    }

    /// - Precondition: All are at least 1.
    public init(layers: Int, heads: Int, headSize: Int, capacity: Int) {
        require(
            layers >= 1 && heads >= 1 && headSize >= 1 && capacity >= 1,
            "\(layers) layers, \(heads) heads of \(headSize), \(capacity) positions")
        (self.layers, self.heads, self.headSize, self.capacity) = (layers, heads, headSize, capacity)
    }

    var width: Int { heads * headSize }
}
