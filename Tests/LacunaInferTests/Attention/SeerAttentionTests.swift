import Foundation
import LacunaIO
import LacunaLearn
import LacunaModels
import LacunaTensor
import Testing

@testable import LacunaInfer

struct SeerAttentionTests {
    private func withRequest(
        keys count: Int, queries: Int, window: Int? = nil, seed: UInt64 = 1, _ body: (PromptRequest) throws -> Void
    ) throws {
        let store = KeyValueCache(KeyValueShape(layers: 1, heads: 1, headSize: 8, capacity: count))
        let (keys, rows) = (Skip.gaussian([count, 8], seed: seed), Skip.gaussian([queries, 8], seed: seed + 100))
        keys.withPointer { store.append(layer: 0, keys: $0, values: $0, count: count) }
        store.advance(by: count)
        try rows.withPointer {
            try body(
                PromptRequest(
                    layer: 0, head: 0, keyHead: 0, firstPosition: count - queries, count: queries, window: window,
                    scale: 0.7, queries: $0, stride: 8, size: 8, store: store))
        }
    }

    private func gate(_ block: Int, width: Int = 6, rotation: RotaryEmbedding? = nil, seed: UInt64 = 9) -> SeerGate {
        SeerGate(
            block: block, width: width,
            layers: [
                .init(
                    queries: [Skip.gaussian([width, 8], seed: seed)],
                    keys: [Skip.gaussian([width, 24], seed: seed + 1)])
            ],
            rotations: [rotation])
    }

    /// Pools of what was there before rotation, and the largest share of attention in every pair of blocks.
    @Test(arguments: [(40, 40), (37, 37), (50, 20)]) func features(_ count: Int, _ queries: Int) throws {
        let (block, rotary) = (10, RotaryEmbedding(.init(), headSize: 8))
        try withRequest(keys: count, queries: queries) { request in
            let found = SeerFeatures(request, block: block, rotary: rotary, hasTruth: true)
            let first = count - queries
            #expect(found.tileStarts == Array(stride(from: first, to: count, by: block)))
            #expect(found.blockStarts == Array(stride(from: 0, to: count, by: block)))
            func turned(_ x: UnsafePointer<Float>, _ position: Int) -> [Float] {
                (0..<8).map { e in
                    // By minus the angle: pairs of entry i and i + 4.
                    let angle = -Double(position) * power(10_000, -2 * Double(e % 4) / 8)
                    let (a, b) = (Double(x[e % 4]), Double(x[e % 4 + 4]))
                    return Float(e < 4 ? a * cosine(angle) - b * sine(angle) : a * sine(angle) + b * cosine(angle))
                }
            }
            let view = request.store.view(layer: 0, head: 0, positions: 0..<count)
            for (b, start) in found.blockStarts.enumerated() {
                let rows = (start..<min(start + block, count)).map { turned(view.keys + $0 * 8, $0) }
                for e in 0..<8 {
                    let column = rows.map { $0[e] }
                    #expect(abs(found.keys[b, e] - column.max()!) < 1e-4)
                    #expect(abs(found.keys[b, 8 + e] - column.min()!) < 1e-4)
                    #expect(abs(found.keys[b, 16 + e] - column.reduce(0, +) / Float(rows.count)) < 1e-4)
                }
            }
            let truth = try #require(found.truth)
            for (tile, start) in found.tileStarts.enumerated() {
                let rows = start - first..<min(start - first + block, queries)
                var largest = [Double](repeating: 0, count: found.blockStarts.count)
                for i in rows {
                    let weights = (0...first + i).map { t -> Double in
                        var sum: Float = 0
                        for e in 0..<8 { sum += request.queries[i * 8 + e] * view.keys[t * 8 + e] }
                        return exponential(0.7 * Double(sum))
                    }
                    let sum = weights.reduce(0, +)
                    for (t, weight) in weights.enumerated() {
                        largest[t / block] = max(largest[t / block], weight / sum)
                    }
                }
                let sum = largest.reduce(0, +)
                for b in largest.indices { #expect(abs(Double(truth[tile, b]) - largest[b] / sum) < 1e-5) }
                let mean = turnedMean(rows, request, first, turned)
                for e in 0..<8 { #expect(abs(found.queries[tile, e] - mean[e]) < 1e-4) }
            }
            withExtendedLifetime(view) {}
        }
    }

    private func turnedMean(
        _ rows: Range<Int>, _ request: PromptRequest, _ first: Int, _ turned: (UnsafePointer<Float>, Int) -> [Float]
    ) -> [Float] {
        let all = rows.map { turned(request.queries + $0 * 8, first + $0) }
        return (0..<8).map { e in all.reduce(0) { $0 + $1[e] } / Float(rows.count) }
    }

    /// What the tape differentiates is what is run: the divergence of the truth from the softmax of the gate's logits.
    @Test(arguments: [40, 37]) func learnedIsRun(_ count: Int) throws {
        let rotary = RotaryEmbedding(.init(), headSize: 8)
        let gate = gate(10, rotation: rotary)
        try withRequest(keys: count, queries: count) { request in
            let features = SeerFeatures(request, block: 10, rotary: rotary, hasTruth: true)
            let logits = gate.logits(features, layer: 0, head: 0)
            let truth = try #require(features.truth)
            var expected = 0.0
            for tile in 1..<4 {
                let seen = 0...tile
                let total = logarithm(seen.reduce(0.0) { $0 + exponential(Double(logits[tile, $1])) })
                for b in seen {
                    let g = Double(truth[tile, b])
                    expected += g * (logarithm(g) - Double(logits[tile, b]) + total) / 3
                }
                #expect((tile + 1..<4).allSatisfy { logits[tile, $0] == -.infinity })
            }
            let tape = Tape<Float>()
            let loss = SeerGate.divergence(
                features, queries: tape.constant(gate.layers[0].queries[0]),
                keys: tape.constant(gate.layers[0].keys[0]),
                rotation: SeerGate.widened(rotary, to: 6), block: 10)
            #expect(abs(Double(loss.item) - expected) < 1e-4)
            // Where the truth is the gate's own opinion nothing is left.
            var own = Tensor<Float>(zeros: [4, 4])
            for tile in 0..<4 {
                let sum = (0...tile).reduce(Float(0)) { $0 + Float(exponential(Double(logits[tile, $1]))) }
                for b in 0...tile { own[tile, b] = Float(exponential(Double(logits[tile, b]))) / sum }
            }
            let agreed = SeerFeatures(
                queries: features.queries, keys: features.keys, tileStarts: features.tileStarts,
                blockStarts: features.blockStarts, truth: own)
            let zero = SeerGate.divergence(
                agreed, queries: tape.constant(gate.layers[0].queries[0]), keys: tape.constant(gate.layers[0].keys[0]),
                rotation: SeerGate.widened(rotary, to: 6), block: 10)
            #expect(abs(zero.item) < 1e-5)
        }
    }

    @Test func whatIsRead() throws {
        let gate = gate(8)
        try withRequest(keys: 160, queries: 160) { request in
            let features = SeerFeatures(request, block: 8, rotary: nil)
            let logits = gate.logits(features, layer: 0, head: 0)
            for (share, kept) in [(0.19, 2), (0.5, 5), (0.75, 10), (1.0, 20)] {
                let plan = try #require(SeerAttention(gate, .share(share)).plan(request))
                var pairs = 0
                for (tile, keys) in plan.keys.enumerated() {
                    let order = (0..<tile).sorted { logits[tile, $0] > logits[tile, $1] }
                    let blocks = tile >= 18 ? Array(0...tile) : order.prefix(kept - 1) + [tile]
                    #expect(Set(keys.joined()) == Set(blocks.flatMap { $0 * 8..<($0 + 1) * 8 }))
                    pairs += keys.joined().count
                }
                // In blocks of a triangle, the last two rows of which are whole.
                let density = Double(pairs) / 8 / 210
                #expect(density >= share - 0.05 && density < share + 0.2)
            }
            for threshold in [0.02, 0.1] {
                let plan = try #require(SeerAttention(gate, .threshold(threshold)).plan(request))
                for (tile, keys) in plan.keys.enumerated() where tile < 18 {
                    let weights = (0...tile).map { exponential(Double(logits[tile, $0])) }
                    let sum = weights.reduce(0, +)
                    let blocks = (0..<tile).filter { weights[$0] / sum >= threshold } + [tile]
                    #expect(Set(keys.joined()) == Set(blocks.flatMap { $0 * 8..<($0 + 1) * 8 }))
                }
            }
            let all = try #require(SeerAttention(gate, .threshold(0)).plan(request))
            #expect(all.keys.enumerated().allSatisfy { $1 == [0..<($0 + 1) * 8] })
        }
        for choice: SeerAttention.Choice in [.share(0), .share(1.5), .share(.nan), .threshold(-1), .threshold(2)] {
            #expect(throws: LacunaError.self) { try SeerAttention(gate, choice) }
        }
    }

    /// A file has the gate and what is read by it, to the bit, and is taken by its own model alone, whole, and for what it says it is.
    private func isReadFromItsFile(
        _ gate: SeerGate, _ decoder: Transformer, _ expected: Tensor<Float>,
        _ logits: (any KeySelector) throws -> Tensor<Float>
    ) throws {
        let folder = NSTemporaryDirectory() + "seer-\(UInt64.random(in: 0 ... .max))"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let path = folder + "/gate.safetensors"
        try SeerAttention(gate, .share(0.3)).save(to: path, for: decoder)
        let found = try SeerAttention(contentsOf: path, for: decoder)
        #expect(found.choice == .share(0.3) && found.gate.block == 8 && found.gate.width == 16)
        #expect(try logits(found) == expected)
        let request = try CacheRequest(
            attention: nil, keeping: nil, prompts: path, channels: { HeavyChannels([[[0]]]) },
            seer: { try SeerAttention(contentsOf: $0, for: decoder) })
        #expect("\(request)" == "all keys, seer:0.3" && !request.isDense)
        var skipping = Skipping()
        try request.apply(to: &skipping)
        #expect(try logits(skipping.selector) == expected)
        #expect(throws: LacunaError.self) { try SeerAttention(contentsOf: path, for: Skip.decoder(seed: 4)) }
        #expect(throws: LacunaError.self) {
            try CacheRequest(attention: nil, keeping: nil, prompts: path) { HeavyChannels([[[0]]]) }
        }
        try SeerAttention(gate, .threshold(0.125)).save(to: path, for: decoder)
        #expect(try SeerAttention(contentsOf: path, for: decoder).choice == .threshold(0.125))
        // A head less than the model has, and a file of something else.
        var layers = gate.layers
        layers[1].queries.removeLast()
        let short = SeerGate(block: 8, width: 16, layers: layers, rotations: gate.rotations)
        try SeerAttention(short, .share(0.3)).save(to: path, for: decoder)
        #expect(throws: LacunaError.self) { try SeerAttention(contentsOf: path, for: decoder) }
        let writer = try SafetensorsWriter(path, metadata: ["lacuna": "{\"kind\": \"x\", \"version\": 1}"])
        try writer.write("x", Tensor<Float>([1]))
        try writer.finish()
        #expect(throws: LacunaError.self) { try SeerAttention(contentsOf: path, for: decoder) }
    }

    /// Learned from a model's attention: its loss falls, the model stays, everything read is dense attention.
    @Test func learnsFromAModel() throws {
        let decoder = try Skip.decoder(seed: 3)
        let calibration = try Skip.calibration(length: 96, sequences: 6)
        func divergence(_ steps: Int) throws -> (Double, SeerGate) {
            let gate = try SeerGate(
                of: decoder, on: calibration, options: .init(block: 8, width: 16, steps: steps, learningRate: 5e-3))
            var sum = 0.0
            let observed = Locked([SeerFeatures]())
            struct Watch: KeySelector {
                let rotary: RotaryEmbedding?
                let observed: Locked<[SeerFeatures]>
                var readsAll: Bool { true }
                func select(_ request: KeyRequest) -> [Range<Int>] { [request.visible] }
                func plan(_ request: PromptRequest) -> PromptPlan? {
                    if request.layer == 1 && request.head == 2 {
                        let features = SeerFeatures(request, block: 8, rotary: rotary, hasTruth: true)
                        observed.withLock { $0.append(features) }
                    }
                    return nil
                }
            }
            let watch = Watch(rotary: decoder.blocks[1].attention.geometry.rotary, observed: observed)
            let session = try DecodingSession(TokenEngine(decoder, selector: watch), context: 96)
            try session.prefill(Skip.tokens(96, seed: 77))
            let tape = Tape<Float>()
            for features in observed.withLock({ $0 }) {
                sum += Double(
                    SeerGate.divergence(
                        features, queries: tape.constant(gate.layers[1].queries[2]),
                        keys: tape.constant(gate.layers[1].keys[1]),
                        rotation: SeerGate.widened(watch.rotary, to: 16), block: 8
                    ).item)
            }
            return (sum, gate)
        }
        let (before, _) = try divergence(0)
        let (after, gate) = try divergence(120)
        #expect(after < 0.7 * before, "\(before) \(after)")
        #expect(gate.layers.count == 2 && gate.layers[0].queries.count == 4 && gate.layers[0].keys.count == 2)
        let tokens = Skip.tokens(100, seed: 5)
        func logits(_ selector: any KeySelector, meter: SkippingMeter? = nil) throws -> Tensor<Float> {
            try DecodingSession(TokenEngine(decoder, selector: selector, meter: meter), context: 100).verify(tokens)
        }
        let dense = try logits(AllKeys())
        #expect(Skip.error(try logits(SeerAttention(gate, .threshold(0))), dense) < 1e-6)
        let meter = SkippingMeter()
        let sparse = try logits(SeerAttention(gate, .share(0.3)), meter: meter)
        #expect(Skip.error(sparse, dense) > 1e-3 && meter.prompts.share < 0.75 && meter.prompts.products > 0)
        try isReadFromItsFile(gate, decoder, sparse) { try logits($0) }
        for options in [SeerGate.Options(block: 0), .init(width: 7), .init(block: 40), .init(steps: -1)] {
            #expect(throws: LacunaError.self) { try SeerGate(of: decoder, on: calibration, options: options) }
        }
    }
}
