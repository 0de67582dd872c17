import LacunaTensor

extension InvertedIndex {
    /// A list with the document it stands at, and the block that document is in.
    private struct Cursor {
        let weight: Float
        let bound: Float
        let end: Int
        let firstPosting: Int
        let firstBlock: Int
        let blockEnd: Int
        var place: Int
        var block: Int
        var document: Int
    }

    /// Document at a time, with bounds of whole lists and of blocks.
    func blockMaxWAND(
        _ query: [QueryTerm], _ dense: UnsafePointer<Float>, into top: inout TopDocuments, filter: DocumentSet?
    ) -> SearchWork {
        var work = SearchWork()
        let slack = 1 + DocumentVectors.rounding(terms: query.count)
        let past = Int.max
        var cursors = query.map {
            Cursor(
                weight: $0.weight, bound: $0.bound, end: $0.list.upperBound, firstPosting: $0.list.lowerBound,
                firstBlock: lists.blockStarts[$0.term], blockEnd: lists.blockStarts[$0.term + 1],
                place: $0.list.lowerBound, block: lists.blockStarts[$0.term],
                document: Int(lists.documents[$0.list.lowerBound]))
        }
        /// Moves the cursor's block to the one that `document` would be in, without reading postings.
        func seekBlock(_ cursor: inout Cursor, _ document: Int) {
            while cursor.block < cursor.blockEnd && Int(lists.blockLasts[cursor.block]) < document { cursor.block += 1 }
        }
        func seek(_ cursor: inout Cursor, _ document: Int) {
            seekBlock(&cursor, document)
            guard cursor.block < cursor.blockEnd else {
                (cursor.place, cursor.document) = (cursor.end, past)
                return
            }
            let start = cursor.firstPosting + (cursor.block - cursor.firstBlock) * PostingLists.blockSize
            cursor.place = max(cursor.place, start)
            while Int(lists.documents[cursor.place]) < document {
                cursor.place += 1
                work.postingsRead += 1
            }
            cursor.document = Int(lists.documents[cursor.place])
        }
        var order = Array(cursors.indices)
        while true {
            // Few change places from one document to the next: an insertion sort.
            for i in 1..<max(order.count, 1) {
                var j = i
                while j > 0 && cursors[order[j - 1]].document > cursors[order[j]].document {
                    order.swapAt(j - 1, j)
                    j -= 1
                }
            }
            // The first document that the lists up to it could lift into the result.
            var (bound, pivot): (Float, Int) = (0, -1)
            for i in order.indices {
                if cursors[order[i]].document == past { break }
                bound += cursors[order[i]].bound
                if bound * slack >= top.threshold {
                    pivot = i
                    break
                }
            }
            if pivot < 0 { return work }
            let document = cursors[order[pivot]].document
            while pivot + 1 < order.count && cursors[order[pivot + 1]].document == document { pivot += 1 }
            // The same with the largest weights of the blocks, and how far those blocks reach.
            var blockBound: Float = 0
            var reach = past
            for i in 0...pivot {
                seekBlock(&cursors[order[i]], document)
                let cursor = cursors[order[i]]
                guard cursor.block < cursor.blockEnd else { continue }
                blockBound += cursor.weight * lists.blockMaxima[cursor.block]
                reach = min(reach, Int(lists.blockLasts[cursor.block]))
            }
            if blockBound * slack < top.threshold {
                // Nothing up to the end of the shortest block, or to the next list's document, can enter.
                var next = reach == past ? document + 1 : reach + 1
                if pivot + 1 < order.count { next = min(next, cursors[order[pivot + 1]].document) }
                work.blocksSkipped += 1
                for i in 0...pivot where cursors[order[i]].document < max(next, document + 1) {
                    seek(&cursors[order[i]], max(next, document + 1))
                }
                continue
            }
            if cursors[order[0]].document == document {
                if filter?.contains(document) ?? true {
                    top.insert(document, score: vectors.score(document, dense))
                    work.documentsScored += 1
                }
                for i in 0...pivot { seek(&cursors[order[i]], document + 1) }
            } else {
                for i in 0...pivot where cursors[order[i]].document < document { seek(&cursors[order[i]], document) }
            }
        }
    }
}
