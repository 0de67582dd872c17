import LacunaIO
import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor

/// Pre-training with weights that are a low-rank product beside a few whole columns, both taken from one singular value
/// decomposition of the first weights: `y = γ B φ(A x) + (1 - γ) C x[I]`.
///
/// Of the first weight `W = U S Vᵀ`, `B = U_r √S_r` and `A = √S_r V_rᵀ`; the columns `I` are the longest of what rank r leaves, and
/// `C` starts at these columns of `W`. `I` stays for the whole run. A layer trains `r (out + in) + out ⌊δ in⌋` numbers instead
/// of `out · in`, and multiplies without gaps or scattering.
///
/// Jiaxi Li, Lu Yin, Li Shen, Jinjin Xu, Liwu Xu, Tianjin Huang, Wenwu Wang, Shiwei Liu, Xilu Wang, "LOST: Low-rank and Sparse
/// Pre-training for Large Language Models", arXiv 2508.02668. They put a nonlinearity `φ` between the factors; a layer with
/// one is no matrix, so that a language model with it could not be stored for other programs: it is an option. Their δ is of
/// the order of 0.01; γ, of which they report 0.9 for a model of 130M, is 0.7 here.
public final class LOST: TrainingMethod {
    /// Where the trained columns start.
    public enum Start: String, Sendable, Hashable, CaseIterable {
        /// At those of the first weight.
        case weight
        /// At those of what the rank leaves of it.
        case residual
    }

    /// r, at least 1; no more than a layer's smaller side is used.
    public let rank: Int
    /// δ, 0...1.
    public let density: Double
    /// γ, 0...1.
    public let mix: Double
    /// `φ`; nil for none.
    public let activation: Activation?
    /// Where the trained columns start.
    public let start: Start
    /// Whether both parts are divided by their shares γ and 1 - γ at the beginning, so that entries have their usual size.
    public let rescales: Bool
    /// The layers whose weights are replaced.
    public let layers: LayerChoice

    /// - Throws: `LacunaError.invalidArgument` for numbers out of range.
    public init(
        rank: Int, density: Double = 0.01, mix: Double = 0.7, activation: Activation? = nil, start: Start = .weight,
        rescales: Bool = false, layers: LayerChoice = .allButOutput
    ) throws {
        guard rank >= 1 else { throw LacunaError.invalidArgument("rank", reason: "\(rank) is not positive") }
        guard (0...1).contains(density) else {
            throw LacunaError.invalidArgument("density", reason: "\(density) is not in 0...1")
        }
        guard (0...1).contains(mix), !rescales || (mix > 0 && mix < 1) else {
            throw LacunaError.invalidArgument(
                "mix", reason: "\(mix) is not in 0...1, or a share of 0 is to be made whole")
        }
        (self.rank, self.density, self.mix, self.activation) = (rank, density, mix, activation)
        (self.start, self.rescales, self.layers) = (start, rescales, layers)
    }

    public var card: MethodCard {
        MethodCard(
            name: "lost", family: .sparseTraining,
            paper: .init(
                authors:
                    "Jiaxi Li, Lu Yin, Li Shen, Jinjin Xu, Liwu Xu, Tianjin Huang, Wenwu Wang, Shiwei Liu, Xilu Wang",
                title: "LOST: Low-rank and Sparse Pre-training for Large Language Models", arXiv: "2508.02668"),
            composition: ["columns of what a rank leaves", "input channels", "low-rank + channels"],
            implements: [
                "factors and columns from one decomposition",
                "columns by the length of the residual",
                "a nonlinearity between the factors, outside of language models",
            ])
    }

    /// Replaces the weights of the chosen layers.
    ///
    /// - Throws: `LacunaError.unsupported` for weights that are not whole; `.numerical` for ones that are not finite.
    public func begin(_ run: TrainingRun) throws {
        for (name, layer) in try layers.layers(of: run.model) {
            guard layer.isWhole else {
                throw LacunaError.unsupported(file: nil, what: "LOST on \(layer.weight.storage) weights ('\(name)')")
            }
            layer.weight = try weight(from: layer.weight.densified())
        }
    }

    /// The weight that a first weight [outputs, inputs] becomes.
    ///
    /// - Throws: `LacunaError.numerical` for a weight that is not finite.
    public func weight(from first: Tensor<Float>) throws -> ChannelLowRankWeight {
        let (u, s, vTransposed) = try first.svd()
        let rank = min(rank, s.count)
        let parts = rescales ? (low: 1 / mix, columns: 1 / (1 - mix)) : (low: 1, columns: 1)
        let scale = Float(parts.low).squareRoot()
        var (b, a) = (Tensor<Float>(zeros: [first.rows, rank]), vTransposed.rows(0..<rank))
        for r in 0..<rank {
            let root = s[r].squareRoot() * scale
            for row in 0..<first.rows { b[row, r] = u[row, r] * root }
            for column in 0..<first.columns { a[r, column] *= root }
        }
        let residual = first - (1 / Float(parts.low)) * b.multiplied(by: a)
        let lengths = (0..<first.columns).map { column in
            (0..<first.rows).reduce(Float(0)) { $0 + residual[$1, column] * residual[$1, column] }
        }
        let channels = try Selection.indices(.count(Int(density * Double(first.columns) + 1e-9)), of: lengths)
        let source = start == .weight ? first : residual
        var values = Tensor<Float>(zeros: [first.rows, channels.count])
        for row in 0..<first.rows {
            for (place, column) in channels.enumerated() {
                values[row, place] = Float(parts.columns) * source[row, column]
            }
        }
        return ChannelLowRankWeight(
            a: a, b: b, values: values, channels: channels.map { Int32($0) }, mix: Float(mix), activation: activation)
    }
}
