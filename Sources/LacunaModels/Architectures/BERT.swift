import LacunaIO
import LacunaLearn
import LacunaSparse
import LacunaTensor

/// The sizes of an encoder of the BERT family.
public struct BERTConfiguration: Sendable, Equatable {
    /// Rows of the table of words.
    public var vocabularySize: Int
    /// Width of the residual stream.
    public var hiddenSize: Int
    /// Width of the feed-forward parts, between their two matrices.
    public var intermediateSize: Int
    /// Blocks.
    public var layerCount: Int
    /// Heads of attention; a divisor of ``hiddenSize``.
    public var headCount: Int
    /// Rows of the table of positions: tokens of the longest text.
    public var maximumPositions: Int
    /// Kinds of segments that tokens can belong to.
    public var segmentCount: Int
    /// Added to the variance in every layer norm.
    public var normEpsilon: Float
    /// The function between the two matrices of a feed-forward part, and in the head for masked tokens.
    public var activation: Activation

    /// Entries of one head's query, key and value.
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
        activation = try fields.activation("hidden_act", default: "gelu")
        vocabularySize = try fields.size("vocab_size", atMost: 1 << 24)
        hiddenSize = try fields.size("hidden_size", atMost: 1 << 20)
        intermediateSize = try fields.size("intermediate_size", atMost: 1 << 22)
        layerCount = try fields.size("num_hidden_layers", atMost: 1 << 12)
        headCount = try fields.size("num_attention_heads", atMost: 1 << 14)
        maximumPositions = try fields.size("max_position_embeddings", atMost: 1 << 24, default: 512)
        segmentCount = try fields.size("type_vocab_size", atMost: 1 << 16, default: 2)
        normEpsilon = try fields.normEpsilon("layer_norm_eps", default: 1e-12)
        guard hiddenSize % headCount == 0 else {
            throw fields.failure("num_attention_heads", "\(hiddenSize) entries do not divide into \(headCount) heads")
        }
    }

    /// The content of a `config.json` that transformers reads.
    ///
    /// - Parameter modelClass: What transformers calls the network with its head.
    func json(_ modelClass: String) -> JSONObject {
        var object = JSONObject()
        object["architectures"] = [.string(modelClass)]
        object["model_type"] = "bert"
        object["dtype"] = "float32"
        object["hidden_act"] = .string(JSONFields.name(of: activation))
        object["layer_norm_eps"] = .number(Double(normEpsilon.description) ?? 1e-12)
        for (key, value) in [
            ("vocab_size", vocabularySize), ("hidden_size", hiddenSize), ("intermediate_size", intermediateSize),
            ("num_hidden_layers", layerCount), ("num_attention_heads", headCount),
            ("max_position_embeddings", maximumPositions), ("type_vocab_size", segmentCount),
        ] { object[key] = JSONValue(value) }
        return object
    }
}

/// An encoder of the BERT family, to be run: BERT itself, MiniLM and other sentence encoders, learned sparse encoders.
///
/// Jacob Devlin, Ming-Wei Chang, Kenton Lee, Kristina Toutanova, "BERT: Pre-training of Deep Bidirectional Transformers
/// for Language Understanding", arXiv:1810.04805.
public struct BERT: Sendable {
    /// The sizes, as `config.json` has them.
    public let configuration: BERTConfiguration
    /// [vocabularySize, hiddenSize], [maximumPositions, hiddenSize], [segmentCount, hiddenSize].
    public var words: any StoredMatrix
    /// [maximumPositions, hiddenSize], added to the words.
    public var positions: Tensor<Float>
    /// [kinds of segments, hiddenSize], added to the words.
    public var segments: Tensor<Float>
    /// The norm of the sum of words, positions and segments, of width hiddenSize.
    public var embeddingNorm: Normalization
    /// The blocks, from the embeddings on.
    public var blocks: [TransformerBlock]
    /// The head that predicts masked tokens; nil if the file has none.
    public var maskedHead: MaskedHead?

    /// `decoder(norm(f(dense x))) + bias`.
    public struct MaskedHead: Sendable {
        /// [hiddenSize, hiddenSize], in front of the activation.
        public var dense: LinearLayer
        /// The norm behind the activation, of width hiddenSize.
        public var norm: Normalization
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
        let prefix = reader.contains("bert.embeddings.word_embeddings.weight") ? "bert." : ""
        func linear(_ name: String, _ outputs: Int, _ inputs: Int) throws -> LinearLayer {
            try reader.linear(name, outputs, inputs, as: weights)
        }
        func norm(_ name: String) throws -> Normalization {
            // Older files call gain and bias so.
            if source.contains(name + ".gamma") {
                return Normalization(
                    weight: try reader.vector(name + ".gamma", count: c.hiddenSize),
                    bias: try reader.vector(name + ".beta", count: c.hiddenSize), epsilon: c.normEpsilon)
            }
            return try reader.layerNorm(name, width: c.hiddenSize, epsilon: c.normEpsilon)
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
            func role(_ role: LinearRole, _ outputs: Int, _ inputs: Int) throws -> LinearLayer {
                try linear(name(BlockNames.bert.linears[role] ?? role.rawValue), outputs, inputs)
            }
            return TransformerBlock(
                attentionNorm: try norm(name(BlockNames.bert.attention)),
                attention: Attention(
                    query: try role(.query, d, d), key: try role(.key, d, d), value: try role(.value, d, d),
                    output: try role(.output, d, d),
                    geometry: AttentionGeometry(headCount: c.headCount, headSize: c.headSize, isCausal: false)),
                feedForwardNorm: try norm(name(BlockNames.bert.feedForward)),
                feedForward: FeedForward(
                    gate: nil, up: try role(.up, inner, d), down: try role(.down, d, inner), activation: c.activation),
                normPlacement: .after)
        }
        if reader.contains("cls.predictions.transform.dense.weight") {
            let head = "cls.predictions."
            maskedHead = MaskedHead(
                dense: try linear(head + "transform.dense", c.hiddenSize, c.hiddenSize),
                norm: try norm(head + "transform.LayerNorm"),
                decoder: reader.contains(head + "decoder.weight")
                    ? try reader.matrix(
                        head + "decoder.weight", rows: c.vocabularySize, columns: c.hiddenSize, as: weights) : nil,
                bias: try reader.vector(head + "bias", count: c.vocabularySize))
        }
        try reader.requireAllUsed(besides: [
            prefix + "embeddings.position_ids", prefix + "pooler.dense.weight", prefix + "pooler.dense.bias",
            "cls.predictions.decoder.bias", "cls.seq_relationship.weight", "cls.seq_relationship.bias",
        ])
    }

    /// Writes a directory that ``load(_:weights:)`` and, if matrices are dense f32 or bf16, transformers read.
    ///
    /// - Throws: ``LacunaError/file(path:reason:)`` if it cannot be written.
    public func save(to path: String, tokenizer: Tokenizer? = nil, overwrite: Bool = false) throws {
        let matrices = blocks.flatMap { block in BlockNames.bert.linears.keys.map { block[$0].weight } } + [words]
        let prefix = maskedHead == nil ? "" : "bert."
        try ModelDirectory.save(
            to: path, configuration: configuration.json(maskedHead == nil ? "BertModel" : "BertForMaskedLM"),
            matrices: matrices, tokenizer: tokenizer, overwrite: overwrite
        ) { writer in
            try writer.write(prefix + "embeddings.word_embeddings.weight", words)
            try writer.write(prefix + "embeddings.position_embeddings.weight", positions)
            try writer.write(prefix + "embeddings.token_type_embeddings.weight", segments)
            try writer.write(prefix + "embeddings.LayerNorm", norm: embeddingNorm)
            for (layer, block) in blocks.enumerated() {
                try writer.write("\(prefix)encoder.layer.\(layer)", block: block, names: .bert)
            }
            guard let head = maskedHead else { return }
            try writer.write("cls.predictions.transform.dense", layer: head.dense)
            try writer.write("cls.predictions.transform.LayerNorm", norm: head.norm)
            try writer.write("cls.predictions.bias", head.bias)
            if let decoder = head.decoder { try writer.write("cls.predictions.decoder.weight", decoder) }
        }
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
        if let kinds {
            guard kinds.map(\.count) == texts.map(\.count), kinds.joined().allSatisfy({ 0..<c.segmentCount ~= $0 })
            else {
                throw LacunaError.invalidArgument("segments", reason: "are not one of \(c.segmentCount) for each token")
            }
        }
        let context = try StepContext.texts(texts, positions: c.maximumPositions, vocabulary: c.vocabularySize)
        let tokens = Array(texts.joined())
        var hidden = Tensor<Float>(uninitialized: [tokens.count, width])
        try hidden.withMutablePointer { rows in
            for (index, span) in context.spans.enumerated() {
                for (i, row) in span.rows.enumerated() {
                    let x = rows + row * width
                    words.decode(rows: tokens[row]..<tokens[row] + 1, into: x)
                    let segment = kinds?[index][i] ?? 0
                    for j in 0..<width { x[j] += positions[i, j] + segments[segment, j] }
                }
            }
            embeddingNorm.apply(rows, count: tokens.count, into: rows)
            for (layer, block) in blocks.enumerated() { try block.step(rows, context: context, layer: layer) }
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
    /// The sizes of the network.
    public let configuration: BERTConfiguration
    /// The table of words, which is the output head of a model without a decoder of its own.
    public let words: TokenTable
    /// [maximumPositions, hiddenSize] and [kinds of segments, hiddenSize], added to the words.
    public let positions, segments: Parameter<Float>
    /// The norm of the sum of words, positions and segments.
    public let embeddingNorm: LayerNorm
    /// The blocks, from the embeddings on.
    public let blocks: [TrainableBlock]
    /// What says which word a masked token is; nil for a model without.
    public let maskedHead: Head?
    /// Share of entries that are set to 0 while training, of embeddings and of what each part of a block gives; 0..<1.
    public var dropout = 0.0

    /// The head for masked tokens: `decoder(norm(f(dense x))) + bias`.
    public final class Head: Module {
        /// [hiddenSize, hiddenSize], in front of the activation.
        public let dense: Linear
        /// The norm behind the activation.
        public let norm: LayerNorm
        /// nil if it is the table of words.
        public let decoder: Linear?
        /// [vocabularySize], added to the logits.
        public let bias: Parameter<Float>

        init(dense: Linear, norm: LayerNorm, decoder: Linear?, bias: Tensor<Float>) {
            (self.dense, self.norm, self.decoder) = (dense, norm, decoder)
            self.bias = Parameter(bias)
        }

        /// The parts by the names that checkpoints give them.
        public var parts: [(name: String, part: Any)] {
            [("transform.dense", dense), ("transform.LayerNorm", norm), ("bias", bias)]
                + (decoder.map { [("decoder", $0)] } ?? [])
        }
    }

    /// - Parameter weight: The form of each matrix, given its name: see ``TrainableTransformer``.
    /// - Throws: What `weight` throws.
    public init(_ model: BERT, weight: TrainableTransformer.WeightForm = TrainableTransformer.dense) throws {
        configuration = model.configuration
        words = TokenTable(try weight("bert.embeddings.word_embeddings.weight", model.words))
        positions = Parameter(model.positions, decays: false)
        segments = Parameter(model.segments, decays: false)
        embeddingNorm = LayerNorm(model.embeddingNorm)
        blocks = try model.blocks.enumerated().map { layer, block in
            try TrainableBlock(block, names: .bert) {
                try weight("bert.encoder.layer.\(layer).\(BlockNames.bert.linears[$0] ?? $0.rawValue).weight", $1)
            }
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

    /// The parts by the names that checkpoints give them.
    public var parts: [(name: String, part: Any)] {
        [
            ("bert.embeddings.word_embeddings", words), ("bert.embeddings.position_embeddings.weight", positions),
            ("bert.embeddings.token_type_embeddings.weight", segments), ("bert.embeddings.LayerNorm", embeddingNorm),
            ("bert.encoder.layer", blocks),
        ] + (maskedHead.map { [("cls.predictions", $0)] } ?? [])
    }

    /// The decoder of the head for masked tokens; nil if that is the table of words, or there is none.
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
            block(x, positions: nil, batch: batch, mask: mask, dropout: dropout)
        }
    }

    /// What gives logits [n, vocabularySize] of what a masked token is, of hidden states [n, hiddenSize].
    ///
    /// - Throws: ``LacunaError/unsupported(file:what:)`` for a model without such a head.
    public func predictor() throws -> (Variable<Float>) -> Variable<Float> {
        guard let head = maskedHead else {
            throw LacunaError.unsupported(file: nil, what: "masked tokens with a model that has no head for them")
        }
        return { [self] hidden in
            let y = head.norm(head.dense(hidden).map(configuration.activation))
            return (head.decoder.map { $0(y) } ?? words.logits(y)).addingRow(head.bias.on(y.tape))
        }
    }

    /// Logits [n, vocabularySize] of what a masked token is, from hidden states.
    ///
    /// - Throws: ``LacunaError/unsupported(file:what:)`` for a model without such a head.
    public func maskedLogits(_ hidden: Variable<Float>) throws -> Variable<Float> { try predictor()(hidden) }

    /// The mean cross-entropy of masked tokens, a few rows of logits at a time.
    ///
    /// - Parameter labels: One a row of the hidden states; rows with negative labels are left out.
    /// - Throws: ``LacunaError/unsupported(file:what:)`` for a model without such a head.
    public func maskedLoss(_ hidden: Variable<Float>, labels: [Int32], rows: Int = 256) throws -> Variable<Float> {
        Loss.crossEntropy(of: hidden, labels: labels, rows: rows, head: try predictor())
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
    init(
        configuration: BERTConfiguration, words: any StoredMatrix, positions: Tensor<Float>, segments: Tensor<Float>,
        embeddingNorm: Normalization, blocks: [TransformerBlock], maskedHead: MaskedHead?
    ) throws {
        self.configuration = configuration
        (self.words, self.positions, self.segments) = (words, positions, segments)
        (self.embeddingNorm, self.blocks, self.maskedHead) = (embeddingNorm, blocks, maskedHead)
    }
}
