import LacunaLearn
import LacunaTensor

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
        let (n, m) = (queries.rows, documents.rows)
        require(m >= n, "\(m) documents for \(n) queries")
        var scores = queries.multiplied(by: documents, otherTransposed: true).affine(1 / temperature)
        if let sources {
            require(sources.count == m, "\(sources.count) sources of \(m) documents")
            var offsets = Tensor<Scalar>(zeros: [n, m])
            // Far below any score, and finite, so that the softmax of what is left stays defined.
            for i in 0..<n { for j in 0..<m where i != j && sources[i] == sources[j] { offsets[i, j] = -1e30 } }
            scores = scores + queries.tape.constant(offsets)
        }
        return Loss.crossEntropy(scores, labels: (0..<Int32(queries.rows)).map { $0 })
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
