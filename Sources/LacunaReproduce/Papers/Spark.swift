import Lacuna

/// Checks how many numbers a statistical top-k keeps, what it costs against sorting, and what a feed-forward part that is trained with it
/// loses.
struct SparkReproduction: Reproduction {
    let shortName = "Spark"
    let paper = 52
    let title = "Spark Transformer: Reactivating Sparsity in FFN and Attention"
    let arXiv: String? = "2506.06644"
    let claim =
        "Mean and deviation of a vector give a threshold that about k of its entries exceed, in two passes and without sorting; "
        + "the number is as exact as the entries are normal. A feed-forward part trained with it, half of whose inputs predict which "
        + "neurons are active, activates 8 % of them at the quality of a dense one of as many weights."

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = (0..<(context.quick ? 5 : 20)).map { context.seed &* 1000 &+ UInt64($0) }
        var measurements: [Measurement] = []
        var checks: [Check] = []
        for (place, (d, k)) in [(512, 41), (13824, 1106)].enumerated() {
            try context.progress.report("distributions", place, of: 2)
            let found = try Sample(seeds: seeds) { try Self.ratio(seed: $0, d, k) { $0.normal() } }
            measurements.append(Measurement("entries kept over k = \(k) of \(d), normal", found))
            checks.append(Check("normal, k = \(k): within 5 % on average", abs(found.mean - 1), .less, 0.05))
        }
        let laplace = try Sample(seeds: seeds) {
            try Self.ratio(seed: $0, 13824, 1106) {
                -logarithm(1 - $0.uniform()) * ($0.uniform() < 0.5 ? 1 : -1)
            }
        }
        let student = try Sample(seeds: seeds) {
            try Self.ratio(seed: $0, 13824, 1106) { generator in
                let chi = (0..<3).reduce(0.0) { sum, _ in
                    let z = generator.normal()
                    return sum + z * z
                }
                return generator.normal() / (chi / 3).squareRoot()
            }
        }
        measurements += [
            Measurement("the same, Laplace", laplace), Measurement("the same, Student's t with 3 degrees", student),
        ]
        checks += [
            Check("Laplace: fewer", laplace, staysBelow: 0.92), Check("Student: far fewer", student, staysBelow: 0.75),
        ]
        var generator = SeededGenerator(seed: context.seed, stream: 52)
        let x = (0..<13824).map { _ in Float(generator.normal()) }
        let selection = try StatisticalTopK(density: 0.08)
        func seconds(_ body: () -> Int) -> Double {
            (0..<15).map { _ in
                let start = monotonicSeconds()
                let n = body()
                return n > 0 ? monotonicSeconds() - start : .infinity
            }.min() ?? .infinity
        }
        let quick = seconds { selection.active(x, count: x.count).count }
        let sorting = seconds { x.sorted(by: >).prefix(1106).count }
        measurements.append(
            Measurement(
                "microseconds for 13,824 entries", measured: quick * 1e6, baseline: sorting * 1e6,
                baselineName: "sorting"))
        checks.append(Check("at least 5 times as fast as sorting", sorting / quick, .atLeast, 5))
        var missing: [String] = []
        var values: [String: [Double]] = [:]
        let steps = context.quick ? 80 : 1500
        for (place, seed) in seeds.prefix(5).enumerated() {
            try context.progress.report("language models", place, of: 5)
            guard let found = try Self.language(seed: seed, steps: steps, progress: context.progress) else {
                missing.append(SkippingTask.isMissing)
                break
            }
            for (name, value) in found { values[name, default: []].append(value) }
        }
        if values["spark"] != nil {
            func sample(_ name: String) -> Sample { Sample(values[name] ?? []) }
            let (spark, dense) = (sample("spark"), sample("dense"))
            measurements += [
                Measurement(
                    "loss a character, trained with 8 % of the neurons active", spark, baseline: dense,
                    baselineName: "a dense gated part of as many weights"),
                Measurement("the same, chosen in the dense one after its training", sample("chosen later")),
                Measurement("share of the neurons that is active on other text", sample("active")),
                Measurement("largest difference between what is learned and what is run", sample("difference")),
            ]
            checks += [
                Check(
                    "8 % are active, within 2 points", Sample(sample("active").values.map { abs($0 - 0.08) }),
                    staysBelow: 0.02),
                Check("the loss is within 2 % of the dense part's", spark / dense, staysBelow: 1.02),
                Check("choosing as few after training costs more", sample("chosen later") - spark, exceeds: 0),
                Check("what runs is what was learned", sample("difference").values.max() ?? 1, .less, 1e-3),
            ]
        }
        let published = SparkSettings(width: 2304, neurons: 13_824, predicted: 1024)
        measurements.append(
            Measurement(
                "multiply-adds of the authors' part for one token, millions",
                measured: Double(published.multiplyAdds(active: 1106)) / 1e6, baseline: Double(3 * 2304 * 9216) / 1e6,
                baselineName: "a dense gated part of as many weights"))
        return Outcome(
            setting:
                "\(seeds.count) vectors of each length and distribution; transformers of two blocks on Jane Austen, width 96, 384 neurons "
                + "chosen by half of the inputs, \(steps) steps, 5 seeds",
            measurements: measurements, checks: checks,
            notes: ["The authors' attention, which is trained with the same selection, is not part of this check."],
            missing: missing)
    }

    /// Losses a character of a model with sparse parts and of one with dense parts, how many neurons are active, and how far what runs is from
    /// what was learned.
    private static func language(
        seed: UInt64, steps: Int, progress: (any ProgressReporter)?
    ) throws -> [(String, Double)]? {
        guard let language = try TinyLanguageModel() else { return nil }
        let (length, width) = (TinyLanguageModel.context, 96)
        let dense = try language.model(dimensions: width, seed: seed)
        try language.train(dense, steps: steps, learningRate: 5e-3, seed: seed, progress: progress)
        let model = try language.model(dimensions: width, seed: seed)
        var random = SeededGenerator(seed: seed, stream: 5200)
        var parts: [SparkFeedForward] = []
        for block in model.blocks {
            // 2 · 96 · 384 weights, as the gated part's 3 · 96 · 256.
            let part = try SparkFeedForward(
                SparkSettings(width: width, neurons: 384, predicted: width / 2), using: &random)
            parts.append(part)
            block.mixer = .custom(part)
        }
        try language.train(model, steps: steps, learningRate: 5e-3, seed: seed, progress: progress)
        let ids = Array(language.valid.prefix(16 * length))
        var (active, all) = (0, 0)
        for part in parts {
            part.watch = { hidden in
                active += hidden.withPointer { x in (0..<hidden.count).count { x[$0] != 0 } }
                all += hidden.count
            }
        }
        let tape = Tape<Float>()
        let learned = tape.evaluating { model(ids, batch: 16, on: tape).value }
        for part in parts { part.watch = nil }
        let decoder = try model.stored()
        var difference: Float = 0
        let session = try DecodingSession(decoder, context: length)
        for (place, id) in ids.prefix(length).enumerated() {
            try session.decode(Int(id))
            for (c, logit) in session.logits.enumerated() {
                difference = max(difference, abs(logit - learned[place, c]))
            }
        }
        // As few neurons of the dense part, by its gates, after training.
        let plain = try dense.stored()
        let configuration = plain.configuration
        func weights(_ roles: [LinearRole]) -> Double {
            roles.reduce(0) { $0 + Double(configuration.shape(of: $1, layer: 0).reduce(1, *)) }
        }
        let ratio = 0.92 * weights([.up, .down]) / weights(LinearRole.allCases)
        let plan = try ActivationCalibrator(ActivationRequest("spark:\(ratio)")).plan(plain, calibration: nil)
        let (gated, gate) = try plan.applied(to: plain)
        let text = language.valid.prefix(128 * length).map { Int($0) }
        func loss(_ decoder: Transformer, _ gate: (any InputGate)? = nil) throws -> Double {
            try Perplexity.measure(decoder, tokens: text, window: length, gate: gate).loss
        }
        return [
            ("spark", try loss(decoder)), ("dense", try loss(plain)), ("chosen later", try loss(gated, gate)),
            ("active", Double(active) / Double(max(all, 1))), ("difference", Double(difference)),
        ]
    }

    private static func ratio(
        seed: UInt64, _ d: Int, _ k: Int, _ draw: (inout SeededGenerator) -> Double
    ) throws -> Double {
        var generator = SeededGenerator(seed: seed, stream: 53)
        let x = (0..<d).map { _ in Float(draw(&generator)) }
        return Double(try StatisticalTopK(density: Double(k) / Double(d)).active(x, count: d).count) / Double(k)
    }
}
