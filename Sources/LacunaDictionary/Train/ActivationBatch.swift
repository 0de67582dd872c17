import LacunaLearn
import LacunaTensor

/// Activations of some tokens, as dictionaries are trained on.
public struct ActivationBatch: Sendable {
    /// The step that it belongs to, for messages.
    public var step: Int
    /// [tokens, inputs].
    public var inputs: Tensor<Float>
    /// [tokens, outputs], what is to be decoded; nil for the inputs.
    public var targets: Tensor<Float>?
    /// [tokens, outputs], of a model's loss; nil where nothing asks for them.
    public var gradients: Tensor<Float>?

    /// A batch from its parts, which are checked when it is encoded.
    public init(
        step: Int, inputs: Tensor<Float>, targets: Tensor<Float>? = nil, gradients: Tensor<Float>? = nil
    ) {
        (self.step, self.inputs, self.targets, self.gradients) = (step, inputs, targets, gradients)
    }

    /// The tokens of a range.
    func tokens(_ range: Range<Int>) -> ActivationBatch {
        if range == 0..<inputs.rows { return self }
        return ActivationBatch(
            step: step, inputs: inputs.rows(range), targets: targets?.rows(range), gradients: gradients?.rows(range))
    }
}

/// Batches of vectors in memory, in an order drawn anew for every pass. A rest that fills no batch is left out.
public struct ActivationRows: BatchSource {
    /// [rows, inputs].
    public let inputs: Tensor<Float>
    /// [rows, outputs], what is to be decoded; nil for the inputs.
    public let targets: Tensor<Float>?
    /// [rows, outputs], of a model's loss; nil where nothing asks for them.
    public let gradients: Tensor<Float>?
    /// Rows of a batch.
    public let batchSize: Int
    private let order: EpochOrder

    /// - Throws: `LacunaError.invalidArgument` for fewer rows than a batch, or tensors of different numbers of rows.
    public init(
        _ inputs: Tensor<Float>, targets: Tensor<Float>? = nil, gradients: Tensor<Float>? = nil, batchSize: Int,
        seed: UInt64
    ) throws {
        guard inputs.rank == 2, batchSize >= 1, inputs.rows >= batchSize else {
            throw LacunaError.invalidArgument("activations", reason: "\(inputs.shape) hold no batch of \(batchSize)")
        }
        for other in [targets, gradients].compactMap(\.self) where other.rank != 2 || other.shape[0] != inputs.rows {
            throw LacunaError.invalidArgument("activations", reason: "\(other.shape) beside \(inputs.shape)")
        }
        (self.inputs, self.targets, self.gradients, self.batchSize) = (inputs, targets, gradients, batchSize)
        order = EpochOrder(count: inputs.rows, seed: seed)
    }

    public var batchesPerEpoch: Int? { inputs.rows / batchSize }

    public func batch(step: Int) -> ActivationBatch {
        let (epoch, place) = step.quotientAndRemainder(dividingBy: inputs.rows / batchSize)
        let rows = order.indices(epoch: epoch)[place * batchSize..<(place + 1) * batchSize]
        return ActivationBatch(
            step: step, inputs: inputs.selectingRows(rows), targets: targets?.selectingRows(rows),
            gradients: gradients?.selectingRows(rows))
    }
}

/// Batches that a function of the step makes.
public struct GeneratedBatches: BatchSource {
    private let make: @Sendable (Int) -> ActivationBatch

    /// - Parameter make: The batch of a step; the same for the same step, whenever it is asked for.
    public init(_ make: @escaping @Sendable (Int) -> ActivationBatch) { self.make = make }

    public var batchesPerEpoch: Int? { nil }
    public func batch(step: Int) -> ActivationBatch { make(step) }
}
