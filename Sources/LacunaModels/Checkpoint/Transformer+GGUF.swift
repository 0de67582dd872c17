import LacunaIO
import LacunaSparse
import LacunaTensor

/// The forms that matrices can have in a GGUF file that is written here.
public enum GGUFWeights: String, Sendable, Hashable, CaseIterable {
    /// 32-bit floats.
    case f32 = "F32"
    /// 16-bit floats: 5 bits of exponent, 10 of fraction.
    case f16 = "F16"
    /// The upper halves of 32-bit floats.
    case bf16 = "BF16"
    /// 8-bit numbers in blocks of 32 with one scale.
    case q80 = "Q8_0"
    /// 4-bit numbers in blocks of 32 with one scale.
    case q40 = "Q4_0"

    var type: StoredType {
        switch self {
        case .f32: .scalar(.f32)
        case .f16: .scalar(.f16)
        case .bf16: .scalar(.bf16)
        case .q80: .block(.q80)
        case .q40: .block(.q40)
        }
    }

    /// The number that the file as a whole is described by.
    var fileType: UInt32 {
        switch self {
        case .f32: 0
        case .f16: 1
        case .bf16: 32
        case .q80: 7
        case .q40: 2
        }
    }
}

extension Transformer {
    /// Writes the decoder as a GGUF file, which other programs run.
    ///
    /// Such files hold dense matrices only: weights that pruning left out are written as zeros and take the room of all
    /// others. What a sparse model saves, it saves in Lacuna's own directories (``save(to:tokenizer:overwrite:progress:)``).
    ///
    /// - Parameters:
    ///   - weights: The form of all matrices; the embedding table and the head are kept at Q8_0 where it is Q4_0, and a
    ///     matrix whose rows do not divide into blocks becomes F16. nil keeps each as it is stored: blocks of a GGUF file
    ///     bit by bit, f32, f16 and bf16; int8 and int4 become Q8_0.
    ///   - tokenizer: What is written where `source` is nil; otherwise the file's own goes along.
    ///   - source: The GGUF file that the model came from, whose metadata are kept: names, licence, tokenizer.
    /// - Throws: ``LacunaError/unsupported(file:what:)`` for an architecture other than llama, qwen2, qwen3 and gemma3, one of the
    ///   first three with a sliding window, a Gemma whose layers are not as such files leave them to the reader, and what ``Tokenizer/write(to:vocabularySize:)`` refuses; ``LacunaError/file(path:reason:)``;
    ///   ``LacunaError/cancelled``. There is no file then.
    public func saveGGUF(
        to path: String, weights: GGUFWeights? = nil, tokenizer: Tokenizer? = nil, source: GGUFFile? = nil,
        name: String = "model", progress: (any ProgressReporter)? = nil
    ) throws {
        let architecture = try architectureInGGUF(path)
        let writer = try GGUFWriter(path)
        try writeMetadata(writer, architecture, weights, tokenizer: tokenizer, source: source, name: name)
        let tensors = GGUFTensorWriter(
            writer: writer, weights: weights, headSize: architecture == "llama" ? configuration.headSize : nil)
        if let factors = rotationFactors {
            try writer.write("rope_freqs.weight", Tensor(factors, shape: [factors.count]))
        }
        try tensors.write("token_embd", embedding, isHead: true)
        for (layer, block) in blocks.enumerated() {
            func name(_ part: String) -> String { "blk.\(layer).\(part)" }
            try writer.write(name("attn_norm.weight"), block.attentionNorm.weight)
            for (part, norm) in [
                ("attn_q_norm", block.attention.queryNorm), ("attn_k_norm", block.attention.keyNorm),
                ("post_attention_norm", block.outputNorms?.attention.weight),
                ("post_ffw_norm", block.outputNorms?.feedForward.weight),
            ] {
                if let norm { try writer.write(name("\(part).weight"), norm) }
            }
            try writer.write(name("ffn_norm.weight"), block.feedForwardNorm.weight)
            for (role, part) in [
                (LinearRole.query, "attn_q"), (.key, "attn_k"), (.value, "attn_v"), (.output, "attn_output"),
                (.gate, "ffn_gate"), (.up, "ffn_up"), (.down, "ffn_down"),
            ] {
                let rotates = role == .query || role == .key
                try tensors.write(name(part), block[role].weight, rotates: rotates)
                if let bias = block[role].bias { try tensors.write(name(part), bias: bias, rotates: rotates) }
            }
            try progress.report("saving", layer + 1, of: blocks.count)
        }
        try writer.write("output_norm.weight", finalNorm.weight)
        if let untiedHead { try tensors.write("output", untiedHead, isHead: true) }
        try writer.finish()
    }

    private func architectureInGGUF(_ path: String) throws -> String {
        if configuration.architecture == .gemma3, let window = configuration.slidingWindow {
            var read = configuration
            read.completeGemma(window: window, windowedBase: configuration.windowedRotary?.base ?? 10_000)
            guard read == configuration, configuration.tiedEmbeddings else {
                throw LacunaError.unsupported(
                    file: path, what: "writing a gemma3 model as GGUF whose layers are not those of the published ones")
            }
            return "gemma3"
        }
        // Files of these architectures have no field for another function or for experts of these kinds.
        guard configuration.activation == .silu, !hasExperts else {
            throw LacunaError.unsupported(
                file: path,
                what: "writing a model with " + (hasExperts ? "experts" : configuration.activation.rawValue)
                    + " as GGUF")
        }
        if configuration.slidingWindow == nil {
            switch configuration.architecture {
            case .llama, .mistral: return "llama"
            case .qwen2, .qwen3: return configuration.architecture.rawValue
            default: break
            }
        }
        throw LacunaError.unsupported(
            file: path,
            what: "writing a \(configuration.architecture.rawValue) model"
                + (configuration.slidingWindow == nil ? "" : " with a sliding window") + " as GGUF")
    }

    /// What each frequency is divided by, where a file says so with a tensor.
    private var rotationFactors: [Float]? {
        switch configuration.rotary.scaling {
        case .none, .linear: return nil
        case .perFrequency(let factors): return factors
        case .llama3:
            var plain = configuration.rotary
            plain.scaling = .none
            let (scaled, whole) = (
                RotaryEmbedding(configuration.rotary, headSize: configuration.headSize),
                RotaryEmbedding(plain, headSize: configuration.headSize)
            )
            return zip(whole.frequencies, scaled.frequencies).map { Float($0 / $1) }
        }
    }

    private func writeMetadata(
        _ writer: GGUFWriter, _ architecture: String, _ weights: GGUFWeights?, tokenizer: Tokenizer?,
        source: GGUFFile?, name: String
    ) throws {
        let c = configuration
        func number(_ key: String, _ value: Int) { writer.set("\(architecture).\(key)", .uint32(UInt32(value))) }
        writer.set("general.architecture", .string(architecture))
        if let source {
            // What describes the network is written anew; the rest is about where it came from.
            let own = [
                "general.architecture", "general.file_type", "general.alignment", "general.quantization_version",
            ]
            let prefix = try source.string("general.architecture") + "."
            for key in source.metadataKeys
            where !own.contains(key) && !key.hasPrefix(prefix) && !key.hasPrefix("split.") {
                writer.set(key, .encoded(source.encodedValue(key)!))
            }
        } else {
            writer.set("general.type", .string("model"))
            writer.set("general.name", .string(name))
        }
        number("block_count", c.layerCount)
        number("context_length", c.maximumPositions)
        number("embedding_length", c.hiddenSize)
        if Set(c.intermediateSizes).count == 1 {
            number("feed_forward_length", c.intermediateSizes[0])
        } else {
            writer.set("\(architecture).feed_forward_length", .int32s(c.intermediateSizes.map { Int32($0) }))
        }
        number("attention.head_count", c.headCount)
        number("attention.head_count_kv", c.keyValueHeadCount)
        if let window = c.slidingWindow { number("attention.sliding_window", window) }
        if let windowed = c.windowedRotary {
            writer.set("\(architecture).rope.freq_base_swa", .float32(Float(windowed.base)))
        }
        if c.headSize * c.headCount != c.hiddenSize || c.architecture == .gemma3 {
            number("attention.key_length", c.headSize)
            number("attention.value_length", c.headSize)
        }
        number("rope.dimension_count", c.headSize)
        number("vocab_size", c.vocabularySize)
        writer.set("\(architecture).attention.layer_norm_rms_epsilon", .float32(c.normEpsilon))
        writer.set("\(architecture).rope.freq_base", .float32(Float(c.rotary.base)))
        if case .linear(let factor) = c.rotary.scaling {
            writer.set("\(architecture).rope.scaling.type", .string("linear"))
            writer.set("\(architecture).rope.scaling.factor", .float32(Float(factor)))
        }
        if let weights { writer.set("general.file_type", .uint32(weights.fileType)) }
        writer.set("general.quantization_version", .uint32(2))
        guard source == nil else { return }
        try tokenizer?.write(to: writer, vocabularySize: c.vocabularySize)
        // What ends a text stands in the configuration, more often than with the tokenizer.
        for (key, token) in zip(["bos", "eos", "eot"], [c.beginToken] + (c.endTokens + [nil, nil]).prefix(2)) {
            if let token { writer.set("tokenizer.ggml.\(key)_token_id", .uint32(UInt32(token))) }
        }
    }
}

/// Matrices on their way into a GGUF file.
private struct GGUFTensorWriter {
    let writer: GGUFWriter
    let weights: GGUFWeights?
    /// Of a model whose query and key rows the format has in another order; nil for others.
    let headSize: Int?

    func write(_ name: String, _ matrix: any StoredMatrix, rotates: Bool = false, isHead: Bool = false) throws {
        let (rows, columns) = (matrix.rows, matrix.columns)
        let order = rotates ? headSize : nil
        if let blocks = matrix as? GGUFMatrix, let type = kept(blocks) {
            guard let order else {
                return try writer.write("\(name).weight", type: type, shape: [rows, columns], bytes: blocks.bytes)
            }
            let size = rows == 0 ? 0 : blocks.bytes.count / rows
            var bytes: [UInt8] = []
            bytes.reserveCapacity(blocks.bytes.count)
            for row in 0..<rows {
                let source = Self.row(row, headSize: order)
                bytes += blocks.bytes[source * size..<(source + 1) * size]
            }
            return try bytes.withUnsafeBytes {
                try writer.write("\(name).weight", type: type, shape: [rows, columns], bytes: $0)
            }
        }
        var wanted = weights?.type ?? Self.nearest(matrix)
        if isHead && wanted == .block(.q40) { wanted = .block(.q80) }
        if columns % wanted.blockCount != 0 { wanted = .scalar(.f16) }
        var values = matrix.densified()
        if let order { values = Self.reordered(values, headSize: order) }
        try writer.write("\(name).weight", values, as: wanted)
    }

    func write(_ name: String, bias: Tensor<Float>, rotates: Bool) throws {
        guard rotates, let headSize else { return try writer.write("\(name).bias", bias) }
        let column = Self.reordered(bias.reshaped([bias.count, 1]), headSize: headSize)
        try writer.write("\(name).bias", column.reshaped([bias.count]))
    }

    /// The type of a matrix that goes into the file bit by bit.
    private func kept(_ matrix: GGUFMatrix) -> StoredType? {
        let type = GGUFBlockType(rawValue: matrix.format.description).map { StoredType.block($0) }
        return weights == nil || weights?.type == type ? type : nil
    }

    private static func nearest(_ matrix: any StoredMatrix) -> StoredType {
        switch matrix.format.values {
        case .f32: .scalar(.f32)
        case .bf16: .scalar(.bf16)
        case .f16: .scalar(.f16)
        case .int8, .int4: .block(.q80)
        }
    }

    /// Which row of ours stands at a place of the file, where the two entries of a pair are neighbours.
    private static func row(_ place: Int, headSize: Int) -> Int {
        let (head, entry) = (place / headSize, place % headSize)
        return head * headSize + entry % 2 * (headSize / 2) + entry / 2
    }

    private static func reordered(_ matrix: Tensor<Float>, headSize: Int) -> Tensor<Float> {
        var result = Tensor<Float>(uninitialized: matrix.shape)
        let (rows, columns) = (matrix.rows, matrix.columns)
        matrix.withPointer { source in
            result.withMutablePointer { target in
                for place in 0..<rows {
                    (target + place * columns).update(
                        from: source + row(place, headSize: headSize) * columns, count: columns)
                }
            }
        }
        return result
    }
}
