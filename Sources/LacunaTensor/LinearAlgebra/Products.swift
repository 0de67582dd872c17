import CLinearAlgebra

/// Entry points to the BLAS library. Every call has one thread to itself, since parallelism belongs to ``Parallel``; the
/// number of threads that a host program has given the library is left as it was.
public enum LinearAlgebra {
    /// The dense library and the processor type it chose, for reports and benchmarks.
    public static let libraryDescription = String(cString: la_description())

    /// `C = alpha op(A) op(B) + beta C` on row-major storage with leading dimensions, on the calling thread.
    ///
    /// `op(A)` is [m, k], `op(B)` is [k, n], `C` is [m, n]. With `beta` 0 what was in `C` does not matter.
    @inlinable
    public static func gemm<S: TensorScalar>(
        m: Int, n: Int, k: Int, alpha: S = 1, _ a: UnsafePointer<S>, leadingA: Int, transposedA: Bool = false,
        _ b: UnsafePointer<S>, leadingB: Int, transposedB: Bool = false, beta: S = 0,
        into c: UnsafeMutablePointer<S>, leadingC: Int
    ) {
        if m == 0 || n == 0 { return }
        if k == 0 {
            // BLAS libraries disagree on leading dimensions of 0.
            for i in 0..<m { for j in 0..<n { c[i * leadingC + j] = beta == 0 ? 0 : beta * c[i * leadingC + j] } }
            return
        }
        S.gemm(transposedA, transposedB, m, n, k, alpha, a, leadingA, b, leadingB, beta, c, leadingC)
    }

    /// As ``gemm(m:n:k:alpha:_:leadingA:transposedA:_:leadingB:transposedB:beta:into:leadingC:)``, with the rows of the
    /// longer side of `C` spread over the thread pool. The cut depends on the shape alone, so the result does not
    /// depend on the number of threads.
    @inlinable
    public static func parallelGemm<S: TensorScalar>(
        m: Int, n: Int, k: Int, alpha: S = 1, _ a: UnsafePointer<S>, leadingA: Int, transposedA: Bool = false,
        _ b: UnsafePointer<S>, leadingB: Int, transposedB: Bool = false, beta: S = 0,
        into c: UnsafeMutablePointer<S>, leadingC: Int
    ) {
        let work = m * n * k
        if work < 1 << 21 {
            return gemm(
                m: m, n: n, k: k, alpha: alpha, a, leadingA: leadingA, transposedA: transposedA, b,
                leadingB: leadingB, transposedB: transposedB, beta: beta, into: c, leadingC: leadingC)
        }
        // Few, large pieces: every piece packs its own copy of the shared operand.
        if m >= n {
            let grain = max(64, (m / 4 + 15) / 16 * 16)
            Parallel.forRanges(m, grain: grain) { rows in
                gemm(
                    m: rows.count, n: n, k: k, alpha: alpha,
                    a + (transposedA ? rows.lowerBound : rows.lowerBound * leadingA), leadingA: leadingA,
                    transposedA: transposedA, b, leadingB: leadingB, transposedB: transposedB, beta: beta,
                    into: c + rows.lowerBound * leadingC, leadingC: leadingC)
            }
        } else {
            let grain = max(64, (n / 4 + 15) / 16 * 16)
            Parallel.forRanges(n, grain: grain) { columns in
                gemm(
                    m: m, n: columns.count, k: k, alpha: alpha, a, leadingA: leadingA, transposedA: transposedA,
                    b + (transposedB ? columns.lowerBound * leadingB : columns.lowerBound), leadingB: leadingB,
                    transposedB: transposedB, beta: beta, into: c + columns.lowerBound, leadingC: leadingC)
            }
        }
    }

    /// Adds `A Aᵀ` of row-major `a` [n, k] to the lower triangle of `c` [n, n], on the calling thread.
    public static func accumulateOuterGram<S: TensorScalar>(
        _ a: UnsafePointer<S>, leadingA: Int, rows n: Int, columns k: Int, into c: UnsafeMutablePointer<S>,
        leadingC: Int
    ) {
        if n == 0 || k == 0 { return }
        S.syrk(false, n, k, 1, a, leadingA, 1, c, leadingC)
    }

    /// Adds `AᵀA` of row-major `a` [k, n] to the lower triangle of `c` [n, n], spread over the thread pool by blocks of
    /// columns.
    public static func accumulateGram<S: TensorScalar>(
        _ a: UnsafePointer<S>, rows k: Int, columns n: Int, into c: UnsafeMutablePointer<S>
    ) {
        if k == 0 { return }
        let block = 192
        let blocks = (n + block - 1) / block
        // Every pair (i, j) with j <= i is one item; the diagonal ones cost half.
        Parallel.forEach(blocks * (blocks + 1) / 2) { item in
            var i = 0
            var rest = item
            while rest > i {
                rest -= i + 1
                i += 1
            }
            let j = rest
            let (i0, j0) = (i * block, j * block)
            let (ni, nj) = (min(block, n - i0), min(block, n - j0))
            if i == j {
                S.syrk(true, ni, k, 1, a + i0, n, 1, c + i0 * n + i0, n)
            } else {
                S.gemm(true, false, ni, nj, k, 1, a + i0, n, a + j0, n, 1, c + i0 * n + j0, n)
            }
        }
    }
}

extension Tensor {
    /// The matrix product, with either operand optionally transposed.
    public func multiplied(by other: Tensor, transposed: Bool = false, otherTransposed: Bool = false) -> Tensor {
        let (m, k) = transposed ? (columns, rows) : (rows, columns)
        let (k2, n) = otherTransposed ? (other.columns, other.rows) : (other.rows, other.columns)
        require(k == k2, "cannot multiply \(shape) by \(other.shape)")
        var result = Tensor(uninitialized: [m, n])
        let (lda, ldb) = (columns, other.columns)
        withPointer { a in
            other.withPointer { b in
                result.withMutablePointer { c in
                    LinearAlgebra.parallelGemm(
                        m: m, n: n, k: k, a, leadingA: lda, transposedA: transposed, b, leadingB: ldb,
                        transposedB: otherTransposed, into: c, leadingC: n)
                }
            }
        }
        return result
    }
}
