import LacunaTensor

/// A ``KeyValueStore`` of rounded numbers, of 8 bits or of 4.
///
/// With 8 bits each key and each value of a head is rounded to 255 steps of a scale of its own, `x ≈ q · max|x| / 127`: a little over a
/// quarter of the dense store's memory. With 4 bits every 32 entries of it are rounded to 16 steps between their least and their largest,
/// `x ≈ least + q · (largest - least) / 15`: three sixteenths. An entry is off by at most half a step.
public final class QuantizedKeyValueCache: KeyValueStore, @unchecked Sendable {
    /// Bits of an entry.
    public enum Bits: Int, Sendable, Hashable, CaseIterable {
        /// With a scale for every key and every value of a head.
        case eight = 8
        /// With a step and a beginning for every 32 of their entries.
        case four = 4
    }

    /// Layers, heads, and positions that fit.
    public let shape: KeyValueShape
    /// Of an entry.
    public let bits: Bits
    public private(set) var count = 0
    public private(set) var evicted = PositionSet()
    /// Of each layer: [keys, values][head][position][bytes of a vector].
    private let codes: [Buffer<UInt8>]
    /// Of each layer: [keys, values][head][position][scales of a vector].
    private let scales: [Buffer<Float>]
    /// Of one key or value of a head.
    private let codeBytes, scaleCount: Int

    /// Entries that share a step, of 4 bits.
    static let group = 32

    /// An empty store. Memory is reserved for all positions.
    public init(_ shape: KeyValueShape, bits: Bits = .eight) {
        (self.shape, self.bits) = (shape, bits)
        let size = shape.headSize
        (codeBytes, scaleCount) =
            bits == .eight ? (size, 1) : ((size + 1) / 2, 2 * ((size + Self.group - 1) / Self.group))
        let vectors = 2 * shape.heads * shape.capacity
        codes = (0..<shape.layers).map { [codeBytes] _ in Buffer(uninitialized: vectors * codeBytes) }
        scales = (0..<shape.layers).map { [scaleCount] _ in Buffer(uninitialized: vectors * scaleCount) }
    }

    public var capacity: Int { shape.capacity }
    public var byteCount: Int {
        2 * shape.layers * shape.heads * count * (codeBytes + scaleCount * MemoryLayout<Float>.size)
    }

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
        let copy = QuantizedKeyValueCache(shape, bits: bits)
        for layer in 0..<shape.layers {
            for head in 0..<2 * shape.heads {
                let start = head * shape.capacity
                (copy.scales[layer].pointer + start * scaleCount).update(
                    from: scales[layer].pointer + start * scaleCount, count: count * scaleCount)
                (copy.codes[layer].pointer + start * codeBytes).update(
                    from: codes[layer].pointer + start * codeBytes, count: count * codeBytes)
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
                    encode(
                        source + i * shape.width + head * size, codes[layer].pointer + place * codeBytes,
                        scales[layer].pointer + place * scaleCount)
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
                decode(
                    codes[layer].pointer + place * codeBytes, scales[layer].pointer + place * scaleCount,
                    floats.pointer + (part * positions.count + i) * size)
            }
        }
        return KeyValueView(
            keys: floats.pointer, values: floats.pointer + positions.count * size, owner: floats)
    }

    // MARK: One vector

    private func encode(
        _ x: UnsafePointer<Float>, _ codes: UnsafeMutablePointer<UInt8>, _ scales: UnsafeMutablePointer<Float>
    ) {
        let size = shape.headSize
        // What is not a number has no code; it becomes 0, or the least there is.
        switch bits {
        case .eight:
            var largest: Float = 0
            for e in 0..<size { largest = max(largest, abs(x[e])) }
            let inverse = largest > 0 ? 127 / largest : 0
            for e in 0..<size {
                codes[e] = UInt8(bitPattern: Int8(clamping: Int(exactly: (x[e] * inverse).rounded()) ?? 0))
            }
            scales[0] = largest / 127
        case .four:
            codes.update(repeating: 0, count: codeBytes)
            for (place, start) in stride(from: 0, to: size, by: Self.group).enumerated() {
                let entries = start..<min(start + Self.group, size)
                var (least, largest) = (Float.infinity, -Float.infinity)
                for e in entries { (least, largest) = (min(least, x[e]), max(largest, x[e])) }
                if least > largest { (least, largest) = (0, 0) }
                let step = (largest - least) / 15
                let inverse = step > 0 ? 1 / step : 0
                for e in entries {
                    let code = min(max(Int(exactly: ((x[e] - least) * inverse).rounded()) ?? 0, 0), 15)
                    codes[e / 2] |= UInt8(code) << (e % 2 * 4)
                }
                (scales[2 * place], scales[2 * place + 1]) = (step, least)
            }
        }
    }

    private func decode(
        _ codes: UnsafePointer<UInt8>, _ scales: UnsafePointer<Float>, _ x: UnsafeMutablePointer<Float>
    ) {
        let size = shape.headSize
        switch bits {
        case .eight:
            for e in 0..<size { x[e] = Float(Int8(bitPattern: codes[e])) * scales[0] }
        case .four:
            for e in 0..<size {
                let place = e / Self.group
                x[e] = scales[2 * place + 1] + Float(codes[e / 2] >> (e % 2 * 4) & 15) * scales[2 * place]
            }
        }
    }
}
