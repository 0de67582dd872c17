import LacunaSparse
import LacunaTensor

/// Runs a ``MobileNetwork`` on images of one size, its pointwise layers by sparse kernels or by BLAS.
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
        let run: (ImageActivation, ImageActivation) -> Void
        let output: ImageActivation
        let added: Int?
    }

    private let network: MobileNetwork
    private let input: ImageActivation
    private let stages: [Stage]

    /// - Parameters:
    ///   - network: The weights.
    ///   - engine: How pointwise layers are computed.
    ///   - size: Height and width of images.
    /// - Throws: `LacunaError.invalidArgument` for sizes below 1, groups that the kernel lacks and layers that do not fit each other;
    ///   `.resource` for images that do not fit into memory.
    public init(
        _ network: MobileNetwork, engine: Engine, size: (height: Int, width: Int) = (224, 224)
    ) throws {
        guard size.height >= 1 && size.width >= 1 else {
            throw LacunaError.invalidArgument("size", reason: "images of \(size.height) x \(size.width)")
        }
        try network.validate()
        self.network = network
        func image(_ channels: Int, _ size: (height: Int, width: Int)) throws -> ImageActivation {
            try MachineMemory.require(
                shape: [channels, size.height, size.width], of: Float.self,
                for: "images of \(size.height) x \(size.width)")
            return ImageActivation(channels: channels, height: size.height, width: size.width)
        }
        input = try image(network.layers[0].inputs, size)
        var current = size
        stages = try network.layers.map { layer in
            let clamp = layer.clamp ?? (-.infinity ... .infinity)
            let run: (ImageActivation, ImageActivation) -> Void
            switch (layer.kind, engine) {
            case (.pointwise, .dense):
                let dense = DensePointwise(layer.weight, bias: layer.bias, clamp: clamp)
                run = { dense($0, into: $1) }
            case (.pointwise, .sparse(let group)):
                let sparse = try PointwiseConvolution(layer.weight, bias: layer.bias, group: group, clamp: clamp)
                run = { sparse($0, into: $1) }
            default:
                let direct = try DirectConvolution(
                    layer.weight, bias: layer.bias, step: layer.step, depthwise: layer.kind == .depthwise,
                    border: network.border, clamp: clamp)
                current = direct.outputSize(height: current.height, width: current.width)
                run = { direct($0, into: $1) }
            }
            return Stage(run: run, output: try image(layer.outputs, current), added: layer.added)
        }
    }

    /// - Throws: As ``init(_:engine:size:)-(MobileNetwork,_,_)``.
    public convenience init(
        _ network: MobileNetV1, engine: Engine, size: (height: Int, width: Int) = (224, 224)
    ) throws {
        try self.init(try network.layered, engine: engine, size: size)
    }

    /// The classifier's outputs for `image` [3, height, width].
    ///
    /// - Parameter observe: Told what each layer is about to read, by its place.
    public func callAsFunction(
        _ image: Tensor<Float>, observing observe: ((_ layer: Int, _ input: ImageActivation) -> Void)? = nil
    ) -> [Float] {
        require(image.shape == [input.channels, input.height, input.width], "\(image.shape) is not the image size")
        image.withPointer { source in
            for c in 0..<input.channels {
                (input.pointer + c * input.stride).update(from: source + c * input.pixels, count: input.pixels)
            }
        }
        /// What a layer reads.
        func read(_ layer: Int) -> ImageActivation { layer == 0 ? input : stages[layer - 1].output }
        for (place, stage) in stages.enumerated() {
            observe?(place, read(place))
            stage.run(read(place), stage.output)
            if let added = stage.added { Self.add(read(added), to: stage.output) }
        }
        let last = read(stages.count)
        let means = (0..<last.channels).map { c in
            UnsafeBufferPointer(start: last.pointer + c * last.stride, count: last.pixels).reduce(0, +)
                / Float(last.pixels)
        }
        let pooled = Tensor(means, shape: [1, means.count])
        return zip(pooled.multiplied(by: network.classifier, otherTransposed: true).scalars, network.classifierBias)
            .map { $0 + $1 }
    }

    private static func add(_ x: ImageActivation, to y: ImageActivation) {
        let count = x.pixels
        for c in 0..<x.channels {
            let (from, to) = (x.pointer + c * x.stride, y.pointer + c * y.stride)
            for p in 0..<count { to[p] += from[p] }
        }
    }
}

extension MobileNetwork {
    /// What the pointwise layers read when the network runs on images, every pixel a row: what methods that prune by their inputs ask for.
    ///
    /// - Parameters:
    ///   - images: Each [3, height, width], all of one size.
    ///   - gram: Whether `XᵀX` is kept too.
    /// - Returns: By the layer's place.
    /// - Throws: `LacunaError.invalidArgument` without images and for images of other shapes; `LacunaError.cancelled`.
    public func pointwiseInputs(
        _ images: [Tensor<Float>], gram: Bool = true, progress: (any ProgressReporter)? = nil
    ) throws -> [Int: InputStatistics] {
        guard let first = images.first else { throw LacunaError.invalidArgument("images", reason: "there are none") }
        let channels = layers.first?.inputs ?? 0
        if let other = images.first(where: { $0.rank != 3 || $0.shape != first.shape || $0.shape[0] != channels }) {
            throw LacunaError.invalidArgument(
                "images", reason: "one is \(other.shape), the first \(first.shape); \(channels) channels are read")
        }
        let runner = try MobileNetRunner(self, engine: .dense, size: (first.shape[1], first.shape[2]))
        var found: [Int: InputStatistics] = [:]
        for place in pointwise { found[place] = InputStatistics(columns: layers[place].inputs, gram: gram) }
        for (index, image) in images.enumerated() {
            try progress.report("looking at images", index, of: images.count)
            _ = runner(image) { place, input in
                guard found[place] != nil else { return }
                // Pixels are rows there, channels are planes here.
                found[place]?.accumulate(input.tensor.reshaped([input.channels, input.pixels]).transposed())
            }
        }
        return found
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
