import BenchmarkHarness
import Lacuna

/// Attention of SmolLM2-135M's shape over long texts: what reading fewer keys, or smaller ones, brings when a token is written and when a
/// prompt is read.
///
/// The decoder is attention and next to nothing else: 9 heads of 64 that share 3 of keys, a stream of 64, feed-forward parts of 8. Keys and
/// values are random, so that every method reads the share that it is asked for, in all layers.
struct AttentionSuite {
    let settings: Settings

    private static let (heads, keyHeads, size) = (9, 3, 64)
    /// Positions before the token that is written.
    private static let context = 8000
    private static let writingLayers = 8

    func sections() throws -> [Section] {
        let prompts = settings.quick ? [1024] : [4096, 8192]
        return try [writing()] + prompts.map(reading)
    }

    private func decoder(layers: Int) throws -> Transformer {
        try Transformer(
            random: TransformerConfiguration(
                vocabularySize: 64, hiddenSize: 64, intermediateSizes: [Int](repeating: 8, count: layers),
                headCount: Self.heads, keyValueHeadCount: Self.keyHeads, headSize: Self.size, maximumPositions: 8192),
            seed: settings.seed)
    }

    // MARK: Writing

    /// A way of reading and keeping keys.
    private struct Form {
        var name: String
        var selector: any KeySelector = AllKeys()
        var bars: [Bar] = []
        var store: (KeyValueShape) -> any KeyValueStore = { KeyValueCache($0) }
    }

    private func forms(layers: Int) throws -> [Form] {
        let channels = HeavyChannels(
            (0..<layers).map { _ in (0..<Self.keyHeads).map { head in (0..<8).map { $0 * 8 + head } } })
        let half = try Mustafar(sparsity: 0.5)
        let alisa = try ALISA(share: 0.25)
        return try [
            Form(name: "all keys, f32"),
            Form(
                name: "quest:0.25", selector: Quest(share: 0.25, dense: 0),
                store: { PageBoundsCache(KeyValueCache($0), shape: $0) }),
            Form(
                name: "quest:0.25 by groups", selector: Quest(share: 0.25, dense: 0, choosesByGroup: true),
                bars: [.atLeast(.measured, 2)], store: { PageBoundsCache(KeyValueCache($0), shape: $0) }),
            Form(
                name: "double:0.25", selector: DoubleSparsity(share: 0.25, dense: 0), bars: [.atLeast(.measured, 2)],
                store: { LabelCache(KeyValueCache($0), shape: $0, channels: channels) }),
            Form(
                name: "alisa:0.25", selector: alisa,
                store: { AttentionMassCache(KeyValueCache($0), shape: $0, method: alisa) }),
            Form(
                name: "window:2000", selector: WindowAndSinks(window: Self.context / 4),
                bars: [.atLeast(.measured, 2)]),
            Form(name: "mustafar:0.5", bars: [.atLeast(.measured, 1)], store: { MustafarCache($0, half) }),
            Form(name: "int8", store: { QuantizedKeyValueCache($0) }),
            Form(name: "int4", store: { QuantizedKeyValueCache($0, bits: .four) }),
            Form(
                name: "quest:0.25, mustafar:0.5", selector: Quest(share: 0.25, dense: 0),
                store: { PageBoundsCache(MustafarCache($0, half), shape: $0) }),
        ]
    }

    private func writing() throws -> Section {
        settings.announce("attention: writing after \(Self.context) positions")
        let layers = Self.writingLayers
        let decoder = try decoder(layers: layers)
        let forms = try forms(layers: layers)
        let width = Self.keyHeads * Self.size
        var random = SeededGenerator(seed: settings.seed, stream: 18)
        let keys = Tensor<Float>(normal: [Self.context, width], using: &random)
        let readLoop = ReadLoop(coldBytes: settings.machine.coldBytes)
        let candidates = try forms.map { form in
            let engine = TokenEngine(decoder, selector: form.selector, store: form.store)
            let session = try DecodingSession(engine, context: Self.context + 1)
            keys.withPointer { keys in
                for layer in 0..<layers {
                    session.cache.append(layer: layer, keys: keys, values: keys, count: Self.context)
                }
            }
            session.cache.advance(by: Self.context)
            let work = Work(bytes: Double(session.cache.byteCount), tokens: 1)
            return Candidate(form.name, work: work) { call in
                do {
                    try session.decode(call % 64)
                } catch {
                    preconditionFailure("a token within the context was refused: \(error)")
                }
                session.cache.truncate(to: Self.context)
            }
        }
        var section = Section(
            "Attention of a token after \(Self.context) positions",
            explanation: """
                \(layers) layers of \(Self.heads) heads of \(Self.size) that share \(Self.keyHeads) of keys, without feed-forward parts worth the \
                name, the forms in turn. *MB* are the keys and values that are kept, with bounds and labels. A quarter of the keys is read in \
                every layer where it says so, and choosing is part of the time.
                """,
            columns: [.threads, .bytes, .tokensPerSecond, .spread, .measured])
        let timer = settings.timer(rounds: 20, turnSeconds: 0, beforeTurn: readLoop.evict)
        section.rows = settings.forEachThreadCount { threads in
            compared(timer.measure(candidates), bars: forms.map(\.bars), threads: threads)
        }
        return section
    }

    // MARK: Reading

    private func reading(_ count: Int) throws -> Section {
        settings.announce("attention: reading \(count) tokens")
        let decoder = try decoder(layers: 1)
        let tokens = (0..<count).map { $0 * 7919 % 64 }
        let forms: [(name: String, selector: any KeySelector, bars: [Bar])] = try [
            ("all keys", AllKeys(), []),
            ("block-sparse:0.5", BlockSparsePrompt(share: 0.5, promptRows: count), [.atLeast(.measured, 1.6)]),
            ("block-sparse:0.25", BlockSparsePrompt(share: 0.25, promptRows: count), []),
            ("vertical-slash:0.5", VerticalSlash(share: 0.5, promptRows: count), []),
            ("flexprefill:0.9", FlexPrefill(mass: 0.9, promptRows: count), []),
        ]
        let candidates = try forms.map { form in
            let session = try DecodingSession(TokenEngine(decoder, selector: form.selector), context: count)
            return Candidate(form.name, work: Work(tokens: Double(count))) { _ in
                session.reset()
                do {
                    try session.prefill(tokens)
                } catch {
                    preconditionFailure("a prompt within the context was refused: \(error)")
                }
            }
        }
        var section = Section(
            "Attention of a prompt of \(count) tokens",
            explanation: """
                One layer of the same heads, the forms in turn; what is chosen, and choosing, is part of the time.
                """,
            columns: [.threads, .tokensPerSecond, .spread, .measured])
        let timer = settings.timer(rounds: 6, turnSeconds: 0)
        section.rows = settings.forEachThreadCount { threads in
            compared(timer.measure(candidates), bars: forms.map(\.bars), threads: threads)
        }
        return section
    }

    /// The rows of some forms, the first of which the others are compared with.
    private func compared(_ measured: [Measurement], bars: [[Bar]], threads: Int) -> [Row] {
        zip(measured, bars).enumerated().map { index, pair in
            var row = Row(pair.0, threads: threads)
            if index > 0 {
                row.baseline = measured[0].name
                row[.measured] = pair.0.speed(against: measured[0])
                row.bars = pair.1
            }
            return row
        }
    }
}
