import CLacuna
import LacunaTensor

/// The three products of a sparse layer `Y = X Wᵀ`: forward, and the gradients of its input and of its weights.
///
/// Each exists for batches as rows of matrices, which are transposed into panels on the way in and out, and for
/// ``Panels``, which are not. With `beta` 0 what the target held does not matter, even if it is not a number.
///
/// - Complexity: `2 · count · batch` operations, and the batch's own size for the transpositions.
extension CompressedRows {
    // MARK: Forward

    /// `Y = alpha X Wᵀ + beta Y`: `x` [batch, columns] and `y` [batch, rows], rows `leadingX` and `leadingY` apart.
    public func multiply(
        _ x: UnsafePointer<Scalar>, leadingX: Int, batch: Int, alpha: Scalar = 1, beta: Scalar = 0,
        into y: UnsafeMutablePointer<Scalar>, leadingY: Int
    ) {
        let cut = PanelCut<Scalar>(batch: batch)
        let panels = Scratch.current.panels(Scalar.self, count: cut.size(features: columns))
        cut.pack(x, leading: leadingX, features: columns, into: panels)
        forward(panels, cut) { p, rows, tile in
            let (first, used, width) = cut[p]
            Scalar._transpose(
                tile, width, rows.count, used, alpha, beta, y + first * leadingY + rows.lowerBound, leadingY)
        }
    }

    /// `X Wᵀ` of `x` [batch, columns].
    public func multiplied(by x: Tensor<Scalar>) -> Tensor<Scalar> {
        precondition(x.rank == 2 && x.columns == columns, "\(x.shape) does not fit [\(rows), \(columns)]")
        var y = Tensor<Scalar>(uninitialized: [x.rows, rows])
        let batch = x.rows
        x.withPointer { x in
            y.withMutablePointer { multiply(x, leadingX: columns, batch: batch, into: $0, leadingY: rows) }
        }
        return y
    }

    /// `Y = alpha X Wᵀ + beta Y` on panels of `columns` and of `rows` features.
    public func multiply(_ x: Panels<Scalar>, alpha: Scalar = 1, beta: Scalar = 0, into y: Panels<Scalar>) {
        precondition(x.features == columns && y.features == rows && x.batch == y.batch, "panels of other shapes")
        let cut = x.cut
        forward(x.pointer, cut) { p, rows, tile in
            let (start, width) = (cut.offset(p, features: self.rows), cut[p].width)
            Scalar._combine(alpha, tile, beta, y.pointer + start + rows.lowerBound * width, rows.count * width)
        }
    }

    /// Calls `take` with each panel's sums for each block of rows.
    private func forward(
        _ panels: UnsafePointer<Scalar>, _ cut: PanelCut<Scalar>,
        _ take: (_ panel: Int, _ rows: Range<Int>, _ tile: UnsafePointer<Scalar>) -> Void
    ) {
        let order = cut.batch <= Scalar._panelWidth / 2 ? pattern.narrowSegments : pattern.segments
        withUnsafePointer(to: kernel(order)) { kernel in
            Parallel.forEach(cut.count * order.blocks) { item in
                let (p, block) = (item / order.blocks, item % order.blocks)
                let rows = order.rows(block: block)
                let width = cut[p].width
                let tile = Scratch.current.tile(Scalar.self, count: rows.count * width)
                tile.update(repeating: 0, count: rows.count * width)
                Scalar._product(kernel, block, panels + cut.offset(p, features: columns), width, tile)
                take(p, rows, tile)
            }
        }
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
                if Int(offsets[middle]) < entry { low = middle + 1 } else { high = middle }
            }
            return low
        }
        withValues { values in
            func sum(_ range: Range<Int>) -> Scalar {
                var sum: Scalar = 0
                withUnsafePointer(to: (UInt32(range.lowerBound), UInt32(range.upperBound))) {
                    $0.withMemoryRebound(to: UInt32.self, capacity: 2) {
                        Scalar._gemv($0, columns, values, x, 0..<1, columns: self.columns, &sum)
                    }
                }
                return sum
            }
            Parallel.forEach(items) { item in
                let (start, end) = (item * share, Swift.min((item + 1) * share, count))
                let first = firstRow(at: start)
                let last = item + 1 == items ? rows : firstRow(at: end)
                carried[item] = 0
                if first > 0 && Int(offsets[first]) > start {
                    carried[item] = sum(start..<Swift.min(end, Int(offsets[first])))
                }
                // The last row that begins here may end elsewhere.
                let isCut = last > first && Int(offsets[last]) > end
                let whole = first..<(isCut ? last - 1 : last)
                if !whole.isEmpty {
                    Scalar._gemv(
                        offsets, columns, values, x, whole, columns: self.columns, sums + whole.lowerBound)
                }
                if isCut { sums[last - 1] = sum(Int(offsets[last - 1])..<end) }
            }
        }
        for item in 1..<Swift.max(items, 1) where carried[item] != 0 || carried[item].isNaN {
            let first = firstRow(at: item * share)
            if first > 0 { sums[first - 1] += carried[item] }
        }
        if !direct { Scalar._combine(alpha, sums, beta, y, rows) }
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

    // MARK: Gradient of the input

    /// `dX = alpha dY W + beta dX`: `dy` [batch, rows] and `dx` [batch, columns]. `W` is read as it is stored.
    public func multiplyTransposed(
        _ dy: UnsafePointer<Scalar>, leadingY: Int, batch: Int, alpha: Scalar = 1, beta: Scalar = 0,
        into dx: UnsafeMutablePointer<Scalar>, leadingX: Int
    ) {
        let cut = PanelCut<Scalar>(batch: batch)
        let panels = Scratch.current.panels(Scalar.self, count: cut.size(features: rows))
        cut.pack(dy, leading: leadingY, features: rows, into: panels)
        backward(panels, cut) { p, columns, tile in
            let (first, used, width) = cut[p]
            Scalar._transpose(
                tile, width, columns.count, used, alpha, beta, dx + first * leadingX + columns.lowerBound, leadingX)
        }
    }

    /// `dY W` of `dy` [batch, rows].
    public func transposedMultiplied(by dy: Tensor<Scalar>) -> Tensor<Scalar> {
        precondition(dy.rank == 2 && dy.columns == rows, "\(dy.shape) does not fit [\(rows), \(columns)] transposed")
        var dx = Tensor<Scalar>(uninitialized: [dy.rows, columns])
        let batch = dy.rows
        dy.withPointer { dy in
            dx.withMutablePointer { multiplyTransposed(dy, leadingY: rows, batch: batch, into: $0, leadingX: columns) }
        }
        return dx
    }

    /// `dX = alpha dY W + beta dX` on panels of `rows` and of `columns` features.
    public func multiplyTransposed(
        _ dy: Panels<Scalar>, alpha: Scalar = 1, beta: Scalar = 0, into dx: Panels<Scalar>
    ) {
        precondition(dy.features == rows && dx.features == columns && dx.batch == dy.batch, "panels of other shapes")
        let cut = dy.cut
        backward(dy.pointer, cut) { p, columns, tile in
            let (start, width) = (cut.offset(p, features: self.columns), cut[p].width)
            Scalar._combine(
                alpha, tile, beta, dx.pointer + start + columns.lowerBound * width, columns.count * width)
        }
    }

    private func backward(
        _ panels: UnsafePointer<Scalar>, _ cut: PanelCut<Scalar>,
        _ take: (_ panel: Int, _ columns: Range<Int>, _ tile: UnsafePointer<Scalar>) -> Void
    ) {
        let order = pattern.segments
        withUnsafePointer(to: kernel(order)) { kernel in
            Parallel.forEach(cut.count * order.bands) { item in
                let (p, band) = (item / order.bands, item % order.bands)
                let columns = order.columns(band: band, of: self.columns)
                let width = cut[p].width
                let tile = Scratch.current.tile(Scalar.self, count: columns.count * width)
                tile.update(repeating: 0, count: columns.count * width)
                Scalar._transposed(kernel, band, panels + cut.offset(p, features: rows), width, tile)
                take(p, columns, tile)
            }
        }
    }

    // MARK: Gradient of the weights

    /// The sampled dense-dense product `g[j] (+)= Σ_b dY[b, row(j)] X[b, column(j)]` for the entries `j` of the pattern,
    /// and for no others: the gradient of the values of this matrix (which are not read).
    ///
    /// - Parameters:
    ///   - dy: [batch, rows], rows `leadingY` apart.
    ///   - x: [batch, columns], rows `leadingX` apart.
    ///   - gradient: [count], in the order of the pattern.
    ///   - adding: Adds to what `gradient` holds instead of replacing it.
    public func accumulateGradient(
        output dy: UnsafePointer<Scalar>, leadingY: Int, input x: UnsafePointer<Scalar>, leadingX: Int, batch: Int,
        into gradient: UnsafeMutablePointer<Scalar>, adding: Bool = false
    ) {
        let cut = PanelCut<Scalar>(batch: batch)
        let size = cut.size(features: rows)
        let a = Scratch.current.panels(Scalar.self, count: size + cut.size(features: columns))
        cut.pack(dy, leading: leadingY, features: rows, into: a)
        cut.pack(x, leading: leadingX, features: columns, into: a + size)
        sample(a, a + size, cut, into: gradient, adding: adding)
    }

    /// The same on panels of `rows` and of `columns` features.
    public func accumulateGradient(
        output dy: Panels<Scalar>, input x: Panels<Scalar>, into gradient: UnsafeMutablePointer<Scalar>,
        adding: Bool = false
    ) {
        precondition(dy.features == rows && x.features == columns && x.batch == dy.batch, "panels of other shapes")
        sample(dy.pointer, x.pointer, x.cut, into: gradient, adding: adding)
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

    private func sample(
        _ a: UnsafePointer<Scalar>, _ b: UnsafePointer<Scalar>, _ cut: PanelCut<Scalar>,
        into gradient: UnsafeMutablePointer<Scalar>, adding: Bool
    ) {
        if cut.count == 0 {
            if !adding { gradient.update(repeating: 0, count: count) }
            return
        }
        let order = pattern.segments
        // Short segments would leave most of a vector of entries empty.
        let byBands = order.meanLength >= 32
        withUnsafePointer(to: kernel(order)) { kernel in
            Parallel.forEach(order.blocks) { block in
                for p in 0..<cut.count {
                    let (a, b) = (a + cut.offset(p, features: rows), b + cut.offset(p, features: columns))
                    if byBands {
                        Scalar._sampledSegments(kernel, block, a, b, cut[p].width, adding || p > 0, gradient)
                    } else {
                        Scalar._sampled(
                            pattern.rowOffsets.pointer, pattern.columnIndices.pointer, order.rows(block: block), a, b,
                            cut[p].width, adding || p > 0, gradient)
                    }
                }
            }
        }
    }
}
