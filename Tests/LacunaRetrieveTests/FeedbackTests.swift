import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaRetrieve

@Suite struct FeedbackTests {
    private func run(_ hits: [(String, Double)], query: String = "q", name: String = "r") throws -> RankedRun {
        var run = RankedRun(name: name)
        try run.append(query: query, hits: hits.map { .init(document: $0.0, score: $0.1) })
        return run
    }

    @Test func interpolationByHand() throws {
        let a = try run([("x", 10), ("y", 6), ("z", 2)])
        let b = try run([("z", 3), ("w", 2), ("x", 1)])
        let plain = try Fusion.interpolation(a, b, weight: 2, normalization: .none)
        #expect(plain.hits(of: "q").map(\.document) == ["x", "y", "z", "w"])
        #expect(plain.hits(of: "q").map(\.score) == [12, 8, 8, 6])
        // Centred: a is 1/2, 0, -1/2 and b the same; what is missing gets -1/2.
        let centred = try Fusion.interpolation(a, b, weight: 0.5)
        let scores = Dictionary(uniqueKeysWithValues: centred.hits(of: "q").map { ($0.document, $0.score) })
        #expect(scores == ["x": 0.25, "y": -0.25, "z": -0.25, "w": -0.5])
        let least = try Fusion.interpolation(a, b, weight: 1, normalization: .minMax)
        #expect(least.hits(of: "q").map(\.score) == [1, 1, 0.5, 0.5])
        #expect(try Fusion.interpolation(a, b, weight: 0).hits(of: "q").prefix(3).map(\.document) == ["x", "y", "z"])
        #expect(try Fusion.interpolation(a, a, weight: 0.7).hits(of: "q").map(\.document) == ["x", "y", "z"])
        #expect(try Fusion.interpolation(a, b, weight: 1, depth: 1).hits(of: "q").count == 1)
        let equal = try run([("x", 5), ("y", 5)])
        #expect(try Fusion.interpolation(equal, b, weight: 0).hits(of: "q").allSatisfy { $0.score == 0 })
        let other = try run([("x", 1)], query: "only")
        #expect(try Fusion.interpolation(a, other, weight: 1).queries == ["q", "only"])
        #expect(failure { try Fusion.interpolation(a, b, weight: .nan) } != nil)
        #expect(failure { try Fusion.interpolation(a, b, weight: 1, depth: 0) } != nil)
    }

    @Test func reciprocalRanksByHand() throws {
        let fused = try Fusion.reciprocalRank(
            [run([("x", 9), ("y", 8)]), run([("y", 1), ("z", 0.5)])], constant: 1)
        #expect(fused.hits(of: "q").map(\.document) == ["y", "x", "z"])
        let expected: [Double] = [5.0 / 6.0, 0.5, 1.0 / 3.0]
        let scores: [Double] = fused.hits(of: "q").map { $0.score }
        #expect(zip(scores, expected).allSatisfy { abs($0 - $1) < 1e-12 } && scores.count == 3)
        #expect(failure { try Fusion.reciprocalRank([], constant: -1) } != nil)
        #expect(failure { try Fusion.reciprocalRank([], depth: 0) } != nil)
    }

    /// Parts of a collection that were indexed by themselves give what the whole gives.
    @Test func shardsAreOneCollection() throws {
        let matrix = try collection(documents: 90, terms: 60, entries: 8)
        let queries = try collection(documents: 12, terms: 60, entries: 4, seed: 5)
        func run(_ documents: Range<Int>) throws -> RankedRun {
            let index = try InvertedIndex(matrix.selecting(rows: Array(documents)))
            var run = RankedRun(name: "part")
            for (row, result) in try index.search(queries, count: 10).enumerated() {
                let hits = result.documents.map {
                    RankedRun.Hit(document: "\($0.document + documents.lowerBound)", score: Double($0.score))
                }
                try run.append(query: "\(row)", hits: hits)
            }
            return run
        }
        let whole = try run(0..<90)
        let parts = try Fusion.union([run(0..<20), run(20..<21), run(21..<90)], depth: 10)
        #expect(parts == whole)
        #expect(try Fusion.union([whole], depth: 3).hits(of: "4") == Array(whole.hits(of: "4").prefix(3)))
        #expect(failure { try Fusion.union([whole, run(0..<20)]) } != nil)
        #expect(failure { try Fusion.union([whole], depth: 0) } != nil)
    }

    @Test func denseFeedback() throws {
        let (query, documents): ([Float], [[Float]]) = ([1, 0], [[0, 2], [4, 2]])
        #expect(try Feedback.rocchio(alpha: 0.5, beta: 0.25).query(query, documents: documents) == [1, 0.5])
        let average = try Feedback.average.query(query, documents: documents)
        let rocchio = try Feedback.rocchio(alpha: 1 / 3, beta: 2 / 3).query(query, documents: documents)
        for (a, b) in zip(average, rocchio) { #expect(abs(a - b) < 1e-6) }
        #expect(abs(average[0] - 5 / 3) < 1e-6 && abs(average[1] - 4 / 3) < 1e-6)
        #expect(try Feedback.average.query(query, documents: []) == query)
        #expect(try Feedback.rocchio(alpha: 1, beta: 0).query(query, documents: documents) == query)
        #expect(failure { try Feedback.rocchio(alpha: -1, beta: 0).query(query, documents: documents) } != nil)
        #expect(failure { try Feedback.average.query(query, documents: [[1]]) } != nil)
    }

    @Test func sparseFeedback() throws {
        let query = try sparse(6, [(0, 3), (1, 1)])
        let documents = try [
            sparse(6, [(0, 1), (2, 3)]),
            sparse(6, [(2, 10), (4, 10)]),
        ]
        // Query [.75 .25], documents [.25 0 .75] and [0 0 .5 0 .5]: half and half.
        let mixed = try Feedback.rocchio(alpha: 0.5, beta: 0.5).query(query, documents: documents, terms: 10)
        let wanted: [Float] = [4 * (0.375 + 0.0625), 4 * 0.125, 4 * (0.1875 + 0.125), 0, 4 * 0.125, 0]
        for (a, b) in zip(mixed.densified(), wanted) { #expect(abs(a - b) < 1e-6) }
        let short = try Feedback.rocchio(alpha: 0.5, beta: 0.5).query(query, documents: documents, terms: 2)
        #expect(short.indices == [0, 2])
        #expect(abs(short.sum() - 4) < 1e-5 && abs(short[0] / short[2] - 1.4) < 1e-5)
        #expect(try Feedback.rocchio(alpha: 1, beta: 0).query(query, documents: documents, terms: 5) == query)
        #expect(try Feedback.average.query(query, documents: [], terms: 5) == query)
        #expect(failure { try Feedback.average.query(query, documents: documents, terms: 0) } != nil)
        #expect(failure { try Feedback.average.query(query, documents: [SparseVector([1])], terms: 3) } != nil)
    }

    @Test func denseSearch() throws {
        let index = DenseIndex(Tensor([1, 0, 0, 1, 1, 1, -1, 0], shape: [4, 2]))
        let found = try index.search([1, 0], count: 10)
        #expect(found.map(\.document) == [0, 2, 1, 3] && found.map(\.score) == [1, 1, 0, -1])
        #expect(try index.search([0, 1], count: 1).map(\.document) == [1])
        #expect(failure { try index.search([1], count: 1) } != nil)
        #expect(failure { try index.search([1, 0], count: 0) } != nil)
    }
}
