import LacunaTensor

/// What a score must know besides the weights.
public struct ScoreRequirement: OptionSet, Sendable, Hashable {
    public let rawValue: Int
    public init(rawValue: Int) { self.rawValue = rawValue }

    /// Nothing: the weights alone decide.
    public static let none: ScoreRequirement = []
    /// Sums and sums of squares of every input of the layer.
    public static let moments = ScoreRequirement(rawValue: 1)
    /// The Gram matrix `XᵀX` of the inputs, and their moments.
    public static let gram = ScoreRequirement(rawValue: 3)
    /// The gradient of a loss with respect to the weights.
    public static let gradient = ScoreRequirement(rawValue: 4)
    /// Sums and sums of squares of every output of the layer.
    public static let outputs = ScoreRequirement(rawValue: 8)
    /// The inputs themselves.
    public static let activations = ScoreRequirement(rawValue: 16)
}

/// What is known of a linear layer when its weights are scored. What a score does not ask for may be nil.
public struct ScoreInputs: Sendable {
    /// `W` [outputs, inputs].
    public var weight: Tensor<Float>
    /// What was seen of the layer's inputs `X` [tokens, inputs].
    public var inputs: InputStatistics?
    /// What was seen of its outputs `X Wᵀ` [tokens, outputs].
    public var outputs: InputStatistics?
    /// The gradient of a loss [outputs, inputs].
    public var gradient: Tensor<Float>?
    /// `X` [tokens, inputs].
    public var activations: Tensor<Float>?

    /// What a score is given: the weight, and what it asked for.
    public init(
        weight: Tensor<Float>, inputs: InputStatistics? = nil, outputs: InputStatistics? = nil,
        gradient: Tensor<Float>? = nil, activations: Tensor<Float>? = nil
    ) {
        self.weight = weight
        self.inputs = inputs
        self.outputs = outputs
        self.gradient = gradient
        self.activations = activations
    }
}
