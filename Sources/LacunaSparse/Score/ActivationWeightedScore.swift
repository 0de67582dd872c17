import LacunaTensor

/// `|w_ij| · ‖x_j‖₂`: a weight matters as much as what it multiplies.
///
/// The norm runs over all calibration tokens. Meant to be compared within a row, that is with
/// ``Pattern/unstructured(_:)`` of scope row, where every weight multiplies inputs of the same product.
///
/// Mingjie Sun, Zhuang Liu, Anna Bair, J. Zico Kolter, "A Simple and Effective Pruning Approach for Large Language
/// Models" (Wanda), arXiv 2306.11695.
public struct ActivationWeightedScore: ImportanceScore {
    /// The score; it has no settings.
    public init() {}

    public var name: String { "activation-weighted" }
    public var requirement: ScoreRequirement { .moments }

    public func scores(_ inputs: ScoreInputs) throws -> Tensor<Float> {
        let statistics = try requireInputs(inputs)
        return map(inputs.weight, factors: statistics.norms) { w, norm in w.magnitude * norm }
    }
}
