import LacunaIO
import LacunaLearn
import LacunaTensor

/// What a run trains on what: a model, its data, and how the two meet. One for each kind of data.
protocol JobTask: AnyObject {
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
    var savesModel: Bool { true }
    func shrink() -> Bool { false }

    func hooks(_ method: (any TrainingMethod)?) -> [any TrainingHook] { method.map { [$0] } ?? [] }
}

/// A trainer whatever its batches are.
protocol PhaseTrainer: AnyObject {
    var settings: JSONValue? { get set }
    func settings(inCheckpointOf directory: String) throws -> JSONValue?
    func resume(from directory: String) throws
    func train(directory: String?, progress: (any ProgressReporter)?) throws -> TrainingReport
}

extension Trainer: PhaseTrainer {
    func settings(inCheckpointOf directory: String) throws -> JSONValue? {
        try Self.settings(inCheckpointOf: directory)
    }

    func train(directory: String?, progress: (any ProgressReporter)?) throws -> TrainingReport {
        try train(directory: directory, progress: progress, stopAfter: nil)
    }
}
