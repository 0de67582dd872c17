import Lacuna

/// Checks that two terms of the loss make neighbouring vectors share their experts, at little cost, and only where neighbours are alike.
struct BlockFFNReproduction: Reproduction {
    let shortName = "BlockFFN"
    let paper = 61
    let title =
        "BlockFFN: Towards End-Side Acceleration-Friendly Mixture-of-Experts with Chunk-Level Activation Sparsity"
    let arXiv: String? = "2507.08771"
    let claim =
        "Experts chosen by ReLU and weighted by a norm learn how many are needed; terms about neighbours and chunks bring the share of "
        + "experts that no token of a chunk reads near the share that one token does not read, at equal quality, so that a chunk reads few "
        + "weights."

    private static let (length, chunk, experts) = (512, 64, 16)

    private struct Result {
        var error, token, chunks, bytes: Double
    }

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = (0..<(context.quick ? 5 : 8)).map { context.seed &* 1000 &+ UInt64($0) }
        let steps = context.quick ? 250 : 800
        var found: [String: [Result]] = [:]
        for (place, seed) in seeds.enumerated() {
            try context.progress.report("topics", place, of: seeds.count)
            for (name, dwell, terms) in [
                ("router", 16.0, Terms.none), ("chunk", 16, .chunk), ("both", 16, .both), ("shuffled router", 1, .none),
                ("shuffled both", 1, .both),
            ] {
                found[name, default: []].append(try Self.result(seed: seed, dwell: dwell, terms, steps: steps))
            }
        }
        func sample(_ name: String, _ value: (Result) -> Double) -> Sample { Sample((found[name] ?? []).map(value)) }
        func ratio(_ name: String) -> Sample { sample(name, \.chunks) / sample(name, \.token) }
        var measurements: [Measurement] = []
        for (name, words) in [
            ("router", "router alone"), ("chunk", "term about chunks"), ("both", "both terms"),
            ("shuffled both", "both terms, vectors shuffled"),
        ] {
            measurements += [
                Measurement("error over the targets' square, \(words)", sample(name, \.error)),
                Measurement("experts that a vector does not read, \(words)", sample(name, \.token)),
                Measurement(
                    "experts that eight in a row do not read, \(words)", sample(name, \.chunks),
                    baseline: sample(name == "shuffled both" ? "shuffled router" : "router", \.chunks),
                    baselineName: "router alone"),
            ]
        }
        measurements.append(
            Measurement(
                "bytes of experts that eight vectors together read, of all", sample("both", \.bytes),
                baseline: sample("router", \.bytes), baselineName: "router alone"))
        var checks = [
            Check("eight in a row leave out 0.8 of what one does", ratio("both"), exceeds: 0.8),
            Check(
                "the router alone is at least 0.05 further away", ratio("both") - ratio("router"), exceeds: 0.05),
            Check(
                "chunks leave out at least 15 points more", sample("both", \.chunks) - sample("router", \.chunks),
                exceeds: 0.15),
            Check(
                "the error grows by at most 0.05 of the targets' square",
                sample("both", \.error) - sample("router", \.error), staysBelow: 0.05),
            Check(
                "shuffled vectors gain less", ratio("both") - ratio("shuffled both"), exceeds: 0.05),
            Check("fewer bytes are read", sample("both", \.bytes) - sample("router", \.bytes), staysBelow: 0),
        ]
        var missing: [String] = []
        let notes = [
            "The authors' models have 0.1 to 1.2 billion parameters; speed on their device, with drafts, is not part of this check."
        ]
        if !context.quick {
            var losses: [String: [Double]] = [:]
            var (tokens, chunks) = ([String: [Double]](), [String: [Double]]())
            for (place, seed) in seeds.prefix(5).enumerated() {
                try context.progress.report("language models", place, of: 5)
                for name in ["dense", "router", "both"] {
                    guard let result = try Self.language(seed: seed, name, progress: context.progress) else { break }
                    losses[name, default: []].append(logarithm(result.perplexity))
                    tokens[name, default: []].append(result.token)
                    chunks[name, default: []].append(result.chunk)
                }
            }
            if let dense = losses["dense"], let router = losses["router"], let both = losses["both"] {
                measurements += [
                    Measurement(
                        "loss a character, both terms", Sample(both), baseline: Sample(router),
                        baselineName: "router alone"),
                    Measurement("the same, a gated part of as many weights", Sample(dense)),
                    Measurement("language: experts that a character does not read", Sample(tokens["both"]!)),
                    Measurement(
                        "language: experts that eight in a row do not read", Sample(chunks["both"]!),
                        baseline: Sample(chunks["router"]!), baselineName: "router alone"),
                ]
                checks += [
                    Check(
                        "language: chunks leave out more", Sample(chunks["both"]!) - Sample(chunks["router"]!),
                        exceeds: 0),
                    Check("language: the loss grows by less than 5 %", Sample(both) / Sample(router), staysBelow: 1.05),
                ]
            } else {
                missing.append(SkippingTask.isMissing)
            }
        }
        return Outcome(
            setting:
                "\(seeds.count) seeds: sequences of \(Self.length) vectors of 8 topics that stay for 16 on average, each with a linear map of its "
                + "own; \(Self.experts) experts of 8 neurons, Adam, \(steps) steps of a sequence; chunks of \(Self.chunk) in the loss, of 8 in "
                + "measurements"
                + (context.quick ? "" : "; language models of two blocks on Jane Austen, 12 experts of 32 neurons"),
            measurements: measurements, checks: checks, notes: notes, missing: missing)
    }

    private enum Terms { case none, chunk, both }

    private static func hook(_ terms: Terms, length: Int, steps: Int) throws -> [any TrainingHook] {
        if terms == .none { return [] }
        // The authors' thousand constant steps and windows of a hundred, for a run of a thousandth of theirs.
        let weight = try AdaptiveWeight(initial: 5e-2, constantSteps: steps / 4, window: max(1, steps / 20))
        return [
            try ChunkSparsification(
                length: length, chunk: min(chunk, length), localityWeight: terms == .both ? 2e-3 : 0,
                chunkWeight: weight)
        ]
    }

    private static func result(seed: UInt64, dwell: Double, _ terms: Terms, steps: Int) throws -> Result {
        let task = TopicTask(topics: 8, width: 16, outputs: 16, length: length, dwell: dwell, seed: seed)
        var random = SeededGenerator(seed: seed, stream: 6100)
        let model = try BlockFFN(width: 16, experts: experts, size: 8, using: &random)
        try task.train(model, steps: steps, hooks: hook(terms, length: length, steps: steps), seed: seed)
        guard case .experts(let part) = try model.stored(.f32) else {
            return Result(error: .nan, token: 0, chunks: 0, bytes: 0)
        }
        let (x, _, _) = task.fresh
        let routes = x.withPointer { part.router.route($0, count: x.rows, layer: 0) }
        let statistics = try RoutingStatistics(routes, experts: experts, length: length)
        let all = part.experts.reduce(0) { $0 + $1.byteCount }
        let read = try stride(from: 0, to: length, by: 8).map { try part(x.rows($0..<$0 + 8)).report.bytesTouched }
        return Result(
            error: task.error(model), token: statistics.tokenSparsity, chunks: statistics.chunkSparsity,
            bytes: Double(read.reduce(0, +)) / Double(all * read.count))
    }

    /// A small language model whose feed-forward parts are experts.
    private static func language(
        seed: UInt64, _ name: String, progress: (any ProgressReporter)?
    ) throws -> (perplexity: Double, token: Double, chunk: Double)? {
        guard let language = try TinyLanguageModel() else { return nil }
        let model = try language.model(seed: seed)
        let length = TinyLanguageModel.context
        if name != "dense" {
            var random = SeededGenerator(seed: seed, stream: 6101)
            for block in model.blocks {
                // 12 · 32 · 2 rows of 96 and the router, as 256 · 3 of the gated part.
                block.mixer = .custom(try BlockFFN(width: 96, experts: 12, size: 32, using: &random))
            }
        }
        let steps = 1000
        let hooks = name == "both" ? try hook(.both, length: length, steps: steps) : []
        try language.train(model, steps: steps, learningRate: 5e-3, hooks: hooks, seed: seed, progress: progress)
        let perplexity = language.perplexity(model)
        if name == "dense" { return (perplexity, 0, 0) }
        let text = language.valid.prefix(64 * length).map { Int($0) }
        let routes = try model.stored().routes(text, length: length)
        let all = try routes.sorted { $0.key < $1.key }.map {
            try RoutingStatistics($0.value, experts: 12, length: length)
        }
        return (
            perplexity, all.reduce(0) { $0 + $1.tokenSparsity } / Double(all.count),
            all.reduce(0) { $0 + $1.chunkSparsity } / Double(all.count)
        )
    }
}
