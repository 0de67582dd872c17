import CLacuna
import LacunaTensor
import Testing

/// Ranks, thresholds and masks of the largest, against sorting.
@Suite struct SelectionKernelTests {
    /// Numbers with many ties, both zeros and infinities.
    static func scores(_ n: Int, _ random: inout SeededGenerator) -> [Float] {
        let kind = random.next() % 3
        return (0..<n).map { _ in
            switch kind {
            case 0: Float(random.normal())
            case 1: [0, -0.0, 1, 2, -3, .infinity, -.infinity][Int(random.next() % 7)]
            default: Float(bitPattern: 0x3F80_0000 + UInt32(random.next() % 40))
            }
        }
    }

    @Test(arguments: supportedLevels) func largestAreThoseOfAStableSort(level: Int32) {
        let k = kernels(level)
        var random = SeededGenerator(seed: 1, stream: UInt64(level))
        for n in awkwardLengths {
            let x = Self.scores(n, &random)
            // Ascending and stable: removing from the front removes the lower index of equals first.
            let order = (0..<n).sorted { (x[$0], $0) < (x[$1], $1) }
            for kept in Set([0, 1, n / 3, n / 2, n - 1, n]) {
                var expected = [UInt64](repeating: 0, count: (n + 63) / 64)
                for i in order[(n - kept)...] { expected[i / 64] |= 1 << UInt64(i % 64) }
                var words = [UInt64](repeating: ~0, count: (n + 63) / 64)
                k.mask_largest(x, n, kept, &words)
                #expect(words == expected, "\(kept) of \(n)")
                guard kept > 0 else { continue }
                var (greater, equal) = (0, 0)
                let threshold = k.kth_largest(x, n, kept, &greater, &equal)
                #expect(threshold == x[order[n - kept]])
                #expect(greater == x.count { $0 > threshold } && equal == x.count { $0 == threshold })
                var (referenceGreater, referenceEqual) = (0, 0)
                #expect(threshold == reference.kth_largest(x, n, kept, &referenceGreater, &referenceEqual))
                #expect(greater == referenceGreater && equal == referenceEqual)
            }
        }
    }

    @Test(arguments: supportedLevels) func radixStepsFindTheRankOfSeveralArrays(level: Int32) {
        let k = kernels(level)
        var random = SeededGenerator(seed: 2, stream: UInt64(level))
        let parts = [random.awkwardFloats(777), random.awkwardFloats(50), random.normals(1301)]
        let sorted = parts.joined().sorted(by: >)
        for rank in [1, 2, 100, 1000, sorted.count] {
            var prefix: UInt32 = 0
            var above = 0
            for shift: Int32 in [21, 10, 0] {
                var counts = [UInt64](repeating: 0, count: 2048)
                var expected = counts
                for part in parts {
                    k.count_keys(part, part.count, shift, prefix, &counts)
                    reference.count_keys(part, part.count, shift, prefix, &expected)
                }
                #expect(counts == expected)
                var digit = 2047
                while above + Int(counts[digit]) < rank {
                    above += Int(counts[digit])
                    digit -= 1
                }
                prefix |= UInt32(digit) << UInt32(shift)
            }
            #expect(lk_key_value(prefix) == sorted[rank - 1])
        }
    }

    @Test func keysKeepTheOrder() {
        let ascending: [Float] = [-.infinity, -1e30, -1, -0x1p-140, 0, 0x1p-140, 1, 1e30, .infinity]
        for (a, b) in zip(ascending, ascending.dropFirst()) { #expect(lk_key(a) < lk_key(b)) }
        for a in ascending { #expect(lk_key_value(lk_key(a)) == a) }
        #expect(lk_key(-0.0) == lk_key(0))
        #expect(lk_key(.nan) > lk_key(.infinity))
    }

    @Test(arguments: supportedLevels) func thresholdSkipsTheFirstEquals(level: Int32) {
        let k = kernels(level)
        var words: [UInt64] = [0]
        #expect(k.mask_above([1, 2, 2, 3, 2], 5, 2, 2, &words) == 3)
        #expect(words == [0b11000])
        #expect(k.mask_above([1, 2, 2, 3, 2], 5, 2, 0, &words) == 3)
        #expect(words == [0b11110])
    }
}
