import LacunaTensor

/// `|w · g|`: to first order, how much the loss changes when the weight is removed.
///
/// Pavlo Molchanov, Stephen Tyree, Tero Karras, Timo Aila, Jan Kautz, "Pruning Convolutional Neural Networks for Resource
/// Efficient Inference", arXiv 1611.06440; before training, Namhoon Lee, Thalaiyasingam Ajanthan, Philip Torr, "SNIP:
/// Single-shot Network Pruning based on Connection Sensitivity", arXiv 1810.02340.
public struct SensitivityScore: ImportanceScore {
    /// The score; it has no settings.
    public init() {}

    public var name: String { "sensitivity" }
    public var requirement: ScoreRequirement { .gradient }

    public func scores(_ inputs: ScoreInputs) throws -> Tensor<Float> {
        var result = try requireGradient(inputs)
        let count = result.count
        inputs.weight.withPointer { w in
            result.withMutablePointer { p in for i in 0..<count { p[i] = (w[i] * p[i]).magnitude } }
        }
        return result
    }
}
