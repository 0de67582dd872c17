import LacunaTensor

/// Byte-pair encoding (Sennrich, Haddow and Birch, "Neural Machine Translation of Rare Words with Subword Units",
/// arXiv 1508.07909) over bytes: a word begins as single bytes, and of all neighbours that the vocabulary can join, the
/// pair that was learned first is joined first.
struct BytePairModel: Sendable {
    struct Merge: Sendable {
        let rank: Int32
        let result: Int32
    }

    /// The token of every single byte; -1 for bytes that the vocabulary cannot spell.
    private let byteTokens: [Int32]
    /// What two neighbours join to, by `left << 32 | right`.
    private let merges: [UInt64: Merge]
    /// Takes the place of bytes without token; such bytes are dropped if it is nil.
    let unknown: Int32?
    /// Whole words that the vocabulary has are taken as they are, without merging.
    let wholeWords: [[UInt8]: Int32]?

    init(byteTokens: [Int32], merges: [UInt64: Merge], unknown: Int32?, wholeWords: [[UInt8]: Int32]?) {
        self.byteTokens = byteTokens
        self.merges = merges
        self.unknown = unknown
        self.wholeWords = wholeWords
    }

    static func key(_ left: Int32, _ right: Int32) -> UInt64 {
        UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
    }

    /// Memory that encoding one word after the other needs, reused between words.
    struct Workspace {
        fileprivate var symbols: [Symbol] = []
        fileprivate var heap: [UInt64] = []
    }

    fileprivate struct Symbol {
        var token: Int32
        /// Neighbours' positions; -1 at the ends. A symbol that was joined into its left neighbour has `token` -1.
        var previous: Int32
        var next: Int32
    }

    /// Appends the tokens of one word.
    ///
    /// - Complexity: O(n log n) for a word of n bytes.
    func encode(_ word: UnsafeBufferPointer<UInt8>, _ workspace: inout Workspace, into output: inout [Int]) {
        if let wholeWords, let token = wholeWords[Array(word)] {
            output.append(Int(token))
            return
        }
        workspace.symbols.removeAll(keepingCapacity: true)
        for byte in word {
            var token = byteTokens[Int(byte)]
            if token < 0 {
                guard let unknown else { continue }
                token = unknown
            }
            let position = Int32(workspace.symbols.count)
            workspace.symbols.append(Symbol(token: token, previous: position - 1, next: position + 1))
        }
        guard !workspace.symbols.isEmpty else { return }
        workspace.symbols[workspace.symbols.count - 1].next = -1
        if workspace.symbols.count > 1 { merge(&workspace) }
        for symbol in workspace.symbols where symbol.token >= 0 { output.append(Int(symbol.token)) }
    }

    /// Joins pairs in order of rank, then of position. Entries of the heap are `rank << 32 | position`; those that other
    /// joins have made obsolete are recognised when they come up, because their pair has another rank then.
    private func merge(_ workspace: inout Workspace) {
        workspace.heap.removeAll(keepingCapacity: true)
        workspace.symbols.withUnsafeMutableBufferPointer { symbols in
            for left in 0..<symbols.count - 1 { push(left, symbols, &workspace.heap) }
            while let entry = popLeast(&workspace.heap) {
                let left = Int(entry & 0xFFFF_FFFF)
                guard let merge = joint(left, symbols), UInt64(merge.rank) == entry >> 32 else { continue }
                let right = Int(symbols[left].next)
                let next = symbols[right].next
                symbols[left].token = merge.result
                symbols[left].next = next
                symbols[right].token = -1
                if next >= 0 {
                    symbols[Int(next)].previous = Int32(left)
                    push(left, symbols, &workspace.heap)
                }
                if symbols[left].previous >= 0 { push(Int(symbols[left].previous), symbols, &workspace.heap) }
            }
        }
    }

    private func joint(_ left: Int, _ symbols: UnsafeMutableBufferPointer<Symbol>) -> Merge? {
        let symbol = symbols[left]
        guard symbol.token >= 0, symbol.next >= 0 else { return nil }
        return merges[Self.key(symbol.token, symbols[Int(symbol.next)].token)]
    }

    private func push(_ left: Int, _ symbols: UnsafeMutableBufferPointer<Symbol>, _ heap: inout [UInt64]) {
        guard let merge = joint(left, symbols) else { return }
        heap.append(UInt64(merge.rank) << 32 | UInt64(left))
        var child = heap.count - 1
        while child > 0, heap[child] < heap[(child - 1) / 2] {
            heap.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    private func popLeast(_ heap: inout [UInt64]) -> UInt64? {
        guard let least = heap.first else { return nil }
        let last = heap.removeLast()
        guard !heap.isEmpty else { return least }
        heap[0] = last
        var parent = 0
        while true {
            var child = 2 * parent + 1
            guard child < heap.count else { return least }
            if child + 1 < heap.count, heap[child + 1] < heap[child] { child += 1 }
            guard heap[child] < heap[parent] else { return least }
            heap.swapAt(child, parent)
            parent = child
        }
    }
}
