import LacunaLearn
import LacunaSparse
import LacunaTensor

/// A variational head whose latents each feed few groups of the features that it reconstructs.
///
/// An embedding `s` becomes a Gaussian latent `z` (mean and log-variance are linear in `s`), and group `g` of the
/// features is decoded as `W_g z`. Beside reconstruction and divergence from the normal prior there is `λ Σ_g Σ_k
/// ‖W_g[:, k]‖`, a group lasso on the columns: latent `k` has nothing to do with group `g` once its column is 0,
/// which the proximal step of ``Pruning`` makes exactly so. Max Hartman, Lav Varshney, "SparseJEPA: Sparse
/// Representation Learning of Joint Embedding Predictive Architectures", arXiv 2504.16140; Samuel Ainsworth and
/// others, "oi-VAE", ICML 2018.
public final class GroupSparseHead: Module {
    /// What gives the mean and the logarithm of the variance of each latent, from an embedding.
    public let mean, logVariance: Linear
    /// [outputs, latents].
    public let decoder: Parameter<Float>
    /// Rows of the decoder that belong together.
    public let groups: [Range<Int>]

    /// Number of latents.
    public var latents: Int { decoder.shape[1] }
    public var parts: [(name: String, part: Any)] {
        [("mean", mean), ("log_variance", logVariance), ("decoder.weight", decoder)]
    }

    /// - Parameters:
    ///   - embedding: Dimensions of what is encoded.
    ///   - outputs: Features that are reconstructed, in `groups` blocks of equal size.
    /// - Throws: `LacunaError.invalidArgument` for sizes that are not positive, or groups that do not divide the
    ///   features.
    public init(
        embedding: Int, latents: Int, outputs: Int, groups: Int, using generator: inout SeededGenerator
    ) throws {
        guard embedding >= 1, latents >= 1, groups >= 1, outputs >= groups, outputs % groups == 0 else {
            throw LacunaError.invalidArgument(
                "groups", reason: "\(groups) groups of \(outputs) features, \(latents) latents")
        }
        mean = Linear(inputDimensions: embedding, outputDimensions: latents, using: &generator)
        logVariance = Linear(inputDimensions: embedding, outputDimensions: latents, using: &generator)
        // Small variances at first, so that latents carry something before they are noisy.
        logVariance.bias!.value = Tensor(repeating: -3, shape: [latents])
        decoder = Parameter(
            Tensor(normal: [outputs, latents], standardDeviation: 1 / Float(latents).squareRoot(), using: &generator),
            decays: false)
        let size = outputs / groups
        self.groups = (0..<groups).map { $0 * size..<($0 + 1) * size }
    }

    /// What the head makes of a batch.
    public struct Output {
        /// Means of the latents [rows, latents].
        public let means: Variable<Float>
        /// Reconstructed features [rows, outputs].
        public let features: Variable<Float>
        /// `KL(q(z | s) ‖ N(0, I))`, summed over latents, a row on average.
        public let divergence: Variable<Float>
    }

    /// - Parameter noise: Standard normal numbers [rows, latents] that latents are drawn with; nil for their means.
    public func callAsFunction(_ s: Variable<Float>, noise: Tensor<Float>? = nil) -> Output {
        let (mu, logs) = (mean(s), logVariance(s).clamped(to: -12...6))
        var z = mu
        if let noise { z = mu + logs.affine(0.5).map(.exponential) * s.tape.constant(noise) }
        let terms = mu * mu + logs.map(.exponential) - logs + -1
        return Output(
            means: mu, features: z.linear(decoder.on(s.tape)),
            divergence: terms.sum().affine(0.5 / Float(max(s.rows, 1))))
    }

    /// Norms of the decoder's columns within each group, [groups][latents].
    public var columnNorms: [[Double]] {
        let (p, k) = (decoder.buffer.pointer, latents)
        return groups.map { rows in
            (0..<k).map { j in rows.reduce(0.0) { $0 + Double(p[$1 * k + j]) * Double(p[$1 * k + j]) }.squareRoot() }
        }
    }

    /// Latents that feed a group at all, and the mean number of groups that each of them feeds.
    public var connections: (live: Int, groupsEach: Double) {
        let norms = columnNorms
        let counts = (0..<latents).map { j in norms.count { $0[j] > 0 } }
        let live = counts.count { $0 > 0 }
        return (live, Double(counts.reduce(0, +)) / Double(max(live, 1)))
    }

    /// Makes zeros: the proximal step of the group lasso after every step of the optimiser.
    public final class Pruning: TrainingHook {
        private let head: GroupSparseHead
        private let weight: Double

        /// - Parameter weight: λ, 0 or more. A column is shortened by λ times the learning rate.
        public init(_ head: GroupSparseHead, weight: Double) {
            require(weight >= 0, "a weight of \(weight)")
            (self.head, self.weight) = (head, weight)
        }

        public func afterStep(_ run: TrainingRun) throws {
            head.shrink(by: Float(weight * run.optimizer.learningRate * head.decoder.rateFactor))
        }
    }

    /// Shortens every group's every column, to 0 if it is no longer than `threshold`.
    func shrink(by threshold: Float) {
        let (p, k) = (decoder.buffer.pointer, latents)
        for rows in groups {
            var column = [Float](repeating: 0, count: rows.count)
            for j in 0..<k {
                for (i, r) in rows.enumerated() { column[i] = p[r * k + j] }
                Proximal.groupSoftThreshold(&column, count: column.count, threshold: threshold)
                for (i, r) in rows.enumerated() { p[r * k + j] = column[i] }
            }
        }
        decoder.noteChange()
    }
}
