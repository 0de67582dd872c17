import LacunaTensor

/// How good a run is by one metric, query by query.
public struct RankingEvaluation: Sendable, Equatable {
    /// What ``values`` are values of.
    public let metric: RankingMetric
    /// The judged queries, in the order of the judgements.
    public let queries: [String]
    /// The metric of each.
    public let values: [Double]
    /// Judged queries for which the run has nothing; they count as 0.
    public let missing: Int

    /// The mean over all judged queries.
    public var mean: Double { values.isEmpty ? 0 : values.reduce(0, +) / Double(values.count) }

    /// The standard error of ``mean``.
    public var standardError: Double {
        guard values.count > 1 else { return .nan }
        let n = Double(values.count)
        let mean = mean
        return (values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / (n - 1) / n).squareRoot()
    }

    /// Evaluates a run. Queries that were not judged are left out.
    ///
    /// - Parameter threshold: The least grade that counts as relevant, for metrics that know no grades.
    public init(
        _ run: RankedRun, _ judgements: Judgements, metric: RankingMetric, ties: TieRule = .identifier,
        relevantFrom threshold: Int = 1
    ) {
        self = Self.evaluate(run, judgements, metrics: [metric], ties: ties, relevantFrom: threshold)[0]
    }

    private init(metric: RankingMetric, queries: [String], values: [Double], missing: Int) {
        (self.metric, self.queries, self.values, self.missing) = (metric, queries, values, missing)
    }

    /// Evaluates a run by several metrics at once.
    ///
    /// - Complexity: O(h log h) for h hits.
    public static func evaluate(
        _ run: RankedRun, _ judgements: Judgements, metrics: [RankingMetric], ties: TieRule = .identifier,
        relevantFrom threshold: Int = 1
    ) -> [RankingEvaluation] {
        let queries = judgements.queries
        let rankings = queries.map {
            TiedRanking(
                run.hits(of: $0), grades: judgements.grades(of: $0), ties: ties, relevantFrom: threshold)
        }
        let missing = queries.count { run.hits(of: $0).isEmpty }
        return metrics.map { metric in
            RankingEvaluation(
                metric: metric, queries: queries, values: rankings.map { $0.value(metric) }, missing: missing)
        }
    }
}
