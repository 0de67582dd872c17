import LacunaIO
import LacunaLearn
import LacunaModels
import LacunaTensor
import Testing

/// What a `config.json` says, and what each architecture means by saying nothing, as transformers reads it.
@Suite struct ConfigurationTests {
    private func read(_ type: String, layers: Int = 2, _ more: [String: JSONValue] = [:]) throws
        -> TransformerConfiguration
    {
        var object = JSONObject()
        object["model_type"] = .string(type)
        object["vocab_size"] = 50
        object["hidden_size"] = 24
        object["intermediate_size"] = 32
        object["num_attention_heads"] = 4
        object["num_hidden_layers"] = JSONValue(layers)
        for (key, value) in more { object[key] = value }
        return try TransformerConfiguration(JSONFields(.object(object), file: "config.json"))
    }

    @Test func rotations() throws {
        // Older files have the base outside and the scaling apart, newer ones both together.
        let old = try read("llama", ["rope_theta": 500_000, "rope_scaling": ["type": "linear", "factor": 4]])
        #expect(old.rotary == .init(base: 500_000, scaling: .linear(factor: 4)))
        let long: JSONValue = [
            "rope_theta": 300_000, "rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4,
            "original_max_position_embeddings": 8192,
        ]
        let new = try read("llama", ["rope_theta": 7, "rope_parameters": long])
        let scaling = RotaryEmbedding.Scaling.llama3(factor: 8, lowFactor: 1, highFactor: 4, originalContext: 8192)
        #expect(new.rotary == .init(base: 300_000, scaling: scaling))
        #expect(try read("llama").rotary == .init(base: 10_000))
        #expect(try read("smollm3").rotary == .init(base: 2_000_000))
        let gemma = try read("gemma3_text")
        #expect(gemma.rotary == .init(base: 1_000_000) && gemma.windowedRotary == .init(base: 10_000))
        let local = try read("gemma3_text", ["rope_local_base_freq": 5000, "rope_theta": 9000])
        #expect(local.rotary.base == 9000 && local.windowedRotary?.base == 5000)
    }

    @Test func impossibleRotations() throws {
        for scaling: JSONValue in [
            ["type": "linear", "factor": 0], ["type": "linear", "factor": -2], ["type": "linear"],
            [
                "type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4,
                "original_max_position_embeddings": 8192,
            ],
            [
                "type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4,
                "original_max_position_embeddings": 0,
            ],
        ] {
            #expect(throws: LacunaError.self) { try read("llama", ["rope_scaling": scaling]) }
        }
        #expect(throws: LacunaError.self) { try read("llama", ["rope_theta": 1]) }
    }

    @Test func windows() throws {
        let mistral = try read("mistral", ["sliding_window": 8])
        #expect(mistral.slidingWindow == 8 && mistral.windowedLayers == nil)
        // Qwen's windows are off unless it is said, and begin at layer 28 unless it is said.
        let qwen: [String: JSONValue] = ["sliding_window": 8, "use_sliding_window": true, "max_window_layers": 1]
        let upper = try read("qwen2", layers: 3, qwen)
        #expect(upper.slidingWindow == 8 && upper.windowedLayers == [false, true, true])
        #expect((0..<3).map { upper.window(layer: $0) } == [nil, 8, 8])
        let off = try read("qwen2", layers: 3, ["sliding_window": 8, "max_window_layers": 1])
        #expect(off.slidingWindow == nil && off.windowedLayers == nil)
        let deep = try read("qwen2", layers: 29, ["sliding_window": 8, "use_sliding_window": true])
        #expect(deep.windowedLayers == (0..<29).map { $0 == 28 })
        let shallow = try read("qwen2", layers: 28, ["sliding_window": 8, "use_sliding_window": true])
        #expect(shallow.slidingWindow == nil)
        // Gemma sees everything in every sixth layer, or as it says.
        let gemma = try read("gemma3_text", layers: 7, ["sliding_window": 8])
        #expect(gemma.windowedLayers == [true, true, true, true, true, false, true])
        let often = try read("gemma3_text", layers: 4, ["sliding_window": 8, "sliding_window_pattern": 2])
        #expect(often.windowedLayers == [true, false, true, false])
        let listed: JSONValue = ["full_attention", "sliding_attention"]
        let named = try read("gemma3_text", ["sliding_window": 8, "layer_types": listed])
        #expect(named.windowedLayers == [false, true])
    }

    @Test func layersWithoutRotation() throws {
        #expect(try read("smollm3", layers: 5).rotatedLayers == [true, true, true, false, true])
        let often = try read("smollm3", layers: 4, ["no_rope_layer_interval": 2])
        #expect(often.rotatedLayers == [true, false, true, false])
        let listed = try read("smollm3", ["no_rope_layers": [0, 1]])
        #expect(listed.rotatedLayers == [false, true] && listed.isRotated(layer: 1) && !listed.isRotated(layer: 0))
        #expect(try read("llama").rotatedLayers == nil)
    }

    @Test func whatIsNotSaid() throws {
        let llama = try read("llama")
        #expect(llama.headSize == 6 && llama.keyValueHeadCount == 4 && llama.maximumPositions == 2048)
        #expect(llama.normEpsilon == 1e-6 && !llama.tiedEmbeddings && !llama.attentionBias && !llama.feedForwardBias)
        #expect(llama.activation == .silu && llama.embeddingScale == 1 && llama.attentionScale == nil)
        #expect(!llama.normalizesHeads && !llama.normalizesOutputs && llama.endTokens.isEmpty)
        #expect(try read("qwen2").attentionBias && read("qwen3").headSize == 128 && read("qwen3").normalizesHeads)
        let gemma = try read("gemma3_text", ["query_pre_attn_scalar": 64])
        #expect(gemma.headSize == 256 && gemma.tiedEmbeddings && gemma.activation == .gelu)
        #expect(gemma.normalizesHeads && gemma.normalizesOutputs && gemma.attentionScale == 0.125)
        #expect(gemma.embeddingScale == Float(24).squareRoot())
        #expect(try read("gemma3_text").attentionScale == 0.0625)
        #expect(try read("llama", ["eos_token_id": 3]).endTokens == [3])
        #expect(try read("llama", ["eos_token_id": [3, 9]]).endTokens == [3, 9])
    }
}
