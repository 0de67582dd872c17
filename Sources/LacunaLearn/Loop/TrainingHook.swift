import LacunaIO
import LacunaTensor

/// What hooks see and may change of a running training.
public final class TrainingRun {
    /// The network that is trained.
    public let model: any Module
    /// What changes its parameters.
    public let optimizer: any Optimizer
    /// What its steps are recorded on.
    public let tape: Tape<Float>
    /// Steps of the whole run.
    public let totalSteps: Int
    /// The present step, from 0.
    public internal(set) var step = 0
    /// For hooks that draw random numbers. Its state is part of checkpoints.
    public var generator: SeededGenerator
    /// Numbers that hooks want in the metrics of this step.
    public var metrics: [(name: String, value: Double)] = []

    /// A run before its first step.
    ///
    /// - Parameter seed: Decides what ``generator`` gives.
    public init(model: any Module, optimizer: any Optimizer, tape: Tape<Float>, totalSteps: Int, seed: UInt64) {
        self.model = model
        self.optimizer = optimizer
        self.tape = tape
        self.totalSteps = totalSteps
        generator = SeededGenerator(seed: seed, stream: 0x400C)
    }

    /// The share of the run that is done, 0..<1.
    public var progress: Double { Double(step) / Double(max(totalSteps, 1)) }
}

/// What a training method does around the steps: choose masks, change patterns, add penalties.
///
/// All methods have defaults that do nothing.
public protocol TrainingHook: AnyObject {
    /// Before the first step, and before a resumed run reads its checkpoint, which then replaces parameters, masks and
    /// positions: the place to change the storage of layers.
    func begin(_ run: TrainingRun) throws
    /// At the start of a process's work on a run, first or resumed, after ``begin(_:)`` or ``restore(_:)``: the place to
    /// attach views to layers.
    func attach(_ run: TrainingRun) throws
    /// Before the forward pass of every step.
    func beforeStep(_ run: TrainingRun) throws
    /// When the gradients are known, before the optimiser.
    func gradientsReady(_ run: TrainingRun) throws
    /// After the optimiser.
    func afterStep(_ run: TrainingRun) throws
    /// After the last step.
    func end(_ run: TrainingRun) throws
    /// A term to add to the loss.
    func penalty(_ run: TrainingRun) -> Variable<Float>?
    /// What a resumed run needs besides parameters, masks and optimiser state.
    var state: JSONValue { get }
    /// Takes back what ``state`` gave.
    ///
    /// - Throws: `LacunaError` for a state that is none of the hook's.
    func restore(_ state: JSONValue) throws
}

extension TrainingHook {
    public func begin(_ run: TrainingRun) throws {}
    public func attach(_ run: TrainingRun) throws {}
    public func beforeStep(_ run: TrainingRun) throws {}
    public func gradientsReady(_ run: TrainingRun) throws {}
    public func afterStep(_ run: TrainingRun) throws {}
    public func end(_ run: TrainingRun) throws {}
    public func penalty(_ run: TrainingRun) -> Variable<Float>? { nil }
    public var state: JSONValue { .null }
    public func restore(_ state: JSONValue) throws {}
}
