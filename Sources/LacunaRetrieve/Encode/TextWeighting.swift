import LacunaIO
import LacunaSparse
import LacunaTensor

/// What turns text into weights of terms for an index, and queries for it.
public enum TextWeighting: Sendable {
    /// Counts of words, for BM25.
    case words(WordAnalyzer)
    /// A learned sparse encoder, and the directory that it came from.
    case model(SparseEncoder, path: String)

    /// What an index keeps of it.
    public var description: JSONObject {
        var object = JSONObject()
        switch self {
        case .words(let analyzer):
            object["kind"] = "words"
            object["stemmer"] = .string(analyzer.stemmer.rawValue)
            object["stop_words"] = .bool(analyzer.removesStopWords)
        case .model(let encoder, let path):
            object["kind"] = "model"
            object["path"] = .string(path)
            object["max_active_dims"] = encoder.maximumTerms.map { JSONValue($0) } ?? .null
        }
        return object
    }

    /// What an index says that its texts were turned into vectors with; nil if it was given vectors.
    ///
    /// - Parameter path: Where the model is now, if it is not where it was.
    /// - Throws: As ``SparseEncoder/load(_:)``, and `LacunaError.unsupported` for what is not understood.
    public init?(_ settings: IndexSettings, path: String? = nil) throws {
        let fields = try JSONFields(.object(settings.encoder), file: "index")
        guard let kind = try fields.optionalString("kind") else {
            guard let path else { return nil }
            self = .model(try SparseEncoder.load(path), path: path)
            return
        }
        switch kind {
        case "words":
            guard let stemmer = WordAnalyzer.Stemmer(rawValue: try fields.string("stemmer")) else {
                throw fields.failure("stemmer", "is none that is known")
            }
            self = .words(
                WordAnalyzer(stemmer: stemmer, removesStopWords: try fields.bool("stop_words", default: true)))
        case "model":
            let place = try path ?? fields.string("path")
            var encoder = try SparseEncoder.load(place)
            encoder.maximumTerms = try fields.optionalInteger("max_active_dims")
            self = .model(encoder, path: place)
        default: throw LacunaError.unsupported(file: nil, what: "an index whose texts were encoded by '\(kind)'")
        }
    }

    /// Weights of terms for each document.
    public func documents(
        _ texts: [String], progress: (any ProgressReporter)? = nil
    ) throws -> [[(term: String, weight: Float)]] {
        switch self {
        case .words(let analyzer): return texts.map(analyzer.counts)
        case .model(let encoder, _):
            let matrix = try encoder.encodeDocuments(texts, progress: progress)
            return (0..<matrix.rows).map { encoder.weights(matrix.row($0)) }
        }
    }

    /// Weights of terms for each query.
    public func queries(_ texts: [String]) throws -> [[(term: String, weight: Float)]] {
        switch self {
        case .words(let analyzer): return texts.map(analyzer.counts)
        case .model(let encoder, _):
            let matrix = try encoder.encodeQueries(texts)
            return (0..<matrix.rows).map { encoder.weights(matrix.row($0)) }
        }
    }
}
