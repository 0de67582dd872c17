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
        return RowMerge(self, other, keeping: kept).pattern
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
            guard let places = result.baseAddress else { return }
            let merge = RowMerge(self, target, keeping: (both: true, left: false, right: true), starts: starts)
            Parallel.forRanges(rows, grain: merge.grain) { range in
                merge.forEach(in: range) { place, _, left, _ in places[place] = left }
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
    /// Which entries a combination has: those of both patterns, of the left one alone, of the right one alone.
    typealias Kept = (both: Bool, left: Bool, right: Bool)

    private let (a, b): (SparsePattern.CompressedRows, SparsePattern.CompressedRows)
    private let (rows, columns): (Int, Int)
    private let kept: Kept
    /// Where each row of the combination begins, [rows + 1].
    let starts: Buffer<Int>

    /// Counts the entries of every row.
    ///
    /// - Complexity: O(rows + entries of both).
    init(_ left: SparsePattern, _ right: SparsePattern, keeping kept: Kept) {
        let (a, b) = (left.compressedRows, right.compressedRows)
        let starts = Buffer<Int>(repeating: 0, count: left.rows + 1)
        let (xs, xc, ys, yc, counts) = (
            a.starts.pointer, a.columns.pointer, b.starts.pointer, b.columns.pointer, starts.pointer + 1
        )
        let grain = RowMerge.grain(rows: left.rows, entries: a.columns.count + b.columns.count)
        Parallel.forRanges(left.rows, grain: grain) { range in
            for row in range {
                var (i, j, common) = (xs[row], ys[row], 0)
                let (endI, endJ) = (xs[row + 1], ys[row + 1])
                let (m, n) = (endI - i, endJ - j)
                while i < endI && j < endJ {
                    let (x, y) = (xc[i], yc[j])
                    common += x == y ? 1 : 0
                    i += x <= y ? 1 : 0
                    j += y <= x ? 1 : 0
                }
                counts[row] =
                    (kept.both ? common : 0) + (kept.left ? m - common : 0) + (kept.right ? n - common : 0)
            }
        }
        for row in 0..<left.rows { counts[row] += counts[row - 1] }
        self.init(a, b, left, kept, starts)
    }

    /// The merge whose combination is known to begin its rows at `starts`.
    init(_ left: SparsePattern, _ right: SparsePattern, keeping kept: Kept, starts: Buffer<Int>) {
        self.init(left.compressedRows, right.compressedRows, left, kept, starts)
    }

    private init(
        _ a: SparsePattern.CompressedRows, _ b: SparsePattern.CompressedRows, _ shape: SparsePattern, _ kept: Kept,
        _ starts: Buffer<Int>
    ) {
        (self.a, self.b, self.kept, self.starts) = (a, b, kept, starts)
        (rows, columns) = (shape.rows, shape.columns)
    }

    /// Entries of the combination.
    var count: Int { starts.pointer[rows] }

    /// The pattern of the combination.
    var pattern: SparsePattern {
        let indices = Buffer<UInt32>(uninitialized: count)
        let target = indices.pointer
        Parallel.forRanges(rows, grain: grain) { range in
            forEach(in: range) { place, column, _, _ in target[place] = column }
        }
        return SparsePattern(rows: rows, columns: columns, .init(starts: starts, columns: indices))
    }

    /// Rows of an item of parallel work of about 64 thousand entries.
    var grain: Int { RowMerge.grain(rows: rows, entries: a.columns.count + b.columns.count) }
    static func grain(rows: Int, entries: Int) -> Int { max(1, 65_536 / max((entries + rows) / max(rows, 1), 1)) }

    /// Calls `each` for the entries of some rows of the combination with their place, their column and their indices in both
    /// patterns, -1 where one has none. To be called within the items of a parallel loop, where `each` is inlined.
    @inline(__always)
    func forEach(in range: Range<Int>, _ each: (_ place: Int, _ column: UInt32, _ left: Int, _ right: Int) -> Void) {
        let (xs, xc, ys, yc) = (a.starts.pointer, a.columns.pointer, b.starts.pointer, b.columns.pointer)
        let first = starts.pointer
        for row in range {
            var place = first[row]
            var (i, j) = (xs[row], ys[row])
            let (endI, endJ) = (xs[row + 1], ys[row + 1])
            while i < endI || j < endJ {
                // One that has ended counts as beyond every column.
                let x = i < endI ? Int64(xc[i]) : Int64.max
                let y = j < endJ ? Int64(yc[j]) : Int64.max
                if x == y {
                    if kept.both {
                        each(place, xc[i], i, j)
                        place += 1
                    }
                    i += 1
                    j += 1
                } else if x < y {
                    if kept.left {
                        each(place, xc[i], i, -1)
                        place += 1
                    }
                    i += 1
                } else {
                    if kept.right {
                        each(place, yc[j], -1, j)
                        place += 1
                    }
                    j += 1
                }
            }
        }
    }
}
