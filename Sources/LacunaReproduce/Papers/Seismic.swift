import Lacuna

/// Checks that blocks with summaries find nearly all of the best documents while few are scored.
struct SeismicReproduction: Reproduction {
    let shortName = "Seismic"
    let paper = 107
    let title = "Efficient Inverted Indexes for Approximate Retrieval over Learned Sparse Representations"
    let arXiv: String? = "2404.18812"
    let claim =
        "Inverted lists, cut to their largest weights and into blocks of similar documents with a summary each, find 95 % and more of the best "
        + "documents while only a small part of the collection is scored."

    func run(_ context: ReproductionContext) throws -> Outcome {
        let seeds = 5
        let count = context.quick ? 6000 : 12_000
        // As many postings a list, relative to the collection, whatever its size.
        let kept = count / 30
        let settings = [(3, Float(0.9)), (5, 0.9), (8, 0.9), (8, 0.7)]
        var (recall, scored): ([String: Sample], [String: Sample]) = ([:], [:])
        var (matching, exhaustive, once) = (Sample(), Sample(), Sample())
        for index in 0..<seeds {
            try context.progress.report("collections", index, of: seeds)
            let bed = try LexicalCollection(documents: count, queries: 100, seed: context.seed &* 1000 &+ UInt64(index))
            let vectors = try DocumentVectors(bed.documents)
            let exact = try BruteForceIndex(vectors).search(bed.queries, count: 10)
            matching.values.append(bed.matching() / Double(count))
            for (name, blocking) in [
                ("clusters", SeismicSettings.Blocking.clusters(ratio: 0.1)), ("blocks of 8", .fixed(8)),
            ] {
                var built = try SeismicIndex(
                    vectors, settings: SeismicSettings(pruning: .list(kept), blocking: blocking, summaryEnergy: 0.4))
                for (cut, factor) in settings {
                    built.search = SeismicSearch(queryCut: cut, heapFactor: factor)
                    let measured = try MeasuredRecall(built, exact: exact, queries: bed.queries, count: 10)
                    let key = "\(name), \(cut), \(factor)"
                    recall[key, default: Sample()].values.append(measured.mean)
                    scored[key, default: Sample()].values.append(measured.documentsScored / Double(count))
                }
            }
            let whole = try SeismicIndex(vectors, settings: .exhaustive, search: .exhaustive)
            let found = try whole.search(bed.queries, count: 10)
            exhaustive.values.append(
                Double(zip(found, exact).count { $0.documents == $1.documents }) / Double(exact.count))
            once.values.append(found.map { Double($0.work.documentsScored) / Double(count) }.max() ?? .nan)
        }
        func key(_ place: Int, _ name: String = "clusters") -> String {
            "\(name), \(settings[place].0), \(settings[place].1)"
        }
        return Outcome(
            setting:
                "\(count) documents of two topics, about 53 of 3000 terms each with log-normal weights; 100 queries of about 20 terms; \(kept) "
                + "postings a list, summaries of 40 % of a block's weight; recall@10 of the exact result; \(seeds) collections",
            measurements: ["clusters", "blocks of 8"].flatMap { name in
                settings.indices.flatMap { place in
                    let label = "\(name), query_cut \(settings[place].0), heap_factor \(settings[place].1)"
                    return [
                        recall[key(place, name)]!.measured("recall@10, \(label)"),
                        scored[key(place, name)]!.measured(
                            "part of the collection scored, \(label)", against: matching, "all that match"),
                    ]
                }
            } + [
                exhaustive.measured(
                    "queries with the exact result, nothing pruned and nothing skipped that could matter")
            ],
            checks: [
                Check("8 lists at 0.9: recall of at least 0.95", recall[key(2)]!, exceeds: 0.95),
                Check("8 lists at 0.9: at most 8 % of the collection is scored", scored[key(2)]!, staysBelow: 0.08),
                Check("5 lists find more than 3", recall[key(1)]! - recall[key(0)]!, exceeds: 0),
                Check("8 lists find more than 5", recall[key(2)]! - recall[key(1)]!, exceeds: 0),
                Check("a smaller heap_factor scores more", scored[key(3)]! - scored[key(2)]!, exceeds: 0),
                Check("and finds no less", recall[key(3)]!.mean, .atLeast, recall[key(2)]!.mean),
                Check(
                    "with nothing pruned the result is exact for every query", exhaustive.values.min() ?? 0, .atLeast, 1
                ),
                Check("no document is scored twice", once.values.max() ?? .infinity, .atMost, 1),
            ],
            notes: [
                "How fast this is, next to other engines, is a matter of the benchmark package: documents scored are what a search costs on "
                    + "any machine."
            ])
    }
}

/// Documents of two topics and queries about one document's topics, as learned sparse encoders give them.
struct LexicalCollection {
    static let (terms, topics) = (3000, 60)
    let documents: SparseMatrix<Float>
    let queries: SparseMatrix<Float>

    init(documents count: Int, queries queryCount: Int, seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed, stream: 0x5E15)
        // A topic's terms, the first ones more often.
        let topics = (0..<Self.topics).map { _ in Array((0..<Self.terms).shuffled(using: &generator).prefix(150)) }
        func draw(_ mixed: [Int], entries: Int, common: Int) -> [(column: Int, value: Float)] {
            var found: [Int: Float] = [:]
            func add(_ term: Int) {
                if found[term] == nil { found[term] = Float(exponential(0.6 * generator.normal())) }
            }
            for i in 0..<entries {
                let u = generator.uniform()
                add(topics[mixed[i % mixed.count]][min(149, Int(150 * u * u))])
            }
            for _ in 0..<common {
                let u = generator.uniform()
                add(min(Self.terms - 1, Int(Double(Self.terms) * u * u * u)))
            }
            return found.sorted { $0.key < $1.key }.map { (column: $0.key, value: $0.value) }
        }
        func pair() -> [Int] { (0..<2).map { _ in Int.random(in: 0..<Self.topics, using: &generator) } }
        documents = try SparseMatrix(
            columns: Self.terms, rows: (0..<count).map { _ in draw(pair(), entries: 48, common: 16) })
        queries = try SparseMatrix(
            columns: Self.terms, rows: (0..<queryCount).map { _ in draw(pair(), entries: 16, common: 6) })
    }

    /// How many documents share a term with a query, on average.
    func matching() -> Double {
        var total = 0
        let byTerm = documents.transposed()
        for query in 0..<queries.rows {
            var seen = [Bool](repeating: false, count: documents.rows)
            queries.row(query).forEachEntry { term, _ in
                byTerm.row(term).forEachEntry { document, _ in seen[document] = true }
            }
            total += seen.count { $0 }
        }
        return Double(total) / Double(max(queries.rows, 1))
    }
}
