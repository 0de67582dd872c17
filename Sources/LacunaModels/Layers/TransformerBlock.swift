import LacunaLearn
import LacunaSparse
import LacunaTensor

/// One layer of a decoder: attention, then the feed-forward part, each on RMS-normalised input (Zhang and Sennrich,
/// "Root Mean Square Layer Normalization", arXiv:1910.07467) and added to the residual stream, to be run.
public struct TransformerBlock: Sendable {
    /// Weights [hiddenSize] of the norm before attention.
    public var attentionNorm: Tensor<Float>
    public var attention: Attention
    /// Weights [hiddenSize] of the norm before the feed-forward part.
    public var feedForwardNorm: Tensor<Float>
    public var feedForward: GatedFeedForward
    /// Weights [hiddenSize] of norms of what the two parts give, before it is added; nil for none.
    public var outputNorms: (attention: Tensor<Float>, feedForward: Tensor<Float>)?
    public let normEpsilon: Float

    public init(
        attentionNorm: Tensor<Float>, attention: Attention, feedForwardNorm: Tensor<Float>,
        feedForward: GatedFeedForward, outputNorms: (attention: Tensor<Float>, feedForward: Tensor<Float>)? = nil,
        normEpsilon: Float
    ) {
        self.attentionNorm = attentionNorm
        self.attention = attention
        self.feedForwardNorm = feedForwardNorm
        self.feedForward = feedForward
        self.outputNorms = outputNorms
        self.normEpsilon = normEpsilon
    }

    /// The linear layer in a role.
    public subscript(role: LinearRole) -> LinearLayer {
        get {
            switch role {
            case .query: attention.query
            case .key: attention.key
            case .value: attention.value
            case .output: attention.output
            case .gate: feedForward.gate
            case .up: feedForward.up
            case .down: feedForward.down
            }
        }
        set {
            switch role {
            case .query: attention.query = newValue
            case .key: attention.key = newValue
            case .value: attention.value = newValue
            case .output: attention.output = newValue
            case .gate: feedForward.gate = newValue
            case .up: feedForward.up = newValue
            case .down: feedForward.down = newValue
            }
        }
    }

    /// Adds the block's contribution to a step's rows of `hidden`, in place.
    func step(
        _ hidden: UnsafeMutablePointer<Float>, context: StepContext, layer: Int, observe: BlockObserver?
    ) throws {
        let (width, count) = (attentionNorm.count, context.count)
        let normalized = context.pointer(.normalized, count * width)
        let change = context.pointer(.change, count * width)
        func normalize(_ x: UnsafePointer<Float>, _ weight: Tensor<Float>, into y: UnsafeMutablePointer<Float>) {
            VectorMath.rmsNorm(rows: x, count: count, weight: weight, epsilon: normEpsilon, into: y)
        }
        normalize(hidden, attentionNorm, into: normalized)
        try attention.step(normalized, context: context, layer: layer, into: change, observe: observe)
        if let outputNorms { normalize(change, outputNorms.attention, into: change) }
        VectorMath.addParallel(change, to: hidden, count: count * width)
        normalize(hidden, feedForwardNorm, into: normalized)
        try feedForward.step(normalized, context: context, layer: layer, into: change, observe: observe)
        if let outputNorms { normalize(change, outputNorms.feedForward, into: change) }
        VectorMath.addParallel(change, to: hidden, count: count * width)
    }
}

/// What a linear layer does in its block.
public enum LinearRole: String, Sendable, CaseIterable {
    case query = "self_attn.q_proj"
    case key = "self_attn.k_proj"
    case value = "self_attn.v_proj"
    case output = "self_attn.o_proj"
    case gate = "mlp.gate_proj"
    case up = "mlp.up_proj"
    case down = "mlp.down_proj"

    /// Roles that read the same input, in the order in which a block reaches them.
    public static let groups: [[LinearRole]] = [[.query, .key, .value], [.output], [.gate, .up], [.down]]

    /// The name of the weight in Hugging Face checkpoints.
    public func weightName(layer: Int) -> String { "model.layers.\(layer).\(rawValue).weight" }
    /// The name of the bias in Hugging Face checkpoints.
    public func biasName(layer: Int) -> String { "model.layers.\(layer).\(rawValue).bias" }
}

/// Receives the rows that the linear layers in some roles are about to multiply.
typealias BlockObserver = (_ roles: [LinearRole], _ inputs: UnsafePointer<Float>, _ count: Int) throws -> Void

/// The names of a block's norms in checkpoints.
struct BlockNormNames {
    let attention, feedForward: String
    let outputs: (attention: String, feedForward: String)?

    init(_ configuration: TransformerConfiguration) {
        attention = "input_layernorm"
        feedForward = configuration.normalizesOutputs ? "pre_feedforward_layernorm" : "post_attention_layernorm"
        outputs =
            configuration.normalizesOutputs ? ("post_attention_layernorm", "post_feedforward_layernorm") : nil
    }
}

// MARK: - On the tape

/// ``TransformerBlock`` to be learned. Parts have the names that checkpoints give them.
public final class TrainableBlock: Module {
    public let attentionNorm: RMSNorm
    public let attention: TrainableAttention
    public let feedForwardNorm: RMSNorm
    public let feedForward: TrainableFeedForward
    public let outputNorms: (attention: RMSNorm, feedForward: RMSNorm)?
    private let names: BlockNormNames
    private let epsilon: Float

    /// - Parameter weight: Makes the trained form of a stored matrix, given its role.
    /// - Throws: As ``TrainableAttention/init(_:weight:)``.
    public init(
        _ block: TransformerBlock, configuration: TransformerConfiguration,
        weight: (LinearRole, any StoredMatrix) throws -> any TrainableWeight
    ) throws {
        func norm(_ weight: Tensor<Float>) -> RMSNorm { RMSNorm(weight, epsilon: block.normEpsilon) }
        attentionNorm = norm(block.attentionNorm)
        attention = try TrainableAttention(block.attention, weight: weight)
        feedForwardNorm = norm(block.feedForwardNorm)
        feedForward = try TrainableFeedForward(block.feedForward, weight: weight)
        outputNorms = block.outputNorms.map { (norm($0.attention), norm($0.feedForward)) }
        names = BlockNormNames(configuration)
        epsilon = block.normEpsilon
    }

    public var parts: [(name: String, part: Any)] {
        var parts: [(String, Any)] = [(names.attention, attentionNorm), ("self_attn", attention)]
        if let outputNorms { parts.append((names.outputs!.attention, outputNorms.attention)) }
        parts += [(names.feedForward, feedForwardNorm), ("mlp", feedForward)]
        if let outputNorms { parts.append((names.outputs!.feedForward, outputNorms.feedForward)) }
        return parts
    }

    /// - Parameters:
    ///   - x: [batch · T, width].
    ///   - positions: One a row.
    public func callAsFunction(
        _ x: Variable<Float>, positions: [Int32], batch: Int, dropout: Double = 0
    ) -> Variable<Float> {
        var change = attention(attentionNorm(x), positions: positions, batch: batch)
        if let outputNorms { change = outputNorms.attention(change) }
        let y = x + change.dropout(dropout)
        change = feedForward(feedForwardNorm(y))
        if let outputNorms { change = outputNorms.feedForward(change) }
        return y + change.dropout(dropout)
    }

    /// The form to be run, with matrices as they are stored now.
    public func stored(_ values: ValueType) throws -> TransformerBlock {
        TransformerBlock(
            attentionNorm: attentionNorm.weight.value, attention: try attention.stored(values),
            feedForwardNorm: feedForwardNorm.weight.value, feedForward: try feedForward.stored(values),
            outputNorms: outputNorms.map { ($0.attention.weight.value, $0.feedForward.weight.value) },
            normEpsilon: epsilon)
    }
}
