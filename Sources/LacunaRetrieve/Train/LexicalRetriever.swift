import LacunaLearn
import LacunaSparse
import LacunaTensor

/// A learned sparse retriever in training: an encoder for queries, one for documents (which may be the same), a
/// regulariser for each side, a loss.
///
/// | name in the field | queries | documents |
/// |---|---|---|
/// | DeepImpact | binary | MLP |
/// | uniCOIL | MLP | MLP |
/// | EPIC | MLP | all terms |
/// | SPARTA | binary | all terms |
/// | inference-free | table | all terms |
/// | SPLADE | all terms | all terms |
///
/// Thong Nguyen, Sean MacAvaney, Andrew Yates, "A Unified Framework for Learned Sparse Retrieval", arXiv:2303.13416.
public final class LexicalRetriever: Module {
    /// What makes vectors of queries and of documents; one object for both shares its parameters.
    public let query, document: any TrainableTermEncoder
    /// What keeps each side's vectors sparse; nil for nothing.
    public let queryRegularizer, documentRegularizer: SparsityRegularizer?
    /// What is learned from.
    public var objective = RetrievalObjective.contrastive
    /// What scores are divided by in the loss.
    public var temperature: Float = 1
    /// What the mean of each term is multiplied by in ``SparsityRegularizer/Kind/idfFlops``: 1 / idf, [terms].
    private let termWeights: Tensor<Float>?
    /// How frequent terms have become, for ``SparsityRegularizer/Kind/dfFlops``.
    private let queryFrequencies, documentFrequencies: TermFrequencies?

    /// - Parameter idf: Inverse document frequencies of the terms, for ``SparsityRegularizer/Kind/idfFlops``.
    /// - Throws: `LacunaError.invalidArgument` if the encoders have vocabularies of different sizes, and for a regulariser
    ///   that needs inverse document frequencies without any, or with others than one above 0 for each term.
    public init(
        query: any TrainableTermEncoder, document: any TrainableTermEncoder,
        queryRegularizer: SparsityRegularizer? = nil, documentRegularizer: SparsityRegularizer? = nil,
        idf: [Float]? = nil
    ) throws {
        guard query.termCount == document.termCount else {
            throw LacunaError.invalidArgument(
                "encoders", reason: "\(query.termCount) terms of queries, \(document.termCount) of documents")
        }
        let kinds = [queryRegularizer?.kind, documentRegularizer?.kind]
        if kinds.contains(.idfFlops) {
            guard let idf, idf.count == document.termCount, idf.allSatisfy({ $0 > 0 && $0.isFinite }) else {
                throw LacunaError.invalidArgument(
                    "idf", reason: "is no number above 0 for each of \(document.termCount) terms")
            }
            termWeights = Tensor(idf.map { 1 / $0 })
        } else {
            termWeights = nil
        }
        func frequencies(_ kind: SparsityRegularizer.Kind?) -> TermFrequencies? {
            kind == .dfFlops ? TermFrequencies(terms: document.termCount) : nil
        }
        (queryFrequencies, documentFrequencies) = (frequencies(kinds[0]), frequencies(kinds[1]))
        (self.query, self.document) = (query, document)
        (self.queryRegularizer, self.documentRegularizer) = (queryRegularizer, documentRegularizer)
    }

    public var parts: [(name: String, part: Any)] {
        (query === document ? [("encoder", document)] : [("query", query), ("document", document)])
            + (queryFrequencies.map { [("query_frequencies", $0)] } ?? [])
            + (documentFrequencies.map { [("document_frequencies", $0)] } ?? [])
    }

    /// Queries and documents of a step, as each side's encoder reads them.
    public struct Batch: Sendable {
        /// Tokens of n queries.
        public var queries: [[Int]]
        /// Tokens of the documents: document i belongs to query i, and the negatives chosen for query i, if there are any,
        /// stand as ``RetrievalLoss/candidates(queries:negatives:documents:)`` says.
        public var documents: [[Int]]
        /// Negatives that were chosen for each query.
        public var negatives: Int
        /// Pairs of a query and another's document that are no negatives: n sets of documents of the batch. Empty for none.
        public var excluded: [Set<Int>]
        /// What a teacher thinks of each query's candidates, [n, candidates].
        public var teacher: Tensor<Float>?

        /// A batch of pairs, without teacher and chosen negatives unless they are given.
        public init(
            queries: [[Int]], documents: [[Int]], negatives: Int = 0, excluded: [Set<Int>] = [],
            teacher: Tensor<Float>? = nil
        ) {
            (self.queries, self.documents, self.negatives) = (queries, documents, negatives)
            (self.excluded, self.teacher) = (excluded, teacher)
        }
    }

    /// The loss of a batch in which document i belongs to query i, with both penalties.
    public func loss(_ queries: [[Int]], _ documents: [[Int]], step: Int, on tape: Tape<Float>) -> Variable<Float> {
        loss(Batch(queries: queries, documents: documents), step: step, on: tape)
    }

    /// The loss of a batch by the ``objective``, with both penalties.
    ///
    /// - Precondition: The batch has a teacher's scores if the objective wants them.
    public func loss(_ batch: Batch, step: Int, on tape: Tape<Float>) -> Variable<Float> {
        let (q, d) = (query(TokenTexts(batch.queries), on: tape), document(TokenTexts(batch.documents), on: tape))
        var loss = ranking(q.multiplied(by: d, otherTransposed: true), batch)
        for (regularizer, vectors, frequencies) in [
            (queryRegularizer, q, queryFrequencies), (documentRegularizer, d, documentFrequencies),
        ] {
            guard let regularizer, regularizer.weight > 0 else { continue }
            if tape.isTraining { frequencies?.observe(vectors) }
            let weights = regularizer.kind == .idfFlops ? termWeights : frequencies?.activations
            loss =
                loss
                + regularizer(vectors, termWeights: weights).affine(Float(regularizer.weight(at: step)))
        }
        return loss
    }

    private func ranking(_ scores: Variable<Float>, _ batch: Batch) -> Variable<Float> {
        if objective == .contrastive {
            if batch.excluded.isEmpty { return RetrievalLoss.contrastive(scores, temperature: temperature) }
            return RetrievalLoss.contrastive(scores, temperature: temperature) { batch.excluded[$0].contains($1) }
        }
        let candidates = RetrievalLoss.candidates(
            queries: batch.queries.count, negatives: batch.negatives, documents: batch.documents.count)
        let places = candidates.enumerated().flatMap { row, columns in
            columns.map { Int32(row * scores.columns + $0) }
        }
        let student = scores.reshaped([scores.count, 1]).gathered(places)
            .reshaped([candidates.count, candidates.first?.count ?? 0]).affine(1 / temperature)
        require(batch.teacher?.shape == student.shape, "scores of a teacher for every candidate")
        let teacher = scores.tape.constant(batch.teacher ?? Tensor(zeros: student.shape))
        return objective == .marginMSE
            ? RetrievalLoss.marginMSE(student: student, teacher: teacher)
            : Loss.distillation(student: student, teacher: teacher)
    }

    /// The vectors of queries, as an index takes them: [texts, terms].
    public func encodeQueries(_ texts: [[Int]]) throws -> SparseMatrix<Float> { try encode(query, texts) }

    /// The vectors of documents, as an index takes them: [texts, terms].
    public func encodeDocuments(_ texts: [[Int]]) throws -> SparseMatrix<Float> { try encode(document, texts) }

    private func encode(_ encoder: any TrainableTermEncoder, _ texts: [[Int]]) throws -> SparseMatrix<Float> {
        var parts: [SparseMatrix<Float>] = []
        for start in stride(from: 0, to: texts.count, by: 256) {
            let tape = Tape<Float>()
            let rows = Array(texts[start..<min(start + 256, texts.count)])
            let vectors = tape.evaluating { encoder(TokenTexts(rows), on: tape) }
            parts.append(
                try vectors.withPointer { p in
                    try SparseMatrix(Tensor(UnsafeBufferPointer(start: p, count: vectors.count), shape: vectors.shape))
                })
        }
        return parts.isEmpty ? SparseMatrix(zeros: 0, encoder.termCount) : try .stackedVertically(parts)
    }
}
