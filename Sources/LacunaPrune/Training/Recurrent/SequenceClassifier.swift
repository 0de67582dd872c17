import LacunaLearn
import LacunaTensor

/// Sequences of tokens with a class each.
public struct SequenceExamples: Sendable {
    /// None is empty.
    public let sequences: [[Int32]]
    /// One a sequence, each in `0..<classes`.
    public let labels: [Int32]
    /// Kinds of tokens.
    public let vocabulary: Int
    /// How many classes there are, whether or not all occur.
    public let classes: Int

    /// - Throws: `LacunaError.invalidArgument` for an empty sequence, a token or label out of range, and unequal numbers of
    ///   sequences and labels.
    public init(sequences: [[Int32]], labels: [Int32], vocabulary: Int, classes: Int) throws {
        guard sequences.count == labels.count else {
            throw LacunaError.invalidArgument("labels", reason: "\(labels.count) for \(sequences.count) sequences")
        }
        if let bad = labels.first(where: { $0 < 0 || Int($0) >= classes }) {
            throw LacunaError.invalidArgument("labels", reason: "\(bad) is not in 0..<\(classes)")
        }
        for (index, sequence) in sequences.enumerated() {
            if sequence.isEmpty {
                throw LacunaError.invalidArgument("sequences", reason: "number \(index) is empty")
            }
            if let bad = sequence.first(where: { $0 < 0 || Int($0) >= vocabulary }) {
                throw LacunaError.invalidArgument(
                    "sequences", reason: "number \(index): \(bad) is not in 0..<\(vocabulary)")
            }
        }
        (self.sequences, self.labels, self.vocabulary, self.classes) = (sequences, labels, vocabulary, classes)
    }

    /// Examples.
    public var count: Int { sequences.count }

    /// Some of the sequences, all first tokens, then all second ones, and so on, shorter ones followed by token 0.
    ///
    /// - Parameter padding: Steps at least; more if one of them is longer.
    public func batch(_ indices: some Collection<Int>, padding: Int = 0) -> SequenceBatch {
        let chosen = indices.map { sequences[$0] }
        let steps = chosen.reduce(padding) { max($0, $1.count) }
        return SequenceBatch(
            tokens: (0..<steps).flatMap { step in chosen.map { step < $0.count ? $0[step] : 0 } },
            lengths: chosen.map(\.count), labels: indices.map { labels[$0] })
    }
}

/// Sequences beside each other.
public struct SequenceBatch: Sendable, Hashable {
    /// [steps · batch], step by step.
    public let tokens: [Int32]
    /// Of each sequence without what pads it.
    public let lengths: [Int]
    /// The class of each.
    public let labels: [Int32]
}

/// Batches of sequences in an order drawn anew for every epoch.
public struct SequenceBatches: BatchSource {
    /// What batches are taken from.
    public let examples: SequenceExamples
    /// Sequences of a batch.
    public let batchSize: Int
    /// Steps at least.
    public let padding: Int
    private let order: EpochOrder

    /// - Precondition: There are examples, and `batchSize` is positive.
    public init(_ examples: SequenceExamples, batchSize: Int, padding: Int = 0, seed: UInt64) {
        require(batchSize > 0 && examples.count > 0, "an empty batch")
        (self.examples, self.batchSize, self.padding) = (examples, batchSize, padding)
        order = EpochOrder(count: examples.count, seed: seed)
    }

    public var batchesPerEpoch: Int? { (examples.count + batchSize - 1) / batchSize }
    public func batch(step: Int) -> SequenceBatch {
        examples.batch(order.batch(step, of: batchSize), padding: padding)
    }
}

/// Tells classes of sequences: a vector for each kind of token, layers that read the sequence, and a linear classifier on one
/// of their states.
public final class SequenceClassifier: Module {
    /// Which state is classified.
    public enum Reading: String, Sendable, Hashable, CaseIterable {
        /// The one at a sequence's own last token.
        case lastToken = "last-token"
        /// The one at the batch's last step, behind what pads shorter sequences.
        case lastStep = "last-step"
    }

    /// [kinds of tokens, width].
    public let embedding: Embedding
    /// What reads the sequence.
    public let body: any SequenceNetwork
    /// On the state.
    public let classifier: Linear
    /// Which state is classified.
    public let reading: Reading

    /// - Parameter width: Of a token's vector, which the body reads.
    public init(
        vocabulary: Int, width: Int, body: any SequenceNetwork, classes: Int, reading: Reading = .lastToken,
        using generator: inout SeededGenerator
    ) {
        embedding = Embedding(
            count: vocabulary, dimensions: width, initialization: .normal(1 / Float(width).squareRoot()),
            using: &generator)
        self.body = body
        classifier = Linear(inputDimensions: body.outputDimensions, outputDimensions: classes, using: &generator)
        self.reading = reading
    }

    /// The parts.
    public var parts: [(name: String, part: Any)] {
        [("embedding", embedding), ("body", body), ("classifier", classifier)]
    }

    /// Logits [batch, classes].
    public func callAsFunction(_ batch: SequenceBatch, on tape: Tape<Float>) -> Variable<Float> {
        let n = batch.lengths.count
        let steps = batch.tokens.count / max(n, 1)
        let states = body(embedding(batch.tokens, on: tape), batch: n)
        return classifier(
            states.gathered(
                batch.lengths.enumerated().map { index, length in
                    Int32(((reading == .lastToken ? length : steps) - 1) * n + index)
                }))
    }

    /// Training for some epochs by cross-entropy.
    ///
    /// - Throws: As ``Trainer``.
    @discardableResult
    public func train(
        on examples: SequenceExamples, optimizer: any Optimizer, plan: TrainingPlan, batch: Int,
        padding: Int = 0, hooks: [any TrainingHook] = []
    ) throws -> TrainingReport {
        try Trainer(
            model: self, optimizer: optimizer,
            source: SequenceBatches(examples, batchSize: batch, padding: padding, seed: plan.seed), plan: plan,
            hooks: hooks, loss: { Loss.crossEntropy(self($0, on: $1), labels: $0.labels) }
        ).train()
    }

    /// The share of the examples whose class is recognised, 0...1.
    public func accuracy(on examples: SequenceExamples, padding: Int = 0) -> Double {
        let tape = Tape<Float>()
        var right = 0.0
        for start in stride(from: 0, to: examples.count, by: 250) {
            let batch = examples.batch(start..<min(start + 250, examples.count), padding: padding)
            right += tape.evaluating {
                LacunaLearn.accuracy(self(batch, on: tape), batch.labels) * Double(batch.labels.count)
            }
        }
        return right / Double(max(examples.count, 1))
    }
}
