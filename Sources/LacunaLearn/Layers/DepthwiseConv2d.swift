import LacunaSparse
import LacunaTensor

/// A convolution of images [n, channels, height, width] of which every channel has a kernel of its own and reads itself alone.
///
/// The kernels are rows of the weight of a linear layer, so that every method for linear layers applies to them, as in
/// ``SparseConv2d``.
public final class DepthwiseConv2d: UnaryLayer {
    /// [channels, height · width of the kernel]. Its own call is of no use here; masks and storage are.
    public let product: Linear
    /// Pixels of the kernel's side.
    public let kernelSize: Int
    /// How the kernel moves.
    public let sliding: Sliding

    /// Weights as `initialization` says, biases 0; dense at first.
    public init(
        channels: Int, kernelSize: Int, sliding: Sliding = Sliding(), bias: Bool = true,
        initialization: Initialization = .uniform, using generator: inout SeededGenerator
    ) {
        product = Linear(
            inputDimensions: kernelSize * kernelSize, outputDimensions: channels, bias: bias,
            initialization: initialization, using: &generator)
        self.kernelSize = kernelSize
        self.sliding = sliding
    }

    /// The product, under the layer's own name.
    public var parts: [(name: String, part: Any)] { [("", product)] }
    /// Channels of the images that are read and made.
    public var channels: Int { product.outputDimensions }

    /// [n, channels, height, width] of images with as many channels.
    ///
    /// - Complexity: One multiply-add for each entry of the kernels at each place; `channels` times as many for a weight that has
    ///   no ``TrainableWeight/matrix(on:)``, whose product every channel then takes with all kernels.
    public func callAsFunction(_ x: Variable<Float>) -> Variable<Float> {
        require(x.shape.count == 4 && x.shape[1] == channels, "images \(x.shape) for \(channels) channels")
        let sides = x.shape.suffix(2).map { sliding.positions($0, kernel: kernelSize) }
        let (n, places) = (x.shape[0], sides[0] * sides[1])
        let bias = product.bias?.on(x.tape)
        x.tape.note(rows: n * places, dense: channels * kernelSize * kernelSize, active: product.weight.multiplyAdds)
        if let matrix = product.weight.matrix(on: x.tape) {
            return x.convolved(
                matrix.reshaped([channels, 1, kernelSize, kernelSize]), bias: bias, sliding: sliding, groups: channels)
        }
        let planes = x.reshaped([n * channels, 1, x.shape[2], x.shape[3]]).patches(kernelSize, sliding: sliding)
        var own = Tensor<Float>(zeros: [planes.rows, channels])
        own.withMutablePointer { p in
            for row in 0..<planes.rows { p[row * channels + row / places % channels] = 1 }
        }
        let y = product.weight.apply(planes, bias: bias) * x.tape.constant(own)
        return y.rowSums().reshaped([n, channels] + sides)
    }
}
