import Lacuna

/// Checks what the study of sparse attention found about its six methods, on tasks whose answers are known.
struct SparseFrontierReproduction: Reproduction {
    let shortName = "SparseFrontier"
    let paper = 20
    let title = "The Sparse Frontier: Sparse Attention Trade-offs in Transformer LLMs"
    let arXiv: String? = "2504.17768"
    let claim =
        "Without training, writing tolerates sparser attention than reading a prompt does; what is forgotten before it is asked for, "
        + "or needed only in a second step, is lost, where pages chosen for every token find it; and no method is good at "
        + "every task, so that averages hide failures."

    /// A method, and when it is asked.
    private struct Method {
        let name: String
        var skipping = Skipping()
        /// Whether it is about prompts.
        var readsPrompts = false
        var asking = LongContextTask.Asking.twice
    }

    /// The six at one share. Windows of the last queries, and neighbours, are as many times fewer than the authors' as prompts are
    /// shorter.
    private static func methods(_ share: Double) throws -> [Method] {
        let (even, adaptive) = try (
            SnapKV(share: share, window: 16, local: 32, smoothing: 5),
            SnapKV(share: share, isAdaptive: true, window: 16, local: 32, smoothing: 5)
        )
        return try [
            Method(name: "dense"),
            Method(
                name: "quest",
                skipping: Skipping(
                    selector: Quest(share: share, dense: 0), store: { PageBoundsCache(KeyValueCache($0), shape: $0) }),
                asking: .afterwards),
            Method(name: "snapkv", skipping: Skipping(store: { SnapKVCache($0, even) })),
            Method(name: "ada-snapkv", skipping: Skipping(store: { SnapKVCache($0, adaptive) })),
            Method(
                name: "vertical-slash", skipping: Skipping(selector: VerticalSlash(share: share, queries: 16)),
                readsPrompts: true, asking: .inPrompt),
            Method(
                name: "block-sparse", skipping: Skipping(selector: BlockSparsePrompt(share: share, block: 16)),
                readsPrompts: true, asking: .inPrompt),
            Method(
                name: "flexprefill", skipping: Skipping(selector: FlexPrefill(mass: 0.65, queries: 32, minimum: 48)),
                readsPrompts: true, asking: .inPrompt),
        ]
    }

    /// What a method did at one task.
    private struct Score {
        var accuracy = 0.0
        /// Of the keys, or of the pairs in prompts, those that were read.
        var density = 0.0
        /// Products to choose, over all of a prompt's.
        var cost = 0.0
    }

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = (0..<(context.quick ? 5 : 10)).map { context.seed &* 1000 &+ UInt64($0) }
        let (length, texts) = context.quick ? (768, 2) : (1536, 4)
        let share = 0.125
        var scores: [String: [LongContextTask.Kind: [Score]]] = [:]
        var late: [Double] = []
        for (place, seed) in seeds.enumerated() {
            try context.progress.report("texts", place, of: seeds.count)
            let model = try InductionModel(positions: 2048, seed: seed)
            for method in try Self.methods(share) {
                for kind in LongContextTask.Kind.allCases {
                    scores[method.name, default: [:]][kind, default: []].append(
                        try Self.score(method, kind, method.asking, model, length: length, texts: texts, seed: seed))
                }
            }
            let snap = try Self.methods(share)[2]
            late.append(
                try Self.score(snap, .needle, .afterwards, model, length: length, texts: texts, seed: seed).accuracy)
        }
        func accuracy(_ name: String, _ kind: LongContextTask.Kind) -> Sample {
            Sample((scores[name]?[kind] ?? []).map(\.accuracy))
        }
        var measurements: [Measurement] = []
        var worst: [Double] = []
        for method in try Self.methods(share) where method.name != "dense" {
            let all = scores[method.name] ?? [:]
            func mean(_ value: KeyPath<Score, Double>) -> Double {
                let values = all.values.joined().map { $0[keyPath: value] }
                return values.reduce(0, +) / Double(max(values.count, 1))
            }
            for kind in LongContextTask.Kind.allCases {
                measurements.append(
                    Measurement(
                        "\(method.name), \(kind.rawValue): share of the answers", accuracy(method.name, kind),
                        baseline: accuracy("dense", kind), baselineName: "dense"))
            }
            measurements.append(Measurement("\(method.name): density that was achieved", measured: mean(\.density)))
            if method.readsPrompts {
                measurements.append(
                    Measurement("\(method.name): products to choose, over a prompt's", measured: mean(\.cost)))
            }
            worst.append(
                LongContextTask.Kind.allCases.map { (accuracy(method.name, $0) - accuracy("dense", $0)).mean }.min()
                    ?? 0)
        }
        let planted = try Self.planted(seeds)
        measurements += [
            Measurement(
                "planted blocks: share of attention in the four that Quest's bounds choose", planted.bound,
                baseline: planted.mean, baselineName: "means of blocks"),
            Measurement("the same, the best four", planted.oracle),
            Measurement("snapkv, needle, asked only after the prompt", Sample(late)),
        ]
        var (real, missing): ([Check], [String]) = ([], [])
        if !context.quick {
            let found = try Self.language(context, Array(seeds.prefix(5)))
            if found.losses.isEmpty {
                missing.append("SmolLM2 or WikiText-2 is not at hand, so their part was not run.")
            }
            func loss(_ name: String) -> Sample { Sample(found.losses[name] ?? []) }
            for name in ["quest", "snapkv", "ada-snapkv", "vertical-slash", "block-sparse", "flexprefill"]
            where found.losses[name] != nil {
                measurements += [
                    Measurement(
                        "SmolLM2, \(name): loss a token of what follows a prompt, above dense",
                        loss(name) - loss("dense")),
                    Measurement("SmolLM2, \(name): density that was achieved", Sample(found.densities[name] ?? [])),
                ]
            }
            if found.losses["quest"] != nil {
                real.append(
                    Check(
                        "SmolLM2: at a quarter, writing by pages loses less than reading by blocks",
                        loss("quest") - loss("block-sparse"), staysBelow: 0))
            }
        }
        let quest = accuracy("quest", .needle)
        let prompts = ["vertical-slash", "block-sparse", "flexprefill"].map { accuracy($0, .needle) }
        return Outcome(
            setting:
                "\(seeds.count) transformers built for looking words up, of 2 layers; \(texts) texts of \(length) words a task and "
                + "seed; shares of \(share), FlexPrefill at its authors' 0.65; patterns and what is kept chosen by the last 16 "
                + "(FlexPrefill: 32) queries; all layers; planted keys: \(PlantedAttention.blocks) blocks of \(PlantedAttention.block), "
                + "\(PlantedAttention.topics) topics"
                + (context.quick
                    ? "" : "; SmolLM2-135M-Instruct on WikiText-2, 128 tokens after prompts of 512, a quarter"),
            measurements: measurements,
            checks: real + [
                Check("dense attention answers: needle", accuracy("dense", .needle).mean, .atLeast, 0.95),
                Check("dense attention answers: tracking", accuracy("dense", .tracking).mean, .atLeast, 0.95),
                Check(
                    "at one share writing (Quest) answers more needles than reading by blocks", quest - prompts[1],
                    exceeds: 0),
                Check("and than reading by keys and distances", quest - prompts[0], exceeds: 0),
                Check(
                    "chains are lost to what is forgotten after the first question",
                    accuracy("quest", .tracking) - accuracy("snapkv", .tracking), exceeds: 0.3),
                Check(
                    "needles are lost if the question comes after forgetting",
                    accuracy("snapkv", .needle) - Sample(late),
                    exceeds: 0.3),
                Check(
                    "every method loses a tenth or more of the answers of at least one task", worst.max() ?? 0, .atMost,
                    -0.1),
                Check("bounds find more than means of blocks by 0.08", planted.bound - planted.mean, exceeds: 0.08),
            ],
            notes: [
                "Stories, questions about real texts, larger models and the laws fitted over sizes are not part of this check.",
                "Ada-SnapKV has one head that looks and one that averages to share its budget between.",
            ], missing: missing)
    }

    /// Losses of text that SmolLM2 writes after a prompt, and what was read of keys (or in prompts), by method; empty without the model.
    private static func language(
        _ context: ReproductionContext, _ seeds: [UInt64]
    ) throws -> (losses: [String: [Double]], densities: [String: [Double]]) {
        let share = 0.25
        let (even, adaptive) = try (SnapKV(share: share), SnapKV(share: share, isAdaptive: true))
        let methods: [Method] = try [
            Method(name: "dense"),
            Method(
                name: "quest",
                skipping: Skipping(
                    selector: Quest(share: share), store: { PageBoundsCache(KeyValueCache($0), shape: $0) })),
            Method(name: "snapkv", skipping: Skipping(store: { SnapKVCache($0, even) })),
            Method(name: "ada-snapkv", skipping: Skipping(store: { SnapKVCache($0, adaptive) })),
            Method(
                name: "vertical-slash", skipping: Skipping(selector: VerticalSlash(share: share)), readsPrompts: true),
            Method(
                name: "block-sparse", skipping: Skipping(selector: BlockSparsePrompt(share: share)), readsPrompts: true),
            Method(name: "flexprefill", skipping: Skipping(selector: FlexPrefill(mass: 0.65)), readsPrompts: true),
        ]
        var (losses, densities) = ([String: [Double]](), [String: [Double]]())
        for (place, seed) in seeds.enumerated() {
            try context.progress.report("SmolLM2", place, of: seeds.count)
            guard let task = try SkippingTask.smollm2(seed: seed) else { break }
            for method in methods {
                var skipping = method.skipping
                let meter = SkippingMeter()
                skipping.meter = meter
                let found = try Perplexity.measureWriting(
                    skipping.engine(task.decoder), tokens: Array(task.tokens.prefix(640)), window: 640, prompt: 512)
                losses[method.name, default: []].append(found.loss)
                densities[method.name, default: []].append(
                    method.readsPrompts ? meter.prompts.share : meter.keys.share)
            }
        }
        return (losses, densities)
    }

    private static func score(
        _ method: Method, _ kind: LongContextTask.Kind, _ asking: LongContextTask.Asking, _ model: InductionModel,
        length: Int, texts: Int, seed: UInt64
    ) throws -> Score {
        var skipping = method.skipping
        let meter = SkippingMeter()
        skipping.meter = meter
        var result = Score()
        for text in 0..<texts {
            let task = try LongContextTask(kind, length: length, model: model, seed: seed &* 100 &+ UInt64(text))
            result.accuracy += try task.score(skipping.engine(model.decoder), asking: asking) / Double(texts)
        }
        result.density = method.readsPrompts ? meter.prompts.share : meter.keys.share
        result.cost = meter.prompts.cost
        return result
    }

    /// What four blocks of 32 hold of the attention, chosen by bounds, by means, and by what they hold.
    private static func planted(_ seeds: [UInt64]) throws -> (bound: Sample, mean: Sample, oracle: Sample) {
        var (bounds, means, oracles): ([Double], [Double], [Double]) = ([], [], [])
        for seed in seeds {
            let text = PlantedAttention(PlantedAttention.directions(seed: seed), seed: seed)
            let (truth, store) = (text.truth, try text.store())
            let (size, block) = (PlantedAttention.size, PlantedAttention.block)
            let limits = store.bounds(layer: 0, head: 0)
            func mean(_ rows: Tensor<Float>, _ b: Int) -> [Float] {
                (0..<size).map { e in (b * block..<(b + 1) * block).reduce(0) { $0 + rows[$1, e] } / Float(block) }
            }
            let centres = (0..<PlantedAttention.blocks).map { mean(text.keys, $0) }
            bounds.append(
                PlantedAttention.found(truth) { row in
                    // Bounds are for one query: for a block of them their mean.
                    let query = mean(text.queries, row)
                    return PlantedAttention.best(row, 4) { b in
                        (0..<size).reduce(Float(0)) {
                            $0
                                + max(
                                    query[$1] * limits[b * 2 * size + $1], query[$1] * limits[(b * 2 + 1) * size + $1])
                        }
                    }
                })
            means.append(
                PlantedAttention.found(truth) { row in
                    let query = mean(text.queries, row)
                    return PlantedAttention.best(row, 4) { b in zip(query, centres[b]).reduce(0) { $0 + $1.0 * $1.1 } }
                })
            oracles.append(PlantedAttention.found(truth) { row in PlantedAttention.best(row, 4) { truth[row, $0] } })
        }
        return (Sample(bounds), Sample(means), Sample(oracles))
    }
}
