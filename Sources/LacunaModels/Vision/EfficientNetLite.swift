import LacunaIO
import LacunaLearn
import LacunaSparse
import LacunaTensor

/// EfficientNet-Lite0, a mobile network trained on ImageNet: inverted residual blocks that widen by pointwise convolutions, filter each channel
/// and narrow again, with ReLU6, and the sum of what a block reads and makes where both have one size.
///
/// Mingxing Tan, Quoc Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", arXiv 1905.11946; the Lite variants, without
/// squeeze-and-excitation and with ReLU6, are Google's of 2020. Images are 224 × 224, brightnesses `(x - 127) / 128` of 0...255. Zeros around
/// images are where TensorFlow has them, ``DirectConvolution/Border/fitted``.
public enum EfficientNetLite {
    /// Blocks that are alike, but for the first one's step and inputs.
    public struct Stage: Sendable, Hashable {
        /// How many blocks.
        public var count: Int
        /// Side of the depthwise kernels.
        public var kernel: Int
        /// Step of the first block.
        public var step: Int
        /// How many times as many channels are filtered as are read.
        public var expansion: Int
        /// Channels that blocks make.
        public var outputs: Int

        /// Blocks of these properties.
        public init(count: Int, kernel: Int, step: Int, expansion: Int, outputs: Int) {
            (self.count, self.kernel, self.step) = (count, kernel, step)
            (self.expansion, self.outputs) = (expansion, outputs)
        }
    }

    /// The stages of Lite0.
    public static let lite0: [Stage] = [
        Stage(count: 1, kernel: 3, step: 1, expansion: 1, outputs: 16),
        Stage(count: 2, kernel: 3, step: 2, expansion: 6, outputs: 24),
        Stage(count: 2, kernel: 5, step: 2, expansion: 6, outputs: 40),
        Stage(count: 3, kernel: 3, step: 2, expansion: 6, outputs: 80),
        Stage(count: 3, kernel: 5, step: 1, expansion: 6, outputs: 112),
        Stage(count: 4, kernel: 5, step: 2, expansion: 6, outputs: 192),
        Stage(count: 1, kernel: 3, step: 1, expansion: 6, outputs: 320),
    ]

    /// Added to variances, as in training.
    private static let epsilon: Float = 1e-3

    /// The network of a checkpoint with the names of the PyTorch port (`_conv_stem`, `_blocks.0._expand_conv` …), batch normalisations folded in.
    ///
    /// - Parameter stages: What the file's blocks are; their sizes must be the file's.
    /// - Throws: What the file's reader throws, `LacunaError.missingTensor` and `.tensorMismatch`; `.unsupported` for a file with a tensor that
    ///   such a network does not have; `.numerical` for numbers that are not finite.
    public static func load(_ path: String, stages: [Stage] = lite0) throws -> MobileNetwork {
        try load(TensorFiles.open(path), stages: stages)
    }

    /// As ``load(_:stages:)-(String,_)``, from tensors.
    public static func load(_ source: any TensorSource, stages: [Stage] = lite0) throws -> MobileNetwork {
        let reader = Reader(source)
        let stem = try source.info("_conv_stem.weight").shape
        guard stem.count == 4 else {
            throw LacunaError.tensorMismatch(
                file: source.path, name: "_conv_stem.weight", expected: "[outputs, 3, k, k]", found: "\(stem)")
        }
        var layers = [try reader.layer("_conv_stem", "_bn0", .full, shape: [stem[0], 3, stem[2], stem[2]], step: 2)]
        var (channels, index) = (stem[0], 0)
        for stage in stages {
            for position in 0..<stage.count {
                let (block, begin) = ("_blocks.\(index)", layers.count)
                let step = position == 0 ? stage.step : 1
                let wide = channels * stage.expansion
                if stage.expansion != 1 {
                    layers.append(
                        try reader.layer(
                            "\(block)._expand_conv", "\(block)._bn0", .pointwise, shape: [wide, channels, 1, 1]))
                }
                layers.append(
                    try reader.layer(
                        "\(block)._depthwise_conv", "\(block)._bn1", .depthwise,
                        shape: [wide, 1, stage.kernel, stage.kernel], step: step))
                var last = try reader.layer(
                    "\(block)._project_conv", "\(block)._bn2", .pointwise, shape: [stage.outputs, wide, 1, 1])
                last.clamp = nil
                if step == 1 && channels == stage.outputs { last.added = begin }
                layers.append(last)
                (channels, index) = (stage.outputs, index + 1)
            }
        }
        let head = try source.info("_conv_head.weight").shape.first ?? 0
        layers.append(try reader.layer("_conv_head", "_bn1", .pointwise, shape: [head, channels, 1, 1]))
        let classes = try source.info("_fc.bias").count
        let classifier = try reader.float("_fc.weight", [classes, head])
        let bias = try reader.float("_fc.bias", [classes])
        try reader.finish()
        return try MobileNetwork(
            layers: layers, classifier: classifier, classifierBias: bias.scalars, border: .fitted)
    }

    /// A picture as the network reads it: whole, in the middle of a square of white, of brightnesses `(x - 127) / 128`.
    ///
    /// - Returns: [3, side, side].
    public static func input(_ picture: Picture, side: Int = 224) -> Tensor<Float> {
        Tensor(picture.fitted(side: side).values.map { ($0 * 255 - 127) / 128 }, shape: [3, side, side])
    }

    /// Takes tensors out of a file, and knows which are left.
    private final class Reader {
        let source: any TensorSource
        private var used = Set<String>()

        init(_ source: any TensorSource) { self.source = source }

        func float(_ name: String, _ shape: [Int]) throws -> Tensor<Float> {
            used.insert(name)
            let tensor = try source.float(name, shape: shape)
            guard tensor.scalars.allSatisfy(\.isFinite) else {
                throw LacunaError.numerical(operation: "loading \(name)", reason: "a weight is not finite")
            }
            return tensor
        }

        /// A convolution without a bias and the batch normalisation behind it as one layer: with the scale `s = γ / √(variance + ε)`, weights
        /// `s W` and biases `β - s mean`.
        func layer(
            _ name: String, _ normalization: String, _ kind: MobileNetwork.Kind, shape: [Int], step: Int = 1
        ) throws -> MobileNetwork.Layer {
            var weight = try float("\(name).weight", shape)
            func statistic(_ part: String) throws -> [Float] {
                try float("\(normalization).\(part)", [shape[0]]).scalars
            }
            let (gain, offset) = (try statistic("weight"), try statistic("bias"))
            let (mean, variance) = (try statistic("running_mean"), try statistic("running_var"))
            used.insert("\(normalization).num_batches_tracked")
            guard variance.allSatisfy({ $0 >= 0 }) else {
                throw LacunaError.numerical(operation: "loading \(normalization)", reason: "a variance is negative")
            }
            let scale = zip(gain, variance).map { $0 / ($1 + EfficientNetLite.epsilon).squareRoot() }
            let taps = weight.count / max(shape[0], 1)
            weight.withMutablePointer { w in
                for o in 0..<shape[0] { for i in 0..<taps { w[o * taps + i] *= scale[o] } }
            }
            let bias = (0..<shape[0]).map { offset[$0] - scale[$0] * mean[$0] }
            return MobileNetwork.Layer(
                name, kind, weight: kind == .pointwise ? weight.reshaped([shape[0], shape[1]]) : weight, bias: bias,
                step: step)
        }

        /// Nothing may be left: it would belong to another network.
        func finish() throws {
            if let other = source.names.first(where: { !used.contains($0) }) {
                throw LacunaError.unsupported(file: source.path, what: "a network with the tensor '\(other)'")
            }
        }
    }
}
