import LacunaLearn
import LacunaTensor

/// What a retriever learns from.
public enum RetrievalObjective: String, Sendable, Hashable, CaseIterable {
    /// Which document is a query's own: ``RetrievalLoss/contrastive(_:_:temperature:sources:)``.
    case contrastive
    /// How far a teacher puts it above others: ``RetrievalLoss/marginMSE(student:teacher:)``.
    case marginMSE = "margin-mse"
    /// How a teacher distributes its preference over all candidates: the Kullback-Leibler divergence.
    case divergence = "kl"
}

/// What a retriever is trained to do, given the scores of some queries' candidates.
public enum RetrievalLoss {
    /// The cross-entropy of picking each query's own document among all documents of the batch, and its hard
    /// negatives if there are any.
    ///
    /// - Parameters:
    ///   - queries: [n, terms].
    ///   - documents: [m, terms] with m ≥ n; document i belongs to query i.
    ///   - temperature: What scores are divided by.
    ///   - sources: Where each document is from, [m]: those of one source are no negatives of each other. Nil if all differ.
    public static func contrastive<Scalar: LearningScalar>(
        _ queries: Variable<Scalar>, _ documents: Variable<Scalar>, temperature: Scalar = 1, sources: [Int]? = nil
    ) -> Variable<Scalar> {
        let scores = queries.multiplied(by: documents, otherTransposed: true)
        guard let sources else { return contrastive(scores, temperature: temperature) }
        require(sources.count == documents.rows, "\(sources.count) sources of \(documents.rows) documents")
        return contrastive(scores, temperature: temperature) { i, j in sources[i] == sources[j] }
    }

    /// The same of scores.
    ///
    /// - Parameters:
    ///   - scores: [n, m] with m ≥ n; document i belongs to query i.
    ///   - excludes: Whether document j, which is not i, is no negative of query i.
    public static func contrastive<Scalar: LearningScalar>(
        _ scores: Variable<Scalar>, temperature: Scalar = 1, excludes: ((_ query: Int, _ document: Int) -> Bool)? = nil
    ) -> Variable<Scalar> {
        let (n, m) = (scores.rows, scores.columns)
        require(m >= n, "\(m) documents for \(n) queries")
        var scores = scores.affine(1 / temperature)
        if let excludes {
            var offsets = Tensor<Scalar>(zeros: [n, m])
            // Far below any score, and finite, so that the softmax of what is left stays defined.
            for i in 0..<n { for j in 0..<m where i != j && excludes(i, j) { offsets[i, j] = -1e30 } }
            scores = scores + scores.tape.constant(offsets)
        }
        return Loss.crossEntropy(scores, labels: (0..<Int32(n)).map { $0 })
    }

    /// Which documents are each query's candidates in a batch, its own first: the negatives that were chosen for it, or all
    /// documents if none were.
    ///
    /// - Parameters:
    ///   - queries: n; document i belongs to query i.
    ///   - negatives: h, the number of negatives a query; those of query i are documents n + h i and on.
    ///   - documents: m = n (1 + h).
    /// - Returns: [n, 1 + h] or, if h is 0, [n, n].
    public static func candidates(queries: Int, negatives: Int, documents: Int) -> [[Int]] {
        require(documents == queries * (1 + negatives), "\(documents) documents for \(queries) queries")
        return (0..<queries).map { i in
            let others =
                negatives > 0
                ? Array(queries + negatives * i..<queries + negatives * (i + 1)) : (0..<queries).filter { $0 != i }
            return [i] + others
        }
    }

    /// The mean squared difference between student and teacher of how far a relevant document is above another.
    ///
    /// Sebastian Hofstätter, Sophia Althammer, Michael Schröder, Mete Sertkan, Allan Hanbury, "Improving Efficient
    /// Neural Ranking Models with Cross-Architecture Knowledge Distillation", arXiv:2010.02666.
    ///
    /// - Parameters:
    ///   - student: Scores [n, candidates], the relevant document first.
    ///   - teacher: The same.
    public static func marginMSE<Scalar: LearningScalar>(
        student: Variable<Scalar>, teacher: Variable<Scalar>
    ) -> Variable<Scalar> {
        require(student.shape == teacher.shape && student.columns > 1, "scores of two or more candidates")
        func margins(_ scores: Variable<Scalar>) -> Variable<Scalar> {
            let first = scores.sliced(columns: 0..<1).expanded(to: [scores.rows, scores.columns - 1])
            return first - scores.sliced(columns: 1..<scores.columns)
        }
        return Loss.meanSquaredError(margins(student), margins(teacher.detached()))
    }

    /// The mean of several teachers' scores of each query's candidates, each brought to 0…1 over the candidates
    /// first, times a scale: teachers of any range count alike.
    ///
    ///     s = scale · mean over teachers of (s_t - min) / (max - min + 1e-6)
    ///
    /// Zhichao Geng, Yiwen Wang, Dongyu Ru, Yang Yang, "Towards Competitive Search Relevance For Inference-Free
    /// Learned Sparse Retrievers", arXiv:2411.04403. Distil with `Loss.distillation(student:teacher:)` of LacunaLearn.
    ///
    /// - Parameter teachers: Scores [n, candidates] each.
    /// - Throws: `LacunaError.invalidArgument` for no teachers, or other shapes.
    public static func ensemble(_ teachers: [Tensor<Float>], scale: Float = 30) throws -> Tensor<Float> {
        guard let first = teachers.first, first.rank == 2, teachers.allSatisfy({ $0.shape == first.shape }) else {
            throw LacunaError.invalidArgument("teachers", reason: "there are none, or their scores differ in shape")
        }
        var result = Tensor<Float>(zeros: first.shape)
        for teacher in teachers {
            for row in 0..<teacher.rows {
                let scores = (0..<teacher.columns).map { teacher[row, $0] }
                let (low, high) = (scores.min() ?? 0, scores.max() ?? 0)
                for (column, score) in scores.enumerated() {
                    result[row, column] += scale * (score - low) / (high - low + 1e-6) / Float(teachers.count)
                }
            }
        }
        return result
    }
}
