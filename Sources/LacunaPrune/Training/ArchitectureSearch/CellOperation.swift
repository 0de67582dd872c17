import LacunaLearn
import LacunaTensor

/// What may stand between two nodes of a cell: the candidates of DARTS, by its names.
public enum CellOperation: String, Sendable, Hashable, CaseIterable {
    /// Nothing.
    case none
    /// The largest of 3 x 3 neighbours, normalised.
    case maxPool = "max_pool_3x3"
    /// The mean of 3 x 3 neighbours, normalised; places beyond the border do not count.
    case averagePool = "avg_pool_3x3"
    /// The image as it is, or halved by ``HalvingConvolution``.
    case skip = "skip_connect"
    /// ReLU, depthwise 3 x 3, pointwise, norm; twice.
    case separable3 = "sep_conv_3x3"
    /// The same with 5 x 5.
    case separable5 = "sep_conv_5x5"
    /// ReLU, depthwise 3 x 3 with a gap between its entries, pointwise, norm.
    case dilated3 = "dil_conv_3x3"
    /// The same with 5 x 5.
    case dilated5 = "dil_conv_5x5"

    /// A fresh layer from `channels` channels to as many; nil for ``none``.
    ///
    /// - Parameters:
    ///   - stride: 1, or 2 for half as many rows and columns.
    ///   - learnsNorms: Whether norms have gains and offsets: not during a search, where they would change the candidates' scale.
    public func layer(
        channels: Int, stride: Int, learnsNorms: Bool, using generator: inout SeededGenerator
    ) -> (any UnaryLayer)? {
        func norm() -> BatchNorm { BatchNorm(channels: channels, learns: learnsNorms) }
        func pair(_ size: Int, stride: Int, dilation: Int = 1) -> [any UnaryLayer] {
            let sliding = Sliding(stride: stride, padding: dilation * (size / 2), dilation: dilation)
            return [
                Lambda(.relu),
                DepthwiseConv2d(
                    channels: channels, kernelSize: size, sliding: sliding, bias: false, using: &generator),
                SparseConv2d(
                    inputChannels: channels, outputChannels: channels, kernelSize: 1, bias: false, using: &generator),
                norm(),
            ]
        }
        switch self {
        case .none: return nil
        case .maxPool: return Sequential([Lambda { $0.maxPooled(3, stride: stride, padding: 1) }, norm()])
        case .averagePool: return Sequential([Lambda { Self.averaged($0, stride: stride) }, norm()])
        case .skip:
            return stride == 1
                ? Lambda { $0 }
                : HalvingConvolution(channels, to: channels, learnsNorms: learnsNorms, using: &generator)
        case .separable3: return Sequential(pair(3, stride: stride) + pair(3, stride: 1))
        case .separable5: return Sequential(pair(5, stride: stride) + pair(5, stride: 1))
        case .dilated3: return Sequential(pair(3, stride: stride, dilation: 2))
        case .dilated5: return Sequential(pair(5, stride: stride, dilation: 2))
        }
    }

    /// The mean of the neighbours that there are.
    private static func averaged(_ x: Variable<Float>, stride: Int) -> Variable<Float> {
        let sums = x.averagePooled(3, stride: stride, padding: 1)
        let whole = x.tape.constant(Tensor(repeating: 1, shape: [1, 1, x.shape[2], x.shape[3]]))
        let shares = whole.averagePooled(3, stride: stride, padding: 1).value.scalars
        let factors = (0..<x.shape[0] * x.shape[1]).flatMap { _ in shares.map { 1 / $0 } }
        return sums * x.tape.constant(Tensor(factors, shape: sums.shape))
    }
}

extension BatchNorm {
    /// A norm whose gain and offset stay 1 and 0, unless it `learns`.
    convenience init(channels: Int, learns: Bool) {
        self.init(channels: channels)
        (weight.isTrainable, bias.isTrainable) = (learns, learns)
    }
}

/// Half as many rows and columns: ReLU, two pointwise convolutions, one of every other pixel and one of those diagonally between, side by
/// side, and a norm.
public final class HalvingConvolution: UnaryLayer {
    /// Of the pixels in even rows and columns, and of those in odd ones.
    public let even, odd: SparseConv2d
    /// Behind both.
    public let norm: BatchNorm

    /// Half of the channels that are made come from either convolution.
    public init(_ inputs: Int, to outputs: Int, learnsNorms: Bool, using generator: inout SeededGenerator) {
        require(outputs >= 2, "\(outputs) channels from two convolutions")
        func half(_ channels: Int) -> SparseConv2d {
            SparseConv2d(
                inputChannels: inputs, outputChannels: channels, kernelSize: 1, bias: false, using: &generator)
        }
        (even, odd) = (half(outputs / 2), half(outputs - outputs / 2))
        norm = BatchNorm(channels: outputs, learns: learnsNorms)
    }

    /// [n, outputs, height / 2, width / 2] of images with an even number of rows and columns.
    public func callAsFunction(_ x: Variable<Float>) -> Variable<Float> {
        let (n, c, h, w) = (x.shape[0], x.shape[1], x.shape[2], x.shape[3])
        require(h % 2 == 0 && w % 2 == 0, "halving images of \(h) x \(w)")
        let planes = x.relu().reshaped([n * c, h * w])
        func every(_ offset: Int) -> Variable<Float> {
            let places = (0..<h / 2).flatMap { r in (0..<w / 2).map { Int32((2 * r + offset) * w + 2 * $0 + offset) } }
            return planes.gathered(columns: places).reshaped([n, c, h / 2, w / 2])
        }
        return norm(Variable.besides([even(every(0)), odd(every(1))]))
    }
}

extension Variable where Scalar == Float {
    /// Images of one size, their channels one after the other.
    static func besides(_ images: [Variable]) -> Variable {
        let (n, h, w) = (images[0].shape[0], images[0].shape[2], images[0].shape[3])
        return concatenated(columns: images.map { $0.reshaped([n, $0.count / max(n, 1)]) })
            .reshaped([n, images.reduce(0) { $0 + $1.shape[1] }, h, w])
    }
}
