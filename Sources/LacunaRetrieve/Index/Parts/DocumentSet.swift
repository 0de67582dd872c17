import LacunaTensor

/// Some of the documents of an index, one bit a document: what a filter lets through.
public struct DocumentSet: Sendable {
    /// Number of documents that could be in the set.
    public let capacity: Int
    /// Number of documents in the set.
    public let count: Int
    private let words: Buffer<UInt64>

    /// - Parameter contains: Whether a document is in the set; called once for each, in order.
    public init(capacity: Int, where contains: (Int) throws -> Bool) rethrows {
        require(capacity >= 0)
        let words = Buffer<UInt64>(repeating: 0, count: (capacity + 63) / 64)
        var count = 0
        for document in 0..<capacity where try contains(document) {
            words.pointer[document >> 6] |= 1 << UInt64(document & 63)
            count += 1
        }
        (self.capacity, self.count, self.words) = (capacity, count, words)
    }

    /// Whether a document is in the set.
    @inline(__always) public func contains(_ document: Int) -> Bool {
        words.pointer[document >> 6] >> UInt64(document & 63) & 1 != 0
    }

    /// Calls `body` with every document of the set, ascending.
    func forEachMember(_ body: (Int) -> Void) {
        for index in 0..<words.count {
            var word = words.pointer[index]
            while word != 0 {
                body(index << 6 + word.trailingZeroBitCount)
                word &= word - 1
            }
        }
    }
}
