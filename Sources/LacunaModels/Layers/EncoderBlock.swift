import LacunaLearn
import LacunaSparse
import LacunaTensor

/// One layer of an encoder in the manner of BERT: attention in both directions, then `down(f(up x))`, each added to its
/// input and layer-normalised afterwards, to be run.
public struct EncoderBlock: Sendable {
    public var attention: Attention
    public var attentionNorm: LayerNormalization
    public var up: LinearLayer
    public var down: LinearLayer
    public var outputNorm: LayerNormalization
    public var activation: Activation

    public init(
        attention: Attention, attentionNorm: LayerNormalization, up: LinearLayer, down: LinearLayer,
        outputNorm: LayerNormalization, activation: Activation
    ) {
        (self.attention, self.attentionNorm) = (attention, attentionNorm)
        (self.up, self.down, self.outputNorm, self.activation) = (up, down, outputNorm, activation)
    }

    /// Replaces a step's rows of `hidden` by the block's outputs.
    func step(_ hidden: UnsafeMutablePointer<Float>, context: StepContext, layer: Int) {
        let (width, count) = (attentionNorm.weight.count, context.count)
        let change = context.pointer(.change, count * width)
        // Only observers throw.
        try! attention.step(hidden, context: context, layer: layer, into: change, observe: nil)
        VectorMath.addParallel(change, to: hidden, count: count * width)
        attentionNorm.apply(hidden, count: count, into: hidden)
        let inner = context.pointer(.up, count * up.outputs)
        LinearLayer.multiply([(up, inner)], hidden, context: context, layer: layer, roles: [.up])
        Parallel.forRanges(count * up.outputs, grain: 32_768) {
            activation.apply(inner + $0.lowerBound, into: inner + $0.lowerBound, count: $0.count)
        }
        LinearLayer.multiply([(down, change)], inner, context: context, layer: layer, roles: [.down])
        VectorMath.addParallel(change, to: hidden, count: count * width)
        outputNorm.apply(hidden, count: count, into: hidden)
    }
}

// MARK: - On the tape

/// ``EncoderBlock`` to be learned. Parts have the names that checkpoints give them.
public final class TrainableEncoderBlock: Module {
    public let attention: TrainableAttention
    public let attentionNorm: LayerNorm
    public let up, down: Linear
    public let outputNorm: LayerNorm
    public let activation: Activation

    /// - Parameter weight: Makes the trained form of a stored matrix, given its role.
    /// - Throws: What `weight` throws.
    public init(
        _ block: EncoderBlock, weight: (LinearRole, any StoredMatrix) throws -> any TrainableWeight
    ) throws {
        attention = try TrainableAttention(block.attention, weight: weight)
        attentionNorm = LayerNorm(block.attentionNorm)
        up = try block.up.trainable(.up, weight)
        down = try block.down.trainable(.down, weight)
        outputNorm = LayerNorm(block.outputNorm)
        activation = block.activation
    }

    public var parts: [(name: String, part: Any)] {
        [
            ("attention.self.query", attention.query), ("attention.self.key", attention.key),
            ("attention.self.value", attention.value), ("attention.output.dense", attention.output),
            ("attention.output.LayerNorm", attentionNorm), ("intermediate.dense", up), ("output.dense", down),
            ("output.LayerNorm", outputNorm),
        ]
    }

    /// - Parameters:
    ///   - x: [batch · T, width].
    ///   - mask: Which tokens are there; nil for all.
    public func callAsFunction(
        _ x: Variable<Float>, batch: Int, mask: AttentionMask?, dropout: Double = 0
    ) -> Variable<Float> {
        let y = attentionNorm(x + attention(x, positions: nil, batch: batch, mask: mask).dropout(dropout))
        return outputNorm(y + down(up(y).map(activation)).dropout(dropout))
    }

    /// The form to be run, with matrices as they are stored now.
    public func stored(_ values: ValueType) throws -> EncoderBlock {
        EncoderBlock(
            attention: try attention.stored(values), attentionNorm: attentionNorm.stored,
            up: try LinearLayer(up, values), down: try LinearLayer(down, values), outputNorm: outputNorm.stored,
            activation: activation)
    }
}
