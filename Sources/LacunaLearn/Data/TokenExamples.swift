import LacunaTensor

/// Texts of different length as examples for a language model, each with the tokens whose prediction counts: answers
/// without their questions, for instance.
public struct TokenExamples: BatchSource {
    /// One text.
    public struct Example: Sendable, Hashable {
        /// The example, from its first token to its last.
        public var tokens: [Int32]
        /// For each token whether the model is to learn to predict it. The first token of a text is never predicted.
        public var counts: [Bool]

        /// - Precondition: As many flags as tokens.
        public init(tokens: [Int32], counts: [Bool]) {
            require(tokens.count == counts.count, "\(counts.count) flags for \(tokens.count) tokens")
            (self.tokens, self.counts) = (tokens, counts)
        }

        /// Tokens that are predicted.
        public var countedTokens: Int { counts.dropFirst().count { $0 } }
    }

    /// Sequences of one length below each other.
    public struct Batch: Sendable, Hashable {
        /// [count · length], padded behind the end of shorter texts with token 0, which nothing before it sees.
        public var ids: [Int32]
        /// The token after each; -1 where the prediction does not count.
        public var next: [Int32]
        /// Sequences.
        public var count: Int

        /// Rows of one length, as they are.
        public init(ids: [Int32], next: [Int32], count: Int) { (self.ids, self.next, self.count) = (ids, next, count) }
    }

    /// What batches are taken from.
    public let examples: [Example]
    /// Examples of a batch.
    public let batchSize: Int
    /// Tokens of a text that are read; what is behind them is cut off.
    public let length: Int
    private let order: EpochOrder

    /// - Throws: `LacunaError.invalidArgument` for no examples, and for one of which no token counts within `length`: it
    ///   would teach nothing.
    public init(_ examples: [Example], length: Int, batchSize: Int, seed: UInt64) throws {
        require(batchSize > 0 && length > 0, "an empty batch")
        guard !examples.isEmpty else { throw LacunaError.invalidArgument("data", reason: "has no examples") }
        for (index, example) in examples.enumerated()
        where !example.counts.prefix(length + 1).dropFirst().contains(true) {
            throw LacunaError.invalidArgument(
                "data",
                reason: "example \(index + 1), of \(example.tokens.count) tokens, has none to predict among its first "
                    + "\(length + 1)")
        }
        self.examples = examples
        self.batchSize = batchSize
        self.length = length
        order = EpochOrder(count: examples.count, seed: seed)
    }

    public var batchesPerEpoch: Int? { (examples.count + batchSize - 1) / batchSize }

    public func batch(step: Int) -> Batch { Self.batch(order.batch(step, of: batchSize).map { examples[$0] }, length) }

    /// Some examples as one batch.
    public static func batch(_ examples: [Example], _ length: Int) -> Batch {
        let width = min(length, max(1, (examples.map(\.tokens.count).max() ?? 0) - 1))
        var batch = Batch(
            ids: Array(repeating: 0, count: examples.count * width),
            next: Array(repeating: -1, count: examples.count * width), count: examples.count)
        for (row, example) in examples.enumerated() {
            for i in 0..<min(width, max(example.tokens.count - 1, 0)) {
                batch.ids[row * width + i] = example.tokens[i]
                if example.counts[i + 1] { batch.next[row * width + i] = example.tokens[i + 1] }
            }
        }
        return batch
    }
}
