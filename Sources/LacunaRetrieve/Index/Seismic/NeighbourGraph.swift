import LacunaSparse
import LacunaTensor

/// For every document those most similar to it, which lift the recall of an approximate search: what is near a result
/// is probably one.
struct NeighbourGraph: Sendable {
    let starts: MappedArray<Int>
    let documents: MappedArray<UInt32>

    var byteCount: Int { starts.byteCount + documents.byteCount }

    init(starts: MappedArray<Int>, documents: MappedArray<UInt32>) {
        (self.starts, self.documents) = (starts, documents)
    }

    /// Finds the neighbours by searching for every document's own vector.
    init(_ index: SeismicIndex, count: Int, progress: (any ProgressReporter)?) throws {
        var index = index
        index.search = SeismicSearch(queryCut: 10, heapFactor: 0.7, usesNeighbours: false)
        let searched = index
        var (starts, documents): ([Int], [UInt32]) = ([0], [])
        let atOnce = 1024
        for first in stride(from: 0, to: index.documentCount, by: atOnce) {
            try progress.report("finding neighbours", first, of: index.documentCount)
            let rows = first..<min(first + atOnce, index.documentCount)
            let vectors = try rows.map { try searched.vectors.vector($0) }
            let found = Locked([[UInt32]](repeating: [], count: rows.count))
            Parallel.forRanges(rows.count, grain: 16) { range in
                SearchScratch.withOne { scratch in
                    for i in range {
                        let document = rows.lowerBound + i
                        var top = TopDocuments(count + 1)
                        _ = searched.collect(vectors[i], into: &top, filter: nil, scratch: scratch)
                        let near = top.sorted().map(\.document).filter { $0 != document }.prefix(count)
                        found.withLock { $0[i] = near.map { UInt32($0) } }
                    }
                }
            }
            for near in found.withLock({ $0 }) {
                documents += near
                starts.append(documents.count)
            }
        }
        try progress.report("finding neighbours", index.documentCount, of: index.documentCount)
        self.init(starts: MappedArray(starts), documents: MappedArray(documents))
    }

    @inline(__always)
    func forEachNeighbour(of document: Int, _ body: (Int) -> Void) {
        for i in starts[document]..<starts[document + 1] { body(Int(documents[i])) }
    }
}
