import LacunaIO
import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor
import Testing

/// The form of a network that is learned against the one that is run, and against PyTorch's gradients.
struct TrainableTests {
    @Test(arguments: Fixture.directories)
    func learnsWhatItRuns(_ fixture: Fixture) throws {
        let decoder = try Transformer.load(fixture.path, weights: .f32)
        let model = try TrainableTransformer(decoder)
        let (tokens, logits) = try fixture.expected()
        let tape = Tape<Float>()
        let found = tape.evaluating { model(tokens.map { Int32($0) }, batch: 1, on: tape) }.value
        #expect(relativeError(found, logits) < 1e-5)
        // Two sequences of a batch are two sequences.
        let both = tape.evaluating { model((tokens[..<9] + tokens[..<9]).map { Int32($0) }, batch: 2, on: tape) }.value
        #expect(relativeError(both.rows(0..<9), logits.rows(0..<9)) < 1e-5)
        #expect(relativeError(both.rows(9..<18), logits.rows(0..<9)) < 1e-5)
        #expect(relativeError(try model.stored().logits(tokens), logits) < 1e-5)
    }

    /// Gradients of every weight, by the names that the checkpoint gives them.
    @Test(arguments: Fixture.directories, [false, true])
    func gradientsEqualPyTorch(_ fixture: Fixture, recomputes: Bool) throws {
        let model = try TrainableTransformer(Transformer.load(fixture.path, weights: .f32))
        model.recomputesBlocks = recomputes
        let file = try SafetensorsFile(fixture.path + "/gradients.safetensors")
        let tokens = try fixture.expected().tokens.map { Int32($0) }
        let tape = Tape<Float>()
        let loss = model.loss(tokens, next: tokens.dropFirst() + [-1], batch: 1, on: tape)
        #expect(abs(loss.item - (try file.float("loss")[0])) < 1e-5 * loss.item)
        tape.backward(from: loss)
        var names = Set(["loss"])
        for (name, parameter) in model.namedParameters {
            let expected = try file.float(name, shape: parameter.shape)
            let gradient = try #require(parameter.gradient, "\(name)")
            #expect(relativeError(gradient, expected) < 1e-4, "\(name)")
            names.insert(name)
        }
        #expect(names == Set(file.names))
    }

    @Test(arguments: Fixture.directories)
    func whatIsSavedIsWhatWasLearned(_ fixture: Fixture) throws {
        let model = try TrainableTransformer(Transformer.load(fixture.path, weights: .f32))
        let ids = try fixture.expected().tokens.map { Int32($0) }
        let tape = Tape<Float>()
        let optimizer = SGD(learningRate: 0.05)
        var losses: [Float] = []
        for _ in 0..<4 {
            model.clearGradients()
            let loss = model.loss(ids, next: ids.dropFirst() + [-1], batch: 1, on: tape)
            losses.append(loss.item)
            tape.backward(from: loss)
            Parameter.clipGradients(model.parameters, norm: 1)
            optimizer.step(model.parameters)
        }
        #expect(losses[3] < losses[0])
        let path = "/tmp/lacuna-trained-\(UInt64.random(in: 0...UInt64.max))"
        defer { try? FileSystem.remove(path) }
        try model.stored().save(to: path)
        let loaded = try Transformer.load(path)
        #expect(loaded.configuration == model.configuration)
        let expected = tape.evaluating { model(ids, batch: 1, on: tape) }.value
        #expect(relativeError(try loaded.logits(ids.map { Int($0) }), expected) < 1e-4)
    }

    @Test func formsOfWeights() throws {
        let dense = try makeDecoder(seed: 1, tied: false)
        let sparse = try dense.sparsified { name, matrix in
            let weight = matrix.densified()
            let mask = SparsePattern(rows: weight.rows, columns: weight.columns) { ($0 + $1) % 3 != 0 }
            return try WeightStore.make(weight, mask: mask, layout: .bitmask, values: .f32)
        }
        let ids: [Int32] = [3, 1, 4, 1, 5, 9]
        let forms: [(String, TrainableTransformer.WeightForm)] = [
            ("dense", TrainableTransformer.dense), ("masked", TrainableTransformer.masked),
            ("sparse", TrainableTransformer.sparse), ("frozen", TrainableTransformer.frozen),
        ]
        let expected = try sparse.logits(ids.map { Int($0) })
        for (name, form) in forms {
            let model = try TrainableTransformer(sparse, weight: form)
            let tape = Tape<Float>()
            #expect(relativeError(model(ids, batch: 1, on: tape).value, expected) < 1e-5, "\(name)")
            tape.reset()
            tape.backward(from: model.loss(ids, next: ids.reversed(), batch: 1, on: tape))
            SGD(learningRate: 0.1).step(model.parameters)
            let stored = try model.stored()
            #expect(relativeError(try stored.logits(ids.map { Int($0) }), expected) > 1e-4, "\(name) learned nothing")
            // What was left out stays out, except where everything is trained.
            let sparsity = name == "dense" ? 0 : sparse.linearSparsity
            #expect(abs(stored.linearSparsity - sparsity) < 1e-9, "\(name)")
            let tables = model.embedding.weight.parameters.count + (model.head?.parameters.count ?? 0)
            #expect(tables == (name == "frozen" ? 0 : 2))
        }
    }

    /// A frozen model of 4-bit blocks learns through a few numbers beside it.
    @Test func lowRankUpdatesOfAFrozenModel() throws {
        let decoder = try makeDecoder(seed: 2).sparsified { _, matrix in
            try WeightStore.make(matrix.densified(), layout: .dense, values: .int4)
        }
        let model = try TrainableTransformer(decoder, weight: TrainableTransformer.frozen)
        var generator = SeededGenerator(seed: 1)
        try model.replaceWeights(matching: "model.layers.*_proj") { _, base in
            UpdatedWeight.lowRank(of: base, rank: 2, alpha: 4, using: &generator)
        }
        try model.apply([ParameterGroup("*norm.weight", isFrozen: true)])
        #expect(model.trainableParameters.count == 2 * 21)
        #expect(model.namedParameters.map(\.name).contains("model.layers.2.mlp.down_proj.weight.0.a"))
        let ids: [Int32] = (0..<32).map { Int32($0 * 7 % 50) }
        let tape = Tape<Float>()
        let optimizer = Adam(learningRate: 0.02)
        var losses: [Float] = []
        for _ in 0..<30 {
            model.clearGradients()
            let loss = model.loss(ids, next: ids.dropFirst() + [3], batch: 2, on: tape)
            losses.append(loss.item)
            tape.backward(from: loss)
            optimizer.step(model.parameters)
        }
        #expect(losses.last! < 0.7 * losses[0], "\(losses[0]) to \(losses.last!)")
    }

    @Test func randomNetworksLearnFromTheirStart() throws {
        var generator = SeededGenerator(seed: 3)
        let configuration = TransformerConfiguration(
            vocabularySize: 20, hiddenSize: 16, intermediateSizes: [24, 24], headCount: 4, keyValueHeadCount: 2,
            headSize: 4, maximumPositions: 16, tiedEmbeddings: true)
        let model = try TrainableTransformer(configuration, dropout: 0.1, using: &generator)
        #expect(model.outputLayer == nil && model.linears.count == 14)
        let scales = model.namedParameters.filter { $0.parameter.shape.count == 2 }.map { name, parameter in
            let values = parameter.value.scalars
            return (name, (values.reduce(0) { $0 + $1 * $1 } / Float(values.count)).squareRoot())
        }
        for (name, scale) in scales {
            let isEnd = name.hasSuffix("o_proj.weight") || name.hasSuffix("down_proj.weight")
            #expect(abs(scale - (isEnd ? 0.01 : 0.02)) < 0.003, "\(name): \(scale)")
        }
        let tape = Tape<Float>()
        let ids: [Int32] = (0..<16).map { Int32($0 % 4) }
        func loss() -> Variable<Float> { model.loss(ids, next: ids.map { ($0 + 1) % 4 }, batch: 2, on: tape) }
        #expect(abs(tape.evaluating { loss().item } - 2.9957) < 0.03)
        // Dropout is there while training alone.
        #expect(tape.withoutRecording { loss().item != loss().item })
        #expect(tape.evaluating { loss().item == loss().item })
        let optimizer = Adam(learningRate: 0.01)
        for _ in 0..<60 {
            model.clearGradients()
            tape.backward(from: loss())
            optimizer.step(model.parameters)
        }
        #expect(tape.evaluating { loss().item } < 0.3)
        #expect(throws: LacunaError.self) {
            var broken = configuration
            broken.headSize = 3
            _ = try TrainableTransformer(broken, using: &generator)
        }
        #expect(throws: LacunaError.self) {
            try TrainableTransformer(makeDecoder(seed: 4, rotary: .init(layout: .interleaved)))
        }
    }

    @Test func costsAreCounted() throws {
        var generator = SeededGenerator(seed: 5)
        let configuration = TransformerConfiguration(
            vocabularySize: 11, hiddenSize: 8, intermediateSizes: [12, 12], headCount: 2, keyValueHeadCount: 1,
            headSize: 4, maximumPositions: 6, tiedEmbeddings: true)
        let model = try TrainableTransformer(configuration, using: &generator)
        let ids = [Int32](repeating: 1, count: 12)
        let tape = Tape<Float>()
        let cost = Ledger(model, on: tape) { _ = model(ids, batch: 2, on: tape) }
        // A block: queries and output 8 x 8, keys and values 4 x 8, three of 12 x 8; attention 2 T² d a head.
        let linear = 2 * 64 + 2 * 32 + 3 * 96
        #expect(cost.activeMultiplyAdds == 12 * (2 * linear + 11 * 8) + 2 * 2 * (2 * 2 * 6 * 6 * 4))
        #expect(cost.activeMultiplyAdds == tape.multiplyAdds)
    }
}
