import LacunaModels
import LacunaSparse
import LacunaTensor

/// What a ``MustafarCache`` keeps.
public struct Mustafar: Sendable, Hashable {
    /// Share of entries that are left out, in `0..<1`.
    public let sparsity: Double
    /// Last positions that stay whole.
    public let window: Int
    /// Positions that are pruned at a time.
    public let group: Int

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a sparsity that is not at least 0 and below 1, a negative window or an
    ///   empty group.
    public init(sparsity: Double, window: Int = 32, group: Int = 64) throws {
        guard sparsity >= 0 && sparsity < 1, window >= 0, group >= 1 else {
            throw LacunaError.invalidArgument(
                "mustafar", reason: "a sparsity of \(sparsity) with a window of \(window) positions")
        }
        (self.sparsity, self.window, self.group) = (sparsity, window, group)
    }
}

/// A ``KeyValueStore`` that keeps, of every key and every value of a head, only the entries of largest magnitude, as bits and
/// packed values (``BitmaskRows``); products go over these. The last `window` positions stay whole, and older ones are pruned
/// `group` at a time.
///
/// Donghyeon Joo, Helya Hosseini, Ramyad Hadidi, Bahar Asgari, "Mustafar: Promoting Unstructured Sparsity for KV Cache Pruning in
/// LLM Inference", arXiv 2505.22913: per token, by magnitude, after rotation. Exactly as many entries stay as the sparsity says,
/// where the authors' code keeps one more. A row holds the bits of one position, where their tiles run along positions: memory is
/// the same, and the product with a query is that of a matrix with regular rows. A prompt is pruned in the pieces in which the
/// engine reads it, 512 positions, so that its later pieces see the pruned form of earlier ones.
///
/// Pruning is for good: after ``truncate(to:)`` by more than the window the last positions are pruned ones.
public final class MustafarCache: DirectKeyValueStore, @unchecked Sendable {
    /// Of the keys and values.
    public let shape: KeyValueShape
    /// How much is pruned, and behind which window.
    public let settings: Mustafar
    private var window: Int { settings.window }
    private var group: Int { settings.group }
    public private(set) var count = 0
    public private(set) var evicted = PositionSet()
    /// Positions that have been pruned.
    public private(set) var pruned = 0
    /// Of each layer and head: keys, values.
    private let rows: [[(keys: BitmaskRows, values: BitmaskRows)]]
    /// Of each layer: [keys, values][head][place][head size], places from position ``pruned`` on.
    private var tails: [Buffer<Float>]
    /// Places of a tail.
    private var room: Int

    /// An empty cache.
    public init(_ shape: KeyValueShape, _ settings: Mustafar) {
        (self.shape, self.settings) = (shape, settings)
        let kept = max(1, Int(((1 - settings.sparsity) * Double(shape.headSize)).rounded()))
        rows = (0..<shape.layers).map { _ in
            (0..<shape.heads).map { _ in
                (
                    BitmaskRows(capacity: shape.capacity, columns: shape.headSize, kept: kept),
                    BitmaskRows(capacity: shape.capacity, columns: shape.headSize, kept: kept)
                )
            }
        }
        room = min(settings.window + 2 * settings.group, shape.capacity)
        tails = (0..<shape.layers).map { [room] _ in
            Buffer(uninitialized: 2 * shape.heads * max(room, 1) * shape.headSize)
        }
    }

    public var capacity: Int { shape.capacity }

    public var byteCount: Int {
        let row = rows.first?.first?.keys.rowBytes ?? 0
        let whole = (count - pruned) * shape.headSize * MemoryLayout<Float>.size
        return 2 * shape.layers * shape.heads * (pruned * row + whole)
    }

    private func tail(_ layer: Int, part: Int, head: Int, place: Int) -> UnsafeMutablePointer<Float> {
        tails[layer].pointer + ((part * shape.heads + head) * room + place) * shape.headSize
    }

    public func append(layer: Int, keys: UnsafePointer<Float>, values: UnsafePointer<Float>, count more: Int) {
        let (first, width, size) = (count - pruned, shape.heads * shape.headSize, shape.headSize)
        if first + more > room { grow(to: first + more) }
        for (part, source) in [keys, values].enumerated() {
            for head in 0..<shape.heads {
                let target = tail(layer, part: part, head: head, place: first)
                for i in 0..<more { (target + i * size).update(from: source + i * width + head * size, count: size) }
            }
        }
    }

    private func grow(to places: Int) {
        let (old, size) = (room, shape.headSize)
        room = max(places, 2 * old)
        for layer in tails.indices {
            let larger = Buffer<Float>(uninitialized: 2 * shape.heads * room * size)
            for run in 0..<2 * shape.heads {
                (larger.pointer + run * room * size).update(
                    from: tails[layer].pointer + run * old * size, count: old * size)
            }
            tails[layer] = larger
        }
    }

    public func advance(by more: Int) {
        count += more
        let ready = (count - pruned - window) / group * group
        if ready > 0 { prune(ready) }
    }

    /// Moves the oldest whole positions into rows.
    private func prune(_ number: Int) {
        let (size, rest) = (shape.headSize, count - pruned - number)
        Parallel.forEach(shape.layers * shape.heads) { item in
            let (layer, head) = (item / shape.heads, item % shape.heads)
            for part in 0..<2 {
                let start = tail(layer, part: part, head: head, place: 0)
                let target = part == 0 ? rows[layer][head].keys : rows[layer][head].values
                for i in 0..<number { target.set(row: pruned + i, from: start + i * size) }
                start.update(from: start + number * size, count: rest * size)
            }
        }
        pruned += number
    }

    public func truncate(to count: Int) {
        require(count >= 0 && count <= self.count, "\(count) of \(self.count) positions")
        self.count = count
        pruned = min(pruned, count)
        evicted.truncate(to: count)
    }

    /// The positions stay in memory, unread.
    public func evict(_ positions: Range<Int>) {
        require(
            positions.lowerBound >= 0 && positions.upperBound < max(count, 1),
            "positions \(positions) of \(count), of which the last stays")
        evicted.insert(positions)
    }

    public func fork() -> any KeyValueStore { MustafarCache(copying: self) }

    private init(copying other: MustafarCache) {
        (shape, settings) = (other.shape, other.settings)
        (count, evicted, pruned, room) = (other.count, other.evicted, other.pruned, other.room)
        tails = other.tails.map { $0.copy() }
        rows = other.rows.map { layer in
            layer.map { keys, values in
                func copied(_ rows: BitmaskRows) -> BitmaskRows {
                    let copy = BitmaskRows(capacity: rows.capacity, columns: rows.columns, kept: rows.kept)
                    copy.copy(rows: 0..<other.pruned, from: rows)
                    return copy
                }
                return (copied(keys), copied(values))
            }
        }
    }

    // MARK: Reading

    /// The part of some positions that is pruned, and the places of the rest in the tail.
    private func split(_ positions: Range<Int>) -> (rows: Range<Int>, places: Range<Int>) {
        let middle = min(max(pruned, positions.lowerBound), positions.upperBound)
        return (positions.lowerBound..<middle, middle - pruned..<positions.upperBound - pruned)
    }

    public func view(layer: Int, head: Int, positions: Range<Int>) -> KeyValueView {
        let (old, places) = split(positions)
        let size = shape.headSize
        if old.isEmpty && !places.isEmpty {
            return KeyValueView(
                keys: tail(layer, part: 0, head: head, place: places.lowerBound),
                values: tail(layer, part: 1, head: head, place: places.lowerBound), owner: tails[layer])
        }
        let floats = Buffer<Float>(uninitialized: max(2 * positions.count * size, 1))
        for part in 0..<2 {
            let target = floats.pointer + part * positions.count * size
            let source = part == 0 ? rows[layer][head].keys : rows[layer][head].values
            if !old.isEmpty { source.decode(rows: old, into: target) }
            if !places.isEmpty {
                (target + old.count * size).update(
                    from: tail(layer, part: part, head: head, place: places.lowerBound), count: places.count * size)
            }
        }
        return KeyValueView(keys: floats.pointer, values: floats.pointer + positions.count * size, owner: floats)
    }

    public func scores(
        layer: Int, head: Int, positions: Range<Int>, query: UnsafePointer<Float>, scale: Float,
        into scores: UnsafeMutablePointer<Float>
    ) {
        let (old, places) = split(positions)
        if !old.isEmpty { rows[layer][head].keys.multiply(query, rows: old, scale: scale, into: scores) }
        if !places.isEmpty {
            AttentionKernels.scores(
                query: query, keys: tail(layer, part: 0, head: head, place: places.lowerBound), count: places.count,
                stride: shape.headSize, size: shape.headSize, scale: scale, into: scores + old.count)
        }
    }

    public func addMix(
        layer: Int, head: Int, positions: Range<Int>, weights: UnsafePointer<Float>,
        to output: UnsafeMutablePointer<Float>
    ) {
        let (old, places) = split(positions)
        if !old.isEmpty { rows[layer][head].values.addMix(weights, rows: old, to: output) }
        if places.isEmpty { return }
        let size = shape.headSize
        withUnsafeTemporaryAllocation(of: Float.self, capacity: size) { part in
            AttentionKernels.mix(
                weights: weights + old.count, values: tail(layer, part: 1, head: head, place: places.lowerBound),
                count: places.count, stride: size, size: size, into: part.baseAddress!)
            for e in 0..<size { output[e] += part[e] }
        }
    }
}
