import LacunaTensor

/// `‖x_j‖₂` for every weight of input `j`, or `‖y_i‖₂` for every weight of output `i`: how active a neuron is, whatever its
/// weights. Meant for whole columns, rows and heads (``Pattern/columns``, ``Pattern/rows``, ``Pattern/heads(_:axis:)``).
///
/// Over the inputs of the last projection of a feed-forward part this is what the published neuron score of Yuxin Wang,
/// Minghua Ma, Zekun Wang and others, "CFSP: An Efficient Structured Pruning Framework for LLMs with Coarse-to-Fine Activation
/// Information", arXiv 2409.13199, comes to.
public struct ActivationNormScore: ImportanceScore {
    /// Which activations are meant.
    public enum Side: String, Sendable, Hashable, CaseIterable {
        /// The layer's inputs: columns of the weight.
        case inputs
        /// The layer's outputs: rows of the weight.
        case outputs
    }

    /// Which activations score.
    public var side: Side

    /// Scores by one side of the layer.
    public init(_ side: Side = .inputs) { self.side = side }

    public var name: String { "activation-norm" }
    public var requirement: ScoreRequirement { side == .inputs ? .moments : .outputs }

    public func scores(_ inputs: ScoreInputs) throws -> Tensor<Float> {
        switch side {
        case .inputs: return try map(inputs.weight, factors: requireInputs(inputs).norms) { _, norm in norm }
        case .outputs:
            let norms = try requireOutputs(inputs).norms
            let columns = inputs.weight.columns
            return Tensor(norms.flatMap { [Float](repeating: $0, count: columns) }, shape: inputs.weight.shape)
        }
    }
}
