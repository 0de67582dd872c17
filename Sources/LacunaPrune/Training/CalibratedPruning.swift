import LacunaIO
import LacunaLearn
import LacunaModels
import LacunaSparse
import LacunaTensor

/// Prunes a language model once by what its layers read, as `lacuna prune` does, and trains what is left under masks that no
/// longer change.
///
/// Before the first step the network is run on calibration text block by block, each layer pruned for the inputs that the
/// pruned layers before it give (``Pruner``): by Wanda, SparseGPT or any other method that scores or updates single weights. What
/// such a method makes of the weights that stay is where training begins. ``OneShotPruning`` does the same by magnitude,
/// for any network and without text.
///
/// Mingjie Sun, Zhuang Liu, Anna Bair, J. Zico Kolter, "A Simple and Effective Pruning Approach for Large Language Models",
/// arXiv 2306.11695; Elias Frantar, Dan Alistarh, "SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot",
/// arXiv 2301.00774. Training under the masks afterwards is the fine-tuning of both papers.
public final class CalibratedPruning: TrainingMethod {
    /// How layers are pruned.
    public let pruner: Pruner
    /// The layers that are pruned; others stay as they are.
    public let layers: LayerChoice
    /// How pruned layers are trained: with a mask, or as the entries that are left.
    public let storage: StorageLayout
    /// Sequences of the text to calibrate with, at most.
    public let sequences: Int
    /// Tokens of a sequence; nil for those of the run's windows.
    public let length: Int?
    /// The text. A run of `lacuna train` draws it from its training text.
    public var calibration: CalibrationSet?

    /// - Parameter pruner: Its method must prune single weights.
    /// - Throws: `LacunaError.invalidArgument` for another kind of method, and numbers that are not positive.
    public init(
        _ pruner: Pruner, layers: LayerChoice = .allButOutput, storage: StorageLayout = .masked,
        sequences: Int = CalibrationSet.defaultSequences, length: Int? = nil, calibration: CalibrationSet? = nil
    ) throws {
        guard pruner.method is any LayerwisePruning else {
            throw LacunaError.invalidArgument(
                "by",
                reason: "\(pruner.method.card.name) does not prune single weights, so no mask is left to train under")
        }
        guard sequences > 0, length ?? 1 > 0 else {
            throw LacunaError.invalidArgument("sequences", reason: "\(sequences) of \(length ?? 1) tokens")
        }
        (self.pruner, self.layers, self.storage) = (pruner, layers, storage)
        (self.sequences, self.length, self.calibration) = (sequences, length, calibration)
    }

    public var card: MethodCard {
        let card = pruner.method.card
        return MethodCard(
            name: "prune by \(card.name)", family: .sparseTraining, paper: card.paper,
            composition: card.composition + ["fixed mask"])
    }

    /// Replaces weights and masks of the chosen layers.
    ///
    /// - Throws: `LacunaError.unsupported` for a network that is no ``TrainableTransformer``, and for weights that are neither
    ///   dense nor kept as entries; as ``Pruner/prune(_:calibration:progress:)``.
    public func begin(_ run: TrainingRun) throws {
        guard let network = run.model as? TrainableTransformer else {
            throw LacunaError.unsupported(
                file: nil, what: "pruning by \(pruner.method.card.name) of a network that is no language model")
        }
        let chosen = try layers.layers(of: network)
        for (name, layer) in chosen
        where !(layer.weight is CSRWeight) && (layer.dense == nil || layer.dense?.view != nil) {
            throw LacunaError.unsupported(file: nil, what: "pruning \(layer.weight.storage) weights ('\(name)')")
        }
        let decoder = try network.stored()
        let names = Set(chosen.map { $0.name + ".weight" })
        var pruner = pruner
        pruner.storage = PrunedStorage(values: .f32)
        pruner.ignored += decoder.linearNames.filter { !names.contains($0) }.map { NamePattern($0) }
        let pruned = try pruner.prune(decoder, calibration: calibration).decoder
        for (name, layer) in chosen where pruned.location(ofLinear: name + ".weight") != nil {
            let weight = pruned[linear: name + ".weight"].densified()
            layer.weight = DenseWeight(weight)
            try layer.sparsify(storage, mask: SparsePattern(nonzerosOf: weight))
        }
    }
}
