import LacunaTensor

/// The sizes of a dictionary, and what it keeps.
public struct DictionaryConfiguration: Sendable, Hashable {
    /// Dimensions of what is encoded.
    public var inputDimensions: Int
    /// Dimensions of what is decoded: those of the input for an autoencoder, of another site for a transcoder.
    public var outputDimensions: Int
    /// Number of features.
    public var width: Int
    /// Which features of a token become its code.
    public var rule: SelectionRule
    /// Whether the decoder's bias is taken from inputs before they are encoded. False for transcoders, whose outputs
    /// are something else.
    public var centersInputs: Bool
    /// Dimensions of the parts that inputs consist of, such as activations of two models side by side; empty for one.
    /// With parts, a feature's strength counts times `n_j = Σ_l ‖d_l,j‖`, the norms of its direction in all parts: in
    /// selection, in thresholds and in penalties. Directions then keep the norms that training gives them.
    public var parts: [Int] = []

    /// - Parameters:
    ///   - outputDimensions: Nil for those of the input, whose inputs are then centred by the decoder's bias.
    public init(inputDimensions: Int, outputDimensions: Int? = nil, width: Int, rule: SelectionRule) {
        self.inputDimensions = inputDimensions
        self.outputDimensions = outputDimensions ?? inputDimensions
        self.width = width
        self.rule = rule
        centersInputs = outputDimensions == nil
    }

    /// - Throws: `LacunaError.invalidArgument` for sizes that are not positive or cannot be held, a rule that does
    ///   not fit the width, and inputs that are centred by a bias of other dimensions.
    public func validate() throws {
        for (name, value, limit) in [
            ("input dimensions", inputDimensions, 1 << 20), ("output dimensions", outputDimensions, 1 << 20),
            ("width", width, 1 << 24),
        ] where !(1...limit).contains(value) {
            throw LacunaError.invalidArgument(name, reason: "\(value) is not in 1...\(limit)")
        }
        if centersInputs && inputDimensions != outputDimensions {
            throw LacunaError.invalidArgument(
                "centersInputs", reason: "inputs of \(inputDimensions) dimensions, a bias of \(outputDimensions)")
        }
        if case .matchingPursuit = rule, inputDimensions != outputDimensions {
            throw LacunaError.invalidArgument("rule", reason: "matching pursuit decodes what it encodes")
        }
        if !parts.isEmpty {
            guard parts.allSatisfy({ $0 >= 1 }), parts.reduce(0, +) == inputDimensions,
                inputDimensions == outputDimensions
            else {
                throw LacunaError.invalidArgument(
                    "parts", reason: "\(parts) do not make up \(inputDimensions) dimensions")
            }
            switch rule {
            case .relu, .topK, .batchTopK: break
            default:
                throw LacunaError.invalidArgument(
                    "rule", reason: "a dictionary of several parts takes relu, topk or batchtopk")
            }
        }
        try rule.validate(width: width)
        let size = width.multipliedReportingOverflow(by: 4 * (inputDimensions + outputDimensions))
        if size.overflow { throw LacunaError.invalidArgument("width", reason: "\(width) features cannot be held") }
    }
}
