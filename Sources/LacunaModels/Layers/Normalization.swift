import LacunaLearn
import LacunaTensor

/// Normalisation of rows by a gain and, for layer norms, a bias, to be run. The forms to be learned are `RMSNorm` and
/// `LayerNorm`.
public struct Normalization: Sendable {
    /// [width].
    public var weight: Tensor<Float>
    /// [width] for a layer norm (Ba, Kiros, Hinton, "Layer Normalization", arXiv:1607.06450), which takes the mean off;
    /// nil for an RMS norm (Zhang and Sennrich, "Root Mean Square Layer Normalization", arXiv:1910.07467).
    public var bias: Tensor<Float>?
    /// Added to the variance, or the mean square.
    public let epsilon: Float

    /// - Precondition: As many biases as weights.
    public init(weight: Tensor<Float>, bias: Tensor<Float>?, epsilon: Float) {
        require(bias == nil || weight.count == bias!.count, "\(bias!.count) biases for \(weight.count) weights")
        (self.weight, self.bias, self.epsilon) = (weight, bias, epsilon)
    }

    /// Normalises `count` rows, in place if `y` is `x`.
    func apply(_ x: UnsafePointer<Float>, count: Int, into y: UnsafeMutablePointer<Float>) {
        guard let bias else {
            return VectorMath.rmsNorm(rows: x, count: count, weight: weight, epsilon: epsilon, into: y)
        }
        let width = weight.count
        weight.withPointer { gain in
            bias.withPointer { offset in
                Parallel.forRanges(count, grain: max(1, 65_536 / max(width, 1))) { rows in
                    withUnsafeTemporaryAllocation(of: Float.self, capacity: 2 * rows.count) { moments in
                        Float.kernels.pointee.layer_norm(
                            x + rows.lowerBound * width, gain, offset, Double(epsilon), y + rows.lowerBound * width,
                            moments.baseAddress!, moments.baseAddress! + rows.count, rows.count, width)
                    }
                }
            }
        }
    }
}

// MARK: - On the tape

extension Normalization {
    /// The norm to be learned.
    var trainable: any TrainableNorm {
        bias == nil ? RMSNorm(weight, epsilon: epsilon) : LayerNorm(self)
    }
}

/// A norm that is learned and can be run.
protocol TrainableNorm: UnaryLayer {
    /// The norm to be run.
    var stored: Normalization { get }
}

extension RMSNorm: TrainableNorm {
    var stored: Normalization { Normalization(weight: weight.value, bias: nil, epsilon: Float(epsilon)) }
}

extension LayerNorm: TrainableNorm {
    var stored: Normalization { Normalization(weight: weight.value, bias: bias.value, epsilon: Float(epsilon)) }
}

extension RMSNorm {
    /// A norm with given weights.
    convenience init(_ weight: Tensor<Float>, epsilon: Float) {
        self.init(dimensions: weight.count, epsilon: Double(epsilon))
        self.weight.value = weight
    }
}

extension LayerNorm {
    /// The layer norm to be learned.
    convenience init(_ norm: Normalization) {
        self.init(dimensions: norm.weight.count, epsilon: Double(norm.epsilon))
        weight.value = norm.weight
        if let bias = norm.bias { self.bias.value = bias }
    }
}
