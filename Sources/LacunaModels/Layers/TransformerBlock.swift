import LacunaLearn
import LacunaSparse
import LacunaTensor

/// One layer of a transformer, to be run: attention, then a feed-forward part, each added to the residual stream and
/// normalised before or after. Decoders and encoders, of words and of pictures, are configurations of it.
public struct TransformerBlock: Sendable {
    /// Where the norms stand.
    public enum NormPlacement: Sendable, Hashable {
        /// Each part reads normalised input: Llama, GPT-2, ViT.
        case before
        /// The sum of a part and its input is normalised: BERT.
        case after
    }

    /// The norm of attention, of width hiddenSize.
    public var attentionNorm: Normalization
    public var attention: Attention
    /// The norm of the feed-forward part, of width hiddenSize.
    public var feedForwardNorm: Normalization
    public var feedForward: FeedForward
    /// Norms of what the two parts give, before it is added; nil for none.
    public var outputNorms: (attention: Normalization, feedForward: Normalization)?
    public let normPlacement: NormPlacement

    public init(
        attentionNorm: Normalization, attention: Attention, feedForwardNorm: Normalization, feedForward: FeedForward,
        outputNorms: (attention: Normalization, feedForward: Normalization)? = nil,
        normPlacement: NormPlacement = .before
    ) {
        self.attentionNorm = attentionNorm
        self.attention = attention
        self.feedForwardNorm = feedForwardNorm
        self.feedForward = feedForward
        self.outputNorms = outputNorms
        self.normPlacement = normPlacement
    }

    /// A block of RMS norms before its parts, by their weights [hiddenSize]: that of the Llama family.
    public init(
        attentionNorm: Tensor<Float>, attention: Attention, feedForwardNorm: Tensor<Float>, feedForward: FeedForward,
        outputNorms: (attention: Tensor<Float>, feedForward: Tensor<Float>)? = nil, normEpsilon: Float
    ) {
        func norm(_ weight: Tensor<Float>) -> Normalization {
            Normalization(weight: weight, bias: nil, epsilon: normEpsilon)
        }
        self.init(
            attentionNorm: norm(attentionNorm), attention: attention, feedForwardNorm: norm(feedForwardNorm),
            feedForward: feedForward, outputNorms: outputNorms.map { (norm($0.attention), norm($0.feedForward)) })
    }

    /// The linear layer in a role.
    ///
    /// - Precondition: A block without a gate has no layer in that role.
    public subscript(role: LinearRole) -> LinearLayer {
        get {
            switch role {
            case .query: return attention.query
            case .key: return attention.key
            case .value: return attention.value
            case .output: return attention.output
            case .gate:
                require(feedForward.gate != nil, "a block without a gate")
                return feedForward.gate!
            case .up: return feedForward.up
            case .down: return feedForward.down
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
    ///
    /// - Throws: What `observe` throws.
    func step(
        _ hidden: UnsafeMutablePointer<Float>, context: StepContext, layer: Int, observe: BlockObserver? = nil
    ) throws {
        let (width, count) = (attentionNorm.weight.count, context.count)
        let change = context.pointer(.change, count * width)
        func part(
            _ norm: Normalization, _ outputNorm: Normalization?, _ run: (UnsafePointer<Float>) throws -> Void
        ) rethrows {
            if normPlacement == .before {
                let normalized = context.pointer(.normalized, count * width)
                norm.apply(hidden, count: count, into: normalized)
                try run(normalized)
            } else {
                try run(hidden)
            }
            outputNorm?.apply(change, count: count, into: change)
            VectorMath.addParallel(change, to: hidden, count: count * width)
            if normPlacement == .after { norm.apply(hidden, count: count, into: hidden) }
        }
        try part(attentionNorm, outputNorms?.attention) {
            try attention.step($0, context: context, layer: layer, into: change, observe: observe)
        }
        try part(feedForwardNorm, outputNorms?.feedForward) {
            try feedForward.step($0, context: context, layer: layer, into: change, observe: observe)
        }
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

    /// The name of the weight in Hugging Face checkpoints of the Llama family.
    public func weightName(layer: Int) -> String { "model.layers.\(layer).\(rawValue).weight" }
    /// The name of the bias in Hugging Face checkpoints of the Llama family.
    public func biasName(layer: Int) -> String { "model.layers.\(layer).\(rawValue).bias" }
}

/// Receives the rows that the linear layers in some roles are about to multiply.
typealias BlockObserver = (_ roles: [LinearRole], _ inputs: UnsafePointer<Float>, _ count: Int) throws -> Void

/// What checkpoints call the parts of a block.
struct BlockNames: Sendable {
    let linears: [LinearRole: String]
    let attention, feedForward: String
    /// Of the norms of what the parts give.
    var outputs: (attention: String, feedForward: String)?

    /// The Llama family's.
    init(_ configuration: TransformerConfiguration) {
        linears = Dictionary(uniqueKeysWithValues: LinearRole.allCases.map { ($0, $0.rawValue) })
        attention = "input_layernorm"
        feedForward = configuration.normalizesOutputs ? "pre_feedforward_layernorm" : "post_attention_layernorm"
        outputs =
            configuration.normalizesOutputs ? ("post_attention_layernorm", "post_feedforward_layernorm") : nil
    }

    init(attention: String, feedForward: String, linears: [LinearRole: String]) {
        (self.attention, self.feedForward, self.linears) = (attention, feedForward, linears)
    }

    static let bert = BlockNames(
        attention: "attention.output.LayerNorm", feedForward: "output.LayerNorm",
        linears: [
            .query: "attention.self.query", .key: "attention.self.key", .value: "attention.self.value",
            .output: "attention.output.dense", .up: "intermediate.dense", .down: "output.dense",
        ])

    static let vision = BlockNames(
        attention: "layernorm_before", feedForward: "layernorm_after",
        linears: [
            .query: "attention.attention.query", .key: "attention.attention.key", .value: "attention.attention.value",
            .output: "attention.output.dense", .up: "intermediate.dense", .down: "output.dense",
        ])

    /// Those of GPT-2, with a name for each of the three that its files keep as one.
    static let gpt2 = BlockNames(
        attention: "ln_1", feedForward: "ln_2",
        linears: [
            .query: "attn.q_proj", .key: "attn.k_proj", .value: "attn.v_proj", .output: "attn.c_proj",
            .up: "mlp.c_fc", .down: "mlp.c_proj",
        ])
}

// MARK: - On the tape

/// ``TransformerBlock`` to be learned. Parts have the names that checkpoints give them.
public final class TrainableBlock: Module {
    public let attentionNorm: any UnaryLayer
    public let attention: TrainableAttention
    public let feedForwardNorm: any UnaryLayer
    public let feedForward: TrainableFeedForward
    public let outputNorms: (attention: any UnaryLayer, feedForward: any UnaryLayer)?
    private let placement: TransformerBlock.NormPlacement
    private let names: BlockNames
    private let storedNorms:
        () -> (Normalization, Normalization, (attention: Normalization, feedForward: Normalization)?)

    /// - Parameter weight: Makes the trained form of a stored matrix, given its role.
    /// - Throws: As ``TrainableAttention/init(_:weight:)``.
    init(
        _ block: TransformerBlock, names: BlockNames,
        weight: (LinearRole, any StoredMatrix) throws -> any TrainableWeight
    ) throws {
        let (first, second) = (block.attentionNorm.trainable, block.feedForwardNorm.trainable)
        let outputs = block.outputNorms.map { ($0.attention.trainable, $0.feedForward.trainable) }
        (attentionNorm, feedForwardNorm) = (first, second)
        outputNorms = outputs.map { ($0.0, $0.1) }
        storedNorms = { (first.stored, second.stored, outputs.map { ($0.0.stored, $0.1.stored) }) }
        attention = try TrainableAttention(block.attention, weight: weight)
        feedForward = try TrainableFeedForward(block.feedForward, weight: weight)
        placement = block.normPlacement
        self.names = names
    }

    public var parts: [(name: String, part: Any)] {
        func linear(_ role: LinearRole, _ layer: Linear?) -> [(String, Any)] {
            layer.map { [(names.linears[role] ?? role.rawValue, $0)] } ?? []
        }
        var parts: [(String, Any)] = [(names.attention, attentionNorm)]
        parts += linear(.query, attention.query) + linear(.key, attention.key) + linear(.value, attention.value)
        parts += linear(.output, attention.output)
        if let norm = attention.queryNorm { parts.append(("self_attn.q_norm", norm)) }
        if let norm = attention.keyNorm { parts.append(("self_attn.k_norm", norm)) }
        if let outputNorms {
            parts.append((names.outputs?.attention ?? "attention_output_norm", outputNorms.attention))
        }
        parts.append((names.feedForward, feedForwardNorm))
        parts += linear(.gate, feedForward.gate) + linear(.up, feedForward.up) + linear(.down, feedForward.down)
        if let outputNorms {
            parts.append((names.outputs?.feedForward ?? "feed_forward_output_norm", outputNorms.feedForward))
        }
        return parts
    }

    /// - Parameters:
    ///   - x: [batch · T, width].
    ///   - positions: One a row; nil for attention without rotation.
    ///   - mask: Which keys are there; nil for all.
    public func callAsFunction(
        _ x: Variable<Float>, positions: [Int32]?, batch: Int, mask: AttentionMask? = nil, dropout: Double = 0
    ) -> Variable<Float> {
        func part(
            _ x: Variable<Float>, _ norm: any UnaryLayer, _ outputNorm: (any UnaryLayer)?,
            _ run: (Variable<Float>) -> Variable<Float>
        ) -> Variable<Float> {
            var change = run(placement == .before ? norm(x) : x)
            if let outputNorm { change = outputNorm(change) }
            let y = x + change.dropout(dropout)
            return placement == .after ? norm(y) : y
        }
        let y = part(x, attentionNorm, outputNorms?.attention) {
            attention($0, positions: positions, batch: batch, mask: mask)
        }
        return part(y, feedForwardNorm, outputNorms?.feedForward) { feedForward($0) }
    }

    /// The form to be run, with matrices as they are stored now.
    public func stored(_ values: ValueType) throws -> TransformerBlock {
        let (first, second, outputs) = storedNorms()
        return TransformerBlock(
            attentionNorm: first, attention: try attention.stored(values), feedForwardNorm: second,
            feedForward: try feedForward.stored(values), outputNorms: outputs, normPlacement: placement)
    }
}
