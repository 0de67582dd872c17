import LacunaIO
import LacunaTensor

// The metadata of GGUF files.
extension TransformerConfiguration {
    /// Reads a GGUF file's metadata.
    ///
    /// GGUF has no architecture of its own for Mistral: its models call themselves llama and lose their sliding window,
    /// as they do in every engine that reads such files.
    ///
    /// - Throws: ``LacunaError/unsupported(file:what:)`` for an architecture or scaling that this decoder does not
    ///   compute, ``LacunaError/malformed(file:location:reason:)`` for missing or impossible values.
    public init(_ file: GGUFFile) throws {
        let name = try file.string("general.architecture")
        guard let architecture = Self.architectures[name] else {
            let known = Self.architectures.keys.sorted().joined(separator: ", ")
            throw LacunaError.unsupported(file: file.path, what: "architecture '\(name)' (supported: \(known))")
        }
        let isGemma = architecture == .gemma3
        try Self.requireKnown(file, prefix: name + ".", alsoKnown: isGemma ? Self.knownOfGemma : [])
        func key(_ suffix: String) -> String { "\(name).\(suffix)" }
        func failure(_ suffix: String, _ reason: String) -> LacunaError {
            .malformed(file: file.path, location: "metadata '\(key(suffix))'", reason: reason)
        }
        let layerCount = try file.integer(key("block_count"))
        guard layerCount >= 1 && layerCount <= 1 << 12 else {
            throw failure("block_count", "\(layerCount) is not in 1...\(1 << 12)")
        }
        // Some writers store one number for each layer.
        func perLayer(_ suffix: String) throws -> [Int] {
            guard case .array? = file[key(suffix)] else {
                return Array(repeating: try file.integer(key(suffix)), count: layerCount)
            }
            let values = try file.optionalIntegers(key(suffix)) ?? []
            guard values.count == layerCount else {
                throw failure(suffix, "\(values.count) numbers for \(layerCount) layers")
            }
            return values
        }
        func uniform(_ suffix: String) throws -> Int {
            let values = try perLayer(suffix)
            guard Set(values).count == 1 else {
                throw LacunaError.unsupported(file: file.path, what: "\(key(suffix)) that differs between layers")
            }
            return values[0]
        }

        let hiddenSize = try file.integer(key("embedding_length"))
        let headCount = try uniform("attention.head_count")
        guard headCount >= 1 else { throw failure("attention.head_count", "\(headCount) is not positive") }
        let headSize = try file.optionalInteger(key("attention.key_length")) ?? hiddenSize / headCount
        let valueSize = try file.optionalInteger(key("attention.value_length")) ?? headSize
        let rotated = try file.optionalInteger(key("rope.dimension_count")) ?? headSize
        guard valueSize == headSize && rotated == headSize else {
            throw LacunaError.unsupported(
                file: file.path,
                what: "heads with keys of \(headSize), values of \(valueSize) and \(rotated) rotated entries")
        }
        let embedding = try file.info("token_embd.weight")
        guard embedding.shape.count == 2 else {
            throw LacunaError.tensorMismatch(
                file: file.path, name: embedding.name, expected: "a matrix", found: "shape \(embedding.shape)")
        }

        self.init(
            architecture: architecture,
            vocabularySize: embedding.shape[0],
            hiddenSize: hiddenSize,
            intermediateSizes: try perLayer("feed_forward_length"),
            headCount: headCount,
            keyValueHeadCount: file[key("attention.head_count_kv")] == nil
                ? headCount : try uniform("attention.head_count_kv"),
            headSize: headSize,
            maximumPositions: try file.integer(key("context_length")),
            normEpsilon: Float(try file.number(key("attention.layer_norm_rms_epsilon"))),
            rotary: try Self.rotary(file, key: key, headSize: headSize),
            attentionBias: architecture == .qwen2 || file.contains("blk.0.attn_q.bias"),
            tiedEmbeddings: !file.contains("output.weight"),
            slidingWindow: nil,
            beginToken: try file.optionalInteger("tokenizer.ggml.bos_token_id"),
            endTokens: try file.optionalInteger("tokenizer.ggml.eos_token_id").map { [$0] } ?? [])
        normalizesHeads = architecture == .qwen3 || isGemma
        if isGemma { try readGemma(file) }
        feedForwardBias = file.contains("blk.0.ffn_gate.bias")
        try validate(file: file.path)
    }

    private static let architectures: [String: Architecture] = [
        "llama": .llama, "qwen2": .qwen2, "qwen3": .qwen3, "gemma3": .gemma3,
    ]
    private static let knownOfGemma: Set<String> = ["attention.sliding_window", "rope.freq_base_swa"]

    private mutating func readGemma(_ file: GGUFFile) throws {
        try completeGemma(
            window: file.integer("gemma3.attention.sliding_window"),
            windowedBase: file.optionalNumber("gemma3.rope.freq_base_swa") ?? 10_000)
    }

    /// Sets what a Gemma 3 is besides what its file says, as llama.cpp has it: every sixth layer sees everything, the others rotate
    /// without scaling, and the largest model, of 62 layers, scales scores by the width of a head in the residual stream.
    mutating func completeGemma(window: Int, windowedBase: Double) {
        activation = .gelu
        normalizesOutputs = true
        embeddingScale = Float(hiddenSize).squareRoot()
        attentionScale = 1 / Double(layerCount == 62 ? hiddenSize / headCount : headSize).squareRoot()
        windowedRotary = RotaryEmbedding.Parameters(base: windowedBase)
        let windowed = (0..<layerCount).map { ($0 + 1) % 6 != 0 }
        slidingWindow = window
        windowedLayers = windowed.contains(false) ? windowed : nil
    }

    /// Metadata of the architecture that are read, or say nothing about what the model computes.
    private static let known: Set<String> = [
        "block_count", "context_length", "embedding_length", "feed_forward_length", "attention.head_count",
        "attention.head_count_kv", "attention.key_length", "attention.value_length",
        "attention.layer_norm_rms_epsilon", "rope.dimension_count", "rope.freq_base", "rope.scaling.type",
        "rope.scaling.factor", "rope.scaling.original_context_length", "rope.scaling.finetuned", "rope.scale_linear",
        "vocab_size", "tensor_data_layout",
    ]

    /// - Throws: ``LacunaError/unsupported(file:what:)`` for metadata of the architecture that would be ignored.
    private static func requireKnown(_ file: GGUFFile, prefix: String, alsoKnown: Set<String>) throws {
        for key in file.metadataKeys where key.hasPrefix(prefix) {
            let suffix = String(key.dropFirst(prefix.count))
            if known.contains(suffix) || alsoKnown.contains(suffix) { continue }
            // No experts and no window are nothing.
            if ["expert_count", "expert_used_count", "attention.sliding_window"].contains(suffix),
                try file.optionalInteger(key) == 0
            {
                continue
            }
            throw LacunaError.unsupported(file: file.path, what: "the setting '\(key)'")
        }
    }

    private static func rotary(
        _ file: GGUFFile, key: (String) -> String, headSize: Int
    ) throws -> RotaryEmbedding.Parameters {
        var result = RotaryEmbedding.Parameters()
        result.base = try file.optionalNumber(key("rope.freq_base")) ?? 10_000
        // An older name of linear scaling.
        let linear = try file.optionalNumber(key("rope.scale_linear")) ?? 1
        if linear != 1 { result.scaling = .linear(factor: linear) }
        let type = try file.optionalString(key("rope.scaling.type")) ?? "none"
        switch type {
        case "none": break
        case "linear": result.scaling = .linear(factor: try file.number(key("rope.scaling.factor")))
        default: throw LacunaError.unsupported(file: file.path, what: "rotary scaling '\(type)'")
        }
        if file.contains("rope_freqs.weight") {
            guard result.scaling == .none else {
                throw LacunaError.unsupported(file: file.path, what: "rotary scaling by a factor and by a tensor")
            }
            result.scaling = .perFrequency(try file.float("rope_freqs.weight", shape: [headSize / 2]).scalars)
        }
        return result
    }
}
