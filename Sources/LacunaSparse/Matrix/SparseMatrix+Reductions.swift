import LacunaTensor

extension SparseMatrix where Scalar: Numeric {
    /// The sum of all entries.
    public func sum() -> Scalar { buffer.elements.reduce(0, +) }

    /// The sum of every row, [rows].
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    public func rowSums() -> [Scalar] {
        let starts = pattern.compressedRows.starts
        return (0..<rows).map { r in
            (starts.pointer[r]..<starts.pointer[r + 1]).reduce(0) { $0 + buffer.pointer[$1] }
        }
    }

    /// The sum of every column, [columns].
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    public func columnSums() -> [Scalar] {
        var sums = [Scalar](repeating: 0, count: columns)
        let indices = pattern.compressedRows.columns
        for j in 0..<count { sums[Int(indices.pointer[j])] += buffer.pointer[j] }
        return sums
    }

    /// The sum of the diagonal of a square matrix.
    public func trace() -> Scalar {
        require(rows == columns, "the trace of \(pattern.shapeText)")
        return diagonal.reduce(0, +)
    }
}

extension SparseMatrix where Scalar: Comparable {
    /// The largest entry, those that are not stored counted; nil for an empty matrix.
    public func max() -> Scalar? { extreme(>) }
    /// The smallest entry, those that are not stored counted; nil for an empty matrix.
    public func min() -> Scalar? { extreme(<) }
    /// The largest entry of every row, those that are not stored counted.
    ///
    /// - Precondition: There are columns, or no rows.
    public func rowMaxima() -> [Scalar] { rowExtremes(>) }
    /// The smallest entry of every row, those that are not stored counted.
    public func rowMinima() -> [Scalar] { rowExtremes(<) }
    /// The largest entry of every column, those that are not stored counted.
    public func columnMaxima() -> [Scalar] { transposed().rowExtremes(>) }
    /// The smallest entry of every column, those that are not stored counted.
    public func columnMinima() -> [Scalar] { transposed().rowExtremes(<) }

    private func extreme(_ isBetter: (Scalar, Scalar) -> Bool) -> Scalar? {
        if rows == 0 || columns == 0 { return nil }
        var best: Scalar? = count == rows * columns ? nil : .absent
        for value in buffer.elements where best.map({ isBetter(value, $0) }) ?? true { best = value }
        return best
    }

    private func rowExtremes(_ isBetter: (Scalar, Scalar) -> Bool) -> [Scalar] {
        require(columns > 0 || rows == 0, "extremes of rows without columns")
        let starts = pattern.compressedRows.starts
        return (0..<rows).map { r in
            let range = starts.pointer[r]..<starts.pointer[r + 1]
            var best: Scalar? = range.count == columns ? nil : .absent
            for j in range where best.map({ isBetter(buffer.pointer[j], $0) }) ?? true { best = buffer.pointer[j] }
            return best!
        }
    }
}

/// A norm of a matrix.
public enum MatrixNorm: Sendable, Hashable, CaseIterable {
    /// √Σ a²
    case frobenius
    /// The largest sum of magnitudes of a column: the operator norm of the 1-norm.
    case one
    /// The largest sum of magnitudes of a row: the operator norm of the maximum norm.
    case infinity
    /// The largest magnitude of an entry.
    case largest
}

extension SparseMatrix where Scalar: TensorScalar {
    /// The mean of all entries, those that are not stored counted; NaN for an empty matrix.
    public func mean() -> Scalar { sum() / (Scalar(rows) * Scalar(columns)) }
    /// The mean of every row, those that are not stored counted.
    public func rowMeans() -> [Scalar] { rowSums().map { $0 / Scalar(columns) } }
    /// The mean of every column, those that are not stored counted.
    public func columnMeans() -> [Scalar] { columnSums().map { $0 / Scalar(rows) } }

    /// A norm of the matrix; NaN if an entry is not a number.
    ///
    /// - Complexity: O(entries), plus rows or columns.
    public func norm(_ norm: MatrixNorm = .frobenius) -> Scalar {
        func largest(_ values: some Sequence<Scalar>) -> Scalar {
            values.reduce(0) { $1.isNaN || $0.isNaN ? .nan : Swift.max($0, $1) }
        }
        switch norm {
        case .frobenius:
            // Scaled by the largest, so that squares neither overflow nor vanish.
            let scale = self.norm(.largest)
            if scale == 0 || !scale.isFinite { return scale }
            return scale
                * buffer.elements.reduce(0) { $0 + ($1 / scale) * ($1 / scale) }.squareRoot()
        case .one: return largest(mapValues { abs($0) }.columnSums())
        case .infinity: return largest(mapValues { abs($0) }.rowSums())
        case .largest: return largest(buffer.elements.lazy.map { abs($0) })
        }
    }

    /// The Euclidean norm of every row, [rows].
    public func rowNorms() -> [Scalar] { mapValues { $0 * $0 }.rowSums().map { $0.squareRoot() } }
    /// The Euclidean norm of every column, [columns].
    public func columnNorms() -> [Scalar] { mapValues { $0 * $0 }.columnSums().map { $0.squareRoot() } }
}
