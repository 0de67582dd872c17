import Lacuna

/// Ranks a judged collection by its words, by learned sparse vectors, by dense ones, and by all of them together, and says how good
/// each is and whether the difference to BM25 could be chance.
///
///     swift run -c release rank-documents ../Data/cranfield $(lacuna data splade-tiny --path) $(lacuna data minilm --path)
@main struct RankDocuments {
    static func main() throws {
        let arguments = CommandLine.arguments.dropFirst()
        guard let place = arguments.first, arguments.count == 1 || arguments.count == 3 else {
            return print("usage: rank-documents COLLECTION [SPARSE-ENCODER DENSE-ENCODER]")
        }
        let collection = try Collection(BEIRDataset(place))
        var runs = [try collection.words()]
        if arguments.count == 3 {
            let (splade, minilm) = (Array(arguments)[1], Array(arguments)[2])
            let encoder = try SparseEncoder.load(splade)
            let documents = try encoder.encodeDocuments(collection.documents)
            let queries = try encoder.encodeQueries(collection.queries)
            let index = try InvertedIndex(documents)
            runs.append(try collection.run("SPLADE") { try index.search(queries.row($0), count: 1000).documents })

            // Pseudo relevance feedback, RM3 on learned weights: half of the new query comes from the ten documents found first.
            runs.append(
                try collection.run("SPLADE, feedback") { row in
                    let found = try index.search(queries.row(row), count: 10).documents
                    let query = try Feedback.rocchio(alpha: 0.5, beta: 0.5).query(
                        queries.row(row), documents: found.map { documents.row($0.document) }, terms: 64)
                    return try index.search(query, count: 1000).documents
                })

            // Documents by the network, queries by a table: how rare each of their tokens is.
            if let network = encoder.query as? SpladeEncoder {
                let table = try TableEncoder(inverseDocumentFrequenciesOf: collection.documents, input: network.input)
                let plain = try table.encode(collection.queries)
                runs.append(
                    try collection.run("SPLADE documents, IDF queries") {
                        try index.search(plain.row($0), count: 1000).documents
                    })
            }

            let dense = try DenseEncoder.load(minilm)
            let vectors = DenseIndex(try dense.encode(collection.documents))
            let questions = try dense.encode(collection.queries)
            runs.append(
                try collection.run("MiniLM, dense") {
                    try vectors.search(questions.rows($0..<$0 + 1).scalars, count: 1000)
                })
            runs.append(
                try collection.run("MiniLM, feedback") { row in
                    let query = questions.rows(row..<row + 1).scalars
                    let found = try vectors.search(query, count: 3).map {
                        vectors.vectors.rows($0.document..<$0.document + 1).scalars
                    }
                    return try vectors.search(Feedback.average.query(query, documents: found), count: 1000)
                })
            let named = Dictionary(uniqueKeysWithValues: runs.map { ($0.name, $0) })
            runs.append(try collection.fused("BM25 + MiniLM", [named["BM25"]!, named["MiniLM, dense"]!]))
            runs.append(
                try collection.fused(
                    "BM25 + SPLADE + MiniLM", [named["BM25"]!, named["SPLADE"]!, named["MiniLM, dense"]!]))
        }
        try report(runs, collection.judgements)
    }

    static func report(_ runs: [RankedRun], _ judgements: Judgements) throws {
        let metrics = try ["nDCG@10", "R@100", "MRR@10"].map { try RankingMetric($0) }
        let all = runs.map { RankingEvaluation.evaluate($0, judgements, metrics: metrics) }
        print("nDCG@10  R@100  MRR@10  against \(runs[0].name) (nDCG@10, 95 %, t-test)")
        for (run, values) in zip(runs, all) {
            var line = values.map { "  \(rounded($0.mean))" }.joined() + "  "
            if run.name != runs[0].name {
                let test = try PairedTest.student(values[0].values, all[0][0].values)
                line +=
                    "\(rounded(test.difference)) [\(rounded(test.interval.lowerBound)), \(rounded(test.interval.upperBound))]"
                line += " p \(test.probability < 0.001 ? "< 0.001" : rounded(test.probability))"
            }
            print(line, "", run.name)
        }
    }

    static func rounded(_ value: Double) -> String {
        let thousandths = Int((abs(value) * 1000).rounded())
        let digits = String(thousandths % 1000)
        return (value < 0 && thousandths > 0 ? "-" : "") + "\(thousandths / 1000)."
            + String(repeating: "0", count: 3 - digits.count) + digits
    }
}

/// Texts to be found, questions, and what is known to be right.
struct Collection {
    let data: BEIRDataset
    var documents: [String] { data.documents.map(\.content) }
    var queries: [String] { data.queries.map(\.text) }
    var judgements: Judgements { data.judgements }

    init(_ data: BEIRDataset) { self.data = data }

    /// What a way of searching finds for every query, given its number.
    func run(_ name: String, _ search: (Int) throws -> [ScoredDocument]) throws -> RankedRun {
        var run = RankedRun(name: name)
        for (row, query) in data.queries.enumerated() {
            try run.append(
                query: query.id,
                hits: search(row).map { .init(document: data.documents[$0.document].id, score: Double($0.score)) })
        }
        return run
    }

    /// BM25 over stemmed words.
    func words() throws -> RankedRun {
        let analyzer = WordAnalyzer()
        var columns: [String: Int] = [:]
        var rows: [[(column: Int, value: Float)]] = []
        for text in documents {
            rows.append(
                analyzer.counts(text).map { word in
                    let column = columns[word.term] ?? columns.count
                    columns[word.term] = column
                    return (column, word.weight)
                })
        }
        let counts = try SparseMatrix<Float>(
            columns: columns.count, rows: rows.map { $0.sorted { $0.column < $1.column } })
        let index = try BM25().index(counts)
        let frequencies = (0..<columns.count).map { index.lists.documentFrequency($0) }
        return try run("BM25") { row in
            let known = analyzer.counts(queries[row]).compactMap { word in
                columns[word.term].map { (index: $0, value: word.weight) }
            }
            let query = try BM25.queryWeights(
                SparseVector(count: columns.count, entries: known.sorted { $0.index < $1.index }),
                frequencies: frequencies,
                documents: counts.rows)
            return try index.search(query, count: 1000).documents
        }
    }

    func fused(_ name: String, _ runs: [RankedRun]) throws -> RankedRun {
        var run = try Fusion.reciprocalRank(runs)
        run.name = name
        return run
    }
}
