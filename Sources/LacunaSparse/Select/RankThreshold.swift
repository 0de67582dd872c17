import LacunaTensor

/// The line between the `k` smallest of many numbers and the rest, found without sorting.
///
/// Below it lie the numbers smaller than `value`, and of those equal to `value` the first `ties` in order. -0 and 0
/// are equal.
///
/// The search is a radix selection: floats are mapped to integers of the same order, whose 32 bits are fixed 11, 11 and
/// 10 at a time by counting. That is three reads of the numbers, whatever they are, and no copies.
public struct RankThreshold: Sendable, Hashable {
    /// The k-th smallest number; -∞ for k = 0.
    public let value: Float
    /// How many of the numbers equal to `value` lie below the line.
    public let ties: Int
    /// How many numbers equal `value`.
    public let equal: Int

    /// Nothing lies below the line.
    static let none = RankThreshold(value: -.infinity, ties: 0, equal: 0)

    private init(value: Float, ties: Int, equal: Int) {
        self.value = value
        self.ties = ties
        self.equal = equal
    }

    /// The line above the `k` smallest of `count` numbers, searched on the calling thread.
    ///
    /// - Parameter k: 0...count.
    /// - Returns: Nil if one of the numbers is NaN.
    public init?(smallest k: Int, of numbers: UnsafePointer<Float>, count: Int) {
        precondition(k >= 0 && k <= count)
        let histogram = Buffer<Int>(uninitialized: RadixPass.bins)
        guard
            let found = RankThreshold.search(
                k,
                pass: { pass, prefix in
                    histogram.pointer.update(repeating: 0, count: RadixPass.bins)
                    return pass.count(numbers, count, prefix: prefix, into: histogram.pointer) ? nil : histogram
                })
        else { return nil }
        self = found
    }

    /// The line above the `k` smallest elements of all `tensors` together, searched on the thread pool.
    ///
    /// - Parameter k: 0 to the number of elements.
    /// - Returns: Nil if one of the elements is NaN.
    public init?(smallest k: Int, of tensors: [Tensor<Float>]) {
        precondition(k >= 0 && k <= tensors.reduce(0) { $0 + $1.count })
        guard
            let found = RankThreshold.search(
                k,
                pass: { pass, prefix in
                    let total = Buffer<Int>(repeating: 0, count: RadixPass.bins)
                    for tensor in tensors where !pass.count(tensor, prefix: prefix, addingTo: total) { return nil }
                    return total
                })
        else { return nil }
        self = found
    }

    /// Fixes the bits of the k-th smallest key, highest first. `pass` counts the keys that begin with the given prefix
    /// by their next bits, or returns nil to give up.
    private static func search(
        _ k: Int, pass: (RadixPass, UInt32) -> Buffer<Int>?
    ) -> RankThreshold? {
        var prefix: UInt32 = 0
        var rank = k
        var equal = 0
        for step in RadixPass.all {
            guard let histogram = pass(step, prefix) else { return nil }
            if k == 0 { return RankThreshold.none }
            var bin = 0
            while rank > histogram.pointer[bin] {
                rank -= histogram.pointer[bin]
                bin += 1
            }
            equal = histogram.pointer[bin]
            prefix = prefix << UInt32(step.bits) | UInt32(bin)
        }
        return RankThreshold(value: OrderedKey.float(prefix), ties: rank, equal: equal)
    }
}

/// Unsigned integers in the order of the floats they stand for.
enum OrderedKey {
    @inline(__always) static func key(_ x: Float) -> UInt32 {
        // Adding 0 turns -0 into 0 and nothing else.
        let bits = (x + 0).bitPattern
        return bits ^ (UInt32(bitPattern: Int32(bitPattern: bits) >> 31) | 0x8000_0000)
    }

    static func float(_ key: UInt32) -> Float {
        Float(bitPattern: key & 0x8000_0000 != 0 ? key ^ 0x8000_0000 : ~key)
    }
}

/// One counting pass: over the keys whose upper bits equal a prefix, by the `bits` below them.
private struct RadixPass {
    /// Position of the lowest of the bits counted by.
    let shift: UInt32
    let bits: Int

    static let all = [
        RadixPass(shift: 21, bits: 11), RadixPass(shift: 10, bits: 11), RadixPass(shift: 0, bits: 10),
    ]
    static let bins = 1 << 11

    /// Adds to `histogram`. Returns whether a NaN was seen; looks for it in the first pass only.
    func count(
        _ numbers: UnsafePointer<Float>, _ count: Int, prefix: UInt32, into histogram: UnsafeMutablePointer<Int>
    ) -> Bool {
        if shift == 21 {
            var sawNaN = false
            for i in 0..<count {
                let x = numbers[i]
                sawNaN = sawNaN || x != x
                histogram[Int(OrderedKey.key(x) >> 21)] &+= 1
            }
            return sawNaN
        }
        let upper = shift &+ UInt32(bits)
        let lowerBits = UInt32(1) << UInt32(bits) &- 1
        for i in 0..<count {
            let key = OrderedKey.key(numbers[i])
            if key &>> upper == prefix { histogram[Int(key &>> shift & lowerBits)] &+= 1 }
        }
        return false
    }

    /// As above, in parallel over pieces of a tensor. Returns false if a NaN was seen.
    func count(_ tensor: Tensor<Float>, prefix: UInt32, addingTo total: Buffer<Int>) -> Bool {
        let n = tensor.count
        let grain = max(1 << 16, (n + 63) / 64)
        let pieces = (n + grain - 1) / grain
        let histograms = Buffer<Int>(repeating: 0, count: pieces * RadixPass.bins)
        let sawNaN = Buffer<Bool>(repeating: false, count: pieces)
        tensor.withPointer { p in
            Parallel.forRanges(n, grain: grain) { range in
                let piece = range.lowerBound / grain
                sawNaN.pointer[piece] = count(
                    p + range.lowerBound, range.count, prefix: prefix,
                    into: histograms.pointer + piece * RadixPass.bins)
            }
        }
        for piece in 0..<pieces {
            let histogram = histograms.pointer + piece * RadixPass.bins
            for bin in 0..<RadixPass.bins { total.pointer[bin] += histogram[bin] }
        }
        return !sawNaN.elements.contains(true)
    }
}
