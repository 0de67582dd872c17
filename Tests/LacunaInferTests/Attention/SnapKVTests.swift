import LacunaModels
import LacunaTensor
import Testing

@testable import LacunaInfer

struct SnapKVTests {
    private func session(
        _ decoder: Transformer, _ settings: SnapKV?, context: Int = 128, selector: any KeySelector = AllKeys(),
        base: @escaping @Sendable (KeyValueShape) -> any KeyValueStore = { KeyValueCache($0) }
    ) throws -> DecodingSession {
        try DecodingSession(
            TokenEngine(decoder, selector: selector) { shape in
                settings.map { SnapKVCache(shape, $0, make: base) } ?? base(shape)
            }, context: context)
    }

    private func logits(_ session: DecodingSession, _ parts: [[Int]]) throws -> Tensor<Float> {
        var rows: [Float] = []
        for part in parts { rows += try session.verify(part).scalars }
        return Tensor(rows, shape: [rows.count / 60, 60])
    }

    // MARK: What is kept

    @Test func theBestAndTheEndsStay() throws {
        var masses = [Float](repeating: 0, count: 100)
        (masses[50], masses[51], masses[70], masses[99]) = (5, 5, 4, 0)
        let plain = try SnapKV(share: 0.2, local: 6, smoothing: 1)
        #expect(plain.budget(100) == 20 && plain.budget(101) == 21)
        #expect(try SnapKV(share: 0.001).budget(5) == 1)
        let kept = plain.kept([masses], budget: 12)[0]
        // Four at the beginning, six at the end, the two best.
        #expect(kept == [0, 1, 2, 3, 50, 51, 94, 95, 96, 97, 98, 99])
        // At most half of the budget are last positions, at least the very last stays.
        #expect(plain.kept([masses], budget: 8)[0] == [0, 1, 2, 3, 96, 97, 98, 99])
        #expect(plain.kept([masses], budget: 1)[0] == [99] && plain.kept([masses], budget: 2)[0] == [0, 99])
        #expect(plain.kept([masses], budget: 100)[0] == Array(0..<100))
        #expect(plain.kept([masses], budget: 500)[0] == Array(0..<100))
        // Smoothed over neighbours, the pair and what is around it wins; equals go to the later.
        let smooth = try SnapKV(share: 0.2, local: 1, smoothing: 3)
        #expect(smooth.kept([masses], budget: 9)[0] == [0, 1, 2, 3, 49, 50, 51, 52, 99])
        #expect(smooth.kept([masses], budget: 7)[0] == [0, 1, 2, 3, 50, 51, 99])
        var bad = masses
        bad[20] = .nan
        #expect(plain.kept([bad], budget: 12)[0].contains(20))
        for share in [0, 1.1, -1, Double.nan] { #expect(throws: LacunaError.self) { try SnapKV(share: share) } }
        #expect(throws: LacunaError.self) { try SnapKV(share: 0.5, smoothing: 4) }
        #expect(throws: LacunaError.self) { try SnapKV(share: 0.5, window: 0) }
    }

    /// Heads that compete: what is kept in all is what even shares keep, the heads that look at more keep more, none less than
    /// a fifth.
    @Test func headsShareABudget() throws {
        let settings = try SnapKV(share: 0.2, isAdaptive: true, local: 2, smoothing: 1)
        var flat = [Float](repeating: 0.001, count: 100)
        let spread = (0..<100).map { Float($0 % 2) + 0.1 }
        flat[60] = 9
        let kept = settings.kept([flat, spread], budget: 20)
        #expect(kept.map(\.count).reduce(0, +) == 40)
        // Six at the ends and the one place are more than a fifth of 20.
        #expect(kept[0] == [0, 1, 2, 3, 60, 98, 99] && kept[1].count == 33)
        let poor = settings.kept([[Float](repeating: 0, count: 100), spread], budget: 50)
        // A fifth of 50, its ends among them, then what the other cannot use.
        #expect(poor[0].count == 10 && poor[1].count == 90)
        let even = try SnapKV(share: 0.2, local: 2, smoothing: 1).kept([flat, spread], budget: 20)
        #expect(even.map(\.count) == [20, 20])
    }

    /// What is held after a prompt is what the attention of its last queries says, computed key by key.
    @Test(arguments: [false, true]) func massesAreAttention(_ isAdaptive: Bool) throws {
        let shape = KeyValueShape(layers: 1, heads: 2, headSize: 8, capacity: 64)
        let settings = try SnapKV(share: 0.4, isAdaptive: isAdaptive, window: 10, local: 3, smoothing: 3)
        let store = SnapKVCache(shape, settings)
        let (count, scale) = (60, Float(0.9))
        let (keys, queries) = (Skip.gaussian([count, 16], seed: 1), Skip.gaussian([count, 32], seed: 2))
        // In two pieces, of which the second is shorter than the window.
        for piece in [0..<55, 55..<60] {
            keys.withPointer {
                store.append(
                    layer: 0, keys: $0 + piece.lowerBound * 16, values: $0 + piece.lowerBound * 16, count: piece.count)
            }
            queries.withPointer {
                store.observe(
                    layer: 0, queries: $0 + piece.lowerBound * 32, heads: 4, scale: scale, count: piece.count)
            }
            store.advance(by: piece.count)
        }
        store.finishStep(rows: count)
        var masses = [[Float]](repeating: [Float](repeating: 0, count: count), count: 2)
        for head in 0..<4 {
            for i in 50..<60 {
                let weights = (0...i).map { t in
                    var sum = 0.0
                    for e in 0..<8 { sum += Double(queries[i, head * 8 + e]) * Double(keys[t, head / 2 * 8 + e]) }
                    return exponential(Double(scale) * sum)
                }
                let sum = weights.reduce(0, +)
                for (t, weight) in weights.enumerated() {
                    let share = Float(weight / sum)
                    masses[head / 2][t] = isAdaptive ? max(masses[head / 2][t], share) : masses[head / 2][t] + share / 2
                }
            }
        }
        let expected = settings.kept(masses, budget: 24)
        for head in 0..<2 {
            let missing = store.evicted(layer: 0, head: head)
            let held = missing.removed(from: [0..<count])
            #expect(held.flatMap { $0 } == expected[head])
            for range in held {
                let view = store.view(layer: 0, head: head, positions: range)
                for (i, t) in range.enumerated() {
                    for e in 0..<8 { #expect(view.keys[i * 8 + e] == keys[t, head * 8 + e]) }
                }
                withExtendedLifetime(view) {}
            }
        }
        #expect(store.products == 4 * 10 * count && store.count == 60)
        #expect(store.byteCount == expected.reduce(0) { $0 + $1.count } * 2 * 8 * 4)
        #expect(store.evicted.count == Set(0..<60).subtracting(expected.joined()).count)
    }

    // MARK: In a model

    @Test func keepingEverythingIsDense() throws {
        let decoder = try Skip.decoder()
        let tokens = Skip.tokens(100, seed: 2)
        let parts = [Array(tokens[..<50]), [tokens[50]], Array(tokens[51..<60]), Array(tokens[60...])]
        let dense = try logits(session(decoder, nil), parts)
        for isAdaptive in [false, true] {
            let whole = try logits(session(decoder, SnapKV(share: 1, isAdaptive: isAdaptive)), parts)
            #expect(Skip.error(whole, dense) < 1e-6)
            let sparse = try logits(session(decoder, SnapKV(share: 0.2, isAdaptive: isAdaptive)), parts)
            // The prompt itself is read whole; what comes afterwards sees what is left.
            #expect(Skip.error(sparse.rows(0..<50), dense.rows(0..<50)) < 1e-6)
            #expect(Skip.error(sparse.rows(50..<100), dense.rows(50..<100)) > 1e-3)
        }
    }

    /// After a prompt attention is dense attention without what is missing, for tokens, drafts and further prompts.
    @Test func whatIsMissingIsMasked() throws {
        let decoder = try Skip.decoder(seed: 5)
        let tokens = Skip.tokens(110, seed: 2)
        let settings = try SnapKV(share: 0.3, window: 16, local: 8, smoothing: 3)
        let sparse = try session(decoder, settings)
        try sparse.prefill(Array(tokens[..<60]))
        let store = try #require(sparse.cache as? SnapKVCache)
        let missing = (0..<2).map { layer in (0..<2).map { store.evicted(layer: layer, head: $0) } }
        #expect(missing.joined().allSatisfy { $0.count == 42 })
        struct Mask: KeySelector {
            let missing: [[PositionSet]]
            func select(_ request: KeyRequest) -> [Range<Int>] {
                request.position < 60
                    ? [request.visible] : missing[request.layer][request.keyHead].removed(from: [request.visible])
            }
        }
        let masked = try session(decoder, nil, selector: Mask(missing: missing))
        try masked.prefill(Array(tokens[..<60]))
        let parts = [[tokens[60]], Array(tokens[61..<70])]
        #expect(Skip.error(try logits(sparse, parts), try logits(masked, parts)) < 1e-5)
        // Drafts are taken back; forks go on by themselves.
        let fork = try #require(store.fork() as? SnapKVCache)
        store.truncate(to: 65)
        masked.cache.truncate(to: 65)
        #expect(store.count == 65 && fork.count == 70 && fork.byteCount == store.byteCount + 5 * 2 * 2 * 2 * 8 * 4)
        let prompt = [Array(tokens[70..<100])]
        #expect(Skip.error(try logits(sparse, prompt), try logits(masked, prompt)) < 1e-5)
        // The second prompt shares the budget with the first.
        #expect(store.evicted(layer: 1, head: 0).count == 95 - settings.budget(95))
        store.truncate(to: 30)
        let held = store.evicted(layer: 0, head: 1).removed(from: [0..<30])
        #expect(store.count == 30 && held.allSatisfy { $0.upperBound <= 30 })
        store.evict(0..<5)
        #expect(store.evicted(layer: 0, head: 1).removed(from: [0..<30]).allSatisfy { $0.lowerBound >= 5 })
    }

    /// Over stores of other forms, and under selectors.
    @Test func combines() throws {
        let decoder = try Skip.decoder(seed: 6)
        let tokens = Skip.tokens(80, seed: 3)
        let parts = [Array(tokens[..<60])] + tokens[60...].map { [$0] }
        let settings = try SnapKV(share: 0.5, window: 16, local: 8)
        let floats = try logits(session(decoder, settings), parts)
        let whole = try Mustafar(sparsity: 0, window: 8, group: 8)
        let pruned = try logits(session(decoder, settings, base: { MustafarCache($0, whole) }), parts)
        #expect(Skip.error(pruned, floats) < 1e-5)
        let bytes = try logits(session(decoder, settings, base: { QuantizedKeyValueCache($0) }), parts)
        #expect(Skip.error(bytes, floats) < 0.1 && Skip.error(bytes, floats) > 1e-5)
        func quest(_ share: Double) throws -> DecodingSession {
            try DecodingSession(
                TokenEngine(decoder, selector: try Quest(share: share, dense: 0)) {
                    PageBoundsCache(SnapKVCache($0, settings), shape: $0, pageSize: 4)
                }, context: 128)
        }
        #expect(Skip.error(try logits(quest(1), parts), floats) < 1e-5)
        let both = try quest(0.4)
        #expect(Skip.error(try logits(both, parts), floats) > 1e-3)
        both.cache.truncate(to: 58)
        #expect(both.cache.count == 58)
    }

    @Test func requests() throws {
        func request(_ prompts: String?, _ eviction: String?) throws -> CacheRequest {
            try CacheRequest(attention: "quest:0.25", keeping: "int8", prompts: prompts, eviction: eviction) {
                HeavyChannels([[[0]]])
            }
        }
        let (flex, block) = (
            try request("flexprefill:0.8", "ada-snapkv:0.5"), try request("block-sparse:0.5", "snapkv:0.5")
        )
        #expect("\(flex)" == "quest:0.25, flexprefill:0.8, ada-snapkv:0.5, int8")
        #expect("\(block)" == "quest:0.25, block-sparse:0.5, snapkv:0.5, int8")
        for (prompts, eviction) in [
            ("flexprefill", nil), ("flexprefill:0", nil), ("block-sparse:2", nil), ("vertical-slash:x", nil),
            ("quest:0.5", nil), (nil, "snapkv"), (nil, "snapkv:0"), (nil, "ada:0.5"), (nil, "snapkv:0.5:1"),
        ] as [(String?, String?)] {
            #expect(throws: LacunaError.self, "\(prompts ?? "") \(eviction ?? "")") { try request(prompts, eviction) }
        }
        var skipping = Skipping()
        try request("vertical-slash:0.5", "snapkv:0.25").apply(to: &skipping)
        let selector = try #require(skipping.selector as? PromptsApart)
        #expect(selector.written is Quest && selector.prompts is VerticalSlash)
        let store = try #require(
            skipping.store(KeyValueShape(layers: 1, heads: 1, headSize: 8, capacity: 9)) as? PageBoundsCache)
        let settings = try SnapKV(share: 0.25)
        #expect((store.base as? SnapKVCache)?.settings == settings)
    }
}
