import Lacuna

/// Checks that letting the whole model judge what a sparse one drafts brings back most of what sparsity costs, in few passes.
struct SiriusReproduction: Reproduction {
    let shortName = "Sirius"
    let paper = 49
    let title = "Sirius: Contextual Sparsity with Correction for Efficient LLMs"
    let arXiv: String? = "2409.03856"
    let claim =
        "Text that a contextually sparse model writes drifts from what the dense model would write; corrected by the dense model every "
        + "few tokens, which rejects what it holds to be implausible and rewrites keys and values, it recovers most of the loss "
        + "while most of a draft is accepted."

    private static let draft = 8

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = (0..<5).map { context.seed &* 1000 &+ UInt64($0) }
        var losses: [String: [Double]] = [:]
        var lengths: [Double] = []
        var densities: [Double] = []
        var differences = 0
        for (place, seed) in seeds.enumerated() {
            try context.progress.report("language models", place, of: seeds.count)
            guard
                let task = try SkippingTask.small(
                    seed: seed, steps: context.quick ? 400 : 1500, progress: context.progress)
            else { continue }
            let texts = 12
            var sums: [String: Double] = [:]
            var (length, density) = (0.0, 0.0)
            for text in 0..<texts {
                let prompt = Array(task.tokens[text * task.window..<text * task.window + 24])
                let gate = try ActivationGate(neuronsOf: task.decoder, prompt: prompt, leavingOut: 0.5)
                let meter = SkippingMeter()
                func written(_ skipping: Skipping) throws -> [Int] {
                    try Generator(task.decoder, skipping: skipping).generate(
                        prompt, .init(maximumTokens: Self.written, ignoresEnd: true)
                    ).tokens
                }
                let dense = try written(Skipping())
                let sparse = try written(Skipping(gate: gate))
                let corrected = try Sirius(
                    task.decoder, draft: Skipping(gate: gate, meter: meter), options: .init(draft: Self.draft)
                ).generate(prompt, maximum: Self.written)
                let strict = try Sirius(
                    task.decoder, draft: Skipping(gate: gate), options: .init(draft: Self.draft, threshold: 2)
                ).generate(prompt, maximum: Self.written)
                if strict.tokens != dense { differences += 1 }
                length += corrected.acceptedLength / Double(texts)
                density += corrected.effectiveDensity(1 - meter.total.sparsity) / Double(texts)
                for (name, tokens) in [("dense", dense), ("sparse", sparse), ("corrected", corrected.tokens)] {
                    sums[name, default: 0] += try Self.loss(task.decoder, prompt, tokens) / Double(texts)
                }
            }
            for (name, sum) in sums { losses[name, default: []].append(sum) }
            lengths.append(length)
            densities.append(density)
        }
        var copies: [String: [Double]] = [:]
        for (place, seed) in seeds.enumerated() {
            try context.progress.report("copies", place, of: seeds.count)
            for (name, value) in try Self.copies(seed: seed, texts: context.quick ? 6 : 20) {
                copies[name, default: []].append(value)
            }
        }
        func copied(_ name: String) -> Sample { Sample(copies[name] ?? []) }
        let restored = (copied("corrected") - copied("sparse")) / (copied("dense") - copied("sparse"))
        guard let dense = losses["dense"], let sparse = losses["sparse"], let corrected = losses["corrected"] else {
            return Outcome.notRun(missing: SkippingTask.isMissing)
        }
        let gap = Sample(sparse) - Sample(dense)
        let recovered = (Sample(sparse) - Sample(corrected)) / gap
        return Outcome(
            setting:
                "\(seeds.count) transformers of two blocks trained on Jane Austen; 12 texts of \(Self.written) characters each "
                + "after prompts of 24, half of the neurons, chosen from the prompt; drafts of \(Self.draft); models built for looking words up, "
                + "\(Self.copiedWords) words to be copied from \(Self.sourceWords), drafts of 16 that read \(Self.copiedShare) of the keys by pages",
            measurements: [
                Measurement(
                    "loss a character under the dense model of what the sparse one writes, corrected",
                    Sample(corrected),
                    baseline: Sample(sparse), baselineName: "not corrected"),
                Measurement("the same of what the dense model writes", Sample(dense)),
                Measurement("share of the difference that correction recovers", recovered),
                Measurement("characters a pass of the dense model, of \(Self.draft)", Sample(lengths)),
                Measurement("linear weights read a character, over the dense model's", Sample(densities)),
                Measurement(
                    "texts of which all \(Self.copiedWords) words are copied right, corrected", copied("corrected"),
                    baseline: copied("sparse"), baselineName: "not corrected"),
                Measurement("the same, dense", copied("dense")),
                Measurement("words a pass of the dense model, of 16", copied("length")),
            ],
            checks: [
                Check("the sparse model drifts", gap, exceeds: 0),
                Check("correction recovers at least half of the difference", recovered, exceeds: 0.5),
                Check(
                    "at least half of a draft is accepted on average", Sample(lengths), exceeds: Double(Self.draft) / 2),
                Check("copies: the dense model makes no mistake", copied("dense").values.min() ?? 0, .atLeast, 1),
                Check("copies: the sparse one derails in more than two fifths", copied("sparse"), staysBelow: 0.6),
                Check("copies: correction restores four fifths of what is lost", restored, exceeds: 0.8),
                Check("copies: three quarters of a draft are accepted", copied("length"), exceeds: 12),
                Check(
                    "with a threshold that nothing meets the text is the dense model's", Double(differences), .atMost, 0
                ),
            ],
            notes: [
                "Quality of texts is the dense model's loss on what was written, as characters have no right answers; copies have. Speed, and trees of "
                    + "drafts, are not part of this check."
            ])
    }

    private static let written = 32
    private static let (sourceWords, copiedWords, copiedShare) = (300, 48, 0.4)

    /// Shares of texts in which every word is the one that followed in the source: of the whole model, of one that reads few pages, and of this
    /// one corrected; and the length that was accepted.
    private static func copies(seed: UInt64, texts: Int) throws -> [(String, Double)] {
        let model = try InductionModel(positions: 1024, seed: seed)
        let draft = Skipping(
            selector: try Quest(share: copiedShare, dense: 0), store: { PageBoundsCache(KeyValueCache($0), shape: $0) })
        let sirius = try Sirius(model.decoder, draft: draft)
        var (right, length) = ([0, 0, 0], 0.0)
        for text in 0..<texts {
            var generator = SeededGenerator(seed: seed &* 100 &+ UInt64(text), stream: 490)
            let words = Array((0..<model.words).shuffled(using: &generator).prefix(sourceWords))
            let prompt = [model.separator] + words + [words[0]]
            let expected = Array(words[1...copiedWords])
            let options = Generator.Options(maximumTokens: copiedWords, ignoresEnd: true)
            let corrected = try sirius.generate(prompt, maximum: copiedWords)
            let written = try [
                Generator(model.decoder).generate(prompt, options).tokens,
                Generator(model.decoder, skipping: draft).generate(prompt, options).tokens, corrected.tokens,
            ]
            for (place, tokens) in written.enumerated() where tokens == expected { right[place] += 1 }
            length += corrected.acceptedLength / Double(texts)
        }
        let shares = zip(["dense", "sparse", "corrected"], right).map { ($0, Double($1) / Double(texts)) }
        return shares + [("length", length)]
    }

    /// The mean loss of written tokens under the whole model.
    private static func loss(_ decoder: Transformer, _ prompt: [Int], _ tokens: [Int]) throws -> Double {
        let logits = try decoder.logits(prompt + tokens)
        let width = logits.columns
        return logits.withPointer { logits in
            var sum = 0.0
            for (i, token) in tokens.enumerated() {
                let row = logits + (prompt.count + i - 1) * width
                let largest = (0..<width).map { row[$0] }.max() ?? 0
                let total = (0..<width).reduce(0.0) { $0 + exponential(Double(row[$1] - largest)) }
                sum += logarithm(total) - Double(row[token] - largest)
            }
            return sum / Double(max(tokens.count, 1))
        }
    }
}
