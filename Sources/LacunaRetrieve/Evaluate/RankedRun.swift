import LacunaTensor

/// What a system found for each of some queries: what TREC calls a run.
public struct RankedRun: Sendable, Equatable {
    public struct Hit: Sendable, Hashable {
        public var document: String
        public var score: Double

        public init(document: String, score: Double) {
            (self.document, self.score) = (document, score)
        }
    }

    /// A name for the system, the last column of a TREC file.
    public var name: String
    /// The queries, in the order in which they came.
    public private(set) var queries: [String] = []
    private var byQuery: [String: [Hit]] = [:]

    public init(name: String = "lacuna") { self.name = name }

    /// The hits of a query, best first: descending by score, of equal scores in the order given. Empty for a query
    /// that has none.
    public func hits(of query: String) -> [Hit] { byQuery[query] ?? [] }

    /// Sets the hits of a query. They are sorted by score.
    ///
    /// - Throws: `LacunaError.invalidArgument` for a query that is there already, a document that comes twice and a
    ///   score that is not finite.
    public mutating func append(query: String, hits: [Hit]) throws {
        guard byQuery[query] == nil else {
            throw LacunaError.invalidArgument("run", reason: "query '\(query)' comes twice")
        }
        var seen: Set<String> = []
        for hit in hits {
            guard seen.insert(hit.document).inserted else {
                throw LacunaError.invalidArgument(
                    "run", reason: "query '\(query)' has document '\(hit.document)' twice")
            }
            guard hit.score.isFinite else {
                throw LacunaError.invalidArgument(
                    "run", reason: "query '\(query)', document '\(hit.document)': the score is not finite")
            }
        }
        queries.append(query)
        byQuery[query] = hits.enumerated().sorted {
            $0.element.score != $1.element.score ? $0.element.score > $1.element.score : $0.offset < $1.offset
        }.map(\.element)
    }
}
