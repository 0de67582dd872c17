import LacunaIO
import LacunaRetrieve
import LacunaTensor
import Testing

@testable import LacunaServing

/// An index of a few texts, served.
private final class Library {
    let path = "/tmp/lacuna-library-\(String(UInt64.random(in: 0 ... .max), radix: 36))"
    private let analyzer = WordAnalyzer()
    private let writer: IndexWriter
    static let texts = [
        ("a", "heat transfer in boundary layers", 1957), ("b", "lift of a wing in a slipstream", 1958),
        ("c", "heat of re-entry, heat shields and layers of ablating heat shields", 1961),
    ]

    init() throws {
        writer = try IndexWriter(
            creating: path,
            settings: IndexSettings(
                weighting: .bm25(BM25(), averageLength: nil),
                encoder: TextWeighting.words(analyzer).description))
        for (id, text, year) in Self.texts { try add(id, text, year: year) }
    }

    deinit { try? FileSystem.remove(path) }

    func add(_ id: String, _ text: String, year: Int) throws {
        var metadata = JSONObject()
        metadata["year"] = JSONValue(year)
        try writer.add(IndexedDocument(id: id, weights: analyzer.counts(text), text: text, metadata: metadata))
        try writer.commit()
    }
}

struct SearchServiceTests {
    @Test func searches() async throws {
        let library = try Library()
        let service = try SearchService(library.path)
        let found = try await service.post("/search", ["query": "layers of heat"])
        #expect(found.status == 200)
        let snapshot = try IndexSnapshot.open(library.path)
        let expected = try snapshot.search(
            snapshot.query(WordAnalyzer().counts("layers of heat")), count: 10)
        let hits = found.json["hits"]!.arrayValue!
        #expect(hits.count == 2 && hits.map { $0["id"]?.stringValue } == expected.hits.map(\.id))
        for (index, (hit, other)) in zip(hits, expected.hits).enumerated() {
            #expect(hit["rank"] == JSONValue(index + 1) && hit["text"]?.stringValue == other.text)
            #expect(hit["score"]?.doubleValue == Double(other.score))
            #expect(
                hit["terms"]!.arrayValue!.map { $0["term"]!.stringValue! } == other.contributions.map(\.term))
            let sum = hit["terms"]!.arrayValue!.reduce(0) { $0 + $1["score"]!.doubleValue! }
            #expect(abs(sum - Double(other.score)) < 1e-5)
        }
        #expect(
            found.json["documents"] == 3 && found.json["documents_scored"] == JSONValue(expected.work.documentsScored))
        // The same by its terms, the first alone, those of a year, those that there are none of.
        let terms = try await service.post("/search", ["vector": ["layer": 1, "heat": 1], "exact": true])
        #expect(terms.json["hits"] == found.json["hits"])
        #expect(try await service.post("/search", ["query": "heat", "k": 1]).json["hits"]!.arrayValue!.count == 1)
        let late = try await service.post("/search", ["query": "heat", "filter": "year > 1960"]).json["hits"]!
        #expect(late.arrayValue!.map { $0["id"]! } == ["c"])
        #expect(try await service.post("/search", ["query": "zeppelins"]).json["hits"] == [])
        // What is added is found at once.
        try library.add("d", "zeppelins", year: 1937)
        let fresh = try await service.post("/search", ["query": "zeppelins"])
        #expect(fresh.json["hits"]![0]["id"] == "d" && fresh.json["documents"] == 4)
    }

    @Test func whatCannotBeSearchedFor() async throws {
        let library = try Library()
        let service = try SearchService(library.path)
        let bad: [(JSONValue, String?)] = [
            ([:], "query"), (["query": 1], "query"), (["query": "a", "vector": ["b": 1]], "vector"),
            (["vector": ["b": -1]], "vector.b"), (["vector": ["b": "x"]], "vector.b"), (["query": "a", "k": 0], "k"),
            (["query": "a", "k": 1001], "k"), (["query": "a", "filter": "year >"], "filter"),
            (["query": "a", "filter": "colour = red"], "filter"), (["query": "a", "heap_factor": -1], "heap_factor"),
            (["query": "a", "query_cut": 0], "query_cut"), (["query": "a", "path": "/etc"], "path"), ("x", nil),
            // For approximate searches, which this index has none of.
            (["query": "a", "query_cut": 3], "query_cut"), (["query": "a", "heap_factor": 0.5], "heap_factor"),
        ]
        for (body, parameter) in bad {
            let found = try await service.post("/search", body)
            #expect(found.status == 400 && found.errorParameter == parameter, "\(body.serialized()): \(found.text)")
        }
        let plain = "/tmp/lacuna-vectors-\(String(UInt64.random(in: 0 ... .max), radix: 36))"
        defer { try? FileSystem.remove(plain) }
        let writer = try IndexWriter(creating: plain)
        try writer.add(IndexedDocument(id: "v", weights: [("x", 2)]))
        try writer.commit()
        let vectors = try SearchService(plain, name: "vectors")
        #expect(try await vectors.post("/search", ["query": "x"]).errorParameter == "query")
        #expect(try await vectors.post("/search", ["vector": ["x": 3]]).json["hits"]![0]["score"]?.doubleValue == 6)
        #expect(try await vectors.get("/index").json["takes_text"] == false)
        #expect(throws: LacunaError.self) { try SearchService(plain + "-nowhere") }
    }

    @Test func manners() async throws {
        let library = try Library()
        let service = try SearchService(library.path, slots: 1, limits: .init(bodyBytes: 100), apiKey: "secret")
        #expect(try await service.get("/").text.contains("<title>Lacuna</title>"))
        #expect(try await service.get("/health").json["status"] == "ok")
        for path in ["/index", "/metrics", "/nowhere"] { #expect(try await service.get(path).status == 401) }
        #expect(try await service.get("/nowhere", key: "secret").status == 404)
        #expect(try await service.get("/search", key: "secret").status == 405)
        let about = try await service.get("/index", key: "secret").json
        #expect(about["documents"] == 3 && about["fields"] == ["year"] && about["takes_text"] == true)
        let long = try await service.post(
            "/search", ["query": .string(String(repeating: "x", count: 100))], key: "secret")
        #expect(long.status == 413)
        // One search at a time: the second is told to come again while the first is not answered.
        let request = ServiceRequest(
            "POST", "/search", authorization: "Bearer secret", body: Array(#"{"query": "heat"}"#.utf8))
        guard case .deferred(let first) = service.reply(to: request) else { return #expect(Bool(false)) }
        guard case .response(let second) = service.reply(to: request) else { return #expect(Bool(false)) }
        #expect(second.status == 429 && second.headers["Retry-After"] == "1")
        #expect(await first().status == 200)
        #expect(try await service.outcome(request).status == 200)
        let metrics = try await service.get("/metrics", key: "secret").text
        for line in [
            #"lacuna_responses_total{path="/search",status="200"} 2"#, "lacuna_searches_total 2",
            #"lacuna_responses_total{path="/search",status="429"} 1"#, "lacuna_documents 3", "lacuna_active_searches 0",
            "lacuna_search_seconds_count 2",
        ] { #expect(metrics.split(separator: "\n").contains { $0 == line }, "\(line) in\n\(metrics)") }
        service.drain()
        #expect(try await service.outcome(request).status == 503)
        #expect(try await service.get("/health").status == 503)
    }

    /// Everybody finds the same, while documents are added.
    @Test func manyAtOnce() async throws {
        let library = try Library()
        let service = try SearchService(library.path)
        let expected = try await service.post("/search", ["query": "heat layers", "filter": "year < 2000"]).json["hits"]
        try await withThrowingTaskGroup(of: Bool.self) { group in
            for _ in 0..<8 {
                group.addTask {
                    for _ in 0..<20 {
                        let found = try await service.post(
                            "/search", ["query": "heat layers", "filter": "year < 2000"]
                        ).json["hits"]
                        if found?.arrayValue?.map({ $0["id"] }) != expected?.arrayValue?.map({ $0["id"] }) {
                            return false
                        }
                    }
                    return true
                }
            }
            for i in 0..<10 { try library.add("n\(i)", "heat layers of another kind", year: 2000 + i) }
            for try await isSame in group { #expect(isSame) }
        }
        #expect(try await service.post("/search", ["query": "heat", "k": 100]).json["hits"]!.arrayValue!.count == 12)
    }
}
