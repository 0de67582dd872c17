import LacunaTensor

/// An image's activations, channel by channel (CHW): what convolutions for inference read and write.
///
/// Channel `c`'s pixel in row `y` and column `x` is at `c * stride + y * width + x`. Planes have room for whole vectors
/// beyond their last pixel; what is there is undefined.
public final class ImageActivation: @unchecked Sendable {
    /// Number of channels.
    public let channels: Int
    /// Rows of pixels.
    public let height: Int
    /// Pixels of a row.
    public let width: Int
    /// Floats from one channel to the next: the pixels and 15 more, rounded up to 16.
    public let stride: Int
    let buffer: Buffer<Float>

    /// An activation of zeros.
    public init(channels: Int, height: Int, width: Int) {
        require(channels >= 0 && height >= 0 && width >= 0)
        self.channels = channels
        self.height = height
        self.width = width
        stride = (height * width + 30) / 16 * 16
        buffer = Buffer(repeating: 0, count: channels * stride)
    }

    /// The image `image` [channels, height, width].
    public convenience init(_ image: Tensor<Float>) {
        require(image.rank == 3, "\(image.shape) is not [channels, height, width]")
        self.init(channels: image.shape[0], height: image.shape[1], width: image.shape[2])
        image.withPointer { source in
            for c in 0..<channels { (buffer.pointer + c * stride).update(from: source + c * pixels, count: pixels) }
        }
    }

    /// Pixels of a channel.
    public var pixels: Int { height * width }
    package var pointer: UnsafeMutablePointer<Float> { buffer.pointer }

    /// A copy of the pixels, [channels, height, width].
    public var tensor: Tensor<Float> {
        var result = Tensor<Float>(uninitialized: [channels, height, width])
        result.withMutablePointer { target in
            for c in 0..<channels { (target + c * pixels).update(from: buffer.pointer + c * stride, count: pixels) }
        }
        return result
    }
}
