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
public final class CalibratedPruning: CalibratedMethod {
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
    public var calibration: CalibrationSet?
    public var textOption: String? { "by" }

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
        let (network, chosen) = try Self.network(run.model, layers, method: pruner.method)
        for (name, layer) in chosen
        where !(layer.weight is CSRWeight) && (layer.dense == nil || layer.dense?.view != nil) {
            throw LacunaError.unsupported(file: nil, what: "pruning \(layer.weight.storage) weights ('\(name)')")
        }
        let pruned = try Self.prune(network, chosen.map(\.name), pruner, calibration)
        for (name, layer) in chosen {
            guard let weight = pruned[name] else { continue }
            layer.weight = DenseWeight(weight)
            try layer.sparsify(storage, mask: SparsePattern(nonzerosOf: weight))
        }
    }

    /// A language model with the layers chosen.
    ///
    /// - Throws: `LacunaError.unsupported` for a network of another kind.
    static func network(
        _ model: any Module, _ layers: LayerChoice, method: any PruningMethod
    ) throws -> (network: TrainableTransformer, chosen: [(name: String, layer: Linear)]) {
        guard let network = model as? TrainableTransformer else {
            throw LacunaError.unsupported(
                file: nil, what: "pruning by \(method.card.name) of a network that is no language model")
        }
        return (network, try layers.layers(of: network))
    }

    /// What a method makes of the weights of some layers, by path. The network stays as it is; a head is not pruned.
    ///
    /// - Throws: As ``Pruner/prune(_:calibration:progress:)``.
    static func prune(
        _ network: TrainableTransformer, _ layers: [String], _ pruner: Pruner, _ calibration: CalibrationSet?
    ) throws -> [String: Tensor<Float>] {
        let decoder = try network.stored()
        let names = Set(layers.map { $0 + ".weight" })
        var pruner = pruner
        pruner.storage = PrunedStorage(values: .f32)
        pruner.ignored += decoder.linearNames.filter { !names.contains($0) }.map { NamePattern($0) }
        let pruned = try pruner.prune(decoder, calibration: calibration).decoder
        var result: [String: Tensor<Float>] = [:]
        for layer in layers where pruned.location(ofLinear: layer + ".weight") != nil {
            result[layer] = pruned[linear: layer + ".weight"].densified()
        }
        return result
    }
}

/// A method that looks at what the layers of a language model read, on text that a run of `lacuna train` draws from its
/// training text.
public protocol CalibratedMethod: TrainingMethod {
    /// The option of the method that makes it need a text; nil if it needs none as it is set.
    var textOption: String? { get }
    /// Sequences of the text to calibrate with, at most.
    var sequences: Int { get }
    /// Tokens of a sequence; nil for those of the run's windows.
    var length: Int? { get }
    /// The text.
    var calibration: CalibrationSet? { get set }
}
