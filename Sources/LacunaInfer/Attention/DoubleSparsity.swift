import LacunaModels
import LacunaTensor

/// Reads, for every token that is written, the keys whose products with the query are largest in a few heavy channels: those in
/// which queries and keys are large on a calibration text (``HeavyChannels``). The products that count are then made exactly. The
/// query's own position is always read; prompts, and the first layers, read everything.
///
/// Shuo Yang, Ying Sheng, Joseph E. Gonzalez, Ion Stoica, Lianmin Zheng, "Post-Training Sparse Attention with Double Sparsity",
/// arXiv 2408.07092. Channels are the same for all query heads that share a key, and their labels are rounded to 4 bits, as in the
/// authors' code; calibration averages over all of the text, where their joint form keeps the last sample.
///
/// Stores have to be ``LabelCache``s with the same channels; what is not one is read whole.
///
/// - Complexity: O(keys · channels) a query and head, beside the keys that are read.
public struct DoubleSparsity: KeySelector {
    /// Of the visible keys, the share that is read, in `0 < … <= 1`.
    public let share: Double
    /// Layers, from the first, that read everything.
    public let dense: Int

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a share that is not above 0 and at most 1.
    public init(share: Double, dense: Int = 2) throws {
        guard share > 0 && share <= 1, dense >= 0 else {
            throw LacunaError.invalidArgument("double", reason: "a share of \(share) is not above 0 and at most 1")
        }
        (self.share, self.dense) = (share, dense)
    }

    public var readsPromptsWhole: Bool { true }

    /// Where the labels are among which a query chooses, and how many keys it reads; nil if it reads everything.
    private func labels(_ request: KeyRequest) -> (store: LabelCache, budget: Int)? {
        let budget = max(1, Int((share * Double(request.visible.count)).rounded(.up)))
        guard request.layer >= dense, budget < request.visible.count, let store = request.store as? LabelCache else {
            return nil
        }
        return (store, budget)
    }

    public func numbersCompared(_ request: KeyRequest) -> Int {
        labels(request).map { (request.visible.count - 1) * $0.store.channels.count } ?? 0
    }

    public func select(_ request: KeyRequest) -> [Range<Int>] {
        let visible = request.visible
        guard let (store, budget) = labels(request) else { return [visible] }
        let channels = store.channels.places[request.layer][request.keyHead]
        let count = visible.count - 1
        return withUnsafeTemporaryAllocation(of: Float.self, capacity: channels.count + count) { memory in
            let (query, scores) = (memory.baseAddress!, memory.baseAddress! + channels.count)
            for (i, channel) in channels.enumerated() { query[i] = request.query[channel] }
            AttentionKernels.scores(
                query: query,
                keys: store.labels(layer: request.layer, head: request.keyHead) + visible.lowerBound * channels.count,
                count: count, stride: channels.count, size: channels.count, into: scores)
            return TopPages.ranges(
                scores, count: count, kept: budget - 1, first: visible.lowerBound, pageSize: 1, visible: visible)
        }
    }
}

/// The channels of keys in which products with queries are large.
public struct HeavyChannels: Sendable, Hashable {
    /// [layer][key head][count], the heaviest first.
    public let places: [[[Int]]]

    /// - Precondition: Every head has equally many channels, at least one.
    public init(_ places: [[[Int]]]) {
        require(
            !places.isEmpty && Set(places.flatMap { $0.map(\.count) }).count == 1 && places[0][0].count >= 1,
            "heads with other numbers of channels")
        self.places = places
    }

    /// Channels of every head.
    public var count: Int { places[0][0].count }

    /// The channels of the largest importance, of equals the first.
    ///
    /// - Parameters:
    ///   - importance: [layer][key head][head size], such as the sums of `|q_c · k_c|` over positions.
    ///   - count: Channels of a head, at least 1 and at most the size of a head.
    public init(importance: [[[Double]]], count: Int) {
        self.init(
            importance.map { heads in
                heads.map { sums in
                    Array(sums.indices.sorted { sums[$0] == sums[$1] ? $0 < $1 : sums[$0] > sums[$1] }.prefix(count))
                }
            })
    }

    /// Those with the largest mean of `|q_c · k_c|` over a text, with query and key of one position, after rotation; query heads
    /// that share keys add up.
    ///
    /// - Parameter count: Channels of a head; nil for an eighth of them.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a count out of range, or sequences longer than the context.
    public init(
        of decoder: Transformer, on calibration: CalibrationSet, count: Int? = nil,
        progress: (any ProgressReporter)? = nil
    ) throws {
        let size = decoder.configuration.headSize
        let count = count ?? max(1, size / 8)
        guard count >= 1 && count <= size else {
            throw LacunaError.invalidArgument("channels", reason: "\(count) of \(size)")
        }
        let observer = ChannelObserver(
            layers: decoder.configuration.layerCount, heads: decoder.configuration.keyValueHeadCount, size: size)
        let engine = TokenEngine(decoder, selector: observer)
        let length = calibration.sequenceLength
        for index in 0..<calibration.sequenceCount {
            let session = try DecodingSession(engine, context: length)
            try session.prefill(Array(calibration.tokens[index * length..<(index + 1) * length]))
            try progress.report("channels", index + 1, of: calibration.sequenceCount)
        }
        self.init(importance: observer.sums.withLock { $0 }, count: count)
    }
}

/// Reads everything, and adds up `|q_c · k_c|` on the way.
private final class ChannelObserver: KeySelector {
    /// [layer][key head][head size].
    let sums: Locked<[[[Double]]]>

    init(layers: Int, heads: Int, size: Int) {
        sums = Locked(
            [[[Double]]](
                repeating: [[Double]](repeating: [Double](repeating: 0, count: size), count: heads), count: layers))
    }

    func select(_ request: KeyRequest) -> [Range<Int>] {
        if let store = request.store {
            let position = request.position
            let view = store.view(layer: request.layer, head: request.keyHead, positions: position..<position + 1)
            sums.withLock { sums in
                for c in sums[request.layer][request.keyHead].indices {
                    sums[request.layer][request.keyHead][c] += Double(abs(request.query[c] * view.keys[c]))
                }
            }
            withExtendedLifetime(view) {}
        }
        return [request.visible]
    }
}

/// A ``KeyValueStore`` that keeps the heavy channels of another one's keys by themselves, rounded to 4 bits: a short label for every
/// key, read in its place until it is chosen.
public final class LabelCache: WrappingKeyValueStore, @unchecked Sendable {
    /// Where keys and values are.
    public let base: any KeyValueStore
    /// Of the keys and values that are kept whole.
    public let shape: KeyValueShape
    /// The channels that labels are made of.
    public let channels: HeavyChannels
    /// Of each layer: [head][position][channels].
    private let values: [Buffer<Float>]

    /// - Precondition: There are channels for the shape's layers and heads.
    public init(_ base: any KeyValueStore, shape: KeyValueShape, channels: HeavyChannels) {
        require(
            channels.places.count == shape.layers && channels.places.allSatisfy { $0.count == shape.heads },
            "channels of another model")
        (self.base, self.shape, self.channels) = (base, shape, channels)
        let size = shape.heads * shape.capacity * channels.count
        values = (0..<shape.layers).map { _ in Buffer(uninitialized: size) }
    }

    /// Labels are held as floats.
    public var byteCount: Int {
        base.byteCount + shape.layers * shape.heads * count * channels.count * MemoryLayout<Float>.size
    }

    /// The labels [positions, channels] of a head.
    public func labels(layer: Int, head: Int) -> UnsafePointer<Float> {
        UnsafePointer(values[layer].pointer) + head * shape.capacity * channels.count
    }

    public func append(layer: Int, keys: UnsafePointer<Float>, values newValues: UnsafePointer<Float>, count more: Int)
    {
        base.append(layer: layer, keys: keys, values: newValues, count: more)
        let (width, size) = (channels.count, shape.headSize)
        for head in 0..<shape.heads {
            let places = channels.places[layer][head]
            for i in 0..<more {
                let key = keys + (i * shape.heads + head) * size
                let label = values[layer].pointer + (head * shape.capacity + count + i) * width
                var (low, high) = (Float.infinity, -Float.infinity)
                for c in places { (low, high) = (min(low, key[c]), max(high, key[c])) }
                let step = (high - low) / 15
                for (j, c) in places.enumerated() {
                    label[j] = step > 0 ? ((key[c] - low) / step).rounded() * step + low : key[c]
                }
            }
        }
    }

    public func fork() -> any KeyValueStore {
        let copy = LabelCache(base.fork(), shape: shape, channels: channels)
        for (target, source) in zip(copy.values, values) {
            target.pointer.update(from: source.pointer, count: source.count)
        }
        return copy
    }
}
