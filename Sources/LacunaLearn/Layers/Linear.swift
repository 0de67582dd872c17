import LacunaSparse
import LacunaTensor

/// `x Wᵀ + b`, with a weight in any storage.
///
/// Weights start uniform in ±1/√inputs, biases 0, unless said otherwise. See also ``TrainableWeight``.
public final class Linear: UnaryLayer {
    /// Setting another storage of the same shape is how a layer becomes sparse: see ``sparsified(_:mask:)``.
    public var weight: any TrainableWeight {
        didSet {
            require(
                weight.outputs == oldValue.outputs && weight.inputs == oldValue.inputs, "another shape of weight")
        }
    }
    /// [outputs]; nil for none.
    public let bias: Parameter<Float>?

    /// A dense layer.
    public init(
        inputDimensions: Int, outputDimensions: Int, bias: Bool = true, initialization: Initialization = .uniform,
        using generator: inout SeededGenerator
    ) {
        weight = DenseWeight(
            initialization.tensor([outputDimensions, inputDimensions], fanIn: inputDimensions, using: &generator))
        self.bias = bias ? Parameter(Tensor(zeros: [outputDimensions])) : nil
    }

    /// A layer of given weights.
    public init(weight: any TrainableWeight, bias: Tensor<Float>? = nil) {
        require(bias == nil || bias!.count == weight.outputs, "one bias an output")
        self.weight = weight
        self.bias = bias.map { Parameter($0) }
    }

    /// Entries of an input row.
    public var inputDimensions: Int { weight.inputs }
    /// Entries of an output row.
    public var outputDimensions: Int { weight.outputs }
    /// The weight if every entry of it is stored.
    public var dense: DenseWeight? { weight as? DenseWeight }

    /// [..., outputs] for rows [..., inputs].
    public func callAsFunction(_ x: Variable<Float>) -> Variable<Float> {
        x.tape.note(rows: x.rows, dense: inputDimensions * outputDimensions, active: weight.multiplyAdds)
        return weight.apply(x, bias: bias?.on(x.tape))
    }
}
