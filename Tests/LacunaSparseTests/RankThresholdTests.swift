import LacunaSparse
import LacunaTensor
import Testing

@Suite struct RankThresholdTests {
    /// The threshold, spelled out as the set of indices below it.
    private func below(_ threshold: RankThreshold, _ values: [Float]) -> Set<Int> {
        var ties = threshold.ties
        return Set(
            values.indices.filter { i in
                if values[i] == threshold.value && ties > 0 {
                    ties -= 1
                    return true
                }
                return values[i] < threshold.value
            })
    }

    private func check(_ values: [Float]) throws {
        let tensor = Tensor<Float>(values)
        let cut = values.count / 3
        let parts = [Tensor<Float>(Array(values[..<cut])), Tensor<Float>([]), Tensor<Float>(Array(values[cut...]))]
        for k in Set([0, 1, values.count / 2, values.count - 1, values.count]) where k >= 0 && k <= values.count {
            let serial = try #require(RankThreshold(smallest: k, of: values, count: values.count))
            #expect(below(serial, values) == Reference.smallest(k, of: values), "k = \(k) of \(values.prefix(20))")
            #expect(serial == RankThreshold(smallest: k, of: [tensor]))
            #expect(serial == RankThreshold(smallest: k, of: parts))
            #expect(k == 0 || serial.equal == values.filter { $0 == serial.value }.count)
        }
    }

    @Test func matchesAFullSort() throws {
        for seed in 0..<20 as Range<UInt64> {
            try check(normalTensor(1, Int(seed * 13), seed: seed).scalars)
            try check(tiedScores(1, 1 + Int(seed * 11), seed: seed, levels: 2).scalars)
        }
    }

    @Test func everyKindOfFloat() throws {
        let tiny = Float.leastNonzeroMagnitude
        try check([0, -0.0, 0, -0.0, tiny, -tiny, .infinity, -.infinity, .greatestFiniteMagnitude, 1, 1, -1])
        try check([-0.0, 0, -0.0])
        try check([.infinity, .infinity, .infinity])
        try check([-.infinity, -.infinity])
        try check([])
        // Neighbours differ in the last bits only: all three passes decide.
        try check((0..<3000).map { Float(bitPattern: 0x3F80_0000 + UInt32($0 * 7919 % 3000)) })
        try check((0..<3000).map { -Float(bitPattern: 0x3F80_0000 + UInt32($0 * 7919 % 3000)) })
    }

    @Test func largeInputsInPieces() throws {
        let values = normalTensor(1, 200_000, seed: 3).scalars
        let sorted = values.sorted()
        for k in [1, 7, 100_000, 199_999] {
            #expect(RankThreshold(smallest: k, of: [Tensor<Float>(values)])?.value == sorted[k - 1])
        }
    }

    @Test(arguments: [Float.nan, -Float.nan, Float(bitPattern: 0x7F80_0001), Float(bitPattern: 0xFF80_0001)])
    func undefinedNumbersAreRefused(nan: Float) {
        let values: [Float] = [1, 2, nan, 4]
        for k in 0...4 {
            #expect(RankThreshold(smallest: k, of: values, count: 4) == nil)
            #expect(RankThreshold(smallest: k, of: [Tensor<Float>([1]), Tensor<Float>(values)]) == nil)
        }
    }
}

@Suite struct LargestTests {
    /// A full sort, by number and then by place.
    private func sorted<Scalar: TensorScalar>(_ values: [Scalar], _ ties: Largest.Ties) -> [Int] {
        values.indices.sorted {
            values[$0] != values[$1] ? values[$0] > values[$1] : ties == .first ? $0 < $1 : $0 > $1
        }
    }

    private func check<Scalar: TensorScalar>(_ values: [Scalar]) {
        for k in Set([0, 1, 2, values.count / 3, values.count - 1, values.count]) where (0...values.count).contains(k) {
            for ties in [Largest.Ties.first, .last] {
                let found = values.withUnsafeBufferPointer { Largest.indices(k, of: $0, ties: ties) }
                #expect(found == sorted(values, ties).prefix(k).sorted(), "\(k) of \(values.prefix(20)), \(ties)")
            }
        }
        let usual = values.withUnsafeBufferPointer { Largest.indices(values.count / 2, of: $0) }
        #expect(usual == sorted(values, .last).prefix(values.count / 2).sorted())
    }

    @Test func matchesAFullSort() {
        var generator = SeededGenerator(seed: 11)
        for count in [0, 1, 2, 7, 40, 41, 64, 65, 1000] {
            let normal = (0..<count).map { _ in generator.normal() }
            let tied = (0..<count).map { _ in Double(Int.random(in: -2...2, using: &generator)) }
            for values in [normal, tied] {
                check(values)
                check(values.map { Float($0) })
            }
        }
    }

    @Test func everyKindOfNumber() {
        let tiny = Double.leastNonzeroMagnitude
        check([0, -0.0, 0, -0.0, tiny, -tiny, .infinity, -.infinity, .greatestFiniteMagnitude, 1, 1, -1, 1e-300])
        check([Float(0), -0.0, 0, 1, -1, .infinity, -.infinity, .leastNonzeroMagnitude])
        // Neighbours differ in the last bits only: every digit decides.
        check((0..<500).map { Double(bitPattern: 0x3FF0_0000_0000_0000 + UInt64($0 * 7919 % 500)) })
        check((0..<500).map { -Double(bitPattern: 0x3FF0_0000_0000_0000 + UInt64($0 * 7919 % 500)) })
        check((0..<500).map { Double(bitPattern: 0x3FF0_0000_0000_0000 + UInt64($0 * 7919 % 500) << 40) })
    }

    /// There are always `k`, whatever is no number: beyond the infinities of its sign.
    @Test func notNumbersHaveAnOrder() {
        let values = [1, Double.nan, -.infinity, -Double.nan, .infinity]
        let floats = values.map { $0.isNaN ? ($0.sign == .minus ? -Float.nan : .nan) : Float($0) }
        for (k, expected) in [(1, [1]), (2, [1, 4]), (3, [0, 1, 4]), (4, [0, 1, 2, 4])] {
            #expect(values.withUnsafeBufferPointer { Largest.indices(k, of: $0) } == expected)
            #expect(floats.withUnsafeBufferPointer { Largest.indices(k, of: $0) } == expected)
        }
    }
}
