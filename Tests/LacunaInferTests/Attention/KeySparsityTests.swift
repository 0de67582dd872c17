import LacunaInfer
import LacunaModels
import LacunaSparse
import LacunaTensor
import Testing

struct KeySparsityTests {
    private func logits(
        _ decoder: Transformer, _ tokens: [Int], prompt: Int, selector: any KeySelector = AllKeys(),
        store: @escaping (KeyValueShape) -> any KeyValueStore = { KeyValueCache($0) }
    ) throws -> Tensor<Float> {
        let session = try DecodingSession(TokenEngine(decoder, selector: selector, store: store), context: tokens.count)
        var rows: [Float] = []
        if prompt > 0 { rows += try session.verify(Array(tokens[..<prompt])).scalars }
        for token in tokens[prompt...] {
            try session.decode(token)
            rows += session.logits
        }
        return Tensor(rows, shape: [tokens.count, 60])
    }

    private func select(
        _ selector: some KeySelector, _ query: [Float], _ store: any KeyValueStore, layer: Int = 0, head: Int = 0,
        keyHead: Int = 0, visible: Range<Int>
    ) -> [Range<Int>] {
        query.withUnsafeBufferPointer {
            selector.select(
                KeyRequest(
                    layer: layer, head: head, keyHead: keyHead, position: visible.upperBound - 1, visible: visible,
                    query: $0.baseAddress!, store: store))
        }
    }

    private func bounded(_ pageSize: Int) -> (KeyValueShape) -> any KeyValueStore {
        { PageBoundsCache(KeyValueCache($0), shape: $0, pageSize: pageSize) }
    }

    // MARK: Quest

    @Test func allPagesAreDenseAttention() throws {
        let decoder = try Skip.decoder()
        let tokens = Skip.tokens(60, seed: 1)
        let dense = try logits(decoder, tokens, prompt: 30)
        for share in [1, 0.999] {
            let found = try logits(
                decoder, tokens, prompt: 30, selector: Quest(share: share, dense: 0), store: bounded(8))
            #expect(found == dense)
        }
        let sparse = try logits(decoder, tokens, prompt: 30, selector: Quest(share: 0.2, dense: 0), store: bounded(4))
        // Prompts are read whole.
        #expect(Skip.error(sparse.rows(0..<30), dense.rows(0..<30)) < 1e-5)
        #expect(Skip.error(sparse.rows(30..<60), dense.rows(30..<60)) > 1e-3)
        // So are the layers that are left alone.
        let spared = try logits(decoder, tokens, prompt: 30, selector: Quest(share: 0.2, dense: 2), store: bounded(4))
        #expect(spared == dense)
        for share in [0, -1, 1.5, Double.nan] {
            #expect(throws: LacunaError.self) { try Quest(share: share) }
        }
    }

    /// A page's score is no less than any of its keys' products, equals that of one key where a page has one, and the pages
    /// that are read are the best ones and the last.
    @Test func boundsHold() throws {
        let shape = try KeyValueShape(Skip.configuration, capacity: 100)
        let store = PageBoundsCache(KeyValueCache(shape), shape: shape, pageSize: 7)
        let keys = Skip.gaussian([90, 16], seed: 3)
        keys.withPointer { keys in
            for start in [0, 1, 20, 60] {
                let count = [1, 19, 40, 30][[0, 1, 20, 60].firstIndex(of: start)!]
                for layer in 0..<2 {
                    store.append(layer: layer, keys: keys + start * 16, values: keys + start * 16, count: count)
                }
                store.advance(by: count)
            }
        }
        func check(_ count: Int) throws {
            let query = Skip.gaussian([8], seed: 4).scalars
            for head in 0..<2 {
                let pages = (count + 6) / 7
                let bounds = store.bounds(layer: 1, head: head)
                var scores: [Float] = []
                for page in 0..<pages {
                    var score: Float = 0
                    for e in 0..<8 {
                        score += max(query[e] * bounds[page * 16 + e], query[e] * bounds[page * 16 + 8 + e])
                    }
                    let products = (page * 7..<min(count, page * 7 + 7)).map { t in
                        (0..<8).reduce(Float(0)) { $0 + query[$1] * keys[t, head * 8 + $1] }
                    }
                    #expect(score >= products.max()! - 1e-5)
                    if products.count == 1 { #expect(abs(score - products[0]) < 1e-5) }
                    scores.append(score)
                }
                let ranges = select(
                    try Quest(share: 0.4, dense: 0), query, store, layer: 1, head: head * 2, keyHead: head,
                    visible: 0..<count)
                let kept = Int((0.4 * Double(pages)).rounded(.up))
                let best = (0..<pages - 1).sorted { scores[$0] > scores[$1] }.prefix(kept - 1) + [pages - 1]
                let expected = Set(best.flatMap { $0 * 7..<min($0 * 7 + 7, count) })
                #expect(Set(ranges.flatMap { $0 }) == expected)
                #expect(ranges.map(\.count).reduce(0, +) == expected.count)
                #expect(zip(ranges, ranges.dropFirst()).allSatisfy { $0.upperBound < $1.lowerBound })
            }
        }
        try check(90)
        store.truncate(to: 71)
        #expect(store.count == 71)
        try check(71)
        let fork = store.fork()
        #expect(fork.count == 71 && fork.byteCount == store.byteCount)
        #expect(store.byteCount == 71 * 2 * 2 * 2 * 8 * 4 + 2 * 2 * 11 * 16 * 4)
        // A window of the keys: pages are cut at it.
        let query = Skip.gaussian([8], seed: 5).scalars
        let ranges = select(try Quest(share: 0.5, dense: 0), query, store, visible: 31..<71)
        #expect(ranges.allSatisfy { $0.lowerBound >= 31 && $0.upperBound <= 71 } && ranges.last!.upperBound == 71)
        #expect(ranges.reduce(0) { $0 + $1.count } < 30)
    }

    /// Heads that share keys read the pages with the largest sums of their bounds, chosen once for both.
    @Test func groupsOfHeadsChooseTogether() throws {
        let shape = try KeyValueShape(Skip.configuration, capacity: 64)
        let store = PageBoundsCache(KeyValueCache(shape), shape: shape, pageSize: 4)
        let keys = Skip.gaussian([60, 16], seed: 3)
        keys.withPointer { keys in
            for layer in 0..<2 { store.append(layer: layer, keys: keys, values: keys, count: 60) }
        }
        store.advance(by: 60)
        let quest = try Quest(share: 0.3, dense: 0, choosesByGroup: true)
        let queries = Skip.gaussian([2, 8], seed: 7).scalars
        let ranges = queries.withUnsafeBufferPointer { queries in
            quest.select(
                KeyRequest(
                    layer: 1, head: 2, keyHead: 1, group: 2, position: 59, visible: 0..<60,
                    query: queries.baseAddress!, store: store))
        }
        let bounds = store.bounds(layer: 1, head: 1)
        let scores = (0..<14).map { page in
            (0..<16).reduce(Float(0)) { sum, i in
                let (q, e) = (queries[i], i % 8)
                return sum + max(q * bounds[page * 16 + e], q * bounds[page * 16 + 8 + e])
            }
        }
        // Five of 15 pages, the last one always.
        let best = (0..<14).sorted { scores[$0] > scores[$1] }.prefix(4) + [14]
        #expect(Set(ranges.flatMap { $0 }) == Set(best.flatMap { $0 * 4..<$0 * 4 + 4 }))

        let decoder = try Skip.decoder()
        let tokens = Skip.tokens(60, seed: 1)
        let dense = try logits(decoder, tokens, prompt: 30)
        func run(_ share: Double, _ isShared: Bool) throws -> (logits: Tensor<Float>, keys: SkippingMeter.Keys) {
            let meter = SkippingMeter()
            let selector = PromptsApart(
                written: try Quest(share: share, dense: 0, choosesByGroup: isShared), prompts: AllKeys())
            let session = try DecodingSession(
                TokenEngine(decoder, selector: selector, meter: meter, store: bounded(4)), context: 60)
            var rows = try session.verify(Array(tokens[..<30])).scalars
            for token in tokens[30...] {
                try session.decode(token)
                rows += session.logits
            }
            return (Tensor(rows, shape: [60, 60]), meter.keys)
        }
        #expect(try run(0.999, true).logits == dense)
        let (shared, apart) = (try run(0.3, true), try run(0.3, false))
        #expect(shared.keys.read == apart.keys.read && 2 * shared.keys.compared == apart.keys.compared)
        #expect(Skip.error(shared.logits, apart.logits) > 1e-4 && Skip.error(shared.logits, dense) > 1e-4)
    }

    /// Needles in pages of noise: bounds find them where means of pages do not.
    @Test func boundsFindNeedlesBetterThanMeans() throws {
        let configuration = TransformerConfiguration(
            vocabularySize: 10, hiddenSize: 8, intermediateSizes: [8], headCount: 1, keyValueHeadCount: 1, headSize: 32,
            maximumPositions: 2048)
        let (n, block) = (1024, 32)
        var (bound, mean) = (0.0, 0.0)
        for seed in 0..<5 {
            var generator = SeededGenerator(seed: UInt64(seed), stream: 20)
            var keys = Tensor<Float>(normal: [n, 32], using: &generator).map { $0 * 0.5 }
            var topic = (0..<32).map { _ in Float(generator.normal()) }
            let length = topic.reduce(0) { $0 + $1 * $1 }.squareRoot()
            topic = topic.map { $0 / length }
            let needles = Array(0..<n / block - 1).shuffled(using: &generator).prefix(4)
            keys.withMutablePointer { keys in
                for page in needles {
                    let token = page * block + Int(generator.next() % UInt64(block))
                    for e in 0..<32 { keys[token * 32 + e] += 4 * topic[e] }
                }
            }
            let shape = try KeyValueShape(configuration, capacity: n)
            let store = PageBoundsCache(KeyValueCache(shape), shape: shape, pageSize: block)
            keys.withPointer { store.append(layer: 0, keys: $0, values: $0, count: n) }
            store.advance(by: n)
            let query = topic.map { 3 * $0 + 0.1 * Float(generator.normal()) }
            let ranges = select(try Quest(share: 5.0 / 32, dense: 0), query, store, visible: 0..<n)
            let found = Set(ranges.flatMap { $0 }.map { $0 / block })
            bound += Double(needles.count { found.contains($0) })
            let means = (0..<n / block - 1).map { page in
                (page * block..<(page + 1) * block).reduce(Float(0)) { sum, t in
                    sum + (0..<32).reduce(Float(0)) { $0 + query[$1] * keys[t, $1] }
                }
            }
            let best = Set((0..<n / block - 1).sorted { means[$0] > means[$1] }.prefix(4))
            mean += Double(needles.count { best.contains($0) })
        }
        #expect(bound >= mean + 2 && bound >= 14, "\(bound) \(mean)")
    }

    // MARK: Double sparsity

    @Test func allKeysByLabelsAreDenseAttention() throws {
        let decoder = try Skip.decoder()
        let tokens = Skip.tokens(60, seed: 1)
        let channels = try HeavyChannels(of: decoder, on: Skip.calibration(length: 32, sequences: 4))
        #expect(channels.count == 1 && channels.places.count == 2 && channels.places[0].count == 2)
        let dense = try logits(decoder, tokens, prompt: 30)
        func found(_ share: Double, dense: Int = 0) throws -> Tensor<Float> {
            try logits(decoder, tokens, prompt: 30, selector: DoubleSparsity(share: share, dense: dense)) {
                LabelCache(KeyValueCache($0), shape: $0, channels: channels)
            }
        }
        for share in [1, 0.999] { #expect(try found(share) == dense) }
        let sparse = try found(0.2)
        #expect(Skip.error(sparse.rows(0..<30), dense.rows(0..<30)) < 1e-5)
        #expect(Skip.error(sparse.rows(30..<60), dense.rows(30..<60)) > 1e-3)
        #expect(try found(0.2, dense: 2) == dense)
        for share in [0, 2, Double.nan] { #expect(throws: LacunaError.self) { try DoubleSparsity(share: share) } }
        for count in [0, 9] {
            #expect(throws: LacunaError.self) { try HeavyChannels(of: decoder, on: Skip.calibration(), count: count) }
        }
    }

    /// With all channels the best keys are found, up to the rounding of labels; with heavy ones where channels differ, and
    /// hardly any where they do not.
    @Test func heavyChannelsFindTheBestKeys() throws {
        let configuration = TransformerConfiguration(
            vocabularySize: 10, hiddenSize: 8, intermediateSizes: [8], headCount: 1, keyValueHeadCount: 1, headSize: 64,
            maximumPositions: 1024)
        let n = 512
        let shape = try KeyValueShape(configuration, capacity: n)
        func recall(sigma: Double, count: Int) throws -> Double {
            var generator = SeededGenerator(seed: 9)
            var scales = (0..<64).map { _ in Float(exponential(sigma * generator.normal())) }
            let size = (scales.reduce(0) { $0 + $1 * $1 } / 64).squareRoot()
            scales = scales.map { 1.3 * $0 / size }
            let keys = Tensor(
                (0..<n * 64).map { scales[$0 % 64] * Float(generator.normal()) }, shape: [n, 64])
            let order = (0..<64).sorted { scales[$0] > scales[$1] }
            let channels = HeavyChannels([[Array(order.prefix(count))]])
            let store = LabelCache(KeyValueCache(shape), shape: shape, channels: channels)
            keys.withPointer { store.append(layer: 0, keys: $0, values: $0, count: n) }
            store.advance(by: n)
            let entries = keys.scalars
            var found = 0.0
            for _ in 0..<8 {
                let query = scales.map { $0 * Float(generator.normal()) }
                let ranges = select(try DoubleSparsity(share: 0.125, dense: 0), query, store, visible: 0..<n)
                #expect(ranges.reduce(0) { $0 + $1.count } == 64 && ranges.last!.upperBound == n)
                let products = (0..<n).map { t in (0..<64).reduce(Float(0)) { $0 + query[$1] * entries[t * 64 + $1] } }
                let best = Set((0..<n - 1).sorted { products[$0] > products[$1] }.prefix(63))
                found += Double(Set(ranges.flatMap { $0 }).intersection(best).count) / 63 / 8
            }
            return found
        }
        #expect(try recall(sigma: 1, count: 64) > 0.9)
        #expect(try recall(sigma: 1, count: 16) > 0.75)
        #expect(try recall(sigma: 0, count: 16) < 0.5)
    }

    /// Where one channel of queries and keys is large it is found, and labels have sixteen steps.
    @Test func labels() throws {
        let shape = try KeyValueShape(Skip.configuration, capacity: 10)
        let channels = HeavyChannels([[[3, 0, 5], [1, 2, 7]], [[0, 1, 2], [5, 6, 7]]])
        let store = LabelCache(KeyValueCache(shape), shape: shape, channels: channels)
        let keys = Skip.gaussian([4, 16], seed: 6)
        keys.withPointer { keys in for layer in 0..<2 { store.append(layer: layer, keys: keys, values: keys, count: 4) }
        }
        store.advance(by: 4)
        for (layer, heads) in channels.places.enumerated() {
            for (head, places) in heads.enumerated() {
                let labels = store.labels(layer: layer, head: head)
                for t in 0..<4 {
                    let whole = places.map { keys[t, head * 8 + $0] }
                    let step = (whole.max()! - whole.min()!) / 15
                    for i in 0..<3 {
                        #expect(abs(labels[t * 3 + i] - whole[i]) <= 0.5001 * step)
                        let steps = (labels[t * 3 + i] - whole.min()!) / step
                        #expect(abs(steps - steps.rounded()) < 1e-3)
                    }
                }
            }
        }
        #expect(store.byteCount == 4 * 2 * 2 * (2 * 8 * 4 + 3 * 4))
        let fork = store.fork()
        store.truncate(to: 2)
        #expect(store.count == 2 && fork.count == 4)
    }

    // MARK: Mustafar

    @Test func nothingPrunedIsTheDenseStore() throws {
        let decoder = try Skip.decoder()
        let tokens = Skip.tokens(90, seed: 2)
        for prompt in [0, 40] {
            let dense = try logits(decoder, tokens, prompt: prompt)
            let whole = try Mustafar(sparsity: 0, window: 8, group: 16)
            let found = try logits(decoder, tokens, prompt: prompt) { MustafarCache($0, whole) }
            #expect(Skip.error(found, dense) < 1e-5)
            // Within the window nothing is pruned yet.
            let late = try Mustafar(sparsity: 0.5, window: 90, group: 16)
            let windowed = try logits(decoder, tokens, prompt: prompt) { MustafarCache($0, late) }
            #expect(Skip.error(windowed, dense) < 1e-5)
        }
    }

    /// Attention over the pruned store is attention over masked keys and values.
    @Test(arguments: [(0.5, 64), (0.7, 64), (0.5, 10), (0.3, 100)])
    func productsAreThoseOfMaskedEntries(_ sparsity: Double, _ size: Int) throws {
        let configuration = TransformerConfiguration(
            vocabularySize: 10, hiddenSize: 8, intermediateSizes: [8, 8], headCount: 2, keyValueHeadCount: 2,
            headSize: size, maximumPositions: 2048)
        let shape = try KeyValueShape(configuration, capacity: 200)
        let store = MustafarCache(shape, try Mustafar(sparsity: sparsity, window: 10, group: 20))
        let (keys, values) = (Skip.gaussian([150, 2 * size], seed: 1), Skip.gaussian([150, 2 * size], seed: 2))
        var start = 0
        for more in [1, 70, 30, 1, 48] {
            keys.withPointer { keys in
                values.withPointer { values in
                    for layer in 0..<2 {
                        store.append(
                            layer: layer, keys: keys + start * 2 * size, values: values + start * 2 * size, count: more)
                    }
                }
            }
            store.advance(by: more)
            start += more
        }
        #expect(store.count == 150 && store.pruned == 140)
        let kept = Int(((1 - sparsity) * Double(size)).rounded())
        func masked(_ x: Tensor<Float>, _ t: Int, _ head: Int) -> [Float] {
            let row = (0..<size).map { x[t, head * size + $0] }
            if t >= 140 { return row }
            let limit = row.map(abs).sorted(by: >)[kept - 1]
            return row.map { abs($0) >= limit ? $0 : 0 }
        }
        let words = (size + 63) / 64
        #expect(store.byteCount == 2 * 2 * 2 * (140 * (8 * words + 4 * kept) + 10 * size * 4))
        let query = Skip.gaussian([size], seed: 3).scalars
        func check(_ store: MustafarCache, _ positions: Range<Int>) {
            for head in 0..<2 {
                var scores = [Float](repeating: .nan, count: positions.count)
                store.scores(
                    layer: 1, head: head, positions: positions, query: query, scale: 0.5, into: &scores)
                let weights = scores.map { Float(exponential(Double($0) / 20)) }
                var output = [Float](repeating: 1, count: size)
                store.addMix(layer: 1, head: head, positions: positions, weights: weights, to: &output)
                let view = store.view(layer: 1, head: head, positions: positions)
                var expected = [Float](repeating: 1, count: size)
                for (i, t) in positions.enumerated() {
                    let (k, v) = (masked(keys, t, head), masked(values, t, head))
                    #expect(abs(scores[i] - 0.5 * zip(query, k).reduce(0) { $0 + $1.0 * $1.1 }) < 1e-4)
                    for e in 0..<size {
                        expected[e] += weights[i] * v[e]
                        #expect(view.keys[i * size + e] == k[e] && view.values[i * size + e] == v[e])
                    }
                }
                withExtendedLifetime(view) {}
                for e in 0..<size { #expect(abs(output[e] - expected[e]) < 1e-3) }
            }
        }
        for range in [0..<150, 3..<90, 138..<143, 145..<150, 130..<140] { check(store, range) }
        let fork = try #require(store.fork() as? MustafarCache)
        store.truncate(to: 50)
        #expect(store.count == 50 && store.pruned == 50 && fork.count == 150)
        check(fork, 100..<150)
        check(store, 0..<50)
        for bad in [1, -0.1, Double.nan] {
            #expect(throws: LacunaError.self) { try Mustafar(sparsity: bad) }
        }
    }

    /// At half of 64 entries the store takes little over half of the floats', window aside.
    @Test func bytesOfPrunedPositions() throws {
        let rows = BitmaskRows(capacity: 4, columns: 64, kept: 32)
        #expect(Double(rows.rowBytes) / 256 < 0.6)
        var x = (0..<64).map { Float($0) }
        x[3] = .nan
        rows.set(row: 2, from: x)
        var out = [Float](repeating: 5, count: 64)
        rows.decode(rows: 2..<3, into: &out)
        #expect(out[3].isNaN && out[..<3].allSatisfy { $0 == 0 } && out[63] == 63 && out[33] == 33 && out[32] == 0)
        // Of equals the later ones.
        rows.set(row: 0, from: [Float](repeating: -1, count: 64))
        rows.decode(rows: 0..<1, into: &out)
        #expect(out == [Float](repeating: 0, count: 32) + [Float](repeating: -1, count: 32))
    }

    /// Text that is written with all keys is predicted as text that is read.
    @Test func writingPerplexity() throws {
        let decoder = try Skip.decoder()
        let tokens = Skip.tokens(70, seed: 40)
        var stores: [Int] = []
        let found = try Perplexity.measureWriting(
            TokenEngine(decoder), tokens: tokens, window: 30, prompt: 12, store: { stores.append($0.count) })
        var expected = 0.0
        for window in 0..<2 {
            let part = Array(tokens[window * 30..<(window + 1) * 30])
            let logits = try decoder.logits(part)
            for t in 12..<30 {
                let row = logits.rows(t - 1..<t).scalars.map { Double($0) }
                expected += logarithm(row.reduce(0) { $0 + exponential($1) }) - row[part[t]]
            }
        }
        #expect(found.tokens == 36 && stores == [29, 29])
        #expect(abs(found.negativeLogLikelihood - expected) < 1e-3)
        // A text shorter than a window is one.
        #expect(
            try Perplexity.measureWriting(TokenEngine(decoder), tokens: tokens, window: 128, prompt: 60).tokens == 10)
        for (window, prompt) in [(1, 1), (129, 5), (30, 0), (30, 30), (128, 70)] {
            #expect(throws: LacunaError.self) {
                try Perplexity.measureWriting(TokenEngine(decoder), tokens: tokens, window: window, prompt: prompt)
            }
        }
        let meter = SkippingMeter()
        let engine = TokenEngine(decoder, selector: WindowAndSinks(window: 4, sinks: 1), meter: meter)
        _ = try Perplexity.measureWriting(engine, tokens: tokens, window: 30, prompt: 12)
        #expect(meter.keys.share < 0.5 && meter.keys.read > 0)
    }

    /// What was read, by how many queries everything, and what choosing took, counted by hand: one layer left dense, one of pages of 4,
    /// or of keys by a channel, or by a layer's sums.
    @Test func whatChoosingTakes() throws {
        let decoder = try Skip.decoder()
        let tokens = Skip.tokens(60, seed: 1)
        let channels = HeavyChannels([[[0], [1]], [[2], [3]]])
        let alisa = try ALISA(share: 0.2)
        func keys(
            _ selector: any KeySelector, _ store: @escaping (KeyValueShape) -> any KeyValueStore
        ) throws -> SkippingMeter {
            let meter = SkippingMeter()
            let session = try DecodingSession(
                TokenEngine(decoder, selector: selector, meter: meter, store: store), context: 60)
            try session.prefill(Array(tokens[..<30]))
            for token in tokens[30...] { try session.decode(token) }
            return meter
        }
        let visible = (30..<60).reduce(0) { $0 + $1 + 1 }
        let quest = try keys(Quest(share: 0.2, dense: 1), bounded(4))
        let pages = (30..<60).reduce(0) { $0 + $1 / 4 }
        #expect(quest.keys.visible == 2 * 4 * visible && quest.keys.numbers == 2 * 8 * 2 * 4 * visible)
        #expect(quest.keys.queries == 2 * 4 * 30 && quest.keys.whole == 4 * 30 && quest.keys.wholeShare == 0.5)
        #expect(quest.keys.compared == 4 * pages * 2 * 8)
        let layers = quest.keysByLayer
        #expect(layers[0]?.share == 1 && layers[0]?.cost == 0 && (layers[1]?.share ?? 1) < 0.5)
        #expect((layers[1]?.cost ?? 0) > 0.1 && layers[1]?.whole == 0)
        let double = try keys(PromptsApart(written: DoubleSparsity(share: 0.2, dense: 0), prompts: AllKeys())) {
            LabelCache(KeyValueCache($0), shape: $0, channels: channels)
        }
        #expect(double.keys.compared == 2 * 4 * (30..<60).reduce(0) { $0 + $1 } && double.keys.whole == 0)
        let sums = try keys(alisa) { AttentionMassCache(KeyValueCache($0), shape: $0, method: alisa) }
        #expect(sums.keys.compared == 2 * (30..<60).reduce(0) { $0 + $1 + 1 - alisa.half($1 + 1) })
        let dense = try keys(AllKeys()) { KeyValueCache($0) }
        #expect(dense.keys.share == 1 && dense.keys.wholeShare == 1 && dense.keys.cost == 0)
        quest.reset()
        #expect(quest.keys == SkippingMeter().keys && quest.keysByLayer.isEmpty)
    }

    @Test func requests() throws {
        func request(_ attention: String?, _ keeping: String?) throws -> CacheRequest {
            try CacheRequest(attention: attention, keeping: keeping) { HeavyChannels([[[0], [1]], [[2], [3]]]) }
        }
        #expect(try "\(request(nil, nil))" == "all keys" && "\(request("quest:0.25", "int8"))" == "quest:0.25, int8")
        #expect(try "\(request("double:0.5", "mustafar:0.25"))" == "double:0.5, mustafar:0.25")
        #expect(try "\(request("alisa:0.5", "int4"))" == "alisa:0.5, int4")
        for (attention, keeping) in [
            ("quest", nil), ("quest:0", nil), ("window:0", nil), ("window:1.5", nil), ("x:1", nil),
            ("quest:0.1:2", nil),
            (nil, "int8:1"), (nil, "int4:1"), (nil, "int2"), (nil, "mustafar"), (nil, "mustafar:1"), (nil, "float"),
            ("double:2", nil), ("", nil),
        ] as [(String?, String?)] {
            #expect(throws: LacunaError.self, "\(attention ?? "") \(keeping ?? "")") { try request(attention, keeping) }
        }
        let shape = try KeyValueShape(Skip.configuration, capacity: 10)
        var skipping = Skipping()
        try request("quest:0.25", "mustafar:0.5").apply(to: &skipping)
        let store = try #require(skipping.store(shape) as? PageBoundsCache)
        #expect(skipping.selector is Quest && store.base is MustafarCache && store.direct is MustafarCache)
        try request("double:0.25", nil).apply(to: &skipping)
        #expect(skipping.selector is DoubleSparsity && (skipping.store(shape) as? LabelCache)?.base is KeyValueCache)
        try request("window:3", "int8").apply(to: &skipping)
        #expect(skipping.selector is WindowAndSinks)
        #expect((skipping.store(shape) as? QuantizedKeyValueCache)?.bits == .eight)
        try request(nil, "int4").apply(to: &skipping)
        #expect((skipping.store(shape) as? QuantizedKeyValueCache)?.bits == .four)
        #expect(Set(CacheRequest.cards.map(\.name)).count == CacheRequest.cards.count)
    }

    /// Quest over pruned keys: parts combine.
    @Test func selectorsAndStoresCombine() throws {
        let decoder = try Skip.decoder()
        let tokens = Skip.tokens(90, seed: 2)
        let settings = try Mustafar(sparsity: 0, window: 8, group: 16)
        let store: (KeyValueShape) -> any KeyValueStore = {
            PageBoundsCache(MustafarCache($0, settings), shape: $0, pageSize: 8)
        }
        let plain = try logits(decoder, tokens, prompt: 20, selector: Quest(share: 0.5, dense: 0), store: bounded(8))
        let found = try logits(decoder, tokens, prompt: 20, selector: Quest(share: 0.5, dense: 0), store: store)
        #expect(Skip.error(found, plain) < 1e-4)
    }

    /// Of 10 entries 5.5 stay at a sparsity of 0.45, which is 6; of 9 at 0.4 it is 5.4, which is 5.
    @Test(arguments: [(10, 0.45, 6), (9, 0.4, 5), (3, 0.99, 1)]) func keptEntriesAreRounded(
        _ size: Int, _ sparsity: Double, _ kept: Int
    ) throws {
        let shape = KeyValueShape(layers: 1, heads: 1, headSize: size, capacity: 4)
        let store = MustafarCache(shape, try Mustafar(sparsity: sparsity, window: 0, group: 1))
        let key = (1...size).map { Float($0) }
        store.append(layer: 0, keys: key, values: key, count: 1)
        store.advance(by: 1)
        let view = store.view(layer: 0, head: 0, positions: 0..<1)
        let found = (0..<size).map { view.keys[$0] }
        withExtendedLifetime(view) {}
        #expect(store.pruned == 1 && found == key.map { $0 > Float(size - kept) ? $0 : 0 })
    }
}
