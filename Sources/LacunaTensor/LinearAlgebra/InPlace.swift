extension LinearAlgebra {
    /// Replaces the lower triangle of row-major `a` [n, n] by its Cholesky factor; the upper triangle is left alone.
    ///
    /// - Returns: False if the matrix is not positive definite, or not finite; `a` is then undefined.
    public static func choleskyInPlace<S: TensorScalar>(_ a: UnsafeMutablePointer<S>, n: Int) -> Bool {
        if n == 0 { return true }
        guard S.potrf(n, a) == 0 else { return false }
        return (0..<n).allSatisfy { a[$0 * n + $0].isFinite }
    }

    /// Solves `L Lᵀ x = b` in place for `count` right-hand sides, columns of row-major `b` [n, count], given the lower
    /// triangle `L` [n, n].
    public static func solveCholesky<S: TensorScalar>(
        _ l: UnsafePointer<S>, n: Int, _ b: UnsafeMutablePointer<S>, count: Int = 1
    ) {
        if n == 0 || count == 0 { return }
        S.trsm(lower: true, transposed: false, n, count, l, n, b, count)
        S.trsm(lower: true, transposed: true, n, count, l, n, b, count)
    }
}

extension Tensor {
    /// Solves `self · x = b` for a symmetric positive definite matrix, by Cholesky. Only the lower triangle is read.
    ///
    /// - Throws: ``LacunaError/numerical(operation:reason:)`` if the matrix is not positive definite.
    public func solvePositiveDefinite(_ b: Tensor) throws -> Tensor {
        require(b.rank == 2 && b.rows == rows)
        let factor = try cholesky()
        var x = b
        let (n, count) = (rows, b.columns)
        factor.withPointer { l in x.withMutablePointer { LinearAlgebra.solveCholesky(l, n: n, $0, count: count) } }
        return x
    }
}
