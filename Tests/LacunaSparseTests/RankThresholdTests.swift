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
