import Foundation
import LacunaIO
import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaRetrieve

/// A table of methods on a real collection, for those who have it and the models: `LACUNA_COLLECTION` names a
/// directory in the layout of BEIR, `LACUNA_SPLADE` one of a sparse encoder, `LACUNA_MINILM` one of a dense encoder.
@Suite struct CollectionTests {
    private static func path(_ variable: String) -> String? { ProcessInfo.processInfo.environment[variable] }
    private static let isThere = ["LACUNA_COLLECTION", "LACUNA_SPLADE", "LACUNA_MINILM"].allSatisfy { path($0) != nil }

    private let data: BEIRDataset?
    private let depth = 1000

    init() throws { data = try Self.path("LACUNA_COLLECTION").map { try BEIRDataset($0) } }

    private func run(
        _ name: String, _ index: some SparseIndex, _ queries: SparseMatrix<Float>
    ) throws -> RankedRun {
        let data = try #require(data)
        var run = RankedRun(name: name)
        for (query, result) in zip(data.queries, try index.search(queries, count: depth)) {
            try run.append(
                query: query.id,
                hits: result.documents.map {
                    .init(document: data.documents[$0.document].id, score: Double($0.score))
                })
        }
        return run
    }

    private func run(_ name: String, _ index: DenseIndex, _ queries: [[Float]]) throws -> RankedRun {
        let data = try #require(data)
        var run = RankedRun(name: name)
        for (query, vector) in zip(data.queries, queries) {
            try run.append(
                query: query.id,
                hits: index.search(vector, count: depth).map {
                    .init(document: data.documents[$0.document].id, score: Double($0.score))
                })
        }
        return run
    }

    @Test(.enabled(if: isThere, "LACUNA_COLLECTION, LACUNA_SPLADE or LACUNA_MINILM is not set"))
    func tableOfMethods() throws {
        let data = try #require(data)
        let (texts, questions) = (data.documents.map(\.content), data.queries.map(\.text))
        let places = Dictionary(uniqueKeysWithValues: data.documents.enumerated().map { ($0.element.id, $0.offset) })

        // BM25 on stems.
        let analyzer = WordAnalyzer()
        let table = try TermTable(Array(Set(texts.flatMap(analyzer.words))).sorted())
        func counts(_ text: String) -> [(column: Int, value: Float)] {
            analyzer.counts(text).compactMap { entry in table.index(of: entry.term).map { ($0, entry.weight) } }
                .sorted { $0.0 < $1.0 }
        }
        let words = try SparseMatrix<Float>(columns: table.count, rows: texts.map(counts))
        let lexical = try BM25().index(words)
        let frequencies = (0..<table.count).map { lexical.lists.documentFrequency($0) }
        let lexicalQueries = try SparseMatrix<Float>(
            columns: table.count,
            rows: questions.map { question in
                try BM25.queryWeights(
                    SparseVector(
                        count: table.count, entries: counts(question).map { (index: $0.column, value: $0.value) }),
                    frequencies: frequencies, documents: texts.count
                ).map { (column: $0.index, value: $0.value) }
            })
        let bm25 = try run("BM25", lexical, lexicalQueries)

        // SPLADE, and its documents with queries that need no network.
        let encoder = try SparseEncoder.load(#require(Self.path("LACUNA_SPLADE")))
        let splade = try #require(encoder.document as? SpladeEncoder)
        var start = monotonicSeconds()
        let vectors = try encoder.encodeDocuments(texts)
        let sparseSeconds = monotonicSeconds() - start
        let queries = try encoder.encodeQueries(questions)
        let learned = try InvertedIndex(vectors)
        let sparse = try run("SPLADE", learned, queries)
        let idf = try TableEncoder(inverseDocumentFrequenciesOf: texts, input: splade.input)
        let free = try run("inference-free", learned, idf.encode(all: questions))

        // Dense vectors.
        let dense = try DenseEncoder.load(#require(Self.path("LACUNA_MINILM")))
        start = monotonicSeconds()
        let embeddings = try dense.encode(texts)
        let denseSeconds = monotonicSeconds() - start
        let index = DenseIndex(embeddings)
        let denseTensor = try dense.encode(questions)
        let denseQueries = (0..<questions.count).map { row in
            (0..<denseTensor.columns).map { denseTensor[row, $0] }
        }
        let miniLM = try run("MiniLM", index, denseQueries)
        func embedding(_ id: String) -> [Float] {
            let row = places[id]!
            return (0..<embeddings.columns).map { embeddings[row, $0] }
        }

        // Feedback of three documents.
        func expanded(
            _ run: RankedRun, _ queries: SparseMatrix<Float>, _ documents: SparseMatrix<Float>
        ) throws -> SparseMatrix<Float> {
            try SparseMatrix(
                columns: queries.columns,
                rows: data.queries.enumerated().map { row, query in
                    try Feedback.rocchio(alpha: 0.7, beta: 0.3).query(
                        queries.row(row),
                        documents: run.hits(of: query.id).prefix(3).map { documents.row(places[$0.document]!) },
                        terms: 40
                    ).map { (column: $0.index, value: $0.value) }
                })
        }
        func moved(_ first: RankedRun) throws -> RankedRun {
            try run(
                "MiniLM + PRF", index,
                zip(data.queries, denseQueries).map { query, vector in
                    try Feedback.average.query(
                        vector, documents: first.hits(of: query.id).prefix(3).map { embedding($0.document) })
                })
        }
        let spladePRF = try run("SPLADE + PRF", learned, expanded(sparse, queries, vectors))
        let bm25PRF = try run("BM25 + PRF", lexical, expanded(bm25, lexicalQueries, lexical.vectorsMatrix))
        let fused = try Fusion.interpolation(miniLM, bm25, weight: 1)
        let runs: [(String, RankedRun)] = [
            ("BM25", bm25), ("BM25 + PRF", bm25PRF), ("SPLADE-tiny", sparse), ("SPLADE-tiny + PRF", spladePRF),
            ("inference-free (idf)", free), ("MiniLM", miniLM), ("MiniLM + PRF", try moved(miniLM)),
            ("RRF of BM25 and MiniLM", try Fusion.reciprocalRank([bm25, miniLM])),
            ("RRF of BM25, SPLADE, MiniLM", try Fusion.reciprocalRank([bm25, sparse, miniLM])),
            ("BM25 + MiniLM", fused),
            ("BM25 + MiniLM, PRF before and after", try Fusion.interpolation(moved(fused), bm25, weight: 1)),
        ]
        let metrics = try ["nDCG@10", "MAP", "MRR@10", "R@100"].map { try RankingMetric($0) }
        let baseline = RankingEvaluation(bm25, data.judgements, metric: metrics[0])
        print(
            "| method | " + metrics.map(\.description).joined(separator: " | ")
                + " | nDCG@10 - BM25 | p (t) | p (bootstrap) |")
        for (name, run) in runs {
            let values = RankingEvaluation.evaluate(run, data.judgements, metrics: metrics)
            let (t, bootstrap) = (
                try PairedTest.student(values[0].values, baseline.values),
                try PairedTest.bootstrap(values[0].values, baseline.values)
            )
            let means = values.map { String(format: "%.4f", $0.mean) }
            print(
                "| \(name) | " + means.joined(separator: " | ")
                    + String(format: " | %+.4f | %.2g | %.2g |", t.difference, t.probability, bootstrap.probability))
            #expect(values[0].mean > 0.1)
        }
        let perDocument = Double(vectors.count) / Double(texts.count)
        print(
            "SPLADE: \(texts.count) documents in \(sparseSeconds) s, \(perDocument) terms each; MiniLM: "
                + "\(denseSeconds) s; \(Parallel.threads) threads")
    }
}

extension InvertedIndex {
    /// The documents' vectors as a matrix.
    var vectorsMatrix: SparseMatrix<Float> {
        get throws {
            try SparseMatrix(
                columns: termCount,
                rows: try (0..<documentCount).map { try vectors.vector($0).map { (column: $0.index, value: $0.value) } }
            )
        }
    }
}
