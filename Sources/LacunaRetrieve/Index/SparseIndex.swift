import LacunaSparse
import LacunaTensor

/// What a search has done besides its result.
public struct SearchWork: Sendable, Hashable {
    /// Documents whose whole score was computed.
    public var documentsScored = 0
    /// Entries of inverted lists (or of summaries) that were read.
    public var postingsRead = 0
    /// Blocks that were passed over because their bound was too low.
    public var blocksSkipped = 0

    /// No work.
    public init() {}

    /// Adds up the work of two searches, such as those of two segments.
    public static func += (a: inout SearchWork, b: SearchWork) {
        a.documentsScored += b.documentsScored
        a.postingsRead += b.postingsRead
        a.blocksSkipped += b.blocksSkipped
    }
}

/// What a search found, and what it took to find it.
public struct SearchResult: Sendable, Equatable {
    /// Best first; of equal scores the document of lower number first. Only documents that share a term with the query.
    public var documents: [ScoredDocument]
    /// What was read and scored.
    public var work: SearchWork

    /// A result of an index of one's own.
    public init(documents: [ScoredDocument], work: SearchWork) {
        (self.documents, self.work) = (documents, work)
    }
}

/// Finds the documents whose vectors have the largest inner products with a query's.
///
/// Documents are numbered from 0. All indexes compute a document's score by the same additions in the same order, so
/// that two exact ones give the same documents with the same scores to the last bit.
public protocol SparseIndex: Sendable {
    /// Number of documents; they are numbered below it.
    var documentCount: Int { get }
    /// Length of the vectors.
    var termCount: Int { get }
    /// Bytes of everything that the index holds.
    var byteCount: Int { get }

    /// Puts the best documents into `top`.
    ///
    /// - Parameters:
    ///   - query: Weights at ascending terms below ``termCount``, none negative:
    ///     ``SparseIndex/search(_:count:filter:)`` has checked them.
    ///   - filter: Only these documents; nil for all.
    ///   - scratch: Working memory that no other thread uses.
    func collect(
        _ query: SparseVector<Float>, into top: inout TopDocuments, filter: DocumentSet?, scratch: SearchScratch
    ) -> SearchWork
}

extension SparseIndex {
    /// - Throws: `LacunaError.invalidArgument` for a query of another length, weights that are negative or not
    ///   finite, a count below 1 or a filter for another number of documents.
    public func check(_ query: SparseVector<Float>, count: Int, filter: DocumentSet? = nil) throws {
        func fail(_ argument: String, _ reason: String) -> LacunaError { .invalidArgument(argument, reason: reason) }
        guard count >= 1 else { throw fail("k", "\(count) is below 1") }
        guard query.count == termCount else {
            throw fail("query", "has \(query.count) entries, the index \(termCount) terms")
        }
        try query.forEachEntry { term, weight in
            guard weight.isFinite && weight >= 0 else {
                throw fail("query", "the weight \(weight) of term \(term) is negative or not finite")
            }
        }
        if let filter, filter.capacity != documentCount {
            throw fail("filter", "is for \(filter.capacity) documents, the index has \(documentCount)")
        }
    }

    /// The best documents for a query.
    ///
    /// - Throws: As ``check(_:count:filter:)``.
    public func search(_ query: SparseVector<Float>, count: Int, filter: DocumentSet? = nil) throws -> SearchResult {
        try check(query, count: count, filter: filter)
        return SearchScratch.withOne { search(checked: query, count: count, filter: filter, scratch: $0) }
    }

    private func search(
        checked query: SparseVector<Float>, count: Int, filter: DocumentSet?, scratch: SearchScratch
    ) -> SearchResult {
        var top = TopDocuments(min(count, max(documentCount, 1)))
        let work = collect(query, into: &top, filter: filter, scratch: scratch)
        return SearchResult(documents: top.sorted(), work: work)
    }

    /// The best documents for each row of a matrix, found by several threads.
    ///
    /// - Throws: As ``check(_:count:filter:)``, and `LacunaError.cancelled`.
    public func search(
        _ queries: SparseMatrix<Float>, count: Int, filter: DocumentSet? = nil,
        progress: (any ProgressReporter)? = nil
    ) throws -> [SearchResult] {
        for row in 0..<queries.rows { try check(queries.row(row), count: count, filter: filter) }
        var results: [SearchResult] = []
        results.reserveCapacity(queries.rows)
        // In pieces, so that progress is seen and the work can be stopped.
        for start in stride(from: 0, to: queries.rows, by: 1024) {
            try progress.report("searching", start, of: queries.rows)
            let rows = start..<min(start + 1024, queries.rows)
            let part = Locked([SearchResult?](repeating: nil, count: rows.count))
            Parallel.forRanges(rows.count, grain: 8) { range in
                SearchScratch.withOne { scratch in
                    for i in range {
                        let result = search(
                            checked: queries.row(rows.lowerBound + i), count: count, filter: filter, scratch: scratch)
                        part.withLock { $0[i] = result }
                    }
                }
            }
            results += part.withLock { $0.map { $0! } }
        }
        try progress.report("searching", queries.rows, of: queries.rows)
        return results
    }
}

/// Working memory of a search, kept from one to the next.
public final class SearchScratch {
    private var denseQuery = Buffer<Float>(repeating: 0, count: 0)
    private var accumulators = Buffer<Float>(repeating: 0, count: 0)
    private var blocks = Buffer<Float>(repeating: 0, count: 0)
    private var stamps = Buffer<UInt32>(repeating: 0, count: 0)
    private var stamp: UInt32 = 0

    /// Takes no memory before the first search.
    public init() {}

    private static let idle = Locked<[SearchScratch]>([])

    /// Calls `body` with working memory that nobody else uses meanwhile.
    static func withOne<Result>(_ body: (SearchScratch) throws -> Result) rethrows -> Result {
        let scratch = idle.withLock { $0.popLast() } ?? SearchScratch()
        defer { idle.withLock { $0.append(scratch) } }
        return try body(scratch)
    }

    /// Calls `body` with the query spread out over all terms.
    func withDense<Result>(
        _ query: SparseVector<Float>, _ body: (UnsafePointer<Float>) throws -> Result
    ) rethrows -> Result {
        if denseQuery.count < query.count { denseQuery = Buffer(repeating: 0, count: query.count) }
        let dense = denseQuery
        query.forEachEntry { dense.pointer[$0] = $1 }
        defer { query.forEachEntry { index, _ in dense.pointer[index] = 0 } }
        return try body(UnsafePointer(dense.pointer))
    }

    /// Zeros; to be left as zeros.
    func zeros(_ count: Int) -> UnsafeMutablePointer<Float> {
        if accumulators.count < count { accumulators = Buffer(repeating: 0, count: count) }
        return accumulators.pointer
    }

    /// Memory of any content.
    func blockScores(_ count: Int) -> UnsafeMutablePointer<Float> {
        if blocks.count < count { blocks = Buffer(uninitialized: count) }
        return blocks.pointer
    }

    /// Marks for documents, and the mark that none of them has yet.
    func freshMarks(_ count: Int) -> (UnsafeMutablePointer<UInt32>, mark: UInt32) {
        if stamps.count < count || stamp == .max {
            stamps = Buffer(repeating: 0, count: max(count, stamps.count))
            stamp = 0
        }
        stamp += 1
        return (stamps.pointer, stamp)
    }
}
