import LacunaTensor

/// A document and its score.
public struct ScoredDocument: Sendable, Hashable {
    /// The document's number in its index, from 0.
    public var document: Int
    /// The inner product with the query.
    public var score: Float

    /// A document by its number in an index.
    public init(document: Int, score: Float) { (self.document, self.score) = (document, score) }

    /// Whether this one comes before another: by score, of equals the document of lower number.
    @inline(__always) func precedes(_ other: ScoredDocument) -> Bool {
        score > other.score || (score == other.score && document < other.document)
    }
}

/// The best documents seen so far: a heap with the worst of them on top.
public struct TopDocuments: Sendable {
    /// How many documents are kept at most.
    public let capacity: Int
    private var heap: [ScoredDocument] = []
    /// The score that a document needs at least; of those that just have it, the lower number wins.
    public private(set) var threshold: Float
    private let floor: Float

    /// - Parameter floor: Documents of lower score are not wanted.
    public init(_ capacity: Int, floor: Float = .leastNonzeroMagnitude) {
        require(capacity >= 1, "a search for \(capacity) documents")
        self.capacity = capacity
        self.floor = floor
        threshold = floor
        heap.reserveCapacity(min(capacity, 1 << 16))
    }

    /// Whether a further document has to displace one.
    public var isFull: Bool { heap.count == capacity }

    /// Takes a document if it is among the best so far.
    @inline(__always) public mutating func insert(_ document: Int, score: Float) {
        if score >= threshold { insertSlowly(ScoredDocument(document: document, score: score)) }
    }

    @inline(never) private mutating func insertSlowly(_ new: ScoredDocument) {
        if heap.count < capacity {
            heap.append(new)
            var i = heap.count - 1
            while i > 0, heap[(i - 1) / 2].precedes(heap[i]) {
                heap.swapAt(i, (i - 1) / 2)
                i = (i - 1) / 2
            }
        } else {
            guard new.precedes(heap[0]) else { return }
            var i = 0
            while true {
                var child = 2 * i + 1
                if child >= heap.count { break }
                if child + 1 < heap.count, heap[child].precedes(heap[child + 1]) { child += 1 }
                // The worst of all goes up.
                guard new.precedes(heap[child]) else { break }
                heap[i] = heap[child]
                i = child
            }
            heap[i] = new
        }
        if heap.count == capacity { threshold = max(heap[0].score, floor) }
    }

    /// The documents, best first.
    public func sorted() -> [ScoredDocument] { heap.sorted { $0.precedes($1) } }
}
