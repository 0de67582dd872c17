import LacunaIO
import LacunaLearn
import LacunaTensor

/// What a run trains on what: a model, its data, and how the two meet. One for each kind of data.
///
/// A room of its own kind of data gives ``TrainingJob/Environment`` a reader of it, and has methods, phases, checkpoints and
/// resuming of every other run.
public protocol JobTask: AnyObject {
    /// What is trained.
    var model: any Module { get }
    /// The data, in a sentence.
    var summary: String { get }
    /// Batches in which every example comes once.
    var batchesPerEpoch: Int { get }
    /// The trainer of one phase. The order of batches follows the plan's seed.
    ///
    /// - Parameter collective: The processes that train together; nil for this one alone.
    func trainer(
        _ plan: TrainingPlan, _ optimizer: any Optimizer, _ method: (any TrainingMethod)?,
        _ collective: (any Collective)?
    ) throws -> any PhaseTrainer
    /// The cost of one example, or of one window of text.
    func ledger() -> Ledger
    /// Whether a run's directory gets `model.safetensors`: not where ``save(to:)`` writes the weights.
    var savesModel: Bool { get }
    /// Cuts out what a finished run has silenced. Whether there was anything.
    func shrink() -> Bool
    /// Writes what other verbs read of the result.
    func save(to directory: String) throws
}

extension JobTask {
    public var savesModel: Bool { true }
    public func shrink() -> Bool { false }

    /// The hooks of a method, which are the method itself.
    public func hooks(_ method: (any TrainingMethod)?) -> [any TrainingHook] { method.map { [$0] } ?? [] }
}

/// A trainer whatever its batches are.
public protocol PhaseTrainer: AnyObject {
    /// What checkpoints keep of the run's configuration.
    var settings: JSONValue? { get set }
    /// What the checkpoint of a run in a directory kept of its configuration.
    ///
    /// - Throws: As reading the checkpoint.
    func settings(inCheckpointOf directory: String) throws -> JSONValue?
    /// Goes on from a directory's checkpoint.
    ///
    /// - Throws: As reading the checkpoint, and for one of another model.
    func resume(from directory: String) throws
    /// Trains to the end of the plan.
    ///
    /// - Parameter directory: Where metrics and checkpoints go; nil for nowhere.
    /// - Throws: `LacunaError.cancelled` after writing a checkpoint, and what the loss throws.
    func train(directory: String?, progress: (any ProgressReporter)?) throws -> TrainingReport
}

extension Trainer: PhaseTrainer {
    public func settings(inCheckpointOf directory: String) throws -> JSONValue? {
        try Self.settings(inCheckpointOf: directory)
    }

    public func train(directory: String?, progress: (any ProgressReporter)?) throws -> TrainingReport {
        try train(directory: directory, progress: progress, stopAfter: nil)
    }
}
