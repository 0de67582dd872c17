import LacunaIO
import LacunaLearn
import LacunaSparse
import LacunaTensor

/// Continual learning in sparse sub-networks that are found by dynamic sparse training: one mask a task over one set of weights.
///
/// Every task begins with a random mask under the budget, over used and unused weights alike. What earlier tasks use it may
/// read but not change: such weights enter with their values, get no gradient, and neither momentum nor decay moves them.
/// Connections are dropped and grown (``DropAndGrow``) by gradients that are looked at before that gate, so that used weights
/// can be chosen. At the end mask, biases and norms are kept and the new weights join the others (``SubnetworkBank``): outputs
/// for earlier tasks do not change by a bit. Which task an input belongs to has to be known.
///
/// Murat Onur Yildirim, Elif Ceren Gok Yildirim, Ghada Sokar, Decebal Constantin Mocanu, Joaquin Vanschoren, "Continual
/// Learning with Dynamic Sparse Training: Exploring Algorithms for Effective Model Updates", arXiv 2308.14831. Of their rules
/// of growth those by chance and by gradient are here. The exchanged fraction starts at their 0.5.
public final class IsolatedSubnetworks: ContinualMethod {
    /// How masks are made and move. Weights are masked, whatever the settings' storage says.
    public let settings: DropAndGrow.Settings
    public var task = 0
    private var bank: SubnetworkBank!
    private var stream: TaskStream!
    private let engine: DropAndGrow
    /// What earlier tasks use, of each layer, while a task is learned.
    private var used: [[Int32]] = []

    /// Half of the connections exchanged at the first update, annealed over the whole run.
    public static func settings(
        budget: any SparsityBudget, growth: DropAndGrow.Growth = .random
    ) -> DropAndGrow.Settings {
        var settings = DropAndGrow.Settings(budget: budget, growth: growth)
        (settings.fraction, settings.end) = (0.5, 1)
        return settings
    }

    /// - Throws: `LacunaError.invalidArgument` for settings out of range.
    public init(_ settings: DropAndGrow.Settings) throws {
        var settings = settings
        settings.storage = .masked
        self.settings = settings
        engine = try DropAndGrow(settings)
    }

    public var card: MethodCard {
        MethodCard(
            name: "cl-dst", family: .sparseTraining,
            paper: .init(
                authors:
                    "Murat Onur Yildirim, Elif Ceren Gok Yildirim, Ghada Sokar, Decebal Constantin Mocanu, Joaquin "
                    + "Vanschoren",
                title:
                    "Continual Learning with Dynamic Sparse Training: Exploring Algorithms for Effective Model Updates",
                arXiv: "2308.14831"),
            composition: [
                "|w| drops, \(settings.growth == .random || settings.growth == .unvisited ? "chance" : "|\(settings.growth)|") grows",
                "exact exchange by layer",
                "a mask a task over shared, frozen weights",
            ],
            implements: [
                "a mask for every task over one set of weights, frozen to the bit",
                "growth by chance, among places never used, by gradient or by momentum",
                "norms of each task by itself",
            ],
            leavesOut: ["gradual pruning for each task"])
    }

    public var network: any Module { bank }
    /// Masks and values of the tasks; nil before there is a network.
    public var subnetworks: SubnetworkBank? { bank }

    public func prepare(_ network: any UnaryLayer, stream: TaskStream) throws {
        bank = try SubnetworkBank(network, layers: settings.layers, tasks: stream.count)
        self.stream = stream
    }

    public func begin(_ run: TrainingRun) throws {
        bank.open(task: task)
        try engine.begin(run)
        bank.hold(bank.usedPlaces())
    }

    public func attach(_ run: TrainingRun) throws {
        used = bank.usedPlaces()
        try engine.attach(run)
    }

    public func beforeStep(_ run: TrainingRun) throws { try engine.beforeStep(run) }

    public func gradientsReady(_ run: TrainingRun) throws {
        try engine.gradientsReady(run)
        // What has just grown and is used already comes with its value.
        bank.hold(used)
        bank.gate(used)
    }

    public func afterStep(_ run: TrainingRun) throws { bank.hold(used) }

    public func end(_ run: TrainingRun) throws {
        try engine.end(run)
        bank.merge(task: task)
        run.metrics.append(("used", bank.usedShare))
    }

    public func loss(_ batch: (inputs: Tensor<Float>, labels: [Int32]), on tape: Tape<Float>) -> Variable<Float> {
        let logits = bank.network(tape.constant(batch.inputs))
        return Loss.crossEntropy(TaskHead.only(stream.classes[task], of: logits), labels: batch.labels)
    }

    public func outputs(_ inputs: Variable<Float>, task: Int) -> Variable<Float> {
        bank.withTask(task) { $0(inputs) }
    }

    public func predictions(_ inputs: Tensor<Float>, task: Int) -> [Int32] {
        let tape = Tape<Float>()
        return TaskHead.classes(
            tape.evaluating { outputs(tape.constant(inputs), task: task).value }, among: stream.classes[task])
    }

    /// The sub-network of a task, stored as compressed rows.
    public func network(forTask task: Int) -> (any UnaryLayer)? {
        guard task < bank.masks.count else { return nil }
        return bank.withTask(task) { NeuronRemoval.restricted($0, toOutputs: stream.classes[task]) }
    }

    public var state: JSONValue { engine.state }
    public func restore(_ state: JSONValue) throws { try engine.restore(state) }
}
