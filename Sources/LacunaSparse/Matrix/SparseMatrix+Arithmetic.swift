import LacunaTensor

/// The arithmetic of matrices: what is not stored counts as 0.
extension SparseMatrix where Scalar: Numeric {
    /// Entry by entry; the shapes must agree. Entries that cancel stay stored as 0.
    ///
    /// - Complexity: O(rows + entries of both).
    public static func + (a: SparseMatrix, b: SparseMatrix) -> SparseMatrix { a.merged(b, .sum) }

    /// Entry by entry; the shapes must agree. Entries that cancel stay stored as 0.
    ///
    /// - Complexity: O(rows + entries of both).
    public static func - (a: SparseMatrix, b: SparseMatrix) -> SparseMatrix { a.merged(b, .difference) }

    /// Adds a matrix of the same shape.
    public static func += (a: inout SparseMatrix, b: SparseMatrix) { a = a + b }
    /// Subtracts a matrix of the same shape.
    public static func -= (a: inout SparseMatrix, b: SparseMatrix) { a = a - b }

    /// Every stored value times a number.
    public static func * (a: SparseMatrix, factor: Scalar) -> SparseMatrix { a.scaled(by: factor) }

    /// Every stored value times a number.
    public static func * (factor: Scalar, a: SparseMatrix) -> SparseMatrix { a.scaled(by: factor) }

    /// Multiplies every stored value by a number.
    public static func *= (a: inout SparseMatrix, factor: Scalar) {
        a.withMutableValues { for i in $0.indices { $0[i] *= factor } }
    }

    /// Every stored value with its sign turned.
    public static prefix func - (a: SparseMatrix) -> SparseMatrix { a.mapValues { 0 - $0 } }

    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    private func scaled(by factor: Scalar) -> SparseMatrix {
        let values = Buffer<Scalar>(uninitialized: count)
        for i in 0..<count { values.pointer[i] = buffer.pointer[i] * factor }
        return SparseMatrix(pattern, buffer: values)
    }

    /// The product of entries at the same place (Hadamard): stored where both are. The shapes must agree.
    ///
    /// - Complexity: O(rows + entries of both).
    public func hadamard(_ other: SparseMatrix) -> SparseMatrix { merged(other, .product) }

    /// Row `i` times `factors[i]`: `diag(factors) A`.
    public func scaled(rows factors: [Scalar]) -> SparseMatrix {
        require(factors.count == rows, "\(factors.count) factors for \(rows) rows")
        return mapEntries { row, _, value in factors[row] * value }
    }

    /// Column `j` times `factors[j]`: `A diag(factors)`.
    public func scaled(columns factors: [Scalar]) -> SparseMatrix {
        require(factors.count == columns, "\(factors.count) factors for \(columns) columns")
        return mapEntries { _, column, value in factors[column] * value }
    }
}

extension SparseMatrix where Scalar: TensorScalar {
    /// Every stored value divided by a number.
    public static func / (a: SparseMatrix, divisor: Scalar) -> SparseMatrix { a.mapValues { $0 / divisor } }

    /// Stored entries times those of a dense matrix at the same places.
    public func hadamard(_ other: Tensor<Scalar>) -> SparseMatrix { combined(with: other, *) }

    /// Stored entries divided by those of a dense matrix at the same places.
    public static func / (a: SparseMatrix, divisors: Tensor<Scalar>) -> SparseMatrix { a.combined(with: divisors, /) }

    private func combined(with other: Tensor<Scalar>, _ operation: (Scalar, Scalar) -> Scalar) -> SparseMatrix {
        require(other.shape == [rows, columns], "shape \(other.shape) for a matrix \(pattern.shapeText)")
        return other.withPointer { p in mapEntries { operation($2, p[$0 * columns + $1]) } }
    }

    /// The sum with a dense matrix, which is dense.
    public static func + (a: SparseMatrix, b: Tensor<Scalar>) -> Tensor<Scalar> {
        require(b.shape == [a.rows, a.columns], "shape \(b.shape) for a matrix \(a.pattern.shapeText)")
        var result = b
        result.withMutablePointer { p in a.forEachEntry { p[$0 * a.columns + $1] += $2 } }
        return result
    }

    /// The same numbers as another type.
    public func converted<Other: TensorScalar & SparseElement>(to: Other.Type) -> SparseMatrix<Other> {
        mapValues { Other($0) }
    }

    /// Whether two matrices of the same shape differ nowhere by more than `tolerance` times the largest magnitude of either,
    /// at least `tolerance`.
    public func isApproximatelyEqual(to other: SparseMatrix, tolerance: Scalar) -> Bool {
        guard rows == other.rows && columns == other.columns else { return false }
        let scale = Swift.max(norm(.largest), other.norm(.largest), 1)
        return (self - other).norm(.largest) <= tolerance * scale
    }
}
