import CLacuna
import LacunaTensor

/// The places of the largest of many numbers, without sorting them: what top-k operations, samplers and sparse vectors take.
///
/// Numbers are in the order of ``RankThreshold``; those that are not numbers lie beyond the infinities of their sign, so that
/// there are always `k`. -0 and 0 are equal.
public enum Largest {
    /// Which of several equal numbers are taken where not all can be.
    public enum Ties: Sendable, Hashable {
        /// Those that come first.
        case first
        /// Those that come last.
        case last
    }

    /// The indices of the `k` largest numbers, ascending.
    ///
    /// - Parameter k: 0...count.
    /// - Complexity: O(count).
    public static func indices<Scalar: TensorScalar>(
        _ k: Int, of numbers: UnsafeBufferPointer<Scalar>, ties: Ties = .last
    ) -> [Int] {
        let n = numbers.count
        require(k >= 0 && k <= n, "the \(k) largest of \(n) numbers")
        guard k > 0, k < n, let start = numbers.baseAddress else { return Array(0..<k) }
        if Scalar.self == Float.self {
            return start.withMemoryRebound(to: Float.self, capacity: n) { x in
                var (greater, equal) = (0, 0)
                let value = Kernels.best.kth_largest(x, n, k, &greater, &equal)
                return above(lk_key(value), greater, equal, k, n, ties) { lk_key(x[$0]) }
            }
        }
        return start.withMemoryRebound(to: Double.self, capacity: n) { x in
            let (line, greater, equal) = self.line(k, x, n)
            return above(line, greater, equal, k, n, ties) { key(x[$0]) }
        }
    }

    /// The indices whose keys exceed `line`, of which there are `greater`, and of the `equal` ones as many as are missing.
    @inline(__always)
    private static func above<Key: Comparable>(
        _ line: Key, _ greater: Int, _ equal: Int, _ k: Int, _ n: Int, _ ties: Ties, _ key: (Int) -> Key
    ) -> [Int] {
        let taken = k - greater
        // Of the equal ones in order, these are taken.
        let range = ties == .first ? 0..<taken : equal - taken..<equal
        var (result, seen) = ([Int](), 0)
        result.reserveCapacity(k)
        for i in 0..<n {
            let own = key(i)
            if own < line { continue }
            if own == line {
                seen += 1
                if !range.contains(seen - 1) { continue }
            }
            result.append(i)
        }
        return result
    }

    /// Doubles in ascending order have keys in ascending order, as ``lk_key`` has it for floats.
    @inline(__always)
    private static func key(_ x: Double) -> UInt64 {
        let (bits, sign) = (x.bitPattern, UInt64(1) << 63)
        return bits == sign ? sign : bits & sign != 0 ? ~bits : bits | sign
    }

    /// The key of the k-th largest, and how many keys are greater than it and equal to it: its digits of 11 bits are fixed one
    /// after the other, by counting those of the keys that agree so far.
    private static func line(
        _ k: Int, _ x: UnsafePointer<Double>, _ n: Int
    ) -> (key: UInt64, greater: Int, equal: Int) {
        var (prefix, greater, equal) = (UInt64(0), 0, n)
        for (shift, bits) in [(53, 11), (42, 11), (31, 11), (20, 11), (9, 11), (0, 9)] as [(UInt64, UInt64)] {
            let mask = UInt64(1) << bits - 1
            var counts = [Int](repeating: 0, count: 1 << Int(bits))
            for i in 0..<n {
                let own = key(x[i])
                if (own ^ prefix) >> shift & ~mask == 0 { counts[Int(own >> shift & mask)] += 1 }
            }
            var digit = counts.count - 1
            while greater + counts[digit] < k {
                greater += counts[digit]
                digit -= 1
            }
            equal = counts[digit]
            prefix |= UInt64(digit) << shift
        }
        return (prefix, greater, equal)
    }
}
