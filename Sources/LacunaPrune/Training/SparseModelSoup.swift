import LacunaLearn
import LacunaTensor

/// Averages of networks that share their masks.
///
/// Max Zimmer, Christoph Spiegel, Sebastian Pokutta, "Sparse Model Soups: A Recipe for Improved Pruning via Model
/// Averaging", arXiv 2306.16788: after every phase of pruning several copies are retrained from one point and averaged
/// before the next. As they have one mask, the average is as sparse as each.
public enum SparseModelSoup {
    /// Writes the mean of the parameters of `models` into `target`, whose masks it must share.
    ///
    /// - Throws: `LacunaError.invalidArgument` for models of other shape or with other masks.
    public static func average(_ models: [any Module], into target: any Module) throws {
        let goal = target.namedParameters
        let parts = models.map(\.namedParameters)
        for (index, (name, parameter)) in goal.enumerated() {
            for part in parts {
                guard index < part.count, part[index].name == name, part[index].parameter.shape == parameter.shape
                else {
                    throw LacunaError.invalidArgument("models", reason: "differ at '\(name)'")
                }
                guard part[index].parameter.mask?.array == parameter.mask?.array else {
                    throw LacunaError.invalidArgument("models", reason: "have different masks at '\(name)'")
                }
            }
            var mean = Tensor<Float>(zeros: parameter.shape)
            let n = mean.count
            mean.withMutablePointer { m in
                for part in parts {
                    let values = part[index].parameter.buffer.pointer
                    for i in 0..<n { m[i] += values[i] / Float(parts.count) }
                }
            }
            parameter.value = mean
        }
    }
}
