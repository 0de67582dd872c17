import LacunaModels
import LacunaTensor

/// What is worth knowing of a model with experts that was trained, next to others of the same work a vector: sizes, work, losses, and how
/// its experts are used. The row of a study at equal work (iso-FLOP).
///
/// Taishi Nakamura, Satoki Ishikawa, Masaki Kawamura, Takumi Okamoto, Daisuke Nohara, Jun Suzuki, Rio Yokota, "Optimal Sparsity of
/// Mixture-of-Experts Language Models for Reasoning Tasks", arXiv 2508.18672.
public struct ExpertReport: Sendable {
    /// How many there are, and how many read a vector.
    public let experts, chosen: Int
    /// Weights of the router and all experts, and those that one vector meets: as many multiply-adds.
    public let parameters, activeParameters: Int
    /// Of the vectors that were trained on.
    public let trainingLoss: Double
    /// Of others.
    public let loss: Double
    /// Vectors (or tokens) trained on, over all weights.
    public let examplesPerParameter: Double
    /// Who read the others.
    public let routing: RoutingStatistics
    /// What the choice of an expert tells about a vector's domain, in nats; nil without domains.
    public let information: Double?

    /// - Parameters:
    ///   - part: The experts as they run.
    ///   - inputs: What they read in the evaluation, [n, inputs].
    ///   - domains: The domain of each, from 0; nil for none.
    ///   - examples: Vectors that were trained on, repeated ones counting again.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for inputs or labels that do not fit.
    public init(
        _ part: ExpertFeedForward, inputs: Tensor<Float>, domains: [Int]? = nil, examples: Int, trainingLoss: Double,
        loss: Double
    ) throws {
        guard inputs.rank == 2, inputs.columns == part.router.inputs, inputs.rows > 0, examples >= 0 else {
            throw LacunaError.invalidArgument(
                "inputs", reason: "\(inputs.shape) for vectors of \(part.router.inputs), \(examples) examples")
        }
        let routes = inputs.withPointer { part.router.route($0, count: inputs.rows, layer: 0) }
        let sizes = part.experts.map { expert in
            [expert.gate, expert.up, expert.down].reduce(0) { $0 + ($1.map { $0.inputs * $0.outputs } ?? 0) }
        }
        let router = part.router.inputs * part.router.experts
        experts = part.experts.count
        chosen = part.router.expertsPerVector
        parameters = router + sizes.reduce(0, +)
        activeParameters = router + sizes.sorted(by: >).prefix(chosen).reduce(0, +)
        self.trainingLoss = trainingLoss
        self.loss = loss
        examplesPerParameter = Double(examples) / Double(parameters)
        routing = try RoutingStatistics(routes, experts: experts, length: inputs.rows, chunk: 1)
        information = try domains.map { try RoutingStatistics.information(routes, labels: $0) }
    }
}
