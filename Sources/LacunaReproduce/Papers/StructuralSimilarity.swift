import Lacuna

/// Checks that a similarity of small blocks beats the cosine, and all pairs of channels too.
struct StructuralSimilarityReproduction: Reproduction {
    let shortName = "GSSF"
    let paper = 114
    let title = "Generalized Structural Sparse Function for Deep Cross-modal Metric Learning"
    let arXiv: String? = "2410.15266"
    let claim =
        "A similarity that weighs channels, and lets those of a block depend on each other, retrieves better than the cosine, at a small part of "
        + "the weights of a full bilinear form."

    static let width = 64

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = 5
        let steps = context.quick ? 500 : 1500
        let blocks = [1, 4, 8, 64]
        var (cosine, turned, straight): (Sample, [Int: Sample], [Int: Sample]) = (Sample(), [:], [:])
        var cosineStraight = Sample()
        for index in 0..<seeds {
            let seed = context.seed &* 1000 &+ UInt64(index)
            for isTurned in [true, false] {
                let bed = TwoViews(isTurned: isTurned, seed: seed)
                for (place, size) in (isTurned ? blocks : [1, 8]).enumerated() {
                    try context.progress.report(
                        "similarities", index * 6 + (isTurned ? place : 4 + place), of: seeds * 6)
                    let model = try StructuredSimilarity(width: Self.width, blockSize: size)
                    let before = bed.ranking(model).recall(at: 1)
                    try bed.batches(128, seed: seed).train(model, steps: steps, learningRate: 0.02) { pair, tape in
                        let scores = model(tape.constant(pair.x), tape.constant(pair.y)).affine(20)
                        return Loss.crossEntropy(scores, labels: (0..<Int32(pair.x.rows)).map { $0 })
                    }
                    let after = bed.ranking(model).recall(at: 1)
                    if isTurned {
                        turned[size, default: Sample()].values.append(after)
                    } else {
                        straight[size, default: Sample()].values.append(after)
                    }
                    // Before training it is the cosine.
                    if size == 1 {
                        if isTurned { cosine.values.append(before) } else { cosineStraight.values.append(before) }
                    }
                }
            }
        }
        return Outcome(
            setting:
                "64 channels of relevance e^N(0,1), the second view turned within blocks of 8 (or not); InfoNCE at 0.05, batches of 128, "
                + "\(steps) steps; 1000 held-out pairs; \(seeds) seeds",
            measurements: [cosine.measured("Recall@1, cosine")]
                + blocks.map {
                    turned[$0]!.measured(
                        "Recall@1, " + ($0 == 1 ? "channels weighed" : $0 == 64 ? "full form" : "blocks of \($0)")
                            + ", \(Self.width * $0) weights")
                } + [
                    cosineStraight.measured("Recall@1 without turning, cosine"),
                    straight[1]!.measured("Recall@1 without turning, channels weighed"),
                    straight[8]!.measured("Recall@1 without turning, blocks of 8"),
                ],
            checks: [
                Check("blocks of 8 beat the cosine", turned[8]! - cosine, exceeds: 0.3),
                Check("blocks of 8 beat channels weighed one by one", turned[8]! - turned[1]!, exceeds: 0.1),
                Check("blocks of 8 beat blocks of 4", turned[8]! - turned[4]!, exceeds: 0),
                Check("blocks of 8 beat the full form of 8 times the weights", turned[8]! - turned[64]!, exceeds: 0),
                Check(
                    "without turning, weights of channels beat the cosine", straight[1]! - cosineStraight, exceeds: 0),
                Check("and blocks of 8 are not much worse than these", straight[8]! - straight[1]!, exceeds: -0.05),
            ],
            notes: [
                "This is the form whose weights do not depend on the pair; how the authors' do is not said in enough detail to be built."
            ])
    }
}

/// Two noisy views of one thing: x = z + noise / relevance, y = Q z + noise, with Q orthogonal in blocks of 8, or the identity.
struct TwoViews: Sendable {
    let relevance: [Float]
    /// [blocks, 8, 8].
    let rotation: Tensor<Float>
    let test: (x: Tensor<Float>, y: Tensor<Float>)

    struct Pair: Sendable {
        var x: Tensor<Float>
        var y: Tensor<Float>
    }

    init(isTurned: Bool, seed: UInt64) {
        var generator = SeededGenerator(seed: seed, stream: 0x2)
        let width = StructuralSimilarityReproduction.width
        let relevance = (0..<width).map { _ in Float(exponential(generator.normal())) }
        var rotation = Tensor<Float>(zeros: [width / 8, 8, 8])
        for block in 0..<width / 8 {
            let q = Self.orthogonal(8, using: &generator)
            for i in 0..<8 { for j in 0..<8 { rotation[block, i, j] = isTurned ? q[i, j] : i == j ? 1 : 0 } }
        }
        (self.relevance, self.rotation) = (relevance, rotation)
        let held = Self.draw(1000, relevance, rotation, using: &generator)
        test = (held.x, held.y)
    }

    /// A random orthogonal matrix: Gram and Schmidt on normal rows.
    private static func orthogonal(_ n: Int, using generator: inout SeededGenerator) -> Tensor<Float> {
        var q = Tensor<Float>(normal: [n, n], using: &generator)
        for i in 0..<n {
            var row = q.row(i)
            for j in 0..<i {
                let other = q.row(j)
                let along = zip(row, other).reduce(0) { $0 + $1.0 * $1.1 }
                row = zip(row, other).map { $0 - along * $1 }
            }
            let length = row.reduce(0) { $0 + $1 * $1 }.squareRoot()
            for j in 0..<n { q[i, j] = row[j] / length }
        }
        return q
    }

    private static func draw(
        _ count: Int, _ relevance: [Float], _ rotation: Tensor<Float>, using generator: inout SeededGenerator
    ) -> Pair {
        let width = relevance.count
        let z = Tensor<Float>(normal: [count, width], using: &generator)
        var (x, y) = (
            Tensor<Float>(normal: [count, width], using: &generator),
            Tensor<Float>(normal: [count, width], using: &generator)
        )
        z.withPointer { z in
            rotation.withPointer { rotation in
                x.withMutablePointer { x in
                    y.withMutablePointer { y in
                        for place in 0..<count * width {
                            let (row, i) = (place / width, place % width)
                            x[place] = z[place] + x[place] / relevance[i]
                            let (q, part) = (rotation + i * 8, z + row * width + i / 8 * 8)
                            for j in 0..<8 { y[place] += q[j] * part[j] }
                        }
                    }
                }
            }
        }
        return Pair(x: x, y: y)
    }

    func batches(_ count: Int, seed: UInt64) -> DrawnBatches<Pair> {
        let (relevance, rotation) = (relevance, rotation)
        return DrawnBatches(seed: seed) { _, generator in Self.draw(count, relevance, rotation, using: &generator) }
    }

    func ranking(_ model: StructuredSimilarity) -> PairRanking {
        let tape = Tape<Float>()
        return PairRanking(tape.evaluating { model(tape.constant(test.x), tape.constant(test.y)).value })
    }
}
