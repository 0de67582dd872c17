import LacunaIO
import LacunaSparse
import LacunaTensor

/// A causal language model: token embedding, blocks of attention and feed-forward parts, a final norm and an output head that
/// is either a matrix of its own or the embedding table once more. The Llama family and GPT-2 are configurations of it.
///
/// A decoder is a value: a copy shares all weights until a layer of one of the two is replaced. Weights stay as they are
/// stored (dense, sparse, quantised); activations are floats.
public struct Transformer: Sendable {
    /// Sizes and constants. Structured pruning changes ``TransformerConfiguration/intermediateSizes``.
    public private(set) var configuration: TransformerConfiguration
    /// The embedding table [vocabularySize, hiddenSize], one row a token.
    public var embedding: any StoredMatrix
    /// The blocks, from the embeddings on.
    public internal(set) var blocks: [TransformerBlock]
    /// [maximumPositions, hiddenSize], added to the embeddings; nil where positions are rotations.
    public var positions: Tensor<Float>?
    /// The norm before the head, of width hiddenSize.
    public var finalNorm: Normalization
    /// The output head [vocabularySize, hiddenSize]; nil if it is the embedding table.
    public var untiedHead: (any StoredMatrix)?
    /// The content of the model's `generation_config.json`, which goes along when it is saved.
    public var generationSettings: JSONObject?
    /// Rotate queries and keys by their positions: in all layers, or in global and in windowed ones.
    let rotations: [RotaryEmbedding]

    /// Assembles a decoder from its parts.
    ///
    /// - Parameters:
    ///   - positions: A table for a configuration that learns positions, and for no other.
    ///   - file: Named in errors.
    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` for a configuration out of range, and
    ///   ``LacunaError/tensorMismatch(file:name:expected:found:)`` for a part of another shape than configured.
    public init(
        configuration: TransformerConfiguration, embedding: any StoredMatrix, positions: Tensor<Float>? = nil,
        blocks: [TransformerBlock], finalNorm: Normalization, untiedHead: (any StoredMatrix)?, file: String = "decoder"
    ) throws {
        try configuration.validate(file: file)
        self.configuration = configuration
        self.embedding = embedding
        self.positions = positions
        self.blocks = blocks
        self.finalNorm = finalNorm
        self.untiedHead = untiedHead
        rotations = configuration.rotations.map { RotaryEmbedding($0, headSize: configuration.headSize) }
        try checkShapes(file: file)
    }

    /// The matrix that turns hidden states into logits: the embedding table if the two are tied.
    public var head: any StoredMatrix { untiedHead ?? embedding }

    private func checkShapes(file: String) throws {
        func require(_ name: String, _ found: [Int], _ expected: [Int]) throws {
            if found != expected {
                throw LacunaError.tensorMismatch(
                    file: file, name: name, expected: "shape \(expected)", found: "shape \(found)")
            }
        }
        let (vocabulary, width) = (configuration.vocabularySize, configuration.hiddenSize)
        let names = configuration.names
        try require("\(names.embedding).weight", [embedding.rows, embedding.columns], [vocabulary, width])
        try require(
            "\(names.positions).weight", positions?.shape ?? [],
            configuration.learnsPositions ? [configuration.maximumPositions, width] : [])
        try require("\(names.norm).weight", finalNorm.weight.shape, [width])
        try require("\(names.norm).bias", finalNorm.bias?.shape ?? [], configuration.usesLayerNorms ? [width] : [])
        if let untiedHead {
            try require("\(names.head).weight", [untiedHead.rows, untiedHead.columns], [vocabulary, width])
        }
        if (untiedHead == nil) != configuration.tiedEmbeddings {
            throw LacunaError.malformed(
                file: file, location: "\(names.head).weight",
                reason: "the configuration says that embeddings are \(configuration.tiedEmbeddings ? "" : "not ")tied")
        }
        guard blocks.count == configuration.layerCount else {
            throw LacunaError.malformed(
                file: file, location: "layers", reason: "\(blocks.count) blocks for \(configuration.layerCount) layers")
        }
        for (layer, block) in blocks.enumerated() {
            let (names, place) = (configuration.names.block, "\(configuration.names.layers).\(layer)")
            func requireNorm(_ name: String, _ norm: Tensor<Float>?, _ count: Int, _ isThere: Bool = true) throws {
                try require("\(place).\(name).weight", norm?.shape ?? [], isThere ? [count] : [])
            }
            for (name, norm) in [(names.attention, block.attentionNorm), (names.feedForward, block.feedForwardNorm)] {
                try requireNorm(name, norm.weight, width)
                try require(
                    "\(place).\(name).bias", norm.bias?.shape ?? [], configuration.usesLayerNorms ? [width] : [])
            }
            let sandwiched = configuration.normalizesOutputs
            try requireNorm(names.outputs?.attention ?? "norm", block.outputNorms?.attention.weight, width, sandwiched)
            try requireNorm(
                names.outputs?.feedForward ?? "norm", block.outputNorms?.feedForward.weight, width, sandwiched)
            let normed = configuration.normalizesHeads
            try requireNorm("self_attn.q_norm", block.attention.queryNorm, configuration.headSize, normed)
            try requireNorm("self_attn.k_norm", block.attention.keyNorm, configuration.headSize, normed)
            for role in block.roles {
                let linear = block[role]
                try require(
                    configuration.weightName(role, layer: layer), [linear.outputs, linear.inputs],
                    configuration.shape(of: role, layer: layer))
            }
            switch block.mixer {
            case .dense(let part):
                if (part.gate != nil) != configuration.hasGates {
                    throw LacunaError.malformed(
                        file: file, location: place,
                        reason: "a feed-forward part with\(part.gate == nil ? "out" : "") a gate")
                }
            case .experts(let part):
                try require("\(place).mlp", [part.router.inputs, part.outputs], [width, width])
            case .custom(let part): try require("\(place).mlp", [part.inputs, part.outputs], [width, width])
            }
        }
    }

    /// Replaces the widths of the feed-forward parts by those of the matrices, after structured pruning changed them.
    mutating func adoptIntermediateSizes() {
        for (layer, block) in blocks.enumerated() {
            if case .dense(let part) = block.mixer { configuration.intermediateSizes[layer] = part.intermediateSize }
        }
    }

    // MARK: Whole sequences

    /// What the first block reads of whole sequences, one after the other: the embedding of each token, and of its position
    /// where positions are learned. [tokens.count, hiddenSize].
    ///
    /// - Parameter sequenceLength: A divisor of the number of tokens; nil for one sequence.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a token outside the vocabulary, and for sequences longer than a
    ///   table of positions.
    public func embed(_ tokens: [Int], sequenceLength: Int? = nil) throws -> Tensor<Float> {
        let length = max(sequenceLength ?? tokens.count, 1)
        if configuration.learnsPositions { try requirePositions(length) }
        for token in tokens { try requireToken(token) }
        let width = configuration.hiddenSize
        var result = Tensor<Float>(uninitialized: [tokens.count, width])
        result.withMutablePointer { rows in
            Parallel.forRanges(tokens.count, grain: 64) { range in
                for i in range { embed(tokens[i], at: i % length, into: rows + i * width) }
            }
        }
        return result
    }

    func embed(_ token: Int, at position: Int, into row: UnsafeMutablePointer<Float>) {
        embedding.decode(rows: token..<token + 1, into: row)
        let (scale, width) = (configuration.embeddingScale, configuration.hiddenSize)
        if scale != 1 { for i in 0..<width { row[i] *= scale } }
        positions?.withPointer { VectorMath.add($0 + position * width, to: row, count: width) }
    }

    func requireToken(_ token: Int) throws {
        if token < 0 || token >= configuration.vocabularySize {
            throw LacunaError.invalidArgument(
                "tokens", reason: "\(token) is outside the vocabulary of \(configuration.vocabularySize)")
        }
    }

    /// Receives what linear layers are about to multiply: the names of the weights that share an input, its rows
    /// [count, columns], and `count`. The pointer is valid during the call only.
    public typealias InputObserver = (_ names: [String], _ inputs: UnsafePointer<Float>, _ count: Int) throws -> Void

    /// Runs block `layer` on whole sequences, in place.
    ///
    /// The observer is called once for the query, key and value projections together, then for the output projection,
    /// for the gate and up projections together, and for the down projection.
    ///
    /// - Parameters:
    ///   - hidden: [n, hiddenSize], sequences of `sequenceLength` rows one after the other, each beginning at position 0.
    ///   - sequenceLength: A divisor of n.
    ///   - gate: Which inputs the block's products read; nil for all.
    /// - Throws: What the observer throws.
    public func runBlock(
        _ layer: Int, hidden: inout Tensor<Float>, sequenceLength: Int, gate: (any InputGate)? = nil,
        observer: InputObserver? = nil
    ) throws {
        LacunaTensor.require(hidden.columns == configuration.hiddenSize)
        LacunaTensor.require(sequenceLength > 0 && hidden.rows % sequenceLength == 0, "rows are not whole sequences")
        let context = wholeSequences(hidden.rows, length: sequenceLength, gate: gate)
        try hidden.withMutablePointer { pointer in
            try blocks[layer].step(pointer, context: context, layer: layer) { roles, inputs, count in
                try observer?(roles.map { configuration.weightName($0, layer: layer) }, inputs, count)
            }
        }
    }

    func wholeSequences(
        _ rows: Int, length: Int, gate: (any InputGate)? = nil, meter: SkippingMeter? = nil
    ) -> StepContext {
        let spans = stride(from: 0, to: rows, by: length).map { Span(rows: $0..<$0 + length, firstPosition: 0) }
        return StepContext(
            rotations: rotations, headSize: configuration.headSize, spans: spans, count: rows, gate: gate, meter: meter,
            workspace: StepWorkspace())
    }

    /// The final hidden states of whole sequences, before the last norm, [tokens.count, hiddenSize].
    ///
    /// - Parameters:
    ///   - sequenceLength: A divisor of the number of tokens: how many form one sequence.
    ///   - gate: Which inputs products read; nil for all.
    ///   - meter: Counts what the gate leaves out.
    public func hiddenStates(
        _ tokens: [Int], sequenceLength: Int, gate: (any InputGate)? = nil, meter: SkippingMeter? = nil
    ) throws -> Tensor<Float> {
        try requirePositions(sequenceLength)
        LacunaTensor.require(tokens.count % sequenceLength == 0, "tokens are not whole sequences")
        var hidden = try embed(tokens, sequenceLength: sequenceLength)
        if tokens.isEmpty { return hidden }
        let context = wholeSequences(tokens.count, length: sequenceLength, gate: gate, meter: meter)
        try hidden.withMutablePointer { try step($0, context: context) }
        return hidden
    }

    /// The logits [rows.count, vocabularySize] of some rows of final hidden states.
    public func logits(_ hidden: Tensor<Float>, rows: Range<Int>) -> Tensor<Float> {
        var result = Tensor<Float>(uninitialized: [rows.count, configuration.vocabularySize])
        hidden.withPointer { hidden in
            result.withMutablePointer {
                logits(hidden + rows.lowerBound * configuration.hiddenSize, count: rows.count, into: $0)
            }
        }
        return result
    }

    /// The logits [tokens.count, vocabularySize] after each token of one sequence.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a token outside the vocabulary or more tokens than
    ///   positions.
    public func logits(_ tokens: [Int]) throws -> Tensor<Float> {
        let hidden = try hiddenStates(tokens, sequenceLength: max(tokens.count, 1))
        return logits(hidden, rows: 0..<tokens.count)
    }

    func logits(_ hidden: UnsafePointer<Float>, count: Int, into logits: UnsafeMutablePointer<Float>) {
        let normalized = Buffer<Float>(uninitialized: count * configuration.hiddenSize)
        self.logits(hidden, count: count, into: logits, normalized: normalized.pointer)
    }

    /// - Parameter normalized: Room for as many numbers as `hidden` has.
    func logits(
        _ hidden: UnsafePointer<Float>, count: Int, into logits: UnsafeMutablePointer<Float>,
        normalized: UnsafeMutablePointer<Float>
    ) {
        finalNorm.apply(hidden, count: count, into: normalized)
        if count == 1 {
            Product.gemv([(head, logits)], x: normalized)
        } else {
            Product.gemm(head, normalized, count: count, into: logits)
        }
    }

    func requirePositions(_ count: Int) throws {
        if count > configuration.maximumPositions {
            throw LacunaError.invalidArgument(
                "context", reason: "\(count) positions are more than the model's \(configuration.maximumPositions)")
        }
    }
}

extension TransformerConfiguration {
    /// The shape [outputs, inputs] of a linear layer.
    public func shape(of role: LinearRole, layer: Int) -> [Int] {
        switch role {
        case .query: [queryWidth, hiddenSize]
        case .key, .value: [keyValueWidth, hiddenSize]
        case .output: [hiddenSize, queryWidth]
        case .gate, .up: [intermediateSizes[layer], hiddenSize]
        case .down: [hiddenSize, intermediateSizes[layer]]
        }
    }
}
