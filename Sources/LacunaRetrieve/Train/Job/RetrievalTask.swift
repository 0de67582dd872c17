import LacunaIO
import LacunaLearn
import LacunaPrune
import LacunaSparse
import LacunaTensor

/// A learned sparse retriever on queries and documents: what `lacuna train` does with data of kind `retrieval`.
final class RetrievalTask: JobTask {
    private let retriever: LexicalRetriever
    private let query, document: any StorableTermEncoder
    private let batches: (UInt64, Int) -> RetrievalBatches
    private let evaluation: Evaluation
    private let inputs: (query: TextInput, document: TextInput)
    let summary: String

    /// Queries that are searched for, and what is to be found.
    struct Evaluation {
        var queries: [String]
        var documents: [String]
        /// Places of relevant documents.
        var relevant: [Set<Int>]

        /// All queries of `held` against its documents, at most `count` of them but all relevant ones.
        init(_ held: RetrievalExamples, documents count: Int) {
            var places: [Int: Int] = [:]
            var texts: [String] = []
            func place(_ document: Int) -> Int {
                if let known = places[document] { return known }
                places[document] = texts.count
                texts.append(held.documents[document])
                return texts.count - 1
            }
            queries = held.examples.map(\.query)
            relevant = held.examples.map { Set($0.positives.map(place)) }
            for document in held.documents.indices where texts.count < count { _ = place(document) }
            documents = texts
        }
    }

    /// - Parameters:
    ///   - batches: The batches of a seed, of so many to a step.
    ///   - inputs: How texts of each side become tokens.
    init(
        _ retriever: LexicalRetriever, query: any StorableTermEncoder, document: any StorableTermEncoder,
        batches: @escaping (_ seed: UInt64, _ accumulation: Int) -> RetrievalBatches, evaluation: Evaluation,
        inputs: (query: TextInput, document: TextInput), summary: String
    ) {
        (self.retriever, self.query, self.document, self.batches) = (retriever, query, document, batches)
        (self.evaluation, self.inputs, self.summary) = (evaluation, inputs, summary)
    }

    var model: any Module { retriever }
    var savesModel: Bool { false }
    var batchesPerEpoch: Int { batches(0, 1).batchesPerEpoch ?? 1 }

    func trainer(
        _ plan: TrainingPlan, _ optimizer: any Optimizer, _ method: (any TrainingMethod)?,
        _ collective: (any Collective)?
    ) throws -> any PhaseTrainer {
        // Regularisers count terms over all batches, one after the other.
        if (collective?.count ?? 1) > 1 {
            throw LacunaError.unsupported(file: nil, what: "training encoders of texts by several processes")
        }
        let retriever = retriever
        return try Trainer(
            model: retriever, optimizer: optimizer, source: batches(plan.seed, plan.accumulation), plan: plan,
            hooks: hooks(method), evaluate: { [self] _ in try evaluate() },
            loss: { batch, tape in retriever.loss(batch.content, step: batch.step, on: tape) })
    }

    /// The encoders as `lacuna encode` runs them.
    private func encoder() throws -> SparseEncoder {
        let document = try document.stored(inputs.document)
        // One network with one limit of length is one encoder.
        if query === self.document && inputs.query.maximumLength == inputs.document.maximumLength {
            return SparseEncoder(document)
        }
        return try SparseEncoder(query: query.stored(inputs.query), document: document)
    }

    /// How well the held-out queries find their documents, and how many terms vectors have. The first, by which runs stop early, is
    /// the part that is lacking to a perfect ranking.
    private func evaluate() throws -> [(name: String, value: Double)] {
        let encoder = try encoder()
        let documents = try encoder.encodeDocuments(evaluation.documents)
        let queries = try encoder.encodeQueries(evaluation.queries)
        let found = try InvertedIndex(documents).search(queries, count: 100)
        var (run, judgements) = (RankedRun(), Judgements())
        for (row, result) in found.enumerated() {
            for document in evaluation.relevant[row].sorted() {
                try judgements.judge(query: "\(row)", document: "\(document)", grade: 1)
            }
            try run.append(
                query: "\(row)",
                hits: result.documents.map { .init(document: "\($0.document)", score: Double($0.score)) })
        }
        let metrics = try ["nDCG@10", "MRR@10", "R@100"].map { try RankingMetric($0) }
        // A model that gives everything the same score gains nothing by the order of documents.
        let values = RankingEvaluation.evaluate(run, judgements, metrics: metrics, ties: .average).map(\.mean)
        func terms(_ vectors: SparseMatrix<Float>) -> Double {
            Double(vectors.count) / Double(max(vectors.rows, 1))
        }
        return [
            ("lacking_to_ndcg", 1 - values[0]), ("ndcg_at_10", values[0]), ("mrr_at_10", values[1]),
            ("recall_at_100", values[2]), ("query_terms", terms(queries)), ("document_terms", terms(documents)),
        ]
    }

    func ledger() -> Ledger {
        let tape = Tape<Float>()
        let token = (0..<document.termCount).first { !inputs.document.addedTokens.contains($0) } ?? 0
        let tokens = [Int](repeating: token, count: min(inputs.document.maximumLength, 512))
        return Ledger(retriever, on: tape) { _ = document(TokenTexts([tokens]), on: tape) }
    }

    /// The folder of an encoder that `lacuna encode` and sentence-transformers read.
    func save(to directory: String) throws {
        try encoder().save(to: FileSystem.join(directory, SparseEncoder.runFolder), overwrite: true)
    }
}
