import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor

/// Many small experts of which a vector is read by those with a positive score, to be learned:
/// `y = Σ_e A_e(x) · W_down^e f(W_up^e x)`, `A` that of a ``RectifiedRouter``. Choosing has a gradient, and no number of experts is
/// prescribed. ``ChunkSparsification`` makes neighbouring tokens choose alike.
///
/// Chenyang Song, Weilin Zhao, Xu Han, Chaojun Xiao, Yingfa Chen, Yuxuan Li, Zhiyuan Liu, Maosong Sun, "BlockFFN: Towards End-Side
/// Acceleration-Friendly Mixture-of-Experts with Chunk-Level Activation Sparsity", arXiv 2507.08771. Experts have no gates of their
/// own: the authors found those to undo the router's sparsity.
///
/// On the tape all experts are one product; what runs (``stored(_:)``) is an ``ExpertFeedForward``, which reads each expert that any row of a
/// step has chosen once, for all of these rows.
public final class BlockFFN: TrainableRowMixer {
    /// The scores W, [experts, width].
    public let router: Linear
    /// The norm behind the ReLU, of width `experts`.
    public let norm: RMSNorm
    /// [experts · size, width], an expert's rows together.
    public let up: Linear
    /// [width, experts · size].
    public let down: Linear
    /// How many there are.
    public let experts: Int
    /// Neurons of one.
    public let size: Int
    /// f.
    public let activation: Activation
    /// Sees the scores `W x` and `ReLU(W x)`, [n, experts] each, of what is being recorded; nil for no one.
    public var watch: ((_ scores: Variable<Float>, _ rectified: Variable<Float>) -> Void)?

    /// Random weights.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for sizes below 1.
    public init(
        width: Int, experts: Int, size: Int, activation: Activation = .silu, initialization: Initialization = .uniform,
        using generator: inout SeededGenerator
    ) throws {
        guard width >= 1, experts >= 1, size >= 1 else {
            throw LacunaError.invalidArgument("experts", reason: "\(experts) of \(size) neurons in a width of \(width)")
        }
        func linear(_ inputs: Int, _ outputs: Int) -> Linear {
            Linear(
                inputDimensions: inputs, outputDimensions: outputs, bias: false, initialization: initialization,
                using: &generator)
        }
        router = linear(width, experts)
        norm = RMSNorm(dimensions: experts)
        up = linear(width, experts * size)
        down = linear(experts * size, width)
        (self.experts, self.size, self.activation) = (experts, size, activation)
    }

    /// By the names that checkpoints of the authors' kind give them.
    public var parts: [(name: String, part: Any)] {
        [("router", router), ("router_norm", norm), ("up_proj", up), ("down_proj", down)]
    }

    /// The weights A of the experts, [n, experts], for rows [n, width].
    public func weights(_ x: Variable<Float>) -> Variable<Float> {
        let scores = router(x)
        let rectified = scores.relu()
        if x.tape.isRecording && !x.tape.isRecomputing { watch?(scores, rectified) }
        return norm(rectified)
    }

    public func callAsFunction(_ x: Variable<Float>) -> Variable<Float> {
        let n = x.rows
        let weights = weights(x).reshaped([n * experts])
        let hidden = up(x).map(activation).reshaped([n * experts, size])
        return down(hidden.multipliedByColumn(weights).reshaped([n, experts * size]))
    }

    public func stored(_ values: ValueType) throws -> ChannelMixer {
        let (upper, lower) = (up.weight.densified(), down.weight.densified())
        let (width, inner) = (upper.columns, experts * size)
        func store(_ matrix: Tensor<Float>) throws -> LinearLayer {
            LinearLayer(try WeightStore.make(matrix, layout: .dense, values: values))
        }
        let parts = try (0..<experts).map { e in
            var own = Tensor<Float>(uninitialized: [width, size])
            own.withMutablePointer { own in
                lower.withPointer { lower in
                    for r in 0..<width { (own + r * size).update(from: lower + r * inner + e * size, count: size) }
                }
            }
            return FeedForward(
                gate: nil, up: try store(upper.rows(e * size..<(e + 1) * size)), down: try store(own),
                activation: activation)
        }
        let scores = LinearLayer(try router.weight.stored(values))
        return .experts(
            try ExpertFeedForward(
                router: RectifiedRouter(scores, gain: norm.weight.value.scalars, epsilon: norm.epsilon), experts: parts)
        )
    }
}
