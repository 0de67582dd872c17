import LacunaLearn
import LacunaTensor

/// Weights of all terms from hidden states of texts' tokens, on the tape: what ``LexicalPooling`` makes of a head's logits.
struct LexicalHead {
    let pooling: LexicalPooling
    /// Columns of the logits.
    let terms: Int
    /// Logits [n, terms] of states [n, width].
    let logits: (Variable<Float>) -> Variable<Float>
    /// Logits of so many tokens are in memory at once; what is left of the others is computed again for gradients.
    var tokensAtOnce = 512

    init(_ pooling: LexicalPooling, terms: Int, logits: @escaping (Variable<Float>) -> Variable<Float>) {
        (self.pooling, self.terms, self.logits) = (pooling, terms, logits)
    }

    /// [texts, terms] from the states of all their tokens, one text behind the other.
    ///
    /// - Parameters:
    ///   - texts: The text of each state, ascending.
    ///   - count: The number of texts.
    func callAsFunction(_ states: Variable<Float>, texts: [Int32], count: Int) -> Variable<Float> {
        if count == 0 { return states.tape.constant(Tensor(zeros: [0, terms])) }
        // The tokens of a text stand together: cut between texts.
        var starts = [Int](repeating: 0, count: count + 1)
        for text in texts { starts[Int(text) + 1] += 1 }
        for text in 0..<count { starts[text + 1] += starts[text] }
        var (groups, first): ([Range<Int>], Int) = ([], 0)
        for text in 0..<count where text > first && starts[text + 1] - starts[first] > tokensAtOnce {
            groups.append(first..<text)
            first = text
        }
        groups.append(first..<count)
        let parts = groups.map { group -> Variable<Float> in
            let rows = starts[group.lowerBound]..<starts[group.upperBound]
            // Texts without a token have no weights.
            if rows.isEmpty { return states.tape.constant(Tensor(zeros: [group.count, terms])) }
            let owners = texts[rows].map { $0 - Int32(group.lowerBound) }
            let own = states.gathered(rows.map { Int32($0) })
            return groups.count == 1
                ? pooled(logits(own), owners, group.count)
                : states.tape.recomputing { pooled(logits(own), owners, group.count) }
        }
        let all = parts.count == 1 ? parts[0] : .concatenated(rows: parts)
        // Logarithms are monotone: they may wait until one row a text is left.
        return pooling.strategy == .max ? activated(all) : all
    }

    private func activated(_ x: Variable<Float>) -> Variable<Float> {
        let once = x.relu().logarithmOfOnePlus()
        return pooling.activation == .log ? once : once.logarithmOfOnePlus()
    }

    private func pooled(_ logits: Variable<Float>, _ owners: [Int32], _ count: Int) -> Variable<Float> {
        pooling.strategy == .max
            ? logits.segmentMaxima(owners, count: count) : activated(logits).scattered(owners, into: count)
    }
}
