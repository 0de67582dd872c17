import LacunaLearn
import LacunaSparse
import LacunaTensor

/// ``QuickSelection`` as a method: it brings its own network, a sparse autoencoder of the inputs, whose connections move
/// after every epoch, and ranks the inputs by what they keep.
public final class FeatureSelection: TrainingMethod {
    /// Of the autoencoder and its connections. Steps, batches, rates and seeds are those of the run.
    public let settings: QuickSelection
    private var engine: DropAndGrow?
    private weak var model: SparseAutoencoder?

    /// - Throws: `LacunaError.invalidArgument` for settings out of range.
    public init(_ settings: QuickSelection) throws {
        try settings.validate()
        self.settings = settings
    }

    public var card: MethodCard {
        MethodCard(
            name: "quick-selection", family: .sparseTraining,
            paper: .init(
                authors:
                    "Zahra Atashgahi, Ghada Sokar, Tim van der Lee, Elena Mocanu, Decebal Constantin Mocanu, Raymond "
                    + "Veldhuis, Mykola Pechenizkiy",
                title:
                    "Quick and Robust Feature Selection: the Strength of Energy-efficient Sparse Training for Autoencoders",
                arXiv: "2012.00560"),
            composition: ["|w| drops, chance grows; Σ|w| ranks inputs", "exact exchange after every epoch", "SET"],
            implements: ["sparse denoising autoencoder with SET after every epoch", "strengths of inputs"],
            leavesOut: [
                "strengths read between the last removal and growth: they are those at the end",
                "a tanh in the place of the linear output",
            ])
    }

    func network(inputs: Int, using generator: inout SeededGenerator) throws -> SparseAutoencoder {
        let model = try SparseAutoencoder(inputs: inputs, settings: settings, using: &generator)
        self.model = model
        return model
    }

    /// The batches, whose number says how often connections move.
    func source(
        _ x: Tensor<Float>, batch: Int, seed: UInt64, using generator: inout SeededGenerator
    ) throws -> NoisyRows {
        let source = NoisyRows(x, noise: settings.noise, batch: batch, seed: seed, using: &generator)
        if settings.exchange > 0 {
            var moves = DropAndGrow.Settings(budget: UniformBudget(0), growth: .random)
            (moves.storage, moves.drop, moves.interval) = (.csr, .signed, source.batchesPerEpoch!)
            (moves.fraction, moves.isAnnealed, moves.end, moves.growthDeviation) = (
                settings.exchange, false, 1, settings.deviation
            )
            engine = try DropAndGrow(moves)
        }
        return source
    }

    // The weights are sparse before the run begins, so the engine does not begin.
    public func attach(_ run: TrainingRun) throws { try engine?.attach(run) }
    public func gradientsReady(_ run: TrainingRun) throws { try engine?.gradientsReady(run) }

    /// The strength of every input of the network trained, once there is one.
    public var strengths: [Double] { model?.strengths ?? [] }

    /// The inputs, the strongest first; of equals the first.
    public var ranking: [Int] {
        QuickSelection.Result(strengths: strengths, loss: 0, connections: 0).selected(strengths.count)
    }
}
