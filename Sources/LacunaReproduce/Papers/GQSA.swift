import Lacuna

/// Checks that training through the rounding makes pruned 4-bit groups better than 2:4, where pruning alone makes them worse.
struct GQSAReproduction: Reproduction {
    let shortName = "GQSA"
    let paper = 69
    let title = "GQSA: Group Quantization and Sparsity for Accelerating Large Language Model Inference"
    let arXiv: String? = "2412.17560"
    let claim =
        "Half of the quantisation groups pruned and the others in 4 bits, recovered block by block and then end to end, keeps more "
        + "quality than 2:4 pruning at fewer bytes."

    /// A layer with inputs of 24 factors and a little noise, and weights with heavy tails.
    private struct Bed {
        let weight: Tensor<Float>
        let statistics: InputStatistics
        private let gram: Tensor<Float>

        init(seed: UInt64) throws {
            var generator = SeededGenerator(seed: seed, stream: 69)
            let (outputs, inputs) = (128, 256)
            let loading = Tensor<Float>(
                normal: [24, inputs], standardDeviation: 1 / Float(24).squareRoot(), using: &generator)
            func sample() -> Tensor<Float> {
                Tensor<Float>(normal: [2048, 24], using: &generator).multiplied(by: loading)
                    + Tensor(normal: [2048, inputs], standardDeviation: 0.25, using: &generator)
            }
            var (seen, unseen) = (
                InputStatistics(columns: inputs, gram: true), InputStatistics(columns: inputs, gram: true)
            )
            seen.accumulate(sample())
            unseen.accumulate(sample())
            (statistics, gram) = (seen, try unseen.gram())
            let normal = Tensor<Float>(normal: [outputs, inputs], using: &generator)
            let squares = (0..<5).map { _ in Tensor<Float>(normal: [outputs, inputs], using: &generator) }
                .reduce(Tensor<Float>(zeros: [outputs, inputs])) { $0 + $1 * $1 }
            weight = normal * squares.map { 1 / ($0 / 5).squareRoot() }
        }

        func error(_ other: Tensor<Float>) -> Double {
            OutputError.relative(original: weight, pruned: other, gram: gram)
        }
    }

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = (0..<5).map { context.seed &* 1000 &+ UInt64($0) }
        var errors: [String: [Double]] = [:]
        let none = Reconstruction(steps: 0, learningRate: 0, batch: 1)
        func method(fit: Int, layer: Reconstruction) -> GQSA {
            GQSA(fitSteps: fit, layer: layer, block: none, model: none)
        }
        let training = Reconstruction(steps: context.quick ? 300 : 400, learningRate: 2e-2, batch: 1)
        for (place, seed) in seeds.enumerated() {
            try context.progress.report("layers", place, of: seeds.count)
            let bed = try Bed(seed: seed)
            func compressed(_ method: GQSA, _ sparsity: Double) throws -> Double {
                bed.error(
                    try method.compress(
                        bed.weight, statistics: bed.statistics,
                        request: CompressionRequest(name: "layer", sparsity: sparsity, values: .int4)
                    ).densified())
            }
            var weight = bed.weight
            _ = try Wanda().prune(&weight, statistics: bed.statistics, request: PruningRequest(.nm(n: 2, m: 4)))
            errors["Wanda 2:4", default: []].append(bed.error(weight))
            errors["rounded alone", default: []].append(try compressed(method(fit: 0, layer: none), 0))
            errors["cut and rounded", default: []].append(try compressed(method(fit: 0, layer: none), 0.5))
            errors["trained", default: []].append(try compressed(method(fit: 0, layer: training), 0.5))
            errors["fitted", default: []].append(try compressed(method(fit: 40, layer: none), 0.5))
            errors["fitted and trained", default: []].append(try compressed(method(fit: 40, layer: training), 0.5))
        }
        func error(_ name: String) -> Sample { Sample(errors[name]!) }
        var measurements = [
            Measurement(
                "relative output error, half of the groups in 4 bits", error("cut and rounded"),
                baseline: error("Wanda 2:4"), baselineName: "Wanda 2:4 in f32"),
            Measurement(
                "… trained through the rounding", error("trained"), baseline: error("rounded alone"),
                baselineName: "4 bits alone, nothing pruned"),
            Measurement(
                "… fitted before rounding and trained", error("fitted and trained"), baseline: error("fitted"),
                baselineName: "fitted alone"),
        ]
        var checks = [
            Check(
                "without recovery groups are worse than 2:4", error("cut and rounded") - error("Wanda 2:4"), exceeds: 0),
            Check("training cuts the error by more than 20", error("cut and rounded") / error("trained"), exceeds: 20),
            Check("and leaves less than 2:4 loses", error("trained") / error("Wanda 2:4"), staysBelow: 1),
            Check(
                "a fit before rounding and training is at least as good",
                error("fitted and trained") / error("trained"), staysBelow: 1.05),
        ]

        var perplexities: [String: [Double]] = [:]
        var bytes: [String: Int] = [:]
        var (notes, missing): ([String], [String]) = ([], [])
        let runs = Array(seeds.prefix(context.quick ? 0 : 5))
        for (place, seed) in runs.enumerated() {
            try context.progress.report("language models", place, of: runs.count)
            guard
                let task = try CompressionTask(
                    seed: seed, steps: 1000, progress: context.progress)
            else {
                continue
            }
            perplexities["dense", default: []].append(try task.perplexity(task.decoder))
            let full = GQSA(
                layer: Reconstruction(steps: 60, learningRate: 5e-3, batch: 1),
                block: Reconstruction(steps: 150, learningRate: 3e-3, batch: 16),
                model: Reconstruction(steps: 100, learningRate: 3e-3, batch: 16), seed: seed)
            var blocks = full
            blocks.model = none
            let arms: [(String, any PruningMethod, Pattern?)] = [
                ("SparseGPT 2:4", SparseGPT(), .nm(n: 2, m: 4)), ("Wanda 2:4", Wanda(), .nm(n: 2, m: 4)),
                ("cut", method(fit: 0, layer: none), nil), ("by block", blocks, nil), ("GQSA", full, nil),
            ]
            for (name, method, pattern) in arms {
                let (decoder, report) = try task.compressed(
                    method, pattern: pattern, sparsity: pattern == nil ? 0.5 : nil, values: .int4)
                perplexities[name, default: []].append(try task.perplexity(decoder))
                bytes[name] = report.bytes.after
            }
        }
        if let own = perplexities["GQSA"].map(Sample.init) {
            func sample(_ name: String) -> Sample { Sample(perplexities[name]!) }
            measurements.append(Measurement("perplexity of the dense model", sample("dense")))
            for rival in ["SparseGPT 2:4", "Wanda 2:4"] {
                measurements.append(
                    Measurement(
                        "perplexity a character, both in 4 bits", own, baseline: sample(rival), baselineName: rival))
                checks.append(Check("language model: below \(rival) in 4 bits", own / sample(rival), staysBelow: 1))
            }
            measurements.append(
                Measurement(
                    "perplexity, recovered block by block", sample("by block"), baseline: sample("cut"),
                    baselineName: "cut and rounded"))
            checks += [
                Check("scales and zeros trained end to end help further", own / sample("by block"), staysBelow: 1),
                Check("at fewer bytes", Double(bytes["GQSA"]!), .less, Double(bytes["SparseGPT 2:4"]!)),
            ]
            notes.append("Bytes of the matrices: GQSA \(bytes["GQSA"]!), 2:4 in int4 \(bytes["SparseGPT 2:4"]!).")
        } else {
            if context.quick {
                notes.append("Language models are part of the full run alone.")
            } else {
                missing.append(RealData.austenIsMissing)
            }
        }
        return Outcome(
            setting:
                "\(seeds.count) layers (256 inputs of 24 factors, 128 outputs, Student-t weights), errors on unseen inputs; \(runs.count) "
                + "transformers of two blocks on Jane Austen; groups of 16, 2:4 pruned in one shot. The 2-bit rival is not part of this",
            measurements: measurements, checks: checks, notes: notes, missing: missing)
    }
}
