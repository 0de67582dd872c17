import Lacuna

/// Checks that a vision transformer stays accurate as it becomes 2:4 sparse and then 8- or 4-bit, learning from what it was.
struct GPUSQViTReproduction: Reproduction {
    let shortName = "GPUSQ-ViT"
    let paper = 72
    let title = "Boost Vision Transformer with GPU-Friendly Sparsity and Quantization"
    let arXiv: String? = "2305.10727"
    let claim =
        "2:4 sparsity and quantisation, each with distillation, make vision transformers 6.4 (8 bits) to 12.7 (4 bits) times smaller at "
        + "negligible loss of accuracy; distilling features matters."

    func run(_ context: ReproductionContext) throws -> Outcome {
        let count = 5
        let epochs = context.quick ? (dense: 12, sparse: 4, rounded: 4) : (dense: 30, sparse: 10, rounded: 10)
        let names = [
            "dense", "2:4 at once", "2:4, distilled", "8 bits", "4 bits", "4 bits, no features",
            "4 bits, rounded at the end alone",
        ]
        var (measurements, checks, missing) = ([Measurement](), [Check](), [String]())
        for bed in context.quick ? ["digits"] : ["digits", "Fashion-MNIST"] {
            var accuracy = names.map { _ in [Double]() }
            var smaller = [8: [Double](), 4: [Double]()]
            for index in 0..<count {
                let seed = context.seed &* 1000 &+ UInt64(index)
                let data =
                    bed == "digits"
                    ? try SmallViT.digits(seed: seed) : try SmallViT.fashion(trainCount: 6000, testCount: 2000)
                guard let (train, test) = data else {
                    missing.append(bed == "digits" ? SmallViT.missing : RealData.fashionIsMissing)
                    break
                }
                try context.progress.report(bed, index, of: count)
                func note(_ number: Int, _ model: TrainableViT) {
                    accuracy[number].append(ClassifierTraining.accuracy(model, test))
                }
                let dense = try SmallViT.fresh(train, seed: seed)
                try SmallViT.train(dense, train, epochs: epochs.dense, seed: seed)
                note(0, dense)
                let pruned = try SmallViT.copy(dense, train)
                try OneShotPruning(pattern: .nm(n: 2, m: 4), budget: nil, layers: LayerChoice("*.layer.*")).prune(
                    pruned)
                note(1, pruned)
                func sparse(_ method: GPUSQViT) throws -> (model: TrainableViT, distances: [Double]) {
                    let model = try SmallViT.copy(dense, train)
                    let distances = try method.sparsify(
                        model, teacher: dense, on: train, optimizer: Adam(),
                        plan: SmallViT.plan(train, epochs: epochs.sparse, rate: 1e-3, seed: seed &+ 1), batch: 64)
                    return (model, distances)
                }
                let teacher = try sparse(GPUSQViT())
                note(2, teacher.model)
                for (number, bits, features) in [(3, 8, 5.0), (4, 4, 5), (5, 4, 0)] {
                    let method = try GPUSQViT(bits: bits, features: features)
                    let student = try SmallViT.copy(teacher.model, train)
                    try method.quantize(
                        student, teacher: teacher.model, distances: features == 0 ? nil : teacher.distances, on: train,
                        optimizer: Adam(),
                        plan: SmallViT.plan(train, epochs: epochs.rounded, rate: 5e-4, seed: seed &+ 2),
                        batch: 64)
                    note(number, student)
                    if number < 5 {
                        let bytes = try method.stored(student).map {
                            (own: $0.matrix.byteCount, full: 4 * $0.matrix.rows * $0.matrix.columns)
                        }
                        smaller[bits]!.append(
                            Double(bytes.reduce(0) { $0 + $1.full }) / Double(bytes.reduce(0) { $0 + $1.own }))
                    }
                }
                // Ranges of inputs are found in one epoch at rate 0; no weight is trained.
                let rounded = try SmallViT.copy(teacher.model, train)
                try GPUSQViT(bits: 4).quantize(
                    rounded, teacher: teacher.model, on: train, optimizer: Adam(),
                    plan: SmallViT.plan(train, epochs: 1, rate: 0, seed: seed &+ 2), batch: 64)
                note(6, rounded)
            }
            if accuracy[0].isEmpty { continue }
            let found = accuracy.map { Sample($0) }
            for (number, name) in names.enumerated() {
                measurements.append(
                    Measurement(
                        "\(bed): accuracy, \(name)", found[number], baseline: number == 0 ? nil : found[0],
                        baselineName: "dense"))
            }
            for bits in [8, 4] {
                measurements.append(
                    Measurement("\(bed): matrices smaller than as f32, 2:4 and \(bits) bits", Sample(smaller[bits]!)))
            }
            checks += [
                Check(
                    "\(bed): 2:4 with distillation is within a point of dense", found[0] - found[2], staysBelow: 0.01),
                Check("\(bed): 8 bits are within a point of dense", found[0] - found[3], staysBelow: 0.01),
                Check("\(bed): 4 bits are within 3 points of dense", found[0] - found[4], staysBelow: 0.03),
                Check("\(bed): 4 bits are better trained than rounded at the end", found[4] - found[6], exceeds: 0),
                Check("\(bed): with 4 bits features help", found[4] - found[5], exceeds: 0),
            ]
        }
        return Outcome(
            setting:
                "mean of \(count) vision transformers of 2 blocks, width 32 and 4 heads; \(epochs.dense) epochs dense, \(epochs.sparse) "
                + "sparse, \(epochs.rounded) rounded",
            measurements: measurements, checks: checks,
            notes: [
                "Sizes are of the blocks' matrices as this toolkit stores them, with scales; at width 32 scales weigh more than in DeiT.",
                "The authors' speeds are of tensor cores, which are not measured here.",
            ], missing: missing)
    }
}
