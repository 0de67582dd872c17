import Lacuna

/// Checks which pairs, made from pages without labels, teach a retriever.
struct RetrievalPretrainingReproduction: Reproduction {
    let shortName = "RetrievalPretraining"
    let paper = 77
    let title = "Pre-training Tasks for Embedding-based Large-scale Retrieval"
    let arXiv: String? = "2002.03932"
    let claim =
        "Pairs that look like retrieval (a sentence and the rest of its paragraph, a page's body, a linked page) teach two towers to beat "
        + "BM25 without a label; the inverse cloze task gives most of the gain and the three together are best."

    /// Where a batch's pairs come from.
    private enum Arm: String, CaseIterable {
        case kept = "sentence left in its paragraph"
        case cloze = "inverse cloze"
        case body = "body first"
        case linked = "linked pages"
        case mixed = "all three"

        func task(_ generator: inout SeededGenerator) -> PairTask {
            switch self {
            case .kept, .cloze: .inverseCloze
            case .body: .bodyFirst
            case .linked: .linked
            case .mixed: PairTask.allCases.randomElement(using: &generator)!
            }
        }
    }

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = 5
        let steps = context.quick ? 400 : 1200
        var precision: [Arm: Sample] = [:]
        var (untrained, lexical) = (Sample(), Sample())
        for index in 0..<seeds {
            let seed = context.seed &* 1000 &+ UInt64(index)
            let bed = LinkedPages(seed: seed)
            lexical.values.append(try bed.bm25())
            for (place, arm) in Arm.allCases.enumerated() {
                try context.progress.report(
                    "towers", index * Arm.allCases.count + place, of: seeds * Arm.allCases.count)
                var generator = SeededGenerator(seed: seed, stream: 1)
                let tower = WordTower(words: LinkedPages.words, width: 48, using: &generator)
                if arm == .kept { untrained.values.append(bed.precision(tower)) }
                let batches = DrawnBatches(seed: seed) { _, generator in
                    (0..<128).compactMap { _ in bed.pair(arm.task(&generator), keeping: arm == .kept, using: &generator)
                    }
                }
                try batches.train(tower, steps: steps, learningRate: 0.01) { pairs, tape in
                    RetrievalLoss.contrastive(
                        tower(pairs.map(\.query), on: tape), tower(pairs.map(\.document), on: tape), temperature: 0.1,
                        sources: pairs.map(\.source))
                }
                precision[arm, default: Sample()].values.append(bed.precision(tower))
            }
        }
        func of(_ arm: Arm) -> Sample { precision[arm]! }
        let gain = of(.mixed) - lexical
        return Outcome(
            setting:
                "300 concepts of 4 synonyms in 80 topics; 1200 pages of 3 paragraphs of 3 sentences that mix two topics; queries of 5 words of a "
                + "topic, relevant are paragraphs of pages about it; towers of mean embeddings of width 48, cosine × 10, \(steps) steps of 128 "
                + "pairs; \(seeds) seeds",
            measurements: [
                lexical.measured("P@10, BM25"), untrained.measured("P@10, tower without training"),
            ] + Arm.allCases.map { of($0).measured("P@10, \($0.rawValue)") },
            checks: [
                Check("inverse cloze beats BM25", of(.cloze) - lexical, exceeds: 0),
                Check(
                    "a sentence left in its paragraph teaches less than inverse cloze", of(.cloze) - of(.kept),
                    exceeds: 0.05),
                Check("linked pages beat BM25", of(.linked) - lexical, exceeds: 0),
                Check("all three beat inverse cloze", of(.mixed) - of(.cloze), exceeds: 0),
                Check("all three beat body first", of(.mixed) - of(.body), exceeds: 0),
                Check(
                    "inverse cloze gives most of the gain over no training",
                    (of(.cloze) - untrained) / (of(.mixed) - untrained),
                    exceeds: 0.5),
                Check("all three beat BM25", gain, exceeds: 0.1),
            ],
            notes: ["Pairs of one page, or linked to one page, are no negatives of each other."])
    }
}

/// A text's vector is the mean of its words' embeddings, brought to length 1: the lightest of towers.
final class WordTower: Module {
    let embedding: Parameter<Float>

    init(words: Int, width: Int, using generator: inout SeededGenerator) {
        embedding = Parameter(Tensor(normal: [words, width], using: &generator), decays: false)
    }

    var parts: [(name: String, part: Any)] { [("embedding", embedding)] }

    /// [texts, width].
    func callAsFunction(_ texts: [[Int]], on tape: Tape<Float>) -> Variable<Float> {
        var starts: [Int] = []
        var items: [Int32] = []
        for text in texts {
            starts.append(items.count)
            items += text.map { Int32($0) }
        }
        return embedding.on(tape).embeddingBags(items, starts: starts, isMean: true).rowNormalized()
    }
}

/// Pages about two topics each, which prefer one synonym of every concept; pages of the same first topic are linked.
struct LinkedPages: Sendable {
    static let (concepts, forms, topics) = (300, 4, 80)
    static var words: Int { concepts * forms }
    let pages: [LinkedPage]
    /// Every paragraph's words, and the first topic of its page.
    let paragraphs: [[Int]]
    let paragraphTopics: [Int]
    let queries: [[Int]]
    let queryTopics: [Int]

    struct Pair: Sendable {
        var query: [Int]
        var document: [Int]
        var source: Int
    }

    init(seed: UInt64, pages count: Int = 1200, queries queryCount: Int = 400) {
        var generator = SeededGenerator(seed: seed, stream: 0x9A6E)
        let topics = (0..<Self.topics).map { _ in
            Array((0..<Self.concepts).shuffled(using: &generator).prefix(14))
        }
        var (pages, first): ([LinkedPage], [Int]) = ([], [])
        var (paragraphs, paragraphTopics): ([[Int]], [Int]) = ([], [])
        for _ in 0..<count {
            let (main, other) = (
                Int.random(in: 0..<Self.topics, using: &generator), Int.random(in: 0..<Self.topics, using: &generator)
            )
            var preferred: [Int: Int] = [:]
            func word() -> Int {
                let concept = topics[Bool.random(using: &generator) ? main : other].randomElement(using: &generator)!
                let form = preferred[concept] ?? Int.random(in: 0..<Self.forms, using: &generator)
                preferred[concept] = form
                let used = generator.uniform() < 0.7 ? form : Int.random(in: 0..<Self.forms, using: &generator)
                return concept * Self.forms + used
            }
            let text = (0..<3).map { _ in (0..<3).map { _ in (0..<6).map { _ in word() } } }
            for paragraph in text {
                paragraphs.append(paragraph.flatMap { $0 })
                paragraphTopics.append(main)
            }
            pages.append(
                LinkedPage(paragraphs: text.map { $0.map { $0.map(String.init).joined(separator: " ") } }))
            first.append(main)
        }
        for i in pages.indices { pages[i].links = first.indices.filter { $0 != i && first[$0] == first[i] } }
        var (queries, queryTopics): ([[Int]], [Int]) = ([], [])
        for _ in 0..<queryCount {
            let topic = Int.random(in: 0..<Self.topics, using: &generator)
            queries.append(
                (0..<5).map { _ in
                    topics[topic].randomElement(using: &generator)! * Self.forms
                        + Int.random(in: 0..<Self.forms, using: &generator)
                })
            queryTopics.append(topic)
        }
        (self.pages, self.paragraphs, self.paragraphTopics) = (pages, paragraphs, paragraphTopics)
        (self.queries, self.queryTopics) = (queries, queryTopics)
    }

    /// A pair of a task, as words; nil if no page has what the task needs.
    func pair(_ task: PairTask, keeping: Bool, using generator: inout SeededGenerator) -> Pair? {
        guard let pair = try? task.pair(pages, using: &generator) else { return nil }
        func words(_ text: String) -> [Int] { text.split(separator: " ").compactMap { Int($0) } }
        let query = words(pair.query)
        return Pair(query: query, document: words(pair.document) + (keeping ? query : []), source: pair.source)
    }

    /// The mean over queries of the share of relevant paragraphs among the first ten.
    private func precision(_ best: (_ query: Int) throws -> [Int]) rethrows -> Double {
        var right = 0
        for (query, topic) in queryTopics.enumerated() {
            right += try best(query).count { paragraphTopics[$0] == topic }
        }
        return Double(right) / Double(10 * queries.count)
    }

    func precision(_ tower: WordTower) -> Double {
        let tape = Tape<Float>()
        let index = DenseIndex(tape.evaluating { tower(paragraphs, on: tape).value })
        let vectors = tape.evaluating { tower(queries, on: tape).value }
        return precision { query in ((try? index.search(vectors.row(query), count: 10)) ?? []).map(\.document) }
    }

    func bm25() throws -> Double {
        let counts = try SynonymTask.counts(paragraphs, terms: Self.words)
        let index = try BM25().index(counts)
        var frequencies = [Int](repeating: 0, count: Self.words)
        counts.forEachEntry { _, term, _ in frequencies[term] += 1 }
        let asked = try SynonymTask.counts(queries, terms: Self.words)
        return try precision { query in
            let weights = try BM25.queryWeights(asked.row(query), frequencies: frequencies, documents: paragraphs.count)
            return try index.search(weights, count: 10).documents.map(\.document)
        }
    }
}
