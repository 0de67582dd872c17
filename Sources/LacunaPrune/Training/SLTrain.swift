import LacunaIO
import LacunaLearn
import LacunaSparse
import LacunaTensor

/// Pre-training with weights that are a low-rank product and a few entries more: `W = (α / r) B A + S`.
///
/// The support of `S` is random and fixed. `A` and the entries of `S` start uniform in ±1/√inputs, `B` at zero. Parameters
/// and optimiser states of a layer are `r (out + in) + δ out in` instead of `out in`, and so are the multiplications of an
/// input row; with the authors' product the matrix is whole inside each product, and nothing but inputs is kept for the way back. With r = 0 the method is static sparse training. With δ = 0 it is plain low rank, of which both factors start at
/// random, with entries of the product as large as those of a layer of its own: where `B` is zero and there is no `S`,
/// layer on layer gives nothing and learns nothing.
///
/// Andi Han and others, "SLTrain: a sparse plus low-rank approach for parameter and memory efficient pretraining",
/// arXiv 2406.02214. δ is their default. They give α 32 to rank 128, 16 to rank 256 and 8 to rank 512: what the product is
/// multiplied by, α / r, is a quarter at most. The default is that quarter whatever the rank, since a smaller one asks for a
/// learning rate that grows as it falls.
public final class SLTrain: TrainingMethod {
    /// r.
    public let rank: Int
    /// α: the product is multiplied by α / r.
    public let alpha: Float
    /// δ: the share of entries in `S`.
    public let density: Double
    /// How inputs are multiplied.
    public let product: LowRankSparseWeight.Product
    /// The layers whose weights are replaced, whatever they held.
    public let layers: LayerChoice

    /// - Parameters:
    ///   - rank: At least 0.
    ///   - alpha: nil for `rank / 4`.
    ///   - density: In 0...1.
    /// - Throws: `LacunaError.invalidArgument` for numbers out of range.
    public init(
        rank: Int, alpha: Double? = nil, density: Double = 0.03, product: LowRankSparseWeight.Product = .factored,
        layers: LayerChoice = .all
    ) throws {
        guard rank >= 0 else { throw LacunaError.invalidArgument("rank", reason: "\(rank) is negative") }
        guard (0...1).contains(density) else {
            throw LacunaError.invalidArgument("density", reason: "\(density) is not in 0...1")
        }
        guard alpha?.isFinite ?? true else { throw LacunaError.invalidArgument("alpha", reason: "is not finite") }
        self.rank = rank
        self.alpha = Float(alpha ?? Double(rank) / 4)
        self.density = density
        self.product = product
        self.layers = layers
    }

    public var card: MethodCard {
        MethodCard(
            name: "sltrain", family: .sparseTraining,
            paper: .init(
                authors:
                    "Andi Han, Jiaxiang Li, Wei Huang, Mingyi Hong, Akiko Takeda, Pratik Jawanpuria, Bamdev Mishra",
                title: "SLTrain: a sparse plus low-rank approach for parameter and memory efficient pretraining",
                arXiv: "2406.02214"),
            composition: ["random", "fixed support", "low-rank + sparse weights"],
            implements: [
                "s·B A + S on a fixed random support",
                "the start of the authors",
                "s·B (A x) + S x, or the matrix made anew for each product",
            ],
            leavesOut: ["8-bit moments, updates layer by layer", "language models are saved as the sum of both parts"])
    }

    public func begin(_ run: TrainingRun) throws {
        for (_, layer) in try layers.layers(of: run.model) {
            let weight = LowRankSparseWeight(
                outputs: layer.outputDimensions, inputs: layer.inputDimensions, rank: rank, alpha: alpha,
                density: density, product: product, using: &run.generator)
            if weight.support.isEmpty && rank > 0 && alpha != 0 {
                // Variances: α²/r² · r · 1/(3 inputs) · var B = 1/(3 inputs).
                let deviation = Float(rank).squareRoot() / abs(alpha)
                weight.b.value = Tensor(
                    normal: weight.b.shape, standardDeviation: deviation, using: &run.generator)
            }
            layer.weight = weight
        }
    }
}
