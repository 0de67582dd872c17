import LacunaLearn
import LacunaTensor

/// Tasks that come one after the other, each with classes of its own: what continual learning learns from.
public struct TaskStream: Sendable {
    /// The classes of each task, ascending.
    public let classes: [[Int]]
    /// What each task is learned from. Labels are those of the whole problem.
    public let train: [LabelledExamples]
    /// What each task is tested on.
    public let test: [LabelledExamples]

    /// Tasks of given classes.
    ///
    /// - Throws: `LacunaError.invalidArgument` for fewer than two tasks, a task without classes or without examples of either
    ///   kind, and a class that is in two tasks or does not exist.
    public init(train: LabelledExamples, test: LabelledExamples, classes: [[Int]]) throws {
        guard classes.count >= 2 else {
            throw LacunaError.invalidArgument("tasks", reason: "\(classes.count) are no sequence")
        }
        var seen = Set<Int>()
        for label in classes.flatMap(\.self) {
            guard (0..<train.classes).contains(label), seen.insert(label).inserted else {
                throw LacunaError.invalidArgument(
                    "tasks", reason: "class \(label) is not in 0..<\(train.classes), or in two tasks")
            }
        }
        func part(_ examples: LabelledExamples, _ classes: [Int]) throws -> LabelledExamples {
            let wanted = Set(classes)
            let chosen = examples.labels.indices.filter { wanted.contains(Int(examples.labels[$0])) }
            guard !chosen.isEmpty else {
                throw LacunaError.invalidArgument("tasks", reason: "there is no example of the classes \(classes)")
            }
            let (inputs, labels) = examples.selecting(chosen)
            return try LabelledExamples(inputs: inputs, labels: labels, classes: examples.classes)
        }
        self.classes = classes.map { $0.sorted() }
        self.train = try classes.map { try part(train, $0) }
        self.test = try classes.map { try part(test, $0) }
    }

    /// Tasks of neighbouring classes, as many in each; the first ones have one more if that does not divide.
    ///
    /// - Throws: `LacunaError.invalidArgument` for fewer than two tasks, fewer classes than tasks, and tasks without examples.
    public init(train: LabelledExamples, test: LabelledExamples, tasks: Int) throws {
        guard tasks >= 2, tasks <= train.classes else {
            throw LacunaError.invalidArgument(
                "tasks", reason: "\(tasks) is not in 2...\(train.classes), the number of classes")
        }
        let (size, rest) = train.classes.quotientAndRemainder(dividingBy: tasks)
        let classes = (0..<tasks).map { task -> [Int] in
            let first = task * size + min(task, rest)
            return Array(first..<first + size + (task < rest ? 1 : 0))
        }
        try self.init(train: train, test: test, classes: classes)
    }

    /// Tasks.
    public var count: Int { classes.count }
}

/// Accuracies on the tasks so far, after each of them.
public struct AccuracyMatrix: Sendable, Hashable {
    /// Row i, of i + 1 numbers: the accuracy on each task seen, after task i was learned.
    public var rows: [[Double]]

    /// - Precondition: Row i has i + 1 numbers.
    public init(_ rows: [[Double]] = []) {
        require(rows.indices.allSatisfy { rows[$0].count == $0 + 1 }, "row i of an accuracy matrix has i + 1 numbers")
        self.rows = rows
    }

    /// The mean accuracy on all tasks after the last one; not a number before the first.
    public var finalAverage: Double { mean(rows.last ?? []) }

    /// What later tasks did to earlier ones: the mean over all tasks but the last of the accuracy at the end less that just
    /// after learning; 0 for fewer than two. Negative where there is forgetting.
    public var backwardTransfer: Double {
        guard let last = rows.last, rows.count > 1 else { return 0 }
        return mean((0..<rows.count - 1).map { last[$0] - rows[$0][$0] })
    }

    /// The mean over all tasks but the last of the best accuracy that there was after any earlier task, less that at the end; 0 for
    /// fewer than two tasks.
    public var forgetting: Double {
        guard let last = rows.last, rows.count > 1 else { return 0 }
        return mean(
            (0..<rows.count - 1).map { task in rows[task..<rows.count - 1].map { $0[task] }.max()! - last[task] })
    }

    /// The mean, over the tasks, of the mean accuracy on what was seen until then.
    public var incrementalAccuracy: Double { mean(rows.map(mean)) }

    private func mean(_ numbers: [Double]) -> Double { numbers.reduce(0, +) / Double(numbers.count) }
}
