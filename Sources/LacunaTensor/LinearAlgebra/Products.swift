import CLacuna
import CLinearAlgebra

/// What a product of dense matrices of floats reads of its operands. Sums are floats either way.
public enum ProductPrecision: String, Sendable, Hashable, CaseIterable {
    /// The numbers as they are.
    case f32
    /// The numbers rounded to bf16, to the nearest, ties to even: about three decimal digits, and up to twice the speed on processors that
    /// multiply these (AVX-512 BF16: Zen 4, Cooper Lake, Sapphire Rapids and newer), where subnormal numbers count as zeros. Others
    /// give the same up to rounding, at about the speed of ``f32``.
    case bf16
}

/// Entry points to the BLAS library. Every call has one thread to itself, since parallelism belongs to ``Parallel``; the
/// number of threads that a host program has given the library is left as it was.
public enum LinearAlgebra {
    /// The dense library and the processor type it chose, for reports and benchmarks.
    public static let libraryDescription = String(cString: la_description())

    /// `C = alpha op(A) op(B) + beta C` on row-major storage with leading dimensions, on the calling thread.
    ///
    /// `op(A)` is [m, k], `op(B)` is [k, n], `C` is [m, n]. With `beta` 0 what was in `C` does not matter.
    ///
    /// - Precondition: Other precisions than ``ProductPrecision/f32`` are for `Float`, with `alpha` 1.
    @inlinable
    public static func gemm<S: TensorScalar>(
        m: Int, n: Int, k: Int, alpha: S = 1, _ a: UnsafePointer<S>, leadingA: Int, transposedA: Bool = false,
        _ b: UnsafePointer<S>, leadingB: Int, transposedB: Bool = false, beta: S = 0,
        precision: ProductPrecision = .f32, into c: UnsafeMutablePointer<S>, leadingC: Int
    ) {
        if m == 0 || n == 0 { return }
        if k == 0 {
            // BLAS libraries disagree on leading dimensions of 0.
            for i in 0..<m { for j in 0..<n { c[i * leadingC + j] = beta == 0 ? 0 : beta * c[i * leadingC + j] } }
            return
        }
        if precision == .bf16 {
            require(S.self == Float.self && alpha == 1, "only products of floats, not scaled, are rounded to bf16")
            return roundedGemm(
                m, n, k, a, leadingA, transposedA, b, false, leadingB, transposedB, Float(beta), c, leadingC)
        }
        S.gemm(transposedA, transposedB, m, n, k, alpha, a, leadingA, b, leadingB, beta, c, leadingC)
    }

    /// Memory that each thread packs its operands in.
    private static let space = PerThread { Buffer<Float>(uninitialized: Int(LK_PRODUCT_SPACE) / 4) }
    private static let product = lk_best()!.pointee.product_bf16!

    @usableFromInline
    static func roundedGemm(
        _ m: Int, _ n: Int, _ k: Int, _ a: UnsafeRawPointer, _ leadingA: Int, _ transposedA: Bool,
        _ b: UnsafeRawPointer, _ isBF16: Bool, _ leadingB: Int, _ transposedB: Bool, _ beta: Float,
        _ c: UnsafeMutableRawPointer, _ leadingC: Int
    ) {
        var operands = lk_product(
            a: a.assumingMemoryBound(to: Float.self), b: b, c: c.assumingMemoryBound(to: Float.self),
            a_stride: leadingA, b_stride: leadingB, c_stride: leadingC, a_transposed: transposedA ? 1 : 0,
            b_transposed: transposedB ? 1 : 0, b_bf16: isBF16 ? 1 : 0, beta: beta, m: m, n: n, k: k)
        product(&operands, space.current.pointer)
    }

    /// As ``gemm(m:n:k:alpha:_:leadingA:transposedA:_:leadingB:transposedB:beta:precision:into:leadingC:)``, with the rows of the
    /// longer side of `C` spread over the thread pool. The cut depends on the shape alone, so the result does not
    /// depend on the number of threads.
    @inlinable
    public static func parallelGemm<S: TensorScalar>(
        m: Int, n: Int, k: Int, alpha: S = 1, _ a: UnsafePointer<S>, leadingA: Int, transposedA: Bool = false,
        _ b: UnsafePointer<S>, leadingB: Int, transposedB: Bool = false, beta: S = 0,
        precision: ProductPrecision = .f32, into c: UnsafeMutablePointer<S>, leadingC: Int
    ) {
        forPieces(m: m, n: n, k: k) { rows, columns in
            gemm(
                m: rows.count, n: columns.count, k: k, alpha: alpha,
                a + rows.lowerBound * (transposedA ? 1 : leadingA), leadingA: leadingA, transposedA: transposedA,
                b + columns.lowerBound * (transposedB ? leadingB : 1), leadingB: leadingB, transposedB: transposedB,
                beta: beta, precision: precision, into: c + rows.lowerBound * leadingC + columns.lowerBound,
                leadingC: leadingC)
        }
    }

    /// `C = A op(B) + beta C` as ``ProductPrecision/bf16`` gives it, of a matrix B that is bf16, on the thread pool; k > 0.
    package static func parallelGemm(
        m: Int, n: Int, k: Int, _ a: UnsafePointer<Float>, leadingA: Int, bf16 b: UnsafePointer<UInt16>, leadingB: Int,
        transposedB: Bool = false, beta: Float = 0, into c: UnsafeMutablePointer<Float>, leadingC: Int
    ) {
        forPieces(m: m, n: n, k: k) { rows, columns in
            roundedGemm(
                rows.count, columns.count, k, a + rows.lowerBound * leadingA, leadingA, false,
                b + columns.lowerBound * (transposedB ? leadingB : 1), true, leadingB, transposedB, beta,
                c + rows.lowerBound * leadingC + columns.lowerBound, leadingC)
        }
    }

    /// Calls `body` for pieces of a result [m, n]: few and large ones, since each packs its own copy of the operand they share.
    @inlinable
    static func forPieces(m: Int, n: Int, k: Int, _ body: (_ rows: Range<Int>, _ columns: Range<Int>) -> Void) {
        if m * n * k < 1 << 21 { return body(0..<m, 0..<n) }
        let grain = max(64, (max(m, n) / 4 + 15) / 16 * 16)
        if m >= n {
            Parallel.forRanges(m, grain: grain) { body($0, 0..<n) }
        } else {
            Parallel.forRanges(n, grain: grain) { body(0..<m, $0) }
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
