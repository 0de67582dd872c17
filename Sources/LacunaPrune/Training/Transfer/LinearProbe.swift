import LacunaLearn
import LacunaTensor

/// What a frozen network knows of another task: a fresh classifier on what its last layer reads.
///
/// The network is as it is after training, its batch norms by their running statistics; features are computed once. Defaults are those of
/// ``TransferAudit``.
public struct LinearProbe: Sendable {
    /// Passes over the examples.
    public var epochs = 100
    /// Examples of a batch.
    public var batch = 128
    /// Of Adam.
    public var rate = 0.01

    /// The defaults.
    public init() {}

    /// What the layer that gives the output reads of some inputs, [n, width].
    ///
    /// - Throws: `LacunaError.unsupported` for a network without such a layer.
    public static func features(_ network: any UnaryLayer, _ inputs: Tensor<Float>) throws -> Tensor<Float> {
        guard let head = network.outputLayer else {
            throw LacunaError.unsupported(file: nil, what: "a probe of a network without an output layer")
        }
        let watched = WatchedInputs(head.weight)
        head.weight = watched
        defer { head.weight = watched.base }
        return TransferAudit.outputs(
            of: Lambda { x in
                _ = network(x)
                return watched.input!
            }, inputs)
    }

    /// A classifier of the features of a network, trained on some examples.
    ///
    /// - Throws: As ``features(_:_:)``; `LacunaError.invalidArgument` without examples, and for settings that make no run.
    public func head(_ network: any UnaryLayer, _ examples: LabelledExamples, seed: UInt64) throws -> Linear {
        guard examples.count > 0, batch > 0, epochs >= 0 else {
            throw LacunaError.invalidArgument(
                "probe", reason: "\(epochs) epochs of \(examples.count) examples in batches of \(batch)")
        }
        let features = try Self.features(network, examples.inputs)
        var generator = SeededGenerator(seed: seed, stream: 0x9208E)
        let head = Linear(
            inputDimensions: features.columns, outputDimensions: examples.classes, using: &generator)
        let source = ShuffledBatches(
            try LabelledExamples(inputs: features, labels: examples.labels, classes: examples.classes),
            batchSize: min(batch, examples.count), seed: seed)
        let steps = epochs * source.batchesPerEpoch!
        var plan = TrainingPlan(steps: steps, learningRate: .constant(rate))
        (plan.seed, plan.logEvery) = (seed, max(1, steps))
        try Trainer(
            model: HeadLayer(head), optimizer: Adam(learningRate: rate), source: source, plan: plan,
            loss: { batch, tape in Loss.crossEntropy(head(tape.constant(batch.inputs)), labels: batch.labels) }
        ).train()
        return head
    }
}

/// A linear layer as a network.
private final class HeadLayer: UnaryLayer {
    let layer: Linear
    init(_ layer: Linear) { self.layer = layer }
    func callAsFunction(_ x: Variable<Float>) -> Variable<Float> { layer(x) }
}

/// A weight that computes what another one does and remembers what it read last.
private final class WatchedInputs: TrainableWeight {
    let base: any TrainableWeight
    private(set) var input: Variable<Float>?

    init(_ base: any TrainableWeight) { self.base = base }

    var parts: [(name: String, part: Any)] { [("", base)] }
    var outputs: Int { base.outputs }
    var inputs: Int { base.inputs }
    var activeCount: Int { base.activeCount }
    var multiplyAdds: Int { base.multiplyAdds }
    var byteCount: Int { base.byteCount }
    var storage: String { base.storage }
    func densified() -> Tensor<Float> { base.densified() }
    func apply(_ x: Variable<Float>, bias: Variable<Float>?) -> Variable<Float> {
        input = x
        return base.apply(x, bias: bias)
    }
}
