import LacunaIO
import LacunaLearn
import LacunaSparse
import LacunaTensor

/// What says how well documents fit the queries that a retriever is trained on.
enum RetrievalTeacher: Sendable {
    /// Inner products of sparse vectors of all queries and documents.
    case sparse(queries: SparseMatrix<Float>, documents: SparseMatrix<Float>)
    /// Inner products of dense ones.
    case dense(queries: Tensor<Float>, documents: Tensor<Float>)
    /// What the file of the pairs says.
    case given

    /// What a configuration calls BM25 and the scores of the file; anything else is a folder.
    static let (words, file) = ("bm25", "file")

    /// - Throws: As loading the encoder.
    init(
        _ name: String, path: (String) throws -> String, _ data: RetrievalExamples,
        progress: (any ProgressReporter)? = nil
    ) throws {
        let queries = data.examples.map(\.query)
        switch name {
        case Self.file: self = .given
        case Self.words:
            let words = try WordVectors(data.documents)
            self = .sparse(queries: try words.queries(queries), documents: words.weights)
        default:
            let place = try path(name)
            if try Self.isDense(place) {
                let encoder = try DenseEncoder.load(place)
                self = .dense(
                    queries: try encoder.encode(queries, progress: progress),
                    documents: try encoder.encode(data.documents, progress: progress))
            } else {
                let encoder = try SparseEncoder.load(place)
                self = .sparse(
                    queries: try encoder.encodeQueries(queries, progress: progress),
                    documents: try encoder.encodeDocuments(data.documents, progress: progress))
            }
        }
    }

    /// Whether a folder holds an encoder to dense vectors: one with a module for pooling or, without a list of modules, a network
    /// without a head for masked tokens.
    private static func isDense(_ directory: String) throws -> Bool {
        if FileSystem.exists(FileSystem.join(directory, ModuleList.name)) {
            return try ModuleList(directory).entries.contains { $0.kind == "Pooling" }
        }
        if SparseEncoder.isRun(directory) { return false }
        return try !TensorFiles.open(directory).contains("cls.predictions.transform.dense.weight")
    }

    /// What it thinks of documents for an example's query.
    ///
    /// - Parameters:
    ///   - example: The place of the example.
    ///   - documents: Places of documents.
    ///   - given: What the file says of the same documents, for ``given``.
    func scores(_ example: Int, _ documents: [Int], given: [Float]) -> [Float] {
        switch self {
        case .sparse(let queries, let vectors):
            let query = queries.row(example)
            return documents.map { query.dot(vectors.row($0)) }
        case .dense(let queries, let vectors):
            return documents.map { document in
                (0..<queries.columns).reduce(0) { $0 + queries[example, $1] * vectors[document, $1] }
            }
        case .given: return given
        }
    }
}
