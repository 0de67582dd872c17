import LacunaIO
import LacunaLearn
import LacunaTensor

/// A method that learns tasks one after the other, with the data of one task at a time.
///
/// One object lives through all tasks: ``prepare(_:stream:)`` once, then for each task ``task`` is set and a run of its own
/// trained, as ``ContinualTraining`` and `lacuna train` do.
public protocol ContinualMethod: TrainingMethod {
    /// The task that is being learned, from 0.
    var task: Int { get set }
    /// Whether the network ends in a logit for every class; otherwise its outputs are an embedding.
    var hasHead: Bool { get }
    /// What is trained and kept: a network with all that the method remembers.
    var network: any Module { get }
    /// Takes the network that will be trained, before the first task.
    ///
    /// - Throws: `LacunaError.unsupported` for a network of another kind than the method can train, `.invalidArgument` for
    ///   one that does not fit the stream.
    func prepare(_ network: any UnaryLayer, stream: TaskStream) throws
    /// The loss of a batch of the present task.
    func loss(_ batch: (inputs: Tensor<Float>, labels: [Int32]), on tape: Tape<Float>) throws -> Variable<Float>
    /// The network's outputs, as for a test of one of the tasks learned.
    func outputs(_ inputs: Variable<Float>, task: Int) -> Variable<Float>
    /// The class of each input [n, ...] of a test of one of the tasks so far.
    func predictions(_ inputs: Tensor<Float>, task: Int) -> [Int32]
    /// A network for one task alone, whose outputs are the task's classes; nil if the method has none.
    func network(forTask task: Int) -> (any UnaryLayer)?
}

extension ContinualMethod {
    public var hasHead: Bool { true }
    public func network(forTask task: Int) -> (any UnaryLayer)? { nil }

    /// The share of examples whose class is found.
    public func accuracy(_ examples: LabelledExamples, task: Int) -> Double {
        var right = 0
        for start in stride(from: 0, to: examples.count, by: 250) {
            let part = examples.selecting(start..<min(start + 250, examples.count))
            right += zip(predictions(part.inputs, task: task), part.labels).count { $0 == $1 }
        }
        return Double(right) / Double(max(examples.count, 1))
    }
}

/// Learns a stream of tasks, one run after the other.
///
/// ```swift
/// let method = try IsolatedSubnetworks(DropAndGrow.Settings(budget: ErdosRenyiBudget(0.8)))
/// try method.prepare(network, stream: stream)
/// let matrix = try ContinualTraining(stream, batch: 64).run(method) { task in
///     (Adam(), TrainingPlan(steps: 500, learningRate: .constant(1e-3)))
/// }
/// print(matrix.finalAverage, matrix.backwardTransfer)
/// ```
public struct ContinualTraining {
    /// What is learned.
    public let stream: TaskStream
    /// Examples of a batch.
    public let batch: Int

    /// - Precondition: `batch` is positive.
    public init(_ stream: TaskStream, batch: Int) {
        require(batch > 0, "batches of \(batch)")
        (self.stream, self.batch) = (stream, batch)
    }

    /// Trains on all tasks in order and tests on those so far after each.
    ///
    /// - Parameter run: The optimiser and the plan of a task.
    /// - Throws: What the method and the trainer throw.
    public func run(
        _ method: any ContinualMethod, progress: (any ProgressReporter)? = nil,
        _ run: (_ task: Int) throws -> (any Optimizer, TrainingPlan)
    ) throws -> AccuracyMatrix {
        var matrix = AccuracyMatrix()
        for task in 0..<stream.count {
            let (optimizer, plan) = try run(task)
            for parameter in method.network.parameters {
                parameter.removeSlots()
                parameter.clearGradient()
            }
            try trainer(task, method, method.network, optimizer, plan).train(progress: progress)
            matrix.rows.append((0...task).map { method.accuracy(stream.test[$0], task: $0) })
        }
        return matrix
    }

    /// The run of one task.
    ///
    /// - Parameter model: The method's network, or what holds it.
    func trainer(
        _ task: Int, _ method: any ContinualMethod, _ model: any Module, _ optimizer: any Optimizer,
        _ plan: TrainingPlan, evaluate: ((Tape<Float>) throws -> [(name: String, value: Double)])? = nil
    ) throws -> Trainer<ShuffledBatches> {
        method.task = task
        let examples = stream.train[task]
        return try Trainer(
            model: model, optimizer: optimizer,
            source: ShuffledBatches(examples, batchSize: min(batch, examples.count), seed: plan.seed), plan: plan,
            hooks: [method], evaluate: evaluate, loss: { try method.loss($0, on: $1) })
    }
}

/// What learning in sequence without precaution forgets: one dense network trained on task after task. The baseline of
/// continual learning.
public final class SequentialTraining: ContinualMethod {
    /// What is known when an input is to be classified.
    public enum Scenario: String, Sendable, Hashable, CaseIterable {
        /// Its task: only the classes of that compete, in training too.
        case task
        /// Nothing: all classes compete.
        case `class`
    }

    /// What is known when an input is to be classified.
    public let scenario: Scenario
    public var task = 0
    private var layer: (any UnaryLayer)!
    private var stream: TaskStream!

    /// A baseline for one of the scenarios.
    public init(_ scenario: Scenario = .task) { self.scenario = scenario }

    public var card: MethodCard {
        MethodCard(
            name: "sequential", family: .sparseTraining,
            paper: .init(
                authors: "Gido M. van de Ven, Andreas S. Tolias", title: "Three scenarios for continual learning",
                arXiv: "1904.07734"),
            composition: ["no score", "every entry", "dense training, task after task"],
            implements: ["dense training task after task, the task known or not"])
    }

    public var network: any Module { layer }

    public func prepare(_ network: any UnaryLayer, stream: TaskStream) throws {
        (layer, self.stream) = (network, stream)
    }

    public func loss(_ batch: (inputs: Tensor<Float>, labels: [Int32]), on tape: Tape<Float>) -> Variable<Float> {
        let logits = layer(tape.constant(batch.inputs))
        return Loss.crossEntropy(
            scenario == .task ? TaskHead.only(stream.classes[task], of: logits) : logits, labels: batch.labels)
    }

    public func outputs(_ inputs: Variable<Float>, task: Int) -> Variable<Float> { layer(inputs) }

    public func predictions(_ inputs: Tensor<Float>, task: Int) -> [Int32] {
        let tape = Tape<Float>()
        let logits = tape.evaluating { layer(tape.constant(inputs)).value }
        return TaskHead.classes(
            logits, among: scenario == .task ? stream.classes[task] : Array(0..<logits.columns))
    }
}

/// Logits of which some classes compete.
enum TaskHead {
    /// Logits [n, classes] with those of all other classes out of the competition, in the gradient too.
    static func only(_ classes: [Int], of logits: Variable<Float>) -> Variable<Float> {
        var row = Tensor<Float>(repeating: -1e9, shape: [logits.columns])
        for label in classes { row[label] = 0 }
        return logits.addingRow(logits.tape.constant(row))
    }

    /// The class of the largest logit in each row, among some.
    static func classes(_ logits: Tensor<Float>, among classes: [Int]) -> [Int32] {
        (0..<logits.rows).map { row in Int32(classes.max { logits[row, $0] < logits[row, $1] }!) }
    }
}
