import Lacuna

/// Checks that queries that need no network retrieve better with inverse document frequencies, and what an ensemble of teachers adds.
struct InferenceFreeLSRReproduction: Reproduction {
    let shortName = "InferenceFreeLSR"
    let paper = 17
    let title = "Towards Competitive Search Relevance For Inference-Free Learned Sparse Retrievers"
    let arXiv: String? = "2411.04403"
    let claim =
        "With a table of inverse document frequencies for queries, ranking gradients of common terms are small and FLOPS prunes these "
        + "first; distilled from several teachers whose scores are normalised first, the student is better than by any of them."

    /// What a student learns from.
    private enum Supervision: String, CaseIterable {
        case first = "teacher A"
        case second = "teacher B"
        case both = "A and B, normalised"
        case raw = "10 A + B, as they are"
    }

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = 5
        let test = SynonymTask.test(context.quick ? 500 : 2000, seed: context.seed)
        // FLOPS weight and steps.
        let settings = context.quick ? [(0.1, 400)] : [(0.1, 1000), (0.03, 1500)]
        var (recall, reciprocal, stops): ([String: Sample], [String: Sample], [String: Sample]) = ([:], [:], [:])
        var distilled: [Supervision: Sample] = [:]
        let total = seeds * (settings.count * 2 + Supervision.allCases.count)
        var done = 0
        for index in 0..<seeds {
            let seed = context.seed &* 1000 &+ UInt64(index)
            var corpus = SeededGenerator(seed: seed, stream: 0xC0)
            let idf = SynonymTask.inverseDocumentFrequencies(SynonymTask.pairs(2000, using: &corpus).documents)
            func retriever(_ table: [Float], penalty: Double, steps: Int) throws -> LexicalRetriever {
                try context.progress.report("retrievers", done, of: total)
                done += 1
                var generator = SeededGenerator(seed: seed, stream: 1)
                return try LexicalRetriever(
                    query: TableTermEncoder(table),
                    document: FactorizedTermEncoder(terms: SynonymTask.terms, width: 64, using: &generator),
                    documentRegularizer: SparsityRegularizer(.flops, weight: penalty, warmUp: steps / 3))
            }
            for (penalty, steps) in settings {
                for (name, table) in [
                    ("binary", [Float](repeating: 0.3, count: SynonymTask.terms)), ("idf", idf.map { 0.3 * $0 }),
                ] {
                    let model = try retriever(table, penalty: penalty, steps: steps)
                    try SynonymTask.batches(64, seed: seed).train(model, steps: steps, learningRate: 0.01) {
                        pairs, tape in model.loss(pairs.queries, pairs.documents, step: pairs.step, on: tape)
                    }
                    let ranking = try PairRanking(model, test)
                    let key = "\(name), FLOPS \(penalty)"
                    recall[key, default: Sample()].values.append(ranking.recall(at: 10))
                    reciprocal[key, default: Sample()].values.append(ranking.reciprocalRank)
                    var kept = 0
                    try model.encodeDocuments(test.documents).forEachEntry { _, term, weight in
                        if SynonymTask.isStop(term) && weight > 0 { kept += 1 }
                    }
                    stops[key, default: Sample()].values.append(Double(kept) / Double(test.documents.count))
                }
            }
            for supervision in Supervision.allCases {
                let (penalty, steps) = settings[0]
                let model = try retriever(idf.map { 0.3 * $0 }, penalty: penalty, steps: steps)
                let regularizer = model.documentRegularizer!
                try SynonymTask.batches(64, seed: seed).train(model, steps: steps, learningRate: 0.01) { pairs, tape in
                    let (q, d) = (
                        model.query(TokenTexts(pairs.queries), on: tape),
                        model.document(TokenTexts(pairs.documents), on: tape)
                    )
                    let teacher = tape.constant(try Self.scores(pairs, supervision))
                    let loss = Loss.distillation(student: q.multiplied(by: d, otherTransposed: true), teacher: teacher)
                    return loss + regularizer(d).affine(Float(regularizer.weight(at: pairs.step)))
                }
                distilled[supervision, default: Sample()].values.append(try PairRanking(model, test).recall(at: 10))
            }
        }
        func gain(_ samples: [String: Sample], _ penalty: Double) -> Sample {
            samples["idf, FLOPS \(penalty)"]! - samples["binary, FLOPS \(penalty)"]!
        }
        let both = distilled[.both]!
        return Outcome(
            setting:
                "120 concepts of 4 synonyms and 30 stop words; documents get weights of all terms, queries those of a table; "
                + settings.map { "FLOPS \($0.0) and \($0.1) steps" }.joined(separator: ", ")
                + "; each of two teachers knows half of the concepts; \(seeds) seeds",
            measurements: settings.flatMap { penalty, _ in
                [
                    recall["idf, FLOPS \(penalty)"]!.measured(
                        "Recall@10, idf, FLOPS \(penalty)", against: recall["binary, FLOPS \(penalty)"]!, "binary"),
                    reciprocal["idf, FLOPS \(penalty)"]!.measured(
                        "MRR@10, idf, FLOPS \(penalty)", against: reciprocal["binary, FLOPS \(penalty)"]!, "binary"),
                    stops["idf, FLOPS \(penalty)"]!.measured(
                        "stop words a document, idf, FLOPS \(penalty)", against: stops["binary, FLOPS \(penalty)"]!,
                        "binary"),
                ]
            } + Supervision.allCases.map { distilled[$0]!.measured("Recall@10, distilled from \($0.rawValue)") },
            checks: settings.flatMap { penalty, _ in
                [
                    Check("idf finds more than binary queries, FLOPS \(penalty)", gain(recall, penalty), exceeds: 0),
                    Check("and ranks them higher, FLOPS \(penalty)", gain(reciprocal, penalty), exceeds: 0),
                    Check(
                        "documents keep less than 2 stop words of 8, FLOPS \(penalty)", stops["idf, FLOPS \(penalty)"]!,
                        staysBelow: 2),
                ]
            } + [
                Check(
                    "the ensemble's student is better than that of teacher A", both - distilled[.first]!, exceeds: 0.05),
                Check("and than that of teacher B", both - distilled[.second]!, exceeds: 0.05),
                Check("teachers of other ranges, not normalised, are worse", both - distilled[.raw]!, exceeds: 0.02),
            ])
    }

    /// What teachers think of every query and document of a batch: the concepts that both have, of the teacher's half.
    private static func scores(_ pairs: TokenPairs, _ supervision: Supervision) throws -> Tensor<Float> {
        func teacher(_ half: Range<Int>, scale: Float) -> Tensor<Float> {
            let documents = pairs.documents.map { Set($0.compactMap(SynonymTask.concept)).filter(half.contains) }
            var scores = Tensor<Float>(zeros: [pairs.queries.count, documents.count])
            for (i, query) in pairs.queries.enumerated() {
                let wanted = Set(query.compactMap(SynonymTask.concept))
                for (j, document) in documents.enumerated() {
                    scores[i, j] = scale * Float(wanted.count(where: document.contains))
                }
            }
            return scores
        }
        let middle = SynonymTask.concepts / 2
        let (a, b) = (0..<middle, middle..<SynonymTask.concepts)
        switch supervision {
        case .first: return try RetrievalLoss.ensemble([teacher(a, scale: 1)])
        case .second: return try RetrievalLoss.ensemble([teacher(b, scale: 1)])
        // A teacher's range makes no difference once its scores are normalised.
        case .both: return try RetrievalLoss.ensemble([teacher(a, scale: 10), teacher(b, scale: 1)])
        case .raw: return (teacher(a, scale: 10) + teacher(b, scale: 1)) / 2
        }
    }
}
