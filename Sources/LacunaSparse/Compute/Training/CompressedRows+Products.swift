import CLacuna
import LacunaTensor

/// The three products of a sparse layer by the segments of its rows, and the product with one vector.
extension CompressedRows: PanelProducts {
    public func forwardTiles(
        _ panels: UnsafePointer<Scalar>, batch: Int,
        _ take: (_ panel: Int, _ rows: Range<Int>, _ tile: UnsafePointer<Scalar>) -> Void
    ) {
        let cut = PanelCut<Scalar>(batch: batch)
        let order = cut.batch <= Scalar.panelWidth / 2 ? pattern.narrowSegments : pattern.segments
        withUnsafePointer(to: kernel(order)) { kernel in
            cut.forEachTile(
                of: panels, features: columns, parts: order.blocks, range: order.rows(block:),
                product: { Scalar.kernelTable.pointee.product_segments(kernel, $0, $1, $2, $3) }, take)
        }
    }

    public func backwardTiles(
        _ panels: UnsafePointer<Scalar>, batch: Int,
        _ take: (_ panel: Int, _ columns: Range<Int>, _ tile: UnsafePointer<Scalar>) -> Void
    ) {
        let (order, cut) = (pattern.segments, PanelCut<Scalar>(batch: batch))
        withUnsafePointer(to: kernel(order)) { kernel in
            cut.forEachTile(
                of: panels, features: rows, parts: order.bands, range: { order.columns(band: $0, of: columns) },
                product: { Scalar.kernelTable.pointee.transposed_segments(kernel, $0, $1, $2, $3) }, take)
        }
    }

    public func samplePanels(
        _ a: UnsafePointer<Scalar>, _ b: UnsafePointer<Scalar>, batch: Int,
        into gradient: UnsafeMutablePointer<Scalar>, adding: Bool
    ) {
        let (order, cut) = (pattern.segments, PanelCut<Scalar>(batch: batch))
        if cut.count == 0 {
            if !adding { gradient.update(repeating: 0, count: count) }
            return
        }
        // Short segments would leave most of a vector of entries empty.
        let byBands = order.meanLength >= 32
        withUnsafePointer(to: kernel(order)) { kernel in
            Parallel.forEach(order.blocks) { block in
                for p in 0..<cut.count {
                    let (a, b) = (a + cut.offset(p, features: rows), b + cut.offset(p, features: columns))
                    if byBands {
                        Scalar.kernelTable.pointee.sampled_segments(
                            kernel, block, a, b, cut[p].width, adding || p > 0 ? 1 : 0, gradient)
                    } else {
                        let rows = order.rows(block: block)
                        Scalar.kernelTable.pointee.sampled(
                            pattern.rowOffsets.pointer, pattern.columnIndices.pointer, rows.lowerBound,
                            rows.upperBound, a, b, cut[p].width, adding || p > 0 ? 1 : 0, gradient)
                    }
                }
            }
        }
    }

    /// A matrix of the same pattern that holds `Σ_b dy[b, row] x[b, column]`.
    public func sampledProduct(output dy: Tensor<Scalar>, input x: Tensor<Scalar>) -> CompressedRows {
        precondition(dy.rows == x.rows && dy.columns == rows && x.columns == columns, "shapes do not fit")
        var result = CompressedRows(pattern)
        let batch = x.rows
        dy.withPointer { dy in
            x.withPointer { x in
                result.withMutableValues {
                    guard let values = $0.baseAddress else { return }
                    accumulateGradient(
                        output: dy, leadingY: rows, input: x, leadingX: columns, batch: batch, into: values)
                }
            }
        }
        return result
    }

    // MARK: One vector

    /// Entries of an item of parallel work, at least.
    private static var itemEntries: Int { 16_384 }

    /// `y = alpha W x + beta y`: `x` [columns], `y` [rows].
    ///
    /// Work is cut by entries: a row may be shared by several threads, and one that has most of the entries is.
    public func multiply(
        vector x: UnsafePointer<Scalar>, alpha: Scalar = 1, beta: Scalar = 0, into y: UnsafeMutablePointer<Scalar>
    ) {
        let (offsets, columns) = (pattern.rowOffsets.pointer, pattern.columnIndices.pointer)
        let share = Swift.max(CompressedRows.itemEntries, (count + 31) / 32)
        let items = Swift.max((count + share - 1) / share, 1)
        let direct = alpha == 1 && beta == 0
        let scratch = Scratch.current.panels(Scalar.self, count: (direct ? 0 : rows) + items)
        // What each item gives to the row that began before it.
        let carried = scratch + (direct ? 0 : rows)
        let sums = direct ? y : scratch
        func firstRow(at entry: Int) -> Int {
            var (low, high) = (0, rows)
            while low < high {
                let middle = (low + high) / 2
                if offsets[middle] < entry { low = middle + 1 } else { high = middle }
            }
            return low
        }
        withValues { values in
            func sum(_ range: Range<Int>) -> Scalar {
                var sum: Scalar = 0
                withUnsafePointer(to: (range.lowerBound, range.upperBound)) {
                    $0.withMemoryRebound(to: Int.self, capacity: 2) {
                        Scalar.kernelTable.pointee.gemv_rows($0, columns, values, x, 0, 1, &sum)
                    }
                }
                return sum
            }
            Parallel.forEach(items) { item in
                let (start, end) = (item * share, Swift.min((item + 1) * share, count))
                let first = firstRow(at: start)
                let last = item + 1 == items ? rows : firstRow(at: end)
                carried[item] = 0
                if first > 0 && offsets[first] > start {
                    carried[item] = sum(start..<Swift.min(end, offsets[first]))
                }
                // The last row that begins here may end elsewhere.
                let isCut = last > first && offsets[last] > end
                let whole = first..<(isCut ? last - 1 : last)
                if !whole.isEmpty {
                    Scalar.kernelTable.pointee.gemv_rows(
                        offsets, columns, values, x, whole.lowerBound, whole.upperBound, sums + whole.lowerBound)
                }
                if isCut { sums[last - 1] = sum(offsets[last - 1]..<end) }
            }
        }
        for item in 1..<Swift.max(items, 1) where carried[item] != 0 || carried[item].isNaN {
            let first = firstRow(at: item * share)
            if first > 0 { sums[first - 1] += carried[item] }
        }
        if !direct { Scalar.kernelTable.pointee.combine(Double(alpha), sums, Double(beta), y, rows) }
    }

    /// `W x` of `x` [columns].
    public func multiplied(by x: [Scalar]) -> [Scalar] {
        precondition(x.count == columns, "\(x.count) entries for \(columns) columns")
        let y = Buffer<Scalar>(uninitialized: rows)
        x.withUnsafeBufferPointer { x in
            // An empty vector has no address, and nothing is read of it.
            let start = x.baseAddress ?? UnsafePointer(y.pointer)
            multiply(vector: start, into: y.pointer)
        }
        return y.array
    }
}
