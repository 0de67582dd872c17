import LacunaIO
import LacunaTensor

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// How a training run goes.
public struct TrainingPlan: Sendable {
    /// Steps of the optimiser.
    public var steps: Int
    /// Of each step, counted from 0.
    public var learningRate: Schedule
    /// Batches whose gradients are averaged before a step.
    public var accumulation = 1
    /// Largest norm of all gradients together; nil for no limit.
    public var clipNorm: Double?
    /// Steps between evaluations; 0 for none but the last.
    public var evaluateEvery = 0
    /// Steps between checkpoints; 0 for none but the last.
    public var checkpointEvery = 0
    /// Steps between lines of metrics.
    public var logEvery = 50
    /// Evaluations without a better loss after which the run stops; nil for never.
    public var patience: Int?
    /// Share of the old values in an average of the parameters that evaluations use; nil for none.
    public var averageDecay: Double?
    /// Rates, decays and what is frozen, by the names of parameters; applied when training begins, after hooks have given
    /// layers their storage.
    public var groups: [ParameterGroup] = []
    /// Whether optimisers change only those rows of embeddings that occur.
    public var rowSparse = false
    /// Whether the model is evaluated before the first step as well: what fine-tuning starts from.
    public var evaluatesFirst = false
    /// What products of matrices in training steps read (``Tape/precision``); evaluations read floats.
    public var precision = ProductPrecision.f32
    /// Whether the result is written as `model.safetensors`; a checkpoint holds the same and more.
    public var savesModel = true
    /// Decides what hooks and dropout draw.
    public var seed: UInt64 = 0

    /// A plan without evaluations, checkpoints or limits but those at the end.
    public init(steps: Int, learningRate: Schedule) {
        self.steps = steps
        self.learningRate = learningRate
    }

    /// - Throws: `LacunaError.invalidArgument` for numbers that make no run.
    public func validate() throws {
        func require(_ holds: Bool, _ name: String, _ reason: String) throws {
            if !holds { throw LacunaError.invalidArgument(name, reason: reason) }
        }
        try require(steps >= 0, "steps", "\(steps) is negative")
        try require(accumulation >= 1, "accumulation", "\(accumulation) is not at least 1")
        try require(clipNorm ?? 1 > 0, "clip", "a norm must be positive")
        try require(evaluateEvery >= 0 && checkpointEvery >= 0 && logEvery >= 1, "intervals", "must not be negative")
        try require(patience ?? 1 >= 1, "patience", "must be at least 1")
        try require((0..<1).contains(averageDecay ?? 0), "average", "must be in 0..<1")
        for group in groups { try group.validate() }
    }
}

/// Numbers of one moment of a run.
public struct TrainingMetrics: Sendable {
    /// Steps done.
    public var step: Int
    /// In the order in which they are reported.
    public var values: [(name: String, value: Double)]

    /// Numbers after `step` steps.
    public init(step: Int, values: [(name: String, value: Double)]) { (self.step, self.values) = (step, values) }

    /// The value of a name; nil if there is none.
    public subscript(name: String) -> Double? { values.first { $0.name == name }?.value }

    var json: JSONValue {
        var object = JSONObject()
        object["step"] = JSONValue(step)
        for (name, value) in values { object[name] = value.isFinite ? .number(value) : .string("\(value)") }
        return .object(object)
    }
}

/// What a run came to.
public struct TrainingReport: Sendable {
    /// What was logged, in order.
    public var metrics: [TrainingMetrics] = []
    /// The last evaluation.
    public var evaluation: TrainingMetrics?
    /// The step at which the run stopped for lack of improvement; nil if it did not.
    public var stoppedEarly: Int?
    /// Steps done, those before a resumption included.
    public var steps = 0
    /// Of the wall clock, in this process.
    public var seconds = 0.0
    /// Multiply-adds that products and convolutions of the steps really did in this process, forward and backward, a step;
    /// 0 if no step was left. A masked or straight-through weight is multiplied densely, a stored sparse one is not.
    public var multiplyAddsPerStep = 0
    /// Whether no step was left when training began, as for a run that had ended before.
    public var hadNothingToDo = false

    /// A run of no step.
    public init() {}
}

/// Runs training steps: batches, gradients, optimiser, hooks, metrics, checkpoints.
///
/// With a directory, `metrics.jsonl` gets one line of JSON a log interval, `checkpoint.safetensors` everything that
/// ``resume(from:)`` needs, and `model.safetensors` the result. A run that is stopped at any moment and resumed from its
/// last checkpoint gives, bit for bit, what it would have given without the interruption.
///
/// An optimiser that has done no step begins with nothing, whatever runs before have left at the parameters; one that has goes on. Averages
/// are those of the run.
///
/// With a ``Collective``, several processes take every step together: each computes the loss of its share, gradients are added up, and all
/// take the same step (``Sharing``). The first process writes the files, which the others must be able to read when a run is resumed. All
/// need the same model, settings and kind of processor: where their parameters come to differ, the run stops with an error, after the first
/// step, at the next checkpoint or at the end.
public final class Trainer<Source: BatchSource> {
    /// What hooks see of the run.
    public let run: TrainingRun
    /// How the run goes.
    public let plan: TrainingPlan
    /// How the processes of a ``Collective`` divide a step.
    public enum Sharing: Sendable {
        /// Of the batches that ``TrainingPlan/accumulation`` averages each process takes some, in the order of ranks. What the loss draws
        /// on the tape, dropout for instance, then depends on the seed and the batch's number alone, so that the result is, up to the
        /// rounding of sums, that of ``SingleProcess`` with the same plan. Running statistics that layers keep
        /// of their batches would be other ones in every process: that is an error after the first step.
        case batches
        /// Every process is given every batch, and the loss takes its share of it: the losses of all processes add up to the loss, and
        /// anything that depends on the whole batch has to be asked of the collective.
        case withinBatches
    }

    private let source: Source
    private let hooks: [any TrainingHook]
    private let collective: any Collective
    private let sharing: Sharing
    /// Batches of a step that this process computes.
    private let parts: Range<Int>
    /// Whether randomness begins anew at every batch.
    private let drawsByBatch: Bool
    private let loss: (Source.Batch, Tape<Float>) throws -> Variable<Float>
    private let evaluate: ((Tape<Float>) throws -> [(name: String, value: Double)])?
    private let average: ParameterAverage?
    /// What the run was configured with, kept in checkpoints; see ``settings(inCheckpointOf:)``.
    public var settings: JSONValue?
    private var best = Double.infinity
    private var evaluationsSinceBest = 0
    /// The step at which the run stopped for lack of improvement.
    private var stoppedEarly: Int?
    /// Losses since the last line of metrics.
    private var recent = (sum: 0.0, count: 0)
    /// The line of the last step. It waits for what the hooks do at the end.
    private var line: [(name: String, value: Double)] = []
    private var hasBegun = false

    private var isDone: Bool { run.step >= plan.steps || stoppedEarly != nil }

    /// - Parameters:
    ///   - loss: The loss of a batch, a single number.
    ///   - evaluate: Metrics of the model on data of its own; called with a tape that neither records nor trains. The
    ///     first is the one that early stopping wants small. With several processes each computes them all.
    ///   - collective: The processes that take the steps together; nil for this one alone.
    ///   - sharing: What each of them computes.
    /// - Throws: `LacunaError.invalidArgument` for a plan that makes no run, and one that has fewer batches a step than
    ///   there are processes to share them.
    public init(
        model: any Module, optimizer: any Optimizer, source: Source, plan: TrainingPlan,
        hooks: [any TrainingHook] = [], collective: (any Collective)? = nil, sharing: Sharing = .batches,
        evaluate: ((Tape<Float>) throws -> [(name: String, value: Double)])? = nil,
        loss: @escaping (Source.Batch, Tape<Float>) throws -> Variable<Float>
    ) throws {
        try plan.validate()
        let processes = collective ?? SingleProcess()
        if sharing == .batches, plan.accumulation < processes.count {
            throw LacunaError.invalidArgument(
                "accumulation", reason: "\(plan.accumulation) batches a step for \(processes.count) processes to share")
        }
        (self.collective, self.sharing) = (processes, sharing)
        parts = sharing == .batches ? processes.share(of: plan.accumulation) : 0..<plan.accumulation
        drawsByBatch = collective != nil && sharing == .batches
        self.plan = plan
        self.source = source
        self.hooks = hooks
        self.loss = loss
        self.evaluate = evaluate
        average = plan.averageDecay.map { ParameterAverage(decay: $0) }
        run = TrainingRun(
            model: model, optimizer: optimizer, tape: Tape(seed: plan.seed), totalSteps: plan.steps, seed: plan.seed)
    }

    /// Runs all steps that are left.
    ///
    /// - Parameters:
    ///   - directory: Where metrics and checkpoints go; nil for nowhere.
    ///   - stopAfter: Step after which to return without finishing, as if the run had been interrupted.
    /// - Throws: `LacunaError.cancelled`, after a checkpoint, if the reporter says so; `.numerical` if the loss is not
    ///   finite; `.invalidArgument` if the model has nothing to train, or a group of the plan matches nothing.
    @discardableResult
    public func train(
        directory: String? = nil, progress: (any ProgressReporter)? = nil, stopAfter: Int? = nil
    ) throws -> TrainingReport {
        let directory = collective.rank == 0 ? directory : nil
        if let directory { try FileSystem.createDirectory(directory) }
        // The last line is written anew by a run that has nothing left but its end.
        let log = try directory.map { try MetricsLog($0, upTo: isDone ? run.step - 1 : run.step) }
        let begin = monotonicSeconds()
        var report = TrainingReport()
        report.stoppedEarly = stoppedEarly
        if !hasBegun {
            // An optimiser without a step would take the moments of a run before for those of its first ones.
            if run.optimizer.steps == 0 { run.optimizer.restart(run.model.parameters) }
            if average != nil {
                for parameter in run.model.parameters { parameter.removeSlot(Parameter<Float>.averageSlot) }
            }
            for hook in hooks { try hook.begin(run) }
            hasBegun = true
        }
        for hook in hooks { try hook.attach(run) }
        // Hooks may have given layers other storage, which is other parameters.
        try run.model.apply(plan.groups)
        let parameters = run.model.parameters
        try collective.requireSame(parameters, "at step \(run.step)")
        if run.step < plan.steps, !parameters.contains(where: { $0.isTrainable && $0.count > 0 }) {
            throw LacunaError.invalidArgument("model", reason: "has no parameters to train")
        }
        if run.step == plan.steps {
            report.hadNothingToDo = true
            progress?.update(
                task: "training", completed: run.step, total: plan.steps, detail: "nothing to do: no step is left")
        }
        let shared = SharedSource(source: source, of: plan.accumulation, parts: parts)
        let loader = Prefetcher(shared, first: run.step * parts.count)
        defer { loader.stop() }
        func record() throws {
            if line.isEmpty { return }
            let metrics = TrainingMetrics(step: run.step, values: line)
            report.metrics.append(metrics)
            try log?.append(metrics)
        }
        if let evaluate, plan.evaluatesFirst, run.step == 0, !isDone {
            line = try evaluated(evaluate, parameters)
            report.evaluation = TrainingMetrics(step: 0, values: line)
            try record()
            line = []
        }
        var (products, stepsHere) = (0, 0)
        while !isDone {
            run.metrics = []
            let before = run.tape.multiplyAdds
            let (value, norm) = try step(loader, parameters)
            products += run.tape.multiplyAdds - before
            stepsHere += 1
            report.multiplyAddsPerStep = products / stepsHere
            recent = (recent.sum + value, recent.count + 1)
            run.step += 1
            let isLast = run.step == plan.steps
            line = []
            if run.step % plan.logEvery == 0 || isLast {
                line = [("loss", recent.sum / Double(recent.count)), ("learning_rate", run.optimizer.learningRate)]
                if let norm { line.append(("gradient_norm", norm)) }
                recent = (0, 0)
            }
            line += run.metrics
            if let evaluate, !isLast && plan.evaluateEvery > 0 && run.step % plan.evaluateEvery == 0 {
                let found = try evaluated(evaluate, parameters)
                line += found
                report.evaluation = TrainingMetrics(step: run.step, values: found)
                if let patience = plan.patience, let first = found.first?.value {
                    if first < best {
                        best = first
                        evaluationsSinceBest = 0
                    } else {
                        evaluationsSinceBest += 1
                        if evaluationsSinceBest >= patience { stoppedEarly = run.step }
                    }
                }
            }
            report.stoppedEarly = stoppedEarly
            if !isDone { try record() }
            progress?.update(
                task: "training", completed: run.step, total: plan.steps, detail: "loss \(Self.short(value))")
            let isCancelled = try collective.any(progress?.isCancelled ?? false)
            let isInterrupted = isCancelled || run.step == stopAfter
            if stepsHere == 1 { try collective.requireSame(parameters, "after step \(run.step)") }
            if isInterrupted || isDone || (plan.checkpointEvery > 0 && run.step % plan.checkpointEvery == 0) {
                try collective.requireSame(parameters, "after step \(run.step)")
                if let directory { try saveCheckpoint(to: directory) }
                // Whoever ends the program ends that of the others.
                try collective.barrier()
            }
            if isCancelled && !isDone { throw LacunaError.cancelled }
            if isInterrupted && !isDone { return report }
        }
        run.metrics = []
        for hook in hooks { try hook.end(run) }
        line += run.metrics
        // What is evaluated last is what is kept: hooks may have masked, sliced or averaged it.
        if let evaluate, !hooks.isEmpty || report.evaluation?.step != run.step {
            let found = try evaluated(evaluate, parameters)
            line.removeAll { old in found.contains { $0.name == old.name } }
            line += found
            report.evaluation = TrainingMetrics(step: run.step, values: found)
        }
        try record()
        if let directory, plan.savesModel {
            try ModelFile.save(run.model, to: FileSystem.join(directory, "model.safetensors"))
        }
        try collective.requireSame(parameters, "at the end")
        report.steps = run.step
        report.seconds = monotonicSeconds() - begin
        return report
    }

    private func step(_ loader: Prefetcher<SharedSource<Source>>, _ parameters: [Parameter<Float>]) throws -> (
        Double, Double?
    ) {
        let tape = run.tape
        tape.isTraining = true
        tape.precision = plan.precision
        defer { tape.precision = .f32 }
        for hook in hooks { try hook.beforeStep(run) }
        for parameter in parameters { parameter.clearGradient() }
        var total = 0.0
        for (place, part) in parts.enumerated() {
            if drawsByBatch {
                let number = UInt64(run.step) &* UInt64(plan.accumulation) &+ UInt64(part)
                tape.generator = SeededGenerator(seed: plan.seed, stream: 0xBA7C_0000_0000_0000 &+ number)
            }
            var value = try loss(loader.batch(step: run.step * parts.count + place), tape)
            // Of a loss in parts one has the penalty.
            if sharing == .batches || collective.rank == 0 {
                for hook in hooks { if let term = hook.penalty(run) { value = value + term } }
            }
            total += Double(value.item)
            tape.backward(from: value, seed: 1 / Float(plan.accumulation))
        }
        total = try collective.sum(total) / Double(plan.accumulation)
        guard total.isFinite else {
            throw LacunaError.numerical(operation: "training", reason: "the loss is \(total) at step \(run.step)")
        }
        try collective.sumGradients(parameters)
        for (_, layer) in run.model.linears { try (layer.weight as? CSRWeight)?.sumDenseGradient(collective) }
        run.optimizer.learningRate = plan.learningRate(run.step)
        for hook in hooks { try hook.gradientsReady(run) }
        let norm = plan.clipNorm.map { Parameter.clipGradients(parameters, norm: $0) }
        run.optimizer.step(parameters, rowSparse: plan.rowSparse)
        for hook in hooks { try hook.afterStep(run) }
        average?.update(parameters)
        return (total, norm)
    }

    private func evaluated(
        _ evaluate: (Tape<Float>) throws -> [(name: String, value: Double)], _ parameters: [Parameter<Float>]
    ) throws -> [(name: String, value: Double)] {
        let tape = run.tape
        if let average { return try average.evaluating(parameters) { try tape.evaluating { try evaluate(tape) } } }
        return try tape.evaluating { try evaluate(tape) }
    }

    private static func short(_ value: Double) -> String {
        let scaled = (value * 10_000).rounded() / 10_000
        return "\(scaled)"
    }

    // MARK: Checkpoints

    private static var checkpointName: String { "checkpoint.safetensors" }

    /// Writes everything that ``resume(from:)`` needs; an older checkpoint is replaced in one step.
    public func saveCheckpoint(to directory: String) throws {
        func words(_ generator: SeededGenerator) -> JSONValue { .array(generator.words.map { .string(String($0)) }) }
        let state: JSONValue = [
            "step": JSONValue(run.step), "optimizer_steps": JSONValue(run.optimizer.steps),
            "optimizer": .string(run.optimizer.name), "tape": words(run.tape.generator), "run": words(run.generator),
            "best": .string("\(best)"), "since_best": JSONValue(evaluationsSinceBest),
            "hooks": .array(hooks.map(\.state)), "total_steps": JSONValue(plan.steps),
            "recent": [.string("\(recent.sum)"), JSONValue(recent.count)],
            "line": .array(line.map { [.string($0.name), .string("\($0.value)")] }),
            "stopped_early": stoppedEarly.map { JSONValue($0) } ?? .null, "settings": settings ?? .null,
        ]
        try ModelFile.save(
            run.model, to: FileSystem.join(directory, Self.checkpointName), slots: true,
            metadata: ["lacuna.training": state.serialized()])
    }

    /// Whether a directory holds a checkpoint.
    public static func hasCheckpoint(_ directory: String) -> Bool {
        FileSystem.exists(FileSystem.join(directory, checkpointName))
    }

    /// Says that a directory holds a checkpoint.
    ///
    /// - Parameter advice: What to do if it does not.
    /// - Throws: `LacunaError.file` that names the checkpoint and gives the advice.
    public static func requireCheckpoint(in directory: String, otherwise advice: String = "start it again") throws {
        try RunDirectory.require(checkpointName, in: directory, otherwise: advice)
    }

    private static func checkpoint(in directory: String) throws -> SafetensorsFile {
        try requireCheckpoint(in: directory)
        return try SafetensorsFile(FileSystem.join(directory, checkpointName))
    }

    /// The state of a run in its checkpoint's metadata.
    private static func state(of file: SafetensorsFile) throws -> JSONFields {
        guard let text = file.metadata["lacuna.training"] else {
            throw LacunaError.malformed(
                file: file.path, location: "lacuna.training", reason: "is missing: not a checkpoint of training")
        }
        return try JSONFields(JSONValue(parsing: text, file: file.path), file: file.path, location: "lacuna.training")
    }

    /// The ``settings`` that the run in a directory began with; nil if it kept none.
    ///
    /// - Throws: As ``requireCheckpoint(in:otherwise:)``, and `LacunaError.malformed`.
    public static func settings(inCheckpointOf directory: String) throws -> JSONValue? {
        let fields = try state(of: checkpoint(in: directory))
        return fields.object["settings"].flatMap { $0 == .null ? nil : $0 }
    }

    /// Takes up a run where its last checkpoint left it. Model, optimiser, source, plan and hooks must be those of the
    /// run.
    ///
    /// - Throws: As ``requireCheckpoint(in:otherwise:)``, `LacunaError.malformed`, and what
    ///   ``ModelFile/load(_:from:)-(_,String)`` throws.
    public func resume(from directory: String) throws {
        let file = try Self.checkpoint(in: directory)
        func bad(_ reason: String) -> LacunaError {
            .malformed(file: file.path, location: "lacuna.training", reason: reason)
        }
        let fields = try Self.state(of: file)
        func generator(_ key: String) throws -> SeededGenerator {
            let words = try fields.array(key).map { $0.stringValue.flatMap { UInt64($0) } ?? 0 }
            guard let generator = SeededGenerator(words: words) else { throw bad("'\(key)' is no generator's state") }
            return generator
        }
        let step = try fields.integer("step")
        guard step >= 0 && step <= plan.steps else { throw bad("step \(step) of a run of \(plan.steps)") }
        guard try fields.string("optimizer") == run.optimizer.name else { throw bad("another optimiser's") }
        let states = try fields.array("hooks")
        guard states.count == hooks.count else { throw bad("the state of \(states.count) hooks, not \(hooks.count)") }
        guard let best = Double(try fields.string("best")) else { throw bad("'best' is not a number") }
        let recent = try fields.array("recent")
        guard recent.count == 2, let sum = recent[0].stringValue.flatMap({ Double($0) }),
            let count = recent[1].intValue,
            count >= 0
        else { throw bad("'recent' is no sum of losses") }
        let line = try fields.array("line").map { entry -> (name: String, value: Double) in
            guard let pair = entry.arrayValue, pair.count == 2, let name = pair[0].stringValue,
                let value = pair[1].stringValue.flatMap({ Double($0) })
            else { throw bad("'line' is no line of metrics") }
            return (name, value)
        }
        // Brings every layer into the storage that the run trains it in.
        for hook in hooks { try hook.begin(run) }
        try ModelFile.load(run.model, from: file)
        run.step = step
        run.optimizer.steps = try fields.integer("optimizer_steps")
        run.tape.generator = try generator("tape")
        run.generator = try generator("run")
        self.best = best
        evaluationsSinceBest = try fields.integer("since_best")
        self.recent = (sum, count)
        self.line = line
        stoppedEarly = fields.object["stopped_early"]?.intValue
        for (hook, state) in zip(hooks, states) { try hook.restore(state) }
        hasBegun = true
    }
}

/// The batches of a source that one process computes, one after the other.
private struct SharedSource<Source: BatchSource>: BatchSource {
    let source: Source
    /// Batches of a step, and which of them are the process's.
    let accumulation: Int
    let parts: Range<Int>

    init(source: Source, of accumulation: Int, parts: Range<Int>) {
        (self.source, self.accumulation, self.parts) = (source, accumulation, parts)
    }

    var batchesPerEpoch: Int? { nil }
    func batch(step: Int) -> Source.Batch {
        let (step, place) = step.quotientAndRemainder(dividingBy: parts.count)
        return source.batch(step: step * accumulation + parts.lowerBound + place)
    }
}

/// Lines of JSON, one a log interval, on disk as soon as they are known.
private final class MetricsLog {
    private let path: String
    private let file: UnsafeMutablePointer<FILE>

    /// - Parameter step: Lines of later steps, which an interrupted run wrote after its last checkpoint, are dropped.
    init(_ directory: String, upTo step: Int) throws {
        path = FileSystem.join(directory, "metrics.jsonl")
        var lines: [Substring] = []
        if step > 0, FileSystem.exists(path) {
            lines = try FileSystem.readText(path).split(separator: "\n").filter {
                ((try? JSONValue(parsing: String($0)))?["step"]?.intValue ?? .max) <= step
            }
        }
        try AtomicFile.write(lines.map { $0 + "\n" }.joined(), to: path)
        guard let file = fopen(path, "a") else { throw LacunaError.file(path: path, reason: "cannot be written") }
        self.file = file
    }

    deinit { fclose(file) }

    func append(_ metrics: TrainingMetrics) throws {
        let line = metrics.json.serialized() + "\n"
        guard fputs(line, file) >= 0, fflush(file) == 0 else {
            throw LacunaError.file(path: path, reason: "cannot be written")
        }
    }
}
