import Lacuna

/// Checks sparse pre-training followed by dense fine-tuning, on related regression tasks and on text.
struct SparsePretrainingReproduction: Reproduction {
    let shortName = "SPDF"
    let paper = 98
    let title = "SPDF: Sparse Pre-training and Dense Fine-tuning for Large Language Models"
    let arXiv: String? = "2303.10464"
    let claim =
        "Pre-training with up to 75 % of the weights removed at random, then fine-tuning all weights, costs little quality "
        + "downstream and saves most of the pre-training."

    private static let arms = ["dense", "sparse, then dense", "sparse, then sparse", "scratch"]

    private func mask(_ layers: LayerChoice) throws -> StaticRandomSparsity {
        try StaticRandomSparsity(budget: UniformBudget(0.75), layers: layers, rescalesWeights: false)
    }

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = (0..<(context.quick ? 5 : 8)).map { context.seed &* 100 &+ UInt64($0) }
        var errors = [String: [Double]]()
        var (leaks, jump) = (0, 0.0)
        for (index, seed) in seeds.enumerated() {
            try context.progress.report("pre-training", index, of: seeds.count)
            let tasks = RelatedTasks(seed: seed)
            for arm in Self.arms {
                let model = tasks.network()
                if arm != "scratch" {
                    try tasks.train(
                        model, tasks.trainA, 3000, 1e-3, arm == "dense" ? [] : [mask(.allButOutput)])
                    errors["A " + arm, default: []].append(RelatedTasks.error(model, tasks.testA))
                }
                guard arm == "sparse, then dense" else {
                    try tasks.train(model, tasks.trainB, 800, 5e-4, [])
                    errors["B " + arm, default: []].append(RelatedTasks.error(model, tasks.testB))
                    continue
                }
                for layer in model.layers.dropLast() {
                    let parameter = layer.dense!.parameter
                    for i in 0..<parameter.count where parameter.mask!.pointer[i] == 0 {
                        if parameter.buffer.pointer[i] != 0 || parameter.slot("first")[i] != 0
                            || parameter.slot("second")[i] != 0
                        {
                            leaks += 1
                        }
                    }
                }
                // The phase's method removes the masks before the first step, which is looked at behind it.
                let before = RelatedTasks.error(model, tasks.testA)
                var after = Double.nan
                let look = FirstStep { after = RelatedTasks.error(model, tasks.testA) }
                try tasks.train(model, tasks.trainB, 800, 5e-4, [Densification(), look])
                jump = max(jump, abs(after - before))
                errors["B " + arm, default: []].append(RelatedTasks.error(model, tasks.testB))
            }
        }
        func sample(_ name: String) -> Sample { Sample(errors[name] ?? []) }
        let (dense, sparse, still) = (
            sample("B dense"), sample("B sparse, then dense"), sample("B sparse, then sparse")
        )
        var measurements = [
            Measurement(
                "error after pre-training, 75 % sparse", sample("A sparse, then dense"), baseline: sample("A dense"),
                baselineName: "dense"),
            Measurement(
                "error after fine-tuning, sparse then dense", sparse, baseline: dense, baselineName: "dense throughout"),
            Measurement(
                "error after fine-tuning, sparse throughout", still, baseline: dense, baselineName: "dense throughout"),
            Measurement("error without pre-training", sample("B scratch")),
        ]
        var checks = [
            Check("sparse pre-training costs at most 10 % downstream", sparse / dense, staysBelow: 1.1),
            Check(
                "pre-training matters: below 0.6 of the error without", sparse / sample("B scratch"), staysBelow: 0.6),
            Check(
                "dense fine-tuning is no worse than sparse fine-tuning by over 5 %", sparse / still, staysBelow: 1.05),
            Check("masked weights or moments that are not 0", Double(leaks), .atMost, 0),
            Check("removing the mask does not change the function", jump, .atMost, 1e-6),
        ]
        var missing: [String] = []
        if let found = try language(context) {
            func sample(_ name: String) -> Sample { Sample(found[name] ?? []) }
            let (dense, sparse, still) = (
                sample("B dense"), sample("B sparse, then dense"), sample("B sparse, then sparse")
            )
            measurements += [
                Measurement(
                    "perplexity a byte on the first text, 75 % sparse", sample("A sparse, then dense"),
                    baseline: sample("A dense"), baselineName: "dense"),
                Measurement(
                    "perplexity a byte on the second text, sparse then dense", sparse, baseline: dense,
                    baselineName: "dense throughout"),
                Measurement(
                    "perplexity a byte on the second text, sparse throughout", still, baseline: dense,
                    baselineName: "dense throughout"),
                Measurement("perplexity a byte on the second text without the first", sample("B scratch")),
            ]
            checks += [
                Check("on text sparse pre-training costs at most 3 % of perplexity", sparse / dense, staysBelow: 1.03),
                Check("and dense fine-tuning beats sparse fine-tuning", still - sparse, exceeds: 0),
                Check("and the first text helps", sample("B scratch") - sparse, exceeds: 0),
            ]
        } else {
            missing.append(RealData.isMissing("austen or Data/wikitext-2", "no language model was trained"))
        }
        return Outcome(
            setting:
                "mean of \(seeds.count) pairs of related tasks on shared features, 20-192-192-4, 8000 samples to pre-train, 300 to fine-tune; "
                + "5 byte-level transformers of 2 layers and width 96, pre-trained on novels by Jane Austen and fine-tuned on 100 kB of "
                + "Wikipedia, the linear layers of their blocks sparse",
            measurements: measurements, checks: checks, missing: missing)
    }

    /// Perplexities on two texts; nil if they are not there.
    private func language(_ context: ReproductionContext) throws -> [String: [Double]]? {
        guard let novels = RealData.file("austen/train.txt"), let held = RealData.file("austen/valid.txt"),
            let articles = RealData.file("wikitext-2/valid.txt")
        else { return nil }
        let (a, b, c) = try (
            FileSystem.readBytes(novels), FileSystem.readBytes(held), FileSystem.readBytes(articles)
        )
        let vocabulary = ByteVocabulary(a + b + c)
        let encoded = vocabulary.encode(c)
        let first = TinyLanguageModel(vocabulary: vocabulary, train: vocabulary.encode(a), valid: vocabulary.encode(b))
        let second = TinyLanguageModel(
            vocabulary: vocabulary, train: Array(encoded.prefix(100_000)), valid: Array(encoded.dropFirst(200_000)))
        let (before, after) = context.quick ? (150, 50) : (800, 200)
        let blocks = LayerChoice.matching(["model.layers.*"])
        var found: [String: [Double]] = [:]
        for index in 0..<5 {
            let seed = context.seed &* 1000 &+ UInt64(index)
            for (place, arm) in Self.arms.enumerated() {
                try context.progress.report("language models", index * Self.arms.count + place, of: 5 * Self.arms.count)
                let model = try first.model(seed: seed)
                if arm != "scratch" {
                    try first.train(
                        model, steps: before, learningRate: 5e-3, hooks: arm == "dense" ? [] : [mask(blocks)],
                        seed: seed)
                    found["A " + arm, default: []].append(first.perplexity(model))
                }
                try second.train(
                    model, steps: after, learningRate: 3e-3,
                    hooks: arm == "sparse, then dense" ? [Densification()] : [],
                    seed: seed)
                found["B " + arm, default: []].append(second.perplexity(model))
            }
        }
        return found
    }

    /// Looks at a network before the first step, when the hooks before it have begun.
    private final class FirstStep: TrainingHook {
        private let look: () -> Void
        init(_ look: @escaping () -> Void) { self.look = look }
        func attach(_ run: TrainingRun) throws { look() }
    }
}
