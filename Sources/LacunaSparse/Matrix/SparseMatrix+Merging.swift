import CLacuna
import LacunaTensor

// Sums and entrywise products: the rows of two matrices merged in one pass, which writes entries before it is known how many come
// before them. Items of parallel work leave room for all that they may write, and close up afterwards.
extension SparseMatrix where Scalar: Numeric {
    /// What two matrices of one shape are merged into.
    enum Merge {
        /// Entries that either has.
        case sum, difference
        /// Entries that both have.
        case product
    }

    /// This matrix and another merged.
    func merged(_ other: SparseMatrix, _ kind: Merge) -> SparseMatrix {
        require(
            rows == other.rows && columns == other.columns, "\(pattern.shapeText) and \(other.pattern.shapeText) differ"
        )
        if pattern.isIdentical(to: other.pattern) { return mergedValues(other, kind) }
        let (a, b) = (pattern.compressedRows, other.pattern.compressedRows)
        let grain = RowMerge.grain(rows: rows, entries: count + other.count)
        let items = Parallel.threads == 1 ? Swift.min(rows, 1) : (rows + grain - 1) / Swift.max(grain, 1)
        func range(_ item: Int) -> Range<Int> {
            items == 1 ? 0..<rows : item * grain..<Swift.min((item + 1) * grain, rows)
        }
        // Where the room of each item begins.
        var places = [0]
        for item in 0..<items {
            let range = range(item)
            let left = a.starts.pointer[range.upperBound] - a.starts.pointer[range.lowerBound]
            let right = b.starts.pointer[range.upperBound] - b.starts.pointer[range.lowerBound]
            // A product writes before it knows whether to keep.
            places.append(places[item] + (kind == .product ? Swift.min(left, right) + 1 : left + right))
        }
        let starts = Buffer<Int>(uninitialized: rows + 1)
        starts.pointer[0] = 0
        let (indices, values) = (
            Buffer<UInt32>(uninitialized: places[items]), Buffer<Scalar>(uninitialized: places[items])
        )
        let counts = Buffer<Int>(repeating: 0, count: items)
        let first = places
        Parallel.forEach(items) { item in
            let end = merge(
                other, kind, range(item), place: first[item], ends: starts.pointer, indices.pointer, values.pointer)
            counts.pointer[item] = end - first[item]
        }
        // Items close up, in their order, as each moves to where others were.
        var total = 0
        for item in 0..<items {
            let shift = places[item] - total
            if shift > 0 {
                (indices.pointer + total).update(from: indices.pointer + places[item], count: counts.pointer[item])
                (values.pointer + total).update(from: values.pointer + places[item], count: counts.pointer[item])
                for row in range(item) { starts.pointer[row + 1] -= shift }
            }
            total += counts.pointer[item]
        }
        return SparseMatrix(
            SparsePattern(
                rows: rows, columns: columns, .init(starts: starts, columns: Buffer(first: total, of: indices))),
            buffer: Buffer(first: total, of: values))
    }

    /// Two matrices of one pattern: which of its entries there are is known.
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    private func mergedValues(_ other: SparseMatrix, _ kind: Merge) -> SparseMatrix {
        let values = Buffer<Scalar>(uninitialized: count)
        let (a, b, target) = (buffer.pointer, other.buffer.pointer, values.pointer)
        Parallel.forRanges(count, grain: 1 << 16) { range in
            switch kind {
            case .sum: for i in range { target[i] = a[i] + b[i] }
            case .difference: for i in range { target[i] = a[i] - b[i] }
            case .product: for i in range { target[i] = a[i] * b[i] }
            }
        }
        withExtendedLifetime((self, other)) {}
        return SparseMatrix(pattern, buffer: values)
    }

    /// Merges some rows, and writes where each ends behind `ends`; returns the place after the last entry.
    private func merge(
        _ other: SparseMatrix, _ kind: Merge, _ range: Range<Int>, place: Int, ends: UnsafeMutablePointer<Int>,
        _ indices: UnsafeMutablePointer<UInt32>, _ values: UnsafeMutablePointer<Scalar>
    ) -> Int {
        defer { withExtendedLifetime((self, other)) {} }
        func kernelRows(_ matrix: SparseMatrix) -> lk_rows {
            let compressed = matrix.pattern.compressedRows
            return lk_rows(
                start: compressed.starts.pointer, column: compressed.columns.pointer, values: matrix.buffer.pointer)
        }
        var (a, b) = (kernelRows(self), kernelRows(other))
        let (from, to, raw) = (range.lowerBound, range.upperBound, UnsafeMutableRawPointer(values))
        if Scalar.self == Float.self {
            let values = raw.assumingMemoryBound(to: Float.self)
            return kind == .product
                ? lk_merge_product_f32(&a, &b, from, to, place, ends + 1, indices, values)
                : lk_merge_sum_f32(&a, &b, kind == .sum ? 1 : -1, from, to, place, ends + 1, indices, values)
        }
        if Scalar.self == Double.self {
            let values = raw.assumingMemoryBound(to: Double.self)
            return kind == .product
                ? lk_merge_product_f64(&a, &b, from, to, place, ends + 1, indices, values)
                : lk_merge_sum_f64(&a, &b, kind == .sum ? 1 : -1, from, to, place, ends + 1, indices, values)
        }
        // Other types of numbers: entry by entry.
        let (x, y) = (pattern.compressedRows, other.pattern.compressedRows)
        var place = place
        for row in range {
            var (i, j) = (x.starts.pointer[row], y.starts.pointer[row])
            let (endI, endJ) = (x.starts.pointer[row + 1], y.starts.pointer[row + 1])
            while i < endI || j < endJ {
                let left = i < endI ? Int64(x.columns.pointer[i]) : .max
                let right = j < endJ ? Int64(y.columns.pointer[j]) : .max
                let p = left <= right ? buffer.pointer[i] : 0
                let q = right <= left ? other.buffer.pointer[j] : 0
                if kind != .product || left == right {
                    indices[place] = UInt32(truncatingIfNeeded: Swift.min(left, right))
                    switch kind {
                    case .sum: values[place] = p + q
                    case .difference: values[place] = p - q
                    case .product: values[place] = p * q
                    }
                    place += 1
                }
                if left <= right { i += 1 }
                if right <= left { j += 1 }
            }
            ends[row + 1] = place
        }
        return place
    }
}
