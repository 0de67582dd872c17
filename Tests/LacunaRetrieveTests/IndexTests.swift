import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaRetrieve

@Suite struct IndexTests {
    /// Documents, and queries of several lengths: enough for blocks to be skipped, small enough to be fast.
    private static func bed(eighths: Bool) throws -> (documents: SparseMatrix<Float>, queries: SparseMatrix<Float>) {
        (
            try collection(documents: 900, terms: 400, entries: 20, eighths: eighths),
            try SparseMatrix.stackedVertically([
                collection(documents: 10, terms: 400, entries: 12, eighths: eighths, seed: 2),
                collection(documents: 10, terms: 400, entries: 3, eighths: eighths, seed: 3),
            ])
        )
    }

    @Test func bruteForceIsTheDenseProduct() throws {
        let (documents, queries) = try Self.bed(eighths: true)
        let index = try BruteForceIndex(documents)
        #expect(index.documentCount == 900 && index.termCount == 400)
        for row in 0..<queries.rows {
            let result = try index.search(queries.row(row), count: 15)
            let wanted = reference(documents, queries.row(row), count: 15)
            // Eighths add up exactly, so ties are ties.
            #expect(result.documents.map(\.document) == wanted.map(\.document))
            #expect(result.documents.map { Double($0.score) } == wanted.map(\.score))
            #expect(result.work.documentsScored == 900)
        }
    }

    @Test(arguments: InvertedIndex.Strategy.allCases, [false, true])
    func everyStrategyIsExact(_ strategy: InvertedIndex.Strategy, eighths: Bool) throws {
        let (documents, queries) = try Self.bed(eighths: eighths)
        let oracle = try BruteForceIndex(documents)
        let index = InvertedIndex(oracle.vectors, strategy: strategy)
        let odd = DocumentSet(capacity: 900) { $0 % 3 == 1 }
        for count in [1, 7, 900] {
            for filter in [nil, odd] {
                for row in 0..<queries.rows {
                    let query = queries.row(row)
                    let (found, wanted) = (
                        try index.search(query, count: count, filter: filter),
                        try oracle.search(query, count: count, filter: filter)
                    )
                    #expect(found.documents == wanted.documents, "\(strategy), query \(row), \(count)")
                }
            }
        }
    }

    @Test func boundsSaveWork() throws {
        func work(
            _ documents: SparseMatrix<Float>, _ queries: SparseMatrix<Float>, _ strategy: InvertedIndex.Strategy
        ) throws -> SearchWork {
            try InvertedIndex(documents, strategy: strategy).search(queries, count: 5).reduce(into: SearchWork()) {
                $0 += $1.work
            }
        }
        // Every document has term 0, with little weight: its list need not be read once there are better ones.
        var generator = SeededGenerator(seed: 6)
        let rows = (0..<12_000).map { _ -> [(column: Int, value: Float)] in
            [(0, 0.1), (Int.random(in: 1..<300, using: &generator), 1 + Float(generator.uniform()))]
        }
        let common = try SparseMatrix(columns: 300, rows: rows)
        let query = try sparse(300, [(0, 1), (5, 1), (6, 1)]).rowMatrix
        let (all, maxScore) = (try work(common, query, .accumulate), try work(common, query, .maxScore))
        #expect(all.postingsRead > 12_000 && maxScore.postingsRead < all.postingsRead / 2)
        #expect(maxScore.documentsScored < 2000)
        let documents = try collection(documents: 12_000, terms: 300, entries: 12)
        let queries = try collection(documents: 10, terms: 300, entries: 4, seed: 5)
        let wand = try work(documents, queries, .blockMaxWAND)
        #expect(wand.documentsScored < (try work(documents, queries, .accumulate)).postingsRead / 4)
        #expect(wand.blocksSkipped > 0)
    }

    @Test func windowsOfManyDocuments() throws {
        // More documents than a window, the best ones in the last.
        let rows = (0..<9000).map { i -> [(column: Int, value: Float)] in [(i % 3, 1 + Float(i) / 9000)] }
        let documents = try SparseMatrix(columns: 3, rows: rows)
        let query = try sparse(3, [(0, 1), (2, 2)])
        for strategy in InvertedIndex.Strategy.allCases {
            let result = try InvertedIndex(documents, strategy: strategy).search(query, count: 4)
            #expect(result.documents.map(\.document) == [8999, 8996, 8993, 8990])
        }
    }

    @Test func wideVocabularies() throws {
        let rows: [[(column: Int, value: Float)]] = [
            [(0, 1), (70_000, 2)], [(65_536, 3)], [], [(70_000, 1), (99_999, 4)],
        ]
        let documents = try SparseMatrix(columns: 100_000, rows: rows)
        let query = try sparse(100_000, [(70_000, 1), (99_999, 0.5), (0, 0.25)])
        let vectors = try DocumentVectors(documents)
        #expect(vectors.narrowTerms == nil)
        for index in [BruteForceIndex(vectors), InvertedIndex(vectors)] as [any SparseIndex] {
            let found = try index.search(query, count: 10).documents
            #expect(found == [ScoredDocument(document: 3, score: 3), .init(document: 0, score: 2.25)])
        }
        let seismic = try SeismicIndex(vectors, settings: .exhaustive, search: .exhaustive)
        #expect(try seismic.search(query, count: 10).documents.map(\.document) == [3, 0])
        #expect(try vectors.vector(3) == (try sparse(100_000, [(70_000, 1), (99_999, 4)])))
        // As in a damaged file that nobody checked.
        let damaged = DocumentVectors(
            termCount: 4, starts: MappedArray([0, 2]), narrowTerms: MappedArray([3, 3] as [UInt16]), wideTerms: nil,
            weights: MappedArray([1, 1]))
        #expect(throws: LacunaError.self) { try damaged.vector(0) }
    }

    @Test func threadsChangeNothing() throws {
        let (documents, queries) = try Self.bed(eighths: false)
        let before = Parallel.threads
        defer { Parallel.threads = before }
        var results: [[SearchResult]] = []
        for threads in [1, 3] {
            Parallel.threads = threads
            let exact = try InvertedIndex(documents).search(queries, count: 9)
            let seismic = try SeismicIndex(
                documents, settings: SeismicSettings(pruning: .global(20, cap: 1.5), neighbours: 3),
                search: SeismicSearch(queryCut: 3, heapFactor: 0.9))
            results.append(exact)
            results.append(try seismic.search(queries, count: 9))
        }
        #expect(results[0] == results[2])
        #expect(results[1] == results[3])
        for row in 0..<queries.rows {
            #expect(
                results[0][row].documents == (try InvertedIndex(documents).search(queries.row(row), count: 9)).documents
            )
        }
    }

    @Test func badInputIsRefused() throws {
        let documents = try collection(documents: 10, terms: 50, entries: 4)
        let index = try InvertedIndex(documents)
        let query = documents.row(0)
        #expect(failure { try index.search(query, count: 0) } != nil)
        #expect(failure { try index.search(SparseVector(zeros: 49), count: 1) } != nil)
        #expect(failure { try index.search(-1 * query, count: 1) } != nil)
        #expect(failure { try index.search(Float.infinity * query, count: 1) } != nil)
        #expect(failure { try index.search(query, count: 1, filter: DocumentSet(capacity: 9) { _ in true }) } != nil)
        #expect(failure { try BruteForceIndex(-1 * documents) }?.description.contains("document 0") == true)
        #expect(try index.search(SparseVector(zeros: 50), count: 3).documents.isEmpty)
        let empty = try InvertedIndex(SparseMatrix<Float>(zeros: 0, 50))
        #expect(try empty.search(query, count: 3).documents.isEmpty)
    }

    @Test func bm25ByItsFormula() throws {
        // Three documents of 3, 1 and 4 words.
        let counts = try SparseMatrix<Float>(
            rows: 3, columns: 4, rowIndices: [0, 0, 1, 2, 2], columnIndices: [0, 1, 1, 1, 2], values: [2, 1, 1, 1, 3])
        let bm25 = try BM25(k1: 1.2, b: 0.75)
        let index = try bm25.index(counts)
        let frequencies = (0..<4).map { index.lists.documentFrequency($0) }
        #expect(frequencies == [1, 3, 1, 0])
        let query = try BM25.queryWeights(
            sparse(4, [(0, 1), (1, 2)]), frequencies: frequencies, documents: 3)
        func idf(_ n: Double) -> Double { logarithm(1 + (3 - n + 0.5) / (n + 0.5)) }
        func tf(_ c: Double, _ length: Double) -> Double { c * 2.2 / (c + 1.2 * (0.25 + 0.75 * length / (8.0 / 3))) }
        let wanted = [
            idf(1) * tf(2, 3) + 2 * idf(3) * tf(1, 3), 2 * idf(3) * tf(1, 1), 2 * idf(3) * tf(1, 4),
        ]
        let found = try index.search(query, count: 5).documents
        #expect(found.map(\.document) == [0, 1, 2])
        for hit in found { #expect(abs(Double(hit.score) - wanted[hit.document]) < 1e-6) }
        #expect(failure { try BM25(k1: -1) } != nil)
        #expect(failure { try BM25(b: 1.5) } != nil)
    }
}
