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
    /// The part that mixes rows of a sequence.
    public var attention: Attention
    /// The norm of the feed-forward part, of width hiddenSize.
    public var feedForwardNorm: Normalization
    /// The feed-forward part, or the experts in its place.
    public var mixer: ChannelMixer
    /// Norms of what the two parts give, before it is added; nil for none.
    public var outputNorms: (attention: Normalization, feedForward: Normalization)?
    /// Where the norms stand.
    public let normPlacement: NormPlacement

    /// Assembles a block from its parts, all of one width.
    public init(
        attentionNorm: Normalization, attention: Attention, feedForwardNorm: Normalization, mixer: ChannelMixer,
        outputNorms: (attention: Normalization, feedForward: Normalization)? = nil,
        normPlacement: NormPlacement = .before
    ) {
        self.attentionNorm = attentionNorm
        self.attention = attention
        self.feedForwardNorm = feedForwardNorm
        self.mixer = mixer
        self.outputNorms = outputNorms
        self.normPlacement = normPlacement
    }

    /// A block whose feed-forward part is one for all rows.
    public init(
        attentionNorm: Normalization, attention: Attention, feedForwardNorm: Normalization, feedForward: FeedForward,
        outputNorms: (attention: Normalization, feedForward: Normalization)? = nil,
        normPlacement: NormPlacement = .before
    ) {
        self.init(
            attentionNorm: attentionNorm, attention: attention, feedForwardNorm: feedForwardNorm,
            mixer: .dense(feedForward), outputNorms: outputNorms, normPlacement: normPlacement)
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

    /// The feed-forward part that all rows go through.
    ///
    /// - Precondition: To be read, it is not one of experts: see ``mixer``.
    public var feedForward: FeedForward {
        get {
            guard case .dense(let part) = mixer else { preconditionFailure("a block of experts") }
            return part
        }
        set { mixer = .dense(newValue) }
    }

    /// The roles in which the block has a linear layer of its own: without a gate not that of a gate, and with experts, which
    /// have layers each, those of attention.
    public var roles: [LinearRole] {
        switch mixer {
        case .dense(let part): LinearRole.allCases.filter { $0 != .gate || part.gate != nil }
        case .experts, .custom: [.query, .key, .value, .output]
        }
    }

    /// ``roles`` that read the same input together, in the order in which the block reaches them.
    public var roleGroups: [[LinearRole]] {
        let own = roles
        return LinearRole.groups.map { $0.filter(own.contains) }.filter { !$0.isEmpty }
    }

    /// The linear layer in a role.
    ///
    /// - Precondition: The role is one of ``roles``.
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
            try mixer.step($0, context: context, layer: layer, into: change, observe: observe)
        }
    }
}

/// The part of a block that works on each row by itself: one for all rows, or experts of which a router chooses some.
public enum ChannelMixer: Sendable {
    /// One feed-forward part, through which every row goes.
    case dense(FeedForward)
    /// Several, of which each row goes through those that a router chooses.
    case experts(ExpertFeedForward)
    /// A part of another kind.
    case custom(any RowMixer)

    /// The outputs for a step's rows `x`. Inputs of experts are not observed.
    func step(
        _ x: UnsafePointer<Float>, context: StepContext, layer: Int, into output: UnsafeMutablePointer<Float>,
        observe: BlockObserver?
    ) throws {
        switch self {
        case .dense(let part): try part.step(x, context: context, layer: layer, into: output, observe: observe)
        case .experts(let part): _ = try part.step(x, context: context, layer: layer, into: output)
        case .custom(let part): try part.apply(x, count: context.count, layer: layer, into: output)
        }
    }
}

/// A part of a block that works on each row by itself and is none of the kinds that a ``ChannelMixer`` has, to be run. The form to
/// be learned is a ``TrainableRowMixer``.
public protocol RowMixer: Sendable {
    /// Entries of a row.
    var inputs: Int { get }
    /// Entries of what becomes of it.
    var outputs: Int { get }
    /// Bytes of all its weights.
    var byteCount: Int { get }
    /// Bytes of them that one row reads, at most.
    var bytesTouchedPerVector: Int { get }
    /// How many weights there are.
    var weightCount: Int { get }
    /// Writes what becomes of `count` rows, [count, inputs], to `y`, [count, outputs].
    func apply(_ x: UnsafePointer<Float>, count: Int, layer: Int, into y: UnsafeMutablePointer<Float>) throws
}

/// A ``RowMixer`` to be learned, or any other part that takes rows of a stream to rows and can be made into what runs.
public protocol TrainableRowMixer: UnaryLayer {
    /// The form to be run, with matrices as they are now.
    ///
    /// - Throws: As ``TrainableWeight/stored(_:)``.
    func stored(_ values: ValueType) throws -> ChannelMixer
}

/// What a linear layer does in its block.
public enum LinearRole: String, Sendable, CaseIterable {
    /// Makes queries of the normalised stream.
    case query = "self_attn.q_proj"
    /// Makes keys of it.
    case key = "self_attn.k_proj"
    /// Makes values of it.
    case value = "self_attn.v_proj"
    /// Takes what the heads have gathered back to the stream.
    case output = "self_attn.o_proj"
    /// Makes what the feed-forward part's inner entries are weighted by.
    case gate = "mlp.gate_proj"
    /// Makes the inner entries of the feed-forward part.
    case up = "mlp.up_proj"
    /// Takes those back to the stream.
    case down = "mlp.down_proj"

    /// Roles that read the same input, in the order in which a block reaches them.
    public static let groups: [[LinearRole]] = [[.query, .key, .value], [.output], [.gate, .up], [.down]]

}

extension TransformerConfiguration {
    /// The name of a linear layer's weight, as checkpoints of the architecture have it:
    /// `model.layers.0.self_attn.q_proj.weight`, in GPT-2 `transformer.h.0.attn.q_proj.weight`.
    public func weightName(_ role: LinearRole, layer: Int) -> String { linearName(role, layer: layer) + ".weight" }

    /// The name of a linear layer's bias.
    public func biasName(_ role: LinearRole, layer: Int) -> String { linearName(role, layer: layer) + ".bias" }

    private func linearName(_ role: LinearRole, layer: Int) -> String {
        "\(names.layers).\(layer).\(names.block.linears[role] ?? role.rawValue)"
    }

    /// What checkpoints call the parts.
    var names: ModelNames { architecture == .gpt2 ? .gpt2 : .llama(BlockNames(self)) }
}

/// What checkpoints of an architecture call the parts of a decoder.
struct ModelNames: Sendable {
    let embedding, layers, norm, head: String
    /// Of a table of positions.
    let positions: String
    let block: BlockNames

    /// The Llama family's.
    static func llama(_ block: BlockNames) -> ModelNames {
        ModelNames(
            embedding: "model.embed_tokens", layers: "model.layers", norm: "model.norm", head: "lm_head",
            positions: "model.embed_positions", block: block)
    }

    static let gpt2 = ModelNames(
        embedding: "transformer.wte", layers: "transformer.h", norm: "transformer.ln_f", head: "lm_head",
        positions: "transformer.wpe", block: .gpt2)
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

    /// Linear layers whose outputs are added to the residual stream.
    var branchEnds: [String] { [LinearRole.output, .down].compactMap { linears[$0] } }

    /// The role of a linear layer by its name in the block; nil for a name that is none's.
    func role(of name: Substring) -> LinearRole? { linears.first { $0.value == name }?.key }

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
    /// The norm of attention.
    public let attentionNorm: any UnaryLayer
    /// The part that mixes rows of a sequence.
    public let attention: TrainableAttention
    /// The norm of the feed-forward part.
    public let feedForwardNorm: any UnaryLayer
    /// The feed-forward part, or what is in its place. Another one has the same inputs and outputs.
    public var mixer: TrainableMixer
    /// Norms of what the two parts give, before it is added; nil for none.
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
        mixer =
            switch block.mixer {
            case .dense(let part): .dense(try TrainableFeedForward(part, weight: weight))
            case .experts(let part): .experts(try TrainableExperts(part, weight: weight))
            case .custom(let part):
                throw LacunaError.unsupported(file: nil, what: "training a \(type(of: part)) that was made to be run")
            }
        placement = block.normPlacement
        self.names = names
    }

    /// The parts by the names that checkpoints give them.
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
        switch mixer {
        case .dense(let part): parts += linear(.gate, part.gate) + linear(.up, part.up) + linear(.down, part.down)
        case .experts(let part): parts.append(("mlp", part))
        case .custom(let part): parts.append(("mlp", part))
        }
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
        return part(y, feedForwardNorm, outputNorms?.feedForward) { mixer($0) }
    }

    /// The form to be run, with matrices as they are stored now.
    public func stored(_ values: ValueType) throws -> TransformerBlock {
        let (first, second, outputs) = storedNorms()
        return TransformerBlock(
            attentionNorm: first, attention: try attention.stored(values), feedForwardNorm: second,
            mixer: try mixer.stored(values), outputNorms: outputs, normPlacement: placement)
    }
}

/// ``ChannelMixer`` to be learned.
public enum TrainableMixer {
    /// One feed-forward part for all rows.
    case dense(TrainableFeedForward)
    /// Experts that a router chooses.
    case experts(TrainableExperts)
    /// A part of another kind.
    case custom(any TrainableRowMixer)

    /// [n, width] for rows [n, width].
    public func callAsFunction(_ x: Variable<Float>) -> Variable<Float> {
        switch self {
        case .dense(let part): part(x)
        case .experts(let part): part(x)
        case .custom(let part): part(x)
        }
    }

    /// The form to be run, with matrices as they are stored now.
    ///
    /// - Throws: As ``TrainableWeight/stored(_:)``.
    public func stored(_ values: ValueType) throws -> ChannelMixer {
        switch self {
        case .dense(let part): .dense(try part.stored(values))
        case .experts(let part): .experts(try part.stored(values))
        case .custom(let part): try part.stored(values)
        }
    }
}
