extension Tensor {
    private func requireFinite(_ operation: String) throws {
        let n = count
        let finite = withPointer { p in
            for i in 0..<n where !p[i].isFinite { return false }
            return true
        }
        if !finite { throw LacunaError.numerical(operation: operation, reason: "the matrix is not finite") }
    }

    private func requireSquare(_ operation: String) throws {
        if rank != 2 || shape[0] != shape[1] {
            throw LacunaError.invalidArgument(operation, reason: "needs a square matrix, not shape \(shape)")
        }
    }

    /// The lower triangular `L` with `L Lᵀ = self`. Only the lower triangle is read; the upper one of the result is 0.
    ///
    /// - Throws: ``LacunaError/numerical(operation:reason:)`` if the matrix is not positive definite.
    public func cholesky() throws -> Tensor {
        try requireSquare("cholesky")
        LinearAlgebra.prepare()
        var result = self
        let n = rows
        let info = result.withMutablePointer { a in
            for i in 0..<n { for j in i + 1..<max(n, i + 1) { a[i * n + j] = 0 } }
            return Scalar._potrf(n, a)
        }
        if info != 0 {
            throw LacunaError.numerical(
                operation: "cholesky", reason: "the leading minor of order \(info) is not positive definite")
        }
        return result
    }

    /// The inverse of a symmetric positive definite matrix whose lower Cholesky factor this is.
    public func inverseFromCholesky() throws -> Tensor {
        try requireSquare("inverse")
        LinearAlgebra.prepare()
        var result = self
        let n = rows
        let info = result.withMutablePointer { a in
            let info = Scalar._potri(n, a)
            for i in 0..<n { for j in 0..<i { a[j * n + i] = a[i * n + j] } }
            return info
        }
        if info != 0 { throw LacunaError.numerical(operation: "inverse", reason: "a pivot of 0 at \(info)") }
        return result
    }

    /// Solves `op(L) X = B` for triangular `self`.
    public func solveTriangular(_ b: Tensor, lower: Bool = true, transposed: Bool = false) -> Tensor {
        precondition(rows == columns && b.rows == rows)
        LinearAlgebra.prepare()
        var result = b
        let (m, n) = (b.rows, b.columns)
        withPointer { l in
            result.withMutablePointer {
                Scalar._trsm(lower: lower, transposed: transposed, m, n, l, m, $0, n)
            }
        }
        return result
    }

    /// The thin QR factorisation: `q` [m, k] with orthonormal columns and upper triangular `r` [k, n], k = min(m, n).
    public func qr() throws -> (q: Tensor, r: Tensor) {
        try requireFinite("qr")
        LinearAlgebra.prepare()
        let (m, n) = (rows, columns)
        let k = min(m, n)
        var a = transposed()  // column-major
        let tau = Buffer<Scalar>(repeating: 0, count: max(k, 1))
        let work = Buffer<Scalar>(uninitialized: 64 * max(m, n, 1))
        var r = Tensor(zeros: [k, n])
        var q = Tensor(zeros: [k, m])
        var info = a.withMutablePointer { Scalar._geqrf(m, n, $0, tau.pointer, work.pointer, work.count) }
        a.withPointer { a in
            r.withMutablePointer { r in for i in 0..<k { for j in i..<max(n, i) { r[i * n + j] = a[j * m + i] } } }
            q.withMutablePointer { $0.update(from: a, count: k * m) }
        }
        if info == 0 {
            info = q.withMutablePointer { Scalar._orgqr(m, k, k, $0, tau.pointer, work.pointer, work.count) }
        }
        if info != 0 { throw LacunaError.numerical(operation: "qr", reason: "LAPACK reports \(info)") }
        return (q.transposed(), r)
    }

    /// The thin singular value decomposition `self = u diag(s) vᵀ`, singular values in descending order.
    ///
    /// - Returns: `u` [m, k], `s` [k] and `vTransposed` [k, n] with k = min(m, n).
    public func svd() throws -> (u: Tensor, s: [Scalar], vTransposed: Tensor) {
        try requireFinite("svd")
        LinearAlgebra.prepare()
        // LAPACK sees the transpose: its left vectors are our right ones.
        let (m, n) = (columns, rows)
        let k = min(m, n)
        if k == 0 { return (Tensor(zeros: [n, 0]), [], Tensor(zeros: [0, m])) }
        var a = self
        var u = Tensor(uninitialized: [k, m])
        var vt = Tensor(uninitialized: [n, k])
        let s = Buffer<Scalar>(uninitialized: k)
        let work = Buffer<Scalar>(uninitialized: 4 * k * k + 7 * k + 64 * (max(m, n) + k))
        let integers = Buffer<Int32>(uninitialized: 8 * k)
        let info = a.withMutablePointer { a in
            u.withMutablePointer { u in
                vt.withMutablePointer { vt in
                    Scalar._gesdd(m, n, a, s.pointer, u, vt, work.pointer, work.count, integers.pointer)
                }
            }
        }
        if info != 0 { throw LacunaError.numerical(operation: "svd", reason: "no convergence (\(info))") }
        return (vt, Array(s.elements), u)
    }

    /// Eigenvalues in ascending order and the matching orthonormal eigenvectors, one per row, of a symmetric matrix.
    /// Only the lower triangle is read.
    public func symmetricEigen() throws -> (values: [Scalar], vectors: Tensor) {
        try requireSquare("symmetricEigen")
        LinearAlgebra.prepare()
        let n = rows
        if n == 0 { return ([], self) }
        var a = self
        let values = Buffer<Scalar>(uninitialized: n)
        let work = Buffer<Scalar>(uninitialized: 1 + 6 * n + 2 * n * n)
        let integers = Buffer<Int32>(uninitialized: 3 + 5 * n)
        let info = a.withMutablePointer {
            Scalar._syevd(n, $0, values.pointer, work.pointer, work.count, integers.pointer, integers.count)
        }
        if info != 0 { throw LacunaError.numerical(operation: "symmetricEigen", reason: "no convergence (\(info))") }
        return (Array(values.elements), a)
    }
}
