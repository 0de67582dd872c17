import LacunaTensor

/// Dense vectors of documents, all of which are compared with a query: exact, for collections that fusion and feedback
/// are tried on.
public struct DenseIndex: Sendable {
    /// [documents, width].
    public let vectors: Tensor<Float>

    /// An index that is its vectors: nothing is built.
    public init(_ vectors: Tensor<Float>) { self.vectors = vectors }

    /// Number of documents that can be found.
    public var documentCount: Int { vectors.rows }

    /// The documents of the largest inner products with a query, of equal ones the lower number first.
    ///
    /// - Throws: `LacunaError.invalidArgument` for a query of another width or a count below 1.
    public func search(_ query: [Float], count: Int) throws -> [ScoredDocument] {
        guard count >= 1 else { throw LacunaError.invalidArgument("k", reason: "\(count) is below 1") }
        guard query.count == vectors.columns else {
            throw LacunaError.invalidArgument(
                "query", reason: "\(query.count) entries, the documents have \(vectors.columns)")
        }
        if documentCount == 0 { return [] }
        var top = TopDocuments(min(count, documentCount), floor: -.infinity)
        let width = vectors.columns
        vectors.withPointer { rows in
            for document in 0..<documentCount {
                let x = rows + document * width
                var sum: Float = 0
                for j in 0..<width { sum += x[j] * query[j] }
                top.insert(document, score: sum)
            }
        }
        return top.sorted()
    }
}
