import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor

/// DASS: searches for an architecture that is good when it is sparse, by pruning inside the search.
///
/// Three phases train a network that holds all candidates: its weights; then scores of its weights, the largest of which are kept
/// (``PopupScores``, started at the weights' own sizes); then the weights that stayed. In all three the weights between candidates learn
/// from examples held out (``BilevelSearch``): `α* = argmin L_val(w*(α) ∘ m*(α), α)`. What they decide for is then made anew and trained
/// by the same three phases without a search.
///
/// Hamid Mousavi, Mohammad Loni, Mina Alibeigi, Masoud Daneshtalab, "DASS: Differentiable Architecture Search for Sparse Neural
/// Networks", arXiv 2207.06968. Defaults are theirs: 100, 50 and 100 epochs by SGD with momentum 0.9, decay 1e-3 and rates falling by a
/// cosine from 0.025, 0.1 and 0.025 to 0.001, batches of 32, gradients of norm 5 at most. They train robustly against attacks; that is left out.
///
/// ```swift
/// var generator = SeededGenerator(seed: 0)
/// let shape = CellNetwork.Shape(inputChannels: 1, channels: 4, cells: 3, nodes: 2, classes: 10)
/// let search = try CellNetwork(searching: shape, using: &generator)
/// let method = try DASS(sparsity: 0.9)
/// try method.search(search, training: pictures, validation: held, seed: 0)
/// let network = try CellNetwork(search.genotype!, shape: shape, using: &generator)
/// try method.train(network, on: pictures, seed: 0)     // masked; network.sparsify(.csr, masks:) stores it sparse
/// ```
public struct DASS: Sendable {
    /// How one of the phases goes.
    public struct Phase: Sendable, Hashable {
        /// Passes over the training examples, 0 or more.
        public var epochs: Int
        /// First rate of SGD.
        public var rate: Double
        /// A phase.
        public init(epochs: Int, rate: Double) { (self.epochs, self.rate) = (epochs, rate) }
    }

    /// Share of every layer's weights that is removed, 0..<1. At 0 there is one phase, as long as all three: the search of DARTS.
    public let sparsity: Double
    /// Of the weights, whole.
    public var pretrain = Phase(epochs: 100, rate: 0.025)
    /// Of the scores.
    public var prune = Phase(epochs: 50, rate: 0.1)
    /// Of the weights that stay.
    public var finetune = Phase(epochs: 100, rate: 0.025)
    /// Where rates end; no rate begins below it.
    public var lastRate = 1e-3
    /// Examples of a batch.
    public var batch = 32
    /// Of SGD.
    public var momentum = 0.9
    /// Of SGD, in the gradient.
    public var weightDecay = 1e-3
    /// Largest norm of all gradients together.
    public var clipNorm = 5.0
    /// Of the search.
    public var bilevel = BilevelSettings()
    /// The layers that are pruned: all convolutions and the classifier.
    public var layers = LayerChoice.all

    /// - Throws: `LacunaError.invalidArgument` for a sparsity outside 0..<1.
    public init(sparsity: Double = 0.99) throws {
        guard (0..<1).contains(sparsity) else {
            throw LacunaError.invalidArgument("sparsity", reason: "\(sparsity) is not in 0..<1")
        }
        self.sparsity = sparsity
    }

    /// What the method is, for listings.
    public static let card = MethodCard(
        name: "dass", family: .sparseTraining,
        paper: .init(
            authors: "Hamid Mousavi, Mohammad Loni, Mina Alibeigi, Masoud Daneshtalab",
            title: "DASS: Differentiable Architecture Search for Sparse Neural Networks", arXiv: "2207.06968"),
        composition: ["learned scores, started at |w|", "within layers", "unrolled search over mixed operations"],
        implements: ["search in three phases, unrolled or not", "training of what was found in the same phases"],
        leavesOut: ["training that is robust against attacks"])

    /// Trains weights, scores and `α` of a network that holds candidates. Read the decision from its ``SearchableNetwork/architecture``.
    ///
    /// - Parameters:
    ///   - training: What weights and scores learn from.
    ///   - validation: What `α` learns from.
    /// - Throws: `LacunaError.invalidArgument` for settings out of range; what ``Trainer/train(directory:progress:stopAfter:)`` throws.
    public func search(
        _ network: any SearchableNetwork, training: LabelledExamples, validation: LabelledExamples, seed: UInt64,
        progress: (any ProgressReporter)? = nil
    ) throws {
        try run(network, training, validation, seed, progress) { source, held, schedule in
            try BilevelSearch(
                network, training: source, validation: held!, rate: schedule, settings: bilevel,
                loss: { batch, tape in
                    Loss.crossEntropy(network(tape.constant(batch.inputs)), labels: batch.labels)
                })
        }
    }

    /// Trains a network by the three phases: at the end its layers are masked.
    ///
    /// - Throws: As ``search(_:training:validation:seed:progress:)``.
    public func train(
        _ network: any UnaryLayer, on examples: LabelledExamples, seed: UInt64,
        progress: (any ProgressReporter)? = nil
    ) throws {
        try run(network, examples, nil, seed, progress) { _, _, _ in nil }
    }

    private func run(
        _ network: any UnaryLayer, _ training: LabelledExamples, _ validation: LabelledExamples?, _ seed: UInt64,
        _ progress: (any ProgressReporter)?,
        _ search: (ShuffledBatches, ShuffledBatches?, Schedule) throws -> (any TrainingHook)?
    ) throws {
        guard batch > 0, training.count > 0, validation.map({ $0.count > 0 }) ?? true else {
            throw LacunaError.invalidArgument("batch", reason: "of \(batch) of \(training.count) examples")
        }
        let phases = [pretrain, prune, finetune]
        for phase in phases {
            guard phase.epochs >= 0, phase.rate >= lastRate, lastRate >= 0, phase.rate.isFinite else {
                throw LacunaError.invalidArgument(
                    "phase", reason: "\(phase.epochs) epochs at rates from \(phase.rate) to \(lastRate)")
            }
        }
        let plans: [(phase: Phase, prunes: Bool)] =
            sparsity == 0
            ? [(Phase(epochs: phases.reduce(0) { $0 + $1.epochs }, rate: pretrain.rate), false)]
            : [(pretrain, false), (prune, true), (finetune, false)]
        for (number, (phase, prunes)) in plans.enumerated() {
            // Each phase has batches of its own.
            let own = seed &+ UInt64(number) &* 0x9E37
            let source = ShuffledBatches(training, batchSize: batch, seed: own)
            let held = validation.map { ShuffledBatches($0, batchSize: batch, seed: own &+ 1) }
            let steps = phase.epochs * source.batchesPerEpoch!
            let schedule = Schedule.cosine(from: phase.rate, to: lastRate, steps: steps)
            var plan = TrainingPlan(steps: steps, learningRate: schedule)
            (plan.seed, plan.clipNorm, plan.logEvery) = (own, clipNorm, max(1, steps))
            var hooks: [any TrainingHook] = prunes ? [try PopupScores(sparsity: sparsity, layers: layers)] : []
            if let search = try search(source, held, schedule) { hooks.append(search) }
            try Trainer(
                model: network,
                optimizer: SGD(learningRate: phase.rate, momentum: momentum, weightDecay: weightDecay),
                source: source, plan: plan, hooks: hooks,
                loss: { batch, tape in
                    Loss.crossEntropy(network(tape.constant(batch.inputs)), labels: batch.labels)
                }
            ).train(progress: progress)
        }
    }
}
