import LacunaTensor

/// The keys and values of every position seen so far, for every layer: what a decoder need not compute again.
///
/// Each layer holds keys, then values, as floats in the order [key/value head][position][headSize], so that one head's
/// history is one run of memory. Memory of positions not yet used is reserved but not touched.
///
/// A cache belongs to one sequence and one thread at a time.
public final class KeyValueCache: @unchecked Sendable {
    /// Positions that fit.
    public let capacity: Int
    /// Positions held.
    public private(set) var count = 0
    let headCount: Int
    let headSize: Int
    private let keys: [Buffer<Float>]
    private let values: [Buffer<Float>]

    /// - Parameter capacity: Positions to make room for: at most ``DecoderConfiguration/maximumPositions``.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if the capacity is not in `1...maximumPositions`.
    public init(_ configuration: DecoderConfiguration, capacity: Int) throws {
        guard capacity >= 1 && capacity <= configuration.maximumPositions else {
            throw LacunaError.invalidArgument(
                "context", reason: "\(capacity) is not in 1...\(configuration.maximumPositions), the model's positions")
        }
        self.capacity = capacity
        headCount = configuration.keyValueHeadCount
        headSize = configuration.headSize
        let size = headCount * capacity * headSize
        keys = (0..<configuration.layerCount).map { _ in Buffer(uninitialized: size) }
        values = (0..<configuration.layerCount).map { _ in Buffer(uninitialized: size) }
    }

    /// Bytes of the positions held.
    public var byteCount: Int { 2 * keys.count * headCount * headSize * count * MemoryLayout<Float>.size }

    /// Forgets all positions from `count` on.
    ///
    /// - Precondition: `count` is not above the number of positions held.
    public func truncate(to count: Int = 0) {
        precondition(count >= 0 && count <= self.count)
        self.count = count
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

    /// Counts positions whose keys and values every layer has stored.
    func advance(by more: Int) { count += more }

    func keys(layer: Int, head: Int) -> UnsafeMutablePointer<Float> {
        keys[layer].pointer + head * capacity * headSize
    }

    func values(layer: Int, head: Int) -> UnsafeMutablePointer<Float> {
        values[layer].pointer + head * capacity * headSize
    }

    /// Stores keys and values [more, headCount · headSize] for the positions after those held.
    func store(
        layer: Int, keys newKeys: UnsafePointer<Float>, values newValues: UnsafePointer<Float>, count more: Int
    ) {
        let width = headCount * headSize
        for head in 0..<headCount {
            let keyEnd = keys(layer: layer, head: head) + count * headSize
            let valueEnd = values(layer: layer, head: head) + count * headSize
            for i in 0..<more {
                let offset = i * width + head * headSize
                (keyEnd + i * headSize).update(from: newKeys + offset, count: headSize)
                (valueEnd + i * headSize).update(from: newValues + offset, count: headSize)
            }
        }
    }
}
