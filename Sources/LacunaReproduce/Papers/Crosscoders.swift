import Lacuna

/// Checks that a penalty on strengths makes shared features look like one model's alone, and that latent scaling tells.
struct CrosscodersReproduction: Reproduction {
    let shortName = "Crosscoders"
    let paper = 54
    let title = "Overcoming Sparsity Artifacts in Crosscoders to Interpret Chat-Tuning"
    let arXiv: String? = "2504.02922"
    let claim =
        "Crosscoders trained with an L1 penalty show features as specific to one model that both have; latent scaling finds them "
        + "out, and BatchTopK crosscoders show far fewer."

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = 5
        let steps = context.quick ? 1500 : 3500
        var (wrong, right) = ([Sample(), Sample()], [Sample(), Sample()])
        var (weakRatio, trueRatio, confirmedWeak) = (Sample(), Sample(), Sample())
        for index in 0..<seeds {
            try context.progress.report("crosscoders", index, of: seeds)
            let seed = context.seed &* 1000 &+ UInt64(index)
            let pair = try Pair(seed: seed)
            let source = pair.batches(of: 256, seed: seed)
            let test = (0..<8).map { source.batch(step: 1_000_000 + $0).inputs }
            for (i, rule) in [SelectionRule.relu, .batchTopK(4)].enumerated() {
                let crosscoder = try Crosscoder(
                    dimensions: (64, 64), width: 80, rule: rule, norm: i == 0 ? 0.1 : 1, seed: seed)
                var settings = DictionaryBed.settings(batch: 256, seed: seed)
                if i == 0 {
                    settings.sparsity = SparsityPenalty(0.3, warmUp: 200)
                    settings.auxiliary = nil
                }
                try crosscoder.dictionary.train(on: source, steps: steps, settings)
                let comparison = try ModelComparisonByFeatures(crosscoder, on: test)
                let scaling = try crosscoder.scaling(on: test)
                let groups = comparison.second.candidates.map { pair.group(of: $0, crosscoder) }
                wrong[i].values.append(Double(groups.count { $0 == .weak }))
                right[i].values.append(Double(groups.count { $0 == .second }))
                if i == 0 {
                    for (feature, group) in zip(comparison.second.candidates, groups) {
                        guard let ratio = scaling.errorRatio[feature] else { continue }
                        if group == .weak { weakRatio.values.append(ratio) }
                        if group == .second { trueRatio.values.append(ratio) }
                    }
                    let confirmed = comparison.second.confirmed.map { pair.group(of: $0, crosscoder) }
                    confirmedWeak.values.append(Double(confirmed.count { $0 == .weak }))
                }
            }
        }
        return Outcome(
            setting:
                "two models of 64 dimensions: 24 atoms of both, 8 that the first has with 0.3 of the norm, 8 of the second "
                + "alone; crosscoders of 80, \(steps) steps of 256; \(seeds) seeds",
            measurements: [
                wrong[0].measured(
                    "features of weak atoms that look like the second model's alone, L1", against: wrong[1], "BatchTopK"
                ),
                right[0].measured("features of its own atoms that do, L1", against: right[1], "BatchTopK"),
                weakRatio.measured("latent scaling ratio of the former, L1", against: trueRatio, "of the latter"),
                confirmedWeak.measured("of the former, left after latent scaling, L1", against: wrong[0], "before"),
            ],
            checks: [
                Check("L1 shows more weak atoms as the second model's alone", (wrong[0] - wrong[1]).low, .greater, 1),
                Check("BatchTopK shows hardly any", wrong[1].high, .less, 1),
                Check("BatchTopK shows atoms that are", right[1].low, .greater, 2),
                Check("latent scaling is near 0 where it is true", trueRatio.high, .less, 0.1),
                Check("and near the ratio of norms where it is not", abs(weakRatio.mean - 0.3), .less, 0.1),
                Check("it takes out nearly all of them", (confirmedWeak / wrong[0]).high, .less, 0.2),
            ])
    }

    /// What each atom is to the two models.
    private enum Group { case shared, weak, second }

    /// Two models' activations with known atoms.
    private struct Pair: Sendable {
        let atoms: SuperposedAtoms
        private static let weakNorm: Float = 0.3

        init(seed: UInt64) throws {
            atoms = try SuperposedAtoms(dimensions: 64, atoms: 40, activity: .exactly(1), seed: seed)
        }

        private func group(_ atom: Int) -> Group { atom < 24 ? .shared : atom < 32 ? .weak : .second }

        func batches(of size: Int, seed: UInt64) -> GeneratedBatches {
            GeneratedBatches { [self] step in
                var generator = SeededGenerator(seed: seed, stream: 0x2A17 &+ UInt64(step))
                var f = Tensor<Float>(zeros: [size, 40])
                for t in 0..<size {
                    for j in 0..<40 where generator.uniform() < 0.08 { f[t, j] = Float(0.5 + generator.uniform()) }
                }
                var first = f
                for t in 0..<size {
                    for j in 24..<40 { first[t, j] *= j < 32 ? Self.weakNorm : 0 }
                }
                func signal(_ f: Tensor<Float>) -> Tensor<Float> {
                    var x = f.multiplied(by: atoms.directions)
                    let n = x.count
                    x.withMutablePointer { p in for i in 0..<n { p[i] += Float(0.01 * generator.normal()) } }
                    return x
                }
                return ActivationBatch(step: step, inputs: Crosscoder.beside(signal(first), signal(f)))
            }
        }

        /// The group of the atom that a feature's direction in the second model is nearest to; nil if to none.
        func group(of feature: Int, _ crosscoder: Crosscoder) -> Group? {
            let direction = crosscoder.directions(ofModel: 1).rows(feature..<feature + 1)
            let products = atoms.directions.multiplied(by: direction, otherTransposed: true).scalars
            let norm = direction.scalars.reduce(0) { $0 + $1 * $1 }.squareRoot()
            let best = products.indices.max { products[$0] < products[$1] }!
            return norm > 0 && products[best] / norm > 0.7 ? group(best) : nil
        }
    }
}
