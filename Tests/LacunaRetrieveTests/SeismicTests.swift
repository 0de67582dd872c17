import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaRetrieve

@Suite struct SeismicTests {
    private let documents: SparseMatrix<Float>
    private let vectors: DocumentVectors
    private let queries: SparseMatrix<Float>

    init() throws {
        documents = try collection(documents: 700, terms: 300, entries: 16)
        vectors = try DocumentVectors(documents)
        queries = try collection(documents: 24, terms: 300, entries: 8, seed: 9)
    }

    @Test(arguments: [SeismicSettings.Blocking.clusters(ratio: 0.1), .clusters(ratio: 1), .fixed(7)])
    func exhaustiveIsBruteForce(_ blocking: SeismicSettings.Blocking) throws {
        var settings = SeismicSettings.exhaustive
        settings.blocking = blocking
        let index = try SeismicIndex(vectors, settings: settings, search: .exhaustive)
        let oracle = BruteForceIndex(vectors)
        let filter = DocumentSet(capacity: 700) { $0 % 2 == 0 }
        for count in [1, 10, 700] {
            for filter in [nil, filter] {
                for row in 0..<queries.rows {
                    let found = try index.search(queries.row(row), count: count, filter: filter)
                    let wanted = try oracle.search(queries.row(row), count: count, filter: filter)
                    #expect(found.documents == wanted.documents)
                    #expect(found.work.documentsScored <= 700, "a document is scored once")
                }
            }
        }
        // Skipping happens, or the test would show nothing.
        #expect(try index.search(queries, count: 1).contains { $0.work.blocksSkipped > 0 })
    }

    @Test func tiesAreThoseOfBruteForce() throws {
        let tied = try DocumentVectors(collection(documents: 300, terms: 60, entries: 6, eighths: true))
        let queries = try collection(documents: 20, terms: 60, entries: 4, eighths: true, seed: 3)
        let index = try SeismicIndex(tied, settings: .exhaustive, search: .exhaustive)
        let oracle = BruteForceIndex(tied)
        for row in 0..<queries.rows {
            #expect(
                try index.search(queries.row(row), count: 5).documents
                    == oracle.search(queries.row(row), count: 5).documents)
        }
    }

    @Test func summariesBoundTheirBlocks() throws {
        let index = try SeismicIndex(vectors, settings: .exhaustive)
        let lists = index.lists
        var checked = 0
        for term in 0..<300 {
            let blocks = lists.listBlocks[term]..<lists.listBlocks[term + 1]
            var seen: [UInt32] = []
            for block in blocks {
                var weights = [Float](repeating: 0, count: 300)
                for summary in lists.listTerms[term]..<lists.listTerms[term + 1] {
                    for entry in lists.entryStarts[summary]..<lists.entryStarts[summary + 1]
                    where Int(lists.entryBlocks[entry]) == block - blocks.lowerBound {
                        weights[Int(lists.summaryTerms[summary])] = Float(lists.entryCodes[entry]) * lists.steps[block]
                    }
                }
                var largest = [Float](repeating: 0, count: 300)
                for place in lists.blockStarts[block]..<lists.blockStarts[block + 1] {
                    let document = Int(lists.documents[place])
                    seen.append(lists.documents[place])
                    vectors.forEachEntry(of: document) { term, weight in
                        #expect(weights[term] >= weight)
                        largest[term] = max(largest[term], weight)
                        checked += 1
                    }
                }
                // And not by more than a step.
                for term in 0..<300 { #expect(weights[term] <= largest[term] + lists.steps[block] * 1.001) }
            }
            // A list's blocks hold its documents, each once.
            #expect(seen.sorted() == (0..<700).filter { documents[$0, term] > 0 }.map { UInt32($0) })
        }
        #expect(checked > 10_000)
    }

    @Test func codesAreNeverTooLow() {
        var generator = SeededGenerator(seed: 3)
        for _ in 0..<5000 {
            let largest = Float(exponential(10 * generator.normal()))
            let step = (largest / 255).nextUp
            let weight = Float(generator.uniform()) * largest
            let code = BlockScratch.code(weight, step: step)
            #expect(Float(code) * step >= weight)
            #expect(code <= 1 || Float(code - 1) * step < weight)
            #expect(Float(BlockScratch.code(largest, step: step)) * step >= largest)
        }
    }

    @Test func energyKeepsTheLargest() {
        let scratch = BlockScratch(termCount: 300)
        let all = scratch.summary(of: [3, 5], vectors, energy: 1).entries
        let some = scratch.summary(of: [3, 5], vectors, energy: 0.4).entries
        var maxima = [UInt32: Float]()
        for document in [3, 5] {
            vectors.forEachEntry(of: document) { maxima[UInt32($0)] = max(maxima[UInt32($0)] ?? 0, $1) }
        }
        #expect(Set(all.map(\.term)) == Set(maxima.keys))
        let sorted = maxima.values.sorted(by: >)
        let total = sorted.reduce(0, +)
        var (sum, count): (Float, Int) = (0, 0)
        while sum < 0.4 * total {
            sum += sorted[count]
            count += 1
        }
        #expect(some.count == count)
        #expect(some.allSatisfy { maxima[$0.term]! >= sorted[count - 1] })
    }

    @Test func pruningKeepsTheLargestPostings() throws {
        let lists = PostingLists(vectors)
        func kept(_ pruning: SeismicSettings.Pruning) throws -> SeismicLists {
            try SeismicBuilder(
                vectors: vectors, lists: lists, settings: SeismicSettings(pruning: pruning, blocking: .fixed(4))
            ).build(progress: nil)
        }
        let fixed = try kept(.list(10))
        for term in 0..<300 {
            let weights = (0..<700).map { documents[$0, term] }.filter { $0 > 0 }.sorted(by: >)
            let blocks = fixed.listBlocks[term]..<fixed.listBlocks[term + 1]
            let found = (fixed.blockStarts[blocks.lowerBound]..<fixed.blockStarts[blocks.upperBound]).map {
                documents[Int(fixed.documents[$0]), term]
            }
            #expect(found.sorted(by: >) == Array(weights.prefix(10)))
        }
        let global = try kept(.global(15, cap: 1.5))
        let bar = documents.values.sorted(by: >)[15 * 300 - 1]
        for term in 0..<300 {
            let weights = (0..<700).map { documents[$0, term] }.filter { $0 >= bar }.sorted(by: >)
            let blocks = global.listBlocks[term]..<global.listBlocks[term + 1]
            let count = global.blockStarts[blocks.upperBound] - global.blockStarts[blocks.lowerBound]
            #expect(count == min(weights.count, 22))
        }
        // A budget larger than everything prunes nothing but what the cap does.
        #expect(try kept(.global(700, cap: 1)).documents.count == documents.count)
    }

    @Test func smallClustersAreDissolved() throws {
        let largest = LargestComponents(vectors, count: 15)
        let clustering = Clustering(vectors: vectors, largest: largest)
        let members = (0..<120).map { UInt32($0) }
        let scratch = BlockScratch(termCount: 300)
        func clusters(_ smallest: Int) -> [[UInt32]] {
            clustering.clusters(
                of: members, centres: 40, smallest: smallest, generator: SeededGenerator(seed: 5), scratch: scratch)
        }
        let (loose, strict) = (clusters(0), clusters(2))
        #expect(loose.contains { $0.count <= 2 })
        #expect(strict.allSatisfy { $0.count > 2 })
        #expect(strict.flatMap { $0 }.sorted() == members && loose.flatMap { $0 }.sorted() == members)
        // Every document is where its largest components have the largest inner product.
        var generator = SeededGenerator(seed: 5)
        var order = members
        for i in 0..<40 { order.swapAt(i, Int.random(in: i..<120, using: &generator)) }
        func product(_ document: UInt32, _ centre: UInt32) -> Float {
            (largest.starts[Int(document)]..<largest.starts[Int(document) + 1]).reduce(0) {
                $0 + largest.weights[$1] * documents[Int(centre), Int(largest.terms[$1])]
            }
        }
        for cluster in loose {
            let centres = order[..<40].filter { centre in
                cluster.allSatisfy { document in
                    order[..<40].allSatisfy { product(document, $0) <= product(document, centre) * 1.0001 }
                }
            }
            #expect(!centres.isEmpty)
        }
        #expect(largest.starts[1] - largest.starts[0] == 15)
    }

    @Test func recallGrowsWithTheCutAndFallsWithTheFactor() throws {
        var index = try SeismicIndex(
            vectors, settings: SeismicSettings(pruning: .list(60), blocking: .clusters(ratio: 0.1)))
        let exact = try BruteForceIndex(vectors).search(queries, count: 10)
        func recall(_ cut: Int, _ factor: Float) throws -> MeasuredRecall {
            index.search = SeismicSearch(queryCut: cut, heapFactor: factor)
            return try MeasuredRecall(index, exact: exact, queries: queries, count: 10)
        }
        let cuts = try [1, 2, 4, 8].map { try recall($0, 0) }
        for (a, b) in zip(cuts, cuts.dropFirst()) { #expect(a.mean <= b.mean) }
        #expect(cuts[0].mean < cuts[3].mean)
        let factors = try [Float(0), 0.5, 1, 2, 4].map { try recall(8, $0) }
        for (a, b) in zip(factors, factors.dropFirst()) {
            #expect(a.mean >= b.mean && a.documentsScored >= b.documentsScored)
        }
        #expect(factors[4].documentsScored < factors[0].documentsScored / 2)
    }

    @Test func neighboursLiftRecall() throws {
        let settings = SeismicSettings(pruning: .list(20), neighbours: 5)
        let index = try SeismicIndex(vectors, settings: settings, search: SeismicSearch(queryCut: 2, heapFactor: 1))
        var without = index
        without.search.usesNeighbours = false
        let exact = try BruteForceIndex(vectors).search(queries, count: 10)
        let (a, b) = (
            try MeasuredRecall(index, exact: exact, queries: queries, count: 10),
            try MeasuredRecall(without, exact: exact, queries: queries, count: 10)
        )
        #expect(a.mean > b.mean)
        // The graph holds what is most similar, the document itself left out.
        let graph = try #require(index.graph)
        var full = try SeismicIndex(vectors, settings: .exhaustive, search: .exhaustive)
        full.search = .exhaustive
        let exactGraph = try full.search(documents.row(4), count: 6).documents.map(\.document).filter { $0 != 4 }
        var near: [Int] = []
        graph.forEachNeighbour(of: 4) { near.append($0) }
        #expect(near.count == 5 && !near.contains(4))
        #expect(Set(near).intersection(exactGraph.prefix(5)).count >= 2)
    }

    @Test func tuningReachesItsGoalAndSaysWhatItMeasured() throws {
        let index = try SeismicIndex(vectors, settings: SeismicSettings(pruning: .list(200), summaryEnergy: 0.6))
        let queries = try collection(documents: 60, terms: 300, entries: 10, seed: 21)
        let (low, high) = (
            try RecallTuning(index, goal: 0.7, queries: queries, count: 10),
            try RecallTuning(index, goal: 0.97, queries: queries, count: 10)
        )
        #expect(low.reachesGoal && high.reachesGoal)
        #expect(low.measured.documentsScored < high.measured.documentsScored)
        #expect(high.measured.mean > 0.93 && high.measured.queries == 30 && high.measured.count == 10)
        // The measurement is that of the chosen setting on the other half.
        var chosen = index
        chosen.search = high.search
        let half = queries.selecting(rows: Array(stride(from: 1, to: 60, by: 2)))
        let again = try MeasuredRecall(
            chosen, exact: BruteForceIndex(vectors).search(half, count: 10), queries: half, count: 10)
        #expect(again == high.measured)
        // An index that has lost too much says so.
        let poor = try SeismicIndex(vectors, settings: SeismicSettings(pruning: .list(2)))
        #expect(try !RecallTuning(poor, goal: 0.99, queries: queries, count: 10).reachesGoal)
        #expect(failure { try RecallTuning(index, goal: 1.5, queries: queries, count: 10) } != nil)
        #expect(failure { try RecallTuning(index, goal: 0.5, queries: queries[rows: 0..<3], count: 10) } != nil)
        let samples = try RecallTuning.sampleQueries(vectors, count: 20)
        #expect(samples.rows == 20 && samples.pattern.keptCounts.allSatisfy { $0 == 16 })
    }

    @Test func recallCountsTiesAsFound() {
        func list(_ scores: [Float]) -> [ScoredDocument] {
            scores.enumerated().map { ScoredDocument(document: $0.offset, score: $0.element) }
        }
        #expect(MeasuredRecall.recall(list([3, 2, 2]), of: list([3, 2, 2])) == 1)
        #expect(MeasuredRecall.recall(list([3, 1, 1]), of: list([3, 2, 2])) == 1.0 / 3)
        #expect(MeasuredRecall.recall([], of: []) == 1)
        #expect(MeasuredRecall.recall([], of: list([1])) == 0)
    }

    @Test func settingsOutOfRangeAreNamed() {
        let bad: [(SeismicSettings, String)] = [
            (SeismicSettings(pruning: .list(0)), "n_postings"),
            (SeismicSettings(pruning: .global(1, cap: 0.5)), "max_fraction"),
            (SeismicSettings(blocking: .clusters(ratio: 0)), "cluster_ratio"),
            (SeismicSettings(blocking: .clusters(ratio: 0.1, components: 0)), "doc_cut"),
            (SeismicSettings(blocking: .fixed(0)), "block_size"),
            (SeismicSettings(summaryEnergy: 1.5), "summary_prune_ratio"),
            (SeismicSettings(neighbours: -1), "neighbours"),
        ]
        for (settings, name) in bad {
            #expect(failure { try SeismicIndex(vectors, settings: settings) }?.description.contains(name) == true)
        }
        #expect(failure { try SeismicIndex(vectors, search: SeismicSearch(queryCut: 0)) } != nil)
        #expect(failure { try SeismicIndex(vectors, search: SeismicSearch(heapFactor: -1)) } != nil)
    }
}
