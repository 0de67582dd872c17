/// A hash table from short runs of bytes to numbers. The bytes stay where they are: the table holds their places in a
/// buffer of the owner, which is given with every call.
///
/// Hashing is seeded anew in every process, so that no file can be made to collide; no result depends on it.
struct ByteTable: Sendable {
    private struct Slot {
        var offset: UInt32 = 0
        /// 0 marks an empty slot.
        var count: UInt32 = 0
        var hash: UInt32 = 0
        var value: Int32 = 0
    }

    private var slots: [Slot]
    private(set) var count = 0
    private static let seed = UInt64.random(in: .min ... .max) | 1

    init(capacity: Int = 16) {
        var size = 16
        while size < capacity + capacity / 2 { size *= 2 }
        slots = [Slot](repeating: Slot(), count: size)
    }

    @inline(__always)
    private static func hash(_ bytes: UnsafeBufferPointer<UInt8>) -> UInt32 {
        let raw = UnsafeRawPointer(bytes.baseAddress!)
        var hash = seed ^ UInt64(truncatingIfNeeded: bytes.count)
        var i = 0
        func mix(_ word: UInt64) {
            let product = (hash ^ word).multipliedFullWidth(by: 0x9E37_79B9_7F4A_7C15)
            hash = product.high ^ product.low &+ seed
        }
        while i + 8 <= bytes.count {
            mix(raw.loadUnaligned(fromByteOffset: i, as: UInt64.self))
            i += 8
        }
        var rest: UInt64 = 0
        while i < bytes.count {
            rest = rest << 8 | UInt64(bytes[i])
            i += 1
        }
        mix(rest)
        return UInt32(truncatingIfNeeded: hash ^ hash >> 32)
    }

    /// The value of `key`, and the slot where it is or would be.
    @inline(__always)
    private func probe(
        _ key: UnsafeBufferPointer<UInt8>, _ hash: UInt32, _ base: UnsafePointer<UInt8>
    ) -> (value: Int32?, slot: Int) {
        let mask = slots.count - 1
        var position = Int(hash) & mask
        return slots.withUnsafeBufferPointer { slots in
            while true {
                let slot = slots[position]
                if slot.count == 0 { return (nil, position) }
                if slot.hash == hash, Int(slot.count) == key.count,
                    Self.equal(base + Int(slot.offset), key.baseAddress!, key.count)
                {
                    return (slot.value, position)
                }
                position = (position + 1) & mask
            }
        }
    }

    @inline(__always)
    private static func equal(_ a: UnsafePointer<UInt8>, _ b: UnsafePointer<UInt8>, _ count: Int) -> Bool {
        for i in 0..<count where a[i] != b[i] { return false }
        return true
    }

    /// The value of a key; nil for the empty one, which no table holds.
    @inline(__always)
    func find(_ key: UnsafeBufferPointer<UInt8>, in base: UnsafePointer<UInt8>) -> Int32? {
        key.isEmpty ? nil : probe(key, Self.hash(key), base).value
    }

    /// The value that the key has already; otherwise nil, and `value` is entered for it.
    ///
    /// - Precondition: The key is not empty and lies at `offset` of the owner's buffer.
    @inline(__always)
    mutating func findOrInsert(
        _ key: UnsafeBufferPointer<UInt8>, at offset: Int, in base: UnsafePointer<UInt8>, value: Int32
    ) -> Int32? {
        let hash = Self.hash(key)
        let (found, slot) = probe(key, hash, base)
        if let found { return found }
        slots[slot] = Slot(offset: UInt32(offset), count: UInt32(key.count), hash: hash, value: value)
        count += 1
        if count * 3 > slots.count * 2 { grow() }
        return nil
    }

    private mutating func grow() {
        var larger = [Slot](repeating: Slot(), count: slots.count * 2)
        for slot in slots where slot.count > 0 {
            var position = Int(slot.hash) & (larger.count - 1)
            while larger[position].count > 0 { position = (position + 1) & (larger.count - 1) }
            larger[position] = slot
        }
        slots = larger
    }
}

/// A hash table from pairs of token ids to what they become, with the same seeded hashing.
struct PairTable<Value: Sendable>: Sendable {
    private struct Slot: Sendable {
        var key = UInt64.max
        var value: Value
    }

    private var slots: [Slot]
    private let shift: UInt64
    private static var seed: UInt64 { PairSeed.value }

    /// - Parameter filler: Any value, for the slots that stay empty.
    init(capacity: Int, filler: Value) {
        var bits: UInt64 = 4
        while 1 << bits < capacity * 2 { bits += 1 }
        slots = [Slot](repeating: Slot(value: filler), count: 1 << bits)
        shift = 64 - bits
    }

    /// The key of a pair of ids, neither negative.
    @inline(__always)
    static func key(_ left: Int32, _ right: Int32) -> UInt64 {
        UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
    }

    @inline(__always)
    private func slot(_ key: UInt64) -> Int {
        let mask = slots.count - 1
        var position = Int((key &* Self.seed) >> shift)
        return slots.withUnsafeBufferPointer { slots in
            while slots[position].key != key && slots[position].key != .max { position = (position + 1) & mask }
            return position
        }
    }

    /// Setting more than the capacity is a programmer's error; setting a pair again replaces its value.
    subscript(_ key: UInt64) -> Value? {
        @inline(__always) get {
            let slot = slots[slot(key)]
            return slot.key == key ? slot.value : nil
        }
        set {
            guard let newValue else { return }
            slots[slot(key)] = Slot(key: key, value: newValue)
        }
    }
}

private enum PairSeed {
    static let value = UInt64.random(in: .min ... .max) | 1
}
