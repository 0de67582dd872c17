import LacunaLearn
import LacunaSparse
import LacunaTensor

extension ViTConfiguration {
    /// The sizes of a network that no file describes.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for sizes that do not divide into patches or heads, or are below 1.
    public init(
        imageSize: Int, patchSize: Int, channels: Int, hiddenSize: Int, intermediateSize: Int, layerCount: Int,
        headCount: Int,
        classes: [String]
    ) throws {
        guard
            [imageSize, patchSize, channels, hiddenSize, intermediateSize, layerCount, headCount].allSatisfy({ $0 > 0 })
        else { throw LacunaError.invalidArgument("size", reason: "is below 1") }
        guard imageSize % patchSize == 0 else {
            throw LacunaError.invalidArgument(
                "patchSize", reason: "\(imageSize) pixels do not divide into patches of \(patchSize)")
        }
        guard hiddenSize % headCount == 0 else {
            throw LacunaError.invalidArgument(
                "headCount", reason: "\(hiddenSize) entries do not divide into \(headCount) heads")
        }
        architecture = .vit
        (self.imageSize, self.patchSize, self.channels) = (imageSize, patchSize, channels)
        (self.hiddenSize, self.intermediateSize) = (hiddenSize, intermediateSize)
        (self.layerCount, self.headCount, self.classes) = (layerCount, headCount, classes)
        normEpsilon = 1e-6
        activation = .gelu
        attentionBias = true
    }
}

extension ViT {
    /// An encoder of random weights, to be trained: matrices normal with deviation `1 / √columns`, the token and positions with
    /// 0.02, norms of ones, biases 0.
    ///
    /// - Throws: ``LacunaError/unsupported(file:what:)`` for two special tokens, of which a new network has no use.
    public init(random configuration: ViTConfiguration, using generator: inout SeededGenerator) throws {
        let c = configuration
        guard c.architecture == .vit else {
            throw LacunaError.unsupported(file: nil, what: "a new network of kind deit")
        }
        func linear(_ outputs: Int, _ inputs: Int) throws -> LinearLayer {
            let weight = Tensor<Float>(
                normal: [outputs, inputs], standardDeviation: 1 / Float(inputs).squareRoot(), using: &generator)
            return LinearLayer(
                try WeightStore.make(weight, layout: .dense, values: .f32), bias: Tensor(zeros: [outputs]))
        }
        let d = c.hiddenSize
        let norm = Normalization(
            weight: Tensor(repeating: 1, shape: [d]), bias: Tensor(zeros: [d]), epsilon: c.normEpsilon)
        self.init(
            configuration: c, patches: try linear(d, c.channels * c.patchSize * c.patchSize),
            specialTokens: Tensor(normal: [1, d], standardDeviation: 0.02, using: &generator),
            positions: Tensor(normal: [1 + c.patchCount, d], standardDeviation: 0.02, using: &generator),
            blocks: try (0..<c.layerCount).map { _ in
                TransformerBlock(
                    attentionNorm: norm,
                    attention: Attention(
                        query: try linear(d, d), key: try linear(d, d), value: try linear(d, d),
                        output: try linear(d, d),
                        geometry: AttentionGeometry(headCount: c.headCount, headSize: c.headSize, isCausal: false)),
                    feedForwardNorm: norm,
                    feedForward: FeedForward(
                        gate: nil, up: try linear(c.intermediateSize, d), down: try linear(d, c.intermediateSize),
                        activation: c.activation))
            }, norm: norm, classifier: c.classes.isEmpty ? nil : try linear(c.classes.count, d), teacherClassifier: nil)
    }
}
