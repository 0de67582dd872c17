/// Sequences of texts that have ended, for prompts that begin like them.
struct PrefixShelf {
    /// Fewer positions than this are computed again rather than copied.
    static let worthwhile = 16

    /// Whether anything is kept.
    let isOpen: Bool
    let mostSequences: Int
    let mostBytes: Int
    /// Bytes of the keys and values of one position.
    let positionBytes: Int

    private struct Kept {
        let sequence: Int
        let tokens: [Int]
    }
    /// Those used last at the end.
    private var kept: [Kept] = []

    init(isOpen: Bool, mostSequences: Int, mostBytes: Int, positionBytes: Int) {
        (self.isOpen, self.mostSequences) = (isOpen, mostSequences)
        (self.mostBytes, self.positionBytes) = (mostBytes, positionBytes)
    }

    /// Positions that are kept.
    var positions: Int { kept.reduce(0) { $0 + $1.tokens.count } }

    /// A sequence that begins like a prompt.
    struct Found {
        let sequence: Int
        /// Positions in common.
        let shared: Int
        /// Whether most of it is in common, so that it is continued and no longer kept.
        let takesOver: Bool
    }

    /// The sequence with the most tokens in common; nil if none has any.
    func longest(of tokens: [Int], atMost most: Int) -> Found? {
        var best: Found?
        for entry in kept {
            let shared = min(zip(entry.tokens, tokens).prefix { $0 == $1 }.count, most)
            if shared > best?.shared ?? 0 {
                best = Found(
                    sequence: entry.sequence, shared: shared, takesOver: 2 * shared >= entry.tokens.count)
            }
        }
        return best
    }

    /// Takes a sequence away, to be continued.
    mutating func take(_ found: Found) -> Int {
        kept.removeAll { $0.sequence == found.sequence }
        return found.sequence
    }

    /// Keeps a sequence.
    ///
    /// - Returns: Sequences for which there is no room any more.
    mutating func keep(_ sequence: Int, _ tokens: [Int]) -> [Int] {
        guard isOpen, tokens.count >= Self.worthwhile, tokens.count * positionBytes <= mostBytes else {
            return [sequence]
        }
        // What another one begins with is in it.
        if kept.contains(where: { $0.tokens.starts(with: tokens) }) { return [sequence] }
        var dropped = kept.filter { tokens.starts(with: $0.tokens) }.map(\.sequence)
        kept.removeAll { dropped.contains($0.sequence) }
        kept.append(Kept(sequence: sequence, tokens: tokens))
        while kept.count > mostSequences || positions * positionBytes > mostBytes {
            dropped.append(kept.removeFirst().sequence)
        }
        return dropped
    }
}
