import LacunaTensor

/// `w_ij² / [H⁻¹]_jj`: the squared output error that removing a weight costs after the row's other weights have made up
/// for it as well as they can.
///
/// `H = XᵀX + λI` with `λ = damping · mean(diag(XᵀX))` is the Hessian of a layer's squared output error (up to a factor
/// that changes no order). The derivation is Hassibi and Stork's, "Second order derivatives for network pruning:
/// Optimal Brain Surgeon" (NIPS 1992); Elias Frantar and Dan Alistarh, "SparseGPT: Massive Language Models Can Be
/// Accurately Pruned in One-Shot", arXiv 2301.00774, use it for language models with the damping of 0.01 that is the
/// default here. Weights on dead inputs, which were 0 for every token, score 0.
///
/// - Complexity: O(columns³) once for the matrix, in double precision.
public struct OptimalBrainSurgeonScore: ImportanceScore {
    /// Which weights may make up for a removed one.
    public enum Compensation: Sendable, Hashable {
        /// All others of the row: the score above.
        case all
        /// Only those to the right: what a sweep over the columns from left to right has left when it reaches column
        /// `j`. The score is then `w_ij² / U_jj²` with the upper Cholesky factor `H⁻¹ = UᵀU`, as in SparseGPT.
        case following
    }

    /// Share of the mean diagonal of the Gram matrix that is added to its diagonal; 0 or more.
    public var damping: Double
    /// What happens to the other weights.
    public var compensation: Compensation

    /// Scores with this damping and compensation.
    public init(damping: Double = 0.01, compensation: Compensation = .all) {
        self.damping = damping
        self.compensation = compensation
    }

    public var name: String { "optimal-brain-surgeon" }
    public var requirement: ScoreRequirement { .gram }

    public func scores(_ inputs: ScoreInputs) throws -> Tensor<Float> {
        let statistics = try requireInputs(inputs)
        let inverse = try statistics.hessian(Double.self, damping: damping).cholesky().inverseFromCholesky()
        var factors = [Float](repeating: 0, count: statistics.columns)
        for (j, variance) in try variances(inverse).enumerated() { factors[j] = Float(1 / variance) }
        for j in statistics.deadColumns { factors[j] = 0 }
        return map(inputs.weight, factors: factors) { w, factor in w * w * factor }
    }

    /// What stands below `w²` for every column.
    private func variances(_ inverse: Tensor<Double>) throws -> [Double] {
        let n = inverse.rows
        switch compensation {
        case .all:
            return inverse.withPointer { p in (0..<n).map { p[$0 * n + $0] } }
        case .following:
            // The lower factor of a matrix is the transpose of the upper one.
            return try inverse.cholesky().withPointer { p in (0..<n).map { p[$0 * n + $0] * p[$0 * n + $0] } }
        }
    }
}
