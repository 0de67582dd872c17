import LacunaLearn
import LacunaSparse
import LacunaTensor

/// Which heads of an attention layer, and which source positions, make a feature of their outputs active.
///
/// The features are of a dictionary at the site ``ActivationSite/Part/attention``: the outputs `z` of all heads, one
/// after the other, before they are mixed. Pre-activations are linear in `z`, and `z_t = Σ_s A_k[t, s] v_s` is linear
/// in the values with the pattern held fixed, so that what each head and each position contributes is exact. Connor
/// Kissane and others, "Interpreting Attention Layer Outputs with Sparse Autoencoders", arXiv 2406.17759.
public struct HeadAttribution: Sendable {
    /// Query heads, whose outputs stand one after the other in the dictionary's dimensions.
    public let heads: Int
    /// Heads whose keys and values are one, in grouped-query attention: query head `k` reads value head `k / group`.
    public let group: Int
    private let encoder: Tensor<Float>
    private let decoder: Tensor<Float>
    private let bias: [Float]
    private let center: [Float]

    /// - Parameters:
    ///   - heads: Query heads; a divisor of the dictionary's dimensions.
    ///   - valueHeads: Heads of values; nil for as many.
    /// - Throws: `LacunaError.invalidArgument` for numbers of heads that do not divide, and a dictionary without an
    ///   encoder.
    public init(_ dictionary: SparseAutoencoder, heads: Int, valueHeads: Int? = nil) throws {
        let d = dictionary.configuration.inputDimensions
        guard heads >= 1, d % heads == 0, heads % max(valueHeads ?? heads, 1) == 0, valueHeads ?? 1 >= 1 else {
            throw LacunaError.invalidArgument(
                "heads", reason: "\(heads) heads of \(d) dimensions, \(valueHeads ?? heads) of values")
        }
        guard let weight = dictionary.encoderWeight, let bias = dictionary.encoderBias else {
            throw LacunaError.invalidArgument("dictionary", reason: "has no encoder to attribute")
        }
        self.heads = heads
        group = heads / (valueHeads ?? heads)
        encoder = weight.value
        decoder = dictionary.decoderWeight.value
        self.bias = bias.buffer.array
        center =
            dictionary.configuration.centersInputs
            ? dictionary.decoderBias.buffer.array : [Float](repeating: 0, count: d)
    }

    private var size: Int { encoder.columns / heads }

    /// The share of each head in a feature's direction, by norms: `‖d_j^k‖ / Σ_k ‖d_j^k‖`, [heads]. They add up to 1.
    public func shares(ofFeature feature: Int) -> [Double] {
        let norms = (0..<heads).map { k -> Double in
            (0..<size).reduce(0.0) {
                let value = Double(decoder[feature, k * size + $1])
                return $0 + value * value
            }.squareRoot()
        }
        let total = norms.reduce(0, +)
        return norms.map { total > 0 ? $0 / total : 1 / Double(heads) }
    }

    /// What the heads' outputs do not contribute to a feature's pre-activation: `b_j - b_dec·w_j`.
    public func offset(ofFeature feature: Int) -> Double {
        Double(bias[feature]) - center.indices.reduce(0.0) { $0 + Double(center[$1]) * Double(encoder[feature, $1]) }
    }

    /// What each head contributes to a feature's pre-activation at a token, [heads]; with ``offset(ofFeature:)`` they
    /// add up to it.
    ///
    /// - Parameter z: The outputs of the heads at the token, [dimensions].
    public func byHead(_ z: [Float], feature: Int) -> [Double] {
        require(z.count == encoder.columns, "\(z.count) numbers for \(encoder.columns) dimensions")
        return (0..<heads).map { k in
            (0..<size).reduce(0.0) { $0 + Double(z[k * size + $1]) * Double(encoder[feature, k * size + $1]) }
        }
    }

    /// What each source position contributes through each head, [heads][positions]; summed over positions these are
    /// ``byHead(_:feature:)``. Positions that attention does not look at are left out of the work.
    ///
    /// - Parameters:
    ///   - pattern: What each head looks at from the token, [heads, positions].
    ///   - values: [positions, value heads · head dimensions].
    public func bySource(_ pattern: Tensor<Float>, values: Tensor<Float>, feature: Int) -> [[Double]] {
        require(
            pattern.rows == heads && values.rows == pattern.columns && values.columns == heads / group * size,
            "a pattern \(pattern.shape) and values \(values.shape)")
        return (0..<heads).map { k in
            (0..<pattern.columns).map { s in
                let weight = Double(pattern[k, s])
                if weight == 0 { return 0 }
                let from = k / group * size
                let inner = (0..<size).reduce(0.0) {
                    $0 + Double(values[s, from + $1]) * Double(encoder[feature, k * size + $1])
                }
                return weight * inner
            }
        }
    }

    /// The direct effect of a feature's direction on logits, through the output projection: [vocabulary] for each
    /// unit of strength.
    ///
    /// - Parameters:
    ///   - output: The projection that mixes the heads, [width, dimensions].
    ///   - head: The output head with the gains of the last norm in it, [vocabulary, width].
    public func logitEffects(ofFeature feature: Int, output: Tensor<Float>, head: Tensor<Float>) -> [Float] {
        let direction = decoder.rows(feature..<feature + 1).multiplied(by: output, otherTransposed: true)
        return direction.multiplied(by: head, otherTransposed: true).scalars
    }
}
