import CLacuna
import LacunaTensor

/// A dense k × k convolution in CHW without a matrix product behind it, with fused bias and clamp: what the first layer
/// and the depthwise layers of a mobile network use.
public final class DirectConvolution: @unchecked Sendable {
    /// Output channels.
    public let outputs: Int
    /// Input channels.
    public let inputs: Int
    /// Side of the kernel.
    public let size: Int
    /// Pixels that it moves by, down and across.
    public let step: Int
    /// Whether output `o` reads input `o` alone.
    public let isDepthwise: Bool
    /// Where the zeros around images are.
    public let border: Border
    private let weights: Buffer<Float>
    private let bias: Buffer<Float>
    private let clamp: ClosedRange<Float>

    /// Where the zeros are that are added around an image, so that one of `n` pixels a side gives one of `⌈n / step⌉`.
    public enum Border: Sendable, Hashable {
        /// k / 2 on each side.
        case centred
        /// As many as the places of the kernel reach beyond the image, half of them on each side, the odd one below and to the
        /// right: what TensorFlow calls `SAME`. It differs from ``centred`` for steps above 1 alone.
        case fitted

        /// Zeros before the first of `length` pixels.
        func zeros(before length: Int, kernel: Int, step: Int) -> Int {
            switch self {
            case .centred: kernel / 2
            case .fitted: max(0, ((length + step - 1) / step - 1) * step + kernel - length) / 2
            }
        }
    }

    /// - Parameters:
    ///   - weight: [outputs, inputs, k, k], or [channels, 1, k, k] if `depthwise`; k odd.
    /// - Throws: `LacunaError.invalidArgument` for other shapes, a bias of another length, a step below 1.
    public init(
        _ weight: Tensor<Float>, bias: [Float], step: Int = 1, depthwise: Bool = false, border: Border = .centred,
        clamp: ClosedRange<Float> = -.infinity ... .infinity
    ) throws {
        guard
            weight.rank == 4, weight.shape[2] == weight.shape[3], weight.shape[2] % 2 == 1,
            !depthwise || weight.shape[1] == 1
        else {
            throw LacunaError.invalidArgument(
                "weight",
                reason: "shape \(weight.shape) is not [outputs, \(depthwise ? "1" : "inputs"), k, k] with odd k")
        }
        guard bias.count == weight.shape[0] else {
            throw LacunaError.invalidArgument("bias", reason: "\(bias.count) for \(weight.shape[0]) output channels")
        }
        guard step >= 1 else { throw LacunaError.invalidArgument("step", reason: "\(step) is below 1") }
        outputs = weight.shape[0]
        inputs = depthwise ? weight.shape[0] : weight.shape[1]
        size = weight.shape[2]
        self.step = step
        isDepthwise = depthwise
        self.border = border
        weights = Buffer(weight.scalars)
        self.bias = Buffer(bias)
        self.clamp = clamp
    }

    /// The size of the image that comes out of one of the given size.
    public func outputSize(height: Int, width: Int) -> (height: Int, width: Int) {
        ((height + step - 1) / step, (width + step - 1) / step)
    }

    /// Convolves `x` [inputs, …] into `y` [outputs, …], of the size that ``outputSize(height:width:)`` says.
    public func callAsFunction(_ x: ImageActivation, into y: ImageActivation) {
        let (top, left) = (
            border.zeros(before: x.height, kernel: size, step: step),
            border.zeros(before: x.width, kernel: size, step: step)
        )
        let frame = size / 2
        let (height, width) = outputSize(height: x.height, width: x.width)
        require(x.channels == inputs && y.channels == outputs && y.height == height && y.width == width)
        let pitch = ((x.width + 2 * frame) / step + 1 + 16 + 15) / 16 * 16
        let plane = step * (x.height + 2 * frame) * pitch + 16
        var layer = lk_direct(
            weights: weights.pointer, bias: bias.pointer, inputs: isDepthwise ? 1 : inputs, height: x.height,
            width: x.width, kernel: size, step: step, border: frame, pitch: pitch, out_height: height,
            out_width: width, out_stride: y.stride, low: clamp.lowerBound, high: clamp.upperBound)
        // Planes are packed without the slack of the last one.
        let part = plane - 16
        if isDepthwise {
            Parallel.forRanges(outputs, grain: max(1, outputs / 16)) { range in
                let padded = Scratch.current.tile(count: plane)
                for c in range {
                    Kernels.best.pad_plane_f32(
                        x.pointer + c * x.stride, x.height, x.width, frame, top, left, step, pitch, padded)
                    withUnsafePointer(to: layer) {
                        Kernels.best.direct_f32($0, padded, c, c + 1, y.pointer)
                    }
                }
            }
        } else {
            let padded = Scratch.current.panels(count: inputs * part + 16)
            Parallel.forEach(inputs) { c in
                Kernels.best.pad_plane_f32(
                    x.pointer + c * x.stride, x.height, x.width, frame, top, left, step, pitch, padded + c * part)
            }
            withUnsafeMutablePointer(to: &layer) { layer in
                Parallel.forRanges(outputs, grain: 4) {
                    Kernels.best.direct_f32(layer, padded, $0.lowerBound, $0.upperBound, y.pointer)
                }
            }
        }
    }
}
