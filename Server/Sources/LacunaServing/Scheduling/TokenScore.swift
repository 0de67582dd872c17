import LacunaModels
import LacunaSparse
import LacunaTensor

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// How probable the model holds a token to be, and which ones it holds to be most probable in its place. Natural logarithms,
/// of the model's own distribution: temperature, penalties and biases do not enter.
public struct TokenScore: Sendable, Equatable {
    /// A token and its log-probability.
    public struct Alternative: Sendable, Equatable {
        /// Its number in the vocabulary.
        public var token: Int
        /// At most 0.
        public var logProbability: Double
    }

    /// Of the token itself; at most 0.
    public var logProbability: Double
    /// The most probable tokens, the most probable one first.
    public var alternatives: [Alternative]

    /// Alternatives that can be asked for.
    static let mostAlternatives = 20

    /// The score of a token.
    ///
    /// - Parameters:
    ///   - logits: One for each token of the vocabulary. Overwritten.
    ///   - count: Alternatives to list.
    /// - Complexity: O(vocabulary).
    init(_ token: Int, logits: UnsafeMutableBufferPointer<Float>, alternatives count: Int) throws {
        let read = UnsafeBufferPointer(logits)
        var best = Largest.indices(min(max(count, 1), logits.count), of: read, ties: .first)
        best.sort { logits[$0] != logits[$1] ? logits[$0] > logits[$1] : $0 < $1 }
        let largest = Double(logits[best[0]])
        let chosen = (best + [token]).map { (token: $0, distance: Double(logits[$0]) - largest) }
        // The largest entry's probability is exp(0) / Σ exp(logits - largest): its logarithm is that of the sum.
        AttentionKernels.softmax(logits.baseAddress!, count: logits.count)
        let normalizer = log(Double(logits[best[0]]))
        guard normalizer.isFinite, chosen.allSatisfy({ !$0.distance.isNaN }) else {
            throw LacunaError.numerical(operation: "scoring", reason: "the model's logits are not finite")
        }
        logProbability = chosen.last!.distance + normalizer
        alternatives = chosen.prefix(count).map {
            Alternative(token: $0.token, logProbability: $0.distance + normalizer)
        }
    }

    /// A score of known numbers.
    init(logProbability: Double, alternatives: [Alternative]) {
        (self.logProbability, self.alternatives) = (logProbability, alternatives)
    }
}
