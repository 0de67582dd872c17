import LacunaIO
import LacunaLearn
import LacunaSparse
import LacunaTensor

/// The sizes of an encoder of the BERT family.
public struct BERTConfiguration: Sendable, Equatable {
    public var vocabularySize: Int
    public var hiddenSize: Int
    public var intermediateSize: Int
    public var layerCount: Int
    public var headCount: Int
    public var maximumPositions: Int
    /// Kinds of segments that tokens can belong to.
    public var segmentCount: Int
    public var normEpsilon: Float
    public var activation: Activation

    public var headSize: Int { hiddenSize / headCount }

    private static let read: Set<String> = [
        "hidden_act", "hidden_size", "intermediate_size", "layer_norm_eps", "max_position_embeddings",
        "num_attention_heads", "num_hidden_layers", "type_vocab_size", "vocab_size",
        // Said by the tensors, or without effect when running.
        "attention_probs_dropout_prob", "hidden_dropout_prob", "classifier_dropout", "gradient_checkpointing",
        "tie_word_embeddings",
    ]

    /// Reads the content of a `config.json`.
    ///
    /// - Throws: ``LacunaError/unsupported(file:what:)`` for another architecture or settings that BERT does not have,
    ///   ``LacunaError/malformed(file:location:reason:)`` for missing or impossible values.
    public init(_ fields: JSONFields) throws {
        let type = try fields.string("model_type")
        guard type == "bert" else {
            throw LacunaError.unsupported(file: fields.file, what: "model_type '\(type)' (supported: bert)")
        }
        try HuggingFaceSettings.requireKnown(
            fields, read: Self.read, neutral: ["position_embedding_type": "absolute", "is_decoder": false])
        let name = try fields.optionalString("hidden_act") ?? "gelu"
        let activations: [String: Activation] = [
            "gelu": .geluExact, "gelu_new": .gelu, "gelu_pytorch_tanh": .gelu, "relu": .relu, "silu": .silu,
        ]
        guard let activation = activations[name] else {
            throw LacunaError.unsupported(file: fields.file, what: "hidden_act '\(name)'")
        }
        func size(_ key: String, _ limit: Int, default value: Int? = nil) throws -> Int {
            let found = try value.map { try fields.integer(key, default: $0) } ?? fields.integer(key)
            guard found >= 1 && found <= limit else { throw fields.failure(key, "\(found) is not in 1...\(limit)") }
            return found
        }
        vocabularySize = try size("vocab_size", 1 << 24)
        hiddenSize = try size("hidden_size", 1 << 20)
        intermediateSize = try size("intermediate_size", 1 << 22)
        layerCount = try size("num_hidden_layers", 1 << 12)
        headCount = try size("num_attention_heads", 1 << 14)
        maximumPositions = try size("max_position_embeddings", 1 << 24, default: 512)
        segmentCount = try size("type_vocab_size", 1 << 16, default: 2)
        normEpsilon = Float(try fields.number("layer_norm_eps", default: 1e-12))
        self.activation = activation
        guard hiddenSize % headCount == 0 else {
            throw fields.failure("num_attention_heads", "\(hiddenSize) entries do not divide into \(headCount) heads")
        }
        guard normEpsilon >= 0 && normEpsilon < 1 else { throw fields.failure("layer_norm_eps", "is not in 0..<1") }
    }
}

/// An encoder of the BERT family, to be run: BERT itself, MiniLM and other sentence encoders, learned sparse encoders.
///
/// Jacob Devlin, Ming-Wei Chang, Kenton Lee, Kristina Toutanova, "BERT: Pre-training of Deep Bidirectional Transformers
/// for Language Understanding", arXiv:1810.04805.
public struct BERT: Sendable {
    public let configuration: BERTConfiguration
    /// [vocabularySize, hiddenSize], [maximumPositions, hiddenSize], [segmentCount, hiddenSize].
    public var words: any StoredMatrix
    public var positions: Tensor<Float>
    public var segments: Tensor<Float>
    public var embeddingNorm: LayerNormalization
    public var blocks: [EncoderBlock]
    /// The head that predicts masked tokens; nil if the file has none.
    public var maskedHead: MaskedHead?

    /// `decoder(norm(f(dense x))) + bias`.
    public struct MaskedHead: Sendable {
        public var dense: LinearLayer
        public var norm: LayerNormalization
        /// nil if it is the table of words.
        public var decoder: (any StoredMatrix)?
        /// [vocabularySize].
        public var bias: Tensor<Float>
    }

    /// Loads a directory of Hugging Face transformers. Heads for other tasks than masked tokens, which are not read, are
    /// those of pre-training (`pooler`, `cls.seq_relationship`).
    ///
    /// - Parameter weights: The form of the linear layers.
    /// - Throws: ``LacunaError`` naming the file and the tensor.
    public static func load(_ directory: String, weights: WeightPrecision = .stored) throws -> BERT {
        let fields = try JSONFields(contentsOf: FileSystem.join(directory, "config.json"))
        let configuration = try BERTConfiguration(fields)
        return try BERT(TensorFiles.open(directory), configuration: configuration, fields: fields, weights: weights)
    }

    private init(
        _ source: any TensorSource, configuration c: BERTConfiguration, fields: JSONFields, weights: WeightPrecision
    ) throws {
        let reader = try CheckpointReader(source, fields: fields, headSize: c.headSize)
        // Models with a head keep the encoder under a name.
        let prefix = source.contains("bert.embeddings.word_embeddings.weight") ? "bert." : ""
        func linear(_ name: String, _ outputs: Int, _ inputs: Int) throws -> LinearLayer {
            LinearLayer(
                try reader.matrix(name + ".weight", rows: outputs, columns: inputs, as: weights),
                bias: try reader.vector(name + ".bias", count: outputs))
        }
        func norm(_ name: String) throws -> LayerNormalization {
            LayerNormalization(
                weight: try reader.vector(name + ".weight", count: c.hiddenSize),
                bias: try reader.vector(name + ".bias", count: c.hiddenSize), epsilon: c.normEpsilon)
        }
        func table(_ name: String, _ rows: Int) throws -> Tensor<Float> {
            let matrix = try reader.matrix(
                prefix + "embeddings.\(name).weight", rows: rows, columns: c.hiddenSize, as: .f32)
            return matrix.densified()
        }
        configuration = c
        words = try reader.matrix(
            prefix + "embeddings.word_embeddings.weight", rows: c.vocabularySize, columns: c.hiddenSize, as: weights)
        positions = try table("position_embeddings", c.maximumPositions)
        segments = try table("token_type_embeddings", c.segmentCount)
        embeddingNorm = try norm(prefix + "embeddings.LayerNorm")
        blocks = try (0..<c.layerCount).map { layer in
            func name(_ part: String) -> String { "\(prefix)encoder.layer.\(layer).\(part)" }
            let (d, inner) = (c.hiddenSize, c.intermediateSize)
            return EncoderBlock(
                attention: Attention(
                    query: try linear(name("attention.self.query"), d, d),
                    key: try linear(name("attention.self.key"), d, d),
                    value: try linear(name("attention.self.value"), d, d),
                    output: try linear(name("attention.output.dense"), d, d),
                    geometry: AttentionGeometry(bidirectional: c.headCount, headSize: c.headSize)),
                attentionNorm: try norm(name("attention.output.LayerNorm")),
                up: try linear(name("intermediate.dense"), inner, d), down: try linear(name("output.dense"), d, inner),
                outputNorm: try norm(name("output.LayerNorm")), activation: c.activation)
        }
        if source.contains("cls.predictions.transform.dense.weight") {
            let head = "cls.predictions."
            maskedHead = MaskedHead(
                dense: try linear(head + "transform.dense", c.hiddenSize, c.hiddenSize),
                norm: try norm(head + "transform.LayerNorm"),
                decoder: source.contains(head + "decoder.weight")
                    ? try reader.matrix(
                        head + "decoder.weight", rows: c.vocabularySize, columns: c.hiddenSize, as: weights) : nil,
                bias: try reader.vector(head + "bias", count: c.vocabularySize))
        }
        try reader.requireAllUsed(besides: [
            prefix + "embeddings.position_ids", prefix + "pooler.dense.weight", prefix + "pooler.dense.bias",
            "cls.predictions.decoder.bias", "cls.seq_relationship.weight", "cls.seq_relationship.bias",
        ])
    }

    // MARK: Running

    /// The last hidden states of some texts, one below the other: [tokens of all texts, hiddenSize]. Texts may differ in
    /// length; nothing is padded.
    ///
    /// - Parameters:
    ///   - texts: Tokens, the special ones included.
    ///   - segments: The segment of each token; nil for 0 throughout.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for an empty text, one longer than the model's positions, and
    ///   tokens or segments that the model does not have.
    public func hiddenStates(_ texts: [[Int]], segments kinds: [[Int]]? = nil) throws -> Tensor<Float> {
        let (c, width) = (configuration, configuration.hiddenSize)
        for text in texts where text.isEmpty || text.count > c.maximumPositions {
            throw LacunaError.invalidArgument(
                "text", reason: "\(text.count) tokens are not in 1...\(c.maximumPositions), the model's positions")
        }
        if let kinds {
            guard kinds.map(\.count) == texts.map(\.count), kinds.joined().allSatisfy({ 0..<c.segmentCount ~= $0 })
            else {
                throw LacunaError.invalidArgument("segments", reason: "are not one of \(c.segmentCount) for each token")
            }
        }
        let tokens = Array(texts.joined())
        if let bad = tokens.first(where: { $0 < 0 || $0 >= c.vocabularySize }) {
            throw LacunaError.invalidArgument(
                "tokens", reason: "\(bad) is outside the vocabulary of \(c.vocabularySize)")
        }
        var spans: [Span] = []
        for text in texts {
            let start = spans.last?.rows.upperBound ?? 0
            spans.append(Span(rows: start..<start + text.count, firstPosition: 0))
        }
        let context = StepContext(
            rotations: [], headSize: c.headSize, spans: spans, count: tokens.count, workspace: StepWorkspace())
        var hidden = Tensor<Float>(uninitialized: [tokens.count, width])
        hidden.withMutablePointer { rows in
            for (index, span) in spans.enumerated() {
                for (i, row) in span.rows.enumerated() {
                    let x = rows + row * width
                    words.decode(rows: tokens[row]..<tokens[row] + 1, into: x)
                    let segment = kinds?[index][i] ?? 0
                    for j in 0..<width { x[j] += positions[i, j] + segments[segment, j] }
                }
            }
            embeddingNorm.apply(rows, count: tokens.count, into: rows)
            for (layer, block) in blocks.enumerated() { block.step(rows, context: context, layer: layer) }
        }
        return hidden
    }

    /// The mean of the hidden states of each text: sentence vectors [texts, hiddenSize], of length 1 if `isNormalized`.
    ///
    /// - Throws: As ``hiddenStates(_:segments:)``.
    public func sentenceVectors(_ texts: [[Int]], isNormalized: Bool = true) throws -> Tensor<Float> {
        let (hidden, width) = (try hiddenStates(texts), configuration.hiddenSize)
        var result = Tensor<Float>(zeros: [texts.count, width])
        var row = 0
        for (index, text) in texts.enumerated() {
            for _ in text {
                for j in 0..<width { result[index, j] += hidden[row, j] / Float(text.count) }
                row += 1
            }
            if isNormalized {
                let length = (0..<width).reduce(Float(0)) { $0 + result[index, $1] * result[index, $1] }.squareRoot()
                if length > 0 { for j in 0..<width { result[index, j] /= length } }
            }
        }
        return result
    }

    /// Logits [rows, vocabularySize] of what a masked token is, from hidden states [rows, hiddenSize].
    ///
    /// - Throws: ``LacunaError/unsupported(file:what:)`` for a model without such a head.
    public func maskedLogits(_ hidden: Tensor<Float>) throws -> Tensor<Float> {
        guard let head = maskedHead else {
            throw LacunaError.unsupported(file: nil, what: "masked tokens with a model that has no head for them")
        }
        let (n, c) = (hidden.rows, configuration)
        let context = StepContext(
            rotations: [], headSize: c.headSize, spans: [], count: n, workspace: StepWorkspace())
        var logits = Tensor<Float>(uninitialized: [n, c.vocabularySize])
        hidden.withPointer { x in
            let inner = context.pointer(.up, n * c.hiddenSize)
            LinearLayer.multiply([(head.dense, inner)], x, context: context, layer: c.layerCount, roles: [.up])
            c.activation.apply(inner, into: inner, count: n * c.hiddenSize)
            head.norm.apply(inner, count: n, into: inner)
            logits.withMutablePointer {
                LinearLayer.multiply(
                    [(LinearLayer(head.decoder ?? words, bias: head.bias), $0)], inner, context: context,
                    layer: c.layerCount, roles: [.output])
            }
        }
        return logits
    }
}

// MARK: - On the tape

/// ``BERT`` to be learned. Parameters have the names that checkpoints give them, as a model with a head has them.
public final class TrainableBERT: Module {
    public let configuration: BERTConfiguration
    public let words: TokenTable
    public let positions, segments: Parameter<Float>
    public let embeddingNorm: LayerNorm
    public let blocks: [TrainableEncoderBlock]
    public let maskedHead: Head?
    public var dropout = 0.0

    public final class Head: Module {
        public let dense: Linear
        public let norm: LayerNorm
        /// nil if it is the table of words.
        public let decoder: Linear?
        public let bias: Parameter<Float>

        init(dense: Linear, norm: LayerNorm, decoder: Linear?, bias: Tensor<Float>) {
            (self.dense, self.norm, self.decoder) = (dense, norm, decoder)
            self.bias = Parameter(bias)
        }

        public var parts: [(name: String, part: Any)] {
            [("transform.dense", dense), ("transform.LayerNorm", norm), ("bias", bias)]
                + (decoder.map { [("decoder", $0)] } ?? [])
        }
    }

    /// - Parameter weight: The form of each matrix, given its name: see ``TrainableTransformer``.
    /// - Throws: What `weight` throws.
    public init(_ model: BERT, weight: TrainableTransformer.WeightForm = TrainableTransformer.dense) throws {
        configuration = model.configuration
        let names: [LinearRole: String] = [
            .query: "attention.self.query", .key: "attention.self.key", .value: "attention.self.value",
            .output: "attention.output.dense", .up: "intermediate.dense", .down: "output.dense",
        ]
        words = TokenTable(try weight("bert.embeddings.word_embeddings.weight", model.words))
        positions = Parameter(model.positions, decays: false)
        segments = Parameter(model.segments, decays: false)
        embeddingNorm = LayerNorm(model.embeddingNorm)
        blocks = try model.blocks.enumerated().map { layer, block in
            try TrainableEncoderBlock(block) { try weight("bert.encoder.layer.\(layer).\(names[$0]!).weight", $1) }
        }
        maskedHead = try model.maskedHead.map { head in
            Head(
                dense: Linear(
                    weight: try weight("cls.predictions.transform.dense.weight", head.dense.weight),
                    bias: head.dense.bias),
                norm: LayerNorm(head.norm),
                decoder: try head.decoder.map { Linear(weight: try weight("cls.predictions.decoder.weight", $0)) },
                bias: head.bias)
        }
    }

    public var parts: [(name: String, part: Any)] {
        [
            ("bert.embeddings.word_embeddings", words), ("bert.embeddings.position_embeddings.weight", positions),
            ("bert.embeddings.token_type_embeddings.weight", segments), ("bert.embeddings.LayerNorm", embeddingNorm),
            ("bert.encoder.layer", blocks),
        ] + (maskedHead.map { [("cls.predictions", $0)] } ?? [])
    }

    public var outputLayer: Linear? { maskedHead?.decoder }

    /// The last hidden states [batch · T, hiddenSize].
    ///
    /// - Parameters:
    ///   - ids: [batch · T], padded to one length.
    ///   - visible: 0 for padding; nil for none.
    ///   - segments: Of each token; nil for 0 throughout.
    public func callAsFunction(
        _ ids: [Int32], batch: Int, visible: [UInt8]? = nil, segments kinds: [Int32]? = nil, on tape: Tape<Float>
    ) -> Variable<Float> {
        let length = ids.count / max(batch, 1)
        require(length * batch == ids.count && length <= configuration.maximumPositions, "\(length) tokens")
        let places = (0..<ids.count).map { Int32($0 % length) }
        let kinds = kinds ?? Array(repeating: 0, count: ids.count)
        let x = words(ids, on: tape) + positions.on(tape).gathered(places) + segments.on(tape).gathered(kinds)
        let mask = visible.map { AttentionMask.keys($0) }
        return blocks.reduce(embeddingNorm(x).dropout(dropout)) { x, block in
            block(x, batch: batch, mask: mask, dropout: dropout)
        }
    }

    /// Logits [n, vocabularySize] of what a masked token is, from hidden states.
    ///
    /// - Precondition: The model has a head for masked tokens.
    public func maskedLogits(_ hidden: Variable<Float>) -> Variable<Float> {
        guard let head = maskedHead else { fatalError("a model without a head for masked tokens") }
        let y = head.norm(head.dense(hidden).map(configuration.activation))
        return (head.decoder.map { $0(y) } ?? words.logits(y)).addingRow(head.bias.on(y.tape))
    }

    /// The encoder that this is now, to be run.
    ///
    /// - Throws: As ``TrainableWeight/stored(_:)``.
    public func stored(_ values: ValueType = .f32) throws -> BERT {
        try BERT(
            configuration: configuration, words: words.weight.stored(values), positions: positions.value,
            segments: segments.value, embeddingNorm: embeddingNorm.stored, blocks: blocks.map { try $0.stored(values) },
            maskedHead: maskedHead.map { head in
                BERT.MaskedHead(
                    dense: try LinearLayer(head.dense, values), norm: head.norm.stored,
                    decoder: try head.decoder.map { try $0.weight.stored(values) }, bias: head.bias.value)
            })
    }
}

extension BERT {
    fileprivate init(
        configuration: BERTConfiguration, words: any StoredMatrix, positions: Tensor<Float>, segments: Tensor<Float>,
        embeddingNorm: LayerNormalization, blocks: [EncoderBlock], maskedHead: MaskedHead?
    ) throws {
        self.configuration = configuration
        (self.words, self.positions, self.segments) = (words, positions, segments)
        (self.embeddingNorm, self.blocks, self.maskedHead) = (embeddingNorm, blocks, maskedHead)
    }
}
