import LacunaModels
import LacunaTensor

/// A way to leave out inputs of products while a model runs: what is scored, how the scores choose, and what stands for the
/// rest. Methods of the literature are names for combinations; others can be made.
public struct ActivationMethod: Sendable, Hashable {
    /// What is left out.
    public enum Target: String, Sendable, Hashable {
        /// Inputs of all seven matrices of a block, chosen by each for itself.
        case inputs
        /// Neurons of the feed-forward part, by `f(gate x)`: rows of up and columns of down.
        case activations
        /// The same, by `gate x`.
        case preactivations
    }

    /// What is compared.
    public enum Score: String, Sendable, Hashable {
        /// `|x_i|`.
        case magnitude
        /// `|x_i| · ‖W[:, i]‖`: the length of what an input adds to the outputs.
        case weighted
    }

    /// How scores choose.
    public enum Choice: String, Sendable, Hashable {
        /// Above a threshold that calibration has found: how many there are differs from token to token.
        case threshold
        /// As many as the ratio says, for every token.
        case largest
        /// Above mean + z · deviation of the token's own scores: ``StatisticalTopK``.
        case statistical
    }

    /// What a user types.
    public var name: String
    /// What is left out.
    public var target: Target
    /// What is compared.
    public var score: Score
    /// How scores choose.
    public var choice: Choice
    /// Whether a low-rank copy of the matrix stands for the inputs that are left out: ``LowRankBypass``.
    public var hasBypass = false
    /// What it is, for listings.
    public var card: MethodCard

    /// The same method, by the largest scores of every token instead of a threshold.
    public var choosingLargest: ActivationMethod {
        var method = self
        method.choice = .largest
        method.name += "+top"
        return method
    }

    /// All of them, in the order of listings.
    public static let all: [ActivationMethod] = [teal, cats, wina, rSparse, spark]

    /// The method of a name; `NAME+top` chooses the largest scores of every token instead of those above a threshold.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` with the names there are.
    public static func named(_ name: String) throws -> ActivationMethod {
        let parts = name.lowercased().split(separator: "+", omittingEmptySubsequences: false).map(String.init)
        if let method = all.first(where: { $0.name == parts[0] }) {
            if parts.count == 1 { return method }
            if parts.count == 2, parts[1] == "top", method.choice == .threshold { return method.choosingLargest }
        }
        throw LacunaError.invalidArgument(
            "activation",
            reason:
                "there is no '\(name)'; there are \(all.map(\.name).joined(separator: ", ")), and NAME+top for those with "
                + "thresholds" + Suggestion.phrase(name, among: all.map(\.name)))
    }
}

/// A method and how much it is to leave out, as people write it: `wina:0.4`.
public struct ActivationRequest: Sendable, Hashable, CustomStringConvertible {
    /// How inputs or neurons are chosen.
    public var method: ActivationMethod
    /// The share of the weights of all linear layers that a token is not to read, for every method alike: two methods at one
    /// ratio read equally much.
    public var ratio: Double

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a ratio that is not in `0..<1`.
    public init(_ method: ActivationMethod, ratio: Double) throws {
        guard ratio >= 0 && ratio < 1 else {
            throw LacunaError.invalidArgument("activation", reason: "a ratio of \(ratio) is not at least 0 and below 1")
        }
        (self.method, self.ratio) = (method, ratio)
    }

    /// Reads `METHOD:RATIO`.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for anything else.
    public init(_ text: String) throws {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 2, let ratio = Double(parts[1]) else {
            throw LacunaError.invalidArgument("activation", reason: "'\(text)' is not METHOD:RATIO, such as wina:0.4")
        }
        try self.init(ActivationMethod.named(parts[0]), ratio: ratio)
    }

    public var description: String { "\(method.name):\(ratio)" }

    /// The share of neurons, or of each matrix's inputs, that has to be left out.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if the matrices that the method reaches are too small a part of the
    ///   model.
    func share(in configuration: TransformerConfiguration) throws -> Double {
        if method.target == .inputs { return ratio }
        var (all, reached) = (0, 0)
        for layer in 0..<configuration.layerCount {
            for role in LinearRole.allCases {
                let weights = configuration.shape(of: role, layer: layer).reduce(1, *)
                all += weights
                if role == .up || role == .down { reached += weights }
            }
        }
        let share = ratio * Double(all) / Double(max(reached, 1))
        guard share <= 0.98 else {
            let most = Int(0.98 * Double(reached) / Double(all) * 100)
            throw LacunaError.invalidArgument(
                "activation",
                reason: "\(self): \(method.name) reaches the up and down projections only, and can leave out at most "
                    + "\(most) % of this model's weights")
        }
        return share
    }
}
