/// xoshiro256++ (Blackman and Vigna, "Scrambled Linear Pseudorandom Number Generators", ACM TOMS 2021), seeded through
/// SplitMix64. The same seed and stream give the same numbers on every platform.
public struct SeededGenerator: RandomNumberGenerator, Sendable {
    private var state: (UInt64, UInt64, UInt64, UInt64)

    /// - Parameters:
    ///   - seed: What the user chose.
    ///   - stream: A further number that separates independent uses of one seed, such as a layer's index.
    public init(seed: UInt64, stream: UInt64 = 0) {
        var mix = seed ^ (stream &* 0xD134_2543_DE82_EF95)
        func next() -> UInt64 {
            mix &+= 0x9E37_79B9_7F4A_7C15
            var z = mix
            z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
            z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
            return z ^ (z >> 31)
        }
        state = (next(), next(), next(), next())
    }

    /// The four words of the state, from which ``init(words:)`` continues the same sequence.
    public var words: [UInt64] { [state.0, state.1, state.2, state.3] }

    /// Continues where the generator stood that gave ``words``. Nil unless there are four and one is not 0.
    public init?(words: [UInt64]) {
        guard words.count == 4, words.contains(where: { $0 != 0 }) else { return nil }
        state = (words[0], words[1], words[2], words[3])
    }

    public mutating func next() -> UInt64 {
        func rotate(_ x: UInt64, _ k: UInt64) -> UInt64 { (x << k) | (x >> (64 - k)) }
        let result = rotate(state.0 &+ state.3, 23) &+ state.0
        let t = state.1 << 17
        state.2 ^= state.0
        state.3 ^= state.1
        state.1 ^= state.2
        state.0 ^= state.3
        state.2 ^= t
        state.3 = rotate(state.3, 45)
        return result
    }

    /// Uniform in [0, 1), with 53 random bits.
    public mutating func uniform() -> Double { Double(next() >> 11) * 0x1p-53 }

    /// Standard normal, by the polar method.
    public mutating func normal() -> Double {
        while true {
            let u = 2 * uniform() - 1
            let v = 2 * uniform() - 1
            let s = u * u + v * v
            if s > 0 && s < 1 { return u * (-2 * logarithm(s) / s).squareRoot() }
        }
    }
}

extension Tensor {
    /// Independent normal numbers with the given mean and standard deviation.
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    public init(
        normal shape: [Int], mean: Scalar = 0, standardDeviation: Scalar = 1,
        using generator: inout SeededGenerator
    ) {
        self.init(uninitialized: shape)
        let n = count
        withMutablePointer { p in
            for i in 0..<n { p[i] = mean + standardDeviation * Scalar(generator.normal()) }
        }
    }

    /// Independent numbers uniform in `range`, its upper bound excluded.
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    public init(uniform shape: [Int], in range: Range<Scalar> = 0..<1, using generator: inout SeededGenerator) {
        self.init(uninitialized: shape)
        let n = count
        let width = range.upperBound - range.lowerBound
        // As many random bits as the significand holds: rounding from more could reach 1. The sum below may still round
        // up to the bound when the range is far from 0.
        let bits = UInt64(Scalar.significandBitCount + 1)
        let unit = 1 / Scalar(UInt64(1) << bits)
        let last = Swift.max(range.lowerBound, range.upperBound.nextDown)
        withMutablePointer { p in
            for i in 0..<n {
                p[i] = Swift.min(range.lowerBound + width * (Scalar(generator.next() >> (64 - bits)) * unit), last)
            }
        }
    }
}
