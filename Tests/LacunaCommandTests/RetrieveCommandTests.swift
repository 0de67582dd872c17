import Foundation
import LacunaIO
import LacunaRetrieve
import LacunaTensor
import Testing

@testable import LacunaCommand

/// `encode`, `index`, `search` and `evaluate` as users call them.
@Suite(.serialized) struct RetrieveCommandTests {
    private let folder: Folder
    private let program: Program

    init() throws {
        folder = try Folder()
        program = Program(directory: folder.path)
        try folder.write(
            """
            {"_id": "a", "title": "wings", "text": "the lift of swept wings", "metadata": {"year": 1958}}
            {"_id": "b", "text": "heat transfer in a boundary layer", "metadata": {"year": 1961}}
            {"_id": "c", "text": "boundary layers on swept wings", "metadata": {"year": 1963}}

            """, to: "corpus.jsonl")
        try folder.write("q1\tboundary layer\nq2\tswept wing\n", to: "queries.tsv")
        try folder.write("query-id\tcorpus-id\tscore\nq1\tb\t2\nq1\tc\t1\nq2\ta\t1\n", to: "qrels.tsv")
    }

    private func run(_ arguments: String..., input: String? = nil) throws -> String {
        let outcome = try program.run(arguments, input: input)
        #expect(outcome.status == 0, "\(arguments): \(outcome)")
        return outcome.output
    }

    private func refused(_ arguments: String..., saying part: String) throws {
        try refused(arguments, saying: part)
    }

    private func refused(_ arguments: [String], saying part: String) throws {
        let outcome = try program.run(arguments)
        #expect(outcome.status == 2, "\(arguments): \(outcome)")
        #expect(outcome.errorOutput.contains(part), "\(arguments): \(outcome.errorOutput)")
    }

    @Test func fromTextsToNumbers() throws {
        _ = try run("index", "build", "index", "corpus.jsonl", "--bm25")
        let text = try run("search", "index", "--query", "boundary layers", "--k", "1")
        #expect(text.contains("1. b") && text.contains("heat transfer") && text.contains("boundari"))
        let hits = try JSONValue(parsing: run("search", "index", "-q", "swept", "--filter", "year > 1960", "--json"))
        let first = hits.arrayValue?.first?["hits"]?.arrayValue
        #expect(first?.count == 1 && first?.first?["id"]?.stringValue == "c")
        #expect(first?.first?["terms"]?.objectValue?.keys == ["swept"])
        _ = try run("search", "index", "--queries", "queries.tsv", "--output", "my.run", "--name", "mine", "--quiet")
        // Feedback from b brings words of b along, and c shares one of these with it that was not asked for.
        let plain = try JSONValue(parsing: run("search", "index", "-q", "heat", "--json"))
        #expect(plain.arrayValue?[0]["hits"]?.arrayValue?.count == 1)
        let wider = try JSONValue(parsing: run("search", "index", "-q", "heat", "--feedback", "1", "--json"))
            .arrayValue?[0]["hits"]
        #expect(wider?.arrayValue?.compactMap { $0["id"]?.stringValue } == ["b", "c"])
        let few = try JSONValue(
            parsing: run("search", "index", "-q", "heat", "--feedback", "1", "--feedback-terms", "1", "--json"))
        #expect(few.arrayValue?[0]["hits"]?.arrayValue?.count == 1)
        _ = try run("search", "index", "--queries", "queries.tsv", "--feedback", "2", "--output", "wide.run", "--quiet")
        _ = try run("fuse", "my.run", "wide.run", "--output", "both.run")
        #expect(try FileSystem.readText(folder.file("both.run")).contains("fused"))
        let weighted = try run("fuse", "my.run", "wide.run", "--weight", "0", "--name", "first")
        let order = { (text: String) in text.split(separator: "\n").map { $0.split(separator: " ")[2] } }
        #expect(order(weighted).prefix(2) == order(try FileSystem.readText(folder.file("my.run"))).prefix(2))
        // Parts of a collection, indexed by themselves.
        try folder.write("q1 Q0 x 1 2.5 a\nq1 Q0 y 2 1 a\n", to: "first-part.run")
        try folder.write("q1 Q0 z 1 1.5 a\n", to: "second-part.run")
        let parts = try run("fuse", "first-part.run", "second-part.run", "--shards", "--depth", "2")
        #expect(order(parts) == ["x", "z"])
        try refused("fuse", "my.run", "my.run", "--shards", saying: "two of them")
        try refused("fuse", "my.run", "my.run", "--shards", "--weight", "1", saying: "--shards")
        try refused("fuse", "my.run", saying: "two runs")
        try refused("fuse", "my.run", "my.run", "my.run", "--weight", "1", saying: "two runs")
        let table = try run("evaluate", "my.run", "qrels.tsv", "--metric", "nDCG@10", "--metric", "MAP")
        #expect(table.contains("2 judged queries") && table.contains("mine") && table.contains("nDCG@10"))
        let json = try JSONValue(
            parsing: run("evaluate", "my.run", "qrels.tsv", "--baseline", "my.run", "--json", "--per-query"))
        #expect(json["MRR@10"] == nil && json["RR@10"]?["mean"]?.doubleValue == 1)
        #expect(json["AP"]?["difference"]?.doubleValue == 0 && json["AP"]?["values"]?["q2"]?.doubleValue == 1)
    }

    /// An encoder that is trained here encodes, and makes an index.
    @Test func fromTrainingToSearch() throws {
        try folder.write(
            (0..<6).map { "{\"query\": \"wing \($0 % 3)\", \"positive\": \"lift of the swept wing \($0)\"}\n" }
                .joined(),
            to: "pairs.jsonl")
        try folder.write(
            """
            [data]
            kind = "retrieval"
            path = "pairs.jsonl"
            batch = 2
            document_length = 16
            query_length = 16
            [model]
            vocabulary = 50
            dimensions = 8
            layers = 1
            heads = 2
            [optimizer]
            learning_rate = 0.01
            [training]
            steps = 2
            """, to: "run.toml")
        let said = try run("train", "run.toml", "--output", "trained", "--quiet")
        #expect(said.contains("ndcg at 10") && said.contains("document terms"))
        let vectors = try run("encode", "corpus.jsonl", "--model", "trained")
        #expect(vectors.split(separator: "\n").count == 3 && vectors.contains("\"wing\""))
        _ = try run("index", "build", "own", "corpus.jsonl", "--model", "trained")
        #expect(try run("search", "own", "--query", "swept wing", "--k", "1").contains("1. "))
        let terms = try run("index", "export", "own", "--format", "terms")
        #expect(terms.contains("\"wing\"\n"))
        try refused("train", "trained", "--predict", "corpus.jsonl", saying: "lacuna encode")
        for name in ["splade-cranfield", "encoder-from-nothing"] {
            let text = try run("train", "--example", name)
            #expect(try ConfigurationFile(text: text, file: name).string("data.kind") == "retrieval")
        }
    }

    @Test func changesAndExports() throws {
        _ = try run("index", "build", "index", "corpus.jsonl", "--bm25", "--no-contents")
        _ = try run("index", "delete", "index", "a")
        let outcome = try program.run(["index", "delete", "index", "none"])
        #expect(outcome.status == 1 && outcome.errorOutput.contains("'none'"))
        _ = try run("index", "add", "index", "-", input: #"{"_id": "d", "text": "a wing"}"#)
        let stats = try JSONValue(parsing: run("index", "stats", "index", "--json"))
        #expect(stats["documents"]?.intValue == 3 && stats["deleted"]?.intValue == 1)
        _ = try run("index", "merge", "index")
        #expect(try JSONValue(parsing: run("index", "stats", "index", "--json"))["deleted"]?.intValue == 0)
        #expect(try run("index", "verify", "index").contains("agree"))
        let lines = try run("index", "export", "index", "--format", "vectors").split(separator: "\n")
        #expect(lines.count == 3)
        try folder.write(lines.joined(separator: "\n") + "\nnonsense\n", to: "vectors.jsonl")
        try refused("index", "build", "again", "vectors.jsonl", saying: "line 4")
        let built = try program.run(["index", "build", "again", "vectors.jsonl", "--skip-bad", "--seismic"])
        #expect(built.status == 0 && built.errorOutput.contains("left out 1"))
        let query = #"{"id": "q", "vector": {"wing": 1}}"#
        try folder.write(query + "\n", to: "query.jsonl")
        let found = try run("search", "again", "--vectors", "query.jsonl", "--quiet")
        #expect(found.hasPrefix("q Q0 d 1 ") || found.hasPrefix("q Q0 c 1 "))
    }

    @Test func mistakesAreNamed() throws {
        try refused("index", "build", "index", "none.jsonl", "--bm25", saying: "none.jsonl")
        try refused("index", "build", "index", "corpus.jsonl", saying: "line 1")
        try refused("index", "build", "index", "corpus.jsonl", "--bm25", "--seismic", saying: "--seismic")
        try refused("index", "build", "index", "corpus.jsonl", "--bm25", "--recall", "0.9", saying: "--recall")
        // What would have no effect is refused.
        for option in [
            ["--k1", "1.2"], ["--b", "0.5"], ["--plain-words"], ["--n-postings", "10"], ["--neighbours", "2"],
        ] {
            try refused(["index", "build", "index", "corpus.jsonl"] + option, saying: option[0])
        }
        try refused("index", "build", "index", "vectors.jsonl", "--max-active-dims", "9", saying: "--model")
        try refused(
            "index", "build", "index", "vectors.jsonl", "--seismic", "--cluster-ratio", "0.1", "--block-size", "9",
            saying: "--block-size")
        #expect(!FileSystem.exists(folder.file("index/index.json")))
        _ = try run("index", "build", "index", "corpus.jsonl", "--bm25")
        try refused("index", "build", "index", "corpus.jsonl", "--bm25", saying: "exists already")
        _ = try run("index", "build", "index", "corpus.jsonl", "--bm25", "--force")
        try refused("search", "index", saying: "--query")
        try refused("search", "index", "-q", "x", "--filter", "colour = red", saying: "colour")
        try refused("search", "corpus.jsonl", "-q", "x", saying: "is no index")
        try refused("encode", "corpus.jsonl", "--model", "none", saying: "none")
        try refused("evaluate", "qrels.tsv", "qrels.tsv", saying: "line 1")
        try refused("evaluate", "none.run", "qrels.tsv", saying: "none.run")
    }

    /// A program that is ended at any moment while it adds documents: all are there, or none of them, and those of
    /// before.
    @Test func nothingCommittedIsLost() throws {
        _ = try run("index", "build", "index", "corpus.jsonl", "--bm25")
        var expected = 3
        var generator = SeededGenerator(seed: 5)
        func lines(_ round: Int) -> String {
            (0..<400).map { #"{"_id": "\#(round)-\#($0)", "text": "word\#($0) wing lift drag \#(round)"}"# }.joined(
                separator: "\n")
        }
        try folder.write(lines(99), to: "more.jsonl")
        let begin = monotonicSeconds()
        _ = try run("index", "add", "index", "more.jsonl")
        let seconds = monotonicSeconds() - begin
        expected += 400
        for round in 0..<8 {
            try folder.write(lines(round), to: "more.jsonl")
            var process = ChildProcess(
                executable: try #require(CommandLineTests.executable),
                arguments: ["index", "add", folder.file("index"), folder.file("more.jsonl")])
            process.environment = program.environment
            let running = Locked<pid_t?>(nil)
            let delay = seconds * 1.1 * generator.uniform()
            let outcome = try process.run(started: { child in
                running.withLock { $0 = child }
                let thread = Thread {
                    Thread.sleep(forTimeInterval: delay)
                    running.withLock { if let child = $0 { kill(child, SIGKILL) } }
                }
                thread.start()
            })
            running.withLock { $0 = nil }
            let snapshot = try IndexSnapshot.open(folder.file("index"))
            if outcome.status == 0 { #expect(snapshot.documentCount == expected + 400) }
            #expect([expected, expected + 400].contains(snapshot.documentCount), "round \(round)")
            #expect(["a", "b", "c", "99-0", "99-399"].allSatisfy { snapshot.contains($0) })
            expected = snapshot.documentCount
        }
        // The next writer clears away what was left.
        _ = try run("index", "merge", "index")
        let files = try FileSystem.list(folder.file("index")).filter { !$0.hasPrefix(".") }
        #expect(files.count == 3, "\(files)")
        #expect(try IndexSnapshot.open(folder.file("index")).documentCount == expected)
    }
}
