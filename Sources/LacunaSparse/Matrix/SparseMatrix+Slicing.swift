import LacunaTensor

extension SparseMatrix {
    /// The rows and columns of two ranges.
    ///
    /// - Complexity: O(rows of the range · log of their entries + entries of the result).
    public subscript(rows rowRange: Range<Int>, columns columnRange: Range<Int>) -> SparseMatrix {
        require(
            rowRange.lowerBound >= 0 && rowRange.upperBound <= rows && columnRange.lowerBound >= 0
                && columnRange.upperBound <= columns,
            "rows \(rowRange) and columns \(columnRange) of \(pattern.shapeText)")
        let old = pattern.compressedRows
        let (from, indices) = (old.starts.pointer, old.columns.pointer)
        func place(of column: Int, in row: Int) -> Int {
            if column == 0 { return from[row] }
            if column == columns { return from[row + 1] }
            var (low, high) = (from[row], from[row + 1])
            while low < high {
                let middle = (low + high) / 2
                if Int(indices[middle]) < column { low = middle + 1 } else { high = middle }
            }
            return low
        }
        let firsts = Buffer<Int>(uninitialized: rowRange.count)
        let starts = Buffer<Int>(uninitialized: rowRange.count + 1)
        starts.pointer[0] = 0
        for (i, row) in rowRange.enumerated() {
            firsts.pointer[i] = place(of: columnRange.lowerBound, in: row)
            starts.pointer[i + 1] =
                starts.pointer[i] + place(of: columnRange.upperBound, in: row) - firsts.pointer[i]
        }
        let total = starts.pointer[rowRange.count]
        let (shifted, values) = (Buffer<UInt32>(uninitialized: total), Buffer<Scalar>(uninitialized: total))
        let shift = UInt32(truncatingIfNeeded: columnRange.lowerBound)
        for i in 0..<rowRange.count {
            let (source, target) = (firsts.pointer[i], starts.pointer[i])
            let n = starts.pointer[i + 1] - target
            (values.pointer + target).update(from: buffer.pointer + source, count: n)
            for j in 0..<n { shifted.pointer[target + j] = indices[source + j] - shift }
        }
        return SparseMatrix(
            SparsePattern(rows: rowRange.count, columns: columnRange.count, .init(starts: starts, columns: shifted)),
            buffer: values)
    }

    /// The rows of a range, all columns.
    public subscript(rows range: Range<Int>) -> SparseMatrix { self[rows: range, columns: 0..<columns] }

    /// The columns of a range, all rows.
    public subscript(columns range: Range<Int>) -> SparseMatrix { self[rows: 0..<rows, columns: range] }

    /// A row [columns].
    public func row(_ index: Int) -> SparseVector<Scalar> {
        let range = pattern.entries(row: index)
        let compressed = pattern.compressedRows
        return SparseVector(
            count: columns, indices: Buffer(copying: compressed.columns.pointer + range.lowerBound, count: range.count),
            values: Buffer(copying: buffer.pointer + range.lowerBound, count: range.count))
    }

    /// A column [rows].
    ///
    /// - Complexity: O(rows · log of a row's entries); of many columns, take rows of the transpose.
    public func column(_ index: Int) -> SparseVector<Scalar> {
        require((0..<columns).contains(index), "column \(index) of \(columns)")
        var (indices, values): ([UInt32], [Scalar]) = ([], [])
        for row in 0..<rows {
            if let j = pattern.index(row: row, column: index) {
                indices.append(UInt32(truncatingIfNeeded: row))
                values.append(buffer.pointer[j])
            }
        }
        return SparseVector(count: rows, indices: Buffer(indices), values: Buffer(values))
    }

    /// The rows named, in that order; a row may come more than once.
    ///
    /// - Complexity: O(rows and entries of the result).
    public func selecting(rows selected: some Collection<Int>) -> SparseMatrix { selecting(rowList: Array(selected)) }

    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    private func selecting(rowList selected: [Int]) -> SparseMatrix {
        let old = pattern.compressedRows
        let starts = Buffer<Int>(uninitialized: selected.count + 1)
        starts.pointer[0] = 0
        for (i, row) in selected.enumerated() {
            require((0..<rows).contains(row), "row \(row) of \(rows)")
            starts.pointer[i + 1] = starts.pointer[i] + old.starts.pointer[row + 1] - old.starts.pointer[row]
        }
        let total = starts.pointer[selected.count]
        let (indices, values) = (Buffer<UInt32>(uninitialized: total), Buffer<Scalar>(uninitialized: total))
        for (i, row) in selected.enumerated() {
            let (from, to) = (old.starts.pointer[row], starts.pointer[i])
            let n = starts.pointer[i + 1] - to
            (indices.pointer + to).update(from: old.columns.pointer + from, count: n)
            (values.pointer + to).update(from: buffer.pointer + from, count: n)
        }
        return SparseMatrix(
            SparsePattern(rows: selected.count, columns: columns, .init(starts: starts, columns: indices)),
            buffer: values)
    }

    /// The columns named, in that order; a column may come more than once.
    ///
    /// - Complexity: O(columns + rows + entries of both), and O(n log n) for the entries n of a row of the result.
    public func selecting(columns selected: some Collection<Int>) -> SparseMatrix {
        // The places of every column in the result, one list after another.
        let first = Buffer<Int>(repeating: 0, count: columns + 1)
        for column in selected {
            require((0..<columns).contains(column), "column \(column) of \(columns)")
            first.pointer[column + 1] += 1
        }
        for c in 0..<columns { first.pointer[c + 1] += first.pointer[c] }
        let next = first.copy()
        let places = Buffer<UInt32>(uninitialized: selected.count)
        for (i, column) in selected.enumerated() {
            places.pointer[next.pointer[column]] = UInt32(truncatingIfNeeded: i)
            next.pointer[column] += 1
        }
        let old = pattern.compressedRows
        let starts = Buffer<Int>(uninitialized: rows + 1)
        starts.pointer[0] = 0
        for row in 0..<rows {
            var n = 0
            for j in old.starts.pointer[row]..<old.starts.pointer[row + 1] {
                let c = Int(old.columns.pointer[j])
                n += first.pointer[c + 1] - first.pointer[c]
            }
            starts.pointer[row + 1] = starts.pointer[row] + n
        }
        let total = starts.pointer[rows]
        let (indices, values) = (Buffer<UInt32>(uninitialized: total), Buffer<Scalar>(uninitialized: total))
        Parallel.forRanges(rows, grain: RowMerge.grain(rows: rows, entries: count + total)) { range in
            var found: [(place: UInt32, index: Int)] = []
            for row in range {
                found.removeAll(keepingCapacity: true)
                var isSorted = true
                for j in old.starts.pointer[row]..<old.starts.pointer[row + 1] {
                    let c = Int(old.columns.pointer[j])
                    for k in first.pointer[c]..<first.pointer[c + 1] {
                        if let last = found.last, last.place > places.pointer[k] { isSorted = false }
                        found.append((places.pointer[k], j))
                    }
                }
                if !isSorted { found.sort { $0.place < $1.place } }
                let start = starts.pointer[row]
                for (i, entry) in found.enumerated() {
                    indices.pointer[start + i] = entry.place
                    values.pointer[start + i] = buffer.pointer[entry.index]
                }
            }
        }
        return SparseMatrix(
            SparsePattern(rows: rows, columns: selected.count, .init(starts: starts, columns: indices)), buffer: values)
    }

    /// The matrix with row `i` from `rowOrder[i]` and column `j` from `columnOrder[j]`; nil keeps an order.
    ///
    /// - Throws: `LacunaError.invalidArgument` unless the orders are permutations.
    public func permuted(rows rowOrder: [Int]? = nil, columns columnOrder: [Int]? = nil) throws -> SparseMatrix {
        func check(_ order: [Int], _ count: Int, _ name: String) throws {
            var seen = [Bool](repeating: false, count: count)
            for i in order where (0..<count).contains(i) { seen[i] = true }
            guard order.count == count && seen.allSatisfy({ $0 }) else {
                throw LacunaError.invalidArgument(name, reason: "is no permutation of 0..<\(count)")
            }
        }
        var result = self
        if let rowOrder {
            try check(rowOrder, rows, "rows")
            result = result.selecting(rows: rowOrder)
        }
        if let columnOrder {
            try check(columnOrder, columns, "columns")
            result = result.selecting(columns: columnOrder)
        }
        return result
    }

    /// The transpose [columns, rows].
    ///
    /// - Complexity: O(rows + columns + entries) the first time; the pattern's transpose is kept, so that another matrix of the
    ///   same pattern only moves its values.
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    public func transposed() -> SparseMatrix {
        let transpose = pattern.transpose
        let values = Buffer<Scalar>(uninitialized: count)
        let (order, source, target) = (transpose.order.pointer, buffer.pointer, values.pointer)
        Parallel.forRanges(count, grain: 65_536) { range in
            for j in range { target[j] = source[Int(order[j])] }
        }
        return SparseMatrix(transpose.pattern, buffer: values)
    }

    /// The entries on and above (`diagonal` 0), or only further above (positive) or also below (negative) a diagonal.
    public func upperTriangle(diagonal: Int = 0) -> SparseMatrix {
        filter { row, column, _ in column - row >= diagonal }
    }

    /// The entries on and below (`diagonal` 0), or also above (positive) or only further below (negative) a diagonal.
    public func lowerTriangle(diagonal: Int = 0) -> SparseMatrix {
        filter { row, column, _ in column - row <= diagonal }
    }

    /// The entries of the main diagonal, [min(rows, columns)].
    public var diagonal: [Scalar] { (0..<Swift.min(rows, columns)).map { self[$0, $0] } }
}

// MARK: Dense

extension SparseMatrix where Scalar: TensorScalar {
    /// The entries of `dense` [rows, columns] whose magnitude is above `threshold`. NaN is kept.
    ///
    /// - Throws: `LacunaError.invalidArgument` if the tensor is not a matrix.
    /// - Complexity: O(rows · columns).
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    public init(_ dense: Tensor<Scalar>, threshold: Scalar = 0) throws {
        guard dense.rank == 2 else {
            throw LacunaError.invalidArgument("dense", reason: "shape \(dense.shape) is not a matrix")
        }
        let (rows, columns) = (dense.rows, dense.columns)
        try SparsePattern.checkSides(rows: rows, columns: columns)
        let starts = Buffer<Int>(uninitialized: rows + 1)
        starts.pointer[0] = 0
        self = dense.withPointer { p in
            for r in 0..<rows {
                var kept = 0
                for c in 0..<columns where !(abs(p[r * columns + c]) <= threshold) { kept += 1 }
                starts.pointer[r + 1] = starts.pointer[r] + kept
            }
            let total = starts.pointer[rows]
            let (indices, values) = (Buffer<UInt32>(uninitialized: total), Buffer<Scalar>(uninitialized: total))
            Parallel.forRanges(rows, grain: Swift.max(1, 65_536 / Swift.max(columns, 1))) { range in
                for r in range {
                    var j = starts.pointer[r]
                    for c in 0..<columns where !(abs(p[r * columns + c]) <= threshold) {
                        indices.pointer[j] = UInt32(truncatingIfNeeded: c)
                        values.pointer[j] = p[r * columns + c]
                        j += 1
                    }
                }
            }
            return SparseMatrix(
                SparsePattern(rows: rows, columns: columns, .init(starts: starts, columns: indices)), buffer: values)
        }
    }

    /// The entries of `dense` [rows, columns] that are in `pattern`, whatever they are.
    ///
    /// - Throws: `LacunaError.invalidArgument` for a tensor of another shape.
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    public init(_ dense: Tensor<Scalar>, at pattern: SparsePattern) throws {
        guard dense.shape == [pattern.rows, pattern.columns] else {
            throw LacunaError.invalidArgument(
                "pattern", reason: "\(pattern.shapeText) for a tensor of shape \(dense.shape)")
        }
        self.init(pattern)
        gather(from: dense)
    }

    /// Replaces every stored value by the entry of `dense` [rows, columns] at its place.
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    public mutating func gather(from dense: Tensor<Scalar>) {
        require(dense.shape == [rows, columns], "shape \(dense.shape) for a matrix \(pattern.shapeText)")
        let (compressed, rows, columns) = (pattern.compressedRows, rows, columns)
        dense.withPointer { source in
            withMutableValues { values in
                guard let values = values.baseAddress else { return }
                Parallel.forRanges(rows, grain: RowMerge.grain(rows: rows, entries: compressed.columns.count)) {
                    range in
                    for r in range {
                        for j in compressed.starts.pointer[r]..<compressed.starts.pointer[r + 1] {
                            values[j] = source[r * columns + Int(compressed.columns.pointer[j])]
                        }
                    }
                }
            }
        }
    }

    /// The dense matrix.
    ///
    /// - Precondition: rows · columns numbers fit in memory.
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    public func densified() -> Tensor<Scalar> {
        var result = Tensor<Scalar>(zeros: [rows, columns])
        let (compressed, columns) = (pattern.compressedRows, columns)
        result.withMutablePointer { target in
            for r in 0..<rows {
                for j in compressed.starts.pointer[r]..<compressed.starts.pointer[r + 1] {
                    target[r * columns + Int(compressed.columns.pointer[j])] = buffer.pointer[j]
                }
            }
        }
        return result
    }
}
