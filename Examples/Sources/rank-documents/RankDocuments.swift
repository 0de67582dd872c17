import Lacuna

/// Ranks a judged collection by its words, by learned sparse vectors and by dense ones, with and without feedback, and by all of them
/// together; says how good each is, and whether the difference to BM25 could be chance.
///
///     swift run -c release rank-documents ../Data/cranfield $(lacuna data splade-tiny --path) $(lacuna data minilm --path)
@main struct RankDocuments {
    static func main() throws {
        let arguments = CommandLine.arguments.dropFirst()
        guard let place = arguments.first, arguments.count == 1 || arguments.count == 3 else {
            return print("usage: rank-documents COLLECTION [SPARSE-ENCODER DENSE-ENCODER]")
        }
        let collection = try JudgedTexts(BEIRDataset(place))
        var runs = try collection.words()
        if arguments.count == 3 {
            let (splade, minilm) = (Array(arguments)[1], Array(arguments)[2])
            let encoder = try SparseEncoder.load(splade)
            let documents = try encoder.encodeDocuments(collection.documents)
            let queries = try encoder.encodeQueries(collection.queries)
            let index = try InvertedIndex(documents)
            runs.append(try collection.run("SPLADE") { try index.search(queries.row($0), count: 1000).documents })
            runs.append(
                try collection.run("SPLADE, feedback") { row in
                    let found = try index.search(queries.row(row), count: 3).documents
                    let query = try collection.expanded(queries.row(row), found, documents)
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
struct JudgedTexts {
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

    /// BM25 over stemmed words, and with feedback.
    func words() throws -> [RankedRun] {
        let analyzer = WordAnalyzer()
        let terms = try TermTable(Array(Set(documents.flatMap(analyzer.words))).sorted())
        func counts(_ texts: [String]) throws -> SparseMatrix<Float> {
            try SparseMatrix(
                columns: terms.count,
                rows: texts.map { text in
                    analyzer.counts(text).compactMap { word in
                        terms.index(of: word.term).map { (column: $0, value: word.weight) }
                    }.sorted { $0.column < $1.column }
                })
        }
        let (words, asked) = (try counts(documents), try counts(queries))
        let weights = try BM25().documentWeights(words, averageLength: BM25.averageLength(words))
        let index = try InvertedIndex(weights)
        let frequencies = (0..<terms.count).map { index.lists.documentFrequency($0) }
        func query(_ counts: SparseVector<Float>) throws -> SparseVector<Float> {
            try BM25.queryWeights(counts, frequencies: frequencies, documents: words.rows)
        }
        return [
            try run("BM25") { try index.search(query(asked.row($0)), count: 1000).documents },
            try run("BM25, feedback") { row in
                // Counts are put together before they are weighted by how rare their terms are.
                let found = try index.search(query(asked.row(row)), count: 3).documents
                return try index.search(query(expanded(asked.row(row), found, weights)), count: 1000).documents
            },
        ]
    }

    /// RM3 on a query's weights: three tenths of the new query come from documents that it found.
    func expanded(
        _ query: SparseVector<Float>, _ found: [ScoredDocument], _ documents: SparseMatrix<Float>
    ) throws -> SparseVector<Float> {
        try Feedback.rocchio(alpha: 0.7, beta: 0.3).query(
            query, documents: found.map { documents.row($0.document) }, terms: 40)
    }

    func fused(_ name: String, _ runs: [RankedRun]) throws -> RankedRun {
        var run = try Fusion.reciprocalRank(runs)
        run.name = name
        return run
    }
}
