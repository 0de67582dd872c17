import LacunaTensor

/// For every term, the documents that have it, ascending, and their weights: an inverted file. Lists are cut into
/// blocks of ``blockSize``, of which the last document and the largest weight are kept.
public struct PostingLists: Sendable {
    /// Postings of a block.
    public static let blockSize = 64

    /// Where each term's list begins, [terms + 1].
    let starts: MappedArray<Int>
    let documents: MappedArray<UInt32>
    let weights: MappedArray<Float>
    /// Where each term's blocks begin, [terms + 1].
    let blockStarts: MappedArray<Int>
    let blockLasts: MappedArray<UInt32>
    let blockMaxima: MappedArray<Float>
    /// The largest weight of each term's list, 0 for an empty one.
    let maxima: MappedArray<Float>

    /// Number of lists: one for each term of the vocabulary.
    public var termCount: Int { starts.count - 1 }
    /// Bytes that the lists take, in memory or in a mapped file.
    public var byteCount: Int {
        starts.byteCount + documents.byteCount + weights.byteCount + blockStarts.byteCount + blockLasts.byteCount
            + blockMaxima.byteCount + maxima.byteCount
    }

    /// The number of documents that have a term.
    public func documentFrequency(_ term: Int) -> Int { starts[term + 1] - starts[term] }

    init(
        starts: MappedArray<Int>, documents: MappedArray<UInt32>, weights: MappedArray<Float>,
        blockStarts: MappedArray<Int>, blockLasts: MappedArray<UInt32>, blockMaxima: MappedArray<Float>,
        maxima: MappedArray<Float>
    ) {
        (self.starts, self.documents, self.weights) = (starts, documents, weights)
        (self.blockStarts, self.blockLasts, self.blockMaxima, self.maxima) = (
            blockStarts, blockLasts, blockMaxima, maxima
        )
    }

    /// - Complexity: O(entries).
    public init(_ vectors: DocumentVectors) {
        let terms = vectors.termCount
        let starts = Buffer<Int>(repeating: 0, count: terms + 1)
        for document in 0..<vectors.documentCount {
            vectors.forEachEntry(of: document) { term, _ in starts.pointer[term + 1] += 1 }
        }
        for term in 0..<terms { starts.pointer[term + 1] += starts.pointer[term] }
        let documents = Buffer<UInt32>(uninitialized: vectors.entryCount)
        let weights = Buffer<Float>(uninitialized: vectors.entryCount)
        let places = starts.copy()
        for document in 0..<vectors.documentCount {
            vectors.forEachEntry(of: document) { term, weight in
                let place = places.pointer[term]
                documents.pointer[place] = UInt32(truncatingIfNeeded: document)
                weights.pointer[place] = weight
                places.pointer[term] = place + 1
            }
        }
        let blockStarts = Buffer<Int>(uninitialized: terms + 1)
        blockStarts.pointer[0] = 0
        for term in 0..<terms {
            let count = starts.pointer[term + 1] - starts.pointer[term]
            blockStarts.pointer[term + 1] = blockStarts.pointer[term] + (count + Self.blockSize - 1) / Self.blockSize
        }
        let blockCount = blockStarts.pointer[terms]
        let lasts = Buffer<UInt32>(uninitialized: blockCount)
        let blockMaxima = Buffer<Float>(uninitialized: blockCount)
        let maxima = Buffer<Float>(repeating: 0, count: terms)
        Parallel.forRanges(terms, grain: 256) { range in
            for term in range {
                var start = starts.pointer[term]
                let end = starts.pointer[term + 1]
                for block in blockStarts.pointer[term]..<blockStarts.pointer[term + 1] {
                    let stop = min(start + Self.blockSize, end)
                    var largest: Float = 0
                    for i in start..<stop { largest = max(largest, weights.pointer[i]) }
                    blockMaxima.pointer[block] = largest
                    lasts.pointer[block] = documents.pointer[stop - 1]
                    maxima.pointer[term] = max(maxima.pointer[term], largest)
                    start = stop
                }
            }
        }
        self.init(
            starts: MappedArray(starts), documents: MappedArray(documents), weights: MappedArray(weights),
            blockStarts: MappedArray(blockStarts), blockLasts: MappedArray(lasts),
            blockMaxima: MappedArray(blockMaxima), maxima: MappedArray(maxima))
    }
}
