import LacunaSparse
import LacunaTensor

/// One layer of a decoder: attention, then the feed-forward part, each on RMS-normalised input (Zhang and Sennrich,
/// "Root Mean Square Layer Normalization", arXiv:1910.07467) and added to the residual stream.
public struct DecoderBlock: Sendable {
    /// Weights [hiddenSize] of the norm before attention.
    public var attentionNorm: Tensor<Float>
    public var attention: Attention
    /// Weights [hiddenSize] of the norm before the feed-forward part.
    public var feedForwardNorm: Tensor<Float>
    public var feedForward: GatedFeedForward
    public let normEpsilon: Float

    public init(
        attentionNorm: Tensor<Float>, attention: Attention, feedForwardNorm: Tensor<Float>,
        feedForward: GatedFeedForward,
        normEpsilon: Float
    ) {
        self.attentionNorm = attentionNorm
        self.attention = attention
        self.feedForwardNorm = feedForwardNorm
        self.feedForward = feedForward
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

    /// Adds the block's contribution to `count` rows of `hidden`, in place.
    func forward(
        _ hidden: UnsafeMutablePointer<Float>, count: Int, run: BlockRun, observe: BlockObserver?
    ) throws {
        let width = attentionNorm.count
        let normalized = Buffer<Float>(uninitialized: count * width)
        let change = Buffer<Float>(uninitialized: count * width)
        VectorMath.rmsNorm(
            rows: hidden, count: count, weight: attentionNorm, epsilon: normEpsilon, into: normalized.pointer)
        try attention.forward(normalized.pointer, count: count, run: run, into: change.pointer, observe: observe)
        VectorMath.addParallel(change.pointer, to: hidden, count: count * width)
        VectorMath.rmsNorm(
            rows: hidden, count: count, weight: feedForwardNorm, epsilon: normEpsilon, into: normalized.pointer)
        try feedForward.forward(normalized.pointer, count: count, into: change.pointer, observe: observe)
        VectorMath.addParallel(change.pointer, to: hidden, count: count * width)
    }

    /// Adds the block's contribution to the one vector in the workspace.
    func decode(_ workspace: DecodingWorkspace, rotary: RotaryEmbedding, cache: KeyValueCache, layer: Int) {
        let hidden = workspace.hidden.pointer
        let normalized = workspace.normalized.pointer
        let width = attentionNorm.count
        VectorMath.rmsNorm(hidden, weight: attentionNorm, epsilon: normEpsilon, into: normalized)
        attention.decode(workspace, rotary: rotary, cache: cache, layer: layer)
        VectorMath.add(workspace.projected.pointer, to: hidden, count: width)
        VectorMath.rmsNorm(hidden, weight: feedForwardNorm, epsilon: normEpsilon, into: normalized)
        feedForward.decode(workspace)
        VectorMath.add(workspace.projected.pointer, to: hidden, count: width)
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

/// How the rows given to a block are to be read: as sequences of equal length, each starting at the same position.
struct BlockRun {
    let rotary: RotaryEmbedding
    let sequenceLength: Int
    let firstPosition: Int
    /// [sequenceLength, headSize]
    let angles: Buffer<Float>
    /// Where keys and values are stored and read, and the block's index; for a single sequence.
    var cache: (KeyValueCache, layer: Int)?

    init(_ rotary: RotaryEmbedding, sequenceLength: Int, firstPosition: Int = 0) {
        self.rotary = rotary
        self.sequenceLength = sequenceLength
        self.firstPosition = firstPosition
        angles = rotary.angles(positions: firstPosition..<firstPosition + sequenceLength)
    }
}
