import LacunaLearn
import LacunaTensor

/// What keeps learned vectors sparse.
public struct SparsityRegularizer: Sendable, Equatable {
    /// What is made small.
    public enum Kind: String, Sendable, Hashable, CaseIterable {
        /// Σ_j (mean over texts of w_ij)²: what a pair of random vectors costs to multiply. (Paria and others,
        /// "Minimizing FLOPs to Learn Efficient Sparse Representations", arXiv:2004.05665.)
        case flops
        /// The mean over texts of Σ_j w_ij.
        case l1
    }

    /// What is made small.
    public var kind: Kind
    /// The weight of the penalty in the loss, once it has risen.
    public var weight: Double
    /// Steps over which the weight rises, as the square of the step; 0 for none.
    public var warmUp: Int

    /// - Throws: `LacunaError.invalidArgument` for a weight or a number of steps below 0.
    public init(_ kind: Kind = .flops, weight: Double, warmUp: Int = 0) throws {
        guard weight >= 0 && weight.isFinite else {
            throw LacunaError.invalidArgument("weight", reason: "\(weight) is negative or not finite")
        }
        guard warmUp >= 0 else { throw LacunaError.invalidArgument("warm-up", reason: "\(warmUp) is negative") }
        (self.kind, self.weight, self.warmUp) = (kind, weight, warmUp)
    }

    /// The weight at a step, counted from 0.
    public func weight(at step: Int) -> Double {
        guard warmUp > 0 else { return weight }
        let share = min(1, Double(step + 1) / Double(warmUp))
        return weight * share * share
    }

    /// The penalty, without its weight, of vectors [texts, terms] that are not negative.
    public func callAsFunction<Scalar: LearningScalar>(_ vectors: Variable<Scalar>) -> Variable<Scalar> {
        let count = Scalar(max(vectors.rows, 1))
        switch kind {
        case .flops: return vectors.columnSums().affine(1 / count).map(.square).sum()
        case .l1: return vectors.sum().affine(1 / count)
        }
    }
}
