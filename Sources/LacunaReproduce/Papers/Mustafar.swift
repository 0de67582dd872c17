import Lacuna

/// Checks that leaving out the small entries of every key and value costs less than leaving out whole channels, and what it takes in
/// memory.
struct MustafarReproduction: Reproduction {
    let shortName = "Mustafar"
    let paper = 53
    let title = "Mustafar: Promoting Unstructured Sparsity for KV Cache Pruning in LLM Inference"
    let arXiv: String? = "2505.22913"
    let claim =
        "Of every cached key and value only the entries of largest magnitude need stay: at 70 % sparsity attention changes less than "
        + "by removing half of the channels, and the cache shrinks to less than half in 16 bits."

    private static let size = 128
    private static let positions = 1024

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = (0..<5).map { context.seed &* 1000 &+ UInt64($0) }
        var measurements: [Measurement] = []
        var checks: [Check] = []
        var missing: [String] = []
        var notes: [String] = []
        func sample(_ sparsity: Double, outliers: Bool = false, structured: Bool = false) throws -> Sample {
            try Sample(seeds: seeds) {
                try Self.error(seed: $0, sparsity: sparsity, outliers: outliers, structured: structured)
            }
        }
        let channels = try sample(0.5, structured: true)
        for sparsity in [0.5, 0.7] {
            let found = try sample(sparsity)
            let percent = "\(Int(sparsity * 100 + 0.5)) %"
            measurements.append(
                Measurement(
                    "relative error of attention, \(percent) of keys' and values' entries left out", found,
                    baseline: try sample(sparsity, structured: true), baselineName: "whole channels"))
            checks.append(
                Check("\(percent) of entries: less than half of the channels removed", found / channels, staysBelow: 1))
        }
        let (token, channel) = (
            try sample(0.5, outliers: true), try sample(0.5, outliers: true, structured: true)
        )
        measurements.append(
            Measurement(
                "the same at 50 % with 8 keys' channels of constant offset 6", token, baseline: channel,
                baselineName: "whole channels"))
        checks.append(Check("with outlier channels as well", token / channel, staysBelow: 0.75))
        let rows = BitmaskRows(capacity: 1, columns: 64, kept: 32)
        let bytes = Double(rows.rowBytes) / Double(64 * MemoryLayout<Float>.size)
        measurements.append(
            Measurement("bytes of a pruned key of 64 floats, 50 %, over the whole one", measured: bytes))
        checks.append(Check("bytes at 50 %", bytes, .atMost, 0.6))

        var losses: [String: [Double]] = [:]
        var description = ""
        for (place, seed) in seeds.enumerated() {
            try context.progress.report("language models", place, of: seeds.count)
            guard let task = try SkippingTask.make(context, seed: seed) else { continue }
            description = task.description
            let settings = try Mustafar(sparsity: 0.5, window: task.window / 16, group: max(1, task.window / 16))
            let text = Array(task.tokens.prefix(task.window * (task.window > 64 ? 1 : 8)))
            func loss(_ store: @escaping (KeyValueShape) -> any KeyValueStore) throws -> Double {
                try Perplexity.measureWriting(
                    TokenEngine(task.decoder, store: store), tokens: text, window: task.window,
                    prompt: task.window / 2
                ).loss
            }
            losses["dense", default: []].append(try loss { KeyValueCache($0) })
            losses["half", default: []].append(try loss { MustafarCache($0, settings) })
        }
        if let dense = losses["dense"], let half = losses["half"] {
            measurements.append(
                Measurement(
                    "loss a token of text that is written, 50 % of keys and values left out", Sample(half),
                    baseline: Sample(dense), baselineName: "all of them"))
            checks.append(
                Check("language model: the loss grows by less than 0.1", Sample(half) - Sample(dense), staysBelow: 0.1))
        } else {
            missing.append(SkippingTask.isMissing)
        }
        notes.append("A window of the last positions stays whole. Speed is not part of this check.")
        return Outcome(
            setting:
                "\(seeds.count) seeds: \(Self.positions) keys and values of \(Self.size) Laplace entries, channels scaled by "
                + "exp(0.3 · normal), 64 queries near keys; " + description,
            measurements: measurements, checks: checks, notes: notes, missing: missing)
    }

    private static func error(seed: UInt64, sparsity: Double, outliers: Bool, structured: Bool) throws -> Double {
        var generator = SeededGenerator(seed: seed, stream: 53)
        let (n, d) = (positions, size)
        func laplace() -> Tensor<Float> {
            let scales = (0..<d).map { _ in exponential(0.3 * generator.normal()) }
            return Tensor(
                (0..<n * d).map { i in
                    let magnitude = -logarithm(1 - generator.uniform()) * scales[i % d]
                    return Float(generator.uniform() < 0.5 ? magnitude : -magnitude)
                }, shape: [n, d])
        }
        var (keys, values) = (laplace(), laplace())
        if outliers {
            let chosen = Set((0..<d).shuffled(using: &generator).prefix(8))
            keys = Tensor(keys.scalars.enumerated().map { chosen.contains($0 % d) ? $1 + 6 : $1 }, shape: [n, d])
        }
        let near = (0..<64).map { _ in Int(generator.next() % UInt64(n)) }
        let entries = keys.scalars
        let queries = near.map { t in (0..<d).map { 0.5 * entries[t * d + $0] + Float(generator.normal()) } }
        let shape = try KeyValueShape(
            TransformerConfiguration(
                vocabularySize: 2, hiddenSize: d, intermediateSizes: [1], headCount: 1, keyValueHeadCount: 1,
                headSize: d, maximumPositions: n), capacity: n)
        func filled(_ keys: Tensor<Float>, _ values: Tensor<Float>, _ sparsity: Double) throws -> MustafarCache {
            let store = MustafarCache(shape, try Mustafar(sparsity: sparsity, window: 0, group: n))
            keys.withPointer { k in values.withPointer { store.append(layer: 0, keys: k, values: $0, count: n) } }
            store.advance(by: n)
            return store
        }
        let whole = try filled(keys, values, 0)
        let pruned =
            structured
            ? try filled(withoutChannels(keys, sparsity), withoutChannels(values, sparsity), 0)
            : try filled(keys, values, sparsity)
        var (lost, all) = (0.0, 0.0)
        for query in queries {
            let (a, b) = (attention(whole, query), attention(pruned, query))
            for (x, y) in zip(a, b) {
                lost += Double((x - y) * (x - y))
                all += Double(x * x)
            }
        }
        return (lost / all).squareRoot()
    }

    private static func attention(_ store: MustafarCache, _ query: [Float]) -> [Float] {
        let (n, d) = (store.count, query.count)
        var scores = [Float](repeating: 0, count: n)
        store.scores(
            layer: 0, head: 0, positions: 0..<n, query: query, scale: 1 / Float(d).squareRoot(), into: &scores)
        AttentionKernels.softmax(&scores, count: n)
        var output = [Float](repeating: 0, count: d)
        store.addMix(layer: 0, head: 0, positions: 0..<n, weights: scores, to: &output)
        return output
    }

    /// The channels with the least sum of squares removed.
    private static func withoutChannels(_ x: Tensor<Float>, _ sparsity: Double) -> Tensor<Float> {
        let d = x.columns
        var squares = [Double](repeating: 0, count: d)
        for (i, value) in x.scalars.enumerated() { squares[i % d] += Double(value * value) }
        let removed = Set((0..<d).sorted { squares[$0] < squares[$1] }.prefix(Int(sparsity * Double(d) + 0.5)))
        return Tensor(x.scalars.enumerated().map { removed.contains($0 % d) ? 0 : $1 }, shape: x.shape)
    }
}
