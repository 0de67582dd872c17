import LacunaIO
import LacunaTensor

// The `config.json` of Hugging Face transformers.
extension DecoderConfiguration {
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
        let activation = try fields.optionalString("hidden_act") ?? "silu"
        guard activation == "silu" || activation == "swish" else { throw unsupported("hidden_act '\(activation)'") }
        if let part = try fields.optionalNumber("partial_rotary_factor"), part != 1 {
            throw unsupported("partial_rotary_factor \(part)")
        }

        let hiddenSize = try fields.integer("hidden_size")
        let headCount = try fields.integer("num_attention_heads")
        let layerCount = try fields.integer("num_hidden_layers")
        // Checked before it becomes the length of an array.
        guard layerCount >= 1 && layerCount <= 1 << 12 else {
            throw fields.failure("num_hidden_layers", "\(layerCount) is not in 1...\(1 << 12)")
        }
        var headSize = try fields.optionalInteger("head_dim") ?? 0
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
            rotary: try Self.rotary(fields),
            attentionBias: try fields.bool("attention_bias", default: architecture == .qwen2),
            tiedEmbeddings: try fields.bool("tie_word_embeddings", default: false),
            slidingWindow: try Self.slidingWindow(fields, architecture: architecture, layerCount: layerCount),
            beginToken: try fields.optionalInteger("bos_token_id"),
            endTokens: try Self.endTokens(fields))
        try validate(file: fields.file)
    }

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

    private static func rotary(_ fields: JSONFields) throws -> RotaryEmbedding.Parameters {
        // Newer files keep the base and the scaling together, older ones the base outside.
        let parameters = try fields.optionalFields("rope_parameters") ?? fields.optionalFields("rope_scaling")
        var result = RotaryEmbedding.Parameters()
        result.base = try parameters?.optionalNumber("rope_theta") ?? fields.number("rope_theta", default: 10_000)
        guard let parameters else { return result }
        let type = try parameters.optionalString("rope_type") ?? parameters.optionalString("type") ?? "default"
        switch type {
        case "default": break
        case "linear": result.scaling = .linear(factor: try parameters.number("factor"))
        case "llama3":
            result.scaling = .llama3(
                factor: try parameters.number("factor"), lowFactor: try parameters.number("low_freq_factor"),
                highFactor: try parameters.number("high_freq_factor"),
                originalContext: try parameters.integer("original_max_position_embeddings"))
        case "per_frequency":
            result.scaling = .perFrequency(
                try parameters.array("factors").map {
                    guard let factor = $0.doubleValue else {
                        throw parameters.failure("factors", "expected numbers, found \($0.kind)")
                    }
                    return Float(factor)
                })
        default: throw LacunaError.unsupported(file: fields.file, what: "rotary scaling '\(type)'")
        }
        return result
    }

    private static func slidingWindow(
        _ fields: JSONFields, architecture: Architecture, layerCount: Int
    ) throws -> Int? {
        guard let window = try fields.optionalInteger("sliding_window") else { return nil }
        if architecture == .qwen2 {
            guard try fields.bool("use_sliding_window", default: false) else { return nil }
            // Layers below this number see everything.
            let first = try fields.integer("max_window_layers", default: 28)
            if first >= layerCount { return nil }
            guard first == 0 else {
                throw LacunaError.unsupported(file: fields.file, what: "a sliding window in some of the layers only")
            }
        }
        return window
    }

    private static func endTokens(_ fields: JSONFields) throws -> [Int] {
        if case .array? = fields.object["eos_token_id"] { return try fields.integers("eos_token_id") }
        return try fields.optionalInteger("eos_token_id").map { [$0] } ?? []
    }

    /// The content of a `config.json` that transformers and ``init(contentsOf:)`` read.
    ///
    /// - Parameter type: The element type of the weights, as transformers names it: "float32", "bfloat16".
    public func huggingFaceConfiguration(type: String) -> JSONValue {
        var object = JSONObject()
        let (modelClass, name) = (Self.modelClasses[architecture]!, architecture.rawValue)
        object["architectures"] = [.string(modelClass)]
        object["model_type"] = .string(name)
        object["dtype"] = .string(type)
        object["hidden_act"] = "silu"
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
        if rotary.scaling != .none { object["rope_scaling"] = rotaryParameters }
        object["rope_parameters"] = rotaryParameters
        object["attention_bias"] = .bool(attentionBias)
        object["tie_word_embeddings"] = .bool(tiedEmbeddings)
        if let slidingWindow {
            object["sliding_window"] = JSONValue(slidingWindow)
            object["use_sliding_window"] = true
            object["max_window_layers"] = 0
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
    ]

    private var rotaryParameters: JSONValue {
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
