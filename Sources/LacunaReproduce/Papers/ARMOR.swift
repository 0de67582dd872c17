import Lacuna

/// Checks that block-diagonal wrappers around a 2:4 core, and a core that moves, lose less than 2:4 alone.
struct ARMORReproduction: Reproduction {
    let shortName = "ARMOR"
    let paper = 118
    let title = "ARMOR: High-Performance Semi-Structured Pruning via Adaptive Matrix Factorization"
    let arXiv: String? = "2510.05528"
    let claim =
        "A 2:4 core between two thin block-diagonal wrappers, found by block coordinate descent, is provably no worse than "
        + "one-shot 2:4 masks by its own loss, and loses less quality than 2:4 pruning at about the same size."

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = (0..<(context.quick ? 3 : 5)).map { context.seed &* 1000 &+ UInt64($0) }
        let iterations = context.quick ? 100 : 300
        var measurements: [Measurement] = []
        var checks: [Check] = []
        var missing: [String] = []
        var notes: [String] = []

        // Layers with heavy tails: the loss that the method minimises, on its own terms.
        func error(_ seed: UInt64, _ method: (LayerTask) throws -> Tensor<Float>) throws -> Double {
            let task = LayerTask(seed: seed)
            return task.outputError(try method(task))
        }
        func wrapped(_ movesCore: Bool, _ iterations: Int) -> (LayerTask) throws -> Tensor<Float> {
            { task in
                try ARMOR(blockSize: 8, iterations: iterations, movesCore: movesCore).compress(
                    task.weight, statistics: task.statistics,
                    request: CompressionRequest(name: "layer", pattern: .nm(n: 2, m: 4))
                ).densified()
            }
        }
        func masked(_ method: any LayerwisePruning) -> (LayerTask) throws -> Tensor<Float> {
            { task in
                var weight = task.weight
                _ = try method.prune(
                    &weight, statistics: task.statistics, request: PruningRequest(.nm(n: 2, m: 4)))
                return weight
            }
        }
        try context.progress.report("layers", 0, of: 4)
        let oneShot = try Sample(seeds: seeds) { try error($0, wrapped(true, 0)) }
        let fixed = try Sample(seeds: seeds) { try error($0, wrapped(false, iterations)) }
        try context.progress.report("layers", 2, of: 4)
        let full = try Sample(seeds: seeds) { try error($0, wrapped(true, iterations)) }
        let wanda = try Sample(seeds: seeds) { try error($0, masked(Wanda())) }
        measurements += [
            Measurement(
                "relative output error of a layer on unseen inputs", full, baseline: oneShot,
                baselineName: "the one-shot 2:4 it starts from"),
            Measurement("… with the core's support fixed", fixed, baseline: wanda, baselineName: "Wanda 2:4"),
        ]
        checks += [
            Check("the error falls below 0.8 of the one-shot mask's", full / oneShot, staysBelow: 0.8),
            Check("a core that moves beats one that does not", full / fixed, staysBelow: 1),
        ]

        // A trained language model: perplexities, at the bytes that are really stored.
        var perplexities: [String: [Double]] = [:]
        var sizes: [String: Int] = [:]
        for (place, seed) in seeds.enumerated() {
            try context.progress.report("language models", place, of: seeds.count)
            guard
                let task = try CompressionTask(
                    seed: seed, steps: context.quick ? 400 : 1000, progress: context.progress)
            else { continue }
            let arms: [(String, any PruningMethod, Pattern?, Double?)] = [
                ("ARMOR", ARMOR(blockSize: 8, iterations: iterations), .nm(n: 2, m: 4), nil),
                ("Wanda 2:4", Wanda(), .nm(n: 2, m: 4), nil), ("SparseGPT 2:4", SparseGPT(), .nm(n: 2, m: 4), nil),
            ]
            perplexities["dense", default: []].append(try task.perplexity(task.decoder))
            for (name, method, pattern, sparsity) in arms {
                let (decoder, report) = try task.compressed(method, pattern: pattern, sparsity: sparsity)
                perplexities[name, default: []].append(try task.perplexity(decoder))
                sizes[name] = report.bytes.after
            }
        }
        if let dense = perplexities["dense"].map(Sample.init) {
            func sample(_ name: String) -> Sample { Sample(perplexities[name]!) }
            measurements.append(Measurement("perplexity of the dense model", dense))
            for rival in ["Wanda 2:4", "SparseGPT 2:4"] {
                measurements.append(
                    Measurement(
                        "perplexity a character, ARMOR", sample("ARMOR"),
                        baseline: sample(rival), baselineName: rival))
                checks.append(
                    Check("perplexity: ARMOR below \(rival)", sample("ARMOR") / sample(rival), staysBelow: 1))
            }
            notes.append(
                "Bytes of the pruned matrices: ARMOR \(sizes["ARMOR"]!), 2:4 \(sizes["Wanda 2:4"]!). Blocks of 8 on matrices "
                    + "96 wide cost a sixth of the dense numbers; the authors' 128 on 4096 cost a sixteenth.")
        } else {
            missing.append(RealData.austenIsMissing)
        }
        return Outcome(
            setting:
                "\(seeds.count) synthetic layers (256 inputs, 128 outputs, Student-t weights; blocks of 8, \(iterations) "
                + "iterations) and as many transformers of two blocks trained on Jane Austen, compressed without recovery",
            measurements: measurements, checks: checks, notes: notes, missing: missing)
    }
}
