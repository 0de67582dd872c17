import LacunaTensor
import Testing

@Suite struct SeededGeneratorTests {
    /// xoshiro256++ from its definition, checked against the numbers published for the state 1, 2, 3, 4.
    private struct Reference {
        var s: [UInt64]
        mutating func next() -> UInt64 {
            func rotated(_ x: UInt64, _ k: Int) -> UInt64 { x << UInt64(k) | x >> UInt64(64 - k) }
            let result = rotated(s[0] &+ s[3], 23) &+ s[0]
            let t = s[1] << 17
            s[2] ^= s[0]
            s[3] ^= s[1]
            s[1] ^= s[2]
            s[0] ^= s[3]
            s[2] ^= t
            s[3] = rotated(s[3], 45)
            return result
        }
    }

    @Test func publishedNumbers() {
        var published = Reference(s: [1, 2, 3, 4])
        #expect(
            (0..<4).map { _ in published.next() } == [
                41_943_041, 58_720_359, 3_588_806_011_781_223, 3_591_011_842_654_386,
            ])
        // The first four outputs of SplitMix64 with the seed 1234567 are the state.
        var reference = Reference(s: [
            6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423, 4_593_380_528_125_082_431,
        ])
        var generator = SeededGenerator(seed: 1_234_567)
        #expect((0..<1000).allSatisfy { _ in generator.next() == reference.next() })
    }

    @Test func seedsAndStreamsAreDistinct() {
        var first = Set<UInt64>()
        for seed in 0..<100 as Range<UInt64> {
            for stream in 0..<100 as Range<UInt64> {
                var generator = SeededGenerator(seed: seed, stream: stream)
                first.insert(generator.next())
            }
        }
        #expect(first.count == 10_000)
        var a = SeededGenerator(seed: 7, stream: 3)
        var b = SeededGenerator(seed: 7, stream: 3)
        #expect((0..<100).allSatisfy { _ in a.next() == b.next() })
    }

    @Test func neighbouringStreamsAreUncorrelated() {
        let n = 4000
        func draw(_ seed: UInt64, _ stream: UInt64) -> [Double] {
            var generator = SeededGenerator(seed: seed, stream: stream)
            return (0..<n).map { _ in generator.normal() }
        }
        let pairs: [((UInt64, UInt64), (UInt64, UInt64))] = [
            ((0, 0), (0, 1)), ((0, 1), (0, 2)), ((0, 0), (1, 0)), ((5, 10), (6, 10)), ((1, 0), (0, 1)),
        ]
        for (p, q) in pairs {
            let (x, y) = (draw(p.0, p.1), draw(q.0, q.1))
            for lag in 0..<3 {
                let r = (0..<n - lag).reduce(0) { $0 + x[$1] * y[$1 + lag] } / Double(n)
                #expect(abs(r) < 5 / Double(n).squareRoot(), "\(p) \(q) lag \(lag)")
            }
        }
    }

    @Test(arguments: [0, 1, 42] as [UInt64]) func uniformNumbersAreUniform(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        let n = 50_000
        var bins = [Int](repeating: 0, count: 50)
        var (sum, square) = (0.0, 0.0)
        for _ in 0..<n {
            let x = generator.uniform()
            bins[Int(x * 50)] += 1
            sum += x
            square += x * x
        }
        #expect(abs(sum / Double(n) - 0.5) < 5 * 0.2887 / Double(n).squareRoot())
        #expect(abs(square / Double(n) - 1.0 / 3) < 5 * 0.2981 / Double(n).squareRoot())
        // χ² with 49 degrees of freedom: mean 49, standard deviation 9.9.
        let chi = bins.reduce(0) { $0 + (Double($1) - Double(n) / 50) * (Double($1) - Double(n) / 50) } / Double(n / 50)
        #expect(chi > 20 && chi < 100)
    }

    @Test func normalNumbersAreNormal() {
        var generator = SeededGenerator(seed: 3)
        let x = Tensor<Double>(normal: [200, 300], mean: 1, standardDeviation: 2, using: &generator).scalars
        let z = x.map { ($0 - 1) / 2 }
        let n = Double(z.count)
        func moment(_ k: Int) -> Double { z.reduce(0) { $0 + power($1, Double(k)) } / n }
        // Standard errors of the first four moments: 1, √2, √15, √96 over √n.
        for (k, expected, error) in [(1, 0.0, 1.0), (2, 1, 1.414), (3, 0, 3.873), (4, 3, 9.798)] {
            #expect(abs(moment(k) - expected) < 5 * error / n.squareRoot())
        }
        let beyond = Double(z.filter { abs($0) > 1.959964 }.count) / n
        #expect(abs(beyond - 0.05) < 5 * 0.218 / n.squareRoot())
    }

    @Test func uniformTensorsStayBelowTheirBound() {
        // Rounding a number just below 1 to single precision would give the bound.
        var generator = SeededGenerator(seed: 9)
        let far = Tensor<Float>(uniform: [20_000], in: 1_000_000..<1_000_001, using: &generator)
        #expect(far.scalars.allSatisfy { $0 >= 1_000_000 && $0 < 1_000_001 })
        let unit = Tensor<Float>(uniform: [20_000], using: &generator).scalars
        #expect(unit.allSatisfy { $0 >= 0 && $0 < 1 && ($0 * 0x1p24).rounded() == $0 * 0x1p24 })
        #expect(abs(unit.reduce(0, +) / 20_000 - 0.5) < 0.011)
        #expect(Tensor<Double>(uniform: [3], in: 2..<2, using: &generator).scalars == [2, 2, 2])
        var same = SeededGenerator(seed: 9)
        #expect(Tensor<Float>(uniform: [20_000], in: 1_000_000..<1_000_001, using: &same) == far)
    }
}
