import LacunaTensor

/// Where training takes its batches from: a function of the step, so that a resumed run sees the batches that the
/// interrupted one would have seen.
public protocol BatchSource: Sendable {
    /// What a step is computed from.
    associatedtype Batch: Sendable
    /// The batch of a step, counted from 0. Called from a background thread.
    func batch(step: Int) -> Batch
    /// Batches after which every example has been seen once; nil for a source without epochs.
    var batchesPerEpoch: Int? { get }
}

/// Examples with an input and a class each.
public struct LabelledExamples: Sendable {
    /// [n, ...].
    public var inputs: Tensor<Float>
    /// [n], each in `0..<classes`.
    public var labels: [Int32]
    /// How many classes there are, whether or not all occur.
    public var classes: Int

    /// - Throws: `LacunaError.invalidArgument` unless there is one label an input, each in `0..<classes`.
    public init(inputs: Tensor<Float>, labels: [Int32], classes: Int) throws {
        guard inputs.rank >= 2 && inputs.shape[0] == labels.count else {
            throw LacunaError.invalidArgument("labels", reason: "\(labels.count) for inputs of shape \(inputs.shape)")
        }
        if let bad = labels.first(where: { $0 < 0 || Int($0) >= classes }) {
            throw LacunaError.invalidArgument("labels", reason: "\(bad) is not in 0..<\(classes)")
        }
        self.inputs = inputs
        self.labels = labels
        self.classes = classes
    }

    /// Takes parts of examples that were checked as a whole.
    private init(checked inputs: Tensor<Float>, _ labels: [Int32], classes: Int) {
        (self.inputs, self.labels, self.classes) = (inputs, labels, classes)
    }

    /// Examples.
    public var count: Int { labels.count }
    /// The inputs as rows, [n, features].
    public var rows: Tensor<Float> { inputs.reshaped([count, inputShape.reduce(1, *)]) }
    /// Shape of one input.
    public var inputShape: [Int] { Array(inputs.shape.dropFirst()) }

    /// The examples at `indices`, in that order.
    public func selecting(_ indices: some Collection<Int>) -> (inputs: Tensor<Float>, labels: [Int32]) {
        (inputs.examples(indices), indices.map { labels[$0] })
    }

    /// The first `count` examples.
    public func prefix(_ count: Int) -> LabelledExamples {
        let (inputs, labels) = selecting(0..<max(0, min(count, self.count)))
        return LabelledExamples(checked: inputs, labels, classes: classes)
    }
}

/// Batches of labelled examples in an order drawn anew for every epoch. The last batch of an epoch may be smaller.
public struct ShuffledBatches: BatchSource {
    /// What batches are taken from.
    public let examples: LabelledExamples
    /// Examples of a batch.
    public let batchSize: Int
    /// Decides the order.
    public let seed: UInt64
    private let order: EpochOrder

    /// - Precondition: There are examples, and `batchSize` is positive.
    public init(_ examples: LabelledExamples, batchSize: Int, seed: UInt64) {
        require(batchSize > 0 && examples.count > 0, "an empty batch")
        self.examples = examples
        self.batchSize = batchSize
        self.seed = seed
        order = EpochOrder(count: examples.count, seed: seed)
    }

    public var batchesPerEpoch: Int? { (examples.count + batchSize - 1) / batchSize }

    public func batch(step: Int) -> (inputs: Tensor<Float>, labels: [Int32]) {
        examples.selecting(order.batch(step, of: batchSize))
    }
}

/// The order of the examples in each epoch, the last one asked for kept.
public final class EpochOrder: @unchecked Sendable {
    /// Examples of an epoch.
    public let count: Int
    private let seed: UInt64
    private let lock = ThreadLock()
    private var epoch = -1
    private var order: [Int] = []

    /// The order of `count` examples, decided by `seed`.
    public init(count: Int, seed: UInt64) {
        self.count = count
        self.seed = seed
    }

    /// All of `0..<count`, shuffled by the seed and the epoch alone.
    public func indices(epoch wanted: Int) -> [Int] {
        lock.withLock {
            if epoch != wanted {
                var generator = SeededGenerator(seed: seed, stream: 0xE90C &+ UInt64(wanted))
                order = Array(0..<count)
                order.shuffle(using: &generator)
                epoch = wanted
            }
            return order
        }
    }
}

/// Windows of consecutive tokens at random places of a text, with the tokens that follow each.
public struct TokenWindows: BatchSource {
    /// The text.
    public let tokens: [Int32]
    /// Tokens of a window.
    public let length: Int
    /// Windows of a batch.
    public let batchSize: Int
    /// Decides the places.
    public let seed: UInt64

    /// - Throws: `LacunaError.invalidArgument` if the text is not longer than a window.
    public init(_ tokens: [Int32], length: Int, batchSize: Int, seed: UInt64) throws {
        guard tokens.count > length else {
            throw LacunaError.invalidArgument(
                "context", reason: "a text of \(tokens.count) tokens has no window of \(length) and a next token")
        }
        self.tokens = tokens
        self.length = length
        self.batchSize = batchSize
        self.seed = seed
    }

    public var batchesPerEpoch: Int? { nil }

    /// `ids` and `next`, both [batchSize · length].
    public func batch(step: Int) -> (ids: [Int32], next: [Int32]) {
        var generator = SeededGenerator(seed: seed, stream: 0x70CE &+ UInt64(step))
        var ids: [Int32] = []
        var next: [Int32] = []
        for _ in 0..<batchSize {
            let start = Int.random(in: 0..<tokens.count - length, using: &generator)
            ids += tokens[start..<start + length]
            next += tokens[start + 1..<start + 1 + length]
        }
        return (ids, next)
    }
}
