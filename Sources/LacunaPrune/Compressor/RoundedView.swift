import LacunaLearn
import LacunaSparse
import LacunaTensor

/// A weight that computes with the numbers that a store of integers will hold, while what is learned is not rounded: a model that is
/// trained through it is, when it is stored, the model that was trained.
///
/// The scales are the store's own (``Quantization``), chosen anew in every pass, from kept entries alone: they follow the masks and
/// the training. The gradient passes as if nothing were rounded (a straight-through estimator).
public final class RoundedView: WeightView {
    /// `int8` or `int4`.
    public let values: ValueType

    /// - Precondition: The values are integers.
    public init(_ values: ValueType) {
        require(values.isInteger, "\(values) numbers are not rounded to integers")
        self.values = values
    }

    /// The matrix as it would be read from a store. Entries that are 0 stay 0 and change no scale.
    public func rounded(_ weight: Tensor<Float>) -> Tensor<Float> {
        do {
            return try WeightStore.make(weight, layout: .dense, values: values).densified()
        } catch {
            // Numbers that are not finite cannot be rounded; as they are, they make a loss that stops the training.
            return weight
        }
    }

    public func weights(_ weight: Variable<Float>) -> (forward: Variable<Float>, backward: Variable<Float>?) {
        (weight.straightThrough(rounded(weight.value)), nil)
    }

    public func multiplyAdds(_ parameter: Parameter<Float>) -> Int { parameter.activeCount }
}

extension ValueType {
    /// Whether numbers are rounded to integers with scales.
    var isInteger: Bool { self == .int8 || self == .int4 }
}
