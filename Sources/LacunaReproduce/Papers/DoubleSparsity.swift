import Lacuna

/// Checks that a few heavy channels of keys find the keys that attention goes to, where channels differ and only there, and what that costs
/// a language model.
struct DoubleSparsityReproduction: Reproduction {
    let shortName = "DoubleSparsity"
    let paper = 55
    let title = "Post-Training Sparse Attention with Double Sparsity"
    let arXiv: String? = "2408.07092"
    let claim =
        "The keys that a query attends to are found by comparing a sixteenth to a quarter of the channels, those in which queries and keys are "
        + "large on a calibration text, rounded to 4 bits; a sixteenth of the keys, read exactly, then loses next to nothing."

    private static let (size, positions, kept, queries) = (128, 2048, 128, 16)

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = (0..<(context.quick ? 5 : 10)).map { context.seed &* 1000 &+ UInt64($0) }
        var values: [String: [Double]] = [:]
        func note(_ name: String, _ value: Double) { values[name, default: []].append(value) }
        func sample(_ name: String) -> Sample { Sample(values[name] ?? []) }
        for (place, seed) in seeds.enumerated() {
            try context.progress.report("planted channels", place, of: seeds.count)
            for sigma in [0.0, 0.5, 1] {
                for (name, value) in try Self.planted(seed: seed, sigma: sigma) { note("\(sigma) \(name)", value) }
            }
        }
        var measurements: [Measurement] = []
        for sigma in [1.0, 0.5, 0] {
            for part in [4, 8, 16] {
                measurements.append(
                    Measurement(
                        "share of the best \(Self.kept) of \(Self.positions) keys found by one channel in \(part), σ = \(sigma)",
                        sample("\(sigma) \(part)"), baseline: sample("\(sigma) random \(part)"),
                        baselineName: "channels by chance"))
            }
        }
        measurements += [
            Measurement(
                "share of attention in these keys, one channel in 16, σ = 1", sample("1.0 mass"),
                baseline: sample("1.0 best mass"), baselineName: "the best \(Self.kept) keys"),
            Measurement(
                "what 4 bits change of the share found, one in 16, σ = 1",
                sample("1.0 unrounded") - sample("1.0 16")),
            Measurement(
                "numbers read to choose over those of all keys and values, one in 16", sample("1.0 cost")),
        ]
        var checks = [
            Check("σ = 1: one channel in 16 finds 0.9 of the best keys", sample("1.0 16"), exceeds: 0.9),
            Check(
                "σ = 1: what one in 16 finds holds 0.98 of the attention of the best",
                sample("1.0 mass") / sample("1.0 best mass"), exceeds: 0.98),
            Check(
                "σ = 1: one in 16 finds three times what channels by chance find",
                sample("1.0 16") / sample("1.0 random 16"), exceeds: 3),
            Check("σ = 0.5: one in 8 finds less than at σ = 1", sample("0.5 8") - sample("1.0 8"), staysBelow: -0.1),
            Check(
                "σ = 0: no channel is heavy, and none is better than by chance, within 0.05",
                (sample("0.0 16") - sample("0.0 random 16")).values.map(abs).max() ?? 1, .less, 0.05),
            Check(
                "4 bits change less than 0.03",
                (sample("1.0 unrounded") - sample("1.0 16")).values.map(abs).max() ?? 1, .less, 0.03),
        ]
        var missing: [String] = []
        var description = ""
        for (place, seed) in seeds.prefix(5).enumerated() {
            try context.progress.report("language models", place, of: 5)
            guard let task = try SkippingTask.make(context, seed: seed) else { continue }
            description = task.description
            for (name, value) in try Self.language(task, seed: seed) { note("language \(name)", value) }
        }
        if values["language dense"] != nil {
            let dense = sample("language dense")
            measurements += [
                Measurement(
                    "loss a token of text that is written, a quarter of the keys read",
                    sample("language double") - dense, baseline: sample("language random") - dense,
                    baselineName: "channels by chance"),
                Measurement("the same by Quest's pages", sample("language quest") - dense),
                Measurement("the same, as many last keys and the first four", sample("language window") - dense),
                Measurement("share of the keys that was read, layers left dense included", sample("language share")),
                Measurement("share of the queries that read all keys", sample("language whole")),
                Measurement("numbers read to choose over those of all keys and values", sample("language cost")),
            ]
            checks += [
                Check(
                    "language model: heavy channels lose less than others",
                    sample("language double") - sample("language random"), staysBelow: 0),
                Check(
                    "language model: the loss grows by less than 5 %", sample("language double") / dense,
                    staysBelow: 1.05),
            ]
        } else {
            missing.append(SkippingTask.isMissing)
        }
        return Outcome(
            setting:
                "\(seeds.count) seeds: \(Self.positions) normal keys of \(Self.size) entries, whose channels are scaled by exp(σ · normal) and then "
                + "to 1.3 on average, as those of \(Self.queries) queries are; channels by |q k| of 256 other pairs; "
                + description,
            measurements: measurements, checks: checks,
            notes: [
                "How many keys are found depends on how heavy the heaviest of the channels that were drawn are: at one in 16 deviations between seeds "
                    + "are a fifth.",
                "Labels are rounded to 4 bits and held as floats. Offloading to a host, and speed, are not part of this check.",
            ], missing: missing)
    }

    // MARK: Planted channels

    private static func planted(seed: UInt64, sigma: Double) throws -> [(String, Double)] {
        var generator = SeededGenerator(seed: seed, stream: 55)
        var scales = (0..<size).map { _ in exponential(sigma * generator.normal()) }
        let root = (scales.reduce(0) { $0 + $1 * $1 } / Double(size)).squareRoot()
        scales = scales.map { 1.3 * $0 / root }
        func vector() -> [Float] { scales.map { Float($0 * generator.normal()) } }
        let keys = (0..<positions).map { _ in vector() }
        let rows = (0..<queries).map { _ in vector() }
        var importance = [Double](repeating: 0, count: size)
        for _ in 0..<256 {
            for (c, (q, k)) in zip(vector(), vector()).enumerated() { importance[c] += Double(abs(q * k)) }
        }
        let shape = KeyValueShape(layers: 1, heads: 1, headSize: size, capacity: positions)
        let flat = keys.flatMap { $0 }
        let products = rows.map { query in keys.map { key in zip(query, key).reduce(Float(0)) { $0 + $1.0 * $1.1 } } }
        let others = positions - 1
        let best = products.map { row in Set((0..<others).sorted { row[$0] > row[$1] }.prefix(kept - 1)) }
        /// Of the best keys the share that is chosen, of attention what those have, and numbers read to choose.
        func found(_ channels: HeavyChannels) throws -> (recall: Double, mass: Double, cost: Double) {
            let store = LabelCache(KeyValueCache(shape), shape: shape, channels: channels)
            store.append(layer: 0, keys: flat, values: flat, count: positions)
            store.advance(by: positions)
            let method = try DoubleSparsity(share: Double(kept) / Double(positions), dense: 0)
            var (recall, held, cost) = (0.0, 0.0, 0.0)
            for (row, query) in rows.enumerated() {
                let chosen = query.withUnsafeBufferPointer { query -> [Int] in
                    let request = KeyRequest(
                        layer: 0, head: 0, keyHead: 0, position: others, visible: 0..<positions,
                        query: query.baseAddress!, store: store)
                    cost += Double(method.numbersCompared(request)) / Double(2 * size * positions)
                    return method.select(request).flatMap { $0 }
                }
                recall += Double(best[row].intersection(chosen).count) / Double(best[row].count)
                held += mass(products[row], chosen)
            }
            let n = Double(rows.count)
            return (recall / n, held / n, cost / n)
        }
        var result: [(String, Double)] = []
        for part in [4, 8, 16] {
            let heavy = try found(HeavyChannels(importance: [[importance]], count: size / part))
            let chance = (0..<size).shuffled(using: &generator).prefix(size / part)
            result += [
                ("\(part)", heavy.recall), ("random \(part)", try found(HeavyChannels([[Array(chance)]])).recall),
            ]
            if part < 16 { continue }
            let places = HeavyChannels(importance: [[importance]], count: size / part).places[0][0]
            // The same choice by the channels as they are.
            var unrounded = 0.0
            for (row, query) in rows.enumerated() {
                let scores = keys.map { key in places.reduce(Float(0)) { $0 + query[$1] * key[$1] } }
                let chosen = (0..<others).sorted { scores[$0] > scores[$1] }.prefix(kept - 1)
                unrounded += Double(best[row].intersection(chosen).count) / Double(best[row].count)
            }
            let whole = rows.indices.reduce(0.0) { $0 + mass(products[$1], Array(best[$1]) + [others]) }
            result += [
                ("mass", heavy.mass), ("best mass", whole / Double(rows.count)), ("cost", heavy.cost),
                ("unrounded", unrounded / Double(rows.count)),
            ]
        }
        return result
    }

    /// The share of softmax attention that some keys have, of products with one query.
    private static func mass(_ products: [Float], _ chosen: [Int]) -> Double {
        let top = products.max() ?? 0
        func weight(_ product: Float) -> Double { exponential(Double(product - top) / Double(size).squareRoot()) }
        return chosen.reduce(0.0) { $0 + weight(products[$1]) } / products.reduce(0.0) { $0 + weight($1) }
    }

    // MARK: A language model

    private static func language(_ task: SkippingTask, seed: UInt64) throws -> [(String, Double)] {
        let configuration = task.decoder.configuration
        // Two layers of a model of two would leave nothing to choose.
        let dense = configuration.layerCount > 4 ? 2 : 0
        let text = Array(task.tokens.prefix(task.window * (task.window > 64 ? 1 : 16)))
        let heavy = try HeavyChannels(of: task.decoder, on: task.calibration)
        var generator = SeededGenerator(seed: seed, stream: 551)
        let chance = HeavyChannels(
            heavy.places.map { heads in
                heads.map { _ in Array((0..<configuration.headSize).shuffled(using: &generator).prefix(heavy.count)) }
            })
        func loss(_ selector: any KeySelector, _ store: @escaping (KeyValueShape) -> any KeyValueStore) throws -> (
            loss: Double, keys: SkippingMeter.Keys
        ) {
            let meter = SkippingMeter()
            let found = try Perplexity.measureWriting(
                TokenEngine(task.decoder, selector: selector, meter: meter, store: store), tokens: text,
                window: task.window, prompt: task.window / 2)
            return (found.loss, meter.keys)
        }
        func double(_ channels: HeavyChannels) throws -> (loss: Double, keys: SkippingMeter.Keys) {
            try loss(DoubleSparsity(share: 0.25, dense: dense)) {
                LabelCache(KeyValueCache($0), shape: $0, channels: channels)
            }
        }
        let found = try double(heavy)
        // As many positions as a quarter of the keys in the middle of what is written.
        let window = max(1, task.window * 3 / 16 - 4)
        return [
            ("dense", try loss(AllKeys()) { KeyValueCache($0) }.loss), ("double", found.loss),
            ("random", try double(chance).loss),
            (
                "quest",
                try loss(Quest(share: 0.25, dense: dense)) {
                    PageBoundsCache(KeyValueCache($0), shape: $0, pageSize: task.window > 64 ? 16 : 4)
                }.loss
            ),
            ("window", try loss(WindowAndSinks(window: window)) { KeyValueCache($0) }.loss),
            ("share", found.keys.share), ("whole", found.keys.wholeShare), ("cost", found.keys.cost),
        ]
    }
}
