import LacunaLearn
import LacunaTensor

/// A variational autoencoder of users' items: what a user has goes in, the probability of every item comes out.
///
/// Dawen Liang, Rahul G. Krishnan, Matthew D. Hoffman, Tony Jebara, "Variational Autoencoders for Collaborative Filtering", arXiv
/// 1802.05814: rows of unit length, half of the entries dropped while training, one hidden layer with a hyperbolic tangent on
/// either side, multinomial likelihood, and a divergence whose weight rises along a line to ``divergence``.
public final class MultVAE: Recommender {
    /// [hidden, items] and [2 · latent, hidden]: means above logarithms of variances.
    public let encoder: [Linear]
    /// [hidden, latent] and [items, hidden].
    public let decoder: [Linear]
    /// The weight of the divergence once it has risen.
    public let divergence: Float
    /// Steps until then.
    public let annealing: Int
    private let latent: Int

    /// - Throws: `LacunaError.invalidArgument` for widths or weights out of range.
    public init(
        _ data: Interactions, hidden: Int = 128, latent: Int = 64, divergence: Float = 0.2, annealing: Int = 1000,
        using generator: inout SeededGenerator
    ) throws {
        guard hidden > 0, latent > 0, divergence >= 0, annealing >= 0 else {
            throw LacunaError.invalidArgument(
                "recommender", reason: "widths \(hidden) and \(latent), weight \(divergence)")
        }
        func linear(_ inputs: Int, _ outputs: Int) -> Linear {
            Linear(inputDimensions: inputs, outputDimensions: outputs, using: &generator)
        }
        encoder = [linear(data.itemCount, hidden), linear(hidden, 2 * latent)]
        decoder = [linear(latent, hidden), linear(hidden, data.itemCount)]
        (self.divergence, self.annealing, self.latent) = (divergence, annealing, latent)
    }

    public var tables: LayerChoice { .all }

    private static func rows(_ users: [Int32], _ data: Interactions) -> Tensor<Float> {
        var x = Tensor<Float>(zeros: [users.count, data.itemCount])
        x.withMutablePointer { x in
            for (row, user) in users.enumerated() {
                for item in data.items(of: Int(user)) { x[row * data.itemCount + Int(item)] = 1 }
            }
        }
        return x
    }

    private func encoded(_ x: Variable<Float>) -> (mean: Variable<Float>, logVariance: Variable<Float>) {
        let y = encoder[1](encoder[0](x.rowNormalized().dropout(0.5)).tanh())
        return (y.sliced(columns: 0..<latent), y.sliced(columns: latent..<2 * latent))
    }

    private func decoded(_ z: Variable<Float>) -> Variable<Float> { decoder[1](decoder[0](z).tanh()) }

    public func loss(
        _ data: Interactions, batch: Int, step: Int, seed: UInt64, on tape: Tape<Float>
    ) -> Variable<Float> {
        var generator = SeededGenerator(seed: seed, stream: 0x3AE &+ UInt64(step))
        let users = (0..<batch).map { _ in Int32.random(in: 0..<Int32(data.users), using: &generator) }
        let x = tape.constant(Self.rows(users, data))
        let (mean, logVariance) = encoded(x)
        let noise = tape.constant(Tensor(normal: [batch, latent], standardDeviation: 1, using: &generator))
        let logits = decoded(mean + noise * logVariance.affine(0.5).map(.exponential))
        let likelihood = (logits.logSoftmax() * x).sum()
        // ½ Σ (σ² + μ² - 1 - log σ²)
        let spread = (logVariance.map(.exponential) + mean.map(.square) - logVariance).affine(1, -1).sum().affine(0.5)
        let weight = divergence * (annealing == 0 ? 1 : min(1, Float(step) / Float(annealing)))
        return (spread.affine(weight) - likelihood).affine(1 / Float(max(batch, 1)))
    }

    public func scores(of chosen: [Int32], _ data: Interactions, on tape: Tape<Float>) -> Variable<Float> {
        decoded(encoded(tape.constant(Self.rows(chosen, data))).mean)
    }
}
