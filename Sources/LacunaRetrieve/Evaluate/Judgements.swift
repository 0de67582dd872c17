import LacunaTensor

/// Which documents are relevant to which queries, and how much: what TREC calls qrels.
public struct Judgements: Sendable, Equatable {
    /// The judged queries, in the order in which they came.
    public private(set) var queries: [String] = []
    private var byQuery: [String: [String: Int]] = [:]

    /// No judgements; see ``judge(query:document:grade:)``.
    public init() {}

    /// Number of judged pairs.
    public var count: Int { byQuery.values.reduce(0) { $0 + $1.count } }

    /// The grades of a query's judged documents: 0 or less is not relevant, more is better. Empty for one that was not
    /// judged.
    public func grades(of query: String) -> [String: Int] { byQuery[query] ?? [:] }

    /// Adds a judgement.
    ///
    /// - Throws: `LacunaError.invalidArgument` if the pair was judged before.
    public mutating func judge(query: String, document: String, grade: Int) throws {
        if byQuery[query] == nil { queries.append(query) }
        guard byQuery[query, default: [:]].updateValue(grade, forKey: document) == nil else {
            throw LacunaError.invalidArgument(
                "judgements", reason: "query '\(query)' and document '\(document)' are judged twice")
        }
    }

    /// The judgements of some of the queries.
    public func restricted(to kept: Set<String>) -> Judgements {
        var result = Judgements()
        result.queries = queries.filter(kept.contains)
        result.byQuery = byQuery.filter { kept.contains($0.key) }
        return result
    }
}
