import LacunaTensor

/// Examples with an input and a number each, for regression.
public struct TargetExamples: Sendable {
    /// [n, ...].
    public var inputs: Tensor<Float>
    /// One a row of the inputs.
    public var targets: [Float]

    /// - Throws: `LacunaError.invalidArgument` unless there is one finite target an input.
    public init(inputs: Tensor<Float>, targets: [Float]) throws {
        guard inputs.rank >= 2 && inputs.shape[0] == targets.count else {
            throw LacunaError.invalidArgument("targets", reason: "\(targets.count) for inputs of shape \(inputs.shape)")
        }
        guard targets.allSatisfy(\.isFinite) else {
            throw LacunaError.invalidArgument("targets", reason: "one is not a finite number")
        }
        self.inputs = inputs
        self.targets = targets
    }

    /// Examples.
    public var count: Int { targets.count }
    /// Shape of one input.
    public var inputShape: [Int] { Array(inputs.shape.dropFirst()) }

    /// The examples at `indices`, in that order; targets as a column [indices.count, 1].
    public func selecting(_ indices: some Collection<Int>) -> (inputs: Tensor<Float>, targets: Tensor<Float>) {
        (inputs.examples(indices), Tensor(indices.map { targets[$0] }, shape: [indices.count, 1]))
    }
}

extension Tensor where Scalar == Float {
    /// The slices at `indices` of the first dimension, in that order.
    func examples(_ indices: some Collection<Int>) -> Tensor<Float> {
        let width = shape.dropFirst().reduce(1, *)
        var batch = Tensor<Float>(uninitialized: [indices.count] + shape.dropFirst())
        withPointer { source in
            batch.withMutablePointer { target in
                for (row, index) in indices.enumerated() {
                    (target + row * width).update(from: source + index * width, count: width)
                }
            }
        }
        return batch
    }
}

/// Batches of examples for regression, in an order drawn anew for every epoch. The last batch of an epoch may be smaller.
public struct ShuffledTargets: BatchSource {
    /// What batches are taken from.
    public let examples: TargetExamples
    /// Examples of a batch.
    public let batchSize: Int
    private let order: EpochOrder

    /// - Precondition: There is an example, and a batch holds one.
    public init(_ examples: TargetExamples, batchSize: Int, seed: UInt64) {
        require(batchSize > 0 && examples.count > 0, "an empty batch")
        self.examples = examples
        self.batchSize = batchSize
        order = EpochOrder(count: examples.count, seed: seed)
    }

    public var batchesPerEpoch: Int? { (examples.count + batchSize - 1) / batchSize }

    public func batch(step: Int) -> (inputs: Tensor<Float>, targets: Tensor<Float>) {
        examples.selecting(order.batch(step, of: batchSize))
    }
}

extension EpochOrder {
    /// The places of the examples in the batch of a step.
    public func batch(_ step: Int, of size: Int) -> ArraySlice<Int> {
        let (epoch, place) = step.quotientAndRemainder(dividingBy: (count + size - 1) / size)
        return indices(epoch: epoch)[place * size..<min((place + 1) * size, count)]
    }
}
