import LacunaTensor

/// What a system found for each of some queries: what TREC calls a run.
public struct RankedRun: Sendable, Equatable {
    /// A document that a system found for a query, and how well it fits by the system's own measure.
    public struct Hit: Sendable, Hashable {
        /// The document's identifier.
        public var document: String
        /// Finite; larger is better. Scores compare within a query only.
        public var score: Double

        /// A hit, which is checked when it is put into a run.
        public init(document: String, score: Double) {
            (self.document, self.score) = (document, score)
        }
    }

    /// A name for the system, the last column of a TREC file.
    public var name: String
    /// The queries, in the order in which they came.
    public private(set) var queries: [String] = []
    private var byQuery: [String: [Hit]] = [:]

    /// A run without queries; `name` must not have blanks in it if it is to be written.
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
