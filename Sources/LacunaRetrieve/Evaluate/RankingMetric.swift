import LacunaTensor

/// A measure of how good one query's ranking is, from 0 to 1.
///
/// Spelt as in the field: `nDCG@10`, `RR@10` (or `MRR@10`), `AP` (or `MAP`), `R@100`, `P@5`, `Success@5`; without
/// `@k`, over the whole ranking.
public struct RankingMetric: Sendable, Hashable, CustomStringConvertible {
    /// What is measured, without the cutoff. Raw values are the field's spellings.
    public enum Kind: String, Sendable, Hashable, CaseIterable {
        /// Σ gain / log₂(rank + 1) over the first k, divided by the same sum of the best ranking there could be. The
        /// gain is the grade; of what is not judged, or graded below 0, it is 0. (Järvelin and Kekäläinen, "Cumulated
        /// gain-based evaluation of IR techniques", 2002, with linear gains, as `trec_eval` has it.)
        case nDCG
        /// 1 / rank of the first relevant document among the first k, else 0.
        case reciprocalRank = "RR"
        /// Mean over the relevant documents of the precision at their ranks; 0 for those not among the first k.
        case averagePrecision = "AP"
        /// The part of the relevant documents that is among the first k.
        case recall = "R"
        /// The part of the first k that is relevant; missing documents count as not relevant.
        case precision = "P"
        /// 1 if there is a relevant document among the first k, else 0.
        case success = "Success"
    }

    /// What is measured.
    public var kind: Kind
    /// Only the first so many documents count; nil for all.
    public var cutoff: Int?

    /// - Throws: `LacunaError.invalidArgument` for a cutoff below 1, and for precision without one.
    public init(_ kind: Kind, at cutoff: Int? = nil) throws {
        if let cutoff, cutoff < 1 {
            throw LacunaError.invalidArgument("metric", reason: "\(kind.rawValue)@\(cutoff): the cutoff is below 1")
        }
        if kind == .precision && cutoff == nil {
            throw LacunaError.invalidArgument("metric", reason: "P needs a cutoff, as in P@10")
        }
        (self.kind, self.cutoff) = (kind, cutoff)
    }

    /// From its spelling; upper and lower case are the same.
    ///
    /// - Throws: `LacunaError.invalidArgument` for what is no metric.
    public init(_ text: String) throws {
        let parts = text.split(separator: "@", omittingEmptySubsequences: false)
        let names: [String: Kind] = [
            "ndcg": .nDCG, "rr": .reciprocalRank, "mrr": .reciprocalRank, "ap": .averagePrecision,
            "map": .averagePrecision, "r": .recall, "recall": .recall, "p": .precision, "precision": .precision,
            "success": .success,
        ]
        guard let kind = names[parts[0].lowercased()], parts.count <= 2, parts.count == 1 || Int(parts[1]) != nil else {
            throw LacunaError.invalidArgument(
                "metric",
                reason: "'\(text)' is none; there are nDCG@k, MRR@k, MAP, Recall@k, P@k and Success@k"
                    + Suggestion.phrase(
                        parts[0].lowercased(), among: ["nDCG", "MRR", "MAP", "Recall", "Precision", "Success"]))
        }
        try self.init(kind, at: parts.count == 2 ? Int(parts[1]) : nil)
    }

    public var description: String { kind.rawValue + (cutoff.map { "@\($0)" } ?? "") }
}

/// What documents of equal score count as.
public enum TieRule: String, Sendable, Hashable, CaseIterable {
    /// Ordered by their identifiers, the largest first: as `trec_eval`, and all that is built on it, does.
    case identifier
    /// The mean over all orders of the documents of equal score, so that nothing is won by luck of a name. (McSherry
    /// and Najork, "Computing information retrieval performance measures efficiently in the presence of tied scores",
    /// 2008.)
    case average
}

/// One query's ranking as the metrics see it: groups of documents whose order is left open, best first.
struct TiedRanking {
    struct Group {
        var count: Int
        var relevant: Int
        var gain: Double
    }

    var groups: [Group] = []
    /// The gains of all judged documents, descending.
    let idealGains: [Double]
    /// Number of relevant documents there are.
    let relevantCount: Int

    /// - Parameter threshold: The least grade that counts as relevant, for metrics that know no grades.
    init(_ hits: [RankedRun.Hit], grades: [String: Int], ties: TieRule, relevantFrom threshold: Int) {
        idealGains = grades.values.filter { $0 > 0 }.sorted(by: >).map(Double.init)
        relevantCount = grades.values.count { $0 >= threshold }
        // trec_eval keeps scores in single precision.
        var ranked = hits.map { (document: $0.document, score: Float($0.score)) }
        ranked.sort { a, b in
            if a.score != b.score { return a.score > b.score }
            return b.document.utf8.lexicographicallyPrecedes(a.document.utf8)
        }
        var last: Float?
        for hit in ranked {
            let grade = grades[hit.document]
            let (isRelevant, gain) = (grade.map { $0 >= threshold } ?? false, Double(max(grade ?? 0, 0)))
            if ties == .identifier || last != hit.score { groups.append(Group(count: 0, relevant: 0, gain: 0)) }
            groups[groups.count - 1].count += 1
            groups[groups.count - 1].relevant += isRelevant ? 1 : 0
            groups[groups.count - 1].gain += gain
            last = hit.score
        }
    }

    /// Calls `body` with every group, the number of documents before it and how many of its ranks are within the
    /// cutoff.
    private func forEachGroup(_ cutoff: Int?, _ body: (Group, _ before: Int, _ within: Int) -> Void) {
        var before = 0
        for group in groups {
            let within = min(group.count, (cutoff ?? .max) - before)
            if within <= 0 { return }
            body(group, before, within)
            before += group.count
        }
    }

    private static func discount(_ rank: Int) -> Double { logarithm(2) / logarithm(Double(rank + 1)) }

    func value(_ metric: RankingMetric) -> Double {
        let cutoff = metric.cutoff
        switch metric.kind {
        case .nDCG:
            let ideal = idealGains.prefix(cutoff ?? .max).enumerated().reduce(0) {
                $0 + $1.element * Self.discount($1.offset + 1)
            }
            guard ideal > 0 else { return 0 }
            var sum = 0.0
            forEachGroup(cutoff) { group, before, within in
                for i in 1...within { sum += group.gain / Double(group.count) * Self.discount(before + i) }
            }
            return sum / ideal
        case .reciprocalRank, .success:
            // The chance that no document before this rank is relevant, times that of the one at it.
            var (value, none) = (0.0, 1.0)
            forEachGroup(cutoff) { group, before, within in
                for i in 1...within {
                    let chance = Double(group.relevant) / Double(group.count - i + 1)
                    let first = none * min(chance, 1)
                    value += metric.kind == .success ? first : first / Double(before + i)
                    none -= first
                }
                // The relevant documents may all lie beyond the cutoff, but not beyond the group.
                if within == group.count && group.relevant > 0 { none = 0 }
            }
            return value
        case .averagePrecision:
            guard relevantCount > 0 else { return 0 }
            var (sum, seen) = (0.0, 0.0)
            forEachGroup(cutoff) { group, before, within in
                let (n, r) = (Double(group.count), Double(group.relevant))
                for i in 1...within {
                    // Relevant ones expected above rank i of the group, given that the one at i is relevant.
                    let above = n > 1 ? Double(i - 1) * (r - 1) / (n - 1) : 0
                    sum += r / n * (seen + above + 1) / Double(before + i)
                }
                seen += r
            }
            return sum / Double(relevantCount)
        case .recall, .precision:
            var found = 0.0
            forEachGroup(cutoff) { group, _, within in
                found += Double(group.relevant) * Double(within) / Double(group.count)
            }
            if metric.kind == .precision { return found / Double(cutoff!) }
            return relevantCount > 0 ? found / Double(relevantCount) : 0
        }
    }
}
