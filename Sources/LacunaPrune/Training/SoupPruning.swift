import LacunaIO
import LacunaLearn
import LacunaSparse
import LacunaTensor

/// Iterative pruning with soups: in every round several copies are trained from one pruned network, on batches in another
/// order each, and their mean goes into the next.
///
/// The run is cut into a dense beginning and `rounds` rounds of `copies` trainings each, all of equal length. Each round
/// begins with global pruning by magnitude, after which the share in use is that of `1 - sparsity` to the power of
/// `round / rounds`. As the copies of a round have one mask, their mean is as sparse as each.
///
/// Max Zimmer, Christoph Spiegel, Sebastian Pokutta, "Sparse Model Soups: A Recipe for Improved Pruning via Model
/// Averaging", arXiv 2306.16788. One copy is iterative magnitude pruning. A greedy soup takes the copies in the order of their
/// quality on examples held out, and leaves out those that make the mean worse. The statistics of batch norms are taken anew
/// from training examples if there are any (``SparseModelSoup/recalibrate(_:batches:)``): those of a mean of networks are
/// not the mean of theirs. Give the run a schedule that restarts `1 + rounds · copies` times.
public final class SoupPruning: JudgedMethod {
    /// The sparsity after the last round, 0...1, over all layers together.
    public let sparsity: Double
    /// Prunings, 1...1000.
    public let rounds: Int
    /// Trainings averaged after each, 1...1000.
    public let copies: Int
    /// The layers that are pruned, under one threshold. Their weights are dense.
    public let layers: LayerChoice
    /// Whether copies that make the mean worse are left out.
    public let isGreedy: Bool
    /// Whether statistics of batch norms are taken anew, where there are any.
    public let recalibrates: Bool
    public var judge: TrainingJudge?
    private var chosen: [Linear] = []
    private static let start = "soup.start"
    private static func copy(_ number: Int) -> String { "soup.copy.\(number)" }

    /// - Throws: `LacunaError.invalidArgument` for settings out of range.
    public init(
        sparsity: Double, rounds: Int = 3, copies: Int = 3, isGreedy: Bool = false, recalibrates: Bool = true,
        layers: LayerChoice = .all
    ) throws {
        guard (0...1).contains(sparsity) else {
            throw LacunaError.invalidArgument("sparsity", reason: "\(sparsity) is not in 0...1")
        }
        guard (1...1000).contains(rounds) else {
            throw LacunaError.invalidArgument("rounds", reason: "\(rounds) is not in 1...1000")
        }
        guard (1...1000).contains(copies) else {
            throw LacunaError.invalidArgument("copies", reason: "\(copies) is not in 1...1000")
        }
        self.sparsity = sparsity
        self.rounds = rounds
        self.copies = copies
        self.isGreedy = isGreedy
        self.recalibrates = recalibrates
        self.layers = layers
    }

    public var card: MethodCard {
        MethodCard(
            name: "soup", family: .sparseTraining,
            paper: .init(
                authors: "Max Zimmer, Christoph Spiegel, Sebastian Pokutta",
                title: "Sparse Model Soups: A Recipe for Improved Pruning via Model Averaging", arXiv: "2306.16788"),
            composition: ["|w|", "all layers together, in rounds", "copies trained under one mask, averaged"],
            implements: [
                "rounds of pruning, copies and means",
                "greedy soups by examples held out",
                "statistics of batch norms taken anew",
            ],
            leavesOut: [
                "copies that differ in rate, decay or length",
                "the authors' other retraining schedules: give the run its own",
            ])
    }

    /// Whether copies are chosen. Statistics can be taken anew only if there is somebody to give inputs, too.
    public var needsJudge: Bool { isGreedy }

    /// Trainings in a run.
    public var phases: Int { 1 + rounds * copies }

    /// - Throws: `LacunaError.invalidArgument` if the run has fewer steps than trainings.
    public func attach(_ run: TrainingRun) throws {
        try PhasedRun(run, phases: phases).requireSteps()
        if needsJudge { _ = try requireJudge() }
        chosen = try layers.layers(of: run.model).map(\.layer)
    }

    public func afterStep(_ run: TrainingRun) throws {
        let phased = PhasedRun(run, phases: phases)
        guard phased.endsPhaseButLast else { return }
        let copy = (phased.phase - 1) % copies
        if phased.phase == 0 {
            try prune(run, round: 1)
        } else {
            keep(run, copy)
            if copy == copies - 1 {
                try merge(run)
                try prune(run, round: (phased.phase - 1) / copies + 2)
            } else {
                for parameter in run.model.parameters {
                    parameter.buffer.pointer.update(from: parameter.slot(Self.start), count: parameter.count)
                }
            }
        }
        run.optimizer.restart(run.model.parameters)
    }

    public func end(_ run: TrainingRun) throws {
        keep(run, copies - 1)
        try merge(run)
        for parameter in run.model.parameters { parameter.removeSlot(Self.start) }
        run.metrics.append(("density", IterativePruning.density(chosen)))
    }

    /// Prunes, and remembers where the copies of the round begin.
    private func prune(_ run: TrainingRun, round: Int) throws {
        let total = chosen.reduce(0) { $0 + $1.inputDimensions * $1.outputDimensions }
        let active = chosen.reduce(0) { $0 + $1.weight.activeCount }
        let kept = Double(total) * power(1 - sparsity, Double(round) / Double(rounds))
        try IterativePruning.prune(chosen, share: max(0, 1 - kept / Double(max(active, 1))))
        for parameter in run.model.parameters {
            parameter.slot(Self.start).update(from: parameter.buffer.pointer, count: parameter.count)
        }
        run.metrics.append(("density", IterativePruning.density(chosen)))
    }

    private func keep(_ run: TrainingRun, _ copy: Int) {
        for parameter in run.model.parameters {
            parameter.slot(Self.copy(copy)).update(from: parameter.buffer.pointer, count: parameter.count)
        }
    }

    /// Puts the mean of the copies, or of the best of them, in the network's place.
    private func merge(_ run: TrainingRun) throws {
        let parameters = run.model.parameters
        func takeMean(_ numbers: [Int]) {
            for parameter in parameters {
                let parts = numbers.map { parameter.slot(Self.copy($0)) }
                for i in 0..<parameter.count {
                    parameter.buffer.pointer[i] = parts.reduce(0) { $0 + $1[i] } / Float(parts.count)
                }
                parameter.noteChange()
            }
            guard recalibrates, numbers.count > 1, let judge, let network = run.model as? any UnaryLayer else { return }
            SparseModelSoup.recalibrate(network, batches: judge.batches)
        }
        var taken = Array(0..<copies)
        if isGreedy {
            let judge = try requireJudge()
            taken = try SparseModelSoup.greedy(copies) { numbers in
                takeMean(numbers)
                return try judge.quality()
            } finally: {
                takeMean($0)
            }
            run.metrics.append(("copies", Double(taken.count)))
        } else {
            takeMean(taken)
        }
        for parameter in parameters { for number in 0..<copies { parameter.removeSlot(Self.copy(number)) } }
    }
}
