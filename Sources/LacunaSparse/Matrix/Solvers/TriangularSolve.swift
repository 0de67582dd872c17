import LacunaTensor

extension SparseMatrix where Scalar: SparseScalar {
    /// Which triangle of a square matrix holds its entries.
    public enum Triangle: Sendable, Hashable {
        /// Columns up to the row's own.
        case lower
        /// Columns from the row's own on.
        case upper
    }

    /// Solves `L x = b` (or `Lᵀ x = b`) for a triangular matrix by substitution.
    ///
    /// - Parameters:
    ///   - b: [rows].
    ///   - triangle: Where entries may be; one elsewhere is refused, not ignored.
    ///   - unitDiagonal: Takes the diagonal to be 1; it must then not be stored.
    ///   - transposed: Solves with the transpose.
    /// - Throws: `LacunaError.invalidArgument` for a matrix that is not square or has an entry outside the triangle, or a `b` of
    ///   another length; `LacunaError.numerical` for a diagonal entry that is 0 or not stored.
    /// - Complexity: O(rows + entries).
    public func solveTriangular(
        _ b: [Scalar], _ triangle: Triangle, unitDiagonal: Bool = false, transposed: Bool = false
    ) throws -> [Scalar] {
        guard rows == columns, b.count == rows else {
            throw LacunaError.invalidArgument("b", reason: "\(b.count) numbers for a matrix \(pattern.shapeText)")
        }
        let n = rows
        var x = b
        try pattern.withCompressedRows { starts, indices in
            try withValues { values in
                /// The entries of a row beside the diagonal, and the diagonal.
                func split(_ row: Int) throws -> (Range<Int>, Scalar) {
                    var range = starts[row]..<starts[row + 1]
                    var pivot: Scalar = 0
                    switch triangle {
                    case .lower:
                        if let last = range.last, Int(indices[last]) == row {
                            (pivot, range) = (values[last], range.lowerBound..<last)
                        }
                        if let last = range.last, Int(indices[last]) > row { throw outside(row, Int(indices[last])) }
                    case .upper:
                        if let first = range.first, Int(indices[first]) == row {
                            (pivot, range) = (values[first], first + 1..<range.upperBound)
                        }
                        if let first = range.first, Int(indices[first]) < row {
                            throw outside(row, Int(indices[first]))
                        }
                    }
                    if unitDiagonal {
                        if pivot != 0 { throw outside(row, row) }
                        return (range, 1)
                    }
                    guard pivot != 0 else {
                        throw LacunaError.numerical(
                            operation: "triangular solve", reason: "the diagonal entry of row \(row) is 0")
                    }
                    return (range, pivot)
                }
                func outside(_ row: Int, _ column: Int) -> LacunaError {
                    .invalidArgument("triangle", reason: "[\(row), \(column)] is stored outside of it")
                }
                let descending = (triangle == .upper) != transposed
                for step in 0..<n {
                    let row = descending ? n - 1 - step : step
                    let (range, pivot) = try split(row)
                    if transposed {
                        x[row] /= pivot
                        for j in range { x[Int(indices[j])] -= values[j] * x[row] }
                    } else {
                        var sum = x[row]
                        for j in range { sum -= values[j] * x[Int(indices[j])] }
                        x[row] = sum / pivot
                    }
                }
            }
        }
        return x
    }

    /// The inverse of the diagonal as an operator: the simplest preconditioner.
    ///
    /// - Throws: `LacunaError.numerical` for a diagonal entry that is 0 or not stored.
    public func jacobiPreconditioner() throws -> SparseMatrix {
        let diagonal = diagonal
        if let row = diagonal.firstIndex(of: 0) {
            throw LacunaError.numerical(operation: "preconditioner", reason: "the diagonal entry of row \(row) is 0")
        }
        return SparseMatrix(diagonal: diagonal.map { 1 / $0 })
    }
}
