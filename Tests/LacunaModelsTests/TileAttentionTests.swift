import LacunaTensor
import Testing

@testable import LacunaModels

/// Attention over some keys in batches, against softmax over a masked row of scores in double precision.
struct TileAttentionTests {
    private static let size = 12

    private static func gaussian(_ count: Int, seed: UInt64, scale: Float = 1) -> [Float] {
        var generator = SeededGenerator(seed: seed)
        return (0..<count).map { _ in scale * Float(generator.normal()) }
    }

    /// What a tile gives, and how many pairs it read.
    private static func attend(
        _ queries: [Float], _ keys: [Float], _ values: [Float], first: Int, ranges: [Range<Int>], window: Int?,
        scale: Float
    ) -> (output: [Float], pairs: Int) {
        let rows = queries.count / size
        var output = [Float](repeating: 7, count: queries.count)
        var pairs = 0
        queries.withUnsafeBufferPointer { q in
            keys.withUnsafeBufferPointer { k in
                values.withUnsafeBufferPointer { v in
                    output.withUnsafeMutableBufferPointer { out in
                        pairs = TileAttention(
                            queries: .init(pointer: q.baseAddress!, stride: size), rows: rows, firstPosition: first,
                            headSize: size, scale: scale, window: window, output: out.baseAddress!, outputStride: size
                        ).attend(ranges, keyStride: size) {
                            KeyValueView(
                                keys: k.baseAddress! + $0.lowerBound * size,
                                values: v.baseAddress! + $0.lowerBound * size)
                        }
                    }
                }
            }
        }
        return (output, pairs)
    }

    private static func expected(
        _ queries: [Float], _ keys: [Float], _ values: [Float], first: Int, ranges: [Range<Int>], window: Int?,
        scale: Float
    ) -> (output: [Double], pairs: Int) {
        var (output, pairs) = ([Double](), 0)
        for i in 0..<queries.count / size {
            let position = first + i
            let seen = (window.map { position + 1 - $0 } ?? 0)..<position + 1
            let places = ranges.flatMap { Array($0) }.filter { seen.contains($0) }
            pairs += places.count
            let scores = places.map { t in
                var sum = 0.0
                for e in 0..<size { sum += Double(queries[i * size + e]) * Double(keys[t * size + e]) }
                return Double(scale) * sum
            }
            let top = scores.max()!
            let weights = scores.map { exponential($0 - top) }
            let sum = weights.reduce(0, +)
            for e in 0..<size {
                var mixed = 0.0
                for (t, weight) in zip(places, weights) { mixed += weight / sum * Double(values[t * size + e]) }
                output.append(mixed)
            }
        }
        return (output, pairs)
    }

    @Test(
        arguments: [
            (0, 1, [0..<1], nil), (0, 8, [0..<8], nil), (600, 32, [0..<632], nil), (600, 5, [0..<605], 700),
            (600, 32, [0..<256, 600..<632], nil), (900, 16, [3..<4, 9..<10, 11..<200, 300..<301, 880..<930], nil),
            (900, 16, [0..<300, 500..<777, 895..<916], 60), (40, 9, [38..<100], 3),
            (512, 64, [100..<400, 510..<576], 64),
            (700, 3, [0..<700, 700..<703], 300),
        ] as [(Int, Int, [Range<Int>], Int?)])
    func equalsMaskedSoftmax(_ first: Int, _ rows: Int, _ ranges: [Range<Int>], _ window: Int?) {
        let queries = Self.gaussian(rows * Self.size, seed: 1)
        let keys = Self.gaussian(1000 * Self.size, seed: 2)
        let values = Self.gaussian(1000 * Self.size, seed: 3)
        for scale: Float in [0.3, 5] {
            let (found, read) = Self.attend(
                queries, keys, values, first: first, ranges: ranges, window: window, scale: scale)
            let (wanted, pairs) = Self.expected(
                queries, keys, values, first: first, ranges: ranges, window: window, scale: scale)
            #expect(read == pairs)
            let worst: Double = zip(found, wanted).map { abs(Double($0) - $1) }.max()!
            #expect(worst < 2e-5)
        }
    }

    /// Batches whose scores differ by hundreds merge without overflow, whichever comes first.
    @Test func largeScoresMerge() {
        let size = Self.size
        for spike in [10, 500] {
            var keys = Self.gaussian(600 * size, seed: 4)
            let values = Self.gaussian(600 * size, seed: 5)
            var queries = [Float](repeating: 0, count: size)
            queries[0] = 20
            keys[spike * size] = 40
            let (found, _) = Self.attend(
                queries, keys, values, first: 599, ranges: [0..<300, 400..<600], window: nil, scale: 1)
            for e in 0..<size { #expect(abs(found[e] - values[spike * size + e]) < 1e-5) }
        }
    }

    @Test func whatIsNotANumberIsPassedOn() {
        let size = Self.size
        var keys = Self.gaussian(400 * size, seed: 6)
        keys[5 * size] = .nan
        let (values, queries) = (Self.gaussian(400 * size, seed: 7), Self.gaussian(2 * size, seed: 8))
        let (found, _) = Self.attend(queries, keys, values, first: 390, ranges: [0..<392], window: nil, scale: 1)
        #expect(found.allSatisfy { $0.isNaN })
        let (others, _) = Self.attend(queries, keys, values, first: 390, ranges: [6..<392], window: nil, scale: 1)
        #expect(others.allSatisfy { $0.isFinite })
    }
}
