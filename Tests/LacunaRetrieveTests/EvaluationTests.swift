import LacunaIO
import LacunaTensor
import Testing

@testable import LacunaRetrieve

@Suite struct EvaluationTests {
    private let expected: JSONValue
    private let run: RankedRun
    private let second: RankedRun
    private let judgements: Judgements

    init() throws {
        expected = try JSONValue(contentsOf: fixture("ranking.json"))
        run = try RankedRun(contentsOf: fixture("ranking.run"))
        second = try RankedRun(contentsOf: fixture("ranking-second.run"))
        judgements = try Judgements(contentsOf: fixture("ranking.qrels"))
    }

    @Test func metricsAreThoseOfTrecEval() throws {
        let values = try #require(expected["values"]?.objectValue)
        #expect(values.count == 13)
        for (name, perQuery) in values.members.map({ ($0.key, $0.value) }) {
            let metric = try RankingMetric(name)
            #expect(metric.description == name)
            let evaluation = RankingEvaluation(run, judgements, metric: metric)
            #expect(evaluation.queries.count == 12)
            #expect(evaluation.missing == 1)
            for (query, value) in zip(evaluation.queries, evaluation.values) {
                let wanted = try #require(perQuery[query]?.doubleValue)
                #expect(abs(value - wanted) < 1e-6, "\(name) of \(query): \(value), trec_eval says \(wanted)")
            }
            let mean = try #require(expected["means"]?[name]?.doubleValue)
            #expect(abs(evaluation.mean - mean) < 1e-6, "mean of \(name)")
        }
        for name in ["nDCG@10", "AP", "R@20"] {
            let mean = try #require(expected["secondMeans"]?[name]?.doubleValue)
            #expect(abs(RankingEvaluation(second, judgements, metric: try RankingMetric(name)).mean - mean) < 1e-6)
        }
    }

    /// The definition: the mean over every order of documents of equal score.
    @Test func averageTiesAreTheMeanOverAllOrders() throws {
        let grades = ["a": 3, "b": 1, "c": 0, "d": 1, "e": 2, "g": 1]
        let groups = [["a", "c", "x"], ["b"], ["d", "e", "f", "y"]]
        func hits(_ order: [[String]]) -> [RankedRun.Hit] {
            order.flatMap { $0 }.enumerated().map { .init(document: $0.element, score: Double(100 - $0.offset)) }
        }
        func permutations(_ items: [String]) -> [[String]] {
            items.count <= 1
                ? [items]
                : items.indices.flatMap { i in
                    permutations(Array(items[..<i] + items[(i + 1)...])).map { [items[i]] + $0 }
                }
        }
        let tied = groups.enumerated().flatMap { level, group in
            group.map { RankedRun.Hit(document: $0, score: Double(10 - level)) }
        }
        let orders = permutations(groups[0]).flatMap { first in permutations(groups[2]).map { [first, groups[1], $0] } }
        for name in ["nDCG@4", "nDCG", "RR@2", "RR", "AP", "AP@6", "R@2", "R@7", "P@3", "Success@1", "Success@2"] {
            let metric = try RankingMetric(name)
            let mean =
                orders.reduce(0.0) {
                    $0
                        + TiedRanking(hits($1), grades: grades, ties: .identifier, relevantFrom: 1).value(metric)
                } / Double(orders.count)
            let value = TiedRanking(tied, grades: grades, ties: .average, relevantFrom: 1).value(metric)
            #expect(abs(value - mean) < 1e-12, "\(name): \(value), by all orders \(mean)")
        }
        // A query that shares no term with any document wins nothing by ties.
        let zero = (0..<100).map { RankedRun.Hit(document: "d\($0)", score: 0) }
        let value = TiedRanking(zero, grades: ["d99": 1], ties: .average, relevantFrom: 1).value(
            try RankingMetric("RR@10"))
        #expect(abs(value - (1...10).reduce(0) { $0 + 1 / Double($1) } / 100) < 1e-12)
    }

    @Test func gradesBelowTheThresholdAreNotRelevant() throws {
        let hits = [RankedRun.Hit(document: "a", score: 2), .init(document: "b", score: 1)]
        let ranking = TiedRanking(hits, grades: ["a": 1, "b": 2], ties: .identifier, relevantFrom: 2)
        #expect(ranking.value(try RankingMetric("RR")) == 0.5)
        #expect(ranking.value(try RankingMetric("P@2")) == 0.5)
        #expect(ranking.value(try RankingMetric("nDCG@1")) == 0.5)
    }

    @Test func pairedTestsAgreeWithSciPy() throws {
        let metric = try RankingMetric("nDCG@10")
        let a = RankingEvaluation(run, judgements, metric: metric)
        let b = RankingEvaluation(second, judgements, metric: metric)
        let test = try PairedTest.student(a.values, b.values)
        let wanted = try JSONFields(#require(expected["t"]), file: "ranking.json")
        #expect(abs(test.probability - (try wanted.number("p"))) < 1e-9)
        #expect(abs(test.interval.lowerBound - (try wanted.number("low"))) < 1e-9)
        #expect(abs(test.interval.upperBound - (try wanted.number("high"))) < 1e-9)
        #expect(abs(test.difference - (a.mean - b.mean)) < 1e-12)
        for entry in try #require(expected["student"]?.arrayValue) {
            let numbers = try #require(entry.arrayValue).compactMap(\.doubleValue)
            let tail = StudentDistribution(numbers[0]).twoSidedTail(numbers[1])
            #expect(abs(tail - numbers[2]) <= 1e-9 * numbers[2], "\(numbers): \(tail)")
        }
    }

    @Test func bootstrapAgreesWithTheTTestWhereBothHold() throws {
        var generator = SeededGenerator(seed: 4)
        let a = (0..<300).map { _ in 0.5 + 0.1 * generator.normal() }
        let b = a.map { $0 - 0.012 + 0.1 * generator.normal() }
        let (t, bootstrap) = (try PairedTest.student(a, b), try PairedTest.bootstrap(a, b, samples: 20_000))
        #expect(t.probability > 0.001 && t.probability < 0.5)
        #expect(abs(t.probability - bootstrap.probability) < 0.02)
        #expect(abs(t.interval.lowerBound - bootstrap.interval.lowerBound) < 0.001)
        #expect(abs(t.interval.upperBound - bootstrap.interval.upperBound) < 0.001)
        #expect(bootstrap == (try PairedTest.bootstrap(a, b, samples: 20_000)))
        let same = try PairedTest.bootstrap(a, a, samples: 50)
        #expect(same.probability == 1 && same.difference == 0)
        #expect(try PairedTest.student(a, a).probability == 1)
        #expect(failure { try PairedTest.student([1], [2]) } != nil)
        #expect(failure { try PairedTest.student([1, 2], [2]) } != nil)
        #expect(failure { try PairedTest.bootstrap([1, 2], [2, .nan]) } != nil)
        #expect(failure { try PairedTest.bootstrap([1, 2], [2, 1], samples: 0) } != nil)
    }

    @Test func filesComeBackAsTheyWere() throws {
        let scratch = try Scratch()
        let path = try scratch.write(try run.trecText(), to: "again.run")
        let again = try RankedRun(contentsOf: path)
        #expect(again == run)
        #expect(again.name == "fixture")
        let qrels = try scratch.write(judgements.trecText(), to: "again.qrels")
        let judged = try Judgements(contentsOf: qrels)
        #expect(judged.queries == judgements.queries && judged.count == judgements.count)
        for query in judged.queries { #expect(judged.grades(of: query) == judgements.grades(of: query)) }
    }

    @Test func badFilesNameTheirLine() throws {
        let scratch = try Scratch()
        let cases: [(text: String, part: String)] = [
            ("q1 0 d1 1\nq1 0 d2\n", "line 2"), ("q1 0 d1 x\n", "line 1"), ("q 0 d 1\n\nq 0 d 2\n", "line 3"),
            ("query-id\tcorpus-id\tscore\nq\td\t1\t2\n", "line 2"), ("\n", "no judgements"),
        ]
        for (text, part) in cases {
            let path = try scratch.write(text, to: "bad.qrels")
            #expect(failure { try Judgements(contentsOf: path) }?.description.contains(part) == true, "\(text)")
        }
        let runs: [(text: String, part: String)] = [
            ("q Q0 d 1 0.5 a\nq Q0 d 2\n", "line 2"), ("q Q0 d 1 nan a\n", "line 1"), ("", "empty"),
            ("q Q0 d 1 2 a\nq Q0 d 2 1 a\n", "query q"),
        ]
        for (text, part) in runs {
            let path = try scratch.write(text, to: "bad.run")
            #expect(failure { try RankedRun(contentsOf: path) }?.description.contains(part) == true, "\(text)")
        }
        var blank = RankedRun()
        try blank.append(query: "a b", hits: [.init(document: "d", score: 1)])
        #expect(failure { try blank.trecText() } != nil)
        #expect(failure { try blank.append(query: "a b", hits: []) } != nil)
        var judged = Judgements()
        try judged.judge(query: "q", document: "a b", grade: 1)
        #expect(failure { try judged.trecText() } != nil)
        #expect(failure { try blank.append(query: "c", hits: [.init(document: "d", score: .infinity)]) } != nil)
        for text in ["nDCG@0", "nDCG@x", "P", "precisely", "R@1@2", ""] {
            #expect(failure { try RankingMetric(text) } != nil, "\(text)")
        }
    }

    @Test func beirDirectories() throws {
        let scratch = try Scratch()
        _ = try scratch.write(
            """
            {"_id": "1", "title": "wings", "text": "lift", "metadata": {"year": 1958}}
            {"_id": 2, "title": "", "text": "drag"}

            """, to: "corpus.jsonl")
        _ = try scratch.write(
            "{\"_id\": \"q1\", \"text\": \"a\"}\n{\"_id\": \"q2\", \"text\": \"b\"}\n", to: "queries.jsonl")
        _ = try scratch.write("query-id\tcorpus-id\tscore\nq2\t1\t3\nq9\t1\t3\n", to: "qrels/test.tsv")
        let data = try BEIRDataset(scratch.path)
        #expect(data.documents.map(\.id) == ["1", "2"])
        #expect(data.documents.map(\.content) == ["wings lift", "drag"])
        #expect(data.documents[0].metadata["year"]?.intValue == 1958)
        #expect(data.queries == [TextQuery(id: "q2", text: "b")])
        #expect(data.judgements.queries == ["q2"] && data.judgements.grades(of: "q2") == ["1": 3])
        _ = try scratch.write("{\"_id\": \"1\", \"text\": \"x\"}\n{\"_id\": 1, \"text\": \"y\"}\n", to: "corpus.jsonl")
        #expect(failure { try BEIRDataset(scratch.path) }?.description.contains("line 2") == true)
        #expect(failure { try BEIRDataset(scratch.path, split: "dev") } != nil)
        let table = try scratch.write("7\twhat is lift\n8\tand drag\n", to: "q.tsv")
        #expect(try TextQuery.read(table).map(\.text) == ["what is lift", "and drag"])
        #expect(failure { try TextQuery.read(scratch.write("7 what\n", to: "q.tsv")) } != nil)
        #expect(failure { try TextQuery.read(scratch.write("7\ta\n7\tb\n", to: "q.tsv")) } != nil)
    }

    @Test func linesOfAnyLength() throws {
        let scratch = try Scratch()
        let long = String(repeating: "x", count: 700_000)
        let path = try scratch.write("a\r\n\n\(long)\nlast", to: "text")
        let lines = try TextLines(path)
        var found: [String] = []
        while let line = try lines.nextText() { found.append(line) }
        #expect(found == ["a", "", long, "last"])
        #expect(lines.line == 4)
        #expect(failure { try TextLines(scratch.path) } != nil)
        #expect(failure { try TextLines(scratch.file("none")) } != nil)
        let bad = scratch.file("bytes")
        try AtomicFile.write([0x61, 0x0A, 0xFF, 0x0A], to: bad)
        let bytes = try TextLines(bad)
        _ = try bytes.nextText()
        #expect(failure { try bytes.nextText() }?.description.contains("line 2") == true)
    }

    @Test func badObjectsAreCountedOrThrown() throws {
        let scratch = try Scratch()
        let path = try scratch.write("{\"a\": 1}\nnonsense\n[]\n\n{\"a\": 2}\n", to: "lines.jsonl")
        let strict = try JSONLines(path)
        #expect(try strict.next { try $0.integer("a") } == 1)
        #expect(failure { try strict.next { try $0.integer("a") } }?.description.contains("line 2") == true)
        let lenient = try JSONLines(path, skipsBad: true)
        var found: [Int] = []
        while let value = try lenient.next({ try $0.integer("a") }) { found.append(value) }
        #expect(found == [1, 2])
        #expect(lenient.skipped == 2)
        #expect(lenient.firstSkipped?.description.contains("line 2") == true)
    }

    /// Half of all differences being 1 and none below, a shifted mean of 0.5 is hardly ever reached: the measured one counts.
    @Test func bootstrapProbabilitiesAreNeverZero() throws {
        let better = (0..<200).map { Double($0 % 2) }
        let test = try PairedTest.bootstrap(better, [Double](repeating: 0, count: 200), samples: 99)
        #expect(test.probability == 0.01 && test.difference == 0.5)
    }

    /// Of two documents above the threshold one is found, second: what is below it counts neither as found nor as missing.
    @Test func recallCountsByTheThreshold() throws {
        let hits = [RankedRun.Hit(document: "a", score: 2), .init(document: "b", score: 1)]
        let ranking = TiedRanking(
            hits, grades: ["a": 1, "b": 2, "c": 3, "d": 1], ties: .identifier, relevantFrom: 2)
        #expect(ranking.value(try RankingMetric("R@2")) == 0.5)
        #expect(ranking.value(try RankingMetric("MAP")) == 0.25)
        let loose = TiedRanking(hits, grades: ["a": 1, "b": 2, "c": 3, "d": 1], ties: .identifier, relevantFrom: 1)
        #expect(loose.value(try RankingMetric("R@2")) == 0.5)
        #expect(loose.value(try RankingMetric("MAP")) == 0.5)
    }
}
