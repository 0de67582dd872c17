import Foundation
import LacunaIO
import LacunaSparse
import LacunaTensor
import Testing

@testable import LacunaRetrieve

/// Documents as they are added, from a matrix.
private func documents(
    _ matrix: SparseMatrix<Float>, from first: Int = 0, year: ((Int) -> Int)? = nil
) -> [IndexedDocument] {
    (0..<matrix.rows).map { row in
        var metadata = JSONObject()
        if let year { metadata["year"] = JSONValue(year(row)) }
        return IndexedDocument(
            id: "d\(first + row)", weights: matrix.row(row).map { ("t\($0.index)", $0.value) },
            text: "text \(first + row)", metadata: metadata)
    }
}

private func query(_ vector: SparseVector<Float>) -> [(term: String, weight: Float)] {
    vector.map { ("t\($0.index)", $0.value) }
}

private let seismic = IndexSettings(kind: .seismic(.exhaustive), search: .exhaustive)

@Suite struct IndexDirectoryTests {
    private let matrix: SparseMatrix<Float>
    private let queries: SparseMatrix<Float>
    private let scratch: Scratch

    init() throws {
        matrix = try collection(documents: 240, terms: 90, entries: 8, eighths: true)
        queries = try collection(documents: 8, terms: 90, entries: 5, eighths: true, seed: 4)
        scratch = try Scratch()
    }

    /// The weights of an expanded query are those that feedback makes of the matrix's own rows, whatever the segments.
    @Test func expandedQueries() throws {
        let path = scratch.file("expanded")
        let writer = try IndexWriter(creating: path)
        for start in stride(from: 0, to: matrix.rows, by: 80) {
            for document in documents(matrix).dropFirst(start).prefix(80) { try writer.add(document) }
            try writer.commit()
        }
        let snapshot = try IndexSnapshot.open(path)
        #expect(snapshot.segmentCount == 3)
        let expansion = QueryExpansion(.rocchio(alpha: 0.6, beta: 0.4), documents: 4, terms: 12)
        for row in 0..<queries.rows {
            let best = reference(matrix, queries.row(row), count: 4).map { matrix.row($0.document) }
            let wanted = try expansion.feedback.query(queries.row(row), documents: best, terms: 12)
            let found = try snapshot.expanded(query(queries.row(row)), by: expansion)
            #expect(found.count == wanted.storedCount)
            for (term, weight) in found {
                #expect(abs(weight - wanted[Int(term.dropFirst())!]) < 1e-5 * weight, "\(term)")
            }
        }
        let run = try snapshot.run([("q", query(queries.row(0)))], count: 5, expansion: expansion).run
        let again = try snapshot.search(
            snapshot.query(snapshot.expanded(query(queries.row(0)), by: expansion)), count: 5
        ).hits
        #expect(run.hits(of: "q").map(\.document) == again.map(\.id))
        #expect(try snapshot.expanded([("nothing", 1)], by: expansion).map(\.term) == ["nothing"])
        for bad in [
            QueryExpansion(documents: 0), QueryExpansion(terms: 0), QueryExpansion(.rocchio(alpha: -1, beta: 0)),
        ] {
            #expect(throws: LacunaError.self) { try snapshot.expanded(query(queries.row(0)), by: bad) }
        }
    }

    /// The identifiers and scores of the best documents of a matrix, by definition.
    private func wanted(_ matrix: SparseMatrix<Float>, _ ids: [String], _ row: Int, _ count: Int) -> [String] {
        reference(matrix, queries.row(row), count: count).map { "\(ids[$0.document]) \($0.score)" }
    }

    private func found(
        _ snapshot: IndexSnapshot, _ row: Int, _ count: Int, filter: MetadataFilter? = nil, exactly: Bool = false
    ) throws -> [String] {
        try snapshot.search(
            snapshot.query(query(queries.row(row))), count: count, filter: filter, exactly: exactly
        ).hits.map { "\($0.id) \(Double($0.score))" }
    }

    @Test(arguments: [IndexSettings(), seismic])
    func segmentsChangeNothing(_ settings: IndexSettings) throws {
        let ids = (0..<240).map { "d\($0)" }
        for budget in [1 << 30, 20_000] {
            let path = scratch.file("index-\(budget)")
            let writer = try IndexWriter(creating: path, settings: settings, replacing: true, memoryBudget: budget)
            for document in documents(matrix) { try writer.add(document) }
            try writer.commit()
            let snapshot = try IndexSnapshot.open(path)
            #expect(snapshot.documentCount == 240 && snapshot.entryCount == matrix.count)
            #expect((snapshot.segmentCount > 1) == (budget < 1 << 30))
            #expect(snapshot.settings == settings)
            for row in 0..<queries.rows {
                #expect(try found(snapshot, row, 15) == wanted(matrix, ids, row, 15))
                #expect(try found(snapshot, row, 15, exactly: true) == wanted(matrix, ids, row, 15))
                #expect(try found(snapshot, row, 1000) == wanted(matrix, ids, row, 1000))
            }
        }
    }

    @Test func hitsSayWhyTheyWereFound() throws {
        let writer = try IndexWriter(creating: scratch.file("index"))
        for document in documents(matrix) { try writer.add(document) }
        try writer.commit()
        let snapshot = try IndexSnapshot.open(scratch.file("index"))
        let vector = queries.row(0)
        let hits = try snapshot.search(snapshot.query(query(vector)), count: 5).hits
        for hit in hits {
            let row = try #require(Int(hit.id.dropFirst()))
            #expect(hit.text == "text \(row)")
            let expected = vector.filter { matrix[row, $0.index] > 0 }
            #expect(Set(hit.contributions.map(\.term)) == Set(expected.map { "t\($0.index)" }))
            #expect(hit.contributions.reduce(0) { $0 + $1.score } == hit.score)
            #expect(zip(hit.contributions, hit.contributions.dropFirst()).allSatisfy { $0.score >= $1.score })
        }
    }

    @Test(arguments: [IndexSettings(), seismic])
    func addDeleteReplaceMerge(_ settings: IndexSettings) throws {
        let path = scratch.file("index")
        var writer: IndexWriter? = try IndexWriter(creating: path, settings: settings)
        for document in documents(matrix[rows: 0..<150]) { try writer!.add(document) }
        #expect(failure { try IndexSnapshot.open(path) } != nil, "nothing is seen before the commit")
        try writer!.commit()
        let first = try IndexSnapshot.open(path)
        writer = nil
        writer = try IndexWriter(opening: path)
        // A document twice before it is written, one replaced, some deleted in every place they can be.
        for document in documents(matrix[rows: 150..<240], from: 150) { try writer!.add(document) }
        try writer!.add(documents(matrix[rows: 0..<1], from: 200)[0])
        try writer!.add(documents(matrix[rows: 1..<2], from: 17)[0])
        #expect(writer!.delete("d3") && writer!.delete("d160") && !writer!.delete("d3") && !writer!.delete("none"))
        try writer!.commit()
        #expect(writer!.delete("d239"))
        try writer!.commit()
        var rows = Array(0..<240)
        rows.removeAll { [3, 160, 239, 200, 17].contains($0) }
        let kept = matrix.selecting(rows: rows + [0, 1])
        let ids = rows.map { "d\($0)" } + ["d200", "d17"]
        let live = try LiveIndex(path)
        func check(_ snapshot: IndexSnapshot) throws {
            #expect(snapshot.documentCount == 237)
            #expect(snapshot.contains("d17") && !snapshot.contains("d3") && !snapshot.contains("d239"))
            var order: [String] = []
            try snapshot.forEachDocument { id, _, _ in order.append(id) }
            #expect(order == ids)
            for row in 0..<queries.rows {
                #expect(try found(snapshot, row, 20) == wanted(kept, ids, row, 20))
            }
        }
        try check(live.snapshot())
        #expect(try live.snapshot().deletedCount == 3)
        try writer!.merge()
        try check(live.snapshot())
        let merged = try live.snapshot()
        #expect(merged.segmentCount == 1 && merged.deletedCount == 0)
        try check(IndexSnapshot.open(path))
        // What was opened before anything changed goes on as it was.
        #expect(first.documentCount == 150 && first.generation < merged.generation)
        #expect(try found(first, 0, 10) == wanted(matrix[rows: 0..<150], (0..<150).map { "d\($0)" }, 0, 10))
        // Nothing is left of older files.
        let files = try FileSystem.list(path).filter { !$0.hasPrefix(".") }
        #expect(Set(files) == merged.manifest.files.union(["index.json"]))
    }

    @Test func aDeletedReplacementTakesTheOldDocumentAlong() throws {
        let path = scratch.file("index")
        let writer = try IndexWriter(creating: path)
        for document in documents(matrix[rows: 0..<5]) { try writer.add(document) }
        try writer.commit()
        try writer.add(documents(matrix[rows: 9..<10], from: 2)[0])
        #expect(writer.delete("d2") && !writer.delete("d2"))
        try writer.commit()
        let snapshot = try IndexSnapshot.open(path)
        #expect(snapshot.documentCount == 4 && !snapshot.contains("d2"))
    }

    /// Also where segments are still open from before.
    @Test func howToSearchChangesWithACommit() throws {
        let path = scratch.file("index")
        let settings = IndexSettings(
            kind: .seismic(SeismicSettings(pruning: .list(40), blocking: .fixed(4))),
            search: SeismicSearch(queryCut: 1, heapFactor: 1))
        let writer = try IndexWriter(creating: path, settings: settings)
        for document in documents(matrix) { try writer.add(document) }
        try writer.commit()
        let live = try LiveIndex(path)
        func work() throws -> [SearchWork] {
            let snapshot = try live.snapshot()
            return try (0..<queries.rows).map {
                try snapshot.search(snapshot.query(query(queries.row($0))), count: 5).work
            }
        }
        let before = try work()
        let wide = SeismicSearch(queryCut: .max, heapFactor: 0)
        try writer.setSearch(wide)
        #expect(try work() == before, "nothing changes before the commit")
        try writer.commit()
        let after = try work()
        #expect(try live.snapshot().settings.search == wide)
        func scored(_ work: [SearchWork]) -> Int { work.reduce(0) { $0 + $1.documentsScored } }
        #expect(scored(before) < scored(after))
        let exact = try IndexWriter(creating: scratch.file("exact"))
        #expect(failure { try exact.setSearch(wide) } != nil)
    }

    @Test func manySmallCommitsAreMerged() throws {
        let path = scratch.file("index")
        let writer = try IndexWriter(creating: path)
        writer.maximumSegments = 4
        for (number, document) in documents(matrix[rows: 0..<30]).enumerated() {
            try writer.add(document)
            if number % 2 == 1 { try writer.commit() }
        }
        let snapshot = try IndexSnapshot.open(path)
        #expect(snapshot.segmentCount <= 4 && snapshot.documentCount == 30)
        let ids = (0..<30).map { "d\($0)" }
        for row in 0..<queries.rows {
            #expect(try found(snapshot, row, 9) == wanted(matrix[rows: 0..<30], ids, row, 9))
        }
    }

    @Test func aMergeThatIsStoppedLosesNothing() throws {
        final class Stop: ProgressReporter, @unchecked Sendable {
            var isCancelled = false
            func update(task: String, completed: Int, total: Int, detail: String) {}
        }
        let (path, stop) = (scratch.file("index"), Stop())
        let writer = try IndexWriter(creating: path, settings: seismic, progress: stop)
        for part in [0..<20, 20..<40] {
            for document in documents(matrix[rows: part], from: part.lowerBound) { try writer.add(document) }
            try writer.commit()
        }
        stop.isCancelled = true
        #expect(failure { try writer.merge() } != nil)
        stop.isCancelled = false
        try writer.commit()
        #expect(try IndexSnapshot.open(path).documentCount == 40)
        try writer.merge()
        let merged = try IndexSnapshot.open(path)
        #expect(merged.documentCount == 40 && merged.segmentCount == 1)
    }

    @Test(arguments: [IndexSettings(), seismic])
    func filters(_ settings: IndexSettings) throws {
        let path = scratch.file("index")
        let writer = try IndexWriter(creating: path, settings: settings, memoryBudget: 30_000)
        for document in documents(matrix, year: { 1950 + $0 % 20 }) { try writer.add(document) }
        try writer.commit()
        let snapshot = try IndexSnapshot.open(path)
        #expect(snapshot.fields == ["year"])
        let filter = try MetadataFilter("year >= 1955 and not (year = 1960 or year>1966)")
        let rows = (0..<240).filter { (5...16).contains($0 % 20) && $0 % 20 != 10 }
        for row in 0..<queries.rows {
            let expected = wanted(matrix.selecting(rows: rows), rows.map { "d\($0)" }, row, 12)
            #expect(try found(snapshot, row, 12, filter: filter) == expected)
        }
        #expect(try found(snapshot, 0, 5, filter: MetadataFilter("year < 1900")).isEmpty)
        #expect(
            failure { try found(snapshot, 0, 5, filter: MetadataFilter("yaer = 1")) }?.description.contains(
                "did you mean 'year'") == true)
        #expect(failure { try found(snapshot, 0, 5, filter: MetadataFilter("year = soon")) } != nil)
    }

    @Test func filtersOfEveryKind() throws {
        let writer = try IndexWriter(creating: scratch.file("index"))
        let metadata = [
            #"{"section": "libs", "tags": ["c", "fast"], "size": 1.5, "free": true}"#,
            #"{"section": "two words", "tags": ["c"], "size": 3, "free": false}"#, #"{"section": null, "tags": []}"#,
        ]
        for (number, text) in metadata.enumerated() {
            let object = try #require(try JSONValue(parsing: text).objectValue)
            try writer.add(IndexedDocument(id: "\(number)", weights: [("a", Float(3 - number))], metadata: object))
        }
        try writer.commit()
        let snapshot = try IndexSnapshot.open(scratch.file("index"))
        func ids(_ text: String) throws -> [String] {
            try snapshot.search(snapshot.query([("a", 1)]), count: 5, filter: MetadataFilter(text)).hits.map(\.id)
        }
        #expect(try ids("section = libs") == ["0"])
        #expect(try ids("section = \"two words\" or size<=1.5") == ["0", "1"])
        #expect(try ids("tags = c") == ["0", "1"])
        #expect(try ids("tags = c and tags = fast") == ["0"])
        #expect(try ids("tags != c") == ["2"])
        #expect(try ids("free = true") == ["0"])
        #expect(try ids("size != 3") == ["0", "2"])
        #expect(try ids("not size < 3") == ["1", "2"])
        #expect(try ids("size > 1.5") == ["1"])
        #expect(try ids("section = nowhere").isEmpty)
        for text in [
            "", "section", "section = ", "= libs", "(size = 1", "size = 1)", "size = 1 size = 2", "size ~ 1", "a = \"b",
            "size => 1",
        ] {
            #expect(failure { try MetadataFilter(text) } != nil, "\(text)")
        }
        #expect(failure { try ids("section < libs") } != nil)
        // Kinds do not mix, nor do objects pass.
        func add(_ text: String) throws {
            try writer.add(
                IndexedDocument(id: "x", weights: [("a", 1)], metadata: #require(JSONValue(parsing: text).objectValue)))
        }
        #expect(failure { try add(#"{"size": "large"}"#) }?.description.contains("document 'x'") == true)
        #expect(failure { try add(#"{"where": {"a": 1}}"#) } != nil)
        #expect(failure { try add(#"{"tags": [1]}"#) } != nil)
    }

    @Test func bm25IsTheSameHoweverDocumentsCame() throws {
        let counts = matrix.mapValues { ($0 * 8).rounded() }
        let bm25 = try BM25()
        let direct = try bm25.index(counts)
        let frequencies = (0..<90).map { direct.lists.documentFrequency($0) }
        let path = scratch.file("index")
        let settings = IndexSettings(weighting: .bm25(bm25, averageLength: BM25.averageLength(counts)))
        let writer = try IndexWriter(creating: path, settings: settings, memoryBudget: 30_000)
        for document in documents(counts) { try writer.add(document) }
        try writer.add(IndexedDocument(id: "extra", weights: [("t1", 5), ("t2", 5)]))
        writer.delete("extra")
        try writer.commit()
        // Deleted once it was written: document frequencies are those of what can be found.
        try writer.add(IndexedDocument(id: "extra", weights: [("t1", 5), ("t2", 5)]))
        try writer.commit()
        writer.delete("extra")
        try writer.commit()
        let snapshot = try IndexSnapshot.open(path)
        #expect(snapshot.segmentCount > 1)
        for row in 0..<queries.rows {
            let words = queries.row(row)
            let wanted = try direct.search(
                BM25.queryWeights(words, frequencies: frequencies, documents: 240), count: 10)
            let hits = try snapshot.search(snapshot.query(query(words)), count: 10).hits
            #expect(hits.map(\.id) == wanted.documents.map { "d\($0.document)" })
            for (hit, other) in zip(hits, wanted.documents) { #expect(abs(hit.score - other.score) < 1e-5) }
        }
        // Without a length the first documents give it.
        let other = try IndexWriter(
            creating: scratch.file("other"), settings: IndexSettings(weighting: .bm25(bm25, averageLength: nil)))
        for document in documents(counts) { try other.add(document) }
        try other.commit()
        #expect(other.settings.weighting == .bm25(bm25, averageLength: BM25.averageLength(counts)))
    }

    @Test func whatIsNotUnderstoodIsRefused() throws {
        let path = scratch.file("index")
        let writer = try IndexWriter(creating: path)
        #expect(failure { try IndexWriter(opening: path) } != nil)
        #expect(failure { try writer.add(IndexedDocument(id: "", weights: [])) } != nil)
        #expect(failure { try writer.add(IndexedDocument(id: "a", weights: [("x", -1)])) } != nil)
        #expect(failure { try writer.add(IndexedDocument(id: "a", weights: [("x", .nan)])) } != nil)
        #expect(failure { try writer.add(IndexedDocument(id: "a", weights: [("x", 1), ("x", 2)])) } != nil)
        try writer.add(IndexedDocument(id: "a", weights: [("x", 1), ("y", 0)]))
        try writer.commit()
        #expect(failure { try IndexWriter(creating: path) } != nil, "it is there already")
        _ = try scratch.write("something", to: "elsewhere/letter.txt")
        #expect(
            failure { try IndexWriter(creating: scratch.file("elsewhere"), replacing: true) }?.description.contains(
                "not an index") == true)
        #expect(failure { try IndexWriter.check(creating: scratch.file("elsewhere/letter.txt")) } != nil)
        #expect(failure { try IndexSnapshot.open(scratch.file("elsewhere")) }?.description.contains("no index") == true)
        let snapshot = try IndexSnapshot.open(path)
        #expect(snapshot.terms.count == 1, "a weight of 0 is no term")
        #expect(failure { try snapshot.query([("x", -1)]) } != nil)
        #expect(failure { try snapshot.query([("x", 1), ("x", 1)]) } != nil)
        #expect(try snapshot.query([("unknown", 1)]).storedCount == 0)
        #expect(failure { try snapshot.search(snapshot.query([("x", 1)]), count: 0) } != nil)
        let bm25 = IndexSettings(kind: .seismic(SeismicSettings()), weighting: .bm25(try BM25(), averageLength: nil))
        #expect(failure { try IndexWriter(creating: scratch.file("new"), settings: bm25) } != nil)
        #expect(!FileSystem.exists(scratch.file("new")))
    }

    /// Every byte of every file is either checked or cannot matter: damage is refused, never believed.
    @Test(arguments: [IndexSettings(), IndexSettings(kind: .seismic(SeismicSettings(neighbours: 2)))])
    func damageIsRefused(_ settings: IndexSettings) throws {
        let path = scratch.file("index")
        let writer = try IndexWriter(creating: path, settings: settings)
        for document in documents(matrix[rows: 0..<40], year: { $0 }) { try writer.add(document) }
        try writer.commit()
        writer.delete("d1")
        try writer.commit()
        var generator = SeededGenerator(seed: 8)
        for name in try FileSystem.list(path) where !name.hasPrefix(".") {
            let file = FileSystem.join(path, name)
            let good = try FileSystem.readBytes(file)
            func write(_ bytes: [UInt8]) throws {
                let handle = try #require(FileHandle(forUpdatingAtPath: file))
                try handle.write(contentsOf: Data(bytes))
                try handle.truncate(atOffset: UInt64(bytes.count))
                try handle.close()
            }
            for trial in 0..<60 {
                var bad = good
                if trial % 3 == 0 {
                    bad.removeLast(Int.random(in: 1...bad.count, using: &generator))
                } else {
                    let place =
                        trial % 3 == 1
                        ? Int.random(in: 0..<min(bad.count, 400), using: &generator)
                        : Int.random(in: 0..<bad.count, using: &generator)
                    bad[place] ^= UInt8.random(in: 1...255, using: &generator)
                }
                try write(bad)
                // White space of the manifest, which is text, may differ.
                if name == "index.json", (try? IndexManifest(path)) != nil { continue }
                #expect(failure { try IndexSnapshot.open(path) } != nil, "\(name), trial \(trial)")
            }
            try write(good)
        }
        #expect(try IndexSnapshot.open(path).documentCount == 39)
        // Another version is said to be one.
        let name = try #require(FileSystem.list(path).first { $0.hasPrefix("segment") })
        var bytes = try FileSystem.readBytes(FileSystem.join(path, name))
        bytes[8] = 9
        try AtomicFile.write(bytes, to: FileSystem.join(path, name))
        #expect(failure { try IndexSnapshot.open(path) }?.description.contains("version 9") == true)
    }

    /// Content that agrees with its checksums but not with itself.
    @Test func contradictionsAreRefused() throws {
        let path = scratch.file("index")
        let vectors = try DocumentVectors(matrix[rows: 0..<4])
        func write(_ change: (inout [String: [UInt8]]) -> Void) throws {
            let lists = PostingLists(vectors)
            let ids = TextColumn(["a", "b", "c", "d"])
            var parts: [String: [UInt8]] = [
                "vectors.at": Array(vectors.starts.bytes), "vectors.weights": Array(vectors.weights.bytes),
                "vectors.terms16": Array(vectors.narrowTerms!.bytes),
                "sequences": (0..<4).flatMap { [UInt8($0), 0, 0, 0, 0, 0, 0, 0] },
                "ids.order": (0..<4).flatMap { [UInt8($0), 0, 0, 0] }, "fields": Array("[]".utf8),
                "shape": [90, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0],
            ]
            for (name, bytes) in ids.sections("ids") + ids.sections("texts") + lists.sections {
                parts[name] = Array(bytes)
            }
            change(&parts)
            let copies = parts.mapValues { Buffer($0) }
            _ = try SectionFile.write(
                copies.map { ($0.key, UnsafeRawBufferPointer($0.value.elements)) }, to: path)
            withExtendedLifetime(copies) {}
        }
        try write { _ in }
        _ = try Segment(path, settings: IndexSettings(), checked: true)
        for (name, bytes) in [
            ("vectors.at", 8), ("vectors.terms16", 1), ("vectors.weights", 3), ("ids.order", 2), ("lists.at", 9),
            ("lists.documents", 1), ("lists.blocks", 9), ("lists.lasts", 0), ("sequences", 8), ("ids.at", 9),
            ("shape", 8),
        ] {
            try write { $0[name]![bytes] ^= 0x80 }
            #expect(failure { try Segment(path, settings: IndexSettings(), checked: true) } != nil, "\(name)")
            try write { $0[name] = nil }
            #expect(failure { try Segment(path, settings: IndexSettings(), checked: true) } != nil, "\(name) missing")
            try write { $0[name]!.removeLast() }
            #expect(failure { try Segment(path, settings: IndexSettings(), checked: true) } != nil, "\(name) short")
        }
        try write { $0["fields"] = Array("{}".utf8) }
        #expect(failure { try Segment(path, settings: IndexSettings(), checked: true) } != nil)
    }

    /// Manifests whose checksums agree, as anyone can write one.
    @Test func manifestsThatCannotBeAreRefused() throws {
        let path = scratch.file("index")
        let writer = try IndexWriter(creating: path, settings: IndexSettings(kind: .seismic(SeismicSettings())))
        for document in documents(matrix[rows: 0..<4]) { try writer.add(document) }
        try writer.commit()
        let good = try JSONFields(contentsOf: FileSystem.join(path, IndexManifest.name)).object
        func opens(_ change: (inout JSONObject) -> Void) throws -> Bool {
            var object = good
            object["checksum"] = nil
            change(&object)
            let sum = Array(JSONValue.object(object).serialized().utf8).withUnsafeBytes { SectionFile.checksum($0) }
            object["checksum"] = JSONValue(Int(sum))
            try AtomicFile.write(
                JSONValue.object(object).serialized(), to: FileSystem.join(path, IndexManifest.name))
            return (try? IndexManifest(path)) != nil
        }
        #expect(try opens { _ in })
        for key in ["next_sequence", "next_file", "generation"] {
            #expect(try !opens { $0[key] = JSONValue(Int.max) }, "\(key)")
            #expect(try !opens { $0[key] = JSONValue(-1) }, "\(key)")
        }
        let segment = try #require(good["segments"]?.arrayValue?.first)
        #expect(try !opens { $0["segments"] = .array([segment, segment]) })
        #expect(
            try !opens {
                guard case .object(var settings)? = $0["settings"] else { return }
                settings["pruning"] = "globl"
                $0["settings"] = .object(settings)
            })
    }

    /// A file has room for so many sections only.
    @Test func fieldsOfMetadataAreCounted() throws {
        let path = scratch.file("index")
        let writer = try IndexWriter(creating: path)
        var metadata = JSONObject()
        for number in 0..<1000 { metadata["f\(number)"] = "x" }
        try writer.add(IndexedDocument(id: "a", weights: [("t", 1)], metadata: metadata))
        metadata["one more"] = "x"
        #expect(failure { try writer.add(IndexedDocument(id: "b", weights: [("t", 1)], metadata: metadata)) } != nil)
        try writer.commit()
        #expect(try IndexSnapshot.open(path).fields.count == 1000)
    }

    @Test func searchGoesOnWhileDocumentsAreAdded() throws {
        let path = scratch.file("index")
        let writer = try IndexWriter(creating: path)
        writer.maximumSegments = 3
        let all = documents(matrix)
        try writer.add(all[0])
        try writer.commit()
        let live = try LiveIndex(path)
        let problems = Locked<[String]>([])
        let ids = (0..<240).map { "d\($0)" }
        let finished = Locked(false)
        // Threads of their own, as the pool's are busy with the writer.
        let threads = (0..<3).map { number in
            Thread {
                while !finished.withLock({ $0 }) {
                    do {
                        let snapshot = try live.snapshot()
                        let n = snapshot.documentCount
                        let row = number % queries.rows
                        let got = try found(snapshot, row, 5)
                        let expected = wanted(matrix[rows: 0..<n], Array(ids[..<n]), row, 5)
                        if got != expected { problems.withLock { $0.append("\(n): \(got) for \(expected)") } }
                    } catch { problems.withLock { $0.append("\(error)") } }
                }
            }
        }
        for thread in threads { thread.start() }
        for document in all[1..<40] {
            try writer.add(document)
            try writer.commit()
        }
        finished.withLock { $0 = true }
        #expect(try live.snapshot().documentCount == 40)
        while threads.contains(where: { !$0.isFinished }) { Thread.sleep(forTimeInterval: 0.005) }
        #expect(problems.withLock { $0 } == [])
    }

    /// What is left when a program ends between two writes: the files of a moment, in every order they came.
    @Test func everyMomentOfAWriterIsAnIndex() throws {
        let path = scratch.file("index")
        let writer = try IndexWriter(creating: path, memoryBudget: 3000)
        for document in documents(matrix[rows: 0..<20]) { try writer.add(document) }
        try writer.commit()
        // More documents are written to segments, but not committed.
        for document in documents(matrix[rows: 20..<60], from: 20) { try writer.add(document) }
        let committed = try IndexManifest(path).files
        let orphans = try FileSystem.list(path).filter { $0.hasPrefix("segment") && !committed.contains($0) }
        #expect(!orphans.isEmpty)
        let copy = scratch.file("copy")
        try FileManager.default.copyItem(atPath: path, toPath: copy)
        #expect(try IndexSnapshot.open(copy).documentCount == 20)
        let next = try IndexWriter(opening: copy)
        try next.add(documents(matrix[rows: 20..<21], from: 20)[0])
        try next.commit()
        #expect(try IndexSnapshot.open(copy).documentCount == 21)
        #expect(try FileSystem.list(copy).filter { !$0.hasPrefix(".") }.count == IndexManifest(copy).files.count + 1)
    }

    @Test func linesOfVectors() throws {
        let path = try scratch.write(
            """
            {"id": "a", "contents": "x", "vector": {"wing": 1.5, "##s": 2}, "metadata": {"k": 1}}
            {"id": 7, "vector": {"wing": -1}}
            {"id": "c", "vector": [1]}
            {"vector": {}}

            """, to: "vectors.jsonl")
        let lines = try JSONLines(path, skipsBad: true)
        var found: [IndexedDocument] = []
        while let document = try lines.next({ try IndexedDocument($0) }) { found.append(document) }
        #expect(found.count == 1 && lines.skipped == 3)
        #expect(found[0].id == "a" && found[0].text == "x" && found[0].metadata["k"]?.intValue == 1)
        #expect(found[0].weights.map(\.term) == ["wing", "##s"] && found[0].weights.map(\.weight) == [1.5, 2])
    }
}
