import LacunaIO
import LacunaLearn
import LacunaSparse
import LacunaTensor

/// A method that decides what network is trained, before the first step.
public protocol NetworkShaping: TrainingMethod {
    /// The network to train in the place of a fully connected one of `widths`.
    ///
    /// - Parameters:
    ///   - examples: What it will be trained on.
    ///   - make: A network of given widths with random weights.
    /// - Throws: `LacunaError.invalidArgument` for widths that cannot be shaped.
    func shaped(
        _ widths: [Int], examples: LabelledExamples, make: ([Int]) -> MLP
    ) throws -> MLP
}

/// Trains the best of many random sub-networks: ``NodeSearch`` as a method.
///
/// Of every hidden layer a share of the nodes is kept; which, is chosen by the loss of untrained slices of one parent on
/// the first examples.
public final class RandomSearch: NetworkShaping {
    /// Share of the nodes of every hidden layer that stays.
    public let keep: Double
    /// What compares sub-networks.
    public let search: NodeSearch
    /// Examples that the losses are taken on.
    public let batch: Int
    /// How much smaller the winner's loss was than the mean, relative to it.
    public private(set) var advantage = 0.0

    /// - Throws: `LacunaError.invalidArgument` for numbers out of range.
    public init(keep: Double = 0.25, trials: Int = 500, batch: Int = 256, seed: UInt64 = 0) throws {
        guard keep > 0, keep <= 1 else {
            throw LacunaError.invalidArgument("keep", reason: "\(keep) is not above 0 and at most 1")
        }
        guard trials >= 1 else { throw LacunaError.invalidArgument("trials", reason: "\(trials) is not at least 1") }
        guard batch >= 1 else { throw LacunaError.invalidArgument("batch", reason: "\(batch) is not at least 1") }
        self.keep = keep
        search = NodeSearch(trials: trials, seed: seed)
        self.batch = batch
    }

    public var card: MethodCard {
        MethodCard(
            name: "random-search", family: .sparseTraining,
            paper: .init(
                authors: "Rezsa Farahani",
                title: "Random Search as a Baseline for Sparse Neural Network Architecture Search", arXiv: "2403.08265"),
            composition: ["loss before training", "nodes, best of many random choices", "plain training"],
            implements: [
                "random nodes of every hidden layer, by the loss of untrained slices",
                "slices that are smaller networks",
            ],
            leavesOut: ["convolutional networks"])
    }

    public func shaped(_ widths: [Int], examples: LabelledExamples, make: ([Int]) -> MLP) throws -> MLP {
        guard widths.count > 2 else {
            throw LacunaError.invalidArgument(
                "hidden", reason: "a network without hidden layers has no nodes to choose")
        }
        let parent = make(widths)
        let found = search.best(of: parent, share: keep, batch: examples.selecting(0..<min(batch, examples.count)))
        let mean = found.losses.reduce(0, +) / Double(found.losses.count)
        advantage = mean > 0 ? 1 - found.losses.min()! / mean : 0
        return NodeSearch.sliced(parent, found.choice)
    }

    public func end(_ run: TrainingRun) throws { run.metrics.append(("search_advantage", advantage)) }
}
