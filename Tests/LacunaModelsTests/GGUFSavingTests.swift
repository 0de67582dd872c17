import LacunaIO
import LacunaModels
import LacunaSparse
import LacunaTensor
import Testing

/// Decoders written as GGUF files and loaded again.
struct GGUFSavingTests {
    private let tokens = [5, 1, 44, 3, 20, 31, 7]

    private func path() -> String { "/tmp/lacuna-gguf-\(String(UInt64.random(in: 0 ... .max), radix: 36)).gguf" }

    /// Loaded again; what is mapped outlives the file.
    private func saved(
        _ decoder: Transformer, _ weights: GGUFWeights? = nil, source: GGUFFile? = nil
    ) throws -> (loaded: Transformer, file: GGUFFile) {
        let path = path()
        defer { try? FileSystem.remove(path) }
        try decoder.saveGGUF(to: path, weights: weights, source: source)
        return (try Transformer.load(path), try GGUFFile(path))
    }

    /// Rows in the file's own order, biases, frequencies, widths that differ: the same logits.
    @Test(arguments: [false, true]) func floatsComeBackExactly(bias: Bool) throws {
        let scaling = RotaryEmbedding.Scaling.llama3(factor: 8, lowFactor: 1, highFactor: 4, originalContext: 16)
        for rotary in [
            RotaryEmbedding.Parameters(base: 5000), .init(scaling: .linear(factor: 2)), .init(scaling: scaling),
        ] {
            let decoder = try makeDecoder(seed: 31, tied: bias, bias: bias, rotary: rotary)
            let expected = try decoder.logits(tokens)
            let exact = try saved(decoder)
            let bound: Float = rotary.scaling == scaling ? 1e-5 : 1e-7
            #expect(relativeError(try exact.loaded.logits(tokens), expected) < bound)
            #expect(exact.loaded.configuration.intermediateSizes == [20, 33, 20])
            #expect(exact.loaded.configuration.maximumPositions == 64 && exact.file.contains("output.weight") != bias)
            let short = try saved(decoder, .bf16)
            #expect(relativeError(try short.loaded.logits(tokens), expected) < 0.05)
            #expect(try short.file.info("blk.0.attn_q.weight").type == .scalar(.bf16))
            #expect(try short.file.info("blk.0.attn_norm.weight").type == .scalar(.f32))
        }
    }

    /// Blocks where rows divide into them, f16 elsewhere; a file's own blocks bit by bit, into a second file and back.
    @Test func blocksComeBackBitByBit() throws {
        let configuration = TransformerConfiguration(
            vocabularySize: 50, hiddenSize: 64, intermediateSizes: [96, 40], headCount: 4, keyValueHeadCount: 2,
            headSize: 16, maximumPositions: 64, tiedEmbeddings: true)
        let decoder = try Transformer(random: configuration, seed: 32)
        let expected = try decoder.logits(tokens)
        for weights in [GGUFWeights.q80, .q40] {
            let (loaded, file) = try saved(decoder, weights)
            #expect(relativeError(try loaded.logits(tokens), expected) < (weights == .q80 ? 0.03 : 0.4))
            #expect(try file.info("blk.0.ffn_down.weight").type.description == weights.rawValue)
            #expect(try file.info("blk.1.ffn_down.weight").type == .scalar(.f16))
            #expect(try file.info("token_embd.weight").type == .block(.q80))
            let second = try saved(loaded, source: file).file
            #expect(second.names == file.names)
            for name in file.names {
                #expect(try second.bytes(of: name).elementsEqual(file.bytes(of: name)), "\(name)")
            }
        }
    }

    /// What pruning left out is zeros in the file, and the rest as it was.
    @Test func sparseMatricesBecomeDense() throws {
        let decoder = try makeDecoder(seed: 33)
        let sparse = try decoder.sparsified { _, matrix in
            let weight = matrix.densified()
            let scores = Tensor(weight.scalars.map { abs($0) }, shape: weight.shape)
            let mask = try Selection.mask(scores: scores, pattern: .unstructured(.layer), sparsity: 0.5)
            return try WeightStore.make(weight, mask: mask, layout: .bitmask, values: .f32)
        }
        let (loaded, file) = try saved(sparse)
        #expect(relativeError(try loaded.logits(tokens), try sparse.logits(tokens)) < 1e-5)
        let weight = try file.float("blk.0.ffn_up.weight")
        #expect(abs(Double(weight.scalars.count { $0 == 0 }) / Double(weight.count) - 0.5) < 0.01)
        #expect(try file.info("blk.0.ffn_up.weight").type == .scalar(.f32))
    }

    /// Names, licence and tokenizer of a file go along; what describes the network is that of the network.
    @Test func metadataOfTheSourceGoAlong() throws {
        let source = try GGUFFile(Fixture.directory + "/llama3.gguf")
        let decoder = try Transformer.load(source.path)
        let (loaded, file) = try saved(decoder, source: source)
        for key in source.metadataKeys where key.hasPrefix("tokenizer.") || key == "general.name" {
            #expect(file.encodedValue(key) == source.encodedValue(key), "\(key)")
        }
        let (tokens, logits) = try Fixture.all.last!.expected()
        #expect(relativeError(try loaded.logits(tokens), logits) < 1e-3)
    }

    /// What was read of a file that others wrote is written as it was there, and the same from a directory.
    @Test func gemmaComesBack() throws {
        let folder = Fixture.directory + "/gemma3-gguf"
        let source = try GGUFFile(folder + "/model.gguf")
        let decoder = try Transformer.load(source.path)
        let tokens = (0..<30).map { $0 * 7 % 40 }
        let expected = try decoder.logits(tokens)
        let (loaded, file) = try saved(decoder)
        #expect(loaded.configuration == decoder.configuration)
        #expect(relativeError(try loaded.logits(tokens), expected) < 1e-6)
        #expect(Set(file.names) == Set(source.names))
        for name in source.names { #expect(try file.float(name) == source.float(name), "\(name)") }
        for key in source.metadataKeys where key.hasPrefix("gemma3.") {
            #expect(file[key] != nil, "\(key)")
        }
        let again = try saved(Transformer.load(folder))
        let error = relativeError(try again.loaded.logits(tokens), expected)
        #expect(error < 1e-4, "\(error)")
    }

    @Test func otherNetworksAreRefused() throws {
        let path = path()
        #expect(throws: LacunaError.self) { try makeDecoder(seed: 1, slidingWindow: 4).saveGGUF(to: path) }
        // Layers in another order than those of the published models.
        let gemma = try Transformer.load(Fixture.directory + "/gemma3")
        #expect(throws: LacunaError.self) { try gemma.saveGGUF(to: path) }
        #expect(!FileSystem.exists(path))
    }
}
