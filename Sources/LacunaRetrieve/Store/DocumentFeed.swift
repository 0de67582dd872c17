import LacunaIO
import LacunaSparse
import LacunaTensor

/// Puts the documents of JSON lines into an index: those with a `vector` as they are, texts as they are encoded.
public struct DocumentFeed {
    /// Documents that were added.
    public private(set) var added = 0
    /// Lines that were left out, 0 unless ``skipsBad``.
    public private(set) var skipped = 0
    /// What was wrong with the first line that was left out; nil if none was.
    public private(set) var firstSkipped: LacunaError?

    /// What texts are encoded with; nil if there must be vectors.
    public let weighting: TextWeighting?
    /// Leave out lines with something wrong instead of throwing.
    public let skipsBad: Bool
    /// Keep the texts, to show them with results.
    public let keepsTexts: Bool
    /// Texts that are encoded at once.
    private let batch = 256

    /// A feed that has added nothing; one can add several files.
    public init(weighting: TextWeighting? = nil, skipsBad: Bool = false, keepsTexts: Bool = true) {
        (self.weighting, self.skipsBad, self.keepsTexts) = (weighting, skipsBad, keepsTexts)
    }

    private enum Line {
        case ready(IndexedDocument)
        case text(TextDocument)
    }

    /// Adds a file's documents; nothing is committed.
    ///
    /// - Throws: `LacunaError.malformed` with the line for what is neither and for a file without documents, and what encoding
    ///   and adding throw.
    public mutating func add(
        _ path: String, to writer: IndexWriter, progress: (any ProgressReporter)? = nil
    ) throws {
        let lines = try JSONLines(path, skipsBad: skipsBad)
        var waiting: [TextDocument] = []
        let isEncoding = weighting != nil
        let (before, skippedBefore) = (added, skipped)
        while true {
            let line = try lines.next { fields -> Line in
                if fields.contains("vector") { return .ready(try IndexedDocument(fields)) }
                guard isEncoding else {
                    throw fields.failure("vector", "is missing, and nothing is said about how to encode texts")
                }
                return .text(try TextDocument(fields))
            }
            switch line {
            case .ready(var document)?:
                // In the order of the file: a document replaces one of the same identifier before it.
                try putTexts(&waiting, writer, lines, progress)
                if !keepsTexts { document.text = "" }
                try put(document, writer, lines)
                if added % batch == 0 { try report(progress) }
            case .text(let document)?:
                waiting.append(document)
                if waiting.count == batch { try putTexts(&waiting, writer, lines, progress) }
            case nil: try putTexts(&waiting, writer, lines, progress)
            }
            if line == nil { break }
        }
        skipped += lines.skipped
        if firstSkipped == nil { firstSkipped = lines.firstSkipped }
        if added == before && skipped == skippedBefore { throw lines.isEmpty("documents") }
    }

    private func report(_ progress: (any ProgressReporter)?) throws {
        try progress.report("reading documents", added, of: .max, "\(added) documents")
    }

    /// Encodes and adds the texts that wait.
    private mutating func putTexts(
        _ waiting: inout [TextDocument], _ writer: IndexWriter, _ lines: JSONLines, _ progress: (any ProgressReporter)?
    ) throws {
        guard let weighting, !waiting.isEmpty else { return }
        let weights = try weighting.documents(waiting.map(\.content))
        for (document, weights) in zip(waiting, weights) {
            try put(
                IndexedDocument(
                    id: document.id, weights: weights, text: keepsTexts ? document.content : "",
                    metadata: document.metadata), writer, lines)
        }
        waiting.removeAll(keepingCapacity: true)
        try report(progress)
    }

    private mutating func put(_ document: IndexedDocument, _ writer: IndexWriter, _ lines: JSONLines) throws {
        do {
            try writer.add(document)
            added += 1
        } catch let error as LacunaError {
            guard case .invalidArgument(let argument, let reason) = error else { throw error }
            let located = LacunaError.malformed(file: lines.path, location: argument, reason: reason)
            guard skipsBad else { throw located }
            skipped += 1
            if firstSkipped == nil { firstSkipped = located }
        }
    }
}

extension IndexSnapshot {
    /// The best documents for each of some queries, found by several threads.
    ///
    /// - Parameters:
    ///   - queries: Weights of terms, as ``query(_:)`` takes them.
    ///   - expansion: Makes a new query of each by what it finds; nil for none.
    /// - Throws: As ``search(_:count:filter:search:exactly:)`` and ``QueryExpansion/check()``.
    public func run(
        _ queries: [(id: String, weights: [(term: String, weight: Float)])], count: Int, name: String = "lacuna",
        filter: MetadataFilter? = nil, search: SeismicSearch? = nil, exactly: Bool = false,
        expansion: QueryExpansion? = nil, progress: (any ProgressReporter)? = nil
    ) throws -> (run: RankedRun, work: SearchWork) {
        let allowed = try allowed(by: filter)
        let vectors = try queries.map { entry in
            try query(
                expansion.map {
                    try expanded(entry.weights, by: $0, allowed: allowed, search: search, exactly: exactly)
                } ?? entry.weights)
        }
        let found = try findAll(vectors, count: count, allowed: allowed, search: search, exactly: exactly, progress)
        var run = RankedRun(name: name)
        var work = SearchWork()
        for (query, result) in zip(queries, found) {
            try run.append(
                query: query.id,
                hits: result.0.map {
                    .init(document: parts[$0.part].segment.ids[$0.document], score: Double($0.score))
                })
            work += result.1
        }
        return (run, work)
    }

    /// The best documents for each of some queries, found by several threads.
    ///
    /// - Parameters:
    ///   - queries: As ``query(_:)`` makes them.
    ///   - explains: Whether hits say which terms they were found by.
    /// - Throws: As ``search(_:count:filter:search:exactly:)``, and `LacunaError.cancelled`.
    public func search(
        all queries: [SparseVector<Float>], count: Int, filter: MetadataFilter? = nil, search: SeismicSearch? = nil,
        exactly: Bool = false, explains: Bool = true, progress: (any ProgressReporter)? = nil
    ) throws -> [(hits: [SearchHit], work: SearchWork)] {
        let found = try findAll(
            queries, count: count, allowed: allowed(by: filter), search: search, exactly: exactly, progress)
        return zip(queries, found).map { query, result in
            (result.0.map { hit($0, query, explains: explains) }, result.1)
        }
    }

    /// What part of the exact results of some queries a search as it is set finds; 1 for an exact index.
    ///
    /// - Parameters:
    ///   - queries: Nil to make some of documents, cut down to 16 terms.
    ///   - search: How a ``IndexSettings/Kind/seismic(_:)`` index is searched; nil for its settings.
    /// - Throws: As ``search(_:count:filter:search:exactly:)``, `LacunaError.invalidArgument` for no queries, and
    ///   `LacunaError.cancelled`.
    public func recall(
        of queries: [SparseVector<Float>]? = nil, count: Int = 10, search: SeismicSearch? = nil,
        progress: (any ProgressReporter)? = nil
    ) throws -> MeasuredRecall {
        let sample = try queries ?? sampleQueries(256)
        return try MeasuredRecall(
            results(sample, count: count, search: search, exactly: false, progress),
            of: results(sample, count: count, search: nil, exactly: true, progress), count: count)
    }

    private func results(
        _ queries: [SparseVector<Float>], count: Int, search: SeismicSearch?, exactly: Bool,
        _ progress: (any ProgressReporter)?
    ) throws -> [SearchResult] {
        try findAll(queries, count: count, allowed: allowed(by: nil), search: search, exactly: exactly, progress).map {
            found, work in
            SearchResult(
                documents: found.map { ScoredDocument(document: Int($0.sequence), score: $0.score) }, work: work)
        }
    }

    private func findAll(
        _ queries: [SparseVector<Float>], count: Int, allowed: [DocumentSet?], search: SeismicSearch?, exactly: Bool,
        _ progress: (any ProgressReporter)?
    ) throws -> [([Found], SearchWork)] {
        var results: [([Found], SearchWork)] = []
        results.reserveCapacity(queries.count)
        for start in stride(from: 0, to: queries.count, by: 256) {
            try progress.report("searching", start, of: queries.count)
            let size = min(256, queries.count - start)
            let found = Locked([Result<([Found], SearchWork), any Error>?](repeating: nil, count: size))
            Parallel.forEach(size) { offset in
                let result = Result {
                    try find(
                        queries[start + offset], count: count, allowed: allowed, search: search, exactly: exactly)
                }
                found.withLock { $0[offset] = result }
            }
            // What is wrong with all of them is found out with the first.
            results += try found.withLock { $0 }.map { try $0!.get() }
        }
        try progress.report("searching", queries.count, of: queries.count)
        return results
    }

    /// Chooses how a ``IndexSettings/Kind/seismic(_:)`` index is searched for a wanted recall: see ``RecallTuning``.
    ///
    /// - Parameter queries: Vectors, at least 4; nil to make some of documents, cut down to 16 terms.
    /// - Throws: As ``RecallTuning/init(_:goal:queries:count:progress:)``.
    public func tuned(
        recall goal: Double, queries: [SparseVector<Float>]? = nil, count: Int = 10,
        progress: (any ProgressReporter)? = nil
    ) throws -> RecallTuning {
        let sample = try queries ?? sampleQueries(256)
        let matrix = try SparseMatrix(
            columns: terms.count, rows: sample.map { $0.map { (column: $0.index, value: $0.value) } })
        func found(_ queries: SparseMatrix<Float>, _ search: SeismicSearch?, exactly: Bool) throws -> [SearchResult] {
            try results(
                (0..<queries.rows).map { queries.row($0) }, count: count, search: search, exactly: exactly, nil)
        }
        return try RecallTuning(
            goal: goal, queries: matrix, count: count, usesNeighbours: settings.search.usesNeighbours,
            progress: progress, exact: { try found($0, nil, exactly: true) },
            search: { try found($1, $0, exactly: false) })
    }

    /// Documents, evenly spaced, cut down to their largest weights.
    private func sampleQueries(_ count: Int) throws -> [SparseVector<Float>] {
        let places = livePlaces()
        return try stride(from: 0, to: places.count, by: max(1, places.count / count)).prefix(count).map { number in
            let place = places[number]
            let short = try parts[place.part].segment.vectors.vector(place.document).largest(16)
            return try SparseVector(count: terms.count, entries: Array(short))
        }
    }
}
