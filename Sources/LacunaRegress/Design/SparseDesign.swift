import LacunaSparse
import LacunaTensor

/// A design over a sparse matrix, reached by the rows of its transpose.
public struct SparseDesign: Design {
    /// One row for each column of the design, [columns, rows].
    public let transpose: SparseMatrix<Double>
    public private(set) var inverseScales: [Double]?

    public var rows: Int { transpose.columns }
    public var columns: Int { transpose.rows }

    /// A design of the rows (samples) and columns (features) of a matrix.
    ///
    /// - Complexity: O(rows + columns + stored entries).
    public init(_ matrix: SparseMatrix<Double>) { self.init(transpose: matrix.transposed()) }

    /// A design of whose matrix this is the transpose, [columns, rows].
    public init(transpose: SparseMatrix<Double>) { self.transpose = transpose }

    /// The entries of a dense design that are not 0.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for more rows or columns than a sparse matrix may have.
    public init(_ dense: DenseDesign) throws {
        let (rows, columns) = (dense.rows, dense.columns)
        var entries: [(row: Int, column: Int, value: Double)] = []
        var column = [Double](repeating: 0, count: rows)
        let plain = dense.scaled(by: nil)
        for j in 0..<columns {
            for i in column.indices { column[i] = 0 }
            plain.add(1, column: j, to: &column)
            for i in 0..<rows where column[i] != 0 { entries.append((j, i, column[i])) }
        }
        transpose = try SparseMatrix(rows: columns, columns: rows, entries: entries)
        inverseScales = dense.inverseScales
    }

    /// Stored values.
    public var count: Int { transpose.count }
    public var byteCount: Int { transpose.byteCount }

    /// Calls `body` with where each column begins, [columns + 1], the rows of all entries and their values.
    func withColumns<Result>(
        _ body: (UnsafePointer<Int>, UnsafePointer<UInt32>, UnsafePointer<Double>) throws -> Result
    ) rethrows -> Result {
        try transpose.pattern.withCompressedRows { starts, rows in
            try transpose.withValues { try body(starts.baseAddress!, rows.baseAddress!, $0.baseAddress!) }
        }
    }

    public func scaled(by inverseScales: [Double]?) -> SparseDesign {
        require(inverseScales == nil || inverseScales!.count == columns)
        var result = self
        result.inverseScales = inverseScales
        return result
    }

    public func correlations(
        _ selected: [UInt32]?, with v: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>
    ) {
        let total = selected?.count ?? columns
        withColumns { starts, index, values in
            // The kernels count in 64 bits without sign.
            starts.withMemoryRebound(to: UInt64.self, capacity: columns + 1) { starts in
                Parallel.forRanges(total, grain: columnGrain(4 + count / max(columns, 1))) { range in
                    let target = out + range.lowerBound
                    if let selected {
                        selected.withUnsafeBufferPointer {
                            kernels.sparse_dots_f64(
                                values, index, starts, $0.baseAddress! + range.lowerBound, range.count, v, target)
                        }
                    } else {
                        kernels.sparse_dots_f64(values, index, starts + range.lowerBound, nil, range.count, v, target)
                    }
                    if let scales = inverseScales {
                        for k in range { out[k] *= scales[selected.map { Int($0[k]) } ?? k] }
                    }
                }
            }
        }
    }

    public func correlation(_ j: Int, with v: UnsafePointer<Double>) -> Double {
        withColumns { starts, index, values in
            kernels.sparse_dot_f64(values + starts[j], index + starts[j], starts[j + 1] - starts[j], v)
                * (inverseScales?[j] ?? 1)
        }
    }

    public func add(_ a: Double, column j: Int, to v: UnsafeMutablePointer<Double>) {
        withColumns { starts, index, values in
            kernels.sparse_axpy_f64(
                a * (inverseScales?[j] ?? 1), values + starts[j], index + starts[j], starts[j + 1] - starts[j], v)
        }
    }

    /// `v += a w x_j`, entry by entry.
    ///
    /// - Parameter weights: One for each row.
    /// - Complexity: O(stored entries of the column).
    public func add(
        _ a: Double, column j: Int, weights: UnsafePointer<Double>, to v: UnsafeMutablePointer<Double>
    ) {
        let factor = a * (inverseScales?[j] ?? 1)
        withColumns { starts, index, values in
            for k in starts[j]..<starts[j + 1] {
                let row = Int(index[k])
                v[row] += factor * values[k] * weights[row]
            }
        }
    }

    public func squaredNorms(weights: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>) {
        withColumns { starts, index, values in
            Parallel.forRanges(columns, grain: columnGrain(4 + count / max(columns, 1))) { columns in
                for j in columns {
                    let scale = inverseScales?[j] ?? 1
                    out[j] =
                        kernels.sparse_weighted_squares_f64(
                            values + starts[j], index + starts[j], starts[j + 1] - starts[j], weights) * scale * scale
                }
            }
        }
    }

    public func gram(
        _ first: [UInt32], _ second: [UInt32], weights: UnsafePointer<Double>, totalWeight: Double,
        means: (first: [Double], second: [Double])?, into out: UnsafeMutablePointer<Double>, leading: Int
    ) {
        if first.isEmpty || second.isEmpty { return }
        let column = Buffer<Double>(repeating: 0, count: rows)
        withColumns { starts, index, values in
            for (a, j) in first.enumerated() {
                // One column spread out, multiplied with all of the others.
                let entries = starts[Int(j)]..<starts[Int(j) + 1]
                let scale = inverseScales?[Int(j)] ?? 1
                for i in entries {
                    let row = Int(index[i])
                    column.pointer[row] = weights[row] * values[i] * scale
                }
                let row = out + a * leading
                correlations(second, with: column.pointer, into: row)
                if let means {
                    for b in second.indices { row[b] -= totalWeight * means.first[a] * means.second[b] }
                }
                for i in entries { column.pointer[Int(index[i])] = 0 }
            }
        }
    }

    public func moments(weights: [Double]) -> ColumnMoments {
        var moments = ColumnMoments(columns: columns)
        if rows == 0 { return moments }
        let positive = weights.count { $0 > 0 }
        withColumns { starts, index, values in
            for j in 0..<columns { moments.isFull[j] = starts[j + 1] - starts[j] == rows }
            moments.withColumns(grain: columnGrain(4 + count / max(columns, 1))) { range, set in
                for j in range {
                    set(
                        j,
                        ColumnSummary(
                            sparse: values + starts[j], rows: index + starts[j], count: starts[j + 1] - starts[j],
                            weights: weights, positive: positive))
                }
            }
        }
        return moments.scaled(by: inverseScales)
    }

    /// Stays sparse where the columns to shift store every row; others are spelt out as they are read.
    public func shifted(by shifts: [Double]) -> any Design {
        require(shifts.count == columns)
        let isSparse = withColumns { starts, _, _ in
            shifts.indices.allSatisfy { shifts[$0] == 0 || starts[$0 + 1] - starts[$0] == rows }
        }
        guard isSparse else { return ShiftedDesign(self, by: shifts) }
        var moved = transpose
        withColumns { starts, _, _ in
            moved.withMutableValues { values in
                for (j, shift) in shifts.enumerated() where shift != 0 {
                    for k in starts[j]..<starts[j + 1] { values[k] -= shift }
                }
            }
        }
        var result = SparseDesign(transpose: moved)
        result.inverseScales = inverseScales
        return result
    }

    public func firstNonFinite() -> (row: Int, column: Int)? {
        transpose.first { !$0.value.isFinite }.map { ($0.column, $0.row) }
    }
}
