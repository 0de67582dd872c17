import LacunaSparse
import LacunaTensor

/// What part of the true result an approximate search finds, measured on some queries.
public struct MeasuredRecall: Sendable, Equatable {
    /// The depth of the results.
    public let count: Int
    /// Number of queries that were measured.
    public let queries: Int
    /// The mean recall of a query, from 0 to 1.
    public let mean: Double
    /// The standard error of ``mean``; not a number for a single query.
    public let standardError: Double
    /// Documents scored for a query, on average.
    public let documentsScored: Double

    /// The recall of each query: the part of its exact result whose scores the approximate one reaches. Which of
    /// several documents of equal score are found makes no difference.
    ///
    /// - Throws: `LacunaError.invalidArgument` for no queries, or other numbers of results.
    public init(_ found: [SearchResult], of exact: [SearchResult], count: Int) throws {
        guard !found.isEmpty, exact.count == found.count else {
            throw LacunaError.invalidArgument(
                "queries", reason: "\(exact.count) exact and \(found.count) approximate results; as many are needed")
        }
        let recalls = zip(found, exact).map { Self.recall($0.documents, of: $1.documents) }
        let n = Double(recalls.count)
        let mean = recalls.reduce(0, +) / n
        self.mean = mean
        standardError =
            n > 1 ? (recalls.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / (n - 1) / n).squareRoot() : .nan
        documentsScored = found.reduce(0) { $0 + Double($1.work.documentsScored) } / n
        (self.count, queries) = (count, recalls.count)
    }

    /// The same for an index that is searched here.
    ///
    /// - Throws: As ``SparseIndex/search(_:count:filter:progress:)`` and ``init(_:of:count:)``.
    public init(
        _ index: some SparseIndex, exact: [SearchResult], queries: SparseMatrix<Float>, count: Int
    ) throws {
        try self.init(index.search(queries, count: count), of: exact, count: count)
    }

    /// 1 for a query without results.
    static func recall(_ found: [ScoredDocument], of exact: [ScoredDocument]) -> Double {
        guard let last = exact.last else { return 1 }
        return Double(min(found.count { $0.score >= last.score }, exact.count)) / Double(exact.count)
    }
}

/// Chooses how a ``SeismicIndex`` is searched, for a wanted recall.
public struct RecallTuning: Sendable, Equatable {
    /// The setting that scores the fewest documents among those that reach the goal; the one of the best recall if none
    /// does.
    public let search: SeismicSearch
    /// Whether the goal was reached on the queries that the setting was chosen by.
    public let reachesGoal: Bool
    /// Measured on other queries than those by which the setting was chosen.
    public let measured: MeasuredRecall

    /// The values of ``SeismicSearch/queryCut`` that are tried; the last walks all lists.
    public static let queryCuts = [3, 5, 8, 12, 20, .max]
    /// The values of ``SeismicSearch/heapFactor`` that are tried with each of ``queryCuts``.
    public static let heapFactors: [Float] = [1, 0.9, 0.8, 0.7, 0.6, 0.4]

    /// - Parameters:
    ///   - goal: The wanted recall at `count`, above 0 and at most 1.
    ///   - queries: At least 4. Every other one chooses, the others measure what was chosen.
    ///   - exact: The exact results of queries.
    ///   - search: The results with a setting.
    /// - Throws: `LacunaError.invalidArgument` for a goal out of range or too few queries, and what the searches throw.
    init(
        goal: Double, queries: SparseMatrix<Float>, count: Int, usesNeighbours: Bool,
        progress: (any ProgressReporter)?, exact: (SparseMatrix<Float>) throws -> [SearchResult],
        search: (SeismicSearch, SparseMatrix<Float>) throws -> [SearchResult]
    ) throws {
        guard goal > 0 && goal <= 1 else {
            throw LacunaError.invalidArgument("recall", reason: "\(goal) is not above 0 and at most 1")
        }
        guard queries.rows >= 4 else {
            throw LacunaError.invalidArgument("queries", reason: "\(queries.rows) are too few; 4 are the least")
        }
        let choosing = queries.selecting(rows: Array(stride(from: 0, to: queries.rows, by: 2)))
        let measuring = queries.selecting(rows: Array(stride(from: 1, to: queries.rows, by: 2)))
        let truth = try exact(choosing)
        var best: (search: SeismicSearch, recall: MeasuredRecall)?
        let total = Self.queryCuts.count * Self.heapFactors.count
        var done = 0
        for cut in Self.queryCuts {
            for factor in Self.heapFactors {
                try progress.report("measuring recall", done, of: total)
                done += 1
                let setting = SeismicSearch(queryCut: cut, heapFactor: factor, usesNeighbours: usesNeighbours)
                let recall = try MeasuredRecall(search(setting, choosing), of: truth, count: count)
                guard let current = best?.recall else {
                    best = (setting, recall)
                    continue
                }
                let isBetter =
                    recall.mean >= goal
                    ? current.mean < goal || recall.documentsScored < current.documentsScored
                    : current.mean < goal && recall.mean > current.mean
                if isBetter { best = (setting, recall) }
            }
        }
        try progress.report("measuring recall", total, of: total)
        self.search = best!.search
        reachesGoal = best!.recall.mean >= goal
        measured = try MeasuredRecall(search(self.search, measuring), of: exact(measuring), count: count)
    }

    /// Tunes the search of an index in memory.
    ///
    /// - Parameter queries: At least 4. Every other one chooses, the others measure what was chosen.
    /// - Throws: `LacunaError.invalidArgument` for a goal that is not above 0 and at most 1 or too few queries, and as
    ///   ``SparseIndex/search(_:count:filter:progress:)``.
    public init(
        _ index: SeismicIndex, goal: Double, queries: SparseMatrix<Float>, count: Int,
        progress: (any ProgressReporter)? = nil
    ) throws {
        let oracle = BruteForceIndex(index.vectors)
        try self.init(
            goal: goal, queries: queries, count: count, usesNeighbours: index.search.usesNeighbours,
            progress: progress, exact: { try oracle.search($0, count: count) },
            search: { setting, queries in
                var tried = index
                tried.search = setting
                return try tried.search(queries, count: count)
            })
    }

    /// Queries made of documents, where there are no real ones: evenly spaced documents, cut down to their largest
    /// weights.
    public static func sampleQueries(
        _ vectors: DocumentVectors, count: Int, terms: Int = 16
    ) throws -> SparseMatrix<Float> {
        let step = max(1, vectors.documentCount / max(count, 1))
        let rows = try stride(from: 0, to: vectors.documentCount, by: step).prefix(count).map { document in
            try vectors.vector(document).largest(terms).map { (column: $0.index, value: $0.value) }
        }
        return try SparseMatrix(columns: vectors.termCount, rows: rows)
    }
}
