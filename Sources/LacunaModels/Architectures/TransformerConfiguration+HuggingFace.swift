import LacunaIO
import LacunaLearn
import LacunaTensor

// The `config.json` of Hugging Face transformers.
extension TransformerConfiguration {
    /// The member in which a structured-pruned decoder keeps the width of every layer. transformers has no place for
    /// widths that differ; where they agree, only the usual `intermediate_size` is written.
    private static let intermediateSizesKey = "intermediate_sizes"

    /// Reads a `config.json`.
    ///
    /// - Throws: ``LacunaError/unsupported(file:what:)`` for an architecture, activation or scaling that this decoder does
    ///   not compute, ``LacunaError/malformed(file:location:reason:)`` for missing or impossible values.
    public init(contentsOf path: String) throws {
        try self.init(JSONFields(contentsOf: path))
    }

    /// Reads the content of a `config.json`.
    public init(_ fields: JSONFields) throws {
        func unsupported(_ what: String) -> LacunaError { .unsupported(file: fields.file, what: what) }

        let type = try fields.string("model_type")
        guard let architecture = Architecture(rawValue: type) else {
            let known = Architecture.allCases.map(\.rawValue).joined(separator: ", ")
            throw unsupported("model_type '\(type)' (supported: \(known))")
        }
        if architecture == .gpt2 {
            try self.init(gpt2: fields)
            return
        }
        try HuggingFaceSettings.requireKnown(fields, architecture)
        let isGemma = architecture == .gemma3
        let gate = try fields.optionalString("hidden_activation") ?? fields.optionalString("hidden_act")
        guard let activation = Self.activations[gate ?? (isGemma ? "gelu_pytorch_tanh" : "silu")] else {
            throw unsupported("hidden_act '\(gate ?? "")'")
        }

        let hiddenSize = try fields.integer("hidden_size")
        let headCount = try fields.integer("num_attention_heads")
        let layerCount = try fields.integer("num_hidden_layers")
        // Checked before it becomes the length of an array.
        guard layerCount >= 1 && layerCount <= 1 << 12 else {
            throw fields.failure("num_hidden_layers", "\(layerCount) is not in 1...\(1 << 12)")
        }
        // Two architectures have a head size of their own where the file has none.
        var headSize = try fields.optionalInteger("head_dim") ?? (isGemma ? 256 : architecture == .qwen3 ? 128 : 0)
        if headSize == 0 {
            guard headCount > 0, hiddenSize % headCount == 0 else {
                throw fields.failure(
                    "num_attention_heads", "\(hiddenSize) entries do not divide into \(headCount) heads")
            }
            headSize = hiddenSize / headCount
        }

        self.init(
            architecture: architecture,
            vocabularySize: try fields.integer("vocab_size"),
            hiddenSize: hiddenSize,
            intermediateSizes: try Self.intermediateSizes(fields, layerCount: layerCount),
            headCount: headCount,
            keyValueHeadCount: try fields.integer("num_key_value_heads", default: headCount),
            headSize: headSize,
            maximumPositions: try fields.integer("max_position_embeddings", default: 2048),
            normEpsilon: Float(try fields.number("rms_norm_eps", default: 1e-6)),
            rotary: try Self.rotary(
                fields, of: isGemma ? "full_attention" : nil,
                base: isGemma ? 1_000_000 : architecture == .smollm3 ? 2_000_000 : 10_000),
            attentionBias: try fields.bool("attention_bias", default: architecture == .qwen2),
            tiedEmbeddings: try fields.bool("tie_word_embeddings", default: isGemma),
            beginToken: try fields.optionalInteger("bos_token_id"),
            endTokens: try Self.endTokens(fields))
        self.activation = activation
        feedForwardBias = try fields.bool("mlp_bias", default: false)
        (slidingWindow, windowedLayers) = try Self.slidingWindow(
            fields, architecture: architecture, layerCount: layerCount)
        if architecture == .smollm3 { rotatedLayers = try Self.rotatedLayers(fields, layerCount: layerCount) }
        normalizesHeads = architecture == .qwen3 || isGemma
        if isGemma {
            normalizesOutputs = true
            embeddingScale = Float(hiddenSize).squareRoot()
            attentionScale = 1 / (try fields.number("query_pre_attn_scalar", default: 256)).squareRoot()
            windowedRotary = try Self.windowedRotary(fields)
        }
        try validate(file: fields.file)
    }

    private static let activations: [String: Activation] = [
        "silu": .silu, "swish": .silu, "gelu_pytorch_tanh": .gelu, "gelu_new": .gelu, "gelu": .geluExact,
        "relu": .relu,
    ]

    private static func intermediateSizes(_ fields: JSONFields, layerCount: Int) throws -> [Int] {
        guard fields.contains(intermediateSizesKey) else {
            return Array(repeating: try fields.integer("intermediate_size"), count: layerCount)
        }
        let sizes = try fields.integers(intermediateSizesKey)
        guard sizes.count == layerCount else {
            throw fields.failure(intermediateSizesKey, "\(sizes.count) sizes for \(layerCount) layers")
        }
        return sizes
    }

    /// - Parameter kind: The kind of layer whose rotation it is, in files that have one for each.
    private static func rotary(
        _ fields: JSONFields, of kind: String?, base: Double
    ) throws -> RotaryEmbedding.Parameters {
        // Newer files keep the base and the scaling together, older ones the base outside.
        var parameters = try fields.optionalFields("rope_parameters") ?? fields.optionalFields("rope_scaling")
        if let kind, let inner = try parameters?.optionalFields(kind) { parameters = inner }
        var result = RotaryEmbedding.Parameters()
        result.base = try parameters?.optionalNumber("rope_theta") ?? fields.number("rope_theta", default: base)
        if let parameters { result.scaling = try scaling(parameters) }
        return result
    }

    private static func scaling(_ parameters: JSONFields) throws -> RotaryEmbedding.Scaling {
        let type = try parameters.optionalString("rope_type") ?? parameters.optionalString("type") ?? "default"
        switch type {
        case "default": return .none
        case "linear": return .linear(factor: try parameters.number("factor"))
        case "llama3":
            return .llama3(
                factor: try parameters.number("factor"), lowFactor: try parameters.number("low_freq_factor"),
                highFactor: try parameters.number("high_freq_factor"),
                originalContext: try parameters.integer("original_max_position_embeddings"))
        case "per_frequency":
            return .perFrequency(
                try parameters.array("factors").map {
                    guard let factor = $0.doubleValue else {
                        throw parameters.failure("factors", "expected numbers, found \($0.kind)")
                    }
                    return Float(factor)
                })
        default: throw LacunaError.unsupported(file: parameters.file, what: "rotary scaling '\(type)'")
        }
    }

    /// The rotation of layers with a window, which Gemma 3 does not stretch.
    private static func windowedRotary(_ fields: JSONFields) throws -> RotaryEmbedding.Parameters {
        var result = RotaryEmbedding.Parameters(base: try fields.number("rope_local_base_freq", default: 10_000))
        if let own = try fields.optionalFields("rope_parameters")?.optionalFields("sliding_attention") {
            result.base = try own.number("rope_theta", default: result.base)
            result.scaling = try scaling(own)
        }
        return result
    }

    /// The window, and the layers that have it; nil for all.
    private static func slidingWindow(
        _ fields: JSONFields, architecture: Architecture, layerCount: Int
    ) throws -> (window: Int?, layers: [Bool]?) {
        let types = try fields.optionalArray("layer_types")?.map {
            switch $0.stringValue {
            case "sliding_attention": return true
            case "full_attention": return false
            default: throw fields.failure("layer_types", "'\($0.stringValue ?? $0.kind)' is no kind of layer")
            }
        }
        guard types == nil || types!.count == layerCount else {
            throw fields.failure("layer_types", "\(types!.count) types for \(layerCount) layers")
        }
        guard let window = try fields.optionalInteger("sliding_window") else {
            if types?.contains(true) ?? false { throw fields.failure("sliding_window", "is missing for its layers") }
            return (nil, nil)
        }
        let isQwen = [.qwen2, .qwen3, .smollm3].contains(architecture)
        if isQwen, try !fields.bool("use_sliding_window", default: false) { return (nil, nil) }
        var windowed = Array(repeating: true, count: layerCount)
        if let types {
            windowed = types
        } else if isQwen {
            // Layers below this number see everything.
            let first = try fields.integer("max_window_layers", default: 28)
            windowed = (0..<layerCount).map { $0 >= first }
        } else if architecture == .gemma3 {
            // Every so many layers, one sees everything.
            let period = try fields.optionalInteger("sliding_window_pattern") ?? 6
            guard period >= 1 else { throw fields.failure("sliding_window_pattern", "\(period) is not positive") }
            windowed = (0..<layerCount).map { ($0 + 1) % period != 0 }
        }
        if !windowed.contains(true) { return (nil, nil) }
        return (window, windowed.contains(false) ? windowed : nil)
    }

    /// SmolLM3: which layers rotate, one number each, or all but every so many.
    private static func rotatedLayers(_ fields: JSONFields, layerCount: Int) throws -> [Bool]? {
        if fields.contains("no_rope_layers") {
            let flags = try fields.integers("no_rope_layers")
            guard flags.count == layerCount, flags.allSatisfy({ 0...1 ~= $0 }) else {
                throw fields.failure("no_rope_layers", "is not 0 or 1 for each of \(layerCount) layers")
            }
            return flags.contains(0) ? flags.map { $0 == 1 } : nil
        }
        let interval = try fields.integer("no_rope_layer_interval", default: 4)
        guard interval >= 1 else { throw fields.failure("no_rope_layer_interval", "\(interval) is not positive") }
        return (0..<layerCount).map { ($0 + 1) % interval != 0 }
    }

    static func endTokens(_ fields: JSONFields) throws -> [Int] {
        if case .array? = fields.object["eos_token_id"] { return try fields.integers("eos_token_id") }
        return try fields.optionalInteger("eos_token_id").map { [$0] } ?? []
    }

    /// The content of a `config.json` that transformers and ``init(contentsOf:)`` read.
    ///
    /// - Parameter type: The element type of the weights, as transformers names it: "float32", "bfloat16".
    public func huggingFaceConfiguration(type: String) -> JSONValue {
        if architecture == .gpt2 { return .object(gpt2JSON(type: type)) }
        var object = JSONObject()
        let (modelClass, name) = (Self.modelClasses[architecture]!, architecture.rawValue)
        object["architectures"] = [.string(modelClass)]
        object["model_type"] = .string(name)
        object["dtype"] = .string(type)
        let gate = Self.activations.first { $0.value == activation && $0.key != "swish" && $0.key != "gelu_new" }!.key
        object[architecture == .gemma3 ? "hidden_activation" : "hidden_act"] = .string(gate)
        object["vocab_size"] = JSONValue(vocabularySize)
        object["hidden_size"] = JSONValue(hiddenSize)
        object["intermediate_size"] = JSONValue(intermediateSizes.max() ?? 0)
        if Set(intermediateSizes).count > 1 {
            object[Self.intermediateSizesKey] = .array(intermediateSizes.map { JSONValue($0) })
        }
        object["num_hidden_layers"] = JSONValue(layerCount)
        object["num_attention_heads"] = JSONValue(headCount)
        object["num_key_value_heads"] = JSONValue(keyValueHeadCount)
        object["head_dim"] = JSONValue(headSize)
        object["max_position_embeddings"] = JSONValue(maximumPositions)
        object["rms_norm_eps"] = .number(Double(normEpsilon.description)!)
        // Under both of the names that versions of transformers look for.
        object["rope_theta"] = .number(rotary.base)
        let whole = Self.parameters(rotary)
        if rotary.scaling != .none { object["rope_scaling"] = whole }
        if let windowedRotary {
            object["rope_local_base_freq"] = .number(windowedRotary.base)
            object["rope_parameters"] = [
                "full_attention": whole, "sliding_attention": Self.parameters(windowedRotary),
            ]
        } else {
            object["rope_parameters"] = whole
        }
        if architecture == .gemma3 {
            let scale = attentionScale ?? 1 / Double(headSize).squareRoot()
            // A whole number where it is one, as the file had it.
            let scalar = (1 / (scale * scale) * 1e6).rounded() / 1e6
            object["query_pre_attn_scalar"] = scalar == scalar.rounded() ? JSONValue(Int(scalar)) : .number(scalar)
        }
        if architecture == .smollm3 {
            object["no_rope_layers"] = .array((0..<layerCount).map { isRotated(layer: $0) ? 1 : 0 })
        }
        object["attention_bias"] = .bool(attentionBias)
        if feedForwardBias { object["mlp_bias"] = true }
        object["tie_word_embeddings"] = .bool(tiedEmbeddings)
        if let slidingWindow {
            object["sliding_window"] = JSONValue(slidingWindow)
            if [.qwen2, .qwen3, .smollm3].contains(architecture) { object["use_sliding_window"] = true }
            if architecture != .mistral {
                object["layer_types"] = .array(
                    (0..<layerCount).map { window(layer: $0) == nil ? "full_attention" : "sliding_attention" })
            }
        }
        if let beginToken { object["bos_token_id"] = JSONValue(beginToken) }
        if endTokens.count == 1 {
            object["eos_token_id"] = JSONValue(endTokens[0])
        } else if !endTokens.isEmpty {
            object["eos_token_id"] = .array(endTokens.map { JSONValue($0) })
        }
        return .object(object)
    }

    private static let modelClasses: [Architecture: String] = [
        .llama: "LlamaForCausalLM", .qwen2: "Qwen2ForCausalLM", .mistral: "MistralForCausalLM",
        .gpt2: "GPT2LMHeadModel", .qwen3: "Qwen3ForCausalLM", .smollm3: "SmolLM3ForCausalLM",
        .gemma3: "Gemma3ForCausalLM",
    ]

    private static func parameters(_ rotary: RotaryEmbedding.Parameters) -> JSONValue {
        var object = JSONObject()
        object["rope_theta"] = .number(rotary.base)
        switch rotary.scaling {
        case .none: object["rope_type"] = "default"
        case .linear(let factor):
            object["rope_type"] = "linear"
            object["factor"] = .number(factor)
        case .llama3(let factor, let low, let high, let context):
            object["rope_type"] = "llama3"
            object["factor"] = .number(factor)
            object["low_freq_factor"] = .number(low)
            object["high_freq_factor"] = .number(high)
            object["original_max_position_embeddings"] = JSONValue(context)
        case .perFrequency(let factors):
            object["rope_type"] = "per_frequency"
            object["factors"] = .array(factors.map { .number(Double($0.description)!) })
        }
        return .object(object)
    }
}
