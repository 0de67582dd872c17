import Lacuna

/// Checks where lexical and dense rankings are best put together: before feedback, after it, or both.
struct FeedbackInterpolationReproduction: Reproduction {
    let shortName = "PRFInterpolation"
    let paper = 110
    let title = "To Interpolate or not to Interpolate: PRF, Dense and Sparse Retrievers"
    let arXiv: String? = "2205.00235"
    let claim =
        "Interpolating sparse and dense rankings both before and after feedback to the dense query is best on most data and metrics."

    private static let arms = ["BM25", "dense", "interpolated", "feedback", "before", "after", "both"]

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = 5
        var (precision, gain): ([String: Sample], [String: Sample]) = ([:], [:])
        var (scarce, scarcePlain) = (Sample(), Sample())
        for index in 0..<seeds {
            try context.progress.report("collections", index, of: seeds)
            let seed = context.seed &* 1000 &+ UInt64(index)
            let size = 4000
            let bed = try TopicCollection(topics: 20, documents: size, queries: context.quick ? 100 : 300, seed: seed)
            let (tuning, measuring) = bed.halves
            let judged = bed.judgements.restricted(to: measuring)
            for (name, run) in try bed.runs(tuning: tuning) {
                let values = RankingEvaluation.evaluate(
                    run, judged, metrics: [try RankingMetric("MAP"), try RankingMetric("nDCG@10")])
                precision[name, default: Sample()].values.append(values[0].mean)
                gain[name, default: Sample()].values.append(values[1].mean)
            }
            // Few relevant documents: what comes first is mostly wrong, and feedback leads away.
            let poor = try TopicCollection(topics: 60, documents: size, queries: context.quick ? 100 : 300, seed: seed)
            let (plain, fedBack) = try poor.withAndWithoutFeedback()
            let metric = try RankingMetric("MAP")
            scarcePlain.values.append(RankingEvaluation(plain, poor.judgements, metric: metric).mean)
            scarce.values.append(RankingEvaluation(fedBack, poor.judgements, metric: metric).mean)
        }
        func of(_ name: String) -> Sample { precision[name]! }
        return Outcome(
            setting:
                "documents of two of 20 topics, 50 of 3000 words; dense vectors are the topics' mixture with noise; queries of 4 words of two topics, "
                + "relevant are documents of both; 3 documents feed back, interpolation of normalised scores 1000 documents deep, its weights chosen on half of "
                + "the queries and measured on the other; "
                + "\(seeds) collections",
            measurements: Self.arms.flatMap { name in
                [of(name).measured("MAP, \(name)"), gain[name]!.measured("nDCG@10, \(name)")]
            } + [
                scarce.measured("MAP of feedback where about 2 documents are relevant", against: scarcePlain, "dense")
            ],
            checks: [
                Check("feedback helps the dense ranking", of("feedback") - of("dense"), exceeds: 0),
                Check("interpolation helps it", of("interpolated") - of("dense"), exceeds: 0),
                Check("before and after is better than before alone", of("both") - of("before"), exceeds: 0),
                Check("before and after is better than after alone", of("both") - of("after"), exceeds: 0),
                Check("before and after is better than no feedback", of("both") - of("interpolated"), exceeds: 0),
                Check("and by nDCG@10", gain["both"]! - gain["interpolated"]!, exceeds: 0),
                Check("where few documents are relevant feedback hurts", scarcePlain - scarce, exceeds: 0),
            ])
    }
}

/// Documents about two topics each, as words and as dense vectors.
struct TopicCollection {
    static let (terms, width, depth) = (3000, 48, 1000)
    let lexical: InvertedIndex
    let dense: DenseIndex
    let lexicalQueries: [SparseVector<Float>]
    let denseQueries: [[Float]]
    let judgements: Judgements

    init(topics topicCount: Int, documents count: Int, queries queryCount: Int, seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed, stream: 0x70)
        let directions = Tensor<Float>(
            normal: [topicCount, Self.width], standardDeviation: 1 / Float(Self.width).squareRoot(), using: &generator)
        let topics = (0..<topicCount).map { _ in Array((0..<Self.terms).shuffled(using: &generator).prefix(60)) }
        // Zipf's law: the k-th most frequent word comes 1 / k times as often.
        func background() -> Int {
            min(Self.terms - 1, Int(exponential(generator.uniform() * logarithm(Double(Self.terms)))) - 1)
        }
        func word(_ topic: Int) -> Int { topics[topic].randomElement(using: &generator)! }
        func noisy(_ parts: [(topic: Int, weight: Float)], _ noise: Float) -> [Float] {
            (0..<Self.width).map { j in
                parts.reduce(noise * Float(generator.normal())) { $0 + $1.weight * directions[$1.topic, j] }
            }
        }
        func two() -> (Int, Int) {
            let chosen = (0..<topicCount).shuffled(using: &generator)
            return (chosen[0], chosen[1])
        }
        var (texts, vectors, about): ([[Int]], [Float], [(Int, Int)]) = ([], [], [])
        for _ in 0..<count {
            let (a, b) = two()
            texts.append(
                (0..<50).map { _ in generator.uniform() < 0.6 ? word(generator.uniform() < 0.6 ? a : b) : background() }
            )
            vectors += noisy([(a, 0.6), (b, 0.4)], 0.1)
            about.append((a, b))
        }
        let counts = try SynonymTask.counts(texts, terms: Self.terms)
        lexical = try BM25().index(counts)
        dense = DenseIndex(Tensor(vectors, shape: [count, Self.width]))
        var frequencies = [Int](repeating: 0, count: Self.terms)
        counts.forEachEntry { _, term, _ in frequencies[term] += 1 }
        var (lexicalQueries, denseQueries, judgements): ([SparseVector<Float>], [[Float]], Judgements) = (
            [], [], Judgements()
        )
        for query in 0..<queryCount {
            let (a, b) = two()
            let words = [word(a), word(a), word(b), word(b)]
            let row = try SynonymTask.counts([words], terms: Self.terms).row(0)
            lexicalQueries.append(try BM25.queryWeights(row, frequencies: frequencies, documents: count))
            denseQueries.append(noisy([(a, 0.5), (b, 0.5)], 0.12))
            for (document, topics) in about.enumerated() where topics == (a, b) || topics == (b, a) {
                try judgements.judge(query: "\(query)", document: "\(document)", grade: 1)
            }
        }
        (self.lexicalQueries, self.denseQueries, self.judgements) = (lexicalQueries, denseQueries, judgements)
    }

    private func ranked(_ name: String, _ search: (_ query: Int) throws -> [ScoredDocument]) throws -> RankedRun {
        var run = RankedRun(name: name)
        for query in denseQueries.indices {
            try run.append(
                query: "\(query)",
                hits: search(query).map { .init(document: "\($0.document)", score: Double($0.score)) })
        }
        return run
    }

    /// A second dense ranking, from the query and the first three documents of a run.
    private func fedBack(_ name: String, from run: RankedRun) throws -> RankedRun {
        try ranked(name) { query in
            let documents = run.hits(of: "\(query)").prefix(3).compactMap { Int($0.document) }.map(dense.vectors.row)
            return try dense.search(
                Feedback.average.query(denseQueries[query], documents: documents), count: Self.depth)
        }
    }

    /// The dense ranking, and the one after feedback.
    func withAndWithoutFeedback() throws -> (RankedRun, RankedRun) {
        let first = try ranked("dense") { try dense.search(denseQueries[$0], count: Self.depth) }
        return (first, try fedBack("feedback", from: first))
    }

    /// Queries to choose weights by, and others to measure on.
    var halves: (tuning: Set<String>, measuring: Set<String>) {
        let all = denseQueries.indices
        return (Set(all.filter { $0 % 2 == 0 }.map(String.init)), Set(all.filter { $0 % 2 == 1 }.map(String.init)))
    }

    /// What interpolation is tried with.
    static let weights = [0.1, 0.2, 0.35, 0.5, 0.75, 1]

    /// The rankings that are compared, by name. The weight of every interpolation is the one with the best MAP of the whole pipeline
    /// on the queries in `tuning`.
    func runs(tuning: Set<String>) throws -> [String: RankedRun] {
        let held = judgements.restricted(to: tuning)
        let metric = try RankingMetric("MAP")
        func best<Tried>(_ tried: [Tried], _ run: (Tried) throws -> RankedRun) throws -> RankedRun {
            let runs = try tried.map(run)
            let values = runs.map { RankingEvaluation($0, held, metric: metric).mean }
            return runs[values.indices.max { values[$0] < values[$1] } ?? 0]
        }
        let first = try ranked("dense") { try dense.search(denseQueries[$0], count: Self.depth) }
        let words = try ranked("BM25") { try lexical.search(lexicalQueries[$0], count: Self.depth).documents }
        func together(_ run: RankedRun, _ weight: Double) throws -> RankedRun {
            try Fusion.interpolation(run, words, weight: weight)
        }
        let feedback = try fedBack("feedback", from: first)
        let before = try Self.weights.map { try fedBack("before", from: together(first, $0)) }
        return [
            "dense": first, "BM25": words, "feedback": feedback,
            "interpolated": try best(Self.weights) { try together(first, $0) },
            "before": try best(before) { $0 }, "after": try best(Self.weights) { try together(feedback, $0) },
            "both": try best(before.flatMap { run in Self.weights.map { (run, $0) } }) { try together($0.0, $0.1) },
        ]
    }
}
