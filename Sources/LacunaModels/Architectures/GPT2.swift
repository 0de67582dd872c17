import LacunaIO
import LacunaLearn
import LacunaSparse
import LacunaTensor

// GPT-2: learned positions, layer norms before each part, feed-forward parts without gates, biases throughout, and the table of
// words as the head. Alec Radford, Jeffrey Wu, Rewon Child, David Luan, Dario Amodei, Ilya Sutskever, "Language Models are
// Unsupervised Multitask Learners" (2019).
extension TransformerConfiguration {
    /// A decoder of the GPT-2 family: the original's smallest has 50257 tokens, width 768, 12 layers and 12 heads.
    ///
    /// - Parameters:
    ///   - intermediateSize: Width of the feed-forward parts; nil for four times `hiddenSize`.
    ///   - headCount: A divisor of `hiddenSize`; ``validate(file:)`` says so if it is not.
    public static func gpt2(
        vocabularySize: Int, hiddenSize: Int, intermediateSize: Int? = nil, layerCount: Int, headCount: Int,
        maximumPositions: Int = 1024, normEpsilon: Float = 1e-5, activation: Activation = .gelu, beginToken: Int? = nil,
        endTokens: [Int] = []
    ) -> TransformerConfiguration {
        var result = TransformerConfiguration(
            architecture: .gpt2, vocabularySize: vocabularySize, hiddenSize: hiddenSize,
            intermediateSizes: Array(repeating: intermediateSize ?? 4 * hiddenSize, count: layerCount),
            headCount: headCount, keyValueHeadCount: headCount, headSize: hiddenSize / max(headCount, 1),
            maximumPositions: maximumPositions, normEpsilon: normEpsilon, attentionBias: true, tiedEmbeddings: true,
            beginToken: beginToken, endTokens: endTokens)
        result.activation = activation
        (result.attentionOutputBias, result.feedForwardBias, result.hasGates) = (true, true, false)
        (result.usesLayerNorms, result.learnsPositions) = (true, true)
        return result
    }

    private static let gpt2Settings: Set<String> = [
        "activation_function", "layer_norm_epsilon", "n_embd", "n_head", "n_inner", "n_layer",
        "n_positions", "vocab_size",
        // Without effect when running, or of heads that are not read.
        "attn_pdrop", "embd_pdrop", "resid_pdrop", "n_ctx", "reorder_and_upcast_attn", "summary_activation",
        "summary_first_dropout", "summary_proj_to_labels", "summary_type", "summary_use_proj", "loss_type",
    ]

    /// Reads the content of a GPT-2's `config.json`.
    init(gpt2 fields: JSONFields) throws {
        try HuggingFaceSettings.requireKnown(
            fields, read: Self.gpt2Settings,
            neutral: [
                "scale_attn_weights": true, "scale_attn_by_inverse_layer_idx": false, "tie_word_embeddings": true,
                "add_cross_attention": false,
            ])
        let width = try fields.size("n_embd", atMost: 1 << 20)
        let heads = try fields.size("n_head", atMost: 1 << 14)
        guard width % heads == 0 else {
            throw fields.failure("n_head", "\(width) entries do not divide into \(heads) heads")
        }
        self = .gpt2(
            vocabularySize: try fields.size("vocab_size", atMost: 1 << 24), hiddenSize: width,
            intermediateSize: fields.contains("n_inner") ? try fields.size("n_inner", atMost: 1 << 22) : nil,
            layerCount: try fields.size("n_layer", atMost: 1 << 12), headCount: heads,
            maximumPositions: try fields.size("n_positions", atMost: 1 << 24, default: 1024),
            normEpsilon: try fields.normEpsilon("layer_norm_epsilon", default: 1e-5),
            activation: try fields.activation("activation_function", default: "gelu_new"),
            beginToken: try fields.optionalInteger("bos_token_id"), endTokens: try Self.endTokens(fields))
        try validate(file: fields.file)
    }

    /// The content of a `config.json` that transformers reads.
    func gpt2JSON(type: String) -> JSONObject {
        var object = JSONObject()
        object["architectures"] = ["GPT2LMHeadModel"]
        object["model_type"] = "gpt2"
        object["dtype"] = .string(type)
        object["activation_function"] = .string(JSONFields.name(of: activation))
        object["layer_norm_epsilon"] = .number(Double(normEpsilon.description) ?? 1e-5)
        for (key, value) in [
            ("vocab_size", vocabularySize), ("n_embd", hiddenSize), ("n_inner", intermediateSizes.max() ?? 0),
            ("n_layer", layerCount), ("n_head", headCount), ("n_positions", maximumPositions),
        ] { object[key] = JSONValue(value) }
        object["tie_word_embeddings"] = true
        if let beginToken { object["bos_token_id"] = JSONValue(beginToken) }
        if endTokens.count == 1 { object["eos_token_id"] = JSONValue(endTokens[0]) }
        if endTokens.count > 1 { object["eos_token_id"] = .array(endTokens.map { JSONValue($0) }) }
        return object
    }
}

extension Transformer {
    /// The parts of a GPT-2: of a file of transformers, which keeps matrices transposed and three of them as one, or of one
    /// that ``save(to:tokenizer:overwrite:progress:)`` wrote of sparse layers.
    static func gpt2(
        _ reader: CheckpointReader, configuration c: TransformerConfiguration, weights: WeightPrecision,
        embedding: WeightPrecision, progress: (any ProgressReporter)?
    ) throws -> Transformer {
        let prefix = reader.contains("transformer.wte.weight") ? "transformer." : ""
        let width = c.hiddenSize
        func norm(_ name: String) throws -> Normalization {
            try reader.layerNorm(prefix + name, width: width, epsilon: c.normEpsilon)
        }
        let blocks = try (0..<c.layerCount).map { layer in
            func linear(_ role: LinearRole) throws -> LinearLayer {
                let shape = c.shape(of: role, layer: layer)
                let own = "\(prefix)h.\(layer).\(BlockNames.gpt2.linears[role] ?? role.rawValue)"
                // Upright matrices are there under names of ours, or compressed.
                if reader.contains("\(prefix)h.\(layer).attn.q_proj.weight") {
                    return try reader.linear(own, shape[0], shape[1], as: weights)
                }
                guard let part = [LinearRole.query, .key, .value].firstIndex(of: role) else {
                    return try reader.transposedLinear(own, shape[0], shape[1], as: weights)
                }
                return try reader.transposedLinear(
                    "\(prefix)h.\(layer).attn.c_attn", width, width, part: part, of: 3, as: weights)
            }
            let block = TransformerBlock(
                attentionNorm: try norm("h.\(layer).ln_1"),
                attention: Attention(
                    query: try linear(.query), key: try linear(.key), value: try linear(.value),
                    output: try linear(.output), geometry: AttentionGeometry(c, layer: layer)),
                feedForwardNorm: try norm("h.\(layer).ln_2"),
                feedForward: FeedForward(
                    gate: nil, up: try linear(.up), down: try linear(.down), activation: c.activation))
            try progress.report("loading", layer + 1, of: c.layerCount)
            return block
        }
        let words = try reader.matrix(prefix + "wte.weight", rows: c.vocabularySize, columns: width, as: embedding)
        let positions = try reader.tensor(prefix + "wpe.weight", shape: [c.maximumPositions, width])
        let last = try norm("ln_f")
        // Older files hold the causal masks too, and the head once more.
        let masks = (0..<c.layerCount).flatMap {
            ["\(prefix)h.\($0).attn.bias", "\(prefix)h.\($0).attn.masked_bias"]
        }
        try reader.requireAllUsed(besides: masks + ["lm_head.weight"])
        return try Transformer(
            configuration: c, embedding: words, positions: positions, blocks: blocks, finalNorm: last, untiedHead: nil,
            file: reader.source.path)
    }
}

extension CheckpointReader {
    /// Some of the columns of a matrix that the file keeps as [inputs, all outputs], upright.
    fileprivate func transposedLinear(
        _ name: String, _ outputs: Int, _ inputs: Int, part: Int = 0, of parts: Int = 1, as weights: WeightPrecision
    ) throws -> LinearLayer {
        let all = try tensor(name + ".weight", shape: [inputs, parts * outputs])
        let bias = try vector(name + ".bias", count: parts * outputs)
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
        let isShort = try source.info(name + ".weight").type == .scalar(.bf16)
        return LinearLayer(
            try WeightStore.make(upright, layout: .dense, values: weights.valueType ?? (isShort ? .bf16 : .f32)),
            bias: Tensor(Array(bias.scalars[part * outputs..<(part + 1) * outputs])))
    }
}

extension CheckpointWriter {
    /// The linear layers of a block as transformers has them: transposed, queries, keys and values as one.
    func writeAsGPT2(_ place: String, _ block: TransformerBlock) throws {
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
            let values = layers[0].weight.format.values
            try self.write(
                "\(place).\(name).weight",
                WeightStore.make(all, layout: .dense, values: values == .bf16 ? .bf16 : .f32))
            let biases = layers.flatMap { $0.bias?.scalars ?? Array(repeating: 0, count: $0.outputs) }
            try self.write("\(place).\(name).bias", Tensor(biases))
        }
        try write("attn.c_attn", [block[.query], block[.key], block[.value]])
        try write("attn.c_proj", [block[.output]])
        try write("mlp.c_fc", [block[.up]])
        try write("mlp.c_proj", [block[.down]])
    }
}
