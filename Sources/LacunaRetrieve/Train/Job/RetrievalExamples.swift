import LacunaIO
import LacunaLearn
import LacunaSparse
import LacunaTensor

/// Queries with documents that belong to them: what a retriever is trained on and judged by.
struct RetrievalExamples: Sendable {
    /// A query and its documents, by their places in ``documents``.
    struct Example: Sendable {
        var query: String
        /// One at least.
        var positives: [Int]
        /// Documents that were chosen because they are none of the positives; may be empty.
        var negatives: [Int]
        /// What the file says a teacher thinks of the positive and of each of the negatives, in this order; nil for nothing.
        var scores: [Float]?
    }

    /// The texts of all documents.
    var documents: [String] = []
    /// At least one.
    var examples: [Example] = []

    /// - Parameter held: Drawn for evaluation and never trained on: this share of the examples, one at least.
    /// - Returns: The others, and those.
    func split(share held: Double, seed: UInt64) throws -> (train: RetrievalExamples, held: RetrievalExamples) {
        var generator = SeededGenerator(seed: seed, stream: 0x7E57)
        let order = Array(examples.indices).shuffled(using: &generator)
        let count = max(1, Int(held * Double(examples.count)))
        guard count < examples.count else {
            throw LacunaError.invalidArgument("test_fraction", reason: "\(examples.count) queries are too few to split")
        }
        var parts = (self, self)
        parts.0.examples = order.dropFirst(count).map { examples[$0] }
        parts.1.examples = order.prefix(count).map { examples[$0] }
        return parts
    }

    /// The judged queries of a collection.
    ///
    /// - Throws: `LacunaError.malformed` if no query has a relevant document.
    init(_ data: BEIRDataset, file: String) throws {
        documents = data.documents.map(\.content)
        let places = Dictionary(uniqueKeysWithValues: data.documents.enumerated().map { ($1.id, $0) })
        for query in data.queries {
            let grades = data.judgements.grades(of: query.id).filter { $0.value > 0 }
            let positives = grades.keys.compactMap { places[$0] }.sorted()
            if !positives.isEmpty {
                examples.append(Example(query: query.text, positives: positives, negatives: []))
            }
        }
        if examples.isEmpty {
            throw LacunaError.malformed(file: file, location: "qrels", reason: "no query has a relevant document")
        }
    }

    /// Files with a line `{"query": text, "positive": text, "negatives": [texts], "scores": [numbers]}` for each pair;
    /// negatives may be left out, and scores (of the positive and of each negative, by a teacher) as well.
    ///
    /// - Throws: `LacunaError.malformed` with the line.
    init(files: [String]) throws {
        var places: [String: Int] = [:]
        for path in files {
            let lines = try JSONLines(path)
            while let (query, texts, scores) = try lines.next(Self.line) {
                let found = texts.map { text in
                    if let known = places[text] { return known }
                    places[text] = documents.count
                    documents.append(text)
                    return documents.count - 1
                }
                examples.append(
                    Example(query: query, positives: [found[0]], negatives: Array(found.dropFirst()), scores: scores))
            }
        }
        if examples.isEmpty {
            throw LacunaError.malformed(file: files.first ?? "", location: "line 1", reason: "there are no pairs")
        }
    }

    private static func line(_ fields: JSONFields) throws -> (String, [String], [Float]?) {
        let negatives = try fields.optionalArray("negatives") ?? []
        let texts = try negatives.map { value in
            guard let text = value.stringValue else { throw fields.failure("negatives", "is no list of texts") }
            return text
        }
        let scores = try fields.optionalArray("scores").map { list in
            guard list.count == texts.count + 1 else {
                throw fields.failure("scores", "has \(list.count) numbers for \(texts.count + 1) documents")
            }
            return try list.map { value in
                guard let number = value.doubleValue, number.isFinite else {
                    throw fields.failure("scores", "is no list of finite numbers")
                }
                return Float(number)
            }
        }
        return (try fields.string("query"), [try fields.string("positive")] + texts, scores)
    }

    /// Pairs that a task draws from pages.
    ///
    /// - Throws: As ``PairTask/pair(_:using:)``.
    init(_ task: PairTask, pages: [LinkedPage], count: Int, using generator: inout SeededGenerator) throws {
        for _ in 0..<count {
            let pair = try task.pair(pages, using: &generator)
            examples.append(Example(query: pair.query, positives: [documents.count], negatives: []))
            documents.append(pair.document)
        }
    }

    /// Gives every example the documents that share most words with its query and are none of its own, as negatives: those of
    /// BM25's first `count`.
    mutating func mineNegatives(_ count: Int, progress: (any ProgressReporter)? = nil) throws {
        let words = try WordVectors(documents)
        for index in examples.indices {
            try progress.report("finding negatives", index, of: examples.count)
            let own = Set(examples[index].positives)
            let found = try words.index.search(
                words.query(examples[index].query), count: count + own.count
            ).documents
            examples[index].negatives = Array(found.map(\.document).filter { !own.contains($0) }.prefix(count))
        }
    }
}

extension LinkedPage {
    /// The page that a text is: paragraphs stand apart by an empty line or, in a text without any, have four sentences.
    ///
    /// - Parameter links: As for ``init(paragraphs:links:)``.
    public init(text: String, links: [Int] = []) {
        let blocks = text.split(separator: "\n\n").map { Self.sentences(String($0)) }.filter { !$0.isEmpty }
        guard blocks.count <= 1 else {
            self.init(paragraphs: blocks, links: links)
            return
        }
        let sentences = blocks.first ?? []
        self.init(
            paragraphs: stride(from: 0, to: sentences.count, by: 4).map {
                Array(sentences[$0..<min($0 + 4, sentences.count)])
            }, links: links)
    }

    /// What stands between a full stop, question mark or exclamation mark with a blank after it and the next one.
    private static func sentences(_ text: String) -> [String] {
        var (sentences, current): ([String], String) = ([], "")
        var endsAtBlank = false
        for character in text {
            if endsAtBlank && character.isWhitespace {
                sentences.append(current)
                current = ""
            } else {
                current.append(character)
            }
            endsAtBlank = ".?!".contains(character)
        }
        sentences.append(current)
        return sentences.map { String($0.drop(while: \.isWhitespace)) }
            .filter { $0.contains(where: { $0.isLetter || $0.isNumber }) }
    }
}

/// Texts as vectors whose inner products are BM25.
struct WordVectors {
    let index: InvertedIndex
    /// Of the documents.
    let weights: SparseMatrix<Float>
    private let terms: TermTable
    private let analyzer = WordAnalyzer()

    init(_ documents: [String]) throws {
        let counts = documents.map(analyzer.counts)
        let terms = try TermTable(Array(Set(counts.joined().map(\.term))).sorted())
        let matrix = try SparseMatrix(columns: terms.count, rows: counts.map { Self.entries($0, terms) })
        self.terms = terms
        weights = try BM25().documentWeights(matrix, averageLength: BM25.averageLength(matrix))
        index = try InvertedIndex(weights)
    }

    private static func entries(
        _ counts: [(term: String, weight: Float)], _ terms: TermTable
    ) -> [(column: Int, value: Float)] {
        counts.compactMap { count in terms.index(of: count.term).map { (column: $0, value: count.weight) } }
            .sorted { $0.column < $1.column }
    }

    private func weighted(_ text: String) -> [(column: Int, value: Float)] {
        Self.entries(analyzer.counts(text), terms).map { column, count in
            let frequency = index.lists.documentFrequency(column)
            return (column, count * BM25.inverseDocumentFrequency(frequency, of: index.documentCount))
        }
    }

    /// Texts as queries.
    func queries(_ texts: [String]) throws -> SparseMatrix<Float> {
        try SparseMatrix(columns: terms.count, rows: texts.map(weighted))
    }

    /// A text as a query of the index.
    func query(_ text: String) throws -> SparseVector<Float> {
        try SparseVector(count: terms.count, entries: weighted(text).map { (index: $0.column, value: $0.value) })
    }
}
