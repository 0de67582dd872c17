import LacunaIO
import LacunaModels
import LacunaSparse
import LacunaTensor
import Testing

struct CheckpointTests {
    /// Calls `body` with the path of a directory that does not exist yet, and removes it afterwards.
    private func withDirectory(_ body: (String) throws -> Void) throws {
        let path = "/tmp/lacuna-models-\(UInt64.random(in: 0...UInt64.max))"
        defer { try? FileSystem.remove(path) }
        try body(path)
    }

    private func pruned(_ decoder: Transformer, _ layout: StorageLayout, _ values: ValueType) throws -> Transformer {
        try decoder.sparsified { name, matrix in
            let weight = matrix.densified()
            let pattern: Pattern = layout == .nm(n: 2, m: 4) ? .nm(n: 2, m: 4) : .unstructured(.layer)
            let scores = Tensor(weight.scalars.map(abs), shape: weight.shape)
            let mask = layout == .dense ? nil : try Selection.mask(scores: scores, pattern: pattern, sparsity: 0.5)
            return try WeightStore.make(weight, mask: mask, layout: layout, values: values)
        }
    }

    @Test(arguments: [
        StorageFormat(.dense, .f32), .init(.dense, .bf16), .init(.dense, .f16), .init(.dense, .int8),
        .init(.dense, .int4),
        .init(.bitmask, .f32), .init(.bitmask, .bf16), .init(.bitmask, .f16), .init(.bitmask, .int8),
        .init(.bitmask, .int4),
        .init(.nm(n: 2, m: 4), .bf16), .init(.csr, .f32), .init(.bsr(rows: 4, columns: 4), .bf16),
    ])
    func savedDecodersComeBackAsTheyWere(_ format: StorageFormat) throws {
        let original = try pruned(makeDecoder(seed: 1, tied: false, bias: true), format.layout, format.values)
        let tokens = [1, 4, 9, 16, 25, 36]
        try withDirectory { path in
            try original.save(to: path)
            let loaded = try Transformer.load(path)
            #expect(loaded.configuration == original.configuration)
            #expect(loaded.footprints == original.footprints)
            #expect(try loaded.logits(tokens) == original.logits(tokens))
            // Other value types keep the zeros.
            let floats = try Transformer.load(path, weights: .f32)
            #expect(floats.footprints.allSatisfy { $0.format.values == .f32 })
            #expect(abs(floats.linearSparsity - original.linearSparsity) < 1e-9)
        }
    }

    /// Biases of feed-forward parts are named in the configuration: transformers leaves them out otherwise.
    @Test func feedForwardBiasesSurvive() throws {
        var configuration = try makeDecoder(seed: 8).configuration
        configuration.feedForwardBias = true
        let original = try Transformer(random: configuration, seed: 8)
        try withDirectory { path in
            try original.save(to: path)
            #expect(try FileSystem.readText(path + "/config.json").contains("\"mlp_bias\""))
            #expect(try Transformer.load(path).logits([1, 2, 3]) == original.logits([1, 2, 3]))
            // Without the setting the tensors are unknown.
            let text = try FileSystem.readText(path + "/config.json")
            var object = try #require(JSONValue(parsing: text).objectValue)
            object["mlp_bias"] = false
            try AtomicFile.write(JSONValue.object(object).serialized(), to: path + "/config.json")
            #expect(throws: LacunaError.self) { try Transformer.load(path) }
        }
    }

    /// Settings of generation go along, and their end tokens count.
    @Test func generationSettingsSurvive() throws {
        let original = try makeDecoder(seed: 9)
        try withDirectory { path in
            try original.save(to: path)
            try AtomicFile.write(
                "{\"eos_token_id\": [3, 7], \"temperature\": 0.6}", to: path + "/generation_config.json")
            let loaded = try Transformer.load(path)
            #expect(loaded.configuration.endTokens == [2, 3, 7])
            try withDirectory { copy in
                try loaded.save(to: copy)
                let again = try Transformer.load(copy)
                #expect(again.configuration == loaded.configuration)
                #expect(again.generationSettings?["temperature"] == 0.6)
            }
            try AtomicFile.write("{\"eos_token_id\": 50}", to: path + "/generation_config.json")
            #expect(throws: LacunaError.self) { try Transformer.load(path) }
        }
    }

    @Test func widthsThatDifferSurvive() throws {
        let original = try makeDecoder(seed: 2, intermediateSizes: [12, 40, 8])
        try withDirectory { path in
            try original.save(to: path)
            #expect(try Transformer.load(path).configuration.intermediateSizes == [12, 40, 8])
        }
    }

    @Test func anExistingDirectoryIsLeftAlone() throws {
        let decoder = try makeDecoder(seed: 3)
        try withDirectory { path in
            try decoder.save(to: path)
            #expect(throws: LacunaError.self) { try decoder.save(to: path) }
            try decoder.save(to: path, overwrite: true)
            #expect(try Transformer.load(path).footprints == decoder.footprints)
        }
    }

    @Test func nothingAppearsWhenSavingIsCancelled() throws {
        final class Stop: ProgressReporter {
            func update(task: String, completed: Int, total: Int, detail: String) {}
            var isCancelled: Bool { true }
        }
        let decoder = try makeDecoder(seed: 4)
        try withDirectory { path in
            #expect(throws: LacunaError.cancelled) { try decoder.save(to: path, progress: Stop()) }
            #expect(!FileSystem.exists(path))
        }
    }

    @Test func interleavedRotationCannotBeSaved() throws {
        let decoder = try makeDecoder(seed: 5, rotary: .init(layout: .interleaved))
        try withDirectory { path in
            #expect(throws: LacunaError.self) { try decoder.save(to: path) }
            #expect(!FileSystem.exists(path))
        }
    }

    @Test(arguments: [WeightPrecision.bf16, .f16, .int8, .int4])
    func reducedPrecisionStaysNear(_ precision: WeightPrecision) throws {
        let fixture = Fixture(name: "llama3.gguf", expectedIn: "llama3")
        let (tokens, logits) = try fixture.expected()
        let decoder = try Transformer.load(fixture.path, weights: precision)
        let error = relativeError(try decoder.logits(tokens), logits)
        let limit: [WeightPrecision: Float] = [.bf16: 0.03, .f16: 0.003, .int8: 0.1, .int4: 0.8]
        #expect(error > 1e-5 && error < limit[precision]!, "\(error)")
        #expect(decoder.blocks[0].attention.query.weight.format == StorageFormat(.dense, precision.valueType!))
        // The head is too important for four bits.
        #expect(decoder.head.format.values == (precision == .int4 ? .int8 : precision.valueType!))
    }

    @Test func storedTypesStay() throws {
        let decoder = try Transformer.load(Fixture.directory + "/qwen2")
        #expect(decoder.footprints.allSatisfy { $0.format == StorageFormat(.dense, .bf16) })
        #expect(decoder.blocks[0].attention.key.bias != nil && decoder.blocks[0].attention.output.bias == nil)
    }

    @Test func brokenModelsAreRefusedByName() throws {
        let decoder = try makeDecoder(seed: 6)
        /// Saves the decoder under another configuration.
        func loadAfter(_ change: (inout JSONObject) -> Void) throws -> Transformer {
            var result: Transformer?
            try withDirectory { path in
                try decoder.save(to: path)
                let file = FileSystem.join(path, "config.json")
                var object = try JSONFields(contentsOf: file).object
                change(&object)
                try AtomicFile.write(JSONValue.object(object).serialized(), to: file)
                result = try Transformer.load(path)
            }
            return result!
        }
        _ = try loadAfter { _ in }
        let changes: [(key: String, value: JSONValue)] = [
            ("model_type", "gpt2"), ("hidden_act", "relu6"), ("hidden_size", 25), ("num_hidden_layers", 4),
            ("num_hidden_layers", 0), ("num_hidden_layers", JSONValue(Int.max)), ("num_attention_heads", 5),
            ("num_key_value_heads", 0), ("num_key_value_heads", 4), ("head_dim", 9), ("vocab_size", 51),
            ("vocab_size", JSONValue(Int.max)), ("intermediate_sizes", [20, 33]), ("intermediate_sizes", [20, 33, 21]),
            ("tie_word_embeddings", false), ("rms_norm_eps", -1), ("hidden_size", "24"), ("eos_token_id", 50),
            ("rope_parameters", ["rope_type": "yarn", "factor": 2]), ("rope_parameters", ["rope_type": "llama3"]),
            ("rope_parameters", ["rope_theta": 0]), ("max_position_embeddings", 0), ("partial_rotary_factor", 0.5),
            ("attention_bias", true), ("num_hidden_layers", 2), ("logits_scaling", 8), ("num_local_experts", 4),
            ("attn_logit_softcapping", 50), ("pretraining_tp", 2), ("rope_interleaved", true), ("a_new_setting", 1),
            ("layer_types", ["full_attention", "chunked_attention", "full_attention"]),
        ]
        for change in changes {
            #expect(throws: LacunaError.self, "\(change)") { try loadAfter { $0[change.key] = change.value } }
        }
        // What says nothing, or nothing else than usual, is no obstacle.
        let harmless: [(key: String, value: JSONValue)] = [
            ("logits_scaling", .null), ("pretraining_tp", 1), ("rope_interleaved", false), ("_name_or_path", "x"),
            ("use_cache", true), ("torch_dtype", "float32"), ("partial_rotary_factor", 1),
        ]
        for change in harmless { _ = try loadAfter { $0[change.key] = change.value } }
        #expect(throws: LacunaError.self) { try Transformer.load("/nowhere/at/all") }
        #expect(throws: LacunaError.self) { try Transformer.load(Fixture.directory + "/llama-tied/model.safetensors") }
    }

    /// A file with more than the configuration says is another model.
    @Test func unknownTensorsAreRefused() throws {
        let decoder = try makeDecoder(seed: 7)
        func load(with name: String, shape: [Int]) throws {
            try withDirectory { path in
                try decoder.save(to: path)
                let file = FileSystem.join(path, "model.safetensors")
                let source = try SafetensorsFile(file)
                let writer = try SafetensorsWriter(file + ".new", metadata: source.metadata)
                for tensor in source.tensors { try writer.write(tensor.name, source.float(tensor.name)) }
                try writer.write(name, Tensor(zeros: shape))
                try writer.finish()
                try FileSystem.remove(file)
                try AtomicFile.write(FileSystem.readBytes(file + ".new"), to: file)
                try FileSystem.remove(file + ".new")
                _ = try Transformer.load(path)
            }
        }
        // A tied head once more, buffers of old files.
        try load(with: "lm_head.weight", shape: [50, 24])
        try load(with: "model.layers.0.self_attn.rotary_emb.inv_freq", shape: [5])
        for (name, shape) in [
            ("model.layers.3.input_layernorm.weight", [24]), ("model.layers.0.self_attn.q_norm.weight", [10]),
            ("lm_head.bias", [50]), ("visual.patch", [1]), ("model.layers.0.mlp.router.weight", [2, 24]),
        ] {
            #expect(throws: LacunaError.self, "\(name)") { try load(with: name, shape: shape) }
        }
    }

    /// Frequencies as transformers computes them (`transformers.modeling_rope_utils`, 5.24): head size 8, base 100.
    @Test func scaledFrequencies() {
        func check(_ scaling: RotaryEmbedding.Scaling, _ expected: [Double]) {
            let found = RotaryEmbedding(.init(base: 100, scaling: scaling), headSize: 8).frequencies
            for (a, b) in zip(found, expected) { #expect(abs(a - b) < 1e-6 * b, "\(scaling): \(found)") }
        }
        check(.none, [1, 0.31622776, 0.1, 0.031622779])
        check(.linear(factor: 4), [0.25, 0.079056941, 0.025, 0.0079056947])
        check(.perFrequency([1, 2, 4, 0.5]), [1, 0.15811388, 0.025, 0.063245553])
        check(
            .llama3(factor: 8, lowFactor: 1, highFactor: 4, originalContext: 32),
            [1, 0.095839977, 0.0125, 0.0039528473])
    }
}
