import LacunaTensor

/// The pruned lists of a ``SeismicIndex``, cut into blocks, with their summaries.
///
/// The summaries of a list are kept term by term: for a term, which of the list's blocks have it, and its weight in
/// steps of the block, so that the scores of all blocks come from one pass over the query's terms.
struct SeismicLists: Sendable {
    /// Where each term's blocks begin, [terms + 1].
    let listBlocks: MappedArray<Int>
    /// Where each block's documents begin, [blocks + 1].
    let blockStarts: MappedArray<Int>
    let documents: MappedArray<UInt32>
    /// The weight of one step of each block's summary.
    let steps: MappedArray<Float>
    /// Where each list's summary terms begin, [terms + 1].
    let listTerms: MappedArray<Int>
    /// The terms of all lists' summaries, ascending in each list.
    let summaryTerms: MappedArray<UInt32>
    /// Where each summary term's entries begin, [summary terms + 1].
    let entryStarts: MappedArray<Int>
    /// The block of each entry, counted from the list's first.
    let entryBlocks: MappedArray<UInt32>
    /// The weight of each entry in steps, rounded up.
    let entryCodes: MappedArray<UInt8>

    var byteCount: Int {
        listBlocks.byteCount + blockStarts.byteCount + documents.byteCount + steps.byteCount + listTerms.byteCount
            + summaryTerms.byteCount + entryStarts.byteCount + entryBlocks.byteCount + entryCodes.byteCount
    }

    /// Scores all blocks of a term's list for a query.
    ///
    /// - Returns: Entries read.
    @inline(__always)
    func scoreBlocks(
        of term: Int, terms: UnsafeBufferPointer<UInt32>, weights: UnsafePointer<Float>,
        into scores: UnsafeMutablePointer<Float>
    ) -> Int {
        let blocks = listBlocks[term]..<listBlocks[term + 1]
        for i in 0..<blocks.count { scores[i] = 0 }
        var place = listTerms[term]
        let end = listTerms[term + 1]
        var read = 0
        for i in 0..<terms.count {
            let wanted = terms[i]
            // Both ascend: halve what is left.
            var (low, count) = (place, end - place)
            while count > 0 {
                let half = count >> 1
                let isBelow = summaryTerms[low + half] < wanted
                low = isBelow ? low + half + 1 : low
                count = isBelow ? count - half - 1 : half
            }
            place = low
            if place == end { break }
            guard summaryTerms[place] == wanted else { continue }
            let weight = weights[i]
            let entries = entryStarts[place]..<entryStarts[place + 1]
            for e in entries { scores[Int(entryBlocks[e])] += weight * Float(entryCodes[e]) }
            read += entries.count
        }
        for i in 0..<blocks.count { scores[i] *= steps[blocks.lowerBound + i] }
        return read
    }
}
