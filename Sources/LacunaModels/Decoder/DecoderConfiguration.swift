import LacunaTensor

/// The sizes and constants of a decoder of the Llama family.
///
/// One value describes Llama 2 and 3, SmolLM2, Qwen2 and 2.5, and Mistral; what differs between them is optional here.
public struct DecoderConfiguration: Sendable, Equatable {
    /// Which published architecture a checkpoint follows. Decides its name in `config.json` and how its files are laid
    /// out; the arithmetic follows from the other properties alone.
    public enum Architecture: String, Sendable, CaseIterable {
        case llama, qwen2, mistral
    }

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
    public var rotary: RotaryEmbedding.Parameters
    /// Whether the query, key and value projections have a bias (Qwen2).
    public var attentionBias: Bool
    /// Whether the output head is the embedding table.
    public var tiedEmbeddings: Bool
    /// How many positions back a query sees, itself included; nil for all (Mistral).
    public var slidingWindow: Int?
    public var beginToken: Int?
    /// Tokens that end a text; the first is the one to write into files that keep a single one.
    public var endTokens: [Int]

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

    public var layerCount: Int { intermediateSizes.count }
    /// Entries of all query heads together.
    public var queryWidth: Int { headCount * headSize }
    /// Entries of all key (or value) heads together.
    public var keyValueWidth: Int { keyValueHeadCount * headSize }

    /// Checks that the numbers are those of a model that could exist, so that nothing later overflows or divides by 0.
    ///
    /// - Parameter file: Named in the error.
    /// - Throws: ``LacunaError/malformed(file:location:reason:)`` naming the first property that is out of range.
    public func validate(file: String) throws {
        func require(_ condition: Bool, _ location: String, _ reason: String) throws {
            if !condition { throw LacunaError.malformed(file: file, location: location, reason: reason) }
        }
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
        try require(headSize % 2 == 0, "head size", "\(headSize) is odd, so positions cannot be rotated in pairs")
        try require(normEpsilon >= 0 && normEpsilon < 1, "norm epsilon", "\(normEpsilon) is not in 0..<1")
        if let slidingWindow { try require(slidingWindow >= 1, "sliding window", "\(slidingWindow) is not positive") }
        for token in endTokens + [beginToken].compactMap(\.self) {
            try require(
                token >= 0 && token < vocabularySize, "special token", "\(token) is outside the vocabulary")
        }
        try rotary.validate(headSize: headSize, file: file)
    }
}
