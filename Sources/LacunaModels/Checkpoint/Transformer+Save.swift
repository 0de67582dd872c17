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
    /// A GPT-2 whose layers are all dense is written as transformers has it: matrices transposed, queries, keys and values as
    /// one. One with a sparse or quantised layer keeps each layer by itself and upright (`attn.q_proj`), which only
    /// ``load(_:weights:embedding:progress:)`` reads.
    ///
    /// - Parameter overwrite: Replace an existing directory. Otherwise one that exists and is not empty is an error.
    /// - Throws: ``LacunaError/file(path:reason:)`` if it cannot be written; ``LacunaError/unsupported(file:what:)`` for a
    ///   decoder that rotates neighbouring entries, which `config.json` cannot say, and for one with experts;
    ///   ``LacunaError/cancelled``.
    public func save(
        to path: String, tokenizer: Tokenizer? = nil, overwrite: Bool = false,
        progress: (any ProgressReporter)? = nil
    ) throws {
        guard configuration.rotary.layout == .halves else {
            throw LacunaError.unsupported(file: path, what: "saving a decoder with interleaved rotary positions")
        }
        guard !hasExperts else { throw LacunaError.unsupported(file: path, what: "saving a decoder with experts") }
        let directory = try AtomicDirectory(path, overwrite: overwrite)
        let matrices = blocks.flatMap { block in block.roles.map { block[$0].weight } }
        let writer = try CheckpointWriter(
            directory: directory.workingPath, layout: .fitting(matrices + [embedding] + [untiedHead].compactMap(\.self))
        )
        let (parts, offset) = (configuration.names, Float(configuration.storesNormsFromZero ? 1 : 0))
        let names = parts.block
        try writer.write(parts.embedding + ".weight", embedding)
        if let positions { try writer.write(parts.positions + ".weight", positions) }
        func writeNorm(_ norm: Tensor<Float>, _ name: String) throws {
            try writer.write(name, offset == 0 ? norm : Tensor(norm.scalars.map { $0 - offset }, shape: norm.shape))
        }
        for (layer, block) in blocks.enumerated() {
            let place = "\(parts.layers).\(layer)"
            func write(_ norm: Tensor<Float>?, _ name: String) throws {
                if let norm { try writeNorm(norm, "\(place).\(name).weight") }
            }
            for (name, norm) in [(names.attention, block.attentionNorm), (names.feedForward, block.feedForwardNorm)] {
                try write(norm.weight, name)
                if let bias = norm.bias { try writer.write("\(place).\(name).bias", bias) }
            }
            try write(block.attention.queryNorm, "self_attn.q_norm")
            try write(block.attention.keyNorm, "self_attn.k_norm")
            if let outputs = names.outputs {
                try write(block.outputNorms?.attention.weight, outputs.attention)
                try write(block.outputNorms?.feedForward.weight, outputs.feedForward)
            }
            if configuration.architecture == .gpt2, matrices.allSatisfy({ $0 is DenseMatrix }) {
                try writer.writeAsGPT2(place, block)
            } else {
                for role in block.roles {
                    try writer.write(configuration.weightName(role, layer: layer), block[role].weight)
                    if let bias = block[role].bias {
                        try writer.write(configuration.biasName(role, layer: layer), bias)
                    }
                }
            }
            try progress.report("saving", layer + 1, of: blocks.count)
        }
        try writeNorm(finalNorm.weight, parts.norm + ".weight")
        if let bias = finalNorm.bias { try writer.write(parts.norm + ".bias", bias) }
        if let untiedHead { try writer.write(parts.head + ".weight", untiedHead) }
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
