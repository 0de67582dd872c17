import LacunaLearn
import LacunaTensor

/// A small network that says from which domain a row comes: what ``LatentLabelShift`` makes profiles of.
///
/// It learns from most of the rows and keeps the parameters of the epoch that was best on the rest.
public struct DomainDiscriminator: Sendable {
    /// Widths of the hidden layers.
    public var hidden: [Int]
    /// Passes over the rows that are learnt from, at least 1.
    public var epochs: Int
    /// Rows of a step, at least 1.
    public var batch: Int
    /// Falls to a twentieth over the epochs.
    public var learningRate: Double
    /// Share of the rows that are held out to choose the epoch, between 0 and 1.
    public var heldOut: Double
    /// Of the network's start, of batches, and of which rows are held out.
    public var seed: UInt64
    /// Told how far the work is; its error, as when a user cancels, ends it.
    public var progress: (any ProgressReporter)?

    /// Settings as their properties say.
    public init(
        hidden: [Int] = [64, 64], epochs: Int = 40, batch: Int = 64, learningRate: Double = 3e-3, heldOut: Double = 0.2,
        seed: UInt64 = 0, progress: (any ProgressReporter)? = nil
    ) {
        require(hidden.allSatisfy { $0 > 0 } && epochs > 0 && batch > 0 && learningRate > 0)
        require(heldOut > 0 && heldOut < 1)
        self.hidden = hidden
        self.epochs = epochs
        self.batch = batch
        self.learningRate = learningRate
        self.heldOut = heldOut
        self.seed = seed
        self.progress = progress
    }

    /// What the network says, and how good that is.
    public struct Result: Sendable {
        /// `p(d|x)` of every row, as if all domains had as many rows [n, domains].
        public let profiles: Tensor<Double>
        /// Mean cross-entropy of the rows held out, in nats, and what it would be if rows told nothing of their domains.
        public let loss, chance: Double
        /// The epoch that was kept, from 1.
        public let epoch: Int
    }

    /// - Parameters:
    ///   - rows: [n, features], of about unit spread.
    ///   - domains: Of each row, from 0; every number up to the largest occurs.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for sizes that differ, fewer than two domains, domains with fewer than two
    ///   rows, no features and numbers that are not finite; ``LacunaError/resource(_:needed:available:)`` for profiles that do not fit into memory;
    ///   ``LacunaError/cancelled``.
    public func profiles(_ rows: Tensor<Double>, domains: [Int]) throws -> Result {
        let (n, last) = (rows.rows, domains.max() ?? -1)
        guard domains.count == n, domains.allSatisfy({ $0 >= 0 }), last >= 1 else {
            throw LacunaError.invalidArgument(
                "domains", reason: "are \(domains.count) numbers up to \(last), of \(n) rows; at least two are needed")
        }
        guard rows.columns > 0, rows.scalars.allSatisfy(\.isFinite) else {
            throw LacunaError.invalidArgument("rows", reason: "have no features, or a number that is not finite")
        }
        // Each domain has two rows: with more domains than half of the rows one of them has fewer.
        guard last < n / 2 else {
            throw LacunaError.invalidArgument("domains", reason: "one has fewer than two rows")
        }
        let d = last + 1
        var members = [[Int]](repeating: [], count: d)
        for (row, domain) in domains.enumerated() { members[domain].append(row) }
        guard members.allSatisfy({ $0.count >= 2 }) else {
            throw LacunaError.invalidArgument("domains", reason: "one has fewer than two rows")
        }
        try MachineMemory.require(shape: [2, n, d], of: Double.self, for: "profiles of \(n) rows in \(d) domains")
        var generator = SeededGenerator(seed: seed, stream: 0xD15C)
        // Every domain has its share in both parts.
        var (inside, outside): ([Int], [Int]) = ([], [])
        var (learntSizes, heldSizes) = ([Double](repeating: 0, count: d), [Double](repeating: 0, count: d))
        for domain in 0..<d {
            let own = members[domain].shuffled(using: &generator)
            let held = min(own.count - 1, max(1, Int((heldOut * Double(own.count)).rounded())))
            outside += own.prefix(held)
            inside += own.dropFirst(held)
            (learntSizes[domain], heldSizes[domain]) = (Double(own.count - held), Double(held))
        }
        let inputs = Tensor<Float>(rows.scalars.map { Float($0) }, shape: rows.shape)
        let examples = try LabelledExamples(inputs: inputs, labels: domains.map { Int32($0) }, classes: d)
        func part(_ places: [Int]) throws -> LabelledExamples {
            let (inputs, labels) = examples.selecting(places.sorted())
            return try LabelledExamples(inputs: inputs, labels: labels, classes: d)
        }
        let (learnt, held) = (try part(inside), try part(outside))
        let model = MLP(widths: [rows.columns] + hidden + [d], using: &generator)
        let source = ShuffledBatches(learnt, batchSize: batch, seed: seed)
        let perEpoch = source.batchesPerEpoch ?? 1
        var plan = TrainingPlan(
            steps: epochs * perEpoch,
            learningRate: .exponential(from: learningRate, to: learningRate / 20, steps: epochs * perEpoch))
        (plan.seed, plan.logEvery) = (seed, max(1, epochs * perEpoch))
        let keeper = BestEpoch(model, held, stepsPerEpoch: perEpoch, epochs: epochs, progress: progress)
        _ = try Trainer(
            model: model, optimizer: Adam(learningRate: learningRate), source: source, plan: plan, hooks: [keeper],
            loss: { batch, tape in Loss.crossEntropy(model(tape.constant(batch.inputs)), labels: batch.labels) }
        ).train()
        let log = Self.logProbabilities(model, examples)
        // As if domains had as many rows each.
        var profiles = Tensor<Double>(zeros: [n, d])
        for i in 0..<n {
            let values = (0..<d).map { exponential(Double(log[i, $0])) / learntSizes[$0] }
            let sum = values.reduce(0, +)
            for j in 0..<d { profiles[i, j] = values[j] / sum }
        }
        let chance = (0..<d).reduce(0) { sum, domain in
            let share = heldSizes[domain] / Double(outside.count)
            return sum - (share > 0 ? share * logarithm(learntSizes[domain] / Double(inside.count)) : 0)
        }
        return Result(profiles: profiles, loss: keeper.best, chance: chance, epoch: keeper.epoch)
    }

    /// Logarithms of probabilities [n, domains].
    fileprivate static func logProbabilities(_ model: MLP, _ examples: LabelledExamples) -> Tensor<Float> {
        let tape = Tape<Float>()
        var all: [Float] = []
        for start in stride(from: 0, to: examples.count, by: 1000) {
            let inputs = examples.selecting(start..<min(start + 1000, examples.count)).inputs
            let logits = tape.evaluating { model(tape.constant(inputs)).value }
            for i in 0..<logits.rows {
                let row = (0..<logits.columns).map { Double(logits[i, $0]) }
                let largest = row.max() ?? 0
                let sum = row.reduce(0) { $0 + exponential($1 - largest) }
                all += row.map { Float($0 - largest - logarithm(sum)) }
            }
        }
        return Tensor(all, shape: [examples.count, all.count / max(examples.count, 1)])
    }
}

/// Keeps the parameters of the epoch that loses least on examples held out, and restores them at the end.
private final class BestEpoch: TrainingHook {
    private let model: MLP
    private let held: LabelledExamples
    private let stepsPerEpoch, epochs: Int
    private let progress: (any ProgressReporter)?
    private(set) var best = Double.infinity
    private(set) var epoch = 0
    private var values: [Tensor<Float>] = []

    init(
        _ model: MLP, _ held: LabelledExamples, stepsPerEpoch: Int, epochs: Int, progress: (any ProgressReporter)?
    ) {
        (self.model, self.held, self.progress) = (model, held, progress)
        (self.stepsPerEpoch, self.epochs) = (stepsPerEpoch, epochs)
    }

    private var parameters: [Parameter<Float>] { model.parameters }

    func afterStep(_ run: TrainingRun) throws {
        guard (run.step + 1) % stepsPerEpoch == 0 else { return }
        let now = (run.step + 1) / stepsPerEpoch
        let log = DomainDiscriminator.logProbabilities(model, held)
        let loss =
            held.labels.enumerated().reduce(0.0) { $0 - Double(log[$1.offset, Int($1.element)]) }
            / Double(held.count)
        try progress.report("learning domains", now, of: epochs, "loss \(loss)")
        if loss < best { (best, epoch, values) = (loss, now, parameters.map(\.value)) }
    }

    func end(_ run: TrainingRun) throws {
        for (parameter, value) in zip(parameters, values) { parameter.value = value }
    }
}
