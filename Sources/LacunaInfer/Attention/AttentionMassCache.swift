import LacunaModels
import LacunaTensor

/// A ``KeyValueStore`` that remembers how much attention every position of another one was paid of late, by all heads of a layer
/// together: what ``ALISA`` chooses by.
public final class AttentionMassCache: WrappingKeyValueStore, @unchecked Sendable {
    /// What a query, or some consecutive ones together, paid to positions.
    private struct Step {
        /// Of the last of the queries.
        let position: Int
        let queries: Int
        /// Of each head, what the positions in ranges were paid, one after the other.
        let heads: [(ranges: [Range<Int>], weights: [Float])]
    }

    /// What one head noted of a step.
    private struct Share {
        let layer, head, position, queries: Int
        let ranges: [Range<Int>]
        let weights: [Float]
    }

    /// Where keys and values are.
    public let base: any KeyValueStore
    /// What is chosen by the sums.
    public let method: ALISA
    private let shape: KeyValueShape
    private let incoming = Locked([Share]())
    /// [layer][step], the oldest first.
    private var steps: [[Step]]
    /// [layer][position].
    private var sums: [[Double]]
    /// [layer], ascending.
    private var heavy: [[Range<Int>]]

    /// Remembers nothing yet.
    public init(_ base: any KeyValueStore, shape: KeyValueShape, method: ALISA) {
        (self.base, self.shape, self.method) = (base, shape, method)
        steps = [[Step]](repeating: [], count: shape.layers)
        sums = [[Double]](repeating: [Double](repeating: 0, count: shape.capacity), count: shape.layers)
        heavy = [[Range<Int>]](repeating: [], count: shape.layers)
    }

    /// What every position of a layer was paid by the queries that count, [positions].
    public func masses(layer: Int) -> [Double] { Array(sums[layer].prefix(count)) }

    /// The positions of a layer, ascending, that were paid most of those before the last `method.half(count + 1)`; as many of them.
    public func heavyHitters(layer: Int) -> [Range<Int>] { heavy[layer] }

    /// Takes what a head's query, or several consecutive ones that end with this one, paid to positions. Of several threads at once.
    func note(
        layer: Int, head: Int, position: Int, queries: Int, ranges: [Range<Int>], weights: UnsafeBufferPointer<Float>
    ) {
        let share = Share(
            layer: layer, head: head, position: position, queries: queries, ranges: ranges, weights: Array(weights))
        incoming.withLock { $0.append(share) }
    }

    public func advance(by more: Int) {
        base.advance(by: more)
        let shares = incoming.withLock { shares in
            defer { shares = [] }
            return shares
        }
        // Heads come in any order; they are added up in that of their numbers.
        let order = shares.sorted { ($0.layer, $0.position, $0.head) < ($1.layer, $1.position, $1.head) }
        var first = 0
        while first < order.count {
            let (layer, position) = (order[first].layer, order[first].position)
            let end = order[first...].firstIndex { $0.layer != layer || $0.position != position } ?? order.count
            let step = Step(
                position: position, queries: order[first].queries,
                heads: order[first..<end].map { ($0.ranges, $0.weights) })
            count(step, layer: layer, sign: 1)
            steps[layer].append(step)
            first = end
        }
        for layer in 0..<shape.layers { choose(layer) }
    }

    private func count(_ step: Step, layer: Int, sign: Double) {
        for (ranges, weights) in step.heads {
            for (position, weight) in zip(ranges.joined(), weights) { sums[layer][position] += sign * Double(weight) }
        }
    }

    /// Forgets steps that are too old, and finds the heavy hitters of the next token.
    private func choose(_ layer: Int) {
        let half = method.half(count + 1)
        if method.remembersAll {
            steps[layer] = []
        } else {
            var (seen, kept) = (0, steps[layer].count)
            while kept > 0 && seen < half {
                kept -= 1
                seen += steps[layer][kept].queries
            }
            for step in steps[layer][..<kept] { count(step, layer: layer, sign: -1) }
            steps[layer].removeSubrange(..<kept)
        }
        let older = max(0, count + 1 - half)
        let scores = sums[layer].prefix(older).map { Float($0) }
        let places = TopPages.places(scores, count: older, kept: half) ?? Array(0..<older)
        heavy[layer] = TopPages.joined(places.map { $0..<$0 + 1 }, within: 0..<older)
    }

    public func truncate(to count: Int) {
        base.truncate(to: count)
        for layer in 0..<shape.layers {
            for step in steps[layer] where step.position >= count { self.count(step, layer: layer, sign: -1) }
            steps[layer].removeAll { $0.position >= count }
            for position in count..<shape.capacity { sums[layer][position] = 0 }
            choose(layer)
        }
    }

    public func fork() -> any KeyValueStore {
        let copy = AttentionMassCache(base.fork(), shape: shape, method: method)
        (copy.steps, copy.sums, copy.heavy) = (steps, sums, heavy)
        return copy
    }

    /// Of the keys and values, the sums, and what they are made of.
    public var byteCount: Int {
        let entries = steps.joined().reduce(0) { $0 + $1.heads.reduce(0) { $0 + $1.weights.count } }
        return base.byteCount + entries * MemoryLayout<Float>.size
            + shape.layers * count * MemoryLayout<Double>.size
    }
}
