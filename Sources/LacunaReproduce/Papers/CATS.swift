import Lacuna

/// Checks that thresholds on gate activations hold on fresh inputs, and choose neurons far better than chance.
struct CATSReproduction: Reproduction {
    let shortName = "CATS"
    let paper = 71
    let title = "CATS: Contextually-Aware Thresholding for Sparsity in Large Language Models"
    let arXiv: String? = "2404.08763"
    let claim =
        "A threshold for each layer on |SiLU(gate x)| leaves out half of the neurons of gated feed-forward parts at little loss "
        + "and without training; the sparsity that was calibrated is the one that is met."

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = (0..<5).map { context.seed &* 1000 &+ UInt64($0) }
        var measurements: [Measurement] = []
        var checks: [Check] = []
        var missing: [String] = []
        var notes: [String] = []
        for share in [0.5, 0.7, 0.9] {
            let found = Sample(seeds: seeds) { Self.achieved(seed: $0, share: share, scale: 1) }
            measurements.append(Measurement("share left out of fresh activations, \(share) wanted", found))
            checks.append(
                Check("\(share): met within 0.005", found.values.map { abs($0 - share) }.max()!, .less, 0.005))
        }
        let shifted = Sample(seeds: seeds) { Self.achieved(seed: $0, share: 0.5, scale: 2) }
        measurements.append(
            Measurement("the same where inputs are twice as large as in calibration, 0.5 wanted", shifted))
        checks.append(Check("a shift of the inputs shows", shifted, staysBelow: 0.4))

        var losses: [String: [Double]] = [:]
        var description = ""
        for (place, seed) in seeds.enumerated() {
            try context.progress.report("language models", place, of: seeds.count)
            guard let task = try SkippingTask.make(context, seed: seed) else { continue }
            description = task.description
            losses["dense", default: []].append(try task.denseLoss())
            // Half of the neurons, in the weights of all linear layers.
            let configuration = task.decoder.configuration
            func weights(_ roles: [LinearRole]) -> Double {
                roles.reduce(0) { $0 + Double(configuration.shape(of: $1, layer: 0).reduce(1, *)) }
            }
            let ratio = 0.5 * weights([.up, .down]) / weights(LinearRole.allCases)
            let (loss, sparsity) = try task.loss("cats:\(ratio)")
            losses["cats", default: []].append(loss)
            losses["sparsity", default: []].append(sparsity / ratio * 0.5)
            var generator = SeededGenerator(seed: seed, stream: 71)
            let random = ActivationGate(
                inputs: task.decoder.blocks.map { _ in [:] },
                neurons: configuration.intermediateSizes.map { width in
                    let chosen = (0..<UInt32(width)).shuffled(using: &generator).prefix(width / 2).sorted()
                    return .init(.fixed(chosen))
                })
            losses["random", default: []].append(
                try Perplexity.measure(task.decoder, tokens: task.tokens, window: task.window, gate: random).loss)
        }
        if let dense = losses["dense"] {
            let dense = Sample(dense)
            let (found, random) = (Sample(losses["cats"]!), Sample(losses["random"]!))
            measurements += [
                Measurement(
                    "loss a token above the dense model's, half of the neurons left out", found - dense,
                    baseline: random - dense, baselineName: "neurons at random"),
                Measurement("share of neurons left out on fresh text, 0.5 wanted", Sample(losses["sparsity"]!)),
            ]
            checks += [
                Check(
                    "language model: a fifth of the loss of leaving out neurons at random",
                    (found - dense) / (random - dense), staysBelow: 0.2),
                Check(
                    "language model: the share is met on fresh text",
                    losses["sparsity"]!.map { abs($0 - 0.5) }.max()!, .less, 0.03),
            ]
        } else {
            missing.append(SkippingTask.isMissing)
        }
        notes.append("Speed is not part of this check; no fine-tuning follows.")
        return Outcome(
            setting:
                "\(seeds.count) seeds: 200,000 values of SiLU of a normal distribution for calibration and as many to check; "
                + description, measurements: measurements, checks: checks, notes: notes, missing: missing)
    }

    private static func achieved(seed: UInt64, share: Double, scale: Double) -> Double {
        var generator = SeededGenerator(seed: seed, stream: 70)
        func activations(_ scale: Double) -> [Float] {
            let x = (0..<200_000).map { _ in scale * generator.normal() }
            return x.map { Float($0 / (1 + exponential(-$0))) }
        }
        var histogram = ScoreHistogram()
        let seen = activations(1)
        histogram.add(seen, count: seen.count)
        let threshold = histogram.threshold(leavingOut: share) ?? 0
        let fresh = activations(scale)
        return Double(fresh.count { abs($0) <= threshold }) / Double(fresh.count)
    }
}
