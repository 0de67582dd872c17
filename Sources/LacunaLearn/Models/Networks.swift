import LacunaTensor

/// A fully connected network.
public final class MLP: UnaryLayer {
    /// From the input to the output.
    public let layers: [Linear]
    /// Between the layers.
    public let activation: Activation
    /// Share of the hidden entries that are set to 0 while training, 0..<1.
    public let dropout: Double

    /// - Parameter widths: Of the input, the hidden layers and the output.
    public init(
        widths: [Int], activation: Activation = .relu, dropout: Double = 0, initialization: Initialization = .he,
        using generator: inout SeededGenerator
    ) {
        require(widths.count >= 2, "a network has an input and an output")
        var layers: [Linear] = []
        for (inputs, outputs) in zip(widths, widths.dropFirst()) {
            layers.append(
                Linear(
                    inputDimensions: inputs, outputDimensions: outputs, initialization: initialization,
                    using: &generator))
        }
        self.layers = layers
        self.activation = activation
        self.dropout = dropout
    }

    /// Logits for inputs [n, ...], which are flattened.
    public func callAsFunction(_ x: Variable<Float>) -> Variable<Float> {
        var y = x.shape.count == 2 ? x : x.flattened()
        for (index, layer) in layers.enumerated() {
            y = layer(y)
            if index + 1 < layers.count { y = y.map(activation).dropout(dropout) }
        }
        return y
    }
}

/// A small convolutional network: stages of convolution, batch norm, ReLU and pooling, then a linear classifier on the
/// means of the channels. Convolutions are linear layers on patches, which methods make sparse like any other.
public final class ConvNet: UnaryLayer {
    /// 3 x 3, one a stage.
    public let convolutions: [SparseConv2d]
    /// One behind each convolution.
    public let norms: [BatchNorm]
    /// On the means of the last stage's channels.
    public let classifier: Linear

    /// - Parameter channels: Of each stage; every stage but the last halves the image.
    public init(inputChannels: Int, channels: [Int], classes: Int, using generator: inout SeededGenerator) {
        var convolutions: [SparseConv2d] = []
        var from = inputChannels
        for count in channels {
            convolutions.append(
                SparseConv2d(
                    inputChannels: from, outputChannels: count, kernelSize: 3, sliding: Sliding(padding: 1),
                    bias: false,
                    initialization: .he, using: &generator))
            from = count
        }
        self.convolutions = convolutions
        norms = channels.map { BatchNorm(channels: $0) }
        classifier = Linear(inputDimensions: from, outputDimensions: classes, using: &generator)
    }

    /// Logits [n, classes] for images [n, channels, height, width].
    public func callAsFunction(_ x: Variable<Float>) -> Variable<Float> {
        var y = x
        for index in convolutions.indices {
            y = norms[index](convolutions[index](y)).relu()
            if index + 1 < convolutions.count && min(y.shape[2], y.shape[3]) >= 2 { y = y.maxPooled(2) }
        }
        return classifier(y.globalAveragePooled())
    }
}
