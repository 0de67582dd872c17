import LacunaSparse
import LacunaTensor

extension Transformer {
    /// A decoder of random weights: norms of ones, biases and matrices normal with standard deviation
    /// `1 / sqrt(columns)`. What measurements of speed need when no checkpoint is at hand.
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
        let blocks = try (0..<configuration.layerCount).map { layer in
            func linear(_ role: LinearRole) throws -> LinearLayer {
                let shape = configuration.shape(of: role, layer: layer)
                let hasBias =
                    switch role {
                    case .query, .key, .value: configuration.attentionBias
                    case .gate, .up, .down: configuration.feedForwardBias
                    case .output: false
                    }
                return LinearLayer(
                    try matrix(shape[0], shape[1]),
                    bias: hasBias ? Tensor(normal: [shape[0]], standardDeviation: 0.1, using: &generator) : nil)
            }
            let headNorm =
                configuration.normalizesHeads ? Tensor<Float>(repeating: 1, shape: [configuration.headSize]) : nil
            return TransformerBlock(
                attentionNorm: ones,
                attention: Attention(
                    query: try linear(.query), key: try linear(.key), value: try linear(.value),
                    output: try linear(.output), queryNorm: headNorm, keyNorm: headNorm,
                    geometry: AttentionGeometry(configuration, layer: layer)),
                feedForwardNorm: ones,
                feedForward: FeedForward(
                    gate: try linear(.gate), up: try linear(.up), down: try linear(.down),
                    activation: configuration.activation),
                outputNorms: configuration.normalizesOutputs ? (ones, ones) : nil,
                normEpsilon: configuration.normEpsilon)
        }
        try self.init(
            configuration: configuration, embedding: matrix(configuration.vocabularySize, width), blocks: blocks,
            finalNorm: ones,
            untiedHead: configuration.tiedEmbeddings ? nil : matrix(configuration.vocabularySize, width))
    }
}
