import LacunaLearn
import LacunaSparse
import LacunaTensor

/// Sparse pre-training, dense fine-tuning: the step between the two.
///
/// Vithursan Thangarasa, Abhay Gupta, William Marshall, Tianda Li, Kevin Leong, Dennis DeCoste, Sean Lie, Shreyas Saxena,
/// "SPDF: Sparse Pre-training and Dense Fine-tuning for Large Language Models", arXiv 2303.10464. Pre-train with
/// ``StaticRandomSparsity`` under a uniform budget, without rescaling; then call ``Module/densify()`` and fine-tune with a
/// new optimiser state. In a configuration that is a phase with the method `densify`.
extension Module {
    /// Removes all masks and sparse storage of linear layers. Removed weights start at 0, the function is unchanged, and
    /// optimiser states are forgotten, as old moments would give a kick.
    ///
    /// - Precondition: All layers are those of matrices (``TrainableWeight/isLinear``).
    public func densify() {
        for (_, layer) in linears {
            if let dense = layer.dense, dense.view == nil {
                dense.mask = nil
            } else {
                layer.weight = DenseWeight(layer.weight.densified())
            }
        }
        for parameter in parameters { parameter.removeSlots() }
    }
}

/// ``Module/densify()`` as a method: before the first step of a phase, so that what was sparse until then is trained
/// densely.
public final class Densification: TrainingMethod {
    /// Has no settings: all linear layers become dense.
    public init() {}

    public var card: MethodCard {
        MethodCard(
            name: "densify", family: .sparseTraining,
            paper: .init(
                authors:
                    "Vithursan Thangarasa, Abhay Gupta, William Marshall, Tianda Li, Kevin Leong, Dennis DeCoste, Sean "
                    + "Lie, Shreyas Saxena",
                title: "SPDF: Sparse Pre-training and Dense Fine-tuning for Large Language Models", arXiv: "2303.10464"),
            composition: ["no score", "every entry", "dense training of what was sparse"],
            implements: ["static sparse phase, then dense phase with new optimiser state"],
            leavesOut: ["sparser and denser pre-training phases are said as phases of their own"])
    }

    /// - Throws: `LacunaError.unsupported` for layers that are not those of a matrix.
    public func begin(_ run: TrainingRun) throws {
        for (name, layer) in run.model.linears where !layer.weight.isLinear {
            throw LacunaError.unsupported(
                file: nil, what: "making \(layer.weight.storage) weights with a nonlinearity inside dense ('\(name)')")
        }
        run.model.densify()
    }
}
