import LacunaSparse
import LacunaTensor

/// Pseudo relevance feedback in an index directory: the documents that a query finds first give it further terms, and it is searched
/// for again.
public struct QueryExpansion: Sendable, Equatable {
    /// How query and documents are put together.
    public var feedback: Feedback
    /// Documents that are looked at, 1 or more.
    public var documents: Int
    /// Terms of the new query, at most; 1 or more.
    public var terms: Int

    /// RM3 on the index's weights: three tenths of the new query come from the documents, unless it is said.
    public init(_ feedback: Feedback = .rocchio(alpha: 0.7, beta: 0.3), documents: Int = 10, terms: Int = 40) {
        (self.feedback, self.documents, self.terms) = (feedback, documents, terms)
    }

    /// - Throws: `LacunaError.invalidArgument` for numbers out of range.
    public func check() throws {
        try feedback.check()
        guard documents >= 1 else {
            throw LacunaError.invalidArgument("feedback documents", reason: "\(documents) is below 1")
        }
        guard terms >= 1 else { throw LacunaError.invalidArgument("feedback terms", reason: "\(terms) is below 1") }
    }
}

extension IndexSnapshot {
    /// The weights of a query and of what it finds, as ``query(_:)`` takes them. A query that finds nothing stays as it was.
    ///
    /// With BM25 the weights count words, and those of documents are their saturated counts: how rare a term is comes to both when the
    /// query is made of them.
    ///
    /// - Throws: As ``QueryExpansion/check()``, ``query(_:)`` and ``search(_:count:filter:search:exactly:)``.
    public func expanded(
        _ weights: [(term: String, weight: Float)], by expansion: QueryExpansion, filter: MetadataFilter? = nil,
        search: SeismicSearch? = nil, exactly: Bool = false
    ) throws -> [(term: String, weight: Float)] {
        try expanded(weights, by: expansion, allowed: allowed(by: filter), search: search, exactly: exactly)
    }

    /// - Parameter allowed: As ``allowed(by:)`` has them.
    func expanded(
        _ weights: [(term: String, weight: Float)], by expansion: QueryExpansion, allowed: [DocumentSet?],
        search: SeismicSearch?, exactly: Bool
    ) throws -> [(term: String, weight: Float)] {
        try expansion.check()
        let (found, _) = try find(
            query(weights), count: expansion.documents, allowed: allowed, search: search, exactly: exactly)
        if found.isEmpty { return weights }
        let own = try SparseVector(
            count: terms.count,
            entries: weights.compactMap { entry in
                terms.index(of: entry.term).map { (index: $0, value: entry.weight) }
            })
        let documents = try found.map { hit in
            let vector = try parts[hit.part].segment.vectors.vector(hit.document)
            return try SparseVector(count: terms.count, entries: vector.map { (index: $0.index, value: $0.value) })
        }
        return try expansion.feedback.query(own, documents: documents, terms: expansion.terms).map {
            (terms[$0.index], $0.value)
        }
    }
}
