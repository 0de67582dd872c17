import LacunaModels
import LacunaTensor
import Testing

@testable import LacunaInfer

struct ALISATests {
    private func session(
        _ decoder: Transformer, _ share: Double?, remembersAll: Bool = false, context: Int = 128
    ) throws -> DecodingSession {
        guard let share else { return try DecodingSession(TokenEngine(decoder), context: context) }
        let method = try ALISA(share: share, remembersAll: remembersAll)
        return try DecodingSession(
            TokenEngine(decoder, selector: method) {
                AttentionMassCache(KeyValueCache($0), shape: $0, method: method)
            }, context: context)
    }

    private func logits(_ session: DecodingSession, _ parts: [[Int]]) throws -> Tensor<Float> {
        var rows: [Float] = []
        for part in parts { rows += try session.verify(part).scalars }
        return Tensor(rows, shape: [rows.count / 60, 60])
    }

    @Test func everythingIsDense() throws {
        let decoder = try Skip.decoder()
        let tokens = Skip.tokens(80, seed: 2)
        let parts = [Array(tokens[..<40]), Array(tokens[40..<45])] + tokens[45...].map { [$0] }
        let dense = try logits(session(decoder, nil), parts)
        let whole = try logits(session(decoder, 1), parts)
        #expect(Skip.error(whole, dense) < 1e-6)
        let sparse = try logits(session(decoder, 0.3), parts)
        #expect(Skip.error(sparse.rows(0..<40), dense.rows(0..<40)) < 1e-6)
        #expect(Skip.error(sparse.rows(40..<80), dense.rows(40..<80)) > 1e-3)
        for share in [0, -1, 1.5, Double.nan] { #expect(throws: LacunaError.self) { try ALISA(share: share) } }
        #expect(try ALISA(share: 0.2).half(100) == 10 && ALISA(share: 0.25).half(100) == 13)
        #expect(try ALISA(share: 0.01).half(10) == 1)
    }

    /// One head whose weights are given: sums of the last k queries, the heaviest before the window, ties to the later.
    @Test func sumsOfTheLastQueries() throws {
        let shape = KeyValueShape(layers: 1, heads: 1, headSize: 2, capacity: 64)
        let method = try ALISA(share: 0.4)
        let store = AttentionMassCache(KeyValueCache(shape), shape: shape, method: method)
        var generator = SeededGenerator(seed: 5)
        // Of every query, what each head paid to each position.
        var history: [[[Double]]] = []
        for position in 0..<40 {
            store.append(layer: 0, keys: [0, 0], values: [0, 0], count: 1)
            var paid = [[Double]](repeating: [Double](repeating: 0, count: 40), count: 2)
            // The heads come in no order.
            for head in [1, 0] {
                let ranges = position < 3 ? [0..<position + 1] : [0..<2, position - 1..<position + 1]
                let weights = ranges.joined().map { _ in Float(generator.uniform()) }
                for (t, weight) in zip(ranges.joined(), weights) { paid[head][t] = Double(weight) }
                weights.withUnsafeBufferPointer {
                    store.note(layer: 0, head: head, position: position, queries: 1, ranges: ranges, weights: $0)
                }
            }
            history.append(paid)
            store.advance(by: 1)
            let (n, half) = (position + 2, method.half(position + 2))
            var sums = [Double](repeating: 0, count: 40)
            for paid in history.suffix(half) { for t in 0..<40 { sums[t] += paid[0][t] + paid[1][t] } }
            let found = store.masses(layer: 0)
            #expect(found.indices.allSatisfy { abs(found[$0] - sums[$0]) < 1e-6 })
            let older = max(0, n - half)
            let best = (0..<older).sorted { abs(sums[$0] - sums[$1]) < 1e-9 ? $0 > $1 : sums[$0] > sums[$1] }.prefix(
                half)
            let heavy = Set(store.heavyHitters(layer: 0).joined())
            // Of positions that were paid nothing, any may be taken.
            #expect(heavy.count == min(half, older))
            #expect(best.filter { sums[$0] > 1e-6 }.allSatisfy { heavy.contains($0) })
        }
        let fork = try #require(store.fork() as? AttentionMassCache)
        store.truncate(to: 30)
        #expect(store.masses(layer: 0).count == 30 && fork.masses(layer: 0).count == 40)
        #expect(store.heavyHitters(layer: 0).allSatisfy { $0.upperBound <= 31 - method.half(31) })
    }

    /// A prompt's last queries are counted as queries that are written are.
    @Test func promptsAreCounted() throws {
        let decoder = try Skip.decoder(seed: 7)
        let tokens = Skip.tokens(60, seed: 8)
        // A share that reads everything but the order of sums: 2k of 60 positions, k = 29.
        func masses(_ parts: [[Int]]) throws -> [[Double]] {
            let method = try ALISA(share: 0.97)
            let session = try DecodingSession(
                TokenEngine(decoder, selector: method) {
                    AttentionMassCache(KeyValueCache($0), shape: $0, method: method)
                }, context: 64)
            for part in parts { try session.prefill(part) }
            let store = try #require(session.cache as? AttentionMassCache)
            return (0..<2).map { store.masses(layer: $0) }
        }
        let read = try masses([tokens])
        let written = try masses([Array(tokens[..<30])] + tokens[30...].map { [$0] })
        let half = Double(try ALISA(share: 0.97).half(61))
        for layer in 0..<2 {
            // Four heads; groups of two queries, so that one more may be there.
            let (a, b) = (read[layer].reduce(0, +), written[layer].reduce(0, +))
            #expect(abs(b - 4 * half) < 1e-3 && a > 4 * half - 1e-3 && a < 4 * half + 8.1)
            let largest = written[layer].indices.max { written[layer][$0] < written[layer][$1] }!
            #expect(read[layer].indices.max { read[layer][$0] < read[layer][$1] } == largest)
        }
    }

    /// Heavy keys early in a text are kept in sight where a window alone loses them.
    @Test func heavyKeysAreFound() throws {
        let (size, count) = (32, 256)
        var generator = SeededGenerator(seed: 4)
        var direction = (0..<size).map { _ in Float(generator.normal()) }
        let length = direction.reduce(0) { $0 + $1 * $1 }.squareRoot()
        direction = direction.map { $0 / length }
        let heavy = Set((0..<count / 2).shuffled(using: &generator).prefix(8))
        let shape = KeyValueShape(layers: 1, heads: 1, headSize: size, capacity: count)
        let method = try ALISA(share: 0.2)
        let store = AttentionMassCache(KeyValueCache(shape), shape: shape, method: method)
        var (found, asked) = (0, 0)
        for position in 0..<count {
            let key = (0..<size).map {
                Float(generator.normal()) * 0.5 + (heavy.contains(position) ? 4 * direction[$0] : 0)
            }
            store.append(layer: 0, keys: key, values: key, count: 1)
            let query = (0..<size).map { Float(generator.normal()) * 0.5 + 5 * direction[$0] }
            query.withUnsafeBufferPointer { query in
                let request = KeyRequest(
                    layer: 0, head: 0, keyHead: 0, position: position, visible: 0..<position + 1,
                    query: query.baseAddress!, store: store)
                let ranges = method.select(request)
                let n = ranges.reduce(0) { $0 + $1.count }
                #expect(n <= max(2, 2 * method.half(position + 1)) && ranges.last!.upperBound == position + 1)
                if position > count / 2 {
                    asked += 8
                    found += Set(ranges.joined()).intersection(heavy).count
                }
                var weights: [Float] = []
                for range in ranges {
                    let view = store.view(layer: 0, head: 0, positions: range)
                    for i in 0..<range.count {
                        weights.append((0..<size).reduce(Float(0)) { $0 + query[$1] * view.keys[i * size + $1] } / 5.66)
                    }
                    withExtendedLifetime(view) {}
                }
                AttentionKernels.softmax(&weights, count: weights.count)
                method.observe(request, ranges: ranges, weights: weights)
            }
            store.advance(by: 1)
        }
        #expect(Double(found) / Double(asked) > 0.9, "\(found) of \(asked)")
    }

    @Test func requests() throws {
        let request = try CacheRequest(attention: "alisa:0.25", keeping: "int8") { HeavyChannels([[[0]]]) }
        #expect("\(request)" == "alisa:0.25, int8")
        var skipping = Skipping()
        try request.apply(to: &skipping)
        let shape = KeyValueShape(layers: 1, heads: 1, headSize: 8, capacity: 9)
        let store = try #require(skipping.store(shape) as? AttentionMassCache)
        #expect(skipping.selector is ALISA && store.base is QuantizedKeyValueCache)
        #expect(throws: LacunaError.self) {
            try CacheRequest(attention: "alisa:0", keeping: nil) { HeavyChannels([[[0]]]) }
        }
    }

    /// Positions that are taken back have been paid nothing when they come again, also where every query is remembered.
    @Test(arguments: [false, true]) func positionsComeBackEmpty(remembersAll: Bool) throws {
        let shape = KeyValueShape(layers: 1, heads: 1, headSize: 2, capacity: 16)
        let method = try ALISA(share: 1, remembersAll: remembersAll)
        let store = AttentionMassCache(KeyValueCache(shape), shape: shape, method: method)
        func write(_ count: Int, paying: Bool) {
            for position in store.count..<store.count + count {
                store.append(layer: 0, keys: [0, 0], values: [0, 0], count: 1)
                if paying {
                    [Float](repeating: 0.5, count: position + 1).withUnsafeBufferPointer {
                        store.note(
                            layer: 0, head: 0, position: position, queries: 1, ranges: [0..<position + 1], weights: $0)
                    }
                }
                store.advance(by: 1)
            }
        }
        write(8, paying: true)
        #expect(store.masses(layer: 0)[7] == 0.5)
        store.truncate(to: 5)
        write(3, paying: false)
        #expect(store.masses(layer: 0)[5...].allSatisfy { $0 == 0 })
    }
}
