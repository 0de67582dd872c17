import LacunaIO
import LacunaRetrieve

/// The body of `POST /search`.
struct SearchRequest: Sendable {
    /// What is searched for.
    enum Query: Sendable {
        case text(String)
        /// Of terms: encoded already.
        case weights([(term: String, weight: Float)])
    }

    let query: Query
    /// Results, 1 to ``SearchService/mostHits``.
    let count: Int
    /// Only documents whose metadata pass.
    let filter: MetadataFilter?
    /// Whether every document is scored.
    let isExact: Bool
    /// Of an approximate index, for this search.
    let queryCut: Int?
    let heapFactor: Double?

    /// Terms of a query, at most.
    static let mostTerms = 4096

    /// - Throws: ``APIError`` with status 400 that names the parameter.
    init(_ fields: RequestFields, takesText: Bool) throws {
        try fields.requireKnown(.search)
        switch (try fields.string("query"), try fields.fields("vector")) {
        case (let text?, nil):
            guard takesText else {
                throw APIError.unsupported("query", "The index does not say what encodes a text; give a 'vector'.")
            }
            query = .text(text)
        case (nil, let vector?):
            guard vector.object.count <= Self.mostTerms else {
                throw APIError.invalid(
                    "vector", "'vector' has \(vector.object.count) terms; \(Self.mostTerms) are taken.")
            }
            query = .weights(
                try vector.object.map { member in
                    (member.key, Float(try vector.number(member.key, in: 0...1e30) ?? 0))
                })
        case (nil, nil): throw fields.missing("query")
        default: throw APIError.invalid("vector", "'query' and 'vector' are given; one of them is searched for.")
        }
        count = try fields.integer("k", in: 1...SearchService.mostHits) ?? 10
        do {
            filter = try fields.string("filter").map { try MetadataFilter($0) }
        } catch {
            throw APIError(error, parameter: "filter")
        }
        isExact = try fields.bool("exact") ?? false
        queryCut = try fields.integer("query_cut", in: 1...1_000_000)
        heapFactor = try fields.number("heap_factor", in: 0...100)
    }
}
