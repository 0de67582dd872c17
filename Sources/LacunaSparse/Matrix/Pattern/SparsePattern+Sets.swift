import LacunaTensor

// Patterns as sets of entries. Two patterns in bits are combined word by word, others by merging their rows: never through
// bits of a pattern that was made without them.
extension SparsePattern {
    /// Keeps what both keep. The shapes must agree.
    public func intersection(_ other: SparsePattern) -> SparsePattern {
        combined(with: other, keeping: (both: true, left: false, right: false), &)
    }
    /// Keeps what either keeps. The shapes must agree.
    public func union(_ other: SparsePattern) -> SparsePattern {
        combined(with: other, keeping: (both: true, left: true, right: true), |)
    }
    /// Keeps what this pattern keeps and `other` does not. The shapes must agree.
    public func subtracting(_ other: SparsePattern) -> SparsePattern {
        combined(with: other, keeping: (both: false, left: true, right: false)) { $0 & ~$1 }
    }

    private func combined(
        with other: SparsePattern, keeping kept: (both: Bool, left: Bool, right: Bool),
        _ operation: (UInt64, UInt64) -> UInt64
    ) -> SparsePattern {
        require(
            rows == other.rows && columns == other.columns, "patterns of \(shapeText) and \(other.shapeText)")
        if let a = storage.bits, let b = other.storage.bits {
            var result = self
            result.storage = Storage(bits: Buffer(uninitialized: a.count))
            let target = result.storage.bits!.pointer
            for i in 0..<a.count { target[i] = operation(a.pointer[i], b.pointer[i]) }
            return result
        }
        let merge = RowMerge(self, other, keeping: kept)
        return SparsePattern(rows: rows, columns: columns, merge.compressed)
    }

    /// Keeps what this pattern removes, as bits.
    ///
    /// - Complexity: O(rows · columns / 64).
    public func inverted() -> SparsePattern {
        var result = self
        result.withMutableWords { words, wordsPerRow in
            for i in 0..<rows * wordsPerRow { words[i] = ~words[i] }
        }
        SparsePattern.clearSlack(result.storage.bits!, rows: rows, columns: columns)
        return result
    }

    /// Whether every entry that this pattern keeps is kept by `other` too. The shapes must agree.
    public func isSubset(of other: SparsePattern) -> Bool { intersection(other).count == count }

    /// For every entry of `target`, in row-major order, its index here, or -1. The shapes must agree.
    ///
    /// - Complexity: O(rows + entries of both).
    public func indices(ofEntriesOf target: SparsePattern) -> [Int] {
        require(rows == target.rows && columns == target.columns, "patterns of \(shapeText) and \(target.shapeText)")
        var result = [Int](repeating: -1, count: target.count)
        let starts = target.compressedRows.starts
        result.withUnsafeMutableBufferPointer { result in
            let result = result
            RowMerge.forEach(self, target, keeping: (both: true, left: false, right: true), starts: starts) {
                place, _, left, _ in result[place] = left
            }
        }
        return result
    }

    // MARK: Transposition

    /// The pattern of the transposed matrix, in the form that this one is held in.
    ///
    /// - Complexity: O(rows + columns + entries), once: the transpose is kept.
    public func transposed() -> SparsePattern {
        guard storage.bits != nil else { return transpose.pattern }
        var result = SparsePattern(rows: columns, columns: rows)
        result.withMutableWords { words, wordsPerRow in
            for row in 0..<rows {
                let (word, bit) = (row / 64, UInt64(1) << UInt64(row % 64))
                forEachKept(row: row) { words[$0 * wordsPerRow + word] |= bit }
            }
        }
        return result
    }

    /// The transpose in compressed rows, and for each of its entries the index here.
    var transpose: Transpose {
        storage.derive(\.transpose) {
            let compressed = compressedRows
            let count = compressed.columns.count
            require(count <= Int(UInt32.max), "the transpose of a pattern of \(count) entries, more than 2^32 - 1")
            let starts = Buffer<Int>(repeating: 0, count: columns + 1)
            let (from, indices) = (compressed.starts.pointer, compressed.columns.pointer)
            for j in 0..<count { starts.pointer[Int(indices[j]) + 1] += 1 }
            for c in 0..<columns { starts.pointer[c + 1] += starts.pointer[c] }
            let next = starts.copy()
            let rowIndices = Buffer<UInt32>(uninitialized: count)
            let order = Buffer<UInt32>(uninitialized: count)
            for row in 0..<rows {
                for j in from[row]..<from[row + 1] {
                    let place = next.pointer[Int(indices[j])]
                    next.pointer[Int(indices[j])] = place + 1
                    rowIndices.pointer[place] = UInt32(truncatingIfNeeded: row)
                    order.pointer[place] = UInt32(truncatingIfNeeded: j)
                }
            }
            return Transpose(
                pattern: SparsePattern(
                    rows: columns, columns: rows, CompressedRows(starts: starts, columns: rowIndices)),
                order: order)
        }
    }

    // MARK: Tensors

    /// Sets the removed entries of `matrix` [rows, columns] to 0, whatever they were.
    public func apply<Scalar: TensorScalar>(to matrix: inout Tensor<Scalar>) {
        require(matrix.shape == [rows, columns], "a pattern of \(shapeText) for shape \(matrix.shape)")
        let (rows, columns, lastWordBits) = (rows, columns, lastWordBits)
        matrix.withMutablePointer { p in
            withWords { words, wordsPerRow in
                Parallel.forRanges(rows, grain: max(1, 65536 / max(columns, 1))) { range in
                    for row in range {
                        for word in 0..<wordsPerRow {
                            let start = p + row * columns + word * 64
                            var removed = ~words[row * wordsPerRow + word]
                            if word == wordsPerRow - 1 { removed &= lastWordBits }
                            while removed != 0 {
                                start[removed.trailingZeroBitCount] = 0
                                removed &= removed - 1
                            }
                        }
                    }
                }
            }
        }
    }

    /// `matrix` with its removed entries set to 0.
    public func applied<Scalar: TensorScalar>(to matrix: Tensor<Scalar>) -> Tensor<Scalar> {
        var result = matrix
        apply(to: &result)
        return result
    }
}

/// The rows of two patterns of one shape merged: which entries a combination has, and where each comes from.
///
/// Sums, differences, products of entries and comparisons of matrices are made of it.
struct RowMerge {
    let compressed: SparsePattern.CompressedRows

    /// - Parameter kept: Which entries the combination has: those of both patterns, of the left one alone, of the right.
    /// - Complexity: O(rows + entries of both).
    init(_ a: SparsePattern, _ b: SparsePattern, keeping kept: (both: Bool, left: Bool, right: Bool)) {
        let starts = Buffer<Int>(repeating: 0, count: a.rows + 1)
        RowMerge.count(a, b, keeping: kept) { row, _, _, _ in
            starts.pointer[row + 1] += 1
        }
        for row in 0..<a.rows { starts.pointer[row + 1] += starts.pointer[row] }
        let columns = Buffer<UInt32>(uninitialized: starts.pointer[a.rows])
        RowMerge.forEach(a, b, keeping: kept, starts: starts) { place, column, _, _ in columns.pointer[place] = column }
        compressed = .init(starts: starts, columns: columns)
    }

    /// Calls `each` for the entries of the combination with their place, their column and their indices in both patterns,
    /// -1 where one has none. Rows are shared out among threads.
    @inline(__always)
    static func forEach(
        _ a: SparsePattern, _ b: SparsePattern, keeping kept: (both: Bool, left: Bool, right: Bool),
        starts: Buffer<Int>, _ each: (_ place: Int, _ column: UInt32, _ left: Int, _ right: Int) -> Void
    ) {
        let (x, y) = (a.compressedRows, b.compressedRows)
        let (xs, xc, ys, yc) = (x.starts.pointer, x.columns.pointer, y.starts.pointer, y.columns.pointer)
        Parallel.forRanges(a.rows, grain: grain(rows: a.rows, entries: x.columns.count + y.columns.count)) { range in
            for row in range {
                var place = starts.pointer[row]
                merge(xs[row]..<xs[row + 1], xc, ys[row]..<ys[row + 1], yc, keeping: kept) { column, i, j in
                    each(place, column, i, j)
                    place += 1
                }
            }
        }
    }

    @inline(__always)
    private static func count(
        _ a: SparsePattern, _ b: SparsePattern, keeping kept: (both: Bool, left: Bool, right: Bool),
        each: (_ row: Int, _ column: UInt32, _ left: Int, _ right: Int) -> Void
    ) {
        let (x, y) = (a.compressedRows, b.compressedRows)
        let (xs, xc, ys, yc) = (x.starts.pointer, x.columns.pointer, y.starts.pointer, y.columns.pointer)
        Parallel.forRanges(a.rows, grain: grain(rows: a.rows, entries: x.columns.count + y.columns.count)) { range in
            for row in range {
                merge(xs[row]..<xs[row + 1], xc, ys[row]..<ys[row + 1], yc, keeping: kept) { each(row, $0, $1, $2) }
            }
        }
    }

    /// Rows of an item of parallel work of about 64 thousand entries.
    static func grain(rows: Int, entries: Int) -> Int { max(1, 65_536 / max((entries + rows) / max(rows, 1), 1)) }

    @inline(__always)
    private static func merge(
        _ a: Range<Int>, _ ac: UnsafePointer<UInt32>, _ b: Range<Int>, _ bc: UnsafePointer<UInt32>,
        keeping kept: (both: Bool, left: Bool, right: Bool),
        _ each: (_ column: UInt32, _ left: Int, _ right: Int) -> Void
    ) {
        var (i, j) = (a.lowerBound, b.lowerBound)
        while i < a.upperBound && j < b.upperBound {
            if ac[i] == bc[j] {
                if kept.both { each(ac[i], i, j) }
                i += 1
                j += 1
            } else if ac[i] < bc[j] {
                if kept.left { each(ac[i], i, -1) }
                i += 1
            } else {
                if kept.right { each(bc[j], -1, j) }
                j += 1
            }
        }
        if kept.left {
            while i < a.upperBound {
                each(ac[i], i, -1)
                i += 1
            }
        }
        if kept.right {
            while j < b.upperBound {
                each(bc[j], -1, j)
                j += 1
            }
        }
    }
}
