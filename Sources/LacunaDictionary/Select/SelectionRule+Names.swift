import LacunaTensor

extension SelectionRule {
    /// The names that rules go by on the command line and in configurations.
    public static let names = [
        "relu", "topk", "abstopk", "batchtopk", "batchabstopk", "mutual-choice", "feature-choice", "jumprelu", "gated",
        "gradient-aware", "matching-pursuit",
    ]

    /// The rule of a name, with what is customary for activations whose mean norm is the root of their dimensions.
    ///
    /// - Parameters:
    ///   - k: Active features a token; rules whose penalty decides do not look at it.
    ///   - bandwidth: Of JumpReLU.
    ///   - strength: Of gradient-aware selection.
    /// - Throws: `LacunaError.invalidArgument` for another name.
    public init(named name: String, k: Int, bandwidth: Double = 0.1, strength: Double = 1) throws {
        switch name {
        case "relu": self = .relu
        case "topk": self = .topK(k)
        case "abstopk": self = .absTopK(k)
        case "batchtopk", "mutual-choice": self = .batchTopK(k)
        case "batchabstopk": self = .batchAbsTopK(k)
        case "feature-choice": self = .featureChoice(k, profile: .zipf(exponent: 1, shift: 3))
        case "jumprelu": self = .jumpReLU(k, bandwidth: bandwidth)
        case "gated": self = .gated
        case "gradient-aware": self = .gradientAware(k, strength: strength)
        case "matching-pursuit": self = .matchingPursuit(k)
        default:
            throw LacunaError.invalidArgument(
                "rule",
                reason: "there is no '\(name)'; there are \(Self.names.joined(separator: ", "))"
                    + Suggestion.phrase(name, among: Self.names))
        }
    }
}

extension SelectionRule: CustomStringConvertible {
    /// The name and the numbers: `jumprelu, k 32, bandwidth 0.1`.
    public var description: String {
        let members = json.objectValue?.members ?? []
        return members.map { member in
            member.key == "name"
                ? member.value.stringValue ?? "" : "\(member.key) \(member.value.serialized())"
        }.joined(separator: ", ")
    }
}

extension DictionaryTraining {
    /// Customary settings for a rule on activations of a language model, scaled to a mean norm of the root of their
    /// dimensions.
    ///
    /// - Parameters:
    ///   - sparsity: λ of rules that take a penalty; nil for 5 (relu, gated), or for JumpReLU the dimensions.
    ///   - steps: Of the run; penalties rise over its first tenth.
    public init(for rule: SelectionRule, dimensions: Int, steps: Int, sparsity: Double? = nil) {
        self.init()
        switch rule {
        case .relu, .gated: self.sparsity = SparsityPenalty(sparsity ?? 5, warmUp: steps / 10)
        case .jumpReLU: self.sparsity = SparsityPenalty(sparsity ?? Double(dimensions), warmUp: steps / 10)
        case .matchingPursuit: auxiliary = nil
        case .featureChoice: auxiliary = AuxiliaryLoss(.underUsed(share: 0.5, exponent: 1, shift: 3))
        default: break
        }
    }
}
