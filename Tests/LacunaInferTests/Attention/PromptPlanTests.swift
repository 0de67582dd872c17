import LacunaModels
import LacunaTensor
import Testing

@testable import LacunaInfer

/// Prompts of which keys are left out: what is chosen, and that attention over it is dense attention under a mask.
struct PromptPlanTests {
    /// Reads, of a prompt, ranges that are drawn for every head and tile, by plan or query by query.
    private struct Drawn: KeySelector {
        var byPlan: Bool
        var tile = 8
        var promptRows = 40

        func keys(_ layer: Int, _ head: Int, _ tile: Int, end: Int) -> [Range<Int>] {
            var generator = SeededGenerator(seed: UInt64(layer * 1000 + head * 100 + tile), stream: 77)
            let chosen = (0..<end).filter { _ in generator.uniform() < 0.3 }
            return TopPages.joined((chosen + [end - 1]).map { $0..<$0 + 1 }, within: 0..<end)
        }

        func plan(_ request: PromptRequest) -> PromptPlan? {
            if !byPlan { return nil }
            let tiles = stride(from: request.firstPosition, to: request.end, by: tile).map { start in
                let own = start..<min(start + tile, request.end)
                return TopPages.union(
                    keys(request.layer, request.head, start / tile, end: own.lowerBound + 1), [own],
                    within: 0..<request.end)
            }
            return PromptPlan(tile: tile, keys: tiles, products: 3)
        }

        func select(_ request: KeyRequest) -> [Range<Int>] {
            let start = request.position / tile * tile
            return TopPages.union(
                keys(request.layer, request.head, start / tile, end: start + 1), [start..<request.position + 1],
                within: request.visible)
        }
    }

    private func logits(
        _ decoder: Transformer, _ tokens: [Int], _ selector: any KeySelector, meter: SkippingMeter? = nil,
        store: @escaping (KeyValueShape) -> any KeyValueStore = { KeyValueCache($0) }
    ) throws -> Tensor<Float> {
        try DecodingSession(
            TokenEngine(decoder, selector: selector, meter: meter, store: store), context: tokens.count
        ).verify(tokens)
    }

    @Test func plansAreMasks() throws {
        let tokens = Skip.tokens(96, seed: 1)
        var windowed = Skip.configuration
        windowed.slidingWindow = 20
        for configuration in [Skip.configuration, windowed] {
            let decoder = try Transformer(random: configuration, seed: 3)
            let meter = SkippingMeter()
            let rows = try logits(decoder, tokens, Drawn(byPlan: false), meter: meter)
            let pairs = meter.keys
            meter.reset()
            #expect(meter.prompts.visible == 0 && meter.prompts.share == 1 && meter.prompts.cost == 0)
            let planned = try logits(decoder, tokens, Drawn(byPlan: true), meter: meter)
            #expect(Skip.error(planned, rows) < 1e-5)
            // The same pairs, of the same that there are; pieces of 40, 40 and 16 rows, of which the last is a draft.
            #expect(meter.prompts.read + meter.keys.read == pairs.read && meter.prompts.read > meter.keys.read)
            #expect(meter.prompts.visible + meter.keys.visible == pairs.visible)
            #expect(meter.prompts.products == 3 * 2 * 4 * 2)
            let dense = try logits(decoder, tokens, AllKeys())
            #expect(Skip.error(planned, dense) > 1e-3)
            for store: (KeyValueShape) -> any KeyValueStore in [
                { PagedKeyValueCache($0, pageSize: 8) }, { QuantizedKeyValueCache($0) },
            ] {
                let a = try logits(decoder, tokens, Drawn(byPlan: false), store: store)
                let b = try logits(decoder, tokens, Drawn(byPlan: true), store: store)
                #expect(Skip.error(b, a) < 1e-5)
            }
        }
    }

    @Test func everythingIsDenseAttention() throws {
        let decoder = try Skip.decoder()
        let tokens = Skip.tokens(120, seed: 1)
        let dense = try logits(decoder, tokens, AllKeys())
        for selector: any KeySelector in [
            try BlockSparsePrompt(share: 1), try BlockSparsePrompt(share: 0.9999, block: 8),
            try VerticalSlash(share: 1), try FlexPrefill(mass: 1), try FlexPrefill(mass: 0.5, minimum: 120),
            try VerticalSlash(share: 0.9999, block: 8),
        ] {
            let error = Skip.error(try logits(decoder, tokens, selector), dense)
            // Sums of f32 in another order.
            #expect(error < 4e-6, "\(selector) \(error)")
        }
        // In pieces, as dense attention in such pieces.
        struct Pieces: KeySelector {
            var readsAll: Bool { true }
            var promptRows: Int { 50 }
            func select(_ request: KeyRequest) -> [Range<Int>] { [request.visible] }
        }
        let pieces = try logits(decoder, tokens, BlockSparsePrompt(share: 0.999, block: 7, promptRows: 50))
        #expect(Skip.error(pieces, try logits(decoder, tokens, Pieces())) < 4e-6)
        for selector: any KeySelector in [
            try BlockSparsePrompt(share: 0.2, block: 8), try VerticalSlash(share: 0.2, block: 8),
            try FlexPrefill(mass: 0.3, minimum: 8, block: 8),
        ] {
            let meter = SkippingMeter()
            let found = try logits(decoder, tokens, selector, meter: meter)
            #expect(Skip.error(found, dense) > 1e-3 && meter.prompts.share < 0.95 && meter.prompts.products > 0)
        }
        for share in [0, -1, 1.5, Double.nan] {
            #expect(throws: LacunaError.self) { try BlockSparsePrompt(share: share) }
            #expect(throws: LacunaError.self) { try VerticalSlash(share: share) }
            #expect(throws: LacunaError.self) { try FlexPrefill(mass: share) }
        }
        #expect(throws: LacunaError.self) { try BlockSparsePrompt(share: 0.5, block: 0) }
    }

    // MARK: What is chosen

    /// Random keys and queries of one head, as a request and as numbers.
    private func withRequest(
        keys count: Int, queries: Int, window: Int? = nil, seed: UInt64 = 1,
        _ body: (PromptRequest, _ keys: [[Double]], _ queries: [[Double]]) throws -> Void
    ) throws {
        let store = KeyValueCache(KeyValueShape(layers: 1, heads: 1, headSize: 8, capacity: count))
        let (keys, rows) = (Skip.gaussian([count, 8], seed: seed), Skip.gaussian([queries, 8], seed: seed + 100))
        keys.withPointer { store.append(layer: 0, keys: $0, values: $0, count: count) }
        store.advance(by: count)
        func numbers(_ x: Tensor<Float>) -> [[Double]] {
            (0..<x.rows).map { i in (0..<8).map { Double(x[i, $0]) } }
        }
        try rows.withPointer {
            try body(
                PromptRequest(
                    layer: 0, head: 0, keyHead: 0, firstPosition: count - queries, count: queries, window: window,
                    scale: 0.7, queries: $0, stride: 8, size: 8, store: store), numbers(keys), numbers(rows))
        }
    }

    private func dot(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }

    private func mean(_ rows: some Collection<[Double]>) -> [Double] {
        (0..<8).map { e in rows.reduce(0) { $0 + $1[e] } / Double(rows.count) }
    }

    /// Seeds of the last case: of the first block there a single key is left, whose mean is itself.
    @Test(
        arguments: [(64, 64, nil, 1), (100, 44, nil, 1), (100, 60, 30, 1), (97, 40, nil, 1)]
            + (1...8).map { (100, 60, 32, $0) } as [(Int, Int, Int?, UInt64)])
    func blocksOfTheNearestMeans(_ count: Int, _ queries: Int, _ window: Int?, _ seed: UInt64) throws {
        try withRequest(keys: count, queries: queries, window: window, seed: seed) { request, keys, rows in
            let block = 10
            let plan = try #require(BlockSparsePrompt(share: 0.4, block: block).plan(request))
            #expect(plan.tile == block && plan.keys.count == (queries + block - 1) / block)
            for (tile, found) in plan.keys.enumerated() {
                let start = request.firstPosition + tile * block
                let visible = max(0, start + 1 - (window ?? count))..<min(start + block, count)
                let query = mean(rows[tile * block..<min((tile + 1) * block, queries)])
                let own = start / block...(visible.upperBound - 1) / block
                let first = request.held[0].lowerBound
                let others = (visible.lowerBound / block..<own.lowerBound).map { b in
                    (b, dot(query, mean(keys[max(b * block, first)..<(b + 1) * block])))
                }
                let kept = max(0, Int((0.4 * Double(others.count + own.count)).rounded(.up)) - own.count)
                let best = others.sorted { $0.1 > $1.1 }.prefix(kept).map(\.0) + Array(own)
                let expected = Set(best.flatMap { $0 * block..<($0 + 1) * block }).intersection(visible)
                #expect(Set(found.flatMap { $0 }) == expected, "tile \(tile)")
            }
        }
    }

    /// The estimate is the attention of the last queries, by key and by block diagonal.
    @Test(arguments: [(90, 50, 20, nil), (90, 90, 90, nil), (75, 30, 64, 25)] as [(Int, Int, Int, Int?)])
    func estimates(_ count: Int, _ queries: Int, _ looked: Int, _ window: Int?) throws {
        try withRequest(keys: count, queries: queries, window: window, seed: 7) { request, keys, rows in
            let block = 8
            let estimate = try #require(SlashEstimate(request, queries: looked, block: block))
            var columns = [Double](repeating: 0, count: count)
            var diagonals = [Double](repeating: 0, count: 40)
            for i in max(0, queries - looked)..<queries {
                let position = request.firstPosition + i
                let seen = max(0, position + 1 - (window ?? count))...position
                let weights = seen.map { exponential(0.7 * dot(rows[i], keys[$0])) }
                let sum = weights.reduce(0, +)
                let tile = request.firstPosition + i / block * block
                for (t, weight) in zip(seen, weights) {
                    columns[t] += weight / sum
                    let diagonal = t >= tile ? 0 : Int((Double(tile - t) / Double(block)).rounded(.up))
                    diagonals[diagonal] += weight / sum
                }
            }
            let first = request.held[0].lowerBound
            #expect(zip(estimate.columns, columns[first...]).allSatisfy { abs(Double($0) - $1) < 1e-4 })
            #expect(zip(estimate.diagonals, diagonals).allSatisfy { abs(Double($0) - $1) < 1e-4 })
            #expect(diagonals[estimate.diagonals.count...].allSatisfy { $0 == 0 })
            let total = Float(min(looked, queries))
            #expect(abs(estimate.diagonals.reduce(0, +) - total) < 1e-3)
            #expect(estimate.products == min(looked, queries) * (count - first))
            // A plan reads its columns and its diagonals, and nothing else.
            let plan = estimate.plan(columns: [0, 5], diagonals: [0, 2])
            for (tile, found) in plan.keys.enumerated() {
                let start = request.firstPosition + tile * block
                let low = max(0, start + 1 - (window ?? count))
                let expected = Set([first, first + 5] + (start..<start + 8) + (start - 16..<start - 8)).intersection(
                    low..<min(start + 8, count))
                #expect(Set(found.flatMap { $0 }) == expected)
            }
        }
    }

    @Test func verticalSlashKeepsItsShares() throws {
        try withRequest(keys: 400, queries: 400) { request, _, _ in
            let method = try VerticalSlash(share: 0.36, queries: 64, block: 16)
            let plan = try #require(method.plan(request))
            var estimate = try #require(SlashEstimate(request, queries: 64, block: 16))
            // 1 - √0.64 = 0.2 of 400 keys and of 25 diagonals.
            estimate.requireFirst(columns: 4, diagonals: 5)
            func best(_ x: [Float], _ count: Int) -> [Int] {
                x.indices.sorted { x[$0] == x[$1] ? $0 > $1 : x[$0] > x[$1] }.prefix(count).sorted()
            }
            let expected = estimate.plan(
                columns: best(estimate.columns, 80), diagonals: best(estimate.diagonals, 5))
            #expect(estimate.diagonals.count == 25 && plan.keys == expected.keys)
            // The first keys and the last distances, whatever they are paid.
            let last = Set(plan.keys[24].flatMap { $0 })
            #expect(last.isSuperset(of: 0..<4) && last.isSuperset(of: 320..<400))
        }
    }

    @Test func coveringSets() throws {
        let shares: [Float] = [0.1, 0.4, 0, 0.3, 0.1, 0.1]
        #expect(FlexPrefill.covering(shares, mass: 0.39, atLeast: 0) == [1])
        #expect(FlexPrefill.covering(shares, mass: 0.41, atLeast: 0) == [1, 3])
        #expect(FlexPrefill.covering(shares, mass: 0.79, atLeast: 0) == [1, 3, 5])
        #expect(FlexPrefill.covering(shares, mass: 0.39, atLeast: 4) == [1, 3, 4, 5])
        #expect(FlexPrefill.covering([1, .nan], mass: 0.5, atLeast: 0) == nil)
        // Minimal: without its least member the mass is not reached.
        let random = Skip.gaussian([200], seed: 3).scalars.map(abs)
        let total = random.reduce(0, +)
        for mass in [0.2, 0.65, 0.95] {
            let chosen = try #require(FlexPrefill.covering(random, mass: mass, atLeast: 0))
            let sum = chosen.reduce(Float(0)) { $0 + random[$1] }
            #expect(sum >= Float(mass) * total - 1e-4 && sum - chosen.map { random[$0] }.min()! < Float(mass) * total)
        }
        // A head that looks at one place reads little, one that looks everywhere much.
        try withRequest(keys: 320, queries: 320) { request, _, _ in
            let plan = try #require(FlexPrefill(mass: 0.6, queries: 64, minimum: 16, block: 16).plan(request))
            let estimate = try #require(SlashEstimate(request, queries: 64, block: 16))
            let columns = try #require(FlexPrefill.covering(estimate.columns, mass: 0.6, atLeast: 16))
            let diagonals = try #require(FlexPrefill.covering(estimate.diagonals, mass: 0.6, atLeast: 1))
            #expect(plan.keys == estimate.plan(columns: columns, diagonals: [0] + diagonals.filter { $0 > 0 }).keys)
        }
    }

    @Test func unions() {
        #expect(TopPages.union([0..<3, 8..<9], [2..<5, 9..<10], within: 1..<10) == [1..<5, 8..<10])
        #expect(TopPages.union([], [4..<9], within: 0..<6) == [4..<6] && TopPages.union([], [], within: 0..<6) == [])
        #expect(TopPages.joined([0..<9, 2..<3, 9..<10], within: 0..<20) == [0..<10])
        #expect(TopPages.places([1, 3, 3, 2], count: 4, kept: 2) == [1, 2])
        #expect(
            TopPages.places([3, 3, 3], count: 3, kept: 1) == [2] && TopPages.places([.nan], count: 1, kept: 1) == nil)
        #expect(
            TopPages.places([1, 2], count: 2, kept: 5) == [0, 1] && TopPages.places([1], count: 1, kept: -1) == [])
    }

    /// Quest for what is written, blocks for the prompt.
    @Test func promptsApart() throws {
        let decoder = try Skip.decoder()
        let tokens = Skip.tokens(80, seed: 5)
        func written(_ selector: any KeySelector) throws -> (Tensor<Float>, SkippingMeter) {
            let meter = SkippingMeter()
            let session = try DecodingSession(
                TokenEngine(
                    decoder, selector: selector, meter: meter, store: { PageBoundsCache(KeyValueCache($0), shape: $0) }),
                context: 80)
            try session.prefill(Array(tokens[..<60]))
            var rows: [Float] = Array(session.logits)
            for token in tokens[60...] {
                try session.decode(token)
                rows += session.logits
            }
            return (Tensor(rows, shape: [21, 60]), meter)
        }
        let quest = try Quest(share: 0.4, dense: 0)
        let plain = try written(quest)
        let whole = try written(PromptsApart(written: quest, prompts: try BlockSparsePrompt(share: 1)))
        #expect(Skip.error(whole.0, plain.0) < 1e-6 && whole.1.keys == plain.1.keys)
        let both = try written(PromptsApart(written: quest, prompts: try BlockSparsePrompt(share: 0.3, block: 8)))
        #expect(Skip.error(both.0, plain.0) > 1e-3 && both.1.keys.share < 0.7 && both.1.prompts.share < 0.7)
        // Windows, which are chosen query by query, leave prompts to the other.
        let window = PromptsApart(
            written: WindowAndSinks(window: 6), prompts: try BlockSparsePrompt(share: 0.3, block: 8))
        #expect(try written(window).1.prompts.visible == 60 * 61 / 2 * 2 * 4)
    }

    /// Little mass, but many keys and distances to read at least: 100, and 7 times 16.
    @Test func leastNumbersAreRead() throws {
        try withRequest(keys: 320, queries: 320) { request, _, _ in
            let plan = try #require(FlexPrefill(mass: 0.01, queries: 64, minimum: 100, block: 16).plan(request))
            let estimate = try #require(SlashEstimate(request, queries: 64, block: 16))
            func largest(_ shares: [Float], _ count: Int) -> [Int] {
                shares.indices.sorted { (shares[$0], $0) > (shares[$1], $1) }.prefix(count).sorted()
            }
            let (columns, diagonals) = (largest(estimate.columns, 100), largest(estimate.diagonals, 7))
            #expect(plan.keys == estimate.plan(columns: columns, diagonals: [0] + diagonals.filter { $0 > 0 }).keys)
        }
    }
}
