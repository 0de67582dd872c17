import LacunaModels
import LacunaSparse
import LacunaTensor
import Testing

/// Pages, eviction, and their combinations with selectors, gates and rounded keys.
struct EngineStoreTests {
    private let tokens = (0..<40).map { $0 * 7 % 50 }

    enum Form: CaseIterable {
        case dense, int8, int4, pages1, pages3, pages64

        func make(_ shape: KeyValueShape) -> any KeyValueStore {
            switch self {
            case .dense: KeyValueCache(shape)
            case .int8: QuantizedKeyValueCache(shape)
            case .int4: QuantizedKeyValueCache(shape, bits: .four)
            case .pages1: PagedKeyValueCache(shape, pageSize: 1)
            case .pages3: PagedKeyValueCache(shape, pageSize: 3)
            case .pages64: PagedKeyValueCache(shape)
            }
        }

        var tolerance: Float { self == .int8 ? 0.05 : self == .int4 ? 0.5 : 1e-5 }
    }

    private func read(_ tokens: [Int], _ session: DecodingSession) throws -> Tensor<Float> {
        for token in tokens { try session.decode(token) }
        return Tensor(Array(session.logits), shape: [1, session.logits.count])
    }

    private func row(_ logits: Tensor<Float>, _ i: Int) -> Tensor<Float> { logits.rows(i..<i + 1) }

    // MARK: Sets of positions

    @Test func setsOfPositionsAreSets() {
        var random = SeededGenerator(seed: 3)
        for _ in 0..<200 {
            var set = PositionSet()
            var plain = Set<Int>()
            for _ in 0..<6 {
                let start = Int(random.next() % 20)
                let range = start..<start + Int(random.next() % 6)
                set.insert(range)
                plain.formUnion(range)
            }
            #expect(set.count == plain.count && Set(set.ranges.joined()) == plain && set.isEmpty == plain.isEmpty)
            // Ascending, apart from each other, none empty.
            #expect(zip(set.ranges, set.ranges.dropFirst()).allSatisfy { $0.upperBound < $1.lowerBound })
            #expect(set.ranges.allSatisfy { !$0.isEmpty })
            let cuts = (0..<4).map { _ in Int(random.next() % 28) }.sorted()
            let ranges = [cuts[0]..<cuts[1], cuts[2]..<cuts[3]].filter { !$0.isEmpty }
            let rest = set.removed(from: ranges)
            #expect(Array(rest.joined()) == ranges.joined().filter { !plain.contains($0) })
            #expect(rest.allSatisfy { !$0.isEmpty })
        }
    }

    // MARK: Pages

    /// Prompts and single tokens over pages give what one run of memory gives.
    @Test(arguments: [Form.pages1, .pages3, .pages64]) func pagesHoldWhatTheyAreGiven(form: Form) throws {
        let decoder = try makeDecoder(seed: 11, slidingWindow: 9)
        let expected = try decoder.logits(tokens)
        let session = try DecodingSession(TokenEngine(decoder, store: form.make), context: 40)
        #expect(relativeError(try session.verify(Array(tokens[..<17])), expected.rows(0..<17)) < 1e-5)
        for i in 17..<40 { #expect(relativeError(try read([tokens[i]], session), row(expected, i)) < 1e-5) }
        session.cache.truncate(to: 10)
        #expect(relativeError(try read(Array(tokens[10..<13]), session), row(expected, 12)) < 1e-5)
    }

    @Test func forksSharePagesUntilTheyWrite() throws {
        let decoder = try makeDecoder(seed: 12)
        let shape = try KeyValueShape(decoder.configuration, capacity: 40)
        let page = 4 * 2 * 3 * 2 * 10 * 4  // 4 positions, keys and values, 3 layers, 2 heads of 10 floats
        let engine = TokenEngine(decoder) { PagedKeyValueCache($0, pageSize: 4) }
        let a = try engine.addSequence(context: 40)
        var batch = TokenBatch()
        batch.append(tokens[..<10], sequence: a, at: 0)
        _ = try engine.step(batch)
        let b = try engine.fork(a)
        let (left, right) = (
            try #require(try engine.store(of: a) as? PagedKeyValueCache),
            try #require(try engine.store(of: b) as? PagedKeyValueCache)
        )
        #expect(left.byteCount == 3 * page && left.capacity == shape.capacity)
        #expect((0..<3).allSatisfy { left.sharesPage($0, with: right) })
        batch = TokenBatch()
        batch.append([41], sequence: a, at: 10)
        batch.append([42, 43, 44], sequence: b, at: 10)
        let logits = try engine.step(batch)
        #expect(relativeError(row(logits, 0), row(try decoder.logits(tokens[..<10] + [41]), 10)) < 1e-5)
        #expect(relativeError(row(logits, 1), row(try decoder.logits(tokens[..<10] + [42, 43, 44]), 12)) < 1e-5)
        #expect(left.sharesPage(0, with: right) && left.sharesPage(1, with: right))
        #expect(!left.sharesPage(2, with: right) && right.byteCount == 4 * page)
        left.truncate(to: 4)
        #expect(left.byteCount == page && right.count == 13)
    }

    // MARK: Eviction

    /// All that is visible, except some positions.
    private struct Leaving: KeySelector {
        let gone: Range<Int>
        let from: Int
        func select(_ request: KeyRequest) -> [Range<Int>] {
            if request.position < from { return [request.visible] }
            return [
                request.visible.lowerBound..<min(gone.lowerBound, request.visible.upperBound),
                max(gone.upperBound, request.visible.lowerBound)..<request.visible.upperBound,
            ].filter { $0.lowerBound < $0.upperBound }
        }
    }

    /// What was evicted is read no more, the rest as if nothing had happened.
    @Test(arguments: Form.allCases) func evictedPositionsAreNotRead(form: Form) throws {
        let decoder = try makeDecoder(seed: 13)
        let (gone, count) = (2..<13, 20)
        let session = try DecodingSession(TokenEngine(decoder, store: form.make), context: 40)
        try session.prefill(Array(tokens[..<count]))
        session.cache.evict(2..<8)
        session.cache.evict(7..<13)
        #expect(session.cache.evicted.ranges == [gone] && session.cache.count == count)
        let leaving = TokenEngine(decoder, selector: Leaving(gone: gone, from: count))
        let reference = try DecodingSession(leaving, context: 40)
        try reference.prefill(Array(tokens[..<count]))
        // One token at a time, then several in one step.
        for i in count..<25 {
            #expect(relativeError(try read([tokens[i]], session), try read([tokens[i]], reference)) < form.tolerance)
        }
        let fork = session.cache.fork()
        #expect(fork.evicted == session.cache.evicted)
        let more = try session.verify(Array(tokens[25..<32]))
        #expect(relativeError(more, try reference.verify(Array(tokens[25..<32]))) < form.tolerance)
        let whole = try decoder.logits(tokens)
        #expect(relativeError(row(more, 6), row(whole, 31)) > 1e-3)
        session.cache.truncate(to: 5)
        #expect(session.cache.evicted.ranges == [2..<5])
    }

    @Test func evictedPagesAreFreed() throws {
        let decoder = try makeDecoder(seed: 14)
        let store = PagedKeyValueCache(try KeyValueShape(decoder.configuration, capacity: 40), pageSize: 4)
        let floats = [Float](repeating: 1, count: 20 * 20)
        for layer in 0..<3 { store.append(layer: layer, keys: floats, values: floats, count: 20) }
        store.advance(by: 20)
        let page = store.byteCount / 5
        store.evict(3..<9)
        #expect(store.byteCount == 4 * page)
        store.evict(9..<12)
        #expect(store.byteCount == 3 * page)
        store.evict(0..<3)
        #expect(store.byteCount == 2 * page && store.evicted.ranges == [0..<12])
        let view = store.view(layer: 2, head: 1, positions: 14..<20)
        #expect(UnsafeBufferPointer(start: view.keys, count: 60).allSatisfy { $0 == 1 })
    }

    // MARK: Combinations

    /// A window, a gate and a form of the store do not know of each other: every form gives what the dense one does.
    @Test(arguments: Form.allCases) func windowsGatesAndStoresCombine(form: Form) throws {
        let decoder = try makeDecoder(seed: 15)
        func session(_ form: Form) throws -> DecodingSession {
            try DecodingSession(
                TokenEngine(
                    decoder, selector: WindowAndSinks(window: 5, sinks: 2),
                    gate: ThresholdGate([.down: 0.02, .query: 0.05, .key: 0.05, .value: 0.05]), store: form.make),
                context: 40)
        }
        let (mine, dense) = (try session(form), try session(.dense))
        for session in [mine, dense] { try session.prefill(Array(tokens[..<12])) }
        for session in [mine, dense] { session.cache.evict(1..<3) }
        for i in 12..<20 {
            let expected = try read([tokens[i]], dense)
            #expect(relativeError(try read([tokens[i]], mine), expected) < form.tolerance)
        }
        #expect(relativeError(try read([1], dense), row(try decoder.logits(tokens[..<20] + [1]), 20)) > 1e-3)
    }
}
