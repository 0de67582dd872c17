import LacunaIO
import LacunaSparse
import LacunaTensor

/// Encodes JSON lines of texts to JSON lines of vectors, some at a time, in the order in which they come.
public struct EncodingStream: Sendable {
    /// What texts are encoded with.
    public let encoder: SparseEncoder
    /// Whether texts are encoded by the encoder's query side; else by the side of documents.
    public let asQueries: Bool
    /// Whether a line of the result has the text (`contents`) beside its vector.
    public let keepsTexts: Bool
    private let batch = 256

    /// 256 texts are encoded at once; no more are in memory.
    public init(_ encoder: SparseEncoder, asQueries: Bool = false, keepsTexts: Bool = true) {
        (self.encoder, self.asQueries, self.keepsTexts) = (encoder, asQueries, keepsTexts)
    }

    /// - Parameter write: Takes whole lines of the result.
    /// - Returns: The number of texts.
    /// - Throws: `LacunaError.malformed` with the line, and for a file without texts, and what encoding and writing throw.
    public func run(
        _ lines: JSONLines, progress: (any ProgressReporter)? = nil, write: ([UInt8]) throws -> Void
    ) throws -> Int {
        var count = 0
        while true {
            var waiting: [TextDocument] = []
            while waiting.count < batch, let document = try lines.next({ try TextDocument($0) }) {
                waiting.append(document)
            }
            if waiting.isEmpty {
                if count == 0 && lines.skipped == 0 { throw lines.isEmpty("texts") }
                return count
            }
            let texts = waiting.map(\.content)
            let vectors = try asQueries ? encoder.encodeQueries(texts) : encoder.encodeDocuments(texts)
            var output: [UInt8] = []
            for (row, document) in waiting.enumerated() {
                output +=
                    IndexedDocument(
                        id: document.id, weights: encoder.weights(vectors.row(row)),
                        text: keepsTexts ? document.content : "",
                        metadata: document.metadata
                    ).line.utf8
            }
            try write(output)
            count += waiting.count
            try progress.report("encoding", count, of: .max, "\(count) texts")
        }
    }
}

extension IndexedDocument {
    /// The document as a line of JsonVectorCollection, its end included.
    public var line: String {
        var object = JSONObject()
        object["id"] = .string(id)
        if !text.isEmpty { object["contents"] = .string(text) }
        var vector = JSONObject()
        for (term, weight) in weights { vector[term] = .number(Double(weight)) }
        object["vector"] = .object(vector)
        if metadata.count > 0 { object["metadata"] = .object(metadata) }
        return JSONValue.object(object).serialized() + "\n"
    }

    /// All documents, or encoded queries, of a file.
    ///
    /// - Throws: As ``init(_:)-(JSONFields)``, with the line.
    public static func readAll(_ path: String) throws -> [IndexedDocument] {
        let lines = try JSONLines(path)
        var documents: [IndexedDocument] = []
        while let document = try lines.next({ try IndexedDocument($0) }) { documents.append(document) }
        if documents.isEmpty { throw lines.isEmpty("vectors") }
        return documents
    }
}
