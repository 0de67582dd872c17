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
            composition: ["loss before training", "nodes, best of many random choices", "plain training"])
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

/// ``SparseIFT`` as a method. Wide: hidden layers become wider at the same cost, and connections move by ``DropAndGrow``.
/// Doped: all layers but the last become a fixed random part beside a low-rank product.
public final class IsoFLOPTraining: NetworkShaping {
    /// Which of the transformations is made.
    public enum Variant: String, Sendable, Hashable, CaseIterable {
        /// Hidden layers become wider, and connections move.
        case wide
        /// Widths stay; sparse weights stand beside a low-rank product.
        case doped
    }

    /// How much sparser, and so how much larger, layers become.
    public let transformation: SparseIFT
    /// Which of the transformations is made.
    public let variant: Variant
    private let settings: DropAndGrow.Settings
    private var engine: DropAndGrow?

    /// - Parameter settings: How connections move; its budget is replaced by the transformation's.
    /// - Throws: `LacunaError.invalidArgument` for settings out of range.
    public init(_ transformation: SparseIFT, variant: Variant = .wide, settings: DropAndGrow.Settings) throws {
        _ = try DropAndGrow(settings)
        self.transformation = transformation
        self.variant = variant
        self.settings = settings
    }

    public var card: MethodCard {
        MethodCard(
            name: "sparse-ift", family: .sparseTraining,
            paper: .init(
                authors: "Vithursan Thangarasa, Shreyas Saxena, Abhay Gupta, Sean Lie",
                title: "Sparse-IFT: Sparse Iso-FLOP Transformations for Maximizing Training Efficiency",
                arXiv: "2303.11525"),
            composition: ["|w| drops, |gradient| grows", "wider layers of the dense cost", "drop and grow"])
    }

    public func shaped(_ widths: [Int], examples: LabelledExamples, make: ([Int]) -> MLP) throws -> MLP {
        if variant == .doped { return make(widths) }
        let (wider, budget) = transformation.wide(widths)
        var settings = settings
        settings.budget = budget
        engine = try DropAndGrow(settings)
        return make(wider)
    }

    public func begin(_ run: TrainingRun) throws {
        switch variant {
        case .wide:
            guard let engine else {
                throw LacunaError.invalidArgument("model", reason: "the network was not shaped by the method")
            }
            try engine.begin(run)
        case .doped:
            for (_, layer) in try LayerChoice.allButOutput.layers(of: run.model) {
                layer.weight = transformation.doped(layer, using: &run.generator)
            }
        }
    }
    public func attach(_ run: TrainingRun) throws { try engine?.attach(run) }
    public func beforeStep(_ run: TrainingRun) throws { try engine?.beforeStep(run) }
    public func gradientsReady(_ run: TrainingRun) throws { try engine?.gradientsReady(run) }
    public func end(_ run: TrainingRun) throws { try engine?.end(run) }
    public var state: JSONValue { engine?.state ?? .null }
    public func restore(_ state: JSONValue) throws { try engine?.restore(state) }
}
