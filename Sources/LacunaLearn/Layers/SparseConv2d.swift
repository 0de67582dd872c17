import LacunaSparse
import LacunaTensor

/// A convolution of images [n, channels, height, width] whose weight is that of a linear layer on patches, so that every
/// storage and every method for linear layers applies to it.
///
/// Patches [n · places, channels · height · width of the kernel] are rows of the layer's input; a stored-sparse weight
/// multiplies them by its own product, and its gradient exists for stored entries alone. A weight that is stored dense,
/// without a view, takes the convolution of ``Conv2d``, which unfolds image by image.
public final class SparseConv2d: UnaryLayer {
    /// [outputs, channels · height · width]: the weight of ``Conv2d``, flattened.
    public let product: Linear
    /// Pixels of the kernel's side.
    public let kernelSize: Int
    /// How the kernel moves.
    public let sliding: Sliding

    /// Weights as `initialization` says, biases 0; dense at first.
    public init(
        inputChannels: Int, outputChannels: Int, kernelSize: Int, sliding: Sliding = Sliding(), bias: Bool = true,
        initialization: Initialization = .uniform, using generator: inout SeededGenerator
    ) {
        product = Linear(
            inputDimensions: inputChannels * kernelSize * kernelSize, outputDimensions: outputChannels, bias: bias,
            initialization: initialization, using: &generator)
        self.kernelSize = kernelSize
        self.sliding = sliding
    }

    /// The product, under the layer's own name.
    public var parts: [(name: String, part: Any)] { [("", product)] }
    /// Channels of the images that are read.
    public var inputChannels: Int { product.inputDimensions / (kernelSize * kernelSize) }

    /// [n, outputs, height, width] of images [n, channels, height, width].
    public func callAsFunction(_ x: Variable<Float>) -> Variable<Float> {
        require(
            x.shape.count == 4 && x.shape[1] == inputChannels, "images \(x.shape) for \(inputChannels) channels")
        guard let dense = product.dense, dense.view == nil else {
            let sides = x.shape.suffix(2).map { sliding.positions($0, kernel: kernelSize) }
            let y = product(x.patches(kernelSize, sliding: sliding))
            return y.reshaped([x.shape[0]] + sides + [product.outputDimensions]).permuted([0, 3, 1, 2])
        }
        let kernel = dense.parameter.on(x.tape).reshaped(
            [product.outputDimensions, inputChannels, kernelSize, kernelSize])
        let y = x.convolved(kernel, bias: product.bias?.on(x.tape), sliding: sliding)
        x.tape.note(
            rows: y.shape[0] * y.shape[2] * y.shape[3], dense: dense.parameter.count, active: dense.multiplyAdds)
        return y
    }
}
