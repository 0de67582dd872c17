extension Tensor {
    /// LAPACK may loop or crash on numbers that are not finite.
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    private func requireFinite(_ operation: String, lowerTriangle: Bool = false) throws {
        let (m, n) = (rows, columns)
        let finite = withPointer { p in
            for i in 0..<m {
                for j in 0..<(lowerTriangle ? i + 1 : n) where !p[i * n + j].isFinite { return false }
            }
            return true
        }
        if !finite { throw LacunaError.numerical(operation: operation, reason: "the matrix is not finite") }
    }

    /// LAPACK counts in 32 bits, work space included.
    private func requireWork(_ count: Int, _ operation: String) throws {
        if count > Int(Int32.max) {
            throw LacunaError.unsupported(file: nil, what: "\(operation) of a matrix of shape \(shape)")
        }
    }

    private func requireSquare(_ operation: String) throws {
        if rank != 2 || shape[0] != shape[1] {
            throw LacunaError.invalidArgument(operation, reason: "needs a square matrix, not shape \(shape)")
        }
    }

    /// The lower triangular `L` with `L Lᵀ = self`. Only the lower triangle is read; the upper one of the result is 0.
    ///
    /// - Throws: ``LacunaError/numerical(operation:reason:)`` if the matrix is not positive definite.
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    public func cholesky() throws -> Tensor {
        try requireSquare("cholesky")
        var result = self
        let n = rows
        let failure: Int? = result.withMutablePointer { a in
            for i in 0..<n { for j in i + 1..<Swift.max(n, i + 1) { a[i * n + j] = 0 } }
            let info = Scalar.potrf(n, a)
            // NaN passes the library's test of the pivots.
            return info != 0 ? info : (0..<n).first { !a[$0 * n + $0].isFinite }.map { $0 + 1 }
        }
        if let failure {
            throw LacunaError.numerical(
                operation: "cholesky", reason: "the leading minor of order \(failure) is not positive definite")
        }
        return result
    }

    /// The inverse of a symmetric positive definite matrix whose lower Cholesky factor this is.
    ///
    /// - Throws: ``LacunaError/numerical(operation:reason:)`` if a pivot is 0.
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    public func inverseFromCholesky() throws -> Tensor {
        try requireSquare("inverse")
        var result = self
        let n = rows
        let info = result.withMutablePointer { a in
            let info = Scalar.potri(n, a)
            for i in 0..<n { for j in 0..<i { a[j * n + i] = a[i * n + j] } }
            return info
        }
        if info != 0 { throw LacunaError.numerical(operation: "inverse", reason: "a pivot of 0 at \(info)") }
        return result
    }

    /// Solves `op(L) X = B` for triangular `self` [m, m] and `b` [m, n]. The other triangle is not read. A pivot of 0
    /// gives infinite or undefined results.
    public func solveTriangular(_ b: Tensor, lower: Bool = true, transposed: Bool = false) -> Tensor {
        require(rows == columns && b.rows == rows)
        var result = b
        let (m, n) = (b.rows, b.columns)
        if m == 0 || n == 0 { return result }
        withPointer { l in
            result.withMutablePointer {
                Scalar.trsm(lower: lower, transposed: transposed, m, n, l, m, $0, n)
            }
        }
        return result
    }

    /// The thin QR factorisation: `q` [m, k] with orthonormal columns and upper triangular `r` [k, n], k = Swift.min(m, n).
    ///
    /// - Throws: ``LacunaError/numerical(operation:reason:)`` if the matrix is not finite.
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    public func qr() throws -> (q: Tensor, r: Tensor) {
        try requireFinite("qr")
        let (m, n) = (rows, columns)
        let k = Swift.min(m, n)
        var a = transposed()  // column-major
        let tau = Buffer<Scalar>(repeating: 0, count: Swift.max(k, 1))
        let work = Buffer<Scalar>(uninitialized: 64 * Swift.max(m, n, 1))
        var r = Tensor(zeros: [k, n])
        var q = Tensor(zeros: [k, m])
        var info = a.withMutablePointer { Scalar.geqrf(m, n, $0, tau.pointer, work.pointer, work.count) }
        a.withPointer { a in
            r.withMutablePointer { r in for i in 0..<k { for j in i..<Swift.max(n, i) { r[i * n + j] = a[j * m + i] } }
            }
            q.withMutablePointer { $0.update(from: a, count: k * m) }
        }
        if info == 0 {
            info = q.withMutablePointer { Scalar.orgqr(m, k, k, $0, tau.pointer, work.pointer, work.count) }
        }
        if info != 0 { throw LacunaError.numerical(operation: "qr", reason: "LAPACK reports \(info)") }
        return (q.transposed(), r)
    }

    /// The thin singular value decomposition `self = u diag(s) vᵀ`, singular values in descending order.
    ///
    /// - Returns: `u` [m, k], `s` [k] and `vTransposed` [k, n] with k = Swift.min(m, n).
    /// - Throws: ``LacunaError/numerical(operation:reason:)`` if the matrix is not finite or there is no convergence;
    ///   ``LacunaError/unsupported(file:what:)`` for sizes beyond the library's 32-bit counts (k of about 23,000).
    public func svd() throws -> (u: Tensor, s: [Scalar], vTransposed: Tensor) {
        try requireFinite("svd")
        // LAPACK sees the transpose: its left vectors are our right ones.
        let (m, n) = (columns, rows)
        let k = Swift.min(m, n)
        if k == 0 { return (Tensor(zeros: [n, 0]), [], Tensor(zeros: [0, m])) }
        let workCount = 4 * k * k + 7 * k + 64 * (Swift.max(m, n) + k)
        try requireWork(Swift.max(workCount, m, n), "svd")
        var a = self
        var u = Tensor(uninitialized: [k, m])
        var vt = Tensor(uninitialized: [n, k])
        let s = Buffer<Scalar>(uninitialized: k)
        let work = Buffer<Scalar>(uninitialized: workCount)
        let integers = Buffer<Int32>(uninitialized: 8 * k)
        let info = a.withMutablePointer { a in
            u.withMutablePointer { u in
                vt.withMutablePointer { vt in
                    Scalar.gesdd(m, n, a, s.pointer, u, vt, work.pointer, work.count, integers.pointer)
                }
            }
        }
        if info != 0 { throw LacunaError.numerical(operation: "svd", reason: "no convergence (\(info))") }
        return (vt, s.array, u)
    }

    /// Eigenvalues in ascending order and the matching orthonormal eigenvectors, one per row, of a symmetric matrix.
    /// Only the lower triangle is read.
    ///
    /// - Throws: As ``svd()`` (sizes up to about 32,000), and ``LacunaError/invalidArgument(_:reason:)`` if not square.
    public func symmetricEigen() throws -> (values: [Scalar], vectors: Tensor) {
        try requireSquare("symmetricEigen")
        try requireFinite("symmetricEigen", lowerTriangle: true)
        let n = rows
        if n == 0 { return ([], self) }
        let workCount = 1 + 6 * n + 2 * n * n
        try requireWork(workCount, "symmetricEigen")
        var a = self
        let values = Buffer<Scalar>(uninitialized: n)
        let work = Buffer<Scalar>(uninitialized: workCount)
        let integers = Buffer<Int32>(uninitialized: 3 + 5 * n)
        let info = a.withMutablePointer {
            Scalar.syevd(n, $0, values.pointer, work.pointer, work.count, integers.pointer, integers.count)
        }
        if info != 0 { throw LacunaError.numerical(operation: "symmetricEigen", reason: "no convergence (\(info))") }
        return (values.array, a)
    }
}
