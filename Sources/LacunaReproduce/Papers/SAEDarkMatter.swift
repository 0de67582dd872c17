import Lacuna

/// Checks that part of what dictionaries miss is a linear function of the activations, and what is left does not
/// shrink with width.
struct SAEDarkMatterReproduction: Reproduction {
    let shortName = "DarkMatter"
    let paper = 104
    let title = "Decomposing The Dark Matter of Sparse Autoencoders"
    let arXiv: String? = "2410.14670"
    let claim =
        "Much of a sparse autoencoder's error is linearly predictable from its input; what is not stays about the same as "
        + "dictionaries grow, and finding codes by pursuit lowers it only slightly."

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = 5
        let widths = [96, 192, 384]
        let steps = context.quick ? 1000 : 2500
        var raw = [Sample](repeating: Sample(), count: 3)
        var (corrected, share, norm, pursuit) = (raw, raw, raw, raw)
        for index in 0..<seeds {
            try context.progress.report("dictionaries", index, of: seeds)
            let seed = context.seed &* 1000 &+ UInt64(index)
            var atoms = try SuperposedAtoms(
                dimensions: 64, atoms: 160, activity: .geometric(mean: 6, limit: 20), seed: seed)
            atoms.frequencies = (1...160).map { 1 / (Double($0) + 10) }
            atoms.noise = 0.03
            var generator = SeededGenerator(seed: seed, stream: 0xDA4B)
            // A dense Gaussian part in 6 dimensions beside the sparse one.
            let basis = Tensor<Float>(normal: [6, 64], standardDeviation: 1.0 / 8, using: &generator)
            func draw(_ n: Int) -> Tensor<Float> {
                var x = atoms.draw(n, using: &generator).x
                let dense = Tensor<Float>(normal: [n, 6], standardDeviation: 0.25, using: &generator).multiplied(
                    by: basis)
                x.withMutablePointer { p in
                    dense.withPointer { d in for i in 0..<n * 64 { p[i] += d[i] } }
                }
                return x
            }
            let (train, test) = (draw(12_000), draw(12_000))
            for (i, width) in widths.enumerated() {
                let dictionary = try SparseAutoencoder(
                    .init(inputDimensions: 64, width: width, rule: .batchTopK(10)), seed: seed)
                try dictionary.train(
                    on: ActivationRows(train, batchSize: 512, seed: seed), steps: steps,
                    DictionaryBed.settings(batch: 512, seed: seed))
                let found = try DarkMatter(of: dictionary, fit: [train], judge: [test])
                raw[i].values.append(found.unexplained)
                corrected[i].values.append(found.unexplainedNonlinear)
                share[i].values.append(found.linearShare)
                norm[i].values.append(found.normDetermination)
                let sample = test.rows(0..<4000)
                let direct = try DictionaryQuality(of: dictionary, on: [ActivationBatch(step: 0, inputs: sample)])
                let greedy = dictionary.decode(try dictionary.pursue(sample))
                let rest = Self.squaredDistance(sample, greedy)
                let whole = Self.squaredDistance(sample, try dictionary.reconstruct(sample))
                pursuit[i].values.append(direct.unexplained * rest / whole)
            }
        }
        return Outcome(
            setting:
                "160 atoms of skewed frequencies in 64 dimensions, a dense Gaussian part of 6 dimensions and noise; BatchTopK "
                + "dictionaries of 96, 192 and 384, k = 10, \(steps) steps of 512, least squares on 12,000 vectors, judged on "
                + "12,000 others; \(seeds) seeds",
            measurements: widths.indices.flatMap { i in
                [
                    raw[i].measured("variance not explained, width \(widths[i])"),
                    corrected[i].measured("with the linear part of the error added, width \(widths[i])"),
                    share[i].measured("linear share of the error, width \(widths[i])"),
                    norm[i].measured("determination of its norm, width \(widths[i])"),
                    pursuit[i].measured("variance not explained by gradient pursuit, width \(widths[i])"),
                ]
            },
            checks: [
                Check("part of the error is linear at every width", share.map(\.low).min()!, .greater, 0.05),
                Check("the error falls with width", (raw[2] - raw[0]).high, .less, 0),
                Check(
                    "its nonlinear part falls by a smaller share", (corrected[2] / corrected[0] - raw[2] / raw[0]).low,
                    .greater, 0),
                Check("the linear share shrinks with width", (share[2] - share[0]).high, .less, 0),
                Check(
                    "pursuit lowers the error at every width",
                    widths.indices.map { (pursuit[$0] / raw[$0]).high }.max()!, .less, 1),
                Check("but not by 40 %", widths.indices.map { (pursuit[$0] / raw[$0]).low }.min()!, .greater, 0.6),
            ],
            notes: ["The authors' half of the error and nine tenths of its norm are those of a language model."])
    }

    private static func squaredDistance(_ a: Tensor<Float>, _ b: Tensor<Float>) -> Double {
        a.withPointer { p in
            b.withPointer { q in
                (0..<a.count).reduce(0.0) { $0 + Double(p[$1] - q[$1]) * Double(p[$1] - q[$1]) }
            }
        }
    }
}
