import Lacuna

/// Checks that sparse codes over a dictionary fit weights better than a low rank of the same bytes.
struct CoSpaDiReproduction: Reproduction {
    let shortName = "CoSpaDi"
    let paper = 19
    let title = "CoSpaDi: Compressing LLMs via Calibration-Guided Sparse Dictionary Learning"
    let arXiv: String? = "2509.22075"
    let claim =
        "At 20 to 50 % compression a dictionary with sparse codes, learned in the space of the inputs, keeps more quality than "
        + "the best low-rank factors of the same size, and the calibration matters."

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = (0..<(context.quick ? 3 : 5)).map { context.seed &* 1000 &+ UInt64($0) }
        let method = CoSpaDi(iterations: context.quick ? 10 : 30)
        var measurements: [Measurement] = []
        var checks: [Check] = []
        var missing: [String] = []
        for sparsity in [0.2, 0.4] {
            let percent = "\(Int(sparsity * 100 + 0.5)) %"
            func error(_ method: any MatrixCompression) throws -> Sample {
                try Sample(seeds: seeds) { seed in
                    let task = LayerTask(seed: seed)
                    return task.outputError(
                        try method.compress(
                            task.weight, statistics: task.statistics,
                            request: CompressionRequest(name: "layer", sparsity: sparsity)
                        ).densified())
                }
            }
            try context.progress.report("layers, \(percent)", 0, of: 1)
            let found = try error(method)
            let lowRank = try error(LowRank())
            let blind = try error(CoSpaDi(iterations: method.iterations, isWhitened: false))
            measurements += [
                Measurement(
                    "relative output error of a layer, \(percent) of the bytes saved", found, baseline: lowRank,
                    baselineName: "whitened low rank"),
                Measurement(
                    "… learned without the inputs", blind, baseline: found, baselineName: "with them"),
            ]
            checks += [
                Check("\(percent): the error is below that of the low rank", found / lowRank, staysBelow: 1),
                Check("\(percent): the inputs help", found / blind, staysBelow: 1),
            ]
        }

        let sparsity = 0.3
        var ratios: [Double] = []
        var perplexities: [String: [Double]] = [:]
        for (place, seed) in seeds.enumerated() {
            try context.progress.report("language models", place, of: seeds.count)
            guard
                let task = try CompressionTask(
                    seed: seed, steps: context.quick ? 400 : 1000, progress: context.progress)
            else { continue }
            let arms: [(String, any MatrixCompression)] = [("CoSpaDi", method), ("low rank", LowRank())]
            for (name, method) in arms {
                let (decoder, report) = try task.compressed(method, pattern: nil, sparsity: sparsity)
                perplexities[name, default: []].append(try task.perplexity(decoder))
                if name == "CoSpaDi" { ratios.append(Double(report.bytes.after) / Double(report.bytes.before)) }
            }
            perplexities["dense", default: []].append(try task.perplexity(task.decoder))
        }
        if let dense = perplexities["dense"] {
            let (found, rival) = (Sample(perplexities["CoSpaDi"]!), Sample(perplexities["low rank"]!))
            measurements += [
                Measurement(
                    "perplexity a character, 30 % of the bytes saved", found, baseline: rival,
                    baselineName: "whitened low rank"),
                Measurement("perplexity of the dense model", Sample(dense)),
                Measurement("bytes of the pruned matrices, of the dense ones", Sample(ratios)),
            ]
            checks += [
                Check("perplexity below that of the low rank", found / rival, staysBelow: 1),
                Check("no more bytes than asked for", Sample(ratios).mean, .atMost, 1 - sparsity + 0.02),
            ]
        } else {
            missing.append(RealData.austenIsMissing)
        }
        return Outcome(
            setting:
                "\(seeds.count) synthetic layers (256 inputs of few factors, 128 outputs, Student-t weights) and as many "
                + "transformers of two blocks trained on Jane Austen; \(method.iterations) rounds of K-SVD, ρ = 2; the bits "
                + "that say where coefficients are count as bytes",
            measurements: measurements, checks: checks, missing: missing)
    }
}
