import LacunaLearn
import LacunaTensor

/// Reprograms a frozen network for another task: its inputs are put into a frame that is trained, and its classes are read as the task's.
///
/// An example takes some places of the network's input; what stands in the others is the prompt, the same for all examples. At the start of
/// every epoch the mapping of classes is worked out anew (``LabelMapping``), unless it is given; the loss is the cross-entropy of the mapped
/// logits. For pictures the prompt is `sigmoid(p)`, normalised as the network's own pictures were; otherwise it is `p`, 0 at first in both.
///
/// Defaults are those of the authors of arXiv 2308.14969, who follow arXiv 2211.11635: Adam at 0.01, a tenth of that from a half and a hundredth
/// from 72 % of the epochs on.
public final class InputPrompt: UnaryLayer {
    /// The network, which stays as it is.
    public let network: any UnaryLayer
    /// Of the network's input, without the batch.
    public let shape: [Int]
    /// Where an example's numbers stand in the flattened input, in their order.
    public let places: [Int]
    /// `p`, one for each place that an example leaves.
    public let program: Parameter<Float>
    /// nil for a prompt that is `p`; else what is taken off sigmoids and what they are divided by.
    public let normalization: (mean: Float, deviation: Float)?
    /// For each class of the task one of the network's.
    public private(set) var mapping: [Int] = []
    private let order: [Int32]

    /// - Throws: `LacunaError.invalidArgument` for places twice or outside the input, or none left for the prompt.
    public init(
        _ network: any UnaryLayer, shape: [Int], places: [Int],
        normalization: (mean: Float, deviation: Float)? = nil
    ) throws {
        let count = shape.reduce(1, *)
        let own = Set(places)
        guard own.count == places.count, places.allSatisfy({ (0..<count).contains($0) }), own.count < count else {
            throw LacunaError.invalidArgument("places", reason: "\(places.count) of an input of \(count)")
        }
        guard normalization.map({ $0.deviation > 0 }) ?? true else {
            throw LacunaError.invalidArgument("normalization", reason: "a deviation that is not positive")
        }
        (self.network, self.shape, self.places, self.normalization) = (network, shape, places, normalization)
        program = Parameter(Tensor(zeros: [count - places.count]), decays: false)
        // Examples, then the prompt, as columns of one table.
        var order = [Int32](repeating: -1, count: count)
        for (column, place) in places.enumerated() { order[place] = Int32(column) }
        var next = Int32(places.count)
        for place in order.indices where order[place] < 0 {
            order[place] = next
            next += 1
        }
        self.order = order
    }

    /// The places of a smaller picture in the middle of a larger one, [channels, side, side] both: the prompt is the border.
    ///
    /// - Throws: `LacunaError.invalidArgument` unless the smaller is smaller.
    public static func middle(channels: Int, side: Int, of whole: Int) throws -> [Int] {
        guard channels > 0, side > 0, side < whole else {
            throw LacunaError.invalidArgument("side", reason: "\(side) of \(whole)")
        }
        let offset = (whole - side) / 2
        return (0..<channels).flatMap { c in
            (0..<side).flatMap { r in (0..<side).map { (c * whole + r + offset) * whole + $0 + offset } }
        }
    }

    public var parts: [(name: String, part: Any)] { [("program", program)] }
    public var outputLayer: Linear? { nil }

    /// Logits of the network's own classes for examples [n, ...] in the prompt, the network as it is after training.
    public func sourceLogits(_ x: Variable<Float>) -> Variable<Float> {
        let (tape, n) = (x.tape, x.shape[0])
        var prompt = program.on(tape)
        if let normalization {
            prompt = prompt.sigmoid().affine(
                1 / normalization.deviation, -normalization.mean / normalization.deviation)
        }
        let ones = tape.constant(Tensor<Float>(repeating: 1, shape: [n, 1]))
        let rows = ones.multiplied(by: prompt.reshaped([1, program.count]))
        let table = Variable.concatenated(columns: [x.reshaped([n, x.count / max(n, 1)]), rows])
        let before = tape.isTraining
        tape.isTraining = false
        defer { tape.isTraining = before }
        return network(table.gathered(columns: order).reshaped([n] + shape))
    }

    /// Logits [n, classes] of the task.
    ///
    /// - Precondition: There is a mapping: the prompt was trained.
    public func callAsFunction(_ x: Variable<Float>) -> Variable<Float> {
        require(!mapping.isEmpty, "a prompt that was not trained")
        return sourceLogits(x).gathered(columns: mapping.map { Int32($0) })
    }

    /// Trains the prompt on some examples.
    ///
    /// - Parameter fixed: A mapping to keep; nil for that of the predictions at the start of every epoch.
    /// - Throws: `LacunaError.invalidArgument` for examples of another size, a mapping of other classes, and no epoch;
    ///   as ``LabelMapping/frequent(predictions:labels:sources:targets:)``.
    public func train(
        on examples: LabelledExamples, epochs: Int = 100, batch: Int = 128, rate: Double = 0.01,
        mapping fixed: [Int]? = nil,
        seed: UInt64
    ) throws {
        guard examples.inputShape.reduce(1, *) == places.count, examples.count > 0 else {
            throw LacunaError.invalidArgument(
                "examples", reason: "\(examples.count) of \(examples.inputShape) for \(places.count) places")
        }
        guard epochs >= 1, batch >= 1 else {
            throw LacunaError.invalidArgument("epochs", reason: "\(epochs) in batches of \(batch)")
        }
        if let fixed {
            guard fixed.count == examples.classes, Set(fixed).count == fixed.count, fixed.allSatisfy({ $0 >= 0 }) else {
                throw LacunaError.invalidArgument("mapping", reason: "\(fixed) for \(examples.classes) classes")
            }
            mapping = fixed
        }
        let source = ShuffledBatches(examples, batchSize: min(batch, examples.count), seed: seed)
        let length = source.batchesPerEpoch!
        let steps = epochs * length
        let schedule = Schedule.steps([
            .init(from: 0, value: rate), .init(from: epochs / 2 * length, value: rate / 10),
            .init(from: Int(0.72 * Double(epochs)) * length, value: rate / 100),
        ])
        var plan = TrainingPlan(steps: steps, learningRate: schedule)
        (plan.seed, plan.logEvery) = (seed, steps)
        let frozen = network.parameters.filter(\.isTrainable)
        for parameter in frozen { parameter.isTrainable = false }
        defer { for parameter in frozen { parameter.isTrainable = true } }
        let mapper = EpochHook(length) { [unowned self] in if fixed == nil { try remap(examples) } }
        try Trainer(
            model: self, optimizer: Adam(learningRate: rate), source: source, plan: plan, hooks: [mapper],
            loss: { [unowned self] batch, tape in
                Loss.crossEntropy(self(tape.constant(batch.inputs)), labels: batch.labels)
            }
        ).train()
    }

    private func remap(_ examples: LabelledExamples) throws {
        let logits = TransferAudit.outputs(of: Lambda { [unowned self] in self.sourceLogits($0) }, examples.inputs)
        mapping = try LabelMapping.frequent(
            predictions: logits.argmax(axis: 1), labels: examples.labels, sources: logits.columns,
            targets: examples.classes)
    }
}

/// Calls a function at the start of every epoch.
private final class EpochHook: TrainingHook {
    private let length: Int
    private let body: () throws -> Void
    init(_ length: Int, _ body: @escaping () throws -> Void) { (self.length, self.body) = (length, body) }
    func beforeStep(_ run: TrainingRun) throws { if run.step % length == 0 { try body() } }
}
