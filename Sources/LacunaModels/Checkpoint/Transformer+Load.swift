import LacunaIO
import LacunaSparse
import LacunaTensor

extension Transformer {
    /// Loads a decoder from a `.gguf` file, a directory of Hugging Face transformers (`config.json`, safetensors in one
    /// file or several), or a directory that ``save(to:tokenizer:overwrite:)`` wrote.
    ///
    /// - Parameters:
    ///   - weights: The form of the blocks' linear layers. Sparse layers stay sparse in any form.
    ///   - embedding: The form of the embedding table and the head; nil for that of the linear layers, except that int8
    ///     takes the place of int4, whose error the head turns into wrong words. A tied head is the largest matrix that
    ///     small models read for every token.
    /// - Throws: ``LacunaError`` naming the file and the tensor: absent or unreadable files, an architecture that is not
    ///   supported, tensors that are missing or have another shape than the configuration says.
    public static func load(
        _ path: String, weights: WeightPrecision = .stored, embedding: WeightPrecision? = nil,
        progress: (any ProgressReporter)? = nil
    ) throws -> Transformer {
        try load(TensorFiles.open(path), at: path, weights: weights, embedding: embedding, progress: progress)
    }

    /// Loads a decoder from tensors that are open already.
    ///
    /// - Parameters:
    ///   - source: What ``TensorFiles/open(_:)`` gives for `path`.
    ///   - path: The file or directory, whose configuration is read.
    /// - Throws: As ``load(_:weights:embedding:progress:)``.
    public static func load(
        _ source: any TensorSource, at path: String, weights: WeightPrecision = .stored,
        embedding: WeightPrecision? = nil, progress: (any ProgressReporter)? = nil
    ) throws -> Transformer {
        var configuration: TransformerConfiguration
        var fields: JSONFields?
        var generation: JSONFields?
        if let file = source as? GGUFFile {
            configuration = try TransformerConfiguration(file)
        } else if FileSystem.isDirectory(path) {
            let read = try JSONFields(contentsOf: FileSystem.join(path, "config.json"))
            configuration = try TransformerConfiguration(read)
            fields = read
            let settings = FileSystem.join(path, "generation_config.json")
            if FileSystem.exists(settings) {
                generation = try JSONFields(contentsOf: settings)
                // Some models name all their end tokens there alone.
                for token in try TransformerConfiguration.endTokens(generation!)
                where !configuration.endTokens.contains(token) { configuration.endTokens.append(token) }
                try configuration.validate(file: settings)
            }
        } else {
            throw LacunaError.unsupported(
                file: path, what: "a model in a single safetensors file: give its directory, with config.json")
        }
        var result = try Transformer(
            source, configuration: configuration, fields: fields, weights: weights,
            embedding: embedding ?? (weights == .int4 ? .int8 : weights), progress: progress)
        result.generationSettings = generation?.object
        return result
    }

    init(
        _ source: any TensorSource, configuration: TransformerConfiguration, fields: JSONFields?,
        weights: WeightPrecision, embedding: WeightPrecision, progress: (any ProgressReporter)?
    ) throws {
        let reader = try CheckpointReader(
            source, fields: fields, headSize: configuration.headSize, isLlama: configuration.architecture == .llama,
            normalizesOutputs: configuration.normalizesOutputs,
            normOffset: configuration.storesNormsFromZero ? 1 : 0)
        if configuration.architecture == .gpt2 {
            self = try Self.gpt2(
                reader, configuration: configuration, weights: weights, embedding: embedding, progress: progress)
            return
        }
        let (vocabulary, width) = (configuration.vocabularySize, configuration.hiddenSize)
        var blocks: [TransformerBlock] = []
        for layer in 0..<configuration.layerCount {
            blocks.append(try TransformerBlock(reader, configuration: configuration, layer: layer, weights: weights))
            try progress.report("loading", layer + 1, of: configuration.layerCount)
        }
        var head: (any StoredMatrix)?
        if !configuration.tiedEmbeddings {
            head = try reader.matrix("lm_head.weight", rows: vocabulary, columns: width, as: embedding)
        }
        let table = try reader.matrix("model.embed_tokens.weight", rows: vocabulary, columns: width, as: embedding)
        let norm = try reader.norm("model.norm.weight", count: width)
        // A tied head may be in the file once more; the scaling of frequencies is part of the configuration.
        try reader.requireAllUsed(besides: ["lm_head.weight", "rope_freqs.weight"])
        try self.init(
            configuration: configuration, embedding: table, blocks: blocks,
            finalNorm: Normalization(weight: norm, bias: nil, epsilon: configuration.normEpsilon), untiedHead: head,
            file: source.path)
    }
}

extension TransformerBlock {
    init(
        _ reader: CheckpointReader, configuration: TransformerConfiguration, layer: Int, weights: WeightPrecision
    ) throws {
        func linear(_ role: LinearRole) throws -> LinearLayer {
            let shape = configuration.shape(of: role, layer: layer)
            let rotated = role == .query || role == .key
            let biasName = configuration.biasName(role, layer: layer)
            let isFeedForward = role == .gate || role == .up || role == .down
            let isNeeded =
                isFeedForward ? configuration.feedForwardBias : configuration.attentionBias && role != .output
            return LinearLayer(
                try reader.matrix(
                    configuration.weightName(role, layer: layer), rows: shape[0], columns: shape[1], rotated: rotated,
                    as: weights),
                bias: isNeeded || (!isFeedForward && reader.contains(biasName))
                    ? try reader.vector(biasName, count: shape[0], rotated: rotated) : nil)
        }
        func norm(_ name: String, _ count: Int? = nil) throws -> Tensor<Float> {
            try reader.norm("model.layers.\(layer).\(name).weight", count: count ?? configuration.hiddenSize)
        }
        func headNorm(_ name: String) throws -> Tensor<Float>? {
            configuration.normalizesHeads ? try norm(name, configuration.headSize) : nil
        }
        let names = BlockNames(configuration)
        self.init(
            attentionNorm: try norm(names.attention),
            attention: Attention(
                query: try linear(.query), key: try linear(.key), value: try linear(.value),
                output: try linear(.output), queryNorm: try headNorm("self_attn.q_norm"),
                keyNorm: try headNorm("self_attn.k_norm"), geometry: AttentionGeometry(configuration, layer: layer)),
            feedForwardNorm: try norm(names.feedForward),
            feedForward: FeedForward(
                gate: try linear(.gate), up: try linear(.up), down: try linear(.down),
                activation: configuration.activation),
            outputNorms: try names.outputs.map { (try norm($0.attention), try norm($0.feedForward)) },
            normEpsilon: configuration.normEpsilon)
    }
}
