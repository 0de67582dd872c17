import LacunaModels
import LacunaSparse
import LacunaTensor

/// Experts whose score is above 0, as many as that are: `A = RMSNorm(ReLU(W x)) · gain`. The ReLU decides who reads a vector, the norm
/// by how much, so that neither has to be bought with the other. A vector that no score is above 0 for is read by no one.
///
/// Chenyang Song and others, "BlockFFN: Towards End-Side Acceleration-Friendly Mixture-of-Experts with Chunk-Level Activation
/// Sparsity", arXiv 2507.08771. Learned it is a part of ``BlockFFN``.
public struct RectifiedRouter: Router {
    /// [experts, inputs].
    public let scores: LinearLayer
    /// What the norm is multiplied by, one number an expert.
    public let gain: [Float]
    /// Added to the mean square, inside the root.
    public let epsilon: Double

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` unless there is a gain for each expert, and for an epsilon that is not
    ///   positive.
    public init(_ scores: LinearLayer, gain: [Float], epsilon: Double = 1e-6) throws {
        guard gain.count == scores.outputs, epsilon > 0 else {
            throw LacunaError.invalidArgument(
                "gain", reason: "\(gain.count) of \(scores.outputs) experts, epsilon \(epsilon)")
        }
        (self.scores, self.gain, self.epsilon) = (scores, gain, epsilon)
    }

    public var inputs: Int { scores.inputs }
    public var experts: Int { scores.outputs }
    public var byteCount: Int { scores.weight.byteCount + 4 * (gain.count + (scores.bias?.count ?? 0)) }

    public func route(_ x: UnsafePointer<Float>, count: Int, layer: Int) -> [[RoutedExpert]] {
        let n = experts
        let logits = Buffer<Float>(uninitialized: max(count * n, 1))
        Product.gemm(scores.weight, x, count: count, into: logits.pointer)
        let bias = scores.bias?.scalars
        return (0..<count).map { row in
            let values = logits.pointer + row * n
            if let bias { for e in 0..<n { values[e] += bias[e] } }
            var squares = 0.0
            for e in 0..<n where values[e] > 0 { squares += Double(values[e]) * Double(values[e]) }
            let factor = 1 / (squares / Double(n) + epsilon).squareRoot()
            return (0..<n).compactMap { e in
                values[e] > 0 ? RoutedExpert(e, weight: Float(Double(values[e]) * factor) * gain[e]) : nil
            }
        }
    }
}
