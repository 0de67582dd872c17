import LacunaIO
import LacunaLearn
import LacunaTensor

/// Tasks that a ``ContinualMethod`` learns one after the other; each is a phase of the run.
final class ContinualTask: JobTask {
    /// What the method trains, and the accuracies so far: the files of a phase hold both.
    private final class Progress: StatefulModule {
        let network: any Module
        var matrix = AccuracyMatrix()
        init(_ network: any Module) { self.network = network }

        var parts: [(name: String, part: Any)] { [("", network)] }
        var outputLayer: Linear? { network.outputLayer }
        var integerState: [(name: String, values: [Int32])] {
            [("accuracies", IntegerCoding.integers(matrix.rows.flatMap(\.self)))]
        }
        func restore(integerState: [String: [Int32]], file: String) throws {
            let halves = integerState["accuracies"] ?? []
            var numbers = IntegerCoding.numbers(halves)[...]
            var rows: [[Double]] = []
            while !numbers.isEmpty {
                let row = numbers.prefix(rows.count + 1)
                guard row.count == rows.count + 1 else {
                    throw LacunaError.malformed(file: file, location: "accuracies", reason: "are no matrix")
                }
                rows.append(Array(row))
                numbers = numbers.dropFirst(row.count)
            }
            matrix = AccuracyMatrix(rows)
        }
    }

    private let method: any ContinualMethod
    private let training: ContinualTraining
    private let progress: Progress
    private let inputs: NetworkInputs
    private let classes: [String]

    /// - Parameters:
    ///   - network: As the method wants it, not yet prepared.
    ///   - classes: The names of all classes.
    init(
        _ method: any ContinualMethod, _ network: any UnaryLayer, stream: TaskStream, batch: Int, inputs: NetworkInputs,
        classes: [String]
    ) throws {
        try method.prepare(network, stream: stream)
        self.method = method
        training = ContinualTraining(stream, batch: batch)
        progress = Progress(method.network)
        (self.inputs, self.classes) = (inputs, classes)
    }

    var model: any Module { progress }
    private var stream: TaskStream { training.stream }
    /// Of the largest task, so that all tasks are trained for the same number of steps.
    var batchesPerEpoch: Int {
        let most = stream.train.map(\.count).max()!
        return (most + training.batch - 1) / training.batch
    }
    var summary: String {
        let sizes = stream.classes.map { String($0.count) }.joined(separator: ", ")
        let (train, test) = (stream.train.reduce(0) { $0 + $1.count }, stream.test.reduce(0) { $0 + $1.count })
        return
            "\(train) examples of \(stream.train[0].inputShape) in \(stream.count) tasks of \(sizes) classes; \(test) to test"
    }

    func trainer(
        _ plan: TrainingPlan, _ optimizer: any Optimizer, _ method: (any TrainingMethod)?,
        _ collective: (any Collective)?
    ) throws -> any PhaseTrainer {
        if (collective?.count ?? 1) > 1 {
            throw LacunaError.unsupported(file: nil, what: "continual learning by several processes")
        }
        let task = self.method.task
        return try training.trainer(
            task, self.method, progress, optimizer, plan,
            evaluate: { [self] _ in
                let row = (0...task).map { self.method.accuracy(stream.test[$0], task: $0) }
                progress.matrix.rows.removeSubrange(min(task, progress.matrix.rows.count)...)
                progress.matrix.rows.append(row)
                let matrix = progress.matrix
                var found = [("mean_error", 1 - matrix.finalAverage), ("mean_accuracy", matrix.finalAverage)]
                if task > 0 { found.append(("backward_transfer", matrix.backwardTransfer)) }
                return found + row.enumerated().map { ("task_\($0 + 1)_accuracy", $1) }
            })
    }

    func ledger() -> Ledger {
        let (one, tape) = (stream.test[0].selecting(0..<1).inputs, Tape<Float>())
        return Ledger(progress, on: tape) { _ = method.outputs(tape.constant(one), task: 0) }
    }

    /// Writes `continual.json`, and for each task that has one a network of its own in the folder `task-1`, `task-2` …
    func save(to directory: String) throws {
        let matrix = progress.matrix
        let report: JSONValue = [
            "tasks": .array(stream.classes.map { .array($0.map { .string(classes[$0]) }) }),
            "accuracy": .array(matrix.rows.map { .array($0.map { .number($0) }) }),
            "final_average": .number(matrix.finalAverage), "backward_transfer": .number(matrix.backwardTransfer),
            "forgetting": .number(matrix.forgetting), "incremental_accuracy": .number(matrix.incrementalAccuracy),
        ]
        try AtomicFile.write(report.serialized() + "\n", to: FileSystem.join(directory, "continual.json"))
        for (task, labels) in stream.classes.enumerated() {
            guard let network = method.network(forTask: task) else { continue }
            let folder = FileSystem.join(directory, "task-\(task + 1)")
            try FileSystem.createDirectory(folder)
            try TrainedNetwork(network, inputs: inputs, outputs: .classes(labels.map { classes[$0] })).save(to: folder)
        }
    }
}
