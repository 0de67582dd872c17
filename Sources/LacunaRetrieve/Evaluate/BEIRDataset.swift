import LacunaIO
import LacunaTensor

/// A document to be searched, as text.
public struct TextDocument: Sendable, Equatable {
    /// What results and judgements call it.
    public var id: String
    /// May be empty.
    public var title: String
    /// The body, without the title.
    public var text: String
    /// What filters may ask for; the members of an object.
    public var metadata: JSONObject

    /// A document with neither title nor metadata, unless they are given.
    public init(id: String, title: String = "", text: String, metadata: JSONObject = JSONObject()) {
        (self.id, self.title, self.text, self.metadata) = (id, title, text, metadata)
    }

    /// From a line of a BEIR corpus (`_id`, `title`, `text`, `metadata`) or of an Anserini collection (`id`,
    /// `contents`).
    ///
    /// - Throws: `LacunaError.malformed` for members that are missing or of another type.
    public init(_ fields: JSONFields) throws {
        id = try fields.identifier("_id", "id", "docid")
        title = try fields.optionalString("title") ?? ""
        text = try fields.optionalString("text") ?? fields.string("contents")
        metadata = try fields.optionalFields("metadata")?.object ?? JSONObject()
    }

    /// Title and text, as encoders read them.
    public var content: String { title.isEmpty ? text : text.isEmpty ? title : title + " " + text }
}

/// A query as text.
public struct TextQuery: Sendable, Equatable {
    /// What runs and judgements call it.
    public var id: String
    /// What is searched for.
    public var text: String

    /// A query of one's own; ``read(_:)`` reads a file of them.
    public init(id: String, text: String) { (self.id, self.text) = (id, text) }

    /// All queries of a file: JSON lines with `_id` (or `id`, `qid`) and `text` (or `query`, `title`), or
    /// `id<tab>text` a line.
    ///
    /// - Throws: `LacunaError.malformed` with the line, also for an identifier that comes twice.
    public static func read(_ path: String) throws -> [TextQuery] {
        var queries: [TextQuery] = []
        var seen: Set<String> = []
        let lines = try TextLines(path)
        while let text = try lines.nextText() {
            let start = text.drop(while: \.isWhitespace)
            if start.isEmpty { continue }
            let query: TextQuery
            if start.first == "{" {
                let value: JSONValue
                do {
                    value = try JSONValue(parsing: text, file: path)
                } catch LacunaError.malformed(_, _, let reason) {
                    throw lines.failure(reason)
                }
                let fields = try JSONFields(value, file: path, location: "line \(lines.line)")
                guard
                    let words = try fields.optionalString("text") ?? fields.optionalString("query")
                        ?? fields.optionalString("title")
                else { throw lines.failure("there is no 'text'") }
                query = TextQuery(id: try fields.identifier("_id", "id", "qid"), text: words)
            } else {
                let parts = text.split(separator: "\t", maxSplits: 1, omittingEmptySubsequences: false)
                guard parts.count == 2, !parts[0].isEmpty else {
                    throw lines.failure("is neither a JSON object nor an identifier, a tab and a text")
                }
                query = TextQuery(id: String(parts[0]), text: String(parts[1]))
            }
            guard seen.insert(query.id).inserted else { throw lines.failure("query '\(query.id)' comes twice") }
            queries.append(query)
        }
        if queries.isEmpty {
            throw LacunaError.malformed(file: path, location: "line 1", reason: "there are no queries")
        }
        return queries
    }
}

/// A test collection in the layout of BEIR: `corpus.jsonl`, `queries.jsonl` and `qrels/NAME.tsv`.
///
/// Nandan Thakur, Nils Reimers, Andreas Rücklé, Abhishek Srivastava, Iryna Gurevych, "BEIR: A Heterogenous Benchmark
/// for Zero-shot Evaluation of Information Retrieval Models", arXiv:2104.08663.
public struct BEIRDataset: Sendable {
    /// The whole corpus, in the order of the file.
    public let documents: [TextDocument]
    /// The queries that are judged in the split, in the order of the file.
    public let queries: [TextQuery]
    /// The grades of the split, restricted to ``queries``.
    public let judgements: Judgements

    /// - Throws: `LacunaError` naming the file and the line; also for a document that comes twice, and if no query is
    ///   judged.
    public init(_ directory: String, split: String = "test") throws {
        let path = FileSystem.join(directory, "corpus.jsonl")
        let lines = try JSONLines(path)
        var documents: [TextDocument] = []
        var seen: Set<String> = []
        while let document = try lines.next({ try TextDocument($0) }) {
            guard seen.insert(document.id).inserted else {
                throw LacunaError.malformed(
                    file: path, location: "line \(lines.line)", reason: "document '\(document.id)' comes twice")
            }
            documents.append(document)
        }
        let name = FileSystem.join(FileSystem.join(directory, "qrels"), split + ".tsv")
        let judged = try Judgements(contentsOf: name)
        let all = try TextQuery.read(FileSystem.join(directory, "queries.jsonl"))
        let kept = Set(judged.queries)
        queries = all.filter { kept.contains($0.id) }
        if queries.isEmpty {
            throw LacunaError.malformed(file: name, location: "queries", reason: "none of them is in queries.jsonl")
        }
        (self.documents, judgements) = (documents, judged.restricted(to: Set(queries.map(\.id))))
    }
}
