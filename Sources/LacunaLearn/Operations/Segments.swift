import CLacuna
import LacunaTensor

// Rows that belong to segments: the neighbours of a node, the items of a basket, the tokens of a document. Their sums are
// ``Variable/scattered(_:into:)``.
extension Variable {
    /// The largest entry of each column over the rows of every segment: [count, columns]. The gradient goes to the first
    /// such row. Segments without rows get `empty`.
    ///
    /// - Parameter segments: The segment of each row, in `0..<count`, in any order.
    @_specialize(where Scalar == Float)
    public func segmentMaxima(_ segments: [Int32], count: Int, empty: Scalar = 0) -> Variable {
        let width = columns
        require(segments.count == rows, "\(segments.count) segments for \(rows) rows")
        require(segments.allSatisfy { $0 >= 0 && Int($0) < count }, "a segment outside 0..<\(count)")
        let y = tape.output([count, width], self)
        let (x, out) = (pointer, y.pointer)
        var sources = [Int](repeating: -1, count: count * width)
        out.update(repeating: empty, count: count * width)
        for (row, segment) in segments.enumerated() {
            for j in 0..<width {
                let place = Int(segment) * width + j
                if sources[place] < 0 || x[row * width + j] > out[place] {
                    out[place] = x[row * width + j]
                    sources[place] = row * width + j
                }
            }
        }
        tape.record(y) { [self] dy in
            accumulateAdding { dx in
                for (place, source) in sources.enumerated() where source >= 0 { dx[source] += dy[place] }
            }
        }
        return y
    }

    /// The softmax of each column over the rows of every segment.
    ///
    /// - Parameter segments: As for ``segmentMaxima(_:count:empty:)``.
    public func segmentSoftmax(_ segments: [Int32], count: Int) -> Variable {
        let matrix = reshaped([rows, columns])
        let largest = matrix.detached().segmentMaxima(segments, count: count).gathered(segments)
        let powers = (matrix - largest).map(.exponential)
        return (powers / powers.scattered(segments, into: count).gathered(segments)).reshaped(shape)
    }

    /// Sums of rows of a table [items, width], one sum a bag: embeddings of baskets, of bags of words, of categorical
    /// features with several values.
    ///
    /// - Parameters:
    ///   - items: The items of all bags one after the other.
    ///   - starts: Where each bag begins, ascending from 0; the last bag ends with the items. Empty bags give zeros.
    ///   - weights: One for each item; nil for 1.
    ///   - isMean: Divides each sum by the number of its bag's items.
    /// - Returns: [starts.count, width].
    public func embeddingBags(
        _ items: [Int32], starts: [Int], weights: Variable? = nil, isMean: Bool = false
    ) -> Variable {
        require(
            starts.isEmpty ? items.isEmpty : starts[0] == 0 && starts.last! <= items.count,
            "bags that do not cover \(items.count) items")
        var bags = [Int32](repeating: 0, count: items.count)
        var factors = [Scalar](repeating: 1, count: starts.count)
        for (bag, start) in starts.enumerated() {
            let end = bag + 1 < starts.count ? starts[bag + 1] : items.count
            require(end >= start, "bag \(bag) ends before it begins")
            for i in start..<end { bags[i] = Int32(bag) }
            if isMean && end > start { factors[bag] = 1 / Scalar(end - start) }
        }
        var rows = gathered(items)
        if let weights { rows = rows.multipliedByColumn(weights) }
        let sums = rows.scattered(bags, into: starts.count)
        return isMean ? sums.multipliedByColumn(tape.constant(Tensor(factors))) : sums
    }
}
