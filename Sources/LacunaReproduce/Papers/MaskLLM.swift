import Lacuna

/// Checks that masks learned end to end come close to the best there are, and beat masks chosen in one shot.
struct MaskLLMReproduction: Reproduction {
    let shortName = "MaskLLM"
    let paper = 60
    let title = "MaskLLM: Learnable Semi-Structured Sparsity for Large Language Models"
    let arXiv: String? = "2409.17481"
    let claim =
        "N:M masks sampled by a Gumbel softmax over all patterns and learned end to end, weights frozen, keep far more quality than "
        + "masks by one-shot criteria."

    private static let columns = 16
    private static let rows = 64

    private struct Nothing: BatchSource {
        func batch(step: Int) -> Int { step }
        var batchesPerEpoch: Int? { nil }
    }

    /// A layer of 16 inputs: `root` has as many rows as inputs and their second moments, `rootᵀ root = H`.
    private struct Bed {
        let weight: Tensor<Float>
        let root: Tensor<Float>
        let statistics: InputStatistics
        let hessian: Tensor<Float>

        init(seed: UInt64) throws {
            var generator = SeededGenerator(seed: seed, stream: 60)
            let (n, tokens) = (MaskLLMReproduction.columns, 512)
            let scales = (0..<n).map { _ in Float(exponential(0.5 * generator.normal())) }
            var x = Tensor<Float>(normal: [tokens, 5], using: &generator).multiplied(
                by: Tensor(normal: [5, n], standardDeviation: 1 / Float(5).squareRoot(), using: &generator))
            x =
                (x + Tensor(normal: [tokens, n], standardDeviation: 0.5, using: &generator))
                * Tensor(scales, shape: [1, n])
            var statistics = InputStatistics(columns: n, gram: true)
            statistics.accumulate(x)
            self.statistics = statistics
            weight = Tensor(normal: [MaskLLMReproduction.rows, n], using: &generator)
            hessian = (1 / Float(tokens)) * (try statistics.gram())
            root = try hessian.cholesky().transposed()
        }

        func error(row: Int, _ isKept: (Int) -> Bool) -> Double {
            let gone = (0..<MaskLLMReproduction.columns).filter { !isKept($0) }
            var sum = 0.0
            for a in gone {
                for b in gone { sum += Double(weight[row, a] * hessian[a, b]) * Double(weight[row, b]) }
            }
            return sum
        }

        func error(_ mask: SparsePattern) -> Double {
            (0..<MaskLLMReproduction.rows).reduce(0) { sum, row in sum + error(row: row) { mask[row, $0] } }
        }

        /// The least error that any mask has: every row has 6⁴.
        func best() -> Double {
            let words: [[Int]] = (0..<16).filter { $0.nonzeroBitCount == 2 }.map { word in
                (0..<4).filter { word >> $0 & 1 == 1 }
            }
            return (0..<MaskLLMReproduction.rows).reduce(0) { sum, row in
                var least = Double.infinity
                for code in 0..<1296 {
                    let parts = [code % 6, code / 6 % 6, code / 36 % 6, code / 216]
                    least = min(least, error(row: row) { words[parts[$0 / 4]].contains($0 % 4) })
                }
                return sum + least
            }
        }

        func learned(steps: Int, settings: MaskLLM.Settings = MaskLLM.Settings()) throws -> (
            error: Double, certainty: Double
        ) {
            let (layer, root) = (Linear(weight: DenseWeight(weight)), root)
            let target = root.multiplied(by: weight, otherTransposed: true)
            let method = try MaskLLM(prior: .none, settings: settings, layers: .all)
            var plan = TrainingPlan(steps: steps, learningRate: .constant(5e-3))
            plan.logEvery = steps
            let trainer = try Trainer(
                model: Sequential([layer]), optimizer: Adam(learningRate: 0), source: Nothing(), plan: plan,
                hooks: [method],
                loss: { _, tape in (layer(tape.constant(root)) - tape.constant(target)).map(.square).sum() })
            try trainer.train()
            return (error(SparsePattern(nonzerosOf: layer.weight.densified())), method.certainty)
        }
    }

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = (0..<5).map { context.seed &* 1000 &+ UInt64($0) }
        let steps = context.quick ? 500 : 1000
        var ratios: [String: [Double]] = [:]
        var certainty: [Double] = []
        for (place, seed) in seeds.enumerated() {
            try context.progress.report("layers", place, of: seeds.count)
            let bed = try Bed(seed: seed)
            let best = bed.best()
            let learned = try bed.learned(steps: steps)
            certainty.append(learned.certainty)
            ratios["learned", default: []].append(learned.error / best)
            var flat = MaskLLM.Settings()
            flat.scale = (1, 1)
            ratios["κ = 1", default: []].append(try bed.learned(steps: steps, settings: flat).error / best)
            for (name, method) in [("magnitude", Magnitude()), ("Wanda", Wanda())] as [(String, any LayerwisePruning)] {
                var weight = bed.weight
                let mask = try method.prune(
                    &weight, statistics: bed.statistics, request: PruningRequest(.nm(n: 2, m: 4)))
                ratios[name, default: []].append(bed.error(mask) / best)
            }
        }
        func ratio(_ name: String) -> Sample { Sample(ratios[name]!) }
        var measurements = [
            Measurement(
                "error of learned masks, the best possible 1", ratio("learned"), baseline: ratio("Wanda"),
                baselineName: "Wanda"),
            Measurement("… with κ = 1", ratio("κ = 1"), baseline: ratio("magnitude"), baselineName: "magnitude"),
            Measurement("share of the best pattern at the end", Sample(certainty)),
        ]
        var checks = [
            Check("learned masks come within 1.35 of the best", ratio("learned"), staysBelow: 1.35),
            Check("Wanda's do not", ratio("Wanda"), exceeds: 1.35),
            Check("learning has decided", Sample(certainty), exceeds: 0.99),
            Check("without the scale κ it stays behind", ratio("κ = 1") - ratio("learned"), exceeds: 0),
        ]
        var (notes, missing): ([String], [String]) = ([], [])
        var perplexities: [String: [Double]] = [:]
        let runs = Array(seeds.prefix(context.quick ? 0 : 3))
        for (place, seed) in runs.enumerated() {
            try context.progress.report("language models", place, of: runs.count)
            guard
                let task = try CompressionTask(
                    seed: seed, steps: 1000, progress: context.progress),
                let language = try TinyLanguageModel()
            else { continue }
            perplexities["dense", default: []].append(try task.perplexity(task.decoder))
            let arms: [(String, any PruningMethod)] = [
                ("magnitude", Magnitude()), ("Wanda", Wanda()), ("SparseGPT", SparseGPT()),
            ]
            for (name, method) in arms {
                let (decoder, _) = try task.compressed(method, pattern: .nm(n: 2, m: 4), sparsity: nil)
                perplexities[name, default: []].append(try task.perplexity(decoder))
            }
            let model = try TrainableTransformer(task.decoder)
            let method = try MaskLLM(prior: .method("wanda"))
            method.calibration = try CalibrationSet(
                text: language.train.map { Int($0) }, sequences: 256, length: TinyLanguageModel.context, seed: seed)
            try language.train(model, steps: 800, learningRate: 5e-3, hooks: [method], seed: seed)
            perplexities["learned", default: []].append(try task.perplexity(model.stored()))
        }
        if let learned = perplexities["learned"].map(Sample.init) {
            measurements.append(Measurement("perplexity of the dense model", Sample(perplexities["dense"]!)))
            for rival in ["magnitude", "Wanda", "SparseGPT"] {
                let other = Sample(perplexities[rival]!)
                measurements.append(
                    Measurement(
                        "perplexity a character at 2:4, learned masks", learned, baseline: other, baselineName: rival))
                checks.append(Check("language model: below \(rival)", learned / other, staysBelow: 1))
            }
            notes.append("SparseGPT also changes the weights it keeps, which learned masks do not.")
        } else {
            if context.quick {
                notes.append("Language models are part of the full run alone.")
            } else {
                missing.append(RealData.austenIsMissing)
            }
        }
        return Outcome(
            setting:
                "\(seeds.count) layers of 16 correlated inputs and 64 outputs, of which the best masks are known, \(steps) steps of Adam at "
                + "5e-3 without a prior; \(runs.count) transformers of two blocks on Jane Austen, from Wanda's masks",
            measurements: measurements, checks: checks, notes: notes, missing: missing)
    }
}
