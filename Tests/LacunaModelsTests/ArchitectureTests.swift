import LacunaIO
import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor
import Testing

/// Small random GPT-2, ViT and DeiT against what transformers computes from them (`Scripts/fixtures_architectures.py`).
@Suite struct ArchitectureTests {
    private func folder(_ name: String) -> String { Fixture.directory + "/" + name }

    private func inFolder(_ body: (String) throws -> Void) throws {
        let path = "/tmp/lacuna-architecture-\(UInt64.random(in: 0...UInt64.max))"
        defer { try? FileSystem.remove(path) }
        try body(path)
    }

    /// Gradients equal the stored ones, parameter by parameter.
    private func check(_ model: any Module, _ name: String) throws {
        let slopes = try SafetensorsFile(folder(name) + "/gradients.safetensors")
        #expect(Set(model.namedParameters.map(\.name)) == Set(slopes.names))
        for (name, parameter) in model.namedParameters {
            let slope = try slopes.float(name, shape: parameter.shape)
            let gradient = try #require(parameter.gradient, "\(name)")
            // A bias of keys moves all scores of a query alike: its gradient is 0 but for rounding.
            let scale = max(slope.scalars.map(abs).max()!, 1e-2)
            let error = zip(gradient.scalars, slope.scalars).map { abs($0 - $1) }.max()! / scale
            #expect(error < 1e-3, "\(name): \(error)")
        }
    }

    @Test func gpt2() throws {
        let file = try SafetensorsFile(folder("gpt2") + "/expected.safetensors")
        let model = try Transformer.load(folder("gpt2"))
        let tokens = try file.integers("tokens")
        let texts = [Array(tokens[..<14]), Array(tokens[14...])]
        let expected = try file.float("logits").reshaped([28, 60])
        for (index, text) in texts.enumerated() {
            #expect(relativeError(try model.logits(text), expected.rows(index * 14..<index * 14 + 14)) < 1e-4)
        }
        #expect(model.linearNames.count == 12 && model.linearNames[0] == "transformer.h.0.attn.q_proj.weight")
        #expect(model.parameterCount == 60 * 24 + 20 * 24 + 2 * (4 * 24 * 25 + 2 * 24 * 40 + 40 + 24 + 4 * 24) + 48)

        let trainable = try TrainableTransformer(model)
        let ids = tokens.map { Int32($0) }
        let next = texts.flatMap { text -> [Int32] in text.dropFirst().map { Int32($0) } + [-1] }
        let tape = Tape<Float>()
        let loss = trainable.loss(ids, next: next, batch: 2, on: tape)
        #expect(abs(loss.item - (try file.float("loss")[0])) < 1e-4 * loss.item)
        tape.backward(from: loss)
        try check(trainable, "gpt2")
        // A step changes it; what is stored then is what it computes, and survives its file.
        SGD(learningRate: 0.1).step(trainable.parameters)
        let changed = tape.evaluating { trainable(ids, batch: 2, on: tape) }.value
        #expect(relativeError(changed, expected) > 1e-3)
        let stored = try trainable.stored()
        let first = changed.rows(0..<14)
        #expect(relativeError(try stored.logits(texts[0]), first) < 1e-4)
        try inFolder { path in
            try stored.save(to: path)
            let loaded = try Transformer.load(path)
            #expect(loaded.configuration == model.configuration)
            #expect(relativeError(try loaded.logits(texts[0]), first) < 1e-4)
            // The files of both have the same tensors.
            #expect(
                try Set(SafetensorsFile(path + "/model.safetensors").names)
                    == Set(SafetensorsFile(folder("gpt2") + "/model.safetensors").names))
        }
        for bad in [[60], [-1], Array(repeating: 1, count: 21)] {
            #expect(throws: LacunaError.self) { try model.logits(bad) }
        }
    }

    /// The engine adds each row's own position, whatever stands beside it: a prompt, single tokens, two sequences in a step.
    @Test func gpt2InTheEngine() throws {
        let model = try Transformer.load(folder("gpt2"))
        let file = try SafetensorsFile(folder("gpt2") + "/expected.safetensors")
        let tokens = try file.integers("tokens")
        let expected = try file.float("logits").reshaped([28, 60])
        let engine = TokenEngine(model)
        let (a, b) = (try engine.addSequence(context: 20), try engine.addSequence(context: 20))
        var batch = TokenBatch()
        batch.append(tokens[..<5], sequence: a, at: 0)
        batch.append(tokens[14..<23], sequence: b, at: 0)
        var logits = try engine.step(batch)
        #expect(relativeError(logits.rows(0..<1), expected.rows(4..<5)) < 1e-4)
        #expect(relativeError(logits.rows(1..<2), expected.rows(22..<23)) < 1e-4)
        for i in 0..<5 {
            var batch = TokenBatch()
            batch.append([tokens[5 + i]], sequence: a, at: 5 + i)
            batch.append([tokens[23 + i]], sequence: b, at: 9 + i)
            logits = try engine.step(batch)
            #expect(relativeError(logits.rows(0..<1), expected.rows(5 + i..<6 + i)) < 1e-4)
            #expect(relativeError(logits.rows(1..<2), expected.rows(23 + i..<24 + i)) < 1e-4)
        }
        #expect(throws: LacunaError.self) { try engine.addSequence(context: 21) }
    }

    /// A sparse GPT-2 keeps its layers one by one, and is what it was when it comes back.
    @Test func sparseGPT2() throws {
        let model = try Transformer.load(folder("gpt2")).sparsified { _, matrix in
            let weight = matrix.densified()
            let mask = SparsePattern(rows: weight.rows, columns: weight.columns) { ($0 + $1) % 3 == 0 }
            return try WeightStore.make(weight, mask: mask, layout: .bitmask, values: .f32)
        }
        try inFolder { path in
            try model.save(to: path)
            let loaded = try Transformer.load(path)
            #expect(loaded.linearSparsity == model.linearSparsity && loaded.linearSparsity > 0.6)
            #expect(relativeError(try loaded.logits([3, 1, 4]), try model.logits([3, 1, 4])) < 1e-6)
        }
        #expect(throws: LacunaError.self) { try model.saveGGUF(to: "/tmp/no-gpt2.gguf") }
        var sliced = model
        let whole = sliced.blocks[0].feedForward
        #expect(throws: LacunaError.self) {
            try sliced.replaceFeedForward(
                layer: 0, with: FeedForward(gate: whole.up, up: whole.up, down: whole.down, activation: .gelu))
        }
    }

    @Test(arguments: ["vit", "deit"]) func vision(name: String) throws {
        let file = try SafetensorsFile(folder(name) + "/expected.safetensors")
        let model = try ViT.load(folder(name))
        #expect(model.configuration.classes == ["LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3"])
        let pixels = try file.float("pixels", shape: [3, 3, 12, 12])
        let expected = try file.float("logits", shape: [3, 4])
        #expect(relativeError(try model.logits(pixels), expected) < 1e-4)

        let trainable = try TrainableViT(model)
        let tape = Tape<Float>()
        let labels = try file.integers("labels").map { Int32($0) }
        let loss = Loss.crossEntropy(trainable(tape.constant(pixels)), labels: labels)
        #expect(abs(loss.item - (try file.float("loss")[0])) < 1e-4 * loss.item)
        tape.backward(from: loss)
        try check(trainable, name)
        SGD(learningRate: 0.05).step(trainable.parameters)
        let changed = tape.evaluating { trainable(tape.constant(pixels)) }.value
        #expect(relativeError(changed, expected) > 1e-3)
        let stored = try trainable.stored()
        #expect(relativeError(try stored.logits(pixels), changed) < 1e-4)
        try inFolder { path in
            try stored.save(to: path)
            let loaded = try ViT.load(path)
            #expect(relativeError(try loaded.logits(pixels), changed) < 1e-4)
            #expect(loaded.configuration == model.configuration)
            #expect(
                try Set(SafetensorsFile(path + "/model.safetensors").names)
                    == Set(SafetensorsFile(folder(name) + "/model.safetensors").names))
        }
        #expect(throws: LacunaError.self) { try model.logits(Tensor(zeros: [1, 3, 12, 8])) }
    }

    /// One model in two files, the second with names of the `gguf` package and what GGUF leaves to the reader
    /// (`Scripts/fixtures_gemma_gguf.py`).
    @Test func gemmaFromGGUF() throws {
        let path = folder("gemma3-gguf")
        let (directory, file) = (try Transformer.load(path), try Transformer.load(path + "/model.gguf"))
        var expected = directory.configuration
        // The file says nothing of these two.
        expected.endTokens = file.configuration.endTokens
        #expect(file.configuration == expected)
        #expect(file.configuration.windowedLayers == [true, true, true, true, true, false, true])
        // Longer than the window of 5, so that the layer without one shows.
        let tokens = (0..<30).map { $0 * 7 % 40 }
        #expect(relativeError(try file.logits(tokens), try directory.logits(tokens)) < 1e-5)
    }

    /// A masked weight of any architecture goes back sparse.
    @Test func sparseWeightsAreStoredSparse() throws {
        let model = try TrainableViT(ViT.load(folder("vit")))
        for (index, entry) in model.linears.enumerated() where index % 2 == 0 {
            var mask = SparsePattern(rows: entry.layer.outputDimensions, columns: entry.layer.inputDimensions)
            for r in 0..<mask.rows { for c in 0..<mask.columns where (r + c) % 3 == 0 { mask[r, c] = true } }
            try entry.layer.sparsify(.masked, mask: mask)
        }
        let stored = try model.stored()
        let tape = Tape<Float>()
        let pixels = Tensor<Float>(repeating: 0.5, shape: [1, 3, 12, 12])
        let expected = tape.evaluating { model(tape.constant(pixels)) }.value
        #expect(relativeError(try stored.logits(pixels), expected) < 1e-4)
        try inFolder { path in
            try stored.save(to: path)
            #expect(relativeError(try ViT.load(path).logits(pixels), expected) < 1e-4)
        }
    }

    @Test func bertIsSaved() throws {
        let model = try BERT.load(folder("bert"))
        try inFolder { path in
            try model.save(to: path)
            let again = try BERT.load(path)
            let hidden = try model.hiddenStates([[1, 5, 9], [4]])
            #expect(relativeError(try again.hiddenStates([[1, 5, 9], [4]]), hidden) == 0)
            #expect(relativeError(try again.maskedLogits(hidden), try model.maskedLogits(hidden)) == 0)
            #expect(again.configuration == model.configuration)
        }
    }

    @Test func otherSettingsAreRefused() throws {
        func fields(_ name: String, _ key: String, _ value: JSONValue) throws -> JSONFields {
            var object = try JSONFields(contentsOf: folder(name) + "/config.json").object
            object[key] = value
            return try JSONFields(.object(object), file: "config.json")
        }
        for (key, value): (String, JSONValue) in [
            ("scale_attn_by_inverse_layer_idx", true), ("model_type", "gpt3"), ("n_head", 5), ("n_layer", 0),
            ("new_setting", 1), ("activation_function", "tanhh"), ("add_cross_attention", true),
        ] {
            #expect(throws: LacunaError.self, "\(key)") { try TransformerConfiguration(fields("gpt2", key, value)) }
        }
        for (key, value): (String, JSONValue) in [
            ("patch_size", 5), ("hidden_size", 0), ("model_type", "bert"), ("new_setting", 1),
        ] {
            #expect(throws: LacunaError.self, "\(key)") { try ViTConfiguration(fields("vit", key, value)) }
        }
        _ = try TransformerConfiguration(fields("gpt2", "use_cache", false))
    }
}
