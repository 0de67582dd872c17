import LacunaIO
import LacunaSparse
import LacunaTensor

/// Writes the documents of an index in the forms in which other search engines take them.
public struct VectorExport: Sendable {
    /// Whose form is written.
    public enum Format: String, Sendable, CaseIterable {
        /// JSON lines with float weights, texts and metadata, as ``IndexedDocument`` reads them.
        case vectors
        /// Anserini's JsonVectorCollection for Lucene's impact index: whole weights.
        case anserini
        /// The bulk API of OpenSearch and Elasticsearch, for a field of type `rank_features`.
        case opensearch
        /// Points with a sparse vector of Qdrant's REST API, one a line.
        case qdrant
        /// Rows for PostgreSQL's `COPY` into a column of pgvector's `sparsevec`, whose indices count from 1.
        case pgvector
        /// The terms in the order of the numbers that ``qdrant`` and ``pgvector`` have in their places, from 0 and from 1: a
        /// JSON string a line. Queries are made of it.
        case terms
    }

    /// Whose form is written.
    public var format: Format
    /// What weights are multiplied by before ``Format/anserini`` rounds them.
    public var scale: Double
    /// The name of the index for ``Format/opensearch``.
    public var indexName: String

    /// - Parameters:
    ///   - scale: 100 is what Anserini's published collections were made with.
    ///   - indexName: Has to be a name that OpenSearch allows: in lower case, without blanks.
    public init(format: Format, scale: Double = 100, indexName: String = "lacuna") {
        (self.format, self.scale, self.indexName) = (format, scale, indexName)
    }

    /// Entries above which pgvector builds no HNSW index over a column.
    public static let pgvectorIndexLimit = 1000

    /// Writes all documents, in the order in which they were added. Metadata goes with ``Format/vectors`` only.
    ///
    /// - Throws: `LacunaError.invalidArgument` for a scale that is not above 0, and what `write` throws.
    public func write(_ snapshot: IndexSnapshot, to write: ([UInt8]) throws -> Void) throws {
        guard scale > 0 && scale.isFinite else {
            throw LacunaError.invalidArgument("scale", reason: "\(scale) is not above 0")
        }
        if format == .terms {
            for term in 0..<snapshot.terms.count {
                try write(Array((JSONValue.string(snapshot.terms[term]).serialized() + "\n").utf8))
            }
            return
        }
        for (number, place) in snapshot.livePlaces().enumerated() {
            let segment = snapshot.parts[place.part].segment
            let metadata = snapshot.metadata(part: place.part, document: place.document)
            let text = line(
                number, segment.ids[place.document], try segment.vectors.vector(place.document),
                segment.texts[place.document], metadata, snapshot.terms)
            try write(Array(text.utf8))
        }
    }

    private func line(
        _ number: Int, _ id: String, _ vector: SparseVector<Float>, _ text: String, _ metadata: JSONObject,
        _ terms: TermTable
    ) -> String {
        func object(_ members: [(String, JSONValue)]) -> JSONValue {
            .object(members.reduce(into: JSONObject()) { $0[$1.0] = $1.1 })
        }
        switch format {
        case .terms: return ""
        case .vectors:
            let weights = vector.map { (term: terms[$0.index], weight: $0.value) }
            return IndexedDocument(id: id, weights: weights, text: text, metadata: metadata).line
        case .anserini:
            let weights = vector.map { (terms[$0.index], Int((Double($0.value) * scale).rounded())) }
            return object([
                ("id", .string(id)), ("contents", .string(text)),
                ("vector", object(weights.filter { $0.1 > 0 }.map { ($0.0, JSONValue($0.1)) })),
            ]).serialized() + "\n"
        case .opensearch:
            let action = object([("index", object([("_index", .string(indexName)), ("_id", .string(id))]))])
            // A dot in a feature's name would be read as a path.
            let features = vector.map {
                (terms[$0.index].replacing(".", with: "\u{FF0E}"), JSONValue.number(Double($0.value)))
            }
            let source = object([("text", .string(text)), ("vector", object(features))])
            return action.serialized() + "\n" + source.serialized() + "\n"
        case .qdrant:
            let sparse = object([
                ("indices", .array(vector.map { JSONValue($0.index) })),
                ("values", .array(vector.map { .number(Double($0.value)) })),
            ])
            return object([
                ("id", JSONValue(number)), ("vector", object([("text", sparse)])),
                ("payload", object([("id", .string(id)), ("text", .string(text))])),
            ]).serialized() + "\n"
        case .pgvector:
            let entries = vector.map { "\($0.index + 1):\($0.value)" }.joined(separator: ",")
            return "\(Self.escaped(id))\t{\(entries)}/\(terms.count)\n"
        }
    }

    /// As PostgreSQL's text format wants it.
    private static func escaped(_ text: String) -> String {
        text.replacing("\\", with: "\\\\").replacing("\t", with: "\\t").replacing("\n", with: "\\n")
            .replacing("\r", with: "\\r")
    }
}
