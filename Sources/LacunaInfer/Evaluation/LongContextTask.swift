import LacunaModels
import LacunaTensor

/// A question about a long text of which the answer is known: what methods that leave out keys are compared on.
///
/// Three of the tasks of Piotr Nawrot, Robert Li, Renjie Huang, Sebastian Ruder, Kelly Marchisio, Edoardo M. Ponti, "The Sparse
/// Frontier: Sparse Attention Trade-offs in Transformer LLMs", arXiv 2504.17768, in words of an ``InductionModel``. Their tasks on
/// stories, and questions about real texts, need models that read.
public struct LongContextTask: Sendable, Hashable {
    /// What is asked.
    public enum Kind: String, Sendable, Hashable, CaseIterable {
        /// The value of one of many keys in the text.
        case needle
        /// A chain of four assignments from its beginning, among eight such chains: every link is found only after the one before.
        case tracking
        /// The most frequent words.
        case counting
    }

    /// When a model learns what is asked.
    public enum Asking: String, Sendable, Hashable, CaseIterable {
        /// At the end of the prompt: the first word of the answer is what the prompt ends in.
        case inPrompt
        /// At the end of the prompt, and once more afterwards, so that all of the answer is written token by token.
        case twice
        /// Only once the prompt has been read.
        case afterwards
    }

    /// What is asked.
    public let kind: Kind
    /// The text.
    public let context: [Int]
    /// The token that asks.
    public let question: Int
    /// Words in their order, or of ``Kind/counting`` in any.
    public let answer: [Int]
    private let separator: Int

    /// Keys, or links, of a chain; words to count.
    private static let (links, chains, pairs, common) = (4, 8, 40, 5)

    /// Draws a text.
    ///
    /// - Parameter length: Tokens of the text, at least 400.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a shorter text, or a model of fewer than 200 words.
    public init(_ kind: Kind, length: Int, model: InductionModel, seed: UInt64) throws {
        guard length >= 400, model.words >= 200 else {
            throw LacunaError.invalidArgument(
                "length", reason: "\(length) tokens of \(model.words) words: 400 of 200 are the least")
        }
        var generator = SeededGenerator(seed: seed, stream: 20)
        let words = (0..<model.words).shuffled(using: &generator)
        // Words of questions and answers are apart from those between them.
        let (special, filler) = (words[..<(2 * Self.pairs)], Array(words[(2 * Self.pairs)...]))
        var units: [[Int]] = []
        func pair(_ key: Int, _ value: Int) { units.append([key, value, model.separator]) }
        switch kind {
        case .needle:
            for i in 0..<Self.pairs { pair(special[2 * i], special[2 * i + 1]) }
            (question, answer) = (special[0], [special[1]])
        case .tracking:
            let length = Self.links + 1
            for chain in 0..<Self.chains {
                for i in 0..<Self.links { pair(special[chain * length + i], special[chain * length + i + 1]) }
            }
            (question, answer) = (special[0], Array(special[1..<length]))
        case .counting:
            // Each of the common words makes up a fortieth of the text.
            for word in special[..<Self.common] {
                units += [[Int]](repeating: [word], count: length / 40)
            }
            (question, answer) = (model.question, special[..<Self.common].sorted())
        }
        let rest = length - 1 - units.reduce(0) { $0 + $1.count }
        // Others come up equally often, as far as that is possible.
        for i in 0..<rest { units.append([filler[i % filler.count]]) }
        // The first position is its own predecessor to the model: no word stands there.
        context = [model.separator] + units.shuffled(using: &generator).flatMap(\.self)
        self.kind = kind
        separator = model.separator
    }

    /// The share of the answer that a model gives, in 0...1: of a chain the links before the first wrong one.
    ///
    /// - Parameter engine: With what it leaves out.
    /// - Throws: As ``DecodingSession/prefill(_:)``.
    public func score(_ engine: TokenEngine, asking: Asking, store: (any KeyValueStore) -> Void = { _ in }) throws
        -> Double
    {
        let session = try DecodingSession(engine, context: context.count + answer.count + 4)
        switch asking {
        case .inPrompt: try session.prefill(context + [question])
        case .twice: try session.prefill(context + [question, separator])
        case .afterwards: try session.prefill(context)
        }
        if asking != .inPrompt { try session.decode(question) }
        defer { store(session.cache) }
        if kind == .counting {
            let logits = Array(session.logits)
            let best = logits.indices.sorted { logits[$0] > logits[$1] }.prefix(answer.count)
            return Double(Set(best).intersection(answer).count) / Double(answer.count)
        }
        for (place, word) in answer.enumerated() {
            let logits = Array(session.logits)
            guard logits.indices.max(by: { logits[$0] < logits[$1] }) == word else {
                return Double(place) / Double(answer.count)
            }
            if place + 1 < answer.count { try session.decode(word) }
        }
        return 1
    }
}
