import CLacuna
import LacunaTensor

/// The line between the `k` smallest of many numbers and the rest, found without sorting: the one top-k of the library.
///
/// Below it lie the numbers smaller than `value`, and of those equal to `value` the first `ties` in order. -0 and 0
/// are equal.
///
/// The search is a radix selection: floats are mapped to integers of the same order, whose bits are fixed a digit at a time
/// by counting, in a few reads of the numbers whatever they are, and without copies. A few dozen numbers are ranked by
/// comparing each with all others, which for groups of N:M beats any search.
public struct RankThreshold: Sendable, Hashable {
    /// The k-th smallest number; -∞ for k = 0.
    public let value: Float
    /// How many of the numbers equal to `value` lie below the line.
    public let ties: Int
    /// How many numbers equal `value`.
    public let equal: Int

    /// Nothing lies below the line.
    static let none = RankThreshold(value: -.infinity, ties: 0, equal: 0)

    /// Everything up to `value` lies below the line.
    static func through(_ value: Float) -> RankThreshold { RankThreshold(value: value, ties: .max, equal: .max) }

    private init(value: Float, ties: Int, equal: Int) {
        self.value = value
        self.ties = ties
        self.equal = equal
    }

    /// The line above the `k` smallest of `count` numbers, searched on the calling thread.
    ///
    /// - Parameter k: 0...count.
    /// - Returns: Nil if one of the numbers is NaN.
    /// - Complexity: O(count).
    public init?(smallest k: Int, of numbers: UnsafePointer<Float>, count: Int) {
        require(k >= 0 && k <= count)
        if Self.hasNaN(numbers, count) { return nil }
        if k == 0 {
            self = .none
            return
        }
        if count <= Self.fewNumbers {
            self.init(smallest: k, ofFew: numbers, count: count, stride: 1)
            return
        }
        var (greater, equal) = (0, 0)
        let value = Kernels.best.kth_largest(numbers, count, count - k + 1, &greater, &equal)
        self.init(value: value, ties: k - (count - greater - equal), equal: equal)
    }

    /// Up to this many numbers are compared with each other.
    static let fewNumbers = 40

    /// The same for few numbers, `stride` apart, none of which is NaN. k is at least 1.
    @inline(__always)
    init(smallest k: Int, ofFew numbers: UnsafePointer<Float>, count: Int, stride: Int) {
        for i in 0..<count {
            let x = numbers[i &* stride]
            var smaller = 0
            var equal = 0
            for j in 0..<count {
                let y = numbers[j &* stride]
                smaller &+= y < x ? 1 : 0
                equal &+= y == x ? 1 : 0
            }
            if smaller < k && k <= smaller + equal {
                self.init(value: x, ties: k - smaller, equal: equal)
                return
            }
        }
        self = .none
    }

    /// The line above the `k` smallest elements of all `tensors` together, searched on the thread pool.
    ///
    /// - Parameter k: 0 to the number of elements.
    /// - Returns: Nil if one of the elements is NaN.
    /// - Complexity: O(elements).
    public init?(smallest k: Int, of tensors: [Tensor<Float>]) {
        require(k >= 0 && k <= tensors.reduce(0) { $0 + $1.count })
        if tensors.contains(where: Self.hasNaN) { return nil }
        if k == 0 {
            self = .none
            return
        }
        var prefix: UInt32 = 0
        var rank = k
        var equal = 0
        for shift in [21, 10, 0] {
            let total = Self.count(tensors, shift: shift, prefix: prefix)
            var digit = 0
            while rank > total[digit] {
                rank -= total[digit]
                digit += 1
            }
            equal = total[digit]
            prefix |= UInt32(digit) << UInt32(shift)
        }
        self.init(value: lk_key_value(prefix), ties: rank, equal: equal)
    }

    private static let digits = 1 << 11

    /// How many keys that agree with `prefix` above the digit at `shift` have each value of it.
    private static func count(_ tensors: [Tensor<Float>], shift: Int, prefix: UInt32) -> [Int] {
        var total = [Int](repeating: 0, count: digits)
        for tensor in tensors where tensor.count > 0 {
            let n = tensor.count
            let grain = max(1 << 16, (n + 63) / 64)
            let counts = Buffer<UInt64>(repeating: 0, count: (n + grain - 1) / grain * digits)
            tensor.withPointer { p in
                Parallel.forRanges(n, grain: grain) { range in
                    Kernels.best.count_keys(
                        p + range.lowerBound, range.count, Int32(shift), prefix,
                        counts.pointer + range.lowerBound / grain * digits)
                }
            }
            for (i, count) in counts.elements.enumerated() { total[i % digits] += Int(count) }
        }
        return total
    }

    static func hasNaN(_ numbers: UnsafePointer<Float>, _ count: Int) -> Bool {
        // Whole stretches at a time, so that the loop has no branch.
        for start in stride(from: 0, to: count, by: 4096) {
            var undefined: UInt32 = 0
            for i in start..<min(start + 4096, count) { undefined |= numbers[i] == numbers[i] ? 0 : 1 }
            if undefined != 0 { return true }
        }
        return false
    }

    private static func hasNaN(_ tensor: Tensor<Float>) -> Bool {
        tensor.withPointer { hasNaN($0, tensor.count) }
    }
}
