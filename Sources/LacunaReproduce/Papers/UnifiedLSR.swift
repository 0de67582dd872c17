import Lacuna

/// Checks the grid of learned sparse retrievers: which part of a retriever matters.
struct UnifiedLSRReproduction: Reproduction {
    let shortName = "UnifiedLSR"
    let paper = 14
    let title = "A Unified Framework for Learned Sparse Retrieval"
    let arXiv: String? = "2303.13416"
    let claim =
        "Learned sparse retrievers are pairs of encoders with a regulariser and a loss. What documents are expanded with matters "
        + "most, weights of a query's terms add a little, and a stronger regulariser shortens documents."

    /// A row of the grid. "all" stands for weights of all terms, which adds words that a text does not have.
    private enum Arm: String, CaseIterable {
        case neither = "MLP / MLP"
        case document = "binary / all terms"
        case weighted = "MLP / all terms"
        case query = "all terms / MLP"
        case both = "all terms / all terms"

        func model(penalty: Double, steps: Int, seed: UInt64) throws -> LexicalRetriever {
            var generator = SeededGenerator(seed: seed, stream: 1)
            let (terms, width) = (SynonymTask.terms, 64)
            func all() -> FactorizedTermEncoder {
                FactorizedTermEncoder(terms: terms, width: width, using: &generator)
            }
            func own() -> MLPTermEncoder { MLPTermEncoder(terms: terms, width: width, using: &generator) }
            let flops = try SparsityRegularizer(.flops, weight: penalty, warmUp: steps / 3)
            switch self {
            case .neither: return try LexicalRetriever(query: own(), document: own())
            case .document:
                return try LexicalRetriever(
                    query: BinaryTermEncoder(terms: terms), document: all(), documentRegularizer: flops)
            case .weighted: return try LexicalRetriever(query: own(), document: all(), documentRegularizer: flops)
            case .query: return try LexicalRetriever(query: all(), document: own(), queryRegularizer: flops)
            case .both:
                let shared = all()
                return try LexicalRetriever(
                    query: shared, document: shared, queryRegularizer: flops, documentRegularizer: flops)
            }
        }
    }

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = 5
        let steps = context.quick ? 300 : 1000
        let test = SynonymTask.test(context.quick ? 500 : 2000, seed: context.seed)
        let penalties = [0.03, 0.1, 0.3]
        let total = seeds * (Arm.allCases.count + penalties.count - 1)
        var done = 0
        var (recall, reciprocal, lengths): ([String: Sample], [String: Sample], [String: Sample]) = ([:], [:], [:])
        var (byPenalty, stops): ([Sample], Sample) = (penalties.map { _ in Sample() }, Sample())
        for index in 0..<seeds {
            let seed = context.seed &* 1000 &+ UInt64(index)
            func trained(_ arm: Arm, penalty: Double) throws -> LexicalRetriever {
                try context.progress.report("retrievers", done, of: total)
                done += 1
                let model = try arm.model(penalty: penalty, steps: steps, seed: seed)
                try SynonymTask.batches(64, seed: seed).train(model, steps: steps, learningRate: 0.01) { pairs, tape in
                    model.loss(pairs.queries, pairs.documents, step: pairs.step, on: tape)
                }
                return model
            }
            func terms(_ model: LexicalRetriever) throws -> Double {
                Double(try model.encodeDocuments(test.documents).count) / Double(test.documents.count)
            }
            for arm in Arm.allCases {
                let model = try trained(arm, penalty: 0.1)
                let ranking = try PairRanking(model, test)
                recall[arm.rawValue, default: Sample()].values.append(ranking.recall(at: 10))
                reciprocal[arm.rawValue, default: Sample()].values.append(ranking.reciprocalRank)
                lengths[arm.rawValue, default: Sample()].values.append(try terms(model))
                if arm == .both {
                    var kept = 0
                    try model.encodeDocuments(test.documents).forEachEntry { _, term, weight in
                        if SynonymTask.isStop(term) && weight > 0 { kept += 1 }
                    }
                    stops.values.append(Double(kept) / Double(test.documents.count))
                    byPenalty[1].values.append(try terms(model))
                }
            }
            for (place, penalty) in [(0, penalties[0]), (2, penalties[2])] {
                byPenalty[place].values.append(try terms(trained(.both, penalty: penalty)))
            }
        }
        let lexical = try bm25(test)
        func of(_ arm: Arm) -> Sample { recall[arm.rawValue]! }
        let expansion = of(.document) - of(.neither)
        let weighting = of(.weighted) - of(.document)
        return Outcome(
            setting:
                "120 concepts of 4 synonyms and 30 stop words, \(steps) steps of 64 fresh pairs, width 64, FLOPS 0.1; "
                + "\(test.queries.count) held-out queries; \(seeds) seeds",
            measurements: Arm.allCases.flatMap { arm in
                [
                    of(arm).measured("Recall@10, \(arm.rawValue)"),
                    reciprocal[arm.rawValue]!.measured("MRR@10, \(arm.rawValue)"),
                    lengths[arm.rawValue]!.measured("terms a document, \(arm.rawValue)"),
                ]
            } + [
                Measurement("Recall@10, BM25", measured: lexical),
                stops.measured("stop words a document, all terms / all terms"),
            ] + penalties.indices.map { byPenalty[$0].measured("terms a document, FLOPS \(penalties[$0])") },
            checks: [
                Check("expanding documents alone lifts recall by more than 0.2", expansion, exceeds: 0.2),
                Check("expanding queries alone lifts it by more than 0.2", of(.query) - of(.neither), exceeds: 0.2),
                Check("weights of a query's terms add to expanded documents", weighting, exceeds: 0),
                Check("but less than the expansion did", expansion - weighting, exceeds: 0),
                Check("of all pairs the best expands both", of(.both) - of(.query), exceeds: 0),
                Check("its documents keep less than 2 stop words of 8", stops, staysBelow: 2),
                Check("FLOPS 0.1 shortens documents against 0.03", byPenalty[0] - byPenalty[1], exceeds: 0),
                Check("FLOPS 0.3 shortens them against 0.1", byPenalty[1] - byPenalty[2], exceeds: 0),
            ],
            notes: [
                "The authors find on natural text that expansions of queries and of documents cancel each other. Here they do not: "
                    + "synonyms drawn at random are what expansion is best at."
            ])
    }

    /// BM25 learns nothing, so it cannot know a synonym.
    private func bm25(_ test: TokenPairs) throws -> Double {
        let method = try BM25()
        let counts = try SynonymTask.counts(test.documents)
        let weights = SynonymTask.inverseDocumentFrequencies(test.documents)
        let queries = try SynonymTask.counts(test.queries).mapEntries { _, term, count in count * weights[term] }
        return PairRanking(queries, method.documentWeights(counts, averageLength: BM25.averageLength(counts)))
            .recall(at: 10)
    }
}
