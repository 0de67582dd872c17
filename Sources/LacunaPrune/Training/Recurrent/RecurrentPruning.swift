import LacunaLearn
import LacunaSparse

extension OneShotPruning {
    /// Which matrices of recurrent layers lose weights.
    public enum RecurrentMatrices: String, Sendable, Hashable, CaseIterable {
        /// Those that are multiplied with a layer's input.
        case inputs
        /// Those that are multiplied with its last state.
        case states
        /// All of them, in one competition.
        case both

        /// The layers by name.
        public var layers: LayerChoice {
            switch self {
            case .inputs: LayerChoice("*.input")
            case .states: LayerChoice("*.hidden")
            case .both: LayerChoice("*.input,*.hidden")
            }
        }
    }

    /// Pruning of recurrent layers: the smallest weights of all layers' chosen matrices together, then training under the mask.
    ///
    /// Harshil Jagadishbhai Darji, "Investigating Sparsity in Recurrent Neural Networks", arXiv 2407.20601, who takes a
    /// percentile for the threshold; the number that is left is exact here, whatever the ties.
    ///
    /// ```swift
    /// let pruning = try OneShotPruning.recurrent(.both, sparsity: 0.9)
    /// try reader.train(on: sequences, optimizer: Adam(), plan: plan, batch: 32, hooks: [pruning])
    /// ```
    ///
    /// - Throws: `LacunaError.invalidArgument` for a sparsity outside 0...1.
    public static func recurrent(
        _ matrices: RecurrentMatrices = .both, sparsity: Double, storage: StorageLayout = .masked
    ) throws -> OneShotPruning {
        guard (0...1).contains(sparsity) else {
            throw LacunaError.invalidArgument("sparsity", reason: "\(sparsity) is not in 0...1")
        }
        return try OneShotPruning(budget: GlobalBudget(sparsity), layers: matrices.layers, storage: storage)
    }
}
