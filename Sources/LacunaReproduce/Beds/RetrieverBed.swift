import Lacuna

/// Batches that are drawn anew at every step.
struct DrawnBatches<Batch: Sendable>: BatchSource {
    let seed: UInt64
    let draw: @Sendable (_ step: Int, _ generator: inout SeededGenerator) -> Batch

    var batchesPerEpoch: Int? { nil }

    func batch(step: Int) -> Batch {
        var generator = SeededGenerator(seed: seed, stream: UInt64(step) + 1)
        return draw(step, &generator)
    }

    /// Trains a model by Adam at a constant rate.
    func train(
        _ model: any Module, steps: Int, learningRate: Double,
        loss: @escaping (Batch, Tape<Float>) throws -> Variable<Float>
    ) throws {
        var plan = TrainingPlan(steps: steps, learningRate: .constant(learningRate))
        plan.seed = seed
        plan.logEvery = max(1, steps)
        let trainer = try Trainer(
            model: model, optimizer: Adam(learningRate: learningRate), source: self, plan: plan, loss: loss)
        _ = try trainer.train()
    }
}

/// Queries and documents as tokens; document i belongs to query i.
struct TokenPairs: Sendable {
    var step = 0
    var queries: [[Int]] = []
    var documents: [[Int]] = []
}

/// Where each query's own document stands among all documents. Of equal scores it has the mean of their places, so that a model
/// that gives everything the same score gains nothing.
struct PairRanking {
    let ranks: [Double]

    /// - Parameter scores: [queries, documents]; document i belongs to query i.
    init(_ scores: Tensor<Float>) {
        let (rows, columns) = (scores.rows, scores.columns)
        ranks = scores.withPointer { p in
            (0..<rows).map { row in
                let line = UnsafeBufferPointer(start: p + row * columns, count: columns)
                let own = line[row]
                return 1 + Double(line.count { $0 > own }) + Double(line.count { $0 == own } - 1) / 2
            }
        }
    }

    /// - Parameters:
    ///   - queries, documents: [n, terms] each.
    init(_ queries: SparseMatrix<Float>, _ documents: SparseMatrix<Float>) {
        self.init(documents.multiplied(by: queries.densified().transposed()).transposed())
    }

    init(_ model: LexicalRetriever, _ pairs: TokenPairs) throws {
        try self.init(model.encodeQueries(pairs.queries), model.encodeDocuments(pairs.documents))
    }

    func recall(at k: Int) -> Double { Double(ranks.count { $0 <= Double(k) }) / Double(ranks.count) }

    /// The mean of 1 / rank, 0 beyond the tenth.
    var reciprocalRank: Double {
        ranks.reduce(0) { $0 + ($1 <= 10 ? 1 / $1 : 0) } / Double(ranks.count)
    }
}

/// Texts about the same things in other words: 120 concepts of 4 synonyms each, and 30 stop words.
///
/// A document has 8 concepts in random words and 8 stop words, its query 3 of these concepts, in words drawn anew, and 3 stop words.
struct SynonymTask: Sendable {
    static let (concepts, forms, stops) = (120, 4, 30)
    static var terms: Int { concepts * forms + stops }
    static func isStop(_ term: Int) -> Bool { term >= concepts * forms }
    static func concept(_ term: Int) -> Int? { isStop(term) ? nil : term / forms }

    static func pairs(_ count: Int, step: Int = 0, using generator: inout SeededGenerator) -> TokenPairs {
        var pairs = TokenPairs(step: step)
        func form(_ concept: Int) -> Int { concept * forms + Int.random(in: 0..<forms, using: &generator) }
        func stopWords(_ count: Int) -> [Int] {
            (0..<count).map { _ in concepts * forms + Int.random(in: 0..<stops, using: &generator) }
        }
        for _ in 0..<count {
            let chosen = Array((0..<concepts).shuffled(using: &generator).prefix(8))
            pairs.documents.append(chosen.map(form) + stopWords(8))
            pairs.queries.append(chosen.prefix(3).map(form) + stopWords(3))
        }
        return pairs
    }

    /// Fresh pairs at every step.
    static func batches(_ count: Int, seed: UInt64) -> DrawnBatches<TokenPairs> {
        DrawnBatches(seed: seed) { step, generator in pairs(count, step: step, using: &generator) }
    }

    /// Held-out pairs.
    static func test(_ count: Int, seed: UInt64) -> TokenPairs {
        var generator = SeededGenerator(seed: seed)
        return pairs(count, using: &generator)
    }

    /// The inverse document frequency of every term, counted in documents.
    static func inverseDocumentFrequencies(_ documents: [[Int]]) -> [Float] {
        var frequencies = [Int](repeating: 0, count: terms)
        for document in documents { for term in Set(document) { frequencies[term] += 1 } }
        return frequencies.map { BM25.inverseDocumentFrequency($0, of: documents.count) }
    }

    /// How often each document has each term: [documents, terms].
    static func counts(_ texts: [[Int]], terms: Int = terms) throws -> SparseMatrix<Float> {
        try SparseMatrix(
            columns: terms,
            rows: texts.map { text in
                Dictionary(text.map { ($0, Float(1)) }, uniquingKeysWith: +).sorted { $0.key < $1.key }.map {
                    (column: $0.key, value: $0.value)
                }
            })
    }
}
