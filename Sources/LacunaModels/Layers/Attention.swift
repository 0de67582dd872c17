import LacunaLearn
import LacunaSparse
import LacunaTensor

/// Self-attention, causal or in both directions, with or without rotary positions, in which groups of query heads share a
/// key/value head (Ainslie et al., "GQA: Training Generalized Multi-Query Transformer Models from Multi-Head
/// Checkpoints", arXiv:2305.13245), to be run.
public struct Attention: Sendable {
    /// [headCount · headSize, width].
    public var query: LinearLayer
    /// [keyValueHeadCount · headSize, width].
    public var key: LinearLayer
    /// [keyValueHeadCount · headSize, width].
    public var value: LinearLayer
    /// [width, headCount · headSize], from the heads' mixtures back to the residual stream.
    public var output: LinearLayer
    /// Weights [headSize] of RMS norms of every head's query and key before rotation; nil for none.
    public var queryNorm: Tensor<Float>?
    /// As ``queryNorm``, of keys.
    public var keyNorm: Tensor<Float>?
    /// Heads, masks, scale and rotation.
    public let geometry: AttentionGeometry

    /// Assembles attention from its parts, whose shapes are those of ``geometry``.
    public init(
        query: LinearLayer, key: LinearLayer, value: LinearLayer, output: LinearLayer, queryNorm: Tensor<Float>? = nil,
        keyNorm: Tensor<Float>? = nil, geometry: AttentionGeometry
    ) {
        self.query = query
        self.key = key
        self.value = value
        self.output = output
        self.queryNorm = queryNorm
        self.keyNorm = keyNorm
        self.geometry = geometry
    }

    /// The outputs for a step's rows `x`. Keys and values of the rows go to their sequences' stores.
    func step(
        _ x: UnsafePointer<Float>, context: StepContext, layer: Int, into result: UnsafeMutablePointer<Float>,
        observe: BlockObserver?
    ) throws {
        let (g, count) = (geometry, context.count)
        let queries = context.pointer(.query, count * g.queryWidth)
        let keys = context.pointer(.key, count * g.keyWidth)
        let values = context.pointer(.value, count * g.keyWidth)
        try observe?([.query, .key, .value], x, count)
        LinearLayer.multiply(
            [(query, queries), (key, keys), (value, values)], x, context: context, layer: layer,
            roles: [.query, .key, .value])
        func prepare(_ row: Int) {
            let (q, k) = (queries + row * g.queryWidth, keys + row * g.keyWidth)
            if let queryNorm { Self.normalize(q, heads: g.headCount, queryNorm, g.normEpsilon) }
            if let keyNorm { Self.normalize(k, heads: g.keyValueHeadCount, keyNorm, g.normEpsilon) }
            guard let rotary = g.rotary else { return }
            let angles = context.angles(row, rotation: g.rotation)
            rotary.rotate(q, heads: g.headCount, angles: angles)
            rotary.rotate(k, heads: g.keyValueHeadCount, angles: angles)
        }
        Parallel.forRanges(count, grain: 32) { for row in $0 { prepare(row) } }
        for span in context.spans {
            span.store?.append(
                layer: layer, keys: keys + span.rows.lowerBound * g.keyWidth,
                values: values + span.rows.lowerBound * g.keyWidth, count: span.rows.count)
            span.store?.observe(
                layer: layer, queries: queries + span.rows.lowerBound * g.queryWidth, heads: g.headCount,
                scale: g.scale,
                count: span.rows.count)
        }
        let mixed = context.pointer(.mixed, count * g.queryWidth)
        SpanAttention(geometry: g, context: context, layer: layer, queries: queries, keys: keys, values: values)
            .attend(into: mixed)
        try observe?([.output], mixed, count)
        LinearLayer.multiply([(output, result)], mixed, context: context, layer: layer, roles: [.output])
    }

    private static func normalize(
        _ x: UnsafeMutablePointer<Float>, heads: Int, _ weight: Tensor<Float>, _ epsilon: Float
    ) {
        for head in 0..<heads {
            VectorMath.rmsNorm(x + head * weight.count, weight: weight, epsilon: epsilon, into: x + head * weight.count)
        }
    }
}

/// What attention of a layer is, besides its weights.
public struct AttentionGeometry: Sendable {
    /// Heads of queries.
    public let headCount: Int
    /// Heads of keys, and of values; a divisor of ``headCount``.
    public let keyValueHeadCount: Int
    /// Entries of one head's query, key and value.
    public let headSize: Int
    /// How many positions back a query sees, itself included; nil for all.
    public let window: Int?
    /// What scores are multiplied by.
    public let scale: Float
    /// Added to the mean square in the norms of queries and keys.
    public let normEpsilon: Float
    /// Whether a query sees no later keys.
    public let isCausal: Bool
    /// nil for positions that are part of the input.
    public let rotary: RotaryEmbedding?
    /// Which of the model's rotations ``rotary`` is.
    let rotation: Int

    /// Attention of a decoder's layer.
    public init(_ configuration: TransformerConfiguration, layer: Int) {
        headCount = configuration.headCount
        keyValueHeadCount = configuration.keyValueHeadCount
        headSize = configuration.headSize
        window = configuration.window(layer: layer)
        scale = Float(configuration.attentionScale ?? 1 / Double(headSize).squareRoot())
        normEpsilon = configuration.normEpsilon
        rotation = window != nil && configuration.windowedRotary != nil ? 1 : 0
        rotary =
            configuration.isRotated(layer: layer)
            ? RotaryEmbedding(configuration.rotations[rotation], headSize: headSize) : nil
        isCausal = true
    }

    /// Attention without rotation, for positions that are part of the input.
    ///
    /// - Parameter scale: nil for `1 / √headSize`.
    public init(headCount: Int, headSize: Int, isCausal: Bool, scale: Float? = nil) {
        (self.headCount, keyValueHeadCount, self.headSize) = (headCount, headCount, headSize)
        (window, normEpsilon, rotary, rotation) = (nil, 0, nil, 0)
        self.isCausal = isCausal
        self.scale = scale ?? Float(1 / Double(headSize).squareRoot())
    }

    var queryWidth: Int { headCount * headSize }
    var keyWidth: Int { keyValueHeadCount * headSize }

    /// The positions that a query at `position` of a span may see.
    func visible(_ position: Int, in span: Span) -> Range<Int> {
        let end = isCausal ? position + 1 : span.firstPosition + span.rows.count
        return max(0, position + 1 - (window ?? position + 1))..<end
    }
}

// MARK: - On the tape

/// ``Attention`` to be learned.
public final class TrainableAttention: Module {
    /// The four matrices, as ``Attention`` has them.
    public let query, key, value, output: Linear
    /// Norms of every head's query and key before rotation; nil for none.
    public let queryNorm, keyNorm: RMSNorm?
    /// Heads, masks, scale and rotation.
    public private(set) var geometry: AttentionGeometry

    /// Keeps some heads, and of each some entries; the scale stays. Layers, optimiser states included, become smaller.
    ///
    /// - Parameter entries: For each head that stays, in any order, the entries of its query, key and value that stay: as many of each.
    /// - Throws: `LacunaError.unsupported` for heads that share keys, for rotation and norms of heads, and for weights that are not dense.
    public func keep(_ entries: [(head: Int, entries: [Int])]) throws {
        let g = geometry
        let layers = [query, key, value, output]
        guard g.keyValueHeadCount == g.headCount, g.rotary == nil, queryNorm == nil, keyNorm == nil,
            layers.allSatisfy({ $0.dense != nil })
        else { throw LacunaError.unsupported(file: nil, what: "smaller heads of such attention") }
        let size = entries.first?.entries.count ?? 0
        require(size > 0 && entries.allSatisfy { $0.entries.count == size }, "heads of different sizes")
        let places = entries.flatMap { head, kept in kept.map { head * g.headSize + $0 } }
        for layer in layers.dropLast() {
            layer.dense!.parameter.keep(places, along: 0)
            layer.bias?.keep(places, along: 0)
        }
        output.dense!.parameter.keep(places, along: 1)
        geometry = AttentionGeometry(
            headCount: entries.count, headSize: size, isCausal: g.isCausal, scale: g.scale)
    }

    /// - Parameters:
    ///   - weight: Makes the trained form of a stored matrix, given its role.
    /// - Throws: What `weight` throws; `LacunaError.unsupported` for interleaved rotation.
    public init(
        _ attention: Attention, weight: (LinearRole, any StoredMatrix) throws -> any TrainableWeight
    ) throws {
        guard attention.geometry.rotary?.parameters.layout != .interleaved else {
            throw LacunaError.unsupported(file: nil, what: "training a model with interleaved rotary positions")
        }
        query = try attention.query.trainable(.query, weight)
        key = try attention.key.trainable(.key, weight)
        value = try attention.value.trainable(.value, weight)
        output = try attention.output.trainable(.output, weight)
        geometry = attention.geometry
        queryNorm = attention.queryNorm.map { RMSNorm($0, epsilon: attention.geometry.normEpsilon) }
        keyNorm = attention.keyNorm.map { RMSNorm($0, epsilon: attention.geometry.normEpsilon) }
    }

    /// - Parameters:
    ///   - x: [batch · T, width].
    ///   - positions: One a row; nil only for attention without rotation.
    ///   - mask: Which keys are there; nil for all.
    public func callAsFunction(
        _ x: Variable<Float>, positions: [Int32]?, batch: Int, mask: AttentionMask? = nil
    ) -> Variable<Float> {
        let g = geometry
        require(g.rotary == nil || positions != nil, "rotation needs positions")
        func prepared(_ y: Variable<Float>, _ norm: RMSNorm?, _ heads: Int) -> Variable<Float> {
            var y = y
            if let norm {
                y = norm(y.reshaped([x.rows * heads, g.headSize])).reshaped([x.rows, heads * g.headSize])
            }
            guard let rotary = g.rotary, let positions else { return y }
            return y.rotated(
                positions: positions, heads: heads, dimensions: g.headSize, frequencies: rotary.frequencies)
        }
        let q = prepared(query(x), queryNorm, g.headCount)
        let k = prepared(key(x), keyNorm, g.keyValueHeadCount)
        let shape = AttentionShape(
            batch: batch, heads: g.headCount, keyValueHeads: g.keyValueHeadCount, dimensions: g.headSize,
            isCausal: g.isCausal, window: g.window, scale: Double(g.scale))
        let length = x.rows / max(batch, 1)
        let products = batch * g.headCount * length * length * g.headSize * 2
        x.tape.note(rows: 1, dense: products, active: products)
        return output(Variable.attention(queries: q, keys: k, values: value(x), shape: shape, mask: mask))
    }

    /// The form to be run, with matrices as they are stored now.
    public func stored(_ values: ValueType) throws -> Attention {
        Attention(
            query: try LinearLayer(query, values), key: try LinearLayer(key, values),
            value: try LinearLayer(value, values), output: try LinearLayer(output, values),
            queryNorm: queryNorm?.weight.value, keyNorm: keyNorm?.weight.value, geometry: geometry)
    }
}
