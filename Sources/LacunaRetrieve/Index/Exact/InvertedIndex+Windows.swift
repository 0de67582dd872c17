import LacunaTensor

extension InvertedIndex {
    /// Documents of a window: their sums stay in the first-level cache.
    static var window: Int { 4096 }

    /// Sums up the lists window by window, then scores the documents whose sums are large enough.
    ///
    /// A sum is added in another order than a score, so a document is scored if its sum is within rounding of the
    /// threshold: what is scored includes all that belong to the result.
    ///
    /// - Parameter usesBounds: Read a list only where a document could still come in (MaxScore).
    func windows(
        _ query: [QueryTerm], _ dense: UnsafePointer<Float>, into top: inout TopDocuments, filter: DocumentSet?,
        scratch: SearchScratch, usesBounds: Bool
    ) -> SearchWork {
        var work = SearchWork()
        // The terms that matter most first; what all that follow can add at most, rounded up.
        var terms = query.sorted { $0.bound != $1.bound ? $0.bound > $1.bound : $0.term < $1.term }
        let slack = DocumentVectors.rounding(terms: terms.count)
        var rest = [Float](repeating: 0, count: terms.count + 1)
        for i in terms.indices.reversed() { rest[i] = (rest[i + 1] + terms[i].bound) * (1 + slack) }
        let (documents, weights) = (lists.documents.pointer, lists.weights.pointer)
        let sums = scratch.zeros(Self.window)
        for first in stride(from: 0, to: documentCount, by: Self.window) {
            let end = min(first + Self.window, documentCount)
            // Lists from this one on cannot lift a document into the result by themselves.
            var essential = terms.count
            if usesBounds {
                let bar = top.threshold
                while essential > 0 && rest[essential - 1] < bar { essential -= 1 }
                if essential == 0 { break }
            }
            for t in 0..<essential {
                var i = terms[t].list.lowerBound
                let (stop, weight) = (terms[t].list.upperBound, terms[t].weight)
                let begin = i
                while i < stop {
                    let document = Int(documents[i])
                    if document >= end { break }
                    sums[document - first] += weight * weights[i]
                    i += 1
                }
                work.postingsRead += i - begin
                terms[t].list = i..<stop
            }
            let others = rest[essential]
            for offset in stride(from: 0, to: end - first, by: 16) {
                let count = min(16, end - first - offset)
                let part = sums + offset
                var largest: Float = 0
                for i in 0..<count { largest = max(largest, part[i]) }
                if (largest + others) * (1 + slack) >= top.threshold && largest > 0 {
                    for i in 0..<count where part[i] > 0 {
                        let document = first + offset + i
                        guard (part[i] + others) * (1 + slack) >= top.threshold, filter?.contains(document) ?? true
                        else { continue }
                        if essential < terms.count
                            && !canEnter(
                                document, sum: part[i], from: essential, &terms, rest, bar: top.threshold,
                                slack: slack, &work)
                        {
                            continue
                        }
                        top.insert(document, score: vectors.score(document, dense))
                        work.documentsScored += 1
                    }
                }
                if largest > 0 { for i in 0..<count { part[i] = 0 } }
            }
        }
        return work
    }

    /// Looks a document up in the lists that were not read, until it is known whether it could be in the result.
    /// Documents come in ascending order.
    private func canEnter(
        _ document: Int, sum: Float, from first: Int, _ terms: inout [QueryTerm], _ rest: [Float], bar: Float,
        slack: Float, _ work: inout SearchWork
    ) -> Bool {
        var sum = sum
        for t in first..<terms.count {
            if (sum + rest[t]) * (1 + slack) < bar { return false }
            let place = lists.firstPosting(terms[t].list, atLeast: document)
            terms[t].list = place..<terms[t].list.upperBound
            work.postingsRead += 1
            if place < terms[t].list.upperBound, Int(lists.documents[place]) == document {
                sum += terms[t].weight * lists.weights[place]
            }
        }
        return sum * (1 + slack) >= bar
    }
}

extension PostingLists {
    /// The first posting of a list from `document` on, by steps that double and then halve.
    func firstPosting(_ list: Range<Int>, atLeast document: Int) -> Int {
        var (low, step) = (list.lowerBound, 1)
        if low >= list.upperBound || Int(documents[low]) >= document { return low }
        while low + step < list.upperBound && Int(documents[low + step]) < document {
            low += step
            step *= 2
        }
        var high = min(low + step, list.upperBound)
        // documents[low] < document <= documents[high]
        while high - low > 1 {
            let middle = (low + high) / 2
            if Int(documents[middle]) < document { low = middle } else { high = middle }
        }
        return high
    }
}
