import LacunaTensor

/// Attention of several heads over sequences, with one projection for queries, keys and values.
public final class MultiHeadAttention: Module {
    /// [(heads + 2 keyValueHeads) · head size, dimensions].
    public let projection: Linear
    public let output: Linear
    public let heads: Int
    public let keyValueHeads: Int
    public let headDimensions: Int
    /// Base of the rotary position embedding; nil for none.
    public let rotaryBase: Double?

    public init(
        dimensions: Int, heads: Int, keyValueHeads: Int? = nil, rotaryBase: Double? = nil, bias: Bool = true,
        initialization: Initialization = .uniform, using generator: inout SeededGenerator
    ) {
        precondition(dimensions % heads == 0, "\(dimensions) dimensions do not divide into \(heads) heads")
        self.heads = heads
        self.keyValueHeads = keyValueHeads ?? heads
        self.rotaryBase = rotaryBase
        headDimensions = dimensions / heads
        projection = Linear(
            inputDimensions: dimensions, outputDimensions: (heads + 2 * self.keyValueHeads) * headDimensions,
            bias: bias, initialization: initialization, using: &generator)
        output = Linear(
            inputDimensions: dimensions, outputDimensions: dimensions, bias: bias, initialization: initialization,
            using: &generator)
    }

    /// - Parameters:
    ///   - x: [batch · T, dimensions].
    ///   - visible: [batch, T], 0 for tokens that are padding.
    public func callAsFunction(
        _ x: Variable<Float>, batch: Int, isCausal: Bool, visible: [UInt8]? = nil
    ) -> Variable<Float> {
        var packed = projection(x)
        let length = x.rows / batch
        if let rotaryBase {
            let positions = (0..<x.rows).map { Int32($0 % length) }
            packed = packed.rotated(
                positions: positions, heads: heads + keyValueHeads, dimensions: headDimensions, base: rotaryBase)
        }
        let shape = AttentionShape(
            batch: batch, heads: heads, keyValueHeads: keyValueHeads, dimensions: headDimensions, isCausal: isCausal)
        let products = batch * heads * length * length * headDimensions * 2
        x.tape.note(rows: 1, dense: products, active: products)
        return output(Variable.attention(packed: packed, shape: shape, mask: visible.map { .keys($0) }))
    }
}

/// The gated feed-forward layer `down(silu(gate x) · up x)` of Noam Shazeer, "GLU Variants Improve Transformer",
/// arXiv 2002.05202.
public final class SwiGLU: UnaryLayer {
    public let gate: Linear
    public let up: Linear
    public let down: Linear

    public init(dimensions: Int, hiddenDimensions: Int, using generator: inout SeededGenerator) {
        gate = Linear(inputDimensions: dimensions, outputDimensions: hiddenDimensions, bias: false, using: &generator)
        up = Linear(inputDimensions: dimensions, outputDimensions: hiddenDimensions, bias: false, using: &generator)
        down = Linear(inputDimensions: hiddenDimensions, outputDimensions: dimensions, bias: false, using: &generator)
    }

    public func callAsFunction(_ x: Variable<Float>) -> Variable<Float> { down(gate(x).swiglu(up(x))) }
}

/// The feed-forward layer `down(f(up x))`.
public final class FeedForward: UnaryLayer {
    public let up: Linear
    public let down: Linear
    public let activation: Activation

    public init(
        dimensions: Int, hiddenDimensions: Int, activation: Activation = .gelu,
        initialization: Initialization = .uniform,
        using generator: inout SeededGenerator
    ) {
        up = Linear(
            inputDimensions: dimensions, outputDimensions: hiddenDimensions, initialization: initialization,
            using: &generator)
        down = Linear(
            inputDimensions: hiddenDimensions, outputDimensions: dimensions, initialization: initialization,
            using: &generator)
        self.activation = activation
    }

    public func callAsFunction(_ x: Variable<Float>) -> Variable<Float> { down(up(x).map(activation)) }
}

/// A transformer block with normalisation before attention and before the feed-forward layer.
public final class TransformerBlock: Module {
    public let attentionNorm: LayerNorm
    public let attention: MultiHeadAttention
    public let feedForwardNorm: LayerNorm
    public let feedForward: FeedForward

    public init(
        dimensions: Int, heads: Int, hiddenDimensions: Int, rotaryBase: Double? = nil,
        initialization: Initialization = .uniform, using generator: inout SeededGenerator
    ) {
        attentionNorm = LayerNorm(dimensions: dimensions)
        attention = MultiHeadAttention(
            dimensions: dimensions, heads: heads, rotaryBase: rotaryBase, initialization: initialization,
            using: &generator)
        feedForwardNorm = LayerNorm(dimensions: dimensions)
        feedForward = FeedForward(
            dimensions: dimensions, hiddenDimensions: hiddenDimensions, initialization: initialization,
            using: &generator)
    }

    public func callAsFunction(_ x: Variable<Float>, batch: Int, isCausal: Bool, dropout: Double = 0) -> Variable<Float>
    {
        let y = x + attention(attentionNorm(x), batch: batch, isCausal: isCausal).dropout(dropout)
        return y + feedForward(feedForwardNorm(y)).dropout(dropout)
    }
}
