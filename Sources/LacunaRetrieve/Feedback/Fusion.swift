import LacunaTensor

/// Puts the rankings of several systems together.
public enum Fusion {
    /// What is done to scores before they are added, for each query's list by itself.
    public enum Normalization: String, Sendable, Hashable, CaseIterable {
        /// Scores are added as they are: for systems whose scores are on one scale.
        case none
        /// `(s - (largest + smallest) / 2) / (largest - smallest)`: from -1/2 to 1/2, 0 if all are equal. Pyserini's.
        case centred
        /// `(s - smallest) / (largest - smallest)`: from 0 to 1, 0 if all are equal.
        case minMax
    }

    /// `score = a + weight · b` over the documents of both lists. A document that is missing in one of them gets that
    /// list's smallest score. A query that only one of the runs has is ranked by that one.
    ///
    /// Hang Li, Shuai Wang, Shengyao Zhuang, Ahmed Mourad, Xueguang Ma, Jimmy Lin, Guido Zuccon, "To Interpolate or
    /// not to Interpolate: PRF, Dense and Sparse Retrievers", arXiv:2205.00235.
    ///
    /// - Parameter depth: Of each list only the first so many documents are looked at; as many are returned.
    /// - Throws: `LacunaError.invalidArgument` for a weight that is not finite or a depth below 1.
    public static func interpolation(
        _ a: RankedRun, _ b: RankedRun, weight: Double, normalization: Normalization = .centred, depth: Int = 1000
    ) throws -> RankedRun {
        guard weight.isFinite else { throw LacunaError.invalidArgument("weight", reason: "\(weight) is not finite") }
        guard depth >= 1 else { throw LacunaError.invalidArgument("depth", reason: "\(depth) is below 1") }
        var result = RankedRun(name: "\(a.name)+\(b.name)")
        let known = Set(a.queries)
        for query in a.queries + b.queries.filter({ !known.contains($0) }) {
            let first = normalized(Array(a.hits(of: query).prefix(depth)), normalization)
            let second = normalized(Array(b.hits(of: query).prefix(depth)), normalization)
            let (least, leastSecond) = (first.last?.score ?? 0, second.last?.score ?? 0)
            let other = Dictionary(uniqueKeysWithValues: second.map { ($0.document, $0.score) })
            let seen = Set(first.map(\.document))
            var hits = first.map {
                RankedRun.Hit(
                    document: $0.document, score: $0.score + weight * (other[$0.document] ?? leastSecond))
            }
            hits += second.filter { !seen.contains($0.document) }.map {
                RankedRun.Hit(document: $0.document, score: least + weight * $0.score)
            }
            try result.append(query: query, hits: best(hits, depth))
        }
        return result
    }

    /// `score = Σ 1 / (constant + rank)` over the lists that have the document.
    ///
    /// Gordon Cormack, Charles Clarke, Stefan Büttcher, "Reciprocal rank fusion outperforms Condorcet and individual
    /// rank learning methods", 2009.
    ///
    /// - Throws: `LacunaError.invalidArgument` for a negative constant or a depth below 1.
    public static func reciprocalRank(
        _ runs: [RankedRun], constant: Double = 60, depth: Int = 1000
    ) throws -> RankedRun {
        guard constant >= 0 && constant.isFinite else {
            throw LacunaError.invalidArgument("constant", reason: "\(constant) is negative or not finite")
        }
        guard depth >= 1 else { throw LacunaError.invalidArgument("depth", reason: "\(depth) is below 1") }
        var result = RankedRun(name: "rrf")
        var seen: Set<String> = []
        for query in runs.flatMap(\.queries) where seen.insert(query).inserted {
            var (order, scores): ([String], [String: Double]) = ([], [:])
            for run in runs {
                for (rank, hit) in run.hits(of: query).prefix(depth).enumerated() {
                    if scores[hit.document] == nil { order.append(hit.document) }
                    scores[hit.document, default: 0] += 1 / (constant + Double(rank + 1))
                }
            }
            try result.append(
                query: query, hits: best(order.map { .init(document: $0, score: scores[$0]!) }, depth))
        }
        return result
    }

    /// The best of all lists by their scores as they are: for shards, indexes of parts of one collection whose scores compare, as
    /// those of learned vectors do. Scores of BM25 compare if the parts are much alike, as each counts its own frequencies.
    ///
    /// - Parameter depth: As many documents of each list are looked at, and returned.
    /// - Throws: `LacunaError.invalidArgument` for a depth below 1, and for a document that two lists of a query have.
    public static func union(_ shards: [RankedRun], depth: Int = 1000) throws -> RankedRun {
        guard depth >= 1 else { throw LacunaError.invalidArgument("depth", reason: "\(depth) is below 1") }
        var result = RankedRun(name: shards.first?.name ?? "lacuna")
        var seen: Set<String> = []
        for query in shards.flatMap(\.queries) where seen.insert(query).inserted {
            let hits = shards.flatMap { $0.hits(of: query).prefix(depth) }
            if let twice = repeated(hits) {
                throw LacunaError.invalidArgument(
                    "runs",
                    reason:
                        "query '\(query)' has document '\(twice)' in two of them: they are no shards of one collection")
            }
            try result.append(
                query: query, hits: best(hits, depth))
        }
        return result
    }

    private static func repeated(_ hits: [RankedRun.Hit]) -> String? {
        var seen: Set<String> = []
        return hits.first { !seen.insert($0.document).inserted }?.document
    }

    /// The first of a list that is not sorted, equal ones in the order they are in.
    private static func best(_ hits: [RankedRun.Hit], _ count: Int) -> [RankedRun.Hit] {
        Array(
            hits.enumerated().sorted {
                $0.element.score != $1.element.score ? $0.element.score > $1.element.score : $0.offset < $1.offset
            }.prefix(count).map(\.element))
    }

    static func normalized(_ hits: [RankedRun.Hit], _ normalization: Normalization) -> [RankedRun.Hit] {
        guard normalization != .none, let first = hits.first, let last = hits.last else { return hits }
        let (largest, smallest) = (first.score, last.score)
        let width = largest - smallest
        return hits.map { hit in
            let offset = normalization == .centred ? (largest + smallest) / 2 : smallest
            return .init(document: hit.document, score: width > 0 ? (hit.score - offset) / width : 0)
        }
    }
}
