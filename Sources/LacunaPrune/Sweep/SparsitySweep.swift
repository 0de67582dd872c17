import LacunaSparse
import LacunaTensor

/// Prunes a set of matrices to growing sparsity, each time from the original weights, and asks what is left is worth.
///
/// Everything that a network's layers multiply with belongs into the set; embeddings and the output head do not: they
/// would dominate a global threshold.
///
/// The experiment of: Ajay Jaiswal, Shiwei Liu, Tianlong Chen, Zhangyang Wang, "The Emergence of Essential Sparsity in
/// Large Pre-trained Models: The Weights that Matter", arXiv 2306.03805, with ``SparsityCurve`` to read it.
public struct SparsitySweep: Sendable {
    /// Fractions removed, each 0...1; 0 is the original.
    public var sparsities: [Double]
    /// Where entries compete with each other: `.global` shares a sparsity out among the matrices by their scores.
    public var scope: Pattern.Scope

    /// The defaults are the authors': steps of a tenth, all matrices under one threshold.
    public init(sparsities: [Double] = (0..<10).map { Double($0) / 10 }, scope: Pattern.Scope = .global) {
        self.sparsities = sparsities
        self.scope = scope
    }

    /// The curve of one method.
    ///
    /// - Parameters:
    ///   - weights: The original matrices.
    ///   - method: One that needs no calibration.
    ///   - evaluate: The value, in the unit of `metric`, of a network with the given matrices.
    /// - Throws: ``LacunaError/unsupported(file:what:)`` for a method that needs calibration,
    ///   ``LacunaError/invalidArgument(_:reason:)`` for a sparsity outside 0...1, and what `evaluate` throws.
    public func run(
        _ weights: [Tensor<Float>], method: any ScoredPruning, metric: SweepMetric,
        evaluate: ([Tensor<Float>]) throws -> Double
    ) throws -> SparsityCurve {
        var points: [SparsityCurve.Point] = []
        for sparsity in sparsities.sorted() {
            let pruned = try prune(weights, method: method, sparsity: sparsity)
            points.append(.init(sparsity: sparsity, value: try evaluate(pruned)))
        }
        return SparsityCurve(method: method.card.name, metric: metric, points: points)
    }

    /// Copies of the matrices at one sparsity.
    public func prune(
        _ weights: [Tensor<Float>], method: any ScoredPruning, sparsity: Double
    ) throws -> [Tensor<Float>] {
        if method.requirement != .none {
            throw LacunaError.unsupported(file: nil, what: "a sweep without calibration by \(method.card.name)")
        }
        if scope != .global {
            return try weights.enumerated().map { index, weight in
                var weight = weight
                _ = try method.prune(
                    &weight, statistics: nil,
                    request: PruningRequest(.unstructured(scope), sparsity: sparsity, layer: index))
                return weight
            }
        }
        // Names that sort as the indices do, so that ties are broken in the order of the matrices.
        let width = String(weights.count).count
        func name(_ index: Int) -> String {
            let digits = String(index)
            return String(repeating: "0", count: width - digits.count) + digits
        }
        var scores: [String: Tensor<Float>] = [:]
        for (index, weight) in weights.enumerated() {
            scores[name(index)] = try method.score(layer: index).scores(weight: weight, statistics: nil)
        }
        let masks = try Selection.selectGlobally(scores, sparsity: sparsity)
        return weights.enumerated().map { index, weight in masks[name(index)]!.applied(to: weight) }
    }
}
