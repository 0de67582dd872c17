import LacunaIO
import LacunaModels
import LacunaTensor
import Testing

/// Small random decoders with the logits that transformers computed from them (`Scripts/fixtures_decoder.py`).
struct Fixture: Sendable, CustomTestStringConvertible {
    let name: String
    let expectedIn: String

    var testDescription: String { name }
    var path: String { Fixture.directory + "/" + name }

    static let directory = #filePath.replacingSuffix("Fixtures.swift", "Fixtures")
    static let directories = ["llama-tied", "llama3", "qwen2", "mistral", "qwen3", "gemma3", "smollm3"].map {
        Fixture(name: $0, expectedIn: $0)
    }
    static let all = directories + [Fixture(name: "llama3.gguf", expectedIn: "llama3")]

    /// The stored tokens and logits [tokens, vocabulary].
    func expected() throws -> (tokens: [Int], logits: Tensor<Float>) {
        let file = try SafetensorsFile(Fixture.directory + "/" + expectedIn + "/expected.safetensors")
        return (try file.integers("tokens"), try file.float("logits"))
    }
}

extension String {
    func replacingSuffix(_ old: String, _ new: String) -> String {
        precondition(hasSuffix(old))
        return String(dropLast(old.count)) + new
    }
}

/// The largest difference, relative to the largest magnitude of the reference.
func relativeError(_ a: Tensor<Float>, _ reference: Tensor<Float>) -> Float {
    precondition(a.shape == reference.shape)
    let largest = reference.scalars.map(abs).max() ?? 0
    return zip(a.scalars, reference.scalars).map { abs($0 - $1) }.max()! / largest
}

/// A random decoder without a file: three layers, grouped heads, sizes that are no multiples of a vector.
func makeDecoder(
    seed: UInt64, intermediateSizes: [Int] = [20, 33, 20], tied: Bool = true, bias: Bool = false,
    slidingWindow: Int? = nil, rotary: RotaryEmbedding.Parameters = .init(), maximumPositions: Int = 64
) throws -> Transformer {
    let configuration = TransformerConfiguration(
        architecture: bias ? .qwen2 : .llama, vocabularySize: 50, hiddenSize: 24,
        intermediateSizes: intermediateSizes, headCount: 6, keyValueHeadCount: 2, headSize: 10,
        maximumPositions: maximumPositions, rotary: rotary, attentionBias: bias, tiedEmbeddings: tied,
        slidingWindow: slidingWindow, beginToken: 1, endTokens: [2, 3])
    return try Transformer(random: configuration, seed: seed)
}
