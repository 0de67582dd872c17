import Lacuna

/// Checks that probabilistic sparse coding finds bars, how many there are at once, and the noise, for sums and for
/// maxima.
struct ProbabilisticBarsReproduction: Reproduction {
    let shortName = "ProSper"
    let paper = 40
    let title = "ProSper - A Python Library for Probabilistic Sparse Coding with Non-Standard Priors and Superpositions"
    let arXiv: String? = "1908.06843"
    let claim =
        "Truncated expectation maximisation learns dictionaries together with sparsity and noise, for binary and other latents and "
        + "for linear and maximum superposition."

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = 5
        let steps = context.quick ? 60 : 100
        let count = context.quick ? 300 : 500
        let kinds: [(name: String, model: ProbabilisticCoding.Model)] = [
            ("binary, sums", .binary), ("binary, maxima", .maximum), ("ternary, sums", .ternary),
        ]
        var found = [Sample](repeating: Sample(), count: kinds.count)
        var (activity, noise) = (found, found)
        var wrong = Sample()
        for index in 0..<seeds {
            try context.progress.report("bars", index, of: seeds)
            let seed = context.seed &* 1000 &+ UInt64(index)
            for (i, kind) in kinds.enumerated() {
                let data = Self.images(kind.model, count: count, seed: seed)
                // Maxima have local optima: the most likely of a few starts.
                let starts = kind.model == .maximum ? 3 : 1
                let best = try (0..<starts).map { start -> (coding: ProbabilisticCoding, score: Double) in
                    var coding = try ProbabilisticCoding(
                        kind.model, for: data, atoms: 10, seed: seed &+ UInt64(1000 * start))
                    try coding.learn(data, .init(for: kind.model, steps: steps))
                    return (coding, coding.logLikelihood(data))
                }.max { $0.score < $1.score }!.coding
                found[i].values.append(Double(Self.recovered(best)))
                activity[i].values.append(best.activity)
                noise[i].values.append(best.noise)
                if kind.model == .maximum {
                    var sums = try ProbabilisticCoding(.binary, for: data, atoms: 10, seed: seed)
                    try sums.learn(data, .init(for: .binary, steps: steps))
                    wrong.values.append(sums.noise)
                }
            }
        }
        return Outcome(
            setting:
                "5 x 5 images of 10 bars of value 10, each there with probability 0.2, noise 2; \(count) images, \(steps) steps, 8 "
                + "candidates, 5 active; maxima the most likely of 3 starts; \(seeds) seeds",
            measurements: kinds.indices.flatMap { i in
                [
                    found[i].measured("bars found of 10, \(kinds[i].name)"),
                    activity[i].measured("probability of a bar (true 0.2), \(kinds[i].name)"),
                    noise[i].measured("noise (true 2), \(kinds[i].name)"),
                ]
            } + [wrong.measured("noise found by sums where bars cover each other", against: noise[1], "by maxima")],
            checks: [
                Check("sums find all bars", found[0].low, .greater, 9.5),
                Check("maxima find nearly all", found[1].low, .greater, 8.5),
                Check("ternary latents find nearly all", found[2].low, .greater, 8.5),
                Check("sparsity is right within 0.03, sums", abs(activity[0].mean - 0.2), .less, 0.03),
                Check("noise is right within 0.15, sums", abs(noise[0].mean - 2), .less, 0.15),
                Check("noise is right within 0.4, maxima", abs(noise[1].mean - 2), .less, 0.4),
                Check(
                    "sums do not explain maxima: they take the rest for noise", (wrong - noise[1]).low, .greater, 0.2),
            ])
    }

    private static func bar(_ b: Int) -> [Int] { (0..<5).map { b < 5 ? 5 * b + $0 : 5 * $0 + b - 5 } }

    private static func images(_ model: ProbabilisticCoding.Model, count: Int, seed: UInt64) -> Tensor<Double> {
        var generator = SeededGenerator(seed: seed, stream: 0xBA25)
        var data = Tensor<Double>(normal: [count, 25], standardDeviation: 2, using: &generator)
        for t in 0..<count {
            var clean = [Double](repeating: 0, count: 25)
            for b in 0..<10 where generator.uniform() < 0.2 {
                let sign: Double = model == .ternary && generator.uniform() < 0.5 ? -1 : 1
                for i in bar(b) { clean[i] = model == .maximum ? max(clean[i], 10) : clean[i] + sign * 10 }
            }
            for i in 0..<25 { data[t, i] += clean[i] }
        }
        return data
    }

    /// Bars that an atom of its own resembles, matched greedily by mean absolute difference below 2, up to sign.
    private static func recovered(_ coding: ProbabilisticCoding) -> Int {
        var free = Set(0..<10)
        var result = 0
        for b in 0..<10 {
            let pixels = Set(bar(b))
            func difference(_ h: Int) -> Double {
                [1.0, -1].map { sign in
                    (0..<25).reduce(0.0) { $0 + abs(sign * coding.atoms[h, $1] - (pixels.contains($1) ? 10 : 0)) / 25 }
                }.min()!
            }
            guard let best = free.min(by: { difference($0) < difference($1) }), difference(best) < 2 else { continue }
            free.remove(best)
            result += 1
        }
        return result
    }
}
