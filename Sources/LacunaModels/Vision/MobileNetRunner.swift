import LacunaSparse
import LacunaTensor

/// Runs a ``MobileNetV1`` on images of one size, its pointwise layers by sparse kernels or by BLAS.
///
/// An object keeps its activations from image to image and may be used by one thread at a time.
public final class MobileNetRunner {
    /// How pointwise layers are computed.
    public enum Engine: Sendable, Hashable {
        /// As dense matrix products, zeros included.
        case dense
        /// By the sparse kernel, in groups of 1, 2, 4, 8 or 16 output channels; nil for what fits the weights.
        case sparse(group: Int?)
    }

    private struct Stage {
        let depthwise: DirectConvolution
        let between: ImageActivation
        let pointwise: Pointwise
        let output: ImageActivation
    }

    private enum Pointwise {
        case dense(DensePointwise)
        case sparse(PointwiseConvolution)
    }

    private let first: DirectConvolution
    private let input: ImageActivation
    private let firstOutput: ImageActivation
    private let stages: [Stage]
    private let classifier: Tensor<Float>
    private let classifierBias: [Float]

    private static let clamp: ClosedRange<Float> = 0...6

    /// - Parameters:
    ///   - network: The weights.
    ///   - engine: How pointwise layers are computed.
    ///   - size: Height and width of images.
    /// - Throws: `LacunaError.invalidArgument` for sizes below 1 or groups that the kernel lacks.
    public init(_ network: MobileNetV1, engine: Engine, size: (height: Int, width: Int) = (224, 224)) throws {
        guard size.height >= 1 && size.width >= 1 else {
            throw LacunaError.invalidArgument("size", reason: "images of \(size.height) x \(size.width)")
        }
        first = try DirectConvolution(network.first, bias: network.firstBias, step: 2, clamp: Self.clamp)
        input = ImageActivation(channels: 3, height: size.height, width: size.width)
        var current = first.outputSize(height: size.height, width: size.width)
        firstOutput = ImageActivation(channels: first.outputs, height: current.height, width: current.width)
        var stages: [Stage] = []
        for block in network.blocks {
            let depthwise = try DirectConvolution(
                block.depthwise, bias: block.depthwiseBias, step: block.step, depthwise: true, clamp: Self.clamp)
            current = depthwise.outputSize(height: current.height, width: current.width)
            let pointwise: Pointwise =
                switch engine {
                case .dense:
                    .dense(DensePointwise(block.pointwise, bias: block.pointwiseBias, clamp: Self.clamp))
                case .sparse(let group):
                    .sparse(
                        try PointwiseConvolution(
                            block.pointwise, bias: block.pointwiseBias, group: group, clamp: Self.clamp))
                }
            stages.append(
                Stage(
                    depthwise: depthwise,
                    between: ImageActivation(
                        channels: depthwise.outputs, height: current.height, width: current.width),
                    pointwise: pointwise,
                    output: ImageActivation(
                        channels: block.pointwise.rows, height: current.height, width: current.width)))
        }
        self.stages = stages
        classifier = network.classifier
        classifierBias = network.classifierBias
    }

    /// The classifier's outputs for `image` [3, height, width].
    public func callAsFunction(_ image: Tensor<Float>) -> [Float] {
        require(image.shape == [3, input.height, input.width], "\(image.shape) is not the image size")
        image.withPointer { source in
            for c in 0..<3 {
                (input.pointer + c * input.stride).update(from: source + c * input.pixels, count: input.pixels)
            }
        }
        first(input, into: firstOutput)
        var current = firstOutput
        for stage in stages {
            stage.depthwise(current, into: stage.between)
            switch stage.pointwise {
            case .dense(let layer): layer(stage.between, into: stage.output)
            case .sparse(let layer): layer(stage.between, into: stage.output)
            }
            current = stage.output
        }
        let means = (0..<current.channels).map { c in
            UnsafeBufferPointer(start: current.pointer + c * current.stride, count: current.pixels).reduce(0, +)
                / Float(current.pixels)
        }
        let pooled = Tensor(means, shape: [1, means.count])
        return zip(pooled.multiplied(by: classifier, otherTransposed: true).scalars, classifierBias).map { $0 + $1 }
    }
}

/// A dense 1 × 1 convolution by BLAS, bias and clamp in a pass of their own: what the sparse one is compared with.
public final class DensePointwise: @unchecked Sendable {
    private let weight: Tensor<Float>
    private let bias: [Float]
    private let clamp: ClosedRange<Float>

    /// - Parameter weight: [outputs, inputs]
    public init(_ weight: Tensor<Float>, bias: [Float], clamp: ClosedRange<Float>) {
        require(weight.rank == 2 && bias.count == weight.rows)
        self.weight = weight
        self.bias = bias
        self.clamp = clamp
    }

    /// Convolves `x` [inputs, …] into `y` [outputs, …], images of one size.
    public func callAsFunction(_ x: ImageActivation, into y: ImageActivation) {
        let (outputs, inputs) = (weight.rows, weight.columns)
        require(x.channels == inputs && y.channels == outputs && x.stride == y.stride, "images of other shapes")
        let pixels = x.pixels
        weight.withPointer { w in
            LinearAlgebra.parallelGemm(
                m: outputs, n: pixels, k: inputs, w, leadingA: inputs, x.pointer, leadingB: x.stride, into: y.pointer,
                leadingC: y.stride)
        }
        let (low, high) = (clamp.lowerBound, clamp.upperBound)
        Parallel.forRanges(outputs, grain: max(1, 65_536 / max(pixels, 1))) { range in
            for o in range {
                let (row, offset) = (y.pointer + o * y.stride, bias[o])
                for p in 0..<pixels { row[p] = min(max(row[p] + offset, low), high) }
            }
        }
    }
}
