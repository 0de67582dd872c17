#if SuiteSparse
    import CSuiteSparse
    import LacunaSparse

    /// A sparse matrix [rows, rows] factored as `L U` with rows and columns permuted, by UMFPACK: solves with any square matrix
    /// that is not singular, again and again.
    ///
    /// T. A. Davis, "Algorithm 832: UMFPACK V4.3, an Unsymmetric-Pattern Multifrontal Method", ACM TOMS 30, 2004.
    public final class SparseLU: @unchecked Sendable {
        private let matrix: SparseMatrix<Double>
        private let arrays: CompressedArrays
        private let factors: OpaquePointer
        /// Rows of the matrix, which has as many columns.
        public var rows: Int { matrix.rows }
        /// Entries of both factors.
        public let factorCount: Int
        /// An estimate of the reciprocal condition number; below 1e-15 or so, solutions mean little.
        public let reciprocalCondition: Double

        /// - Throws: `LacunaError.invalidArgument` for a matrix that is not square, `LacunaError.numerical` if it is singular, not
        ///   finite or takes too much memory.
        /// - Complexity: Depends on the fill-in: about O(n log n) entries and O(n^1.5) operations for grids in the plane.
        public init(_ matrix: SparseMatrix<Double>) throws {
            let arrays = try CompressedArrays(matrix)
            (self.arrays, self.matrix) = (arrays, matrix)
            var factors: OpaquePointer?
            let n = matrix.rows
            let status = matrix.withValues { values in
                lss_lu_make(n, arrays.starts, arrays.columns, values.baseAddress, &factors)
            }
            guard status == Int32(LSS_OK), let factors else {
                throw failure(status, "LU factorisation", "the matrix is singular")
            }
            self.factors = factors
            factorCount = lss_lu_entries(factors)
            reciprocalCondition = lss_lu_condition(factors)
        }

        deinit { lss_lu_free(factors) }

        /// Solves `A x = b`, or `Aᵀ x = b`; `b` [rows]. One step of refinement is included.
        ///
        /// - Throws: `LacunaError.invalidArgument` for a `b` of another length.
        public func solve(_ b: [Double], transposed: Bool = false) throws -> [Double] {
            try checkLength(b, rows)
            var x = [Double](repeating: 0, count: rows)
            if rows == 0 { return x }
            let status = matrix.withValues { values in
                lss_lu_solve(
                    factors, arrays.starts, arrays.columns, values.baseAddress, transposed ? 1 : 0, b, &x)
            }
            if status != Int32(LSS_OK) { throw failure(status, "LU solve", "the matrix is singular") }
            return x
        }
    }

    /// A symmetric positive definite sparse matrix factored as `L Lᵀ` with rows and columns permuted alike, by CHOLMOD.
    ///
    /// Y. Chen, T. A. Davis, W. W. Hager, S. Rajamanickam, "Algorithm 887: CHOLMOD, Supernodal Sparse Cholesky Factorization and
    /// Update/Downdate", ACM TOMS 35, 2008.
    public final class SparseCholesky: Sendable {
        private let factor: Locked<OpaquePointer>
        /// Rows of the matrix, which is square.
        public let rows: Int
        /// Entries of the factor.
        public let factorCount: Int

        /// - Throws: `LacunaError.invalidArgument` for a matrix that is not square or not symmetric, `LacunaError.numerical` if
        ///   it is not positive definite, not finite or takes too much memory.
        public init(_ matrix: SparseMatrix<Double>) throws {
            let arrays = try CompressedArrays(matrix)
            guard matrix == matrix.transposed() else {
                throw LacunaError.invalidArgument("matrix", reason: "is not symmetric")
            }
            rows = matrix.rows
            var factor: OpaquePointer?
            var minor = 0
            let n = matrix.rows
            let status = matrix.withValues { values in
                lss_cholesky_make(n, arrays.starts, arrays.columns, values.baseAddress, &factor, &minor)
            }
            guard status == Int32(LSS_OK), let factor else {
                throw failure(
                    status, "Cholesky factorisation",
                    "the matrix is not positive definite (leading minor \(minor), permuted)")
            }
            factorCount = lss_cholesky_entries(factor)
            self.factor = Locked(factor)
        }

        deinit { factor.withLock { lss_cholesky_free($0) } }

        /// Solves `A x = b`; `b` [rows].
        ///
        /// - Throws: `LacunaError.invalidArgument` for a `b` of another length.
        public func solve(_ b: [Double]) throws -> [Double] {
            try checkLength(b, rows)
            var x = [Double](repeating: 0, count: rows)
            if rows == 0 { return x }
            let status = factor.withLock { lss_cholesky_solve($0, rows, b, &x) }
            if status != Int32(LSS_OK) { throw failure(status, "Cholesky solve", "the factor is damaged") }
            return x
        }
    }

    /// The arrays that the C libraries read, all of 64 bits.
    private struct CompressedArrays {
        let starts: [Int]
        let columns: [Int]

        init(_ matrix: SparseMatrix<Double>) throws {
            guard matrix.rows == matrix.columns else {
                throw LacunaError.invalidArgument(
                    "matrix", reason: "[\(matrix.rows), \(matrix.columns)] is not square")
            }
            guard matrix.withValues({ $0.allSatisfy { $0.isFinite } }) else {
                throw LacunaError.numerical(operation: "factorisation", reason: "the matrix is not finite")
            }
            (starts, columns) = (matrix.pattern.rowStarts, matrix.pattern.columnIndices)
        }
    }

    private func checkLength(_ b: [Double], _ rows: Int) throws {
        if b.count != rows {
            throw LacunaError.invalidArgument("b", reason: "\(b.count) numbers for \(rows) rows")
        }
    }

    private func failure(_ status: Int32, _ operation: String, _ singular: String) -> LacunaError {
        switch status {
        case Int32(LSS_SINGULAR): .numerical(operation: operation, reason: singular)
        case Int32(LSS_MEMORY): .numerical(operation: operation, reason: "memory ran out")
        default: .numerical(operation: operation, reason: "the library reports a failure")
        }
    }
#endif
