import LacunaLearn
import LacunaTensor

/// The sizes and constants of a decoder.
///
/// One value describes Llama 2 and 3, SmolLM2 and 3, Qwen2, 2.5 and 3, Mistral, the text models of Gemma 3, and GPT-2; what
/// differs between them is optional here.
public struct TransformerConfiguration: Sendable, Equatable {
    /// Which published architecture a checkpoint follows. Decides its name in `config.json` and how its files are laid
    /// out; the arithmetic follows from the other properties alone.
    public enum Architecture: String, Sendable, CaseIterable {
        /// Named as `model_type` of `config.json` has them.
        case llama, qwen2, qwen3, mistral, smollm3, gpt2
        /// The text models of Gemma 3.
        case gemma3 = "gemma3_text"
    }

    /// Which published architecture it is.
    public var architecture: Architecture = .llama
    /// Rows of the embedding table.
    public var vocabularySize: Int
    /// Width of the residual stream.
    public var hiddenSize: Int
    /// Width of each layer's feed-forward part. Structured pruning makes them differ.
    public var intermediateSizes: [Int]
    /// Query heads.
    public var headCount: Int
    /// Key and value heads; a divisor of `headCount`.
    public var keyValueHeadCount: Int
    /// Entries of one head's query, key and value vector. Even.
    public var headSize: Int
    /// Positions that the model was trained for.
    public var maximumPositions: Int
    /// Added to the mean square in every RMS norm.
    public var normEpsilon: Float
    /// The rotation of queries and keys, where positions are rotations.
    public var rotary: RotaryEmbedding.Parameters
    /// Whether the query, key and value projections have a bias (Qwen2).
    public var attentionBias: Bool
    /// Whether the output projection of attention has a bias (GPT-2). One that a file has beside is read all the same.
    public var attentionOutputBias = false
    /// Whether the layers of the feed-forward parts have a bias.
    public var feedForwardBias = false
    /// Whether the output head is the embedding table.
    public var tiedEmbeddings: Bool
    /// How many positions back a query sees, itself included; nil for all (Mistral).
    public var slidingWindow: Int?
    /// Which layers have the sliding window, if there is one; nil for all of them.
    public var windowedLayers: [Bool]?
    /// The rotation in layers with a window, if it is another one (Gemma 3).
    public var windowedRotary: RotaryEmbedding.Parameters?
    /// Which layers rotate queries and keys; nil for all of them (SmolLM3 leaves every fourth out).
    public var rotatedLayers: [Bool]?
    /// The function in the feed-forward parts: `silu`, `gelu`, `geluExact` or `relu`.
    public var activation: Activation = .silu
    /// Whether the feed-forward parts have gates: `down(f(gate x) · up x)`, otherwise `down(f(up x))` (GPT-2).
    public var hasGates = true
    /// Whether norms are layer norms, with biases, rather than RMS norms (GPT-2).
    public var usesLayerNorms = false
    /// Whether positions are a learned table, added to the embeddings, and nothing is rotated (GPT-2).
    public var learnsPositions = false
    /// Whether every head's query and key is RMS-normalised before rotation (Qwen3, Gemma 3).
    public var normalizesHeads = false
    /// Whether what attention and the feed-forward part give is normalised before it is added (Gemma 3).
    public var normalizesOutputs = false
    /// What attention scores are multiplied by; nil for `1 / √headSize`.
    public var attentionScale: Double?
    /// What embeddings are multiplied by, the output head not (Gemma 3).
    public var embeddingScale: Float = 1
    /// The token that begins a text; nil for none.
    public var beginToken: Int?
    /// Tokens that end a text; the first is the one to write into files that keep a single one.
    public var endTokens: [Int]

    /// A configuration of the Llama family; what other architectures have besides is set afterwards.
    /// ``validate(file:)`` says whether the numbers go together.
    public init(
        architecture: Architecture = .llama, vocabularySize: Int, hiddenSize: Int, intermediateSizes: [Int],
        headCount: Int, keyValueHeadCount: Int, headSize: Int, maximumPositions: Int, normEpsilon: Float = 1e-5,
        rotary: RotaryEmbedding.Parameters = .init(), attentionBias: Bool = false, tiedEmbeddings: Bool = false,
        slidingWindow: Int? = nil, beginToken: Int? = nil, endTokens: [Int] = []
    ) {
        self.architecture = architecture
        self.vocabularySize = vocabularySize
        self.hiddenSize = hiddenSize
        self.intermediateSizes = intermediateSizes
        self.headCount = headCount
        self.keyValueHeadCount = keyValueHeadCount
        self.headSize = headSize
        self.maximumPositions = maximumPositions
        self.normEpsilon = normEpsilon
        self.rotary = rotary
        self.attentionBias = attentionBias
        self.tiedEmbeddings = tiedEmbeddings
        self.slidingWindow = slidingWindow
        self.beginToken = beginToken
        self.endTokens = endTokens
    }

    /// Blocks.
    public var layerCount: Int { intermediateSizes.count }
    /// Entries of all query heads together.
    public var queryWidth: Int { headCount * headSize }
    /// Entries of all key (or value) heads together.
    public var keyValueWidth: Int { keyValueHeadCount * headSize }

    /// How many positions back a query of a layer sees, itself included; nil for all.
    public func window(layer: Int) -> Int? { windowedLayers?[layer] ?? true ? slidingWindow : nil }

    /// Whether a layer rotates queries and keys.
    public func isRotated(layer: Int) -> Bool { !learnsPositions && (rotatedLayers?[layer] ?? true) }

    /// The rotation of layers without a window, or of all, and that of layers with one.
    var rotations: [RotaryEmbedding.Parameters] {
        learnsPositions ? [] : [rotary] + (windowedRotary.map { [$0] } ?? [])
    }

    /// Whether files hold norm weights less 1 (Gemma 3).
    var storesNormsFromZero: Bool { architecture == .gemma3 }

    /// Checks that the numbers are those of a model that could exist, so that nothing later overflows or divides by 0.
    ///
    /// - Parameter file: Named in the error.
    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` naming the first property that is out of range.
    public func validate(file: String) throws {
        func require(_ condition: Bool, _ location: String, _ reason: String) throws {
            if !condition { throw LacunaError.malformed(file: file, location: location, reason: reason) }
        }
        // What `config.json` says with the name alone.
        let isGPT2 = architecture == .gpt2
        try require(
            [learnsPositions, usesLayerNorms, !hasGates].allSatisfy { $0 == isGPT2 }, "architecture",
            "learned positions, layer norms and feed-forward parts without gates are those of GPT-2, and go together")
        let sizes: [(String, Int, Int)] = [
            ("vocabulary size", vocabularySize, 1 << 24), ("hidden size", hiddenSize, 1 << 20),
            ("layer count", layerCount, 1 << 12), ("head count", headCount, 1 << 14),
            ("key/value head count", keyValueHeadCount, 1 << 14), ("head size", headSize, 1 << 14),
            ("maximum positions", maximumPositions, 1 << 30),
        ]
        for (name, value, limit) in sizes {
            try require(value >= 1 && value <= limit, name, "\(value) is not in 1...\(limit)")
        }
        for (layer, size) in intermediateSizes.enumerated() {
            try require(size >= 1 && size <= 1 << 22, "layer \(layer): intermediate size", "\(size) is out of range")
        }
        try require(
            headCount % keyValueHeadCount == 0, "key/value head count",
            "\(headCount) query heads cannot share \(keyValueHeadCount) key/value heads evenly")
        try require(
            headSize % 2 == 0 || learnsPositions, "head size",
            "\(headSize) is odd, so positions cannot be rotated in pairs")
        try require(
            !learnsPositions || maximumPositions <= 1 << 24, "maximum positions",
            "\(maximumPositions) is too long for a table of positions")
        try require(normEpsilon >= 0 && normEpsilon < 1, "norm epsilon", "\(normEpsilon) is not in 0..<1")
        if let slidingWindow { try require(slidingWindow >= 1, "sliding window", "\(slidingWindow) is not positive") }
        for token in endTokens + [beginToken].compactMap(\.self) {
            try require(
                token >= 0 && token < vocabularySize, "special token", "\(token) is outside the vocabulary")
        }
        try require(
            windowedLayers == nil || (windowedLayers!.count == layerCount && slidingWindow != nil), "sliding window",
            "\(windowedLayers?.count ?? 0) choices for \(layerCount) layers")
        try require(
            rotatedLayers == nil || rotatedLayers!.count == layerCount, "rotated layers",
            "\(rotatedLayers?.count ?? 0) choices for \(layerCount) layers")
        try require(
            [.silu, .gelu, .geluExact, .relu].contains(activation), "activation",
            "'\(activation.rawValue)' is no function of a feed-forward part")
        try require(attentionScale ?? 1 > 0 && (attentionScale ?? 1).isFinite, "attention scale", "is not positive")
        try require(embeddingScale > 0 && embeddingScale.isFinite, "embedding scale", "is not positive")
        for rotation in rotations { try rotation.validate(headSize: headSize, file: file) }
    }
}
