import LacunaLearn
import LacunaTensor

/// What keeps learned vectors sparse.
public struct SparsityRegularizer: Sendable, Equatable {
    /// What is made small.
    public enum Kind: String, Sendable, Hashable, CaseIterable {
        /// Σ_j (mean over texts of w_ij)²: what a pair of random vectors costs to multiply. (Paria and others,
        /// "Minimizing FLOPs to Learn Efficient Sparse Representations", arXiv:2004.05665.)
        case flops
        /// FLOPS with each term's mean divided by its inverse document frequency in the texts, so that common words are
        /// made to pay first: Σ_j (mean of w_ij / idf_j)². With queries that are weighted by the same frequencies, plain
        /// FLOPS does so by itself. (Geng and others, "Towards Competitive Search Relevance For Inference-Free Learned
        /// Sparse Retrievers", arXiv:2411.04403.)
        case idfFlops = "idf-flops"
        /// FLOPS of the terms that too many vectors have: Σ_j (a_j · mean of w_ij)² with the activation a_j of
        /// ``activation(ofFrequency:cutoff:steepness:)``, so that no inverted list becomes long. (Aldo Porco, Dhruv Mehra,
        /// Igor Malioutov, Karthik Radhakrishnan, Moniba Keymanesh, Daniel Preoţiuc-Pietro, Sean MacAvaney, Pengxiang
        /// Cheng, "An Alternative to FLOPS Regularization to Effectively Productionize SPLADE-Doc", arXiv:2505.15070.)
        case dfFlops = "df-flops"
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
    ///
    /// - Parameter termWeights: [terms], what the mean of each term is multiplied by, which ``Kind/idfFlops`` and
    ///   ``Kind/dfFlops`` need and no other kind has.
    public func callAsFunction<Scalar: LearningScalar>(
        _ vectors: Variable<Scalar>, termWeights: Tensor<Scalar>? = nil
    ) -> Variable<Scalar> {
        let count = Scalar(max(vectors.rows, 1))
        require((termWeights != nil) == kind.weighsTerms, "weights of terms for \(kind.rawValue)")
        if kind == .l1 { return vectors.sum().affine(1 / count) }
        var means = vectors.columnSums().affine(1 / count)
        if let termWeights {
            require(termWeights.count == vectors.columns, "\(termWeights.count) weights of \(vectors.columns) terms")
            means = means * vectors.tape.constant(termWeights.reshaped(means.shape))
        }
        return means.map(.square).sum()
    }

    /// What a term that a share of all vectors has is held back by, from 0 to 1: `1 / (1 + (x^(log 2 / log c) - 1)^s)`, which
    /// is a half at x = c.
    ///
    /// - Parameters:
    ///   - frequency: x, the share, 0...1.
    ///   - cutoff: c, inside 0..<1.
    ///   - steepness: s, how suddenly it rises around c. Both defaults are the authors'.
    public static func activation(
        ofFrequency frequency: Double, cutoff: Double = 0.1, steepness: Double = 10
    ) -> Double {
        if frequency <= 0 { return 0 }
        let base = power(frequency, logarithm(2) / logarithm(cutoff)) - 1
        return 1 / (1 + power(max(base, 0), steepness))
    }
}

extension SparsityRegularizer.Kind {
    /// Whether each term has a weight of its own in the penalty.
    var weighsTerms: Bool { self == .idfFlops || self == .dfFlops }
}

/// Which share of the vectors made lately has each term: a running mean over batches, which is part of a model's file so that
/// training that is resumed goes on with it.
final class TermFrequencies: Module {
    /// [terms], each 0...1.
    let shares: Parameter<Float>
    /// What a batch leaves of what was known before it.
    private let retention: Float = 0.98

    init(terms: Int) { shares = Parameter(Tensor(zeros: [terms]), isTrainable: false, decays: false) }

    var parts: [(name: String, part: Any)] { [("shares", shares)] }

    /// Takes in the vectors [texts, terms] of a batch.
    func observe(_ vectors: Variable<Float>) {
        let (rows, terms) = (vectors.rows, vectors.columns)
        if rows == 0 { return }
        vectors.withPointer { p in
            for term in 0..<terms {
                var count = 0
                for row in 0..<rows where p[row * terms + term] > 0 { count += 1 }
                let share = Float(count) / Float(rows)
                shares.buffer.pointer[term] = retention * shares.buffer.pointer[term] + (1 - retention) * share
            }
        }
    }

    /// The penalty's weight of each term.
    var activations: Tensor<Float> {
        Tensor(shares.value.scalars.map { Float(SparsityRegularizer.activation(ofFrequency: Double($0))) })
    }
}
