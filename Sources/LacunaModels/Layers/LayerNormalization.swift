import LacunaLearn
import LacunaTensor

/// Layer normalisation of rows (Ba, Kiros, Hinton, "Layer Normalization", arXiv:1607.06450), to be run. The form to be
/// learned is `LayerNorm`.
public struct LayerNormalization: Sendable {
    /// [width]; so is the bias.
    public var weight: Tensor<Float>
    public var bias: Tensor<Float>
    public let epsilon: Float

    /// - Precondition: As many biases as weights.
    public init(weight: Tensor<Float>, bias: Tensor<Float>, epsilon: Float) {
        require(weight.count == bias.count, "\(bias.count) biases for \(weight.count) weights")
        (self.weight, self.bias, self.epsilon) = (weight, bias, epsilon)
    }

    /// Normalises `count` rows, in place if `y` is `x`.
    func apply(_ x: UnsafePointer<Float>, count: Int, into y: UnsafeMutablePointer<Float>) {
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

extension LayerNorm {
    /// The norm to be learned.
    convenience init(_ norm: LayerNormalization) {
        self.init(dimensions: norm.weight.count, epsilon: Double(norm.epsilon))
        weight.value = norm.weight
        bias.value = norm.bias
    }

    /// The norm to be run.
    var stored: LayerNormalization {
        LayerNormalization(weight: weight.value, bias: bias.value, epsilon: Float(epsilon))
    }
}
