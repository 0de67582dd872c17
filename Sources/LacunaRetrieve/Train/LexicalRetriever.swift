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
    public var queryRegularizer, documentRegularizer: SparsityRegularizer?
    /// What scores are divided by in the loss.
    public var temperature: Float = 1

    /// - Throws: `LacunaError.invalidArgument` if the encoders have vocabularies of different sizes.
    public init(
        query: any TrainableTermEncoder, document: any TrainableTermEncoder,
        queryRegularizer: SparsityRegularizer? = nil, documentRegularizer: SparsityRegularizer? = nil
    ) throws {
        guard query.termCount == document.termCount else {
            throw LacunaError.invalidArgument(
                "encoders", reason: "\(query.termCount) terms of queries, \(document.termCount) of documents")
        }
        (self.query, self.document) = (query, document)
        (self.queryRegularizer, self.documentRegularizer) = (queryRegularizer, documentRegularizer)
    }

    public var parts: [(name: String, part: Any)] {
        query === document ? [("encoder", document)] : [("query", query), ("document", document)]
    }

    /// The loss of a batch in which document i belongs to query i, with both penalties.
    public func loss(_ queries: [[Int]], _ documents: [[Int]], step: Int, on tape: Tape<Float>) -> Variable<Float> {
        let (q, d) = (query(TokenTexts(queries), on: tape), document(TokenTexts(documents), on: tape))
        var loss = RetrievalLoss.contrastive(q, d, temperature: temperature)
        for (regularizer, vectors) in [(queryRegularizer, q), (documentRegularizer, d)] {
            guard let regularizer, regularizer.weight > 0 else { continue }
            loss = loss + regularizer(vectors).affine(Float(regularizer.weight(at: step)))
        }
        return loss
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
