import LacunaLearn
import LacunaSparse
import LacunaTensor

/// Lottery tickets: rounds of training, each of which ends with the smallest weights gone and the others where they were early in the first.
///
/// The run is cut into rounds of equal length. After each but the last, a share of the weights that are left goes, the smallest of all
/// layers together, and everything that is trained returns to its value after the first `rewind` steps, with an empty optimiser; the last
/// round trains the ticket that is left. Give the run a schedule that restarts with every round.
///
/// Jonathan Frankle, Gintare Karolina Dziugaite, Daniel M. Roy, Michael Carbin, "Linear Mode Connectivity and the Lottery Ticket
/// Hypothesis", arXiv 1912.05671. How such tickets transfer: ``TransferAudit``.
public final class RewoundPruning: TrainingMethod {
    /// Trainings of equal length; there is one pruning fewer.
    public let rounds: Int
    /// Share of the weights left that a round removes, 0..<1.
    public let share: Double
    /// Steps of the first round after which weights are kept to return to; 0 for the first weights.
    public let rewind: Int
    /// The layers that are pruned, under one threshold. Their weights are dense.
    public let layers: LayerChoice
    /// Sees the trained network of every round, before it is pruned: a ticket of density `(1 - share)^round`.
    public var ticket: ((_ round: Int) throws -> Void)?
    private var chosen: [Linear] = []
    private static let start = "imp.start"

    /// - Throws: `LacunaError.invalidArgument` for settings out of range.
    public init(
        rounds: Int = 9, share: Double = 0.2, rewind: Int = 0, layers: LayerChoice = .allButOutput
    ) throws {
        guard rounds >= 1 else { throw LacunaError.invalidArgument("rounds", reason: "\(rounds) is not at least 1") }
        guard (0..<1).contains(share) else {
            throw LacunaError.invalidArgument("share", reason: "\(share) is not in 0..<1")
        }
        guard rewind >= 0 else { throw LacunaError.invalidArgument("rewind", reason: "\(rewind) is negative") }
        (self.rounds, self.share, self.rewind, self.layers) = (rounds, share, rewind, layers)
    }

    public var card: MethodCard {
        MethodCard(
            name: "imp", family: .sparseTraining,
            paper: .init(
                authors: "Jonathan Frankle, Gintare Karolina Dziugaite, Daniel M. Roy, Michael Carbin",
                title: "Linear Mode Connectivity and the Lottery Ticket Hypothesis", arXiv: "1912.05671"),
            composition: ["|w|", "all layers together, a share a round", "rounds of training from early weights"],
            implements: ["rounds with rewinding to any step", "tickets of every round"])
    }

    public func begin(_ run: TrainingRun) throws {
        _ = try layers.layers(of: run.model)
        if rewind == 0 { keep(run) }
    }

    /// - Throws: `LacunaError.invalidArgument` for a run of fewer steps than rounds, or whose first round is over before the step to return to;
    ///   `.unsupported` for weights that are not dense.
    public func attach(_ run: TrainingRun) throws {
        try PhasedRun(run, phases: rounds).requireSteps()
        guard rewind < PhasedRun(run, phases: rounds).length else {
            throw LacunaError.invalidArgument("rewind", reason: "step \(rewind) is not within the first round")
        }
        let found = try layers.layers(of: run.model)
        for (name, layer) in found where layer.dense == nil {
            throw LacunaError.unsupported(file: nil, what: "pruning \(layer.weight.storage) weights ('\(name)')")
        }
        chosen = found.map(\.layer)
    }

    private func keep(_ run: TrainingRun) {
        for parameter in run.model.parameters where parameter.isTrainable {
            parameter.slot(Self.start).update(from: parameter.buffer.pointer, count: parameter.count)
        }
    }

    public func afterStep(_ run: TrainingRun) throws {
        if run.step + 1 == rewind { keep(run) }
        let phased = PhasedRun(run, phases: rounds)
        guard phased.endsPhaseButLast else { return }
        try ticket?(phased.phase)
        try IterativePruning.prune(chosen, share: share)
        run.optimizer.restart(run.model.parameters)
        for parameter in run.model.parameters where parameter.isTrainable {
            parameter.buffer.pointer.update(from: parameter.slot(Self.start), count: parameter.count)
            parameter.noteChange()
            parameter.applyMask()
        }
        run.metrics.append(("density", IterativePruning.density(chosen)))
    }

    public func end(_ run: TrainingRun) throws {
        try ticket?(rounds - 1)
        for parameter in run.model.parameters { parameter.removeSlot(Self.start) }
        run.metrics.append(("density", IterativePruning.density(chosen)))
    }
}
