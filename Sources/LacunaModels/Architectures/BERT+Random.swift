import LacunaLearn
import LacunaSparse
import LacunaTensor

extension BERTConfiguration {
    /// The sizes of a network that no file describes: two kinds of segments, GELU.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for sizes below 1 and a width that does not divide into heads.
    public init(
        vocabularySize: Int, hiddenSize: Int, intermediateSize: Int, layerCount: Int, headCount: Int,
        maximumPositions: Int
    ) throws {
        let sizes = [vocabularySize, hiddenSize, intermediateSize, layerCount, headCount, maximumPositions]
        guard sizes.allSatisfy({ $0 > 0 }) else {
            throw LacunaError.invalidArgument("size", reason: "is below 1")
        }
        guard hiddenSize % headCount == 0 else {
            throw LacunaError.invalidArgument(
                "headCount", reason: "\(hiddenSize) entries do not divide into \(headCount) heads")
        }
        (self.vocabularySize, self.hiddenSize, self.intermediateSize) = (vocabularySize, hiddenSize, intermediateSize)
        (self.layerCount, self.headCount, self.maximumPositions) = (layerCount, headCount, maximumPositions)
        (segmentCount, normEpsilon, activation) = (2, 1e-12, .geluExact)
    }

    /// Numbers of the network with a head for masked tokens.
    public var parameterCount: Int {
        let d = hiddenSize
        return (vocabularySize + maximumPositions + segmentCount + 2) * d
            + layerCount * (4 * d * (d + 1) + 2 * d * intermediateSize + intermediateSize + 5 * d)
            + d * (d + 3) + vocabularySize
    }
}

extension BERT {
    /// An encoder of random weights with a head for masked tokens, to be trained: matrices normal with deviation
    /// `1 / √columns`, positions and segments with 0.02, norms of ones, biases 0. Words have deviation `1 / √width`, so
    /// that logits of the head, which shares them, begin at about 1.
    public init(random configuration: BERTConfiguration, using generator: inout SeededGenerator) throws {
        let c = configuration
        let d = c.hiddenSize
        func matrix(_ outputs: Int, _ inputs: Int) throws -> any StoredMatrix {
            try WeightStore.make(
                Tensor<Float>(
                    normal: [outputs, inputs], standardDeviation: 1 / Float(inputs).squareRoot(), using: &generator),
                layout: .dense, values: .f32)
        }
        func linear(_ outputs: Int, _ inputs: Int) throws -> LinearLayer {
            LinearLayer(try matrix(outputs, inputs), bias: Tensor(zeros: [outputs]))
        }
        let norm = Normalization(
            weight: Tensor(repeating: 1, shape: [d]), bias: Tensor(zeros: [d]), epsilon: c.normEpsilon)
        try self.init(
            configuration: c, words: matrix(c.vocabularySize, d),
            positions: Tensor(normal: [c.maximumPositions, d], standardDeviation: 0.02, using: &generator),
            segments: Tensor(normal: [c.segmentCount, d], standardDeviation: 0.02, using: &generator),
            embeddingNorm: norm,
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
                        activation: c.activation),
                    normPlacement: .after)
            },
            maskedHead: MaskedHead(
                dense: try linear(d, d), norm: norm, decoder: nil, bias: Tensor(zeros: [c.vocabularySize])))
    }
}
