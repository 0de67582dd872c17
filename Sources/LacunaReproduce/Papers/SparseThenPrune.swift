import Lacuna

/// Checks what a penalty on attention does to a vision transformer, and to its pruning.
struct SparseThenPruneReproduction: Reproduction {
    let shortName = "SparseThenPrune"
    let paper = 101
    let title = "Sparse then Prune: Toward Efficient Vision Transformers"
    let arXiv: String? = "2307.11988"
    let claim =
        "A term log(1 + a²) of attention beside the loss makes a vision transformer a little more accurate, by 0.12 points, and more "
        + "accurate when it is pruned, by 0.3 to 1.8 points."

    func run(_ context: ReproductionContext) throws -> Outcome {
        let count = context.quick ? 5 : 8
        let coefficients: [Double] = context.quick ? [0, 0.01, 1] : [0, 0.01, 0.1, 1]
        let sparsities: [Double] = [0, 0.1, 0.3, 0.5, 0.7]
        var accuracy = coefficients.map { _ in sparsities.map { _ in [Double]() } }
        var entropy = coefficients.map { _ in [Double]() }
        var gathered: [Double] = []
        for index in 0..<count {
            let seed = context.seed &* 1000 &+ UInt64(index)
            guard let (train, test) = try SmallViT.digits(seed: seed) else {
                return Outcome.notRun(missing: SmallViT.missing)
            }
            func trained(_ penalty: AttentionPenalty) throws -> TrainableViT {
                let model = try SmallViT.fresh(train, seed: seed)
                try SmallViT.train(model, train, epochs: context.quick ? 12 : 30, hooks: [penalty], seed: seed)
                return model
            }
            func entropies(_ model: TrainableViT) -> Double {
                AttentionPenalty.entropies(model, test.prefix(100).inputs).last!
            }
            for (number, coefficient) in coefficients.enumerated() {
                try context.progress.report(
                    "seeds", index * coefficients.count + number, of: count * coefficients.count)
                let model = try trained(AttentionPenalty(coefficient: coefficient))
                entropy[number].append(entropies(model))
                for (place, sparsity) in sparsities.enumerated() {
                    let pruned = try SmallViT.copy(model, train)
                    try OneShotPruning(budget: GlobalBudget(sparsity), layers: .all).prune(pruned)
                    accuracy[number][place].append(ClassifierTraining.accuracy(pruned, test))
                }
            }
            gathered.append(entropies(try trained(AttentionPenalty(coefficient: 0.1, kind: .entropy))))
        }
        var measurements: [Measurement] = []
        let plain = accuracy[0].map { Sample($0) }
        for (number, coefficient) in coefficients.enumerated() {
            for (place, sparsity) in sparsities.enumerated() {
                measurements.append(
                    Measurement(
                        "accuracy, coefficient \(coefficient), \(Int((100 * sparsity).rounded())) % pruned",
                        Sample(accuracy[number][place]), baseline: number == 0 ? nil : plain[place],
                        baselineName: "no penalty"))
            }
            measurements.append(
                Measurement(
                    "entropy of the last block's attention, coefficient \(coefficient)", Sample(entropy[number]),
                    baseline: number == 0 ? nil : Sample(entropy[0]), baselineName: "no penalty"))
        }
        measurements.append(
            Measurement(
                "entropy of the last block's attention, entropy as the penalty", Sample(gathered),
                baseline: Sample(entropy[0]),
                baselineName: "no penalty"))
        func gain(_ number: Int, _ places: Range<Int>) -> Sample {
            let means = accuracy[number][0].indices.map { seed in
                places.reduce(0) { $0 + accuracy[number][$1][seed] - accuracy[0][$1][seed] } / Double(places.count)
            }
            return Sample(means)
        }
        measurements.append(
            Measurement("gain of the pruned at coefficient 0.01, mean of all", gain(1, 1..<sparsities.count)))
        return Outcome(
            setting:
                "mean of \(count) vision transformers of 2 blocks, width 32 and 17 tokens on 1797 digits, trained anew, then pruned once, "
                + "all matrices together, without training again",
            measurements: measurements,
            checks: [
                Check(
                    "the authors' coefficient 0.01 makes the unpruned network more accurate", gain(1, 0..<1), exceeds: 0
                ),
                Check(
                    "the authors' coefficient 0.01 makes pruned networks more accurate", gain(1, 1..<sparsities.count),
                    exceeds: 0),
                Check(
                    "the penalty spreads attention: entropy rises at coefficient 1",
                    Sample(entropy.last!) - Sample(entropy[0]), exceeds: 0),
                Check("entropy as a penalty gathers it", Sample(entropy[0]) - Sample(gathered), exceeds: 0),
            ],
            notes: [
                "log(1 + a²) over weights that sum to 1 is smallest where all are equal: the penalty is a smoother, whatever it is called.",
                "The authors fine-tune ViT-B/16 on ImageNet weights; their effects are below what a few seeds of a small network resolve.",
                "Norms and the patches' kernel are not pruned here: small gains would take whole channels with them.",
            ])
    }
}
