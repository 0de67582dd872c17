/// What pairs of tokens become: a hash table, seeded anew in every process so that no file can be made to collide. No
/// result depends on the seed.
struct MergeTable: Sendable {
    struct Merge: Sendable {
        /// Lower ranks are joined first.
        var rank: Int32
        var result: Int32
    }

    private struct Slot: Sendable {
        var key = UInt64.max
        var merge = Merge(rank: .max, result: -1)
    }

    private var slots: [Slot]
    private let shift: UInt64
    private let seed = UInt64.random(in: .min ... .max) | 1

    /// - Parameter capacity: How many pairs are going to be set at most.
    init(capacity: Int) {
        var bits: UInt64 = 4
        while 1 << bits < capacity * 2 { bits += 1 }
        slots = [Slot](repeating: Slot(), count: 1 << bits)
        shift = 64 - bits
    }

    @inline(__always)
    private static func key(_ left: Int32, _ right: Int32) -> UInt64 {
        UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
    }

    /// What two tokens become, whose ids are not negative; nil if they cannot be joined.
    @inline(__always)
    subscript(left: Int32, right: Int32) -> Merge? {
        let (key, mask) = (Self.key(left, right), slots.count - 1)
        var position = Int((key &* seed) >> shift)
        return slots.withUnsafeBufferPointer { slots in
            while true {
                if slots[position].key == key { return slots[position].merge }
                if slots[position].key == .max { return nil }
                position = (position + 1) & mask
            }
        }
    }

    /// Enters a pair, or replaces what it becomes.
    mutating func set(_ left: Int32, _ right: Int32, _ merge: Merge) {
        let (key, mask) = (Self.key(left, right), slots.count - 1)
        var position = Int((key &* seed) >> shift)
        while slots[position].key != key && slots[position].key != .max { position = (position + 1) & mask }
        slots[position] = Slot(key: key, merge: merge)
    }
}
