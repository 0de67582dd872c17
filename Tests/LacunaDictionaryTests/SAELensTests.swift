import LacunaDictionary
import Testing

@testable import LacunaDictionary

/// Dictionaries that the SAELens package wrote, with what it computes (`Scripts/fixtures_dictionary.py`).
@Suite struct SAELensTests {
    static let directory = String(#filePath.dropLast("SAELensTests.swift".count)) + "Fixtures/saelens/"
    static let kinds = [
        "standard", "topk", "topk_rescaled", "abstopk", "jumprelu", "gated", "transcoder", "jumprelu_transcoder",
        "matching_pursuit", "uncentered",
    ]

    private func copy(_ kind: String) throws -> String {
        let directory = try temporaryDirectory()
        for name in ["cfg.json", "sae_weights.safetensors"] {
            try AtomicFile.write(
                try FileSystem.readBytes(Self.directory + kind + "/" + name), to: FileSystem.join(directory, name))
        }
        return directory
    }

    @Test(arguments: kinds) func whatSAELensWroteComputesTheSame(kind: String) throws {
        let a = try SparseAutoencoder.load(Self.directory + kind)
        let expected = try SafetensorsFile(Self.directory + kind + "/expected.safetensors")
        let x = try expected.float("x")
        let code = try a.encode(x)
        // Codes of directions that had to be rescaled are those of other directions.
        if kind != "topk_rescaled" { expectClose(code.densified(), try expected.float("codes"), 1e-5) }
        expectClose(a.decode(code), try expected.float("y"), 1e-5)
        #expect(SparseAutoencoder.isDictionary(Self.directory + kind))
    }

    @Test(arguments: kinds) func roundTrips(kind: String) throws {
        let a = try SparseAutoencoder.load(Self.directory + kind)
        a.origin = DictionaryOrigin(model: "m", site: "3.mlp", contextLength: 64)
        let directory = try temporaryDirectory()
        defer { try? FileSystem.remove(directory) }
        let path = FileSystem.join(directory, "out")
        try a.save(to: path)
        let b = try SparseAutoencoder.load(path)
        #expect(b.origin == a.origin)
        let x = try SafetensorsFile(Self.directory + kind + "/expected.safetensors").float("x")
        #expect(try a.reconstruct(x) == b.reconstruct(x))
        #expect(b.configuration.outputDimensions == a.configuration.outputDimensions)
        let hook = try JSONFields(contentsOf: FileSystem.join(path, "cfg.json")).fields("metadata").string("hook_name")
        #expect(hook == "blocks.3.hook_mlp_out")
    }

    @Test(arguments: [
        SelectionRule.batchTopK(3), .featureChoice(3, profile: .zipf(exponent: 1, shift: 2)),
        .featureChoice(3, profile: .uniform), .jumpReLU(3, bandwidth: 0.25), .gradientAware(3, strength: 2),
    ]) func rulesComeBack(rule: SelectionRule) throws {
        let a = try SparseAutoencoder(.init(inputDimensions: 6, width: 10, rule: rule), seed: 4)
        if let threshold = a.threshold {
            threshold.value = Tensor((0..<threshold.count).map { 0.1 + 0.05 * Float($0) })
        }
        let directory = try temporaryDirectory()
        defer { try? FileSystem.remove(directory) }
        let path = FileSystem.join(directory, "out")
        try a.save(to: path)
        let b = try SparseAutoencoder.load(path)
        #expect(b.rule == rule)
        #expect("\(rule)".contains(", k 3"))
        let x: Tensor<Float> = normal([20, 6], seed: 1)
        expectClose(try a.encode(x).densified(), try b.encode(x).densified(), 1e-6)
        try a.save(to: path, type: .bf16, overwrite: true)
        #expect(
            try SafetensorsFile(FileSystem.join(path, "sae_weights.safetensors")).info("W_enc").type == .scalar(.bf16))
    }

    @Test func signedThresholdsHaveNoName() throws {
        let a = try SparseAutoencoder(.init(inputDimensions: 6, width: 10, rule: .batchAbsTopK(3)), seed: 4)
        #expect(throws: LacunaError.self) { try a.save(to: "/tmp/never-written") }
        #expect(!FileSystem.exists("/tmp/never-written"))
    }

    @Test func whatIsNotUnderstoodIsRefused() throws {
        func refused(_ kind: String, _ old: String, _ new: String, mentions: String) throws {
            let directory = try copy(kind)
            defer { try? FileSystem.remove(directory) }
            let path = FileSystem.join(directory, "cfg.json")
            let text = try FileSystem.readText(path)
            #expect(text.contains(old))
            var parts = text.split(separator: old, maxSplits: 1, omittingEmptySubsequences: false)
            parts.insert(Substring(new), at: 1)
            try AtomicFile.write(parts.joined(), to: path)
            do {
                _ = try SparseAutoencoder.load(directory)
                Issue.record("\(new) is not refused")
            } catch let error as LacunaError {
                #expect(error.description.contains(mentions), "\(error)")
            }
        }
        try refused("topk", "\"architecture\": \"topk\"", "\"architecture\": \"temporal\"", mentions: "temporal")
        try refused("topk", "\"k\": 3", "\"k\": 11", mentions: "11 active features")
        try refused("topk", "\"d_in\": 6", "\"d_in\": 7", mentions: "W_dec")
        try refused("topk", "\"d_sae\": 10", "\"d_sae\": 1000000000", mentions: "width")
        try refused(
            "topk", "\"normalize_activations\": \"none\"", "\"normalize_activations\": \"layer_norm\"",
            mentions: "layer_norm")
        try refused("topk", "\"sae_lens_version\": \"6", "\"sae_lens_version\": \"5", mentions: "version 5")
        try refused(
            "matching_pursuit", "\"residual_threshold\": 0.0", "\"residual_threshold\": 0.5", mentions: "residual")
        // Weights of another kind.
        let directory = try copy("gated")
        defer { try? FileSystem.remove(directory) }
        try AtomicFile.write(
            try FileSystem.readBytes(Self.directory + "standard/cfg.json"), to: FileSystem.join(directory, "cfg.json"))
        #expect(throws: LacunaError.self) { try SparseAutoencoder.load(directory) }
    }
}
