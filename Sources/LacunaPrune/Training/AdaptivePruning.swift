import LacunaIO
import LacunaLearn
import LacunaSparse
import LacunaTensor

/// Iterative pruning at the rate that the weights themselves ask for.
///
/// The run is cut into rounds of equal length. After each but the last, the PQ index of the weights in use says what share
/// of them can go (``PQIndex/pruneShare(index:eta:gamma:limit:)``); so many of the smallest, over all layers together, are
/// removed. The others return to where they began (`rewinds`) or stay, with empty optimiser state, and train on.
///
/// Enmao Diao, Ganghua Wang, Jiawei Zhan, Yuhong Yang, Jie Ding, Vahid Tarokh, "Pruning Deep Neural Networks from a Sparsity
/// Perspective", arXiv 2302.05601. Give the run a schedule that restarts with every round. By layer, each layer's own index
/// says what it loses. The authors prune the best network of a round, which has to be judged by examples held out
/// (`looks` times a round); by default it is the last one.
public final class AdaptivePruning: JudgedMethod {
    /// What has one index.
    public enum Scope: String, Sendable, Hashable, CaseIterable {
        /// All layers together, pruned under one threshold.
        case global
        /// Each layer by itself.
        case layer
    }

    /// What measures how unequal the weights in use are.
    public let index: PQIndex
    /// Trainings of equal length; there is one pruning fewer.
    public let rounds: Int
    /// η, above -1: larger values prune more.
    public let eta: Double
    /// γ, 0 or more: the share that the index allows is multiplied by this.
    public let gamma: Double
    /// β: the largest share that one round may remove.
    public let limit: Double
    /// Whether the weights that stay return to their first values.
    public let rewinds: Bool
    /// The layers that are pruned, under one threshold. Their weights are dense.
    public let layers: LayerChoice
    /// What has one index.
    public let scope: Scope
    /// How often in a round the network is judged, so that the best is pruned; 0 for the last.
    public let looks: Int
    public var judge: TrainingJudge?
    private var chosen: [Linear] = []
    /// The quality of the best network of the round so far.
    private var best = -Double.infinity
    private static let start = "pq-index.start"
    private static let bestSlot = "pq-index.best"

    /// - Throws: `LacunaError.invalidArgument` for settings out of range.
    public init(
        index: PQIndex, rounds: Int = 5, eta: Double = 0, gamma: Double = 1, limit: Double = 0.9, rewinds: Bool = true,
        scope: Scope = .global, looks: Int = 0, layers: LayerChoice = .all
    ) throws {
        guard looks >= 0 else { throw LacunaError.invalidArgument("looks", reason: "\(looks) is negative") }
        guard rounds >= 1 else { throw LacunaError.invalidArgument("rounds", reason: "\(rounds) is not at least 1") }
        guard eta > -1, eta.isFinite else {
            throw LacunaError.invalidArgument("eta", reason: "\(eta) is not above -1")
        }
        guard gamma >= 0, gamma.isFinite else {
            throw LacunaError.invalidArgument("gamma", reason: "\(gamma) is no factor")
        }
        guard (0...1).contains(limit) else {
            throw LacunaError.invalidArgument("limit", reason: "\(limit) is not in 0...1")
        }
        self.index = index
        self.rounds = rounds
        self.eta = eta
        self.gamma = gamma
        self.limit = limit
        self.rewinds = rewinds
        self.scope = scope
        self.looks = looks
        self.layers = layers
    }

    public var needsJudge: Bool { looks > 0 }

    public var card: MethodCard {
        MethodCard(
            name: "pq-index", family: .sparseTraining,
            paper: .init(
                authors: "Enmao Diao, Ganghua Wang, Jiawei Zhan, Yuhong Yang, Jie Ding, Vahid Tarokh",
                title: "Pruning Deep Neural Networks from a Sparsity Perspective", arXiv: "2302.05601"),
            composition: ["|w|", "all layers together, at the rate of the PQ index", "rounds of training"],
            implements: [
                "index and bound, any p and q",
                "one index for all layers or one each",
                "the best network of a round by examples held out",
            ],
            leavesOut: ["an index for each neuron"])
    }

    public func begin(_ run: TrainingRun) throws {
        _ = try layers.layers(of: run.model)
        best = -.infinity
        guard rewinds else { return }
        for parameter in run.model.parameters where parameter.isTrainable {
            parameter.slot(Self.start).update(from: parameter.buffer.pointer, count: parameter.count)
        }
    }

    /// - Throws: `LacunaError.invalidArgument` if the run has fewer steps than rounds.
    public func attach(_ run: TrainingRun) throws {
        try PhasedRun(run, phases: rounds).requireSteps()
        if needsJudge { _ = try requireJudge() }
        chosen = try layers.layers(of: run.model).map(\.layer)
    }

    public func afterStep(_ run: TrainingRun) throws {
        let phased = PhasedRun(run, phases: rounds)
        try look(run, phased)
        guard phased.endsPhaseButLast else { return }
        takeBest(run)
        let value = index.value(IterativePruning.activeValues(chosen))
        for part in scope == .global ? [chosen] : chosen.map({ [$0] }) {
            let value = scope == .global ? value : index.value(IterativePruning.activeValues(part))
            guard value.isFinite else {
                throw LacunaError.numerical(
                    operation: "pq-index", reason: "weights are not finite at step \(run.step)")
            }
            try IterativePruning.prune(
                part, share: index.pruneShare(index: value, eta: eta, gamma: gamma, limit: limit))
        }
        run.optimizer.restart(run.model.parameters)
        for parameter in run.model.parameters where rewinds && parameter.isTrainable {
            parameter.buffer.pointer.update(from: parameter.slot(Self.start), count: parameter.count)
            parameter.applyMask()
        }
        run.metrics += [("pq_index", value), ("density", IterativePruning.density(chosen))]
    }

    /// Judges the network at equal distances, the last step of the round included, and keeps it if it is the best so far.
    private func look(_ run: TrainingRun, _ phased: PhasedRun) throws {
        guard looks > 0 else { return }
        let round = min((phased.done - 1) / phased.length, rounds - 1)
        let length = round == rounds - 1 ? phased.steps - round * phased.length : phased.length
        let done = phased.done - round * phased.length
        guard done == length || done % max(1, length / looks) == 0 else { return }
        let found = try requireJudge().quality()
        guard found > best || best == -.infinity else { return }
        best = found.isNaN ? -.greatestFiniteMagnitude : found
        for parameter in run.model.parameters {
            parameter.slot(Self.bestSlot).update(from: parameter.buffer.pointer, count: parameter.count)
        }
    }

    private func takeBest(_ run: TrainingRun) {
        guard looks > 0, best > -.infinity else { return }
        for parameter in run.model.parameters {
            parameter.buffer.pointer.update(from: parameter.slot(Self.bestSlot), count: parameter.count)
            parameter.removeSlot(Self.bestSlot)
            parameter.noteChange()
        }
        run.metrics.append(("best_quality", best))
        best = -.infinity
    }

    public var state: JSONValue { .string("\(best)") }
    public func restore(_ state: JSONValue) throws {
        guard let value = state.stringValue.flatMap({ Double($0) }) else {
            throw LacunaError.malformed(file: "checkpoint", location: "pq-index", reason: "has no best quality")
        }
        best = value
    }

    public func end(_ run: TrainingRun) throws {
        takeBest(run)
        for parameter in run.model.parameters { parameter.removeSlot(Self.start) }
        run.metrics.append(("density", IterativePruning.density(chosen)))
    }
}

/// A run in phases of equal length; what does not divide goes to the last.
struct PhasedRun {
    /// Steps of each phase but the last.
    let length: Int
    let phases: Int
    /// Steps of the whole run.
    let steps: Int
    /// Steps done when hooks are called after a step.
    let done: Int

    init(_ run: TrainingRun, phases: Int) {
        self.phases = phases
        length = max(1, run.totalSteps / phases)
        steps = run.totalSteps
        done = run.step + 1
    }

    /// - Throws: `LacunaError.invalidArgument` for fewer steps than phases.
    func requireSteps() throws {
        if steps < phases {
            throw LacunaError.invalidArgument("steps", reason: "\(steps) are too few for \(phases) phases")
        }
    }

    /// Whether the present step is the last of a phase after which another comes.
    var endsPhaseButLast: Bool { done % length == 0 && done / length < phases }
    /// The number of the phase that the present step ends, from 0.
    var phase: Int { min(done / length, phases) - 1 }
}
