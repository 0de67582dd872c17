import Lacuna

/// Checks that a gate learned from attention finds the blocks that attention goes to, better than pools of queries and keys do by
/// themselves.
struct SeerAttentionReproduction: Reproduction {
    let shortName = "SeerAttention"
    let paper = 97
    let title = "SeerAttention: Learning Intrinsic Sparse Attention in Your LLMs"
    let arXiv: String? = "2410.13276"
    let claim =
        "Which blocks of keys a block of queries attends to can be learned from the model's own attention by small maps of pooled "
        + "queries and keys, the model frozen; the gate finds more than fixed pooling does, and prompts read by it cost a "
        + "language model little."

    private static let kept = 4

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = (0..<5).map { context.seed &* 1000 &+ UInt64($0) }
        let steps = 600
        var found: [String: [Double]] = [:]
        for (place, seed) in seeds.enumerated() {
            try context.progress.report("planted blocks", place, of: seeds.count)
            for (name, share) in try Self.planted(seed: seed, steps: steps, texts: 30) {
                found[name, default: []].append(share)
            }
        }
        func sample(_ name: String) -> Sample { Sample(found[name] ?? []) }
        let (gate, oracle, mean) = (sample("gate"), sample("oracle"), sample("mean"))
        var measurements = [
            Measurement(
                "share of attention in the \(Self.kept) blocks that the gate chooses", gate, baseline: oracle,
                baselineName: "the best \(Self.kept)"),
            Measurement(
                "the same by Quest's bounds", sample("bound"), baseline: mean,
                baselineName: "by means of queries and keys"),
            Measurement("the same by a gate that sees means of keys alone", sample("means only")),
        ]
        var checks = [
            Check("the gate finds 0.98 of the best", gate / oracle, exceeds: 0.98),
            Check("0.08 more than means do", gate - mean, exceeds: 0.08),
            Check(
                "largest and least entries matter: 0.05 more than a gate without them", gate - sample("means only"),
                exceeds: 0.05),
        ]
        var missing: [String] = []
        var notes: [String] = []
        var losses: [String: [Double]] = [:]
        var densities: [String: [Double]] = [:]
        for (place, seed) in seeds.enumerated() {
            try context.progress.report("language models", place, of: seeds.count)
            guard !context.quick, let results = try Self.language(seed: seed) else { continue }
            for (name, result) in results {
                losses[name, default: []].append(result.loss)
                densities[name, default: []].append(result.density)
            }
        }
        if let dense = losses["dense"], let seer = losses["seer"], let blocks = losses["blocks"] {
            let (dense, seer, blocks) = (Sample(dense), Sample(seer), Sample(blocks))
            measurements += [
                Measurement(
                    "loss a character of whole texts, read by the gate", seer, baseline: dense,
                    baselineName: "read whole"),
                Measurement("the same, by means of queries and keys (block-sparse)", blocks),
                Measurement(
                    "share of pairs of query and key that was read", Sample(densities["seer"] ?? []),
                    baseline: Sample(densities["blocks"] ?? []), baselineName: "block-sparse"),
            ]
            checks.append(Check("language model: the gate loses less than means do", seer - blocks, staysBelow: 0))
        } else {
            if context.quick {
                notes.append("The language models are part of the whole run alone.")
            } else {
                missing.append(SkippingTask.isMissing)
            }
        }
        notes.append("Texts of 32,000 tokens, models of 8 billion weights and speed are not part of this check.")
        return Outcome(
            setting:
                "\(seeds.count) seeds: \(PlantedAttention.blocks) blocks of \(PlantedAttention.block) keys of "
                + "\(PlantedAttention.size), a spike of one of \(PlantedAttention.topics) topics in each, gates of width 32 learned in "
                + "\(steps) steps, judged on other texts; transformers of two blocks trained on Jane Austen in texts of 256 characters, "
                + "blocks of 8",
            measurements: measurements, checks: checks, notes: notes, missing: missing)
    }

    // MARK: Planted blocks

    private static func features(_ text: PlantedAttention, meansOnly: Bool = false) throws -> SeerFeatures {
        let size = PlantedAttention.size
        let features = try text.queries.withPointer { queries in
            SeerFeatures(
                PromptRequest(
                    layer: 0, head: 0, keyHead: 0, firstPosition: 0, count: PlantedAttention.count,
                    scale: 1 / Float(size).squareRoot(), queries: queries, stride: size, size: size,
                    store: try text.store()),
                block: PlantedAttention.block, rotary: nil, hasTruth: true)
        }
        if !meansOnly { return features }
        var keys = features.keys
        for row in 0..<keys.rows { for e in 0..<2 * size { keys[row, e] = 0 } }
        return SeerFeatures(
            queries: features.queries, keys: keys, tileStarts: features.tileStarts, blockStarts: features.blockStarts,
            truth: features.truth)
    }

    private static func planted(seed: UInt64, steps: Int, texts: Int) throws -> [String: Double] {
        let directions = PlantedAttention.directions(seed: seed)
        func text(_ number: Int) -> PlantedAttention {
            PlantedAttention(directions, seed: seed &* 1000 &+ UInt64(number))
        }
        let training = try (0..<texts).map { try features(text($0)) }
        let masked = try (0..<texts).map { try features(text($0), meansOnly: true) }
        func gate(_ features: [SeerFeatures]) throws -> SeerGate {
            try SeerGate(
                features: [[features]], keyHeads: 1, rotations: [nil],
                options: .init(block: PlantedAttention.block, width: 32, steps: steps, learningRate: 5e-3, seed: seed))
        }
        let (whole, means) = (try gate(training), try gate(masked))
        var sums: [String: Double] = [:]
        let held = 5
        for number in 0..<held {
            let text = text(900 + number)
            let (all, some) = (try features(text), try features(text, meansOnly: true))
            guard let truth = all.truth else { continue }
            let (logits, other) = (whole.logits(all, layer: 0, head: 0), means.logits(some, layer: 0, head: 0))
            let size = PlantedAttention.size
            func score(_ name: String, _ value: (_ row: Int, _ block: Int) -> Float) {
                sums[name, default: 0] +=
                    PlantedAttention.found(truth) { row in
                        PlantedAttention.best(row, kept) { value(row, $0) }
                    } / Double(held)
            }
            score("oracle") { truth[$0, $1] }
            score("gate") { logits[$0, $1] }
            score("means only") { other[$0, $1] }
            score("mean") { row, b in
                (0..<size).reduce(Float(0)) { $0 + all.queries[row, $1] * all.keys[b, 2 * size + $1] }
            }
            score("bound") { row, b in
                (0..<size).reduce(Float(0)) {
                    let q = all.queries[row, $1]
                    return $0 + max(q * all.keys[b, $1], q * all.keys[b, size + $1])
                }
            }
        }
        return sums
    }

    // MARK: A language model

    private static func language(seed: UInt64) throws
        -> [String: (loss: Double, density: Double)]?
    {
        let (length, block) = (256, 8)
        guard let language = try TinyLanguageModel() else { return nil }
        let model = try language.model(context: length, seed: seed)
        try language.train(model, steps: 1000, learningRate: 1e-2, length: length, batch: 4, seed: seed)
        let decoder = try model.stored()
        let calibration = try CalibrationSet(
            text: language.train.map { Int($0) }, sequences: 16, length: length, seed: seed)
        let gate = try SeerGate(
            of: decoder, on: calibration,
            options: .init(block: block, width: 32, steps: 300, learningRate: 5e-3, seed: seed))
        let texts = 24
        let tokens = language.valid.prefix(texts * length).map { Int($0) }
        func read(_ selector: any KeySelector) throws -> (loss: Double, density: Double) {
            let meter = SkippingMeter()
            var (sum, count) = (0.0, 0)
            for text in 0..<texts {
                let part = Array(tokens[text * length..<(text + 1) * length])
                let session = try DecodingSession(
                    TokenEngine(decoder, selector: selector, meter: meter), context: length)
                let logits = try session.verify(part)
                for t in length / 4..<length - 1 {
                    let row = logits.rows(t..<t + 1).scalars
                    let top = row.max() ?? 0
                    let total = row.reduce(0.0) { $0 + exponential(Double($1 - top)) }
                    sum += logarithm(total) - Double(row[part[t + 1]] - top)
                    count += 1
                }
            }
            return (sum / Double(count), meter.prompts.share)
        }
        return [
            "dense": try read(AllKeys()), "seer": try read(SeerAttention(gate, .share(0.4))),
            "blocks": try read(BlockSparsePrompt(share: 0.4, block: block)),
        ]
    }
}
