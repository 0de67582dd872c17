import LacunaIO
import LacunaLearn
import LacunaSparse
import LacunaTensor

/// The sizes of a decoder of the GPT-2 family.
public struct GPT2Configuration: Sendable, Equatable {
    public var vocabularySize: Int
    public var hiddenSize: Int
    public var intermediateSize: Int
    public var layerCount: Int
    public var headCount: Int
    public var maximumPositions: Int
    public var normEpsilon: Float
    public var activation: Activation
    public var beginToken: Int?
    public var endTokens: [Int]

    public var headSize: Int { hiddenSize / headCount }

    private static let read: Set<String> = [
        "activation_function", "layer_norm_epsilon", "n_embd", "n_head", "n_inner", "n_layer", "n_positions",
        "vocab_size",
        // Without effect when running, or of heads that are not read.
        "attn_pdrop", "embd_pdrop", "resid_pdrop", "n_ctx", "reorder_and_upcast_attn", "summary_activation",
        "summary_first_dropout", "summary_proj_to_labels", "summary_type", "summary_use_proj", "loss_type",
    ]

    /// Reads the content of a `config.json`.
    ///
    /// - Throws: ``LacunaError/unsupported(file:what:)`` for another architecture or settings that are not computed here,
    ///   ``LacunaError/malformed(file:location:reason:)`` for missing or impossible values.
    public init(_ fields: JSONFields) throws {
        let type = try fields.string("model_type")
        guard type == "gpt2" else {
            throw LacunaError.unsupported(file: fields.file, what: "model_type '\(type)' (supported: gpt2)")
        }
        try HuggingFaceSettings.requireKnown(
            fields, read: Self.read,
            neutral: [
                "scale_attn_weights": true, "scale_attn_by_inverse_layer_idx": false, "tie_word_embeddings": true,
                "add_cross_attention": false,
            ])
        vocabularySize = try fields.size("vocab_size", atMost: 1 << 24)
        hiddenSize = try fields.size("n_embd", atMost: 1 << 20)
        intermediateSize =
            fields.contains("n_inner") ? try fields.size("n_inner", atMost: 1 << 22) : 4 * hiddenSize
        layerCount = try fields.size("n_layer", atMost: 1 << 12)
        headCount = try fields.size("n_head", atMost: 1 << 14)
        maximumPositions = try fields.size("n_positions", atMost: 1 << 24, default: 1024)
        normEpsilon = try fields.normEpsilon("layer_norm_epsilon", default: 1e-5)
        activation = try fields.activation("activation_function", default: "gelu_new")
        beginToken = try fields.optionalInteger("bos_token_id")
        endTokens = try TransformerConfiguration.endTokens(fields)
        guard hiddenSize % headCount == 0 else {
            throw fields.failure("n_head", "\(hiddenSize) entries do not divide into \(headCount) heads")
        }
    }

    /// The content of a `config.json` that transformers reads.
    var json: JSONObject {
        var object = JSONObject()
        object["architectures"] = ["GPT2LMHeadModel"]
        object["model_type"] = "gpt2"
        object["dtype"] = "float32"
        object["activation_function"] = .string(JSONFields.name(of: activation))
        object["layer_norm_epsilon"] = .number(Double(normEpsilon.description) ?? 1e-5)
        for (key, value) in [
            ("vocab_size", vocabularySize), ("n_embd", hiddenSize), ("n_inner", intermediateSize),
            ("n_layer", layerCount), ("n_head", headCount), ("n_positions", maximumPositions),
        ] { object[key] = JSONValue(value) }
        object["tie_word_embeddings"] = true
        if let beginToken { object["bos_token_id"] = JSONValue(beginToken) }
        if let end = endTokens.first { object["eos_token_id"] = JSONValue(end) }
        return object
    }
}

/// A decoder of the GPT-2 family, to be run: learned positions, layer norms before each part, plain feed-forward parts,
/// biases throughout, and the table of words as its head.
///
/// Alec Radford, Jeffrey Wu, Rewon Child, David Luan, Dario Amodei, Ilya Sutskever, "Language Models are Unsupervised
/// Multitask Learners" (2019).
public struct GPT2: Sendable {
    public let configuration: GPT2Configuration
    /// [vocabularySize, hiddenSize], also the head.
    public var words: any StoredMatrix
    /// [maximumPositions, hiddenSize].
    public var positions: Tensor<Float>
    public var blocks: [TransformerBlock]
    public var norm: Normalization

    /// Loads a directory of Hugging Face transformers.
    ///
    /// - Parameter weights: The form of the matrices, as they are multiplied; files keep them transposed.
    /// - Throws: ``LacunaError`` naming the file and the tensor.
    public static func load(_ directory: String, weights: WeightPrecision = .f32) throws -> GPT2 {
        let fields = try JSONFields(contentsOf: FileSystem.join(directory, "config.json"))
        let c = try GPT2Configuration(fields)
        let source = try TensorFiles.open(directory)
        let reader = try CheckpointReader(source, fields: fields, headSize: c.headSize)
        let prefix = source.contains("transformer.wte.weight") ? "transformer." : ""
        let values = weights.valueType ?? .f32
        let (d, inner) = (c.hiddenSize, c.intermediateSize)
        /// Some of the columns of a matrix that the file keeps as [inputs, all outputs], upright.
        func linear(_ name: String, inputs: Int, outputs: Int, part: Int = 0, of parts: Int = 1) throws -> LinearLayer {
            let all = try reader.tensor(name + ".weight", shape: [inputs, parts * outputs])
            let bias = try reader.vector(name + ".bias", count: parts * outputs)
            var upright = Tensor<Float>(uninitialized: [outputs, inputs])
            all.withPointer { source in
                upright.withMutablePointer { target in
                    for row in 0..<outputs {
                        for column in 0..<inputs {
                            target[row * inputs + column] = source[(column * parts + part) * outputs + row]
                        }
                    }
                }
            }
            return LinearLayer(
                try WeightStore.make(upright, layout: .dense, values: values),
                bias: Tensor(Array(bias.scalars[part * outputs..<(part + 1) * outputs])))
        }
        let blocks = try (0..<c.layerCount).map { layer in
            func name(_ part: String) -> String { "\(prefix)h.\(layer).\(part)" }
            func projection(_ part: Int) throws -> LinearLayer {
                try linear(name("attn.c_attn"), inputs: d, outputs: d, part: part, of: 3)
            }
            return TransformerBlock(
                attentionNorm: try reader.layerNorm(name("ln_1"), width: d, epsilon: c.normEpsilon),
                attention: Attention(
                    query: try projection(0), key: try projection(1), value: try projection(2),
                    output: try linear(name("attn.c_proj"), inputs: d, outputs: d),
                    geometry: AttentionGeometry(headCount: c.headCount, headSize: c.headSize, isCausal: true)),
                feedForwardNorm: try reader.layerNorm(name("ln_2"), width: d, epsilon: c.normEpsilon),
                feedForward: FeedForward(
                    gate: nil, up: try linear(name("mlp.c_fc"), inputs: d, outputs: inner),
                    down: try linear(name("mlp.c_proj"), inputs: inner, outputs: d), activation: c.activation))
        }
        let result = GPT2(
            configuration: c,
            words: try reader.matrix(prefix + "wte.weight", rows: c.vocabularySize, columns: d, as: weights),
            positions: try reader.tensor(prefix + "wpe.weight", shape: [c.maximumPositions, d]), blocks: blocks,
            norm: try reader.layerNorm(prefix + "ln_f", width: d, epsilon: c.normEpsilon))
        // Older files hold the causal masks too, and the head once more.
        let masks = (0..<c.layerCount).flatMap {
            ["\(prefix)h.\($0).attn.bias", "\(prefix)h.\($0).attn.masked_bias"]
        }
        try reader.requireAllUsed(besides: masks + ["lm_head.weight"])
        return result
    }

    /// Writes a directory that ``load(_:weights:)`` and transformers read. Matrices become dense f32, transposed as the
    /// architecture's files have them.
    ///
    /// - Throws: ``LacunaError/file(path:reason:)`` if it cannot be written.
    public func save(to path: String, tokenizer: Tokenizer? = nil, overwrite: Bool = false) throws {
        try ModelDirectory.save(
            to: path, configuration: configuration.json, matrices: [], tokenizer: tokenizer, overwrite: overwrite
        ) { writer in
            func write(_ name: String, _ layers: [LinearLayer]) throws {
                let matrices = layers.map { $0.weight.densified() }
                let (inputs, outputs) = (layers[0].inputs, layers.reduce(0) { $0 + $1.outputs })
                var all = Tensor<Float>(uninitialized: [inputs, outputs])
                var start = 0
                for matrix in matrices {
                    for row in 0..<matrix.rows {
                        for column in 0..<inputs { all[column, start + row] = matrix[row, column] }
                    }
                    start += matrix.rows
                }
                try writer.write("transformer.\(name).weight", all)
                try writer.write("transformer.\(name).bias", Tensor(layers.flatMap { $0.bias?.scalars ?? [] }))
            }
            try writer.write("transformer.wte.weight", words.densified())
            try writer.write("transformer.wpe.weight", positions)
            for (layer, block) in blocks.enumerated() {
                try writer.write("transformer.h.\(layer).ln_1", norm: block.attentionNorm)
                try write("h.\(layer).attn.c_attn", [block[.query], block[.key], block[.value]])
                try write("h.\(layer).attn.c_proj", [block[.output]])
                try writer.write("transformer.h.\(layer).ln_2", norm: block.feedForwardNorm)
                try write("h.\(layer).mlp.c_fc", [block[.up]])
                try write("h.\(layer).mlp.c_proj", [block[.down]])
            }
            try writer.write("transformer.ln_f", norm: norm)
        }
    }

    /// The logits [tokens of all texts, vocabularySize] after each token of some texts, one below the other.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for an empty text, one longer than the model's positions, and
    ///   tokens outside the vocabulary.
    public func logits(_ texts: [[Int]]) throws -> Tensor<Float> {
        let (c, width) = (configuration, configuration.hiddenSize)
        let tokens = Array(texts.joined())
        let context = try StepContext.texts(texts, positions: c.maximumPositions, vocabulary: c.vocabularySize)
        var hidden = Tensor<Float>(uninitialized: [tokens.count, width])
        var logits = Tensor<Float>(uninitialized: [tokens.count, c.vocabularySize])
        try hidden.withMutablePointer { rows in
            for span in context.spans {
                for (i, row) in span.rows.enumerated() {
                    words.decode(rows: tokens[row]..<tokens[row] + 1, into: rows + row * width)
                    for j in 0..<width { rows[row * width + j] += positions[i, j] }
                }
            }
            for (layer, block) in blocks.enumerated() { try block.step(rows, context: context, layer: layer) }
            norm.apply(rows, count: tokens.count, into: rows)
            logits.withMutablePointer {
                LinearLayer.multiply(
                    [(LinearLayer(words), $0)], rows, context: context, layer: c.layerCount, roles: [.output])
            }
        }
        return logits
    }
}

// MARK: - On the tape

/// ``GPT2`` to be learned. Parameters have the names of its files, but for the three projections that those keep as one:
/// `attn.q_proj`, `attn.k_proj`, `attn.v_proj`. Matrices are upright.
public final class TrainableGPT2: Module {
    public let configuration: GPT2Configuration
    public let words: TokenTable
    public let positions: Parameter<Float>
    public let blocks: [TrainableBlock]
    public let norm: LayerNorm
    public var dropout = 0.0

    /// - Parameter weight: The form of each matrix, given its name: see ``TrainableTransformer``.
    /// - Throws: What `weight` throws.
    public init(_ model: GPT2, weight: TrainableTransformer.WeightForm = TrainableTransformer.dense) throws {
        configuration = model.configuration
        words = TokenTable(try weight("transformer.wte.weight", model.words))
        positions = Parameter(model.positions, decays: false)
        blocks = try model.blocks.enumerated().map { layer, block in
            try TrainableBlock(block, names: .gpt2) {
                try weight("transformer.h.\(layer).\(BlockNames.gpt2.linears[$0] ?? $0.rawValue).weight", $1)
            }
        }
        norm = LayerNorm(model.norm)
    }

    public var parts: [(name: String, part: Any)] {
        [
            ("transformer.wte", words), ("transformer.wpe.weight", positions), ("transformer.h", blocks),
            ("transformer.ln_f", norm),
        ]
    }

    /// The head is the table of words.
    public var outputLayer: Linear? { nil }

    /// What the head reads, [batch · T, hiddenSize], for token ids [batch · T], sequences one after the other.
    public func hiddenStates(_ ids: [Int32], batch: Int, on tape: Tape<Float>) -> Variable<Float> {
        let length = ids.count / max(batch, 1)
        require(length * batch == ids.count && length <= configuration.maximumPositions, "\(length) tokens")
        let places = (0..<ids.count).map { Int32($0 % length) }
        let x = (words(ids, on: tape) + positions.on(tape).gathered(places)).dropout(dropout)
        return norm(blocks.reduce(x) { $1($0, positions: nil, batch: batch, dropout: dropout) })
    }

    /// Logits [batch · T, vocabularySize].
    public func callAsFunction(_ ids: [Int32], batch: Int, on tape: Tape<Float>) -> Variable<Float> {
        words.logits(hiddenStates(ids, batch: batch, on: tape))
    }

    /// The mean cross-entropy of the next tokens; negative ones do not count.
    public func loss(_ ids: [Int32], next: [Int32], batch: Int, on tape: Tape<Float>) -> Variable<Float> {
        Loss.crossEntropy(of: hiddenStates(ids, batch: batch, on: tape), labels: next) { [self] in words.logits($0) }
    }

    /// The decoder that this is now, to be run and saved.
    ///
    /// - Throws: As ``TrainableWeight/stored(_:)``.
    public func stored(_ values: ValueType = .f32) throws -> GPT2 {
        GPT2(
            configuration: configuration, words: try words.weight.stored(values), positions: positions.value,
            blocks: try blocks.map { try $0.stored(values) }, norm: norm.stored)
    }
}
