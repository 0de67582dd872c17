import LacunaSparse
import LacunaTensor

extension Transformer {
    /// A decoder of random weights: norms of ones, matrices and positions normal with standard deviation
    /// `1 / sqrt(columns)`, biases with 0.1. What measurements of speed need when no checkpoint is at hand.
    ///
    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` for a configuration out of range.
    public init(random configuration: TransformerConfiguration, seed: UInt64, values: ValueType = .f32) throws {
        try configuration.validate(file: "random decoder")
        var generator = SeededGenerator(seed: seed)
        func matrix(_ rows: Int, _ columns: Int) throws -> any StoredMatrix {
            let weight = Tensor<Float>(
                normal: [rows, columns], standardDeviation: 1 / Float(columns).squareRoot(), using: &generator)
            return try WeightStore.make(weight, layout: .dense, values: values)
        }
        let width = configuration.hiddenSize
        let ones = Tensor<Float>(repeating: 1, shape: [width])
        let norm = Normalization(
            weight: ones, bias: configuration.usesLayerNorms ? Tensor(zeros: [width]) : nil,
            epsilon: configuration.normEpsilon)
        let blocks = try (0..<configuration.layerCount).map { layer in
            func linear(_ role: LinearRole) throws -> LinearLayer {
                let shape = configuration.shape(of: role, layer: layer)
                let hasBias =
                    switch role {
                    case .query, .key, .value: configuration.attentionBias
                    case .gate, .up, .down: configuration.feedForwardBias
                    case .output: configuration.attentionOutputBias
                    }
                return LinearLayer(
                    try matrix(shape[0], shape[1]),
                    bias: hasBias ? Tensor(normal: [shape[0]], standardDeviation: 0.1, using: &generator) : nil)
            }
            let headNorm =
                configuration.normalizesHeads ? Tensor<Float>(repeating: 1, shape: [configuration.headSize]) : nil
            return TransformerBlock(
                attentionNorm: norm,
                attention: Attention(
                    query: try linear(.query), key: try linear(.key), value: try linear(.value),
                    output: try linear(.output), queryNorm: headNorm, keyNorm: headNorm,
                    geometry: AttentionGeometry(configuration, layer: layer)),
                feedForwardNorm: norm,
                feedForward: FeedForward(
                    gate: configuration.hasGates ? try linear(.gate) : nil, up: try linear(.up),
                    down: try linear(.down), activation: configuration.activation),
                outputNorms: configuration.normalizesOutputs ? (norm, norm) : nil)
        }
        let positions =
            configuration.learnsPositions
            ? Tensor<Float>(
                normal: [configuration.maximumPositions, width], standardDeviation: 1 / Float(width).squareRoot(),
                using: &generator) : nil
        try self.init(
            configuration: configuration, embedding: matrix(configuration.vocabularySize, width), positions: positions,
            blocks: blocks, finalNorm: norm,
            untiedHead: configuration.tiedEmbeddings ? nil : matrix(configuration.vocabularySize, width))
    }
}
