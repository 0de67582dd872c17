import LacunaLearn
import LacunaModels
import LacunaTensor

/// Whether a network, a pruned one for instance, is as good a start for another task as it is for its own: how right and how honest it is after
/// cheap adaptation with few examples.
///
/// Two ways to adapt it, in both of which it stays frozen: a linear classifier on its features (``LinearProbe``), and a trained frame around its
/// inputs with its classes read as the task's (``InputPrompt``). Of each the audit reports accuracy and the calibration error
/// (``Classification/calibrationError(_:_:bins:)``) on the whole test set. Two networks that are equal on their own task need not be here.
///
/// Diganta Misra, Agam Goyal, Bharat Runwal, Pin-Yu Chen, "Reprogramming under Constraints: Revisiting Efficient and Reliable
/// Transferability of Lottery Tickets", arXiv 2308.14969.
///
/// ```swift
/// let audit = TransferAudit(examplesPerClass: 10)
/// let found = try audit.probe(network, train: pictures, test: held, seed: 0)
/// print(found.accuracy, found.calibrationError)
/// ```
public struct TransferAudit: Sendable {
    /// How an adapted network does.
    public struct Result: Sendable, Hashable {
        /// Share of the test examples that it tells right.
        public var accuracy: Double
        /// Its expected calibration error, in 15 bins.
        public var calibrationError: Double
    }

    /// Examples of each class that are adapted to, the first ones; nil for all.
    public var examplesPerClass: Int?
    /// How the classifier is trained.
    public var probe = LinearProbe()
    /// Epochs of the prompt.
    public var promptEpochs = 100

    /// - Parameter examplesPerClass: nil for all.
    public init(examplesPerClass: Int? = nil) { self.examplesPerClass = examplesPerClass }

    /// What the audit is, for listings.
    public static let card = MethodCard(
        name: "transfer-audit", family: .sparseTraining,
        paper: .init(
            authors: "Diganta Misra, Agam Goyal, Bharat Runwal, Pin-Yu Chen",
            title:
                "Reprogramming under Constraints: Revisiting Efficient and Reliable Transferability of Lottery Tickets",
            arXiv: "2308.14969"),
        composition: ["accuracy and calibration", "any pruned network", "linear probe, trained prompt"],
        implements: [
            "linear probe, trained prompt with frequent mapping of classes",
            "accuracy and calibration error",
        ])

    /// The first examples of each class, in their order.
    ///
    /// - Throws: `LacunaError.invalidArgument` for a class of which there are fewer.
    public func chosen(_ examples: LabelledExamples) throws -> LabelledExamples {
        guard let wanted = examplesPerClass else { return examples }
        var counts = [Int](repeating: 0, count: examples.classes)
        let places = examples.labels.indices.filter { place in
            counts[Int(examples.labels[place])] += 1
            return counts[Int(examples.labels[place])] <= wanted
        }
        if let rare = counts.firstIndex(where: { $0 < wanted }) {
            throw LacunaError.invalidArgument(
                "examplesPerClass", reason: "class \(rare) has \(counts[rare]) of \(wanted) examples")
        }
        let (inputs, labels) = examples.selecting(places)
        return try LabelledExamples(inputs: inputs, labels: labels, classes: examples.classes)
    }

    /// A network as it is, on its own task.
    ///
    /// - Throws: `LacunaError.invalidArgument` for labels out of range.
    public static func result(_ network: any UnaryLayer, on test: LabelledExamples) throws -> Result {
        let logits = outputs(of: network, test.inputs)
        let tape = Tape<Float>()
        let rows = tape.constant(logits)
        return Result(
            accuracy: Classification.accuracy(rows, test.labels),
            calibrationError: try Classification.calibrationError(
                tape.evaluating { rows.softmax().value }, test.labels))
    }

    /// A linear classifier on the network's features.
    ///
    /// - Throws: As ``chosen(_:)`` and ``LinearProbe/head(_:_:seed:)``.
    public func probe(
        _ network: any UnaryLayer, train: LabelledExamples, test: LabelledExamples, seed: UInt64
    ) throws -> Result {
        let head = try probe.head(network, chosen(train), seed: seed)
        let features = try LabelledExamples(
            inputs: LinearProbe.features(network, test.inputs), labels: test.labels, classes: test.classes)
        return try Self.result(Lambda { head($0) }, on: features)
    }

    /// The network in a prompt.
    ///
    /// - Parameters:
    ///   - prompt: A fresh one around the network.
    ///   - mapping: As ``InputPrompt/train(on:epochs:batch:rate:mapping:seed:)``.
    /// - Throws: As ``chosen(_:)`` and ``InputPrompt/train(on:epochs:batch:rate:mapping:seed:)``.
    public func reprogram(
        _ prompt: InputPrompt, train: LabelledExamples, test: LabelledExamples, mapping: [Int]? = nil, seed: UInt64
    ) throws -> Result {
        try prompt.train(on: chosen(train), epochs: promptEpochs, mapping: mapping, seed: seed)
        return try Self.result(prompt, on: test)
    }

    /// What a network gives for inputs [n, ...] after training, some rows at a time: [n, width].
    static func outputs(of network: any UnaryLayer, _ inputs: Tensor<Float>) -> Tensor<Float> {
        let tape = Tape<Float>()
        let (n, width) = (inputs.shape[0], inputs.count / max(inputs.shape[0], 1))
        var (rows, columns): ([Float], Int) = ([], 0)
        for start in stride(from: 0, to: n, by: 500) {
            let count = min(500, n - start)
            let part = inputs.withPointer { p in
                Tensor(
                    Array(UnsafeBufferPointer(start: p + start * width, count: count * width)),
                    shape: [count] + inputs.shape.dropFirst())
            }
            let y = tape.evaluating { network(tape.constant(part)).value }
            columns = y.count / count
            rows += y.scalars
        }
        return Tensor(rows, shape: [n, columns])
    }
}
