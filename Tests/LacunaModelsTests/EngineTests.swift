import LacunaModels
import LacunaSparse
import LacunaTensor
import Testing

struct EngineTests {
    private let tokens = (0..<40).map { $0 * 7 % 50 }

    private func row(_ logits: Tensor<Float>, _ i: Int) -> Tensor<Float> { logits.rows(i..<i + 1) }

    /// A prompt, single tokens of other sequences and a draft, all in one step, against each sequence by itself.
    @Test func oneStepForEverything() throws {
        let decoder = try makeDecoder(seed: 1, slidingWindow: 6)
        let engine = TokenEngine(decoder)
        let ids = try (0..<3).map { _ in try engine.addSequence(context: 40) }
        var batch = TokenBatch()
        batch.append(tokens[0..<9], sequence: ids[0], at: 0, logits: .last)
        batch.append(tokens[5..<6], sequence: ids[1], at: 0, logits: .none)
        let first = try engine.step(batch)
        let expected = try decoder.logits(Array(tokens[0..<9]))
        #expect(first.shape == [1, 50] && relativeError(first, row(expected, 8)) < 1e-5)
        batch = TokenBatch()
        batch.append(tokens[9..<13], sequence: ids[0], at: 9, logits: .all)
        batch.append(tokens[6..<7], sequence: ids[1], at: 1, logits: .last)
        batch.append(tokens[20..<25], sequence: ids[2], at: 0, logits: .last)
        let second = try engine.step(batch)
        let long = try decoder.logits(Array(tokens[0..<13]))
        #expect(second.shape == [6, 50])
        for i in 0..<4 { #expect(relativeError(row(second, i), row(long, 9 + i)) < 1e-5) }
        #expect(relativeError(row(second, 4), row(try decoder.logits(Array(tokens[5..<7])), 1)) < 1e-5)
        #expect(relativeError(row(second, 5), row(try decoder.logits(Array(tokens[20..<25])), 4)) < 1e-5)
        #expect(try engine.store(of: ids[0]).count == 13 && engine.store(of: ids[1]).count == 2)
    }

    /// More rows than go through the blocks at once, cut within a sequence.
    @Test func longBatchesAreCut() throws {
        let decoder = try makeDecoder(seed: 2, maximumPositions: 1024)
        let engine = TokenEngine(decoder)
        let (a, b) = (try engine.addSequence(context: 700), try engine.addSequence(context: 700))
        let long = (0..<700).map { $0 * 11 % 50 }
        var batch = TokenBatch()
        batch.append(long[..<300], sequence: a, at: 0)
        batch.append(long, sequence: b, at: 0)
        let found = try engine.step(batch)
        let expected = try decoder.logits(long)
        #expect(relativeError(row(found, 0), row(expected, 299)) < 1e-4)
        #expect(relativeError(row(found, 1), row(expected, 699)) < 1e-4)
    }

    /// Ten sequences at different places in one step give the bits of ten steps, however the weights are stored; without being
    /// kept apart, those of most stores do not.
    @Test(arguments: [
        (StorageLayout.dense, ValueType.f32), (.dense, .bf16), (.dense, .f16), (.dense, .int8), (.dense, .int4),
        (.csr, .f32), (.bitmask, .bf16), (.nm(n: 2, m: 4), .int8),
    ])
    func rowsKeptApart(layout: StorageLayout, values: ValueType) throws {
        let decoder = try makeDecoder(seed: 8).sparsified { _, matrix in
            var dense = matrix.densified()
            if layout != .dense {
                for r in 0..<dense.rows { for c in 0..<dense.columns where (r + c) % 4 < 2 { dense[r, c] = 0 } }
            }
            return try WeightStore.make(dense, layout: layout, values: values)
        }
        func logits(_ sequences: [Int], _ engine: TokenEngine, apart: Bool = false) throws -> Tensor<Float> {
            var batch = TokenBatch()
            for sequence in sequences {
                let position = try engine.store(of: sequence).count
                batch.append(tokens[sequence..<sequence + 1], sequence: sequence, at: position)
            }
            return try engine.step(batch, apart: apart)
        }
        func engine() throws -> (TokenEngine, [Int]) {
            let engine = TokenEngine(decoder)
            let ids = try (0..<10).map { _ in try engine.addSequence(context: 40) }
            for id in ids {
                var prompt = TokenBatch()
                prompt.append(tokens[..<(3 + id)], sequence: id, at: 0, logits: .none)
                _ = try engine.step(prompt)
            }
            return (engine, ids)
        }
        let ((one, ids), (other, _), (third, _)) = (try engine(), try engine(), try engine())
        let together = try logits(ids, one, apart: true)
        let alone = try ids.map { try logits([$0], other) }
        for (i, expected) in alone.enumerated() { #expect(row(together, i) == expected) }
        let fastest = try logits(ids, third)
        #expect(relativeError(fastest, together) < 0.1)
        // So few vectors meet dense bytes as each does alone.
        if layout == .dense && values != .int8 { #expect(fastest != together) }
        // What a sequence has read with others is what it goes on from.
        #expect(try logits([ids[4]], one) == logits([ids[4]], other))
    }

    @Test func whatCannotBeAStepIsRefused() throws {
        let engine = TokenEngine(try makeDecoder(seed: 3))
        let a = try engine.addSequence(context: 4)
        func step(_ rows: [TokenBatch.Row]) throws { _ = try engine.step(TokenBatch(rows)) }
        func r(_ token: Int, _ sequence: Int, _ position: Int) -> TokenBatch.Row {
            .init(token: token, sequence: sequence, position: position, wantsLogits: true)
        }
        let b = try engine.addSequence(context: 4)
        for rows in [
            [], [r(50, a, 0)], [r(-1, a, 0)], [r(1, 99, 0)], [r(1, a, 1)], [r(1, a, 0), r(1, a, 0)],
            [r(1, a, 0), r(1, a, 2)], (0..<5).map { r(1, a, $0) }, [r(1, a, 0), r(2, b, 0), r(3, a, 1)],
        ] {
            #expect(throws: LacunaError.self, "\(rows)") { try step(rows) }
            #expect(try engine.store(of: a).count == 0 && engine.store(of: b).count == 0)
        }
        var pair = TokenBatch()
        pair.append([1, 2], sequence: a, at: 0)
        #expect(throws: LacunaError.self) { try engine.step(pair, apart: true) }
        #expect(try engine.store(of: a).count == 0 && !Product.keepsVectorsApart)
        try step([r(1, a, 0)])
        engine.remove(a)
        #expect(throws: LacunaError.self) { try step([r(1, a, 1)]) }
        #expect(throws: LacunaError.self) { try engine.addSequence(context: 0) }
    }

    // MARK: Stores

    /// Forks share what came before and go their own ways; truncating and going on is as if it had never been.
    @Test(arguments: [nil, .eight, .four] as [QuantizedKeyValueCache.Bits?])
    func forksAndRollbacks(bits: QuantizedKeyValueCache.Bits?) throws {
        let decoder = try makeDecoder(seed: 4)
        let engine = TokenEngine(decoder) { shape -> any KeyValueStore in
            if let bits { return QuantizedKeyValueCache(shape, bits: bits) }
            return KeyValueCache(shape)
        }
        let tolerance: Float = bits == nil ? 1e-5 : bits == .eight ? 0.02 : 0.3
        let a = try engine.addSequence(context: 30)
        func step(_ tokens: [Int], _ sequence: Int) throws -> Tensor<Float> {
            var batch = TokenBatch()
            batch.append(tokens, sequence: sequence, at: try engine.store(of: sequence).count)
            return try engine.step(batch)
        }
        _ = try step(Array(tokens[..<8]), a)
        let b = try engine.fork(a)
        let left = try step([11, 12], a)
        let right = try step([21, 22, 23], b)
        #expect(relativeError(left, row(try decoder.logits(tokens[..<8] + [11, 12]), 9)) < tolerance)
        #expect(relativeError(right, row(try decoder.logits(tokens[..<8] + [21, 22, 23]), 10)) < tolerance)
        let store = try engine.store(of: a)
        store.truncate(to: 5)
        #expect(store.count == 5)
        let other = try step([31, 32], a)
        #expect(relativeError(other, row(try decoder.logits(tokens[..<5] + [31, 32]), 6)) < tolerance)
        #expect(try engine.store(of: b).count == 11)
        // 3 layers, keys and values, 2 heads of 10 entries.
        let bytes = bits == nil ? 10 * 4 : bits == .eight ? 10 + 4 : 5 + 8
        #expect(store.byteCount == 7 * 3 * 2 * 2 * bytes)
    }

    /// Three groups of 4 bits, the last with five entries: each within half a step of its own, its ends exact; what is not a number is
    /// the least, and a group of nothing else 0.
    @Test func fourBitsByGroups() throws {
        let size = 69
        let store = QuantizedKeyValueCache(KeyValueShape(layers: 1, heads: 1, headSize: size, capacity: 3), bits: .four)
        var generator = SeededGenerator(seed: 2)
        var keys = (0..<2 * size).map { Float(generator.normal()) * ($0 % size < 32 ? 1 : 50) }
        let values = keys.map { $0 - 7 }
        keys[3] = .nan
        for e in 64..<69 { keys[e] = .nan }
        store.append(layer: 0, keys: keys, values: values, count: 2)
        store.advance(by: 2)
        let view = store.view(layer: 0, head: 0, positions: 0..<2)
        for (found, source) in [(view.keys, keys), (view.values, values)] {
            for position in 0..<2 {
                for start in [0, 32, 64] {
                    let places = start..<min(start + 32, size)
                    let own = places.map { source[position * size + $0] }
                    let numbers = own.filter { !$0.isNaN }
                    let (least, largest) = (numbers.min() ?? 0, numbers.max() ?? 0)
                    for (place, x) in zip(places, own) {
                        let y = found[position * size + place]
                        let distance = abs(y - (x.isNaN ? least : x))
                        #expect(distance <= 0.501 * (largest - least) / 15)
                        if x == least || x == largest { #expect(distance <= 1e-5 * max(1, abs(x))) }
                    }
                }
            }
        }
        withExtendedLifetime(view) {}
        #expect(store.byteCount == 2 * 2 * (35 + 6 * 4))
    }

    @Test func quantizedEntriesAreNear() throws {
        let configuration = try makeDecoder(seed: 5).configuration
        let store = QuantizedKeyValueCache(try KeyValueShape(configuration, capacity: 4))
        var generator = SeededGenerator(seed: 1)
        // Two positions of 2 heads, one of them all zeros, one with a number that is none.
        var keys = (0..<40).map { _ in Float(generator.normal()) }
        var values = keys.map { 3 * $0 }
        for i in 0..<10 { keys[i] = 0 }
        values[39] = .nan
        for layer in 0..<3 { store.append(layer: layer, keys: keys, values: values, count: 2) }
        store.advance(by: 2)
        func check(_ found: UnsafePointer<Float>, _ source: [Float], _ head: Int, _ position: Int) {
            let start = position * 20 + head * 10
            let expected = Array(source[start..<start + 10])
            let finite = expected.filter { !$0.isNaN }
            let step: Float = finite.map { abs($0) }.max()! / 127
            for (i, x) in expected.enumerated() {
                let y = found[position * 10 + i]
                #expect(y.isFinite)
                if !x.isNaN { #expect(abs(y - x) <= 0.5001 * step) }
            }
        }
        for head in 0..<2 {
            let view = store.view(layer: 1, head: head, positions: 0..<2)
            for position in 0..<2 {
                check(view.keys, keys, head, position)
                check(view.values, values, head, position)
            }
        }
    }

    // MARK: Selected keys

    /// Reading all keys one query at a time is dense attention; few of them is attention over those few.
    @Test func selectedKeys() throws {
        struct Everything: KeySelector {
            let pieces: Int
            func select(_ request: KeyRequest) -> [Range<Int>] {
                let (low, count) = (request.visible.lowerBound, request.visible.count)
                let cuts = (0...pieces).map { low + $0 * count / pieces }
                return zip(cuts, cuts.dropFirst()).map { $0..<$1 }.filter { !$0.isEmpty }
            }
        }
        let decoder = try makeDecoder(seed: 6)
        let expected = try decoder.logits(tokens)
        for pieces in [1, 3] {
            let engine = TokenEngine(decoder, selector: Everything(pieces: pieces))
            let session = try DecodingSession(engine, context: 64)
            #expect(relativeError(try session.verify(Array(tokens[..<30])), expected.rows(0..<30)) < 1e-4)
            for i in 30..<40 {
                try session.decode(tokens[i])
                #expect(relativeError(Tensor(Array(session.logits), shape: [1, 50]), row(expected, i)) < 1e-4)
            }
        }
        // A window without sinks is the model's own window.
        let windowed = try makeDecoder(seed: 6, slidingWindow: 5)
        let session = try DecodingSession(
            TokenEngine(decoder, selector: WindowAndSinks(window: 5, sinks: 0)), context: 64)
        #expect(relativeError(try session.verify(tokens), try windowed.logits(tokens)) < 1e-4)
        let sinking = try DecodingSession(TokenEngine(decoder, selector: WindowAndSinks(window: 5)), context: 64)
        let found = try sinking.verify(tokens)
        // Up to 4 + 5 positions nothing is left out.
        #expect(relativeError(found.rows(0..<9), expected.rows(0..<9)) < 1e-4)
        #expect(relativeError(row(found, 39), row(expected, 39)) > 1e-3)
    }

    @Test func windowsAndSinks() {
        func ranges(_ visible: Range<Int>, window: Int, sinks: Int) -> [Range<Int>] {
            var query: Float = 0
            return withUnsafePointer(to: &query) { query in
                WindowAndSinks(window: window, sinks: sinks).select(
                    KeyRequest(
                        layer: 0, head: 0, keyHead: 0, position: visible.upperBound - 1, visible: visible,
                        query: query, store: nil))
            }
        }
        #expect(ranges(0..<3, window: 5, sinks: 2) == [0..<3])
        #expect(ranges(0..<10, window: 3, sinks: 2) == [0..<2, 7..<10])
        #expect(ranges(0..<5, window: 3, sinks: 2) == [0..<5])
        #expect(ranges(0..<10, window: 3, sinks: 0) == [7..<10])
        #expect(ranges(4..<10, window: 3, sinks: 2) == [4..<6, 7..<10])
        #expect(ranges(0..<4, window: 3, sinks: 9) == [0..<4])
    }

    // MARK: Gated inputs

    @Test func gatedInputs() throws {
        let decoder = try makeDecoder(seed: 7)
        /// The same with the down projections stored input by input.
        func turned(_ values: ValueType) throws -> Transformer {
            try decoder.sparsified { name, matrix in
                name.contains("down_proj") ? try InputMajorMatrix(matrix.densified(), values: values) : nil
            }
        }
        let expected = try decoder.logits(tokens)
        #expect(relativeError(try turned(.f32).logits(tokens), expected) < 1e-5)
        #expect(relativeError(try turned(.bf16).logits(tokens), expected) < 0.03)
        func gated(_ decoder: Transformer, _ thresholds: [LinearRole: Float]) throws -> Tensor<Float> {
            let session = try DecodingSession(
                TokenEngine(decoder, gate: ThresholdGate(thresholds)), context: 64)
            return try session.verify(tokens)
        }
        // Without a threshold, and with one that nothing is below, everything is read.
        #expect(relativeError(try gated(decoder, [:]), expected) < 1e-5)
        #expect(relativeError(try gated(decoder, [.down: 1e-30]), expected) < 1e-5)
        // Masked inputs and skipped ones are the same sum, and not the dense one.
        let masked = try gated(decoder, [.down: 0.05, .query: 0.1])
        #expect(relativeError(try gated(turned(.f32), [.down: 0.05, .query: 0.1]), masked) < 1e-4)
        #expect(relativeError(masked, expected) > 1e-4)
        // Query, key and value share an input: the threshold of one alone leaves nothing out.
        #expect(relativeError(try gated(decoder, [.query: 10]), expected) < 1e-5)
        #expect(relativeError(try gated(decoder, [.query: 10, .key: 10, .value: 10]), expected) > 1e-3)
    }

    @Test func thresholds() {
        let gate = ThresholdGate([.down: 1, .gate: 2, .up: 0.5])
        let x: [Float] = [0.4, -1, 0.9, 2, -0.5, .nan]
        #expect(gate.active(x, count: 6, layer: 0, roles: [.down])! == [1, 3])
        #expect(gate.active(x, count: 6, layer: 0, roles: [.gate, .up])! == [1, 2, 3, 4])
        #expect(gate.active(x, count: 6, layer: 0, roles: [.output]) == nil)
    }

    /// Decoding, truncating and decoding another way equals a fresh start.
    @Test func truncatedSessionsForget() throws {
        let decoder = try makeDecoder(seed: 8)
        let session = try DecodingSession(decoder, context: 20)
        for token in tokens[..<10] { try session.decode(token) }
        session.cache.truncate(to: 4)
        for token in [40, 41, 42] { try session.decode(token) }
        let found = Tensor(Array(session.logits), shape: [1, 50])
        #expect(relativeError(found, row(try decoder.logits(tokens[..<4] + [40, 41, 42]), 6)) < 1e-5)
    }

    /// Single queries over sinks and a window, counted by hand; a meter that was set back counts from nothing.
    @Test func metersCountKeysFromNothing() throws {
        let meter = SkippingMeter()
        let engine = TokenEngine(try makeDecoder(seed: 6), selector: WindowAndSinks(window: 4, sinks: 1), meter: meter)
        func run() throws {
            let session = try DecodingSession(engine, context: 64)
            for token in tokens.prefix(8) { _ = try session.verify([token]) }
        }
        try run()
        let first = meter.keys
        // A query sees 1 to 8 keys: 36, and reads 5 at most: 1 + 2 + 3 + 4 + 4 · 5.
        #expect(first.read * 36 == first.visible * 30 && first.visible % 36 == 0 && first.visible > 0)
        meter.reset()
        #expect(meter.keys.visible == 0 && meter.keys.read == 0 && meter.keys.share == 1)
        try run()
        #expect(meter.keys == first)
    }
}
