import LacunaIO
import LacunaSparse
import LacunaTensor

extension Transformer {
    /// Writes the decoder into a directory that ``load(_:weights:embedding:progress:)`` reads: `config.json`,
    /// `model.safetensors` and the tokenizer's files. Every matrix keeps its storage; dense f32 and bf16 ones are what
    /// transformers reads, sparse and quantised ones follow ``CheckpointWriter``.
    ///
    /// The directory appears with all its files or not at all.
    ///
    /// - Parameter overwrite: Replace an existing directory. Otherwise one that exists and is not empty is an error.
    /// - Throws: ``LacunaError/file(path:reason:)`` if it cannot be written; ``LacunaError/unsupported(file:what:)`` for a
    ///   decoder that rotates neighbouring entries, which `config.json` cannot say; ``LacunaError/cancelled``.
    public func save(
        to path: String, tokenizer: Tokenizer? = nil, overwrite: Bool = false,
        progress: (any ProgressReporter)? = nil
    ) throws {
        guard configuration.rotary.layout == .halves else {
            throw LacunaError.unsupported(file: path, what: "saving a decoder with interleaved rotary positions")
        }
        let directory = try AtomicDirectory(path, overwrite: overwrite)
        let matrices = blocks.flatMap { block in LinearRole.allCases.map { block[$0].weight } }
        let writer = try CheckpointWriter(
            directory: directory.workingPath, layout: .fitting(matrices + [embedding] + [untiedHead].compactMap(\.self))
        )
        try writer.write("model.embed_tokens.weight", embedding)
        let (names, offset) = (BlockNames(configuration), Float(configuration.storesNormsFromZero ? 1 : 0))
        func writeNorm(_ norm: Tensor<Float>, _ name: String) throws {
            try writer.write(name, offset == 0 ? norm : Tensor(norm.scalars.map { $0 - offset }, shape: norm.shape))
        }
        for (layer, block) in blocks.enumerated() {
            func write(_ norm: Tensor<Float>?, _ name: String) throws {
                if let norm { try writeNorm(norm, "model.layers.\(layer).\(name).weight") }
            }
            try write(block.attentionNorm.weight, names.attention)
            try write(block.feedForwardNorm.weight, names.feedForward)
            try write(block.attention.queryNorm, "self_attn.q_norm")
            try write(block.attention.keyNorm, "self_attn.k_norm")
            if let outputs = names.outputs {
                try write(block.outputNorms?.attention.weight, outputs.attention)
                try write(block.outputNorms?.feedForward.weight, outputs.feedForward)
            }
            for role in LinearRole.allCases {
                try writer.write(role.weightName(layer: layer), block[role].weight)
                if let bias = block[role].bias { try writer.write(role.biasName(layer: layer), bias) }
            }
            try progress.report("saving", layer + 1, of: blocks.count)
        }
        try writeNorm(finalNorm, "model.norm.weight")
        if let untiedHead { try writer.write("lm_head.weight", untiedHead) }
        let type = embedding.format.values == .f32 ? "float32" : "bfloat16"
        let settings = try JSONFields(
            configuration.huggingFaceConfiguration(type: type), file: path, location: "config.json")
        try writer.finish(configuration: settings.object)
        if let generationSettings {
            try AtomicFile.write(
                JSONValue.object(generationSettings).serialized() + "\n",
                to: FileSystem.join(directory.workingPath, "generation_config.json"))
        }
        try tokenizer?.writeTokenizerJSON(to: directory.workingPath)
        try directory.commit()
    }
}
