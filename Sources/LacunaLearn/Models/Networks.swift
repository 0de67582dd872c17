import LacunaTensor

/// A fully connected network.
public final class MLP: UnaryLayer {
    public let layers: [Linear]
    public let activation: Activation
    public let dropout: Double

    /// - Parameter widths: Of the input, the hidden layers and the output.
    public init(
        widths: [Int], activation: Activation = .relu, dropout: Double = 0, initialization: Initialization = .he,
        using generator: inout SeededGenerator
    ) {
        precondition(widths.count >= 2, "a network has an input and an output")
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
    public let convolutions: [SparseConv2d]
    public let norms: [BatchNorm]
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

    public func callAsFunction(_ x: Variable<Float>) -> Variable<Float> {
        var y = x
        for index in convolutions.indices {
            y = norms[index](convolutions[index](y)).relu()
            if index + 1 < convolutions.count && min(y.shape[2], y.shape[3]) >= 2 { y = y.maxPooled(2) }
        }
        return classifier(y.globalAveragePooled())
    }
}

/// A causal language model in the manner of GPT-2: learned or rotary positions, pre-norm blocks, tied output.
public final class GPT: Module {
    public struct Configuration: Sendable, Hashable {
        public var vocabulary: Int
        public var context: Int
        public var dimensions: Int
        public var layers: Int
        public var heads: Int
        public var hiddenDimensions: Int
        public var dropout: Double
        /// Base of rotary positions; nil for learned ones.
        public var rotaryBase: Double?

        public init(
            vocabulary: Int, context: Int, dimensions: Int, layers: Int, heads: Int, hiddenDimensions: Int? = nil,
            dropout: Double = 0, rotaryBase: Double? = nil
        ) {
            self.vocabulary = vocabulary
            self.context = context
            self.dimensions = dimensions
            self.layers = layers
            self.heads = heads
            self.hiddenDimensions = hiddenDimensions ?? 4 * dimensions
            self.dropout = dropout
            self.rotaryBase = rotaryBase
        }
    }

    public let configuration: Configuration
    public let tokens: Embedding
    public let positions: Embedding?
    public let blocks: [TransformerBlock]
    public let norm: LayerNorm

    /// None: the embedding table is the head.
    public var outputLayer: Linear? { nil }

    /// Weights start normal of deviation 0.02, those that end a residual branch smaller by √(2 layers).
    public init(_ configuration: Configuration, using generator: inout SeededGenerator) {
        self.configuration = configuration
        let c = configuration
        tokens = Embedding(
            count: c.vocabulary, dimensions: c.dimensions, initialization: .normal(0.02), using: &generator)
        positions =
            c.rotaryBase == nil
            ? Embedding(count: c.context, dimensions: c.dimensions, initialization: .normal(0.02), using: &generator)
            : nil
        var blocks: [TransformerBlock] = []
        for _ in 0..<c.layers {
            let block = TransformerBlock(
                dimensions: c.dimensions, heads: c.heads, hiddenDimensions: c.hiddenDimensions,
                rotaryBase: c.rotaryBase, initialization: .normal(0.02), using: &generator)
            for layer in [block.attention.output, block.feedForward.down] {
                let parameter = layer.dense!.parameter
                let factor = 1 / Float(2 * c.layers).squareRoot()
                for i in 0..<parameter.count { parameter.buffer.pointer[i] *= factor }
            }
            blocks.append(block)
        }
        self.blocks = blocks
        norm = LayerNorm(dimensions: c.dimensions)
    }

    /// Logits [batch · T, vocabulary] for token ids [batch · T].
    public func callAsFunction(_ ids: [Int32], batch: Int, on tape: Tape<Float>) -> Variable<Float> {
        let length = ids.count / batch
        precondition(length * batch == ids.count && length <= configuration.context, "sequences of \(length) tokens")
        var x = tokens(ids, on: tape)
        if let positions { x = x + positions((0..<ids.count).map { Int32($0 % length) }, on: tape) }
        x = x.dropout(configuration.dropout)
        for block in blocks { x = block(x, batch: batch, isCausal: true, dropout: configuration.dropout) }
        tape.note(
            rows: ids.count, dense: configuration.vocabulary * configuration.dimensions,
            active: configuration.vocabulary * configuration.dimensions)
        return norm(x).linear(tokens.weight.on(tape))
    }
}
