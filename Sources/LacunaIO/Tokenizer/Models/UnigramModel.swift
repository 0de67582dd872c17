/// A unigram language model over pieces of words (Kudo, "Subword Regularization: Improving Neural Network Translation
/// Models with Multiple Subword Candidates", arXiv 1804.10959): of all ways to spell a text by pieces, the one with the
/// largest sum of log probabilities, found by Viterbi's algorithm. Characters without piece cost 10 more than the least
/// probable piece; neighbouring ones become one unknown token, or the tokens of their bytes.
struct UnigramModel: TokenizerModel {
    private let vocabulary: Vocabulary
    private let scores: [Double]
    private let unknown: Int
    private let unknownScore: Double
    private let fallback: ByteFallback?
    /// Ids of pieces that text can be spelled by, in the order of their bytes.
    private let sorted: [Int32]
    /// Where in `sorted` the pieces that begin with a byte stand.
    private let starts: [Int]

    /// - Parameters:
    ///   - scores: The log probability of every id.
    ///   - excluded: Ids that no text is spelled by, such as those of special tokens.
    init(
        _ vocabulary: Vocabulary, scores: [Double], unknown: Int, fallsBackToBytes: Bool, excluded: Set<Int> = []
    ) {
        self.vocabulary = vocabulary
        self.scores = scores
        self.unknown = unknown
        unknownScore = (scores.min() ?? 0) - 10
        fallback = fallsBackToBytes ? ByteFallback(vocabulary) : nil
        let usable = (0..<vocabulary.count).filter {
            !excluded.contains($0) && !(vocabulary.spelling($0)?.isEmpty ?? true)
        }
        sorted = usable.sorted { vocabulary.spelling($0)!.lexicographicallyPrecedes(vocabulary.spelling($1)!) }
            .map { Int32($0) }
        var starts = [Int](repeating: 0, count: 257)
        for id in sorted { starts[Int(vocabulary.spelling(Int(id))!.first!) + 1] += 1 }
        for byte in 0..<256 { starts[byte + 1] += starts[byte] }
        self.starts = starts
    }

    struct Workspace {
        /// Of the best path that ends before each byte: its last piece and where that begins; -1 if there is none.
        fileprivate var ends: [(id: Int32, start: Int32, score: Double)] = []
        fileprivate var path: [(id: Int32, start: Int32, end: Int32)] = []
    }

    func makeWorkspace() -> Workspace { Workspace() }

    /// - Complexity: O(n · m log v) for a word of n bytes, a longest piece of m and v pieces.
    func encode(_ word: UnsafeBufferPointer<UInt8>, _ workspace: inout Workspace, into output: inout [Int]) {
        workspace.ends.removeAll(keepingCapacity: true)
        workspace.ends.append(contentsOf: repeatElement((id: 0, start: -1, score: 0), count: word.count + 1))
        workspace.ends.withUnsafeMutableBufferPointer { ends in
            func offer(_ id: Int32, _ start: Int, _ end: Int, _ score: Double) {
                if ends[end].start < 0 || score > ends[end].score { ends[end] = (id, Int32(start), score) }
            }
            var start = 0
            while start < word.count {
                let next = UTF8Text.scalar(word, at: start).next
                let score = ends[start].score
                var hasCharacter = false
                forEachPiece(word, from: start) { id, end in
                    offer(id, start, end, scores[Int(id)] + score)
                    if end == next { hasCharacter = true }
                }
                if !hasCharacter { offer(Int32(unknown), start, next, unknownScore + score) }
                start = next
            }
        }
        trace(word.count, &workspace)
        for (id, start, end) in workspace.path.reversed() {
            if Int(id) == unknown {
                appendUnknown(UnsafeBufferPointer(rebasing: word[Int(start)..<Int(end)]), into: &output)
            } else {
                output.append(Int(id))
            }
        }
    }

    /// The best path from its end, with neighbouring unknown pieces made one.
    private func trace(_ count: Int, _ workspace: inout Workspace) {
        workspace.path.removeAll(keepingCapacity: true)
        var end = Int32(count)
        while end > 0 {
            let (id, start, _) = workspace.ends[Int(end)]
            if let last = workspace.path.last, Int(id) == unknown, Int(last.id) == unknown {
                workspace.path[workspace.path.count - 1].start = start
            } else {
                workspace.path.append((id, start, end))
            }
            end = start
        }
    }

    private func appendUnknown(_ text: UnsafeBufferPointer<UInt8>, into output: inout [Int]) {
        // Unknown characters together can be a piece, of less probability than their sum.
        if let id = vocabulary.id(of: text) { return output.append(Int(id)) }
        if let fallback, fallback.spell(text, { output.append(Int($0)) }) { return }
        output.append(unknown)
    }

    /// Calls `body` with every piece that the text goes on with, shortest first, and where it ends.
    @inline(__always)
    private func forEachPiece(_ text: UnsafeBufferPointer<UInt8>, from start: Int, _ body: (Int32, Int) -> Void) {
        var (low, high) = (starts[Int(text[start])], starts[Int(text[start]) + 1])
        var depth = 1
        sorted.withUnsafeBufferPointer { sorted in
            while low < high {
                // The shortest of the pieces that begin so is the first of them.
                if vocabulary.length(sorted[low]) == depth {
                    body(sorted[low], start + depth)
                    low += 1
                }
                guard low < high, start + depth < text.count else { return }
                let byte = text[start + depth]
                low = bound(sorted, low, high, depth) { $0 < byte }
                high = bound(sorted, low, high, depth) { $0 <= byte }
                depth += 1
            }
        }
    }

    /// The first of the pieces from `low` to `high` whose byte at `depth` is not `isBefore`.
    @inline(__always)
    private func bound(
        _ sorted: UnsafeBufferPointer<Int32>, _ low: Int, _ high: Int, _ depth: Int, _ isBefore: (UInt8) -> Bool
    ) -> Int {
        var (low, high) = (low, high)
        while low < high {
            let middle = (low + high) / 2
            if isBefore(vocabulary.byte(sorted[middle], at: depth)) { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
