import LacunaLearn
import LacunaTensor

/// Trains dictionaries: several in one pass over the same activations if need be, each as if it were alone.
///
/// ```swift
/// let dictionary = try SparseAutoencoder(.init(inputDimensions: 64, width: 256, rule: .topK(8)), seed: 1)
/// let trainer = try DictionaryTrainer(
///     [(dictionary, DictionaryTraining())], source: ActivationRows(activations, batchSize: 256, seed: 1), steps: 2000)
/// let report = try trainer.train()
/// ```
///
/// A run that is stopped at any moment and resumed from its last checkpoint gives, bit for bit, what it would have
/// given without the interruption.
public final class DictionaryTrainer<Source: BatchSource> where Source.Batch == ActivationBatch {
    private let trainer: Trainer<Source>

    /// The dictionaries and what is known about the use of their features.
    private final class Collection: Module {
        let learners: [DictionaryLearner]
        init(_ learners: [DictionaryLearner]) { self.learners = learners }
        var parts: [(name: String, part: Any)] {
            learners.enumerated().flatMap { i, learner in
                [("\(i)", learner.dictionary as Any), ("\(i).use", learner.use as Any)]
            }
        }
    }

    /// - Parameters:
    ///   - dictionaries: Are trained in place.
    ///   - checkpointEvery: Steps between checkpoints; 0 for none but the last.
    ///   - logEvery: Steps between lines of metrics: `unexplained` (the share of variance that the batch's
    ///     reconstruction lacks), `active` (features a token) and `dead` (share of features), with the dictionary's
    ///     number before them if there are several.
    ///   - collective: Processes that train together: of every batch, which all have to be given, each takes its share of the
    ///     tokens. Rules that look at a batch look at all of it, and the result is, up to the rounding of sums, that of one process.
    ///     The first writes the files. See ``Trainer``.
    /// - Throws: `LacunaError.invalidArgument` for settings that cannot work, before anything is trained.
    public init(
        _ dictionaries: [(dictionary: SparseAutoencoder, settings: DictionaryTraining)], source: Source, steps: Int,
        checkpointEvery: Int = 0, logEvery: Int = 50, collective: any Collective = SingleProcess()
    ) throws {
        guard let first = dictionaries.first else {
            throw LacunaError.invalidArgument("dictionaries", reason: "there are none")
        }
        guard steps >= 1, logEvery >= 1 else {
            throw LacunaError.invalidArgument("steps", reason: "\(steps) steps, a line every \(logEvery)")
        }
        var learners: [DictionaryLearner] = []
        for (index, (dictionary, settings)) in dictionaries.enumerated() {
            guard
                (settings.beta1, settings.beta2) == (first.settings.beta1, first.settings.beta2),
                settings.schedule(steps: steps) == first.settings.schedule(steps: steps)
            else {
                throw LacunaError.invalidArgument(
                    "dictionaries", reason: "dictionaries of one run share Adam's averages and the course of its rate")
            }
            learners.append(
                try DictionaryLearner(
                    dictionary, settings, steps: steps, logEvery: logEvery,
                    label: dictionaries.count > 1 ? "\(index)" : "", collective: collective,
                    batch: { source.batch(step: $0) }))
        }
        var plan = TrainingPlan(steps: steps, learningRate: first.settings.schedule(steps: steps))
        plan.checkpointEvery = checkpointEvery
        plan.logEvery = logEvery
        let step = StepCounter()
        trainer = try Trainer(
            model: Collection(learners),
            optimizer: Adam(learningRate: 1, beta1: first.settings.beta1, beta2: first.settings.beta2), source: source,
            plan: plan, hooks: learners + [step], collective: collective, sharing: .withinBatches,
            loss: { batch, tape in
                var total = try learners[0].loss(batch, on: tape, step: step.value)
                for learner in learners.dropFirst() {
                    total = total + (try learner.loss(batch, on: tape, step: step.value))
                }
                return total
            })
    }

    /// What training takes, before anything is made: parameters, gradients and Adam's two averages, what the decoder's directions
    /// are kept at norm 1 with, and for a batch the strengths of all features, forwards and backwards.
    ///
    /// - Parameters:
    ///   - dictionaries: How many are trained at once.
    ///   - batch: Tokens of a batch.
    /// - Throws: `LacunaError.resource` if the machine has not that much memory.
    public static func requireMemory(
        dictionaries: Int, inputs: Int, width: Int, batch: Int
    ) throws {
        let what = "training \(dictionaries) dictionaries of \(width) features"
        let (rows, overflow) = batch.addingReportingOverflow(10 * inputs)
        guard !overflow else {
            throw LacunaError.resource("memory for \(what)", needed: .max, available: MachineMemory.available)
        }
        try MachineMemory.require(shape: [dictionaries, width, rows], of: Float.self, for: what)
    }

    /// What the run was configured with, kept in checkpoints.
    public var settings: JSONValue? {
        get { trainer.settings }
        set { trainer.settings = newValue }
    }

    /// Runs all steps that are left. The dictionaries then take activations as they are.
    ///
    /// - Parameters:
    ///   - directory: Where metrics and checkpoints go; nil for nowhere.
    ///   - stopAfter: Step after which to return without finishing, as if the run had been interrupted.
    /// - Throws: `LacunaError.numerical` naming a batch that is not finite, `.invalidArgument` for one of another
    ///   shape, `.cancelled`.
    @discardableResult
    public func train(
        directory: String? = nil, progress: (any ProgressReporter)? = nil, stopAfter: Int? = nil
    ) throws -> TrainingReport {
        try trainer.train(directory: directory, progress: progress, stopAfter: stopAfter)
    }

    /// Takes up a run where its last checkpoint left it. Dictionaries, settings and source must be those of the run.
    ///
    /// - Throws: What ``Trainer/resume(from:)`` throws.
    public func resume(from directory: String) throws { try trainer.resume(from: directory) }

    /// The ``settings`` that the run in a directory began with; nil if it kept none.
    ///
    /// - Throws: `LacunaError.file` and `.malformed`.
    public static func settings(inCheckpointOf directory: String) throws -> JSONValue? {
        try Trainer<Source>.settings(inCheckpointOf: directory)
    }

    /// Whether a directory holds a checkpoint.
    public static func hasCheckpoint(_ directory: String) -> Bool { Trainer<Source>.hasCheckpoint(directory) }

    /// Says that a directory holds a checkpoint.
    ///
    /// - Parameter advice: What to do if it does not.
    /// - Throws: ``LacunaError/file(path:reason:)`` that names the checkpoint and gives the advice.
    public static func requireCheckpoint(in directory: String, otherwise advice: String = "start it again") throws {
        try Trainer<Source>.requireCheckpoint(in: directory, otherwise: advice)
    }
}

/// Tells losses the step.
private final class StepCounter: TrainingHook {
    var value = 0
    func beforeStep(_ run: TrainingRun) throws { value = run.step }
}

extension SparseAutoencoder {
    /// Trains this dictionary by itself. See ``DictionaryTrainer``.
    @discardableResult
    public func train<Source: BatchSource>(
        on source: Source, steps: Int, _ settings: DictionaryTraining = DictionaryTraining(),
        progress: (any ProgressReporter)? = nil
    ) throws -> TrainingReport where Source.Batch == ActivationBatch {
        try DictionaryTrainer([(self, settings)], source: source, steps: steps).train(progress: progress)
    }
}
