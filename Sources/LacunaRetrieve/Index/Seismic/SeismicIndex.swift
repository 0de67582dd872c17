import LacunaSparse
import LacunaTensor

/// An approximate index for learned sparse vectors: lists cut into blocks of similar documents, whose summaries say
/// which of them are worth scoring.
///
/// Sebastian Bruch, Franco Maria Nardini, Cosimo Rulli, Rossano Venturini, "Efficient Inverted Indexes for Approximate
/// Retrieval over Learned Sparse Representations", arXiv:2404.18812.
///
/// Of every term's list the largest postings are kept and put into blocks. A block's summary φ holds the largest
/// weight of each term in it (as far as those make up a part of the total), in steps rounded up. A query q walks the
/// lists of its largest weights; the documents of a block are scored if `q·φ ≥ heap_factor · (k-th best score so
/// far)`. With nothing pruned (``SeismicSettings/exhaustive`` and ``SeismicSearch/exhaustive``) `q·φ` bounds every
/// score of the block, and the result is that of ``BruteForceIndex``. Blocks are taken by descending `q·φ`, so that
/// the k-th best score is high early.
public struct SeismicIndex: SparseIndex {
    /// What documents are scored with: nothing is pruned in them, so that scores are exact.
    public let vectors: DocumentVectors
    let lists: SeismicLists
    let graph: NeighbourGraph?
    /// How the index was built.
    public let settings: SeismicSettings
    /// How it is searched.
    public var search: SeismicSearch

    init(
        vectors: DocumentVectors, lists: SeismicLists, graph: NeighbourGraph?, settings: SeismicSettings,
        search: SeismicSearch = SeismicSearch()
    ) {
        (self.vectors, self.lists, self.graph) = (vectors, lists, graph)
        (self.settings, self.search) = (settings, search)
    }

    /// - Parameter postings: The inverted lists of `vectors`, if they are there already.
    /// - Throws: `LacunaError.invalidArgument` for settings out of range, `LacunaError.cancelled`.
    public init(
        _ vectors: DocumentVectors, postings: PostingLists? = nil, settings: SeismicSettings = SeismicSettings(),
        search: SeismicSearch = SeismicSearch(), progress: (any ProgressReporter)? = nil
    ) throws {
        try search.check()
        let builder = SeismicBuilder(vectors: vectors, lists: postings ?? PostingLists(vectors), settings: settings)
        let lists = try builder.build(progress: progress)
        var graph: NeighbourGraph?
        if settings.neighbours > 0 {
            graph = try NeighbourGraph(
                SeismicIndex(vectors: vectors, lists: lists, graph: nil, settings: settings),
                count: settings.neighbours, progress: progress)
        }
        self.init(vectors: vectors, lists: lists, graph: graph, settings: settings, search: search)
    }

    /// - Throws: As ``DocumentVectors/init(_:)`` and ``init(_:postings:settings:search:progress:)``.
    public init(
        _ documents: SparseMatrix<Float>, settings: SeismicSettings = SeismicSettings(),
        search: SeismicSearch = SeismicSearch(), progress: (any ProgressReporter)? = nil
    ) throws {
        try self.init(DocumentVectors(documents), settings: settings, search: search, progress: progress)
    }

    public var documentCount: Int { vectors.documentCount }
    public var termCount: Int { vectors.termCount }
    public var byteCount: Int { vectors.byteCount + lists.byteCount + (graph?.byteCount ?? 0) }

    public func collect(
        _ query: SparseVector<Float>, into top: inout TopDocuments, filter: DocumentSet?, scratch: SearchScratch
    ) -> SearchWork {
        var terms: [UInt32] = []
        var weights: [Float] = []
        query.forEachEntry { term, weight in
            if weight > 0 {
                terms.append(UInt32(term))
                weights.append(weight)
            }
        }
        let order = terms.indices.sorted {
            weights[$0] != weights[$1] ? weights[$0] > weights[$1] : terms[$0] < terms[$1]
        }
        let walked = order.prefix(search.queryCut).map { Int(terms[$0]) }
        let blockCount = walked.reduce(0) { $0 + lists.listBlocks[$1 + 1] - lists.listBlocks[$1] }
        if blockCount == 0 { return SearchWork() }
        var work = SearchWork()
        let scores = scratch.blockScores(blockCount)
        var firstBlocks: [(place: Int, block: Int)] = []
        var place = 0
        terms.withUnsafeBufferPointer { terms in
            weights.withUnsafeBufferPointer { weights in
                for term in walked {
                    work.postingsRead += lists.scoreBlocks(
                        of: term, terms: terms, weights: weights.baseAddress!, into: scores + place)
                    firstBlocks.append((place, lists.listBlocks[term]))
                    place += lists.listBlocks[term + 1] - lists.listBlocks[term]
                }
            }
        }
        scratch.withDense(query) { dense in
            let marks = scratch.freshMarks(documentCount)
            func visit(_ document: Int, _ top: inout TopDocuments) {
                if marks.0[document] == marks.mark { return }
                marks.0[document] = marks.mark
                guard filter?.contains(document) ?? true else { return }
                top.insert(document, score: vectors.score(document, dense))
                work.documentsScored += 1
            }
            let slack = 1 + DocumentVectors.rounding(terms: terms.count)
            func isWorthwhile(_ score: Float, _ top: TopDocuments) -> Bool {
                // Before there are k documents, every block that can have any is wanted.
                top.isFull ? score * slack >= search.heapFactor * top.threshold : score > 0 || search.heapFactor == 0
            }
            var queue = BlockQueue(scores, count: blockCount)
            while let next = queue.next() {
                guard isWorthwhile(scores[next], top) else {
                    // Those that follow have no larger scores.
                    work.blocksSkipped += queue.remaining + 1
                    break
                }
                let list = firstBlocks.last { $0.place <= next }!
                let block = list.block + next - list.place
                for i in lists.blockStarts[block]..<lists.blockStarts[block + 1] {
                    visit(Int(lists.documents[i]), &top)
                }
            }
            if search.usesNeighbours, let graph {
                for found in top.sorted() { graph.forEachNeighbour(of: found.document) { visit($0, &top) } }
            }
        }
        return work
    }
}

/// Blocks by descending score, of equals the earlier first: a heap that is made at once and emptied as far as needed.
private struct BlockQueue {
    private var heap: [(score: Float, place: Int32)]

    init(_ scores: UnsafePointer<Float>, count: Int) {
        heap = (0..<count).map { (scores[$0], Int32($0)) }
        for i in stride(from: count / 2 - 1, through: 0, by: -1) { sift(i) }
    }

    var remaining: Int { heap.count }

    @inline(__always)
    private static func precedes(_ a: (score: Float, place: Int32), _ b: (score: Float, place: Int32)) -> Bool {
        a.score > b.score || (a.score == b.score && a.place < b.place)
    }

    private mutating func sift(_ start: Int) {
        heap.withUnsafeMutableBufferPointer { heap in
            var i = start
            let moved = heap[i]
            while true {
                var child = 2 * i + 1
                if child >= heap.count { break }
                if child + 1 < heap.count, Self.precedes(heap[child + 1], heap[child]) { child += 1 }
                guard Self.precedes(heap[child], moved) else { break }
                heap[i] = heap[child]
                i = child
            }
            heap[i] = moved
        }
    }

    mutating func next() -> Int? {
        guard let first = heap.first else { return nil }
        let last = heap.removeLast()
        if !heap.isEmpty {
            heap[0] = last
            sift(0)
        }
        return Int(first.place)
    }
}
