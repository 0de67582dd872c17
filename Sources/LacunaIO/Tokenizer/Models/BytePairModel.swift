import LacunaTensor

/// Byte-pair encoding (Sennrich, Haddow and Birch, "Neural Machine Translation of Rare Words with Subword Units",
/// arXiv 1508.07909): a word begins as single characters, or bytes, and of all neighbours that the vocabulary can join,
/// the pair that was learned first is joined first.
struct BytePairModel: TokenizerModel {
    struct Merge: Sendable {
        var rank: Int32
        var result: Int32
    }

    /// What tells one kind of vocabulary from another, apart from its tokens.
    struct Options: Sendable {
        /// Words come as bytes, and the vocabulary spells these by ``ByteAlphabet``.
        var readsBytes = false
        /// Takes the place of characters without token; such characters are dropped if it is nil.
        var unknown: Int32?
        /// Neighbouring unknown characters become one token.
        var fusesUnknown = false
        /// Characters without token are spelled by the tokens of their bytes.
        var fallsBackToBytes = false
        /// Words that the vocabulary has are taken as they are, without merging.
        var takesWholeWords = false
        /// Before all but the first character of a word, and after its last.
        var continuationPrefix: [UInt8] = []
        var wordSuffix: [UInt8] = []
    }

    private let vocabulary: Vocabulary
    private let merges: PairTable<Merge>
    private let options: Options
    /// The token of every single byte, if words come as bytes; -1 for bytes that the vocabulary cannot spell.
    private let byteTokens: [Int32]
    private let fallback: ByteFallback?
    /// ASCII characters after which ``visibleBlank`` begins a word of its own: no merge joins the two.
    private let endsWord: [Bool]
    private static let visibleBlank: [UInt8] = [0xE2, 0x96, 0x81]

    /// - Parameter pairs: All that can be joined.
    init(_ vocabulary: Vocabulary, merges: PairTable<Merge>, pairs: [(left: Int32, right: Int32)], _ options: Options) {
        self.vocabulary = vocabulary
        self.merges = merges
        self.options = options
        byteTokens =
            options.readsBytes ? ByteAlphabet.scalars.map { Int32(vocabulary.id(of: String($0)) ?? -1) } : []
        fallback = options.fallsBackToBytes ? ByteFallback(vocabulary) : nil
        endsWord = Self.wordEnds(vocabulary, pairs, options)
    }

    private static func wordEnds(
        _ vocabulary: Vocabulary, _ pairs: [(left: Int32, right: Int32)], _ options: Options
    ) -> [Bool] {
        guard !options.readsBytes, !options.takesWholeWords, options.continuationPrefix.isEmpty,
            options.wordSuffix.isEmpty, visibleBlank.withUnsafeBufferPointer({ vocabulary.id(of: $0) != nil })
        else { return [] }
        // An unknown character could become one token with the next one.
        var ends = (0..<128).map { vocabulary.id(of: String(Unicode.Scalar(UInt8($0)))) != nil }
        for (left, right) in pairs {
            guard vocabulary.spelling(Int(right))?.starts(with: visibleBlank) == true,
                let last = vocabulary.spelling(Int(left))?.last, last < 128
            else { continue }
            ends[Int(last)] = false
        }
        return ends
    }

    /// Text that no pre-tokenizer has cut is cut where no merge can reach across: short words are merged faster than a
    /// long text, and most of them occurred before.
    func encode(_ words: TextPieces, into output: inout [Int]) {
        guard !endsWord.isEmpty else { return encodeEach(words, into: &output) }
        var words = words
        words.cut { bytes, range, emit in
            var start = range.lowerBound
            for i in range where bytes[i] == Self.visibleBlank[0] && i > start && i + 3 <= range.upperBound {
                guard bytes[i - 1] < 128, endsWord[Int(bytes[i - 1])], bytes[i + 1] == Self.visibleBlank[1],
                    bytes[i + 2] == Self.visibleBlank[2]
                else { continue }
                emit(start..<i)
                start = i
            }
            emit(start..<range.upperBound)
        }
        encodeEach(words, into: &output)
    }

    struct Workspace {
        fileprivate var symbols: [Symbol] = []
        fileprivate var heap: [UInt64] = []
        fileprivate var spelling: [UInt8] = []
        /// Of a short word: what each symbol and the next join to.
        fileprivate var joints: [Merge] = []
    }

    fileprivate struct Symbol {
        var token: Int32
        /// Neighbours' positions; -1 at the ends. A symbol that was joined into its left neighbour has `token` -1.
        var previous: Int32
        var next: Int32
    }

    func makeWorkspace() -> Workspace { Workspace() }

    /// - Complexity: O(n log n) for a word of n characters.
    func encode(_ word: UnsafeBufferPointer<UInt8>, _ workspace: inout Workspace, into output: inout [Int]) {
        if options.takesWholeWords, let token = wholeWord(word) {
            output.append(Int(token))
            return
        }
        workspace.symbols.removeAll(keepingCapacity: true)
        if options.readsBytes { readBytes(word, &workspace) } else { readCharacters(word, &workspace) }
        let count = workspace.symbols.count
        if count == 0 { return }
        if count <= Self.shortWord {
            mergeShort(&workspace)
        } else {
            link(&workspace)
            merge(&workspace)
        }
        for symbol in workspace.symbols where symbol.token >= 0 { output.append(Int(symbol.token)) }
    }

    private func wholeWord(_ word: UnsafeBufferPointer<UInt8>) -> Int32? {
        guard options.readsBytes else { return vocabulary.id(of: word) }
        return ByteAlphabet.spell(word).withUnsafeBufferPointer { vocabulary.id(of: $0) }
    }

    // MARK: Characters

    private func readBytes(_ word: UnsafeBufferPointer<UInt8>, _ workspace: inout Workspace) {
        var followsUnknown = false
        for byte in word {
            var token = byteTokens[Int(byte)]
            let isUnknown = token < 0
            if isUnknown {
                guard let unknown = options.unknown, !(followsUnknown && options.fusesUnknown) else { continue }
                token = unknown
            }
            followsUnknown = isUnknown
            workspace.symbols.append(Symbol(token: token, previous: -1, next: -1))
        }
    }

    private func readCharacters(_ word: UnsafeBufferPointer<UInt8>, _ workspace: inout Workspace) {
        // An unknown token is held back until something known follows, also past characters spelled by their bytes.
        var pending: Int32?
        var i = 0
        while i < word.count {
            let next = UTF8Text.scalar(word, at: i).next
            let character = UnsafeBufferPointer(rebasing: word[i..<next])
            let isPlain = options.continuationPrefix.isEmpty && options.wordSuffix.isEmpty
            if let token = isPlain ? vocabulary.id(of: character) : affixed(character, i, next == word.count, &workspace)
            {
                if let unknown = pending { workspace.symbols.append(Symbol(token: unknown, previous: -1, next: -1)) }
                pending = nil
                workspace.symbols.append(Symbol(token: token, previous: -1, next: -1))
            } else if let fallback, spell(fallback, character, isPlain, &workspace) {
            } else if let unknown = options.unknown {
                if pending != nil && !options.fusesUnknown {
                    workspace.symbols.append(Symbol(token: unknown, previous: -1, next: -1))
                }
                pending = unknown
            }
            i = next
        }
        if let unknown = pending { workspace.symbols.append(Symbol(token: unknown, previous: -1, next: -1)) }
    }

    /// The token of a character with what marks its place in the word, which is left in `workspace.spelling`.
    private func affixed(
        _ character: UnsafeBufferPointer<UInt8>, _ start: Int, _ isLast: Bool, _ workspace: inout Workspace
    ) -> Int32? {
        workspace.spelling.removeAll(keepingCapacity: true)
        if start > 0 { workspace.spelling.append(contentsOf: options.continuationPrefix) }
        workspace.spelling.append(contentsOf: character)
        if isLast { workspace.spelling.append(contentsOf: options.wordSuffix) }
        return workspace.spelling.withUnsafeBufferPointer { vocabulary.id(of: $0) }
    }

    private func spell(
        _ fallback: ByteFallback, _ character: UnsafeBufferPointer<UInt8>, _ isPlain: Bool,
        _ workspace: inout Workspace
    ) -> Bool {
        if isPlain {
            return fallback.spell(character) {
                workspace.symbols.append(Symbol(token: $0, previous: -1, next: -1))
            }
        }
        let spelling = workspace.spelling
        return spelling.withUnsafeBufferPointer { bytes in
            fallback.spell(bytes) { workspace.symbols.append(Symbol(token: $0, previous: -1, next: -1)) }
        }
    }

    // MARK: Merging

    private static let shortWord = 24
    private static let none = Merge(rank: .max, result: -1)

    /// Few symbols: the least rank is found by looking at all of them.
    private func mergeShort(_ workspace: inout Workspace) {
        workspace.joints.removeAll(keepingCapacity: true)
        var count = workspace.symbols.count
        for i in 0..<max(count - 1, 0) {
            let key = PairTable<Merge>.key(workspace.symbols[i].token, workspace.symbols[i + 1].token)
            workspace.joints.append(merges[key] ?? Self.none)
        }
        workspace.symbols.withUnsafeMutableBufferPointer { symbols in
            workspace.joints.withUnsafeMutableBufferPointer { joints in
                func joint(_ i: Int) -> Merge {
                    merges[PairTable<Merge>.key(symbols[i].token, symbols[i + 1].token)] ?? Self.none
                }
                while count > 1 {
                    var (best, rank) = (0, Int32.max)
                    for i in 0..<count - 1 where joints[i].rank < rank { (best, rank) = (i, joints[i].rank) }
                    if rank == .max { break }
                    symbols[best].token = joints[best].result
                    for i in best + 1..<count - 1 { symbols[i] = symbols[i + 1] }
                    for i in best..<count - 2 { joints[i] = joints[i + 1] }
                    count -= 1
                    if best < count - 1 { joints[best] = joint(best) }
                    if best > 0 { joints[best - 1] = joint(best - 1) }
                }
            }
        }
        workspace.symbols.removeLast(workspace.symbols.count - count)
    }

    private func link(_ workspace: inout Workspace) {
        let count = workspace.symbols.count
        for i in 0..<count {
            workspace.symbols[i].previous = Int32(i - 1)
            workspace.symbols[i].next = i + 1 < count ? Int32(i + 1) : -1
        }
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
        return merges[PairTable<Merge>.key(symbol.token, symbols[Int(symbol.next)].token)]
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
