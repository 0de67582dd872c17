import CLinearAlgebra

/// The element types of ``Tensor``: `Float`, in which models run, and `Double`, in which statistics are done.
///
/// The requirements are the dense routines that differ by type; use the methods in `LinearAlgebra/` instead.
public protocol TensorScalar: BinaryFloatingPoint, BitwiseCopyable, Sendable {
    /// C = alpha op(A) op(B) + beta C: op(A) [m, k], op(B) [k, n], transposed as `ta` and `tb` say.
    static func _gemm(
        _ ta: Bool, _ tb: Bool, _ m: Int, _ n: Int, _ k: Int, _ alpha: Self, _ a: UnsafePointer<Self>, _ lda: Int,
        _ b: UnsafePointer<Self>, _ ldb: Int, _ beta: Self, _ c: UnsafeMutablePointer<Self>, _ ldc: Int)
    /// The lower triangle of C = alpha A Aᵀ + beta C, or of AᵀA; A has n rows and k columns, or the other way round.
    static func _syrk(
        _ transposed: Bool, _ n: Int, _ k: Int, _ alpha: Self, _ a: UnsafePointer<Self>, _ lda: Int, _ beta: Self,
        _ c: UnsafeMutablePointer<Self>, _ ldc: Int)
    /// Solves L X = B or Lᵀ X = B in place, B [m, n].
    static func _trsm(
        lower: Bool, transposed: Bool, _ m: Int, _ n: Int, _ l: UnsafePointer<Self>, _ ldl: Int,
        _ b: UnsafeMutablePointer<Self>, _ ldb: Int)
    /// Cholesky factor of the lower triangle in place; not 0 if the matrix is not positive definite.
    static func _potrf(_ n: Int, _ a: UnsafeMutablePointer<Self>) -> Int
    /// The lower triangle of the inverse from a Cholesky factor, in place.
    static func _potri(_ n: Int, _ a: UnsafeMutablePointer<Self>) -> Int
    /// QR factorisation of a column-major matrix [m, n], as reflectors.
    static func _geqrf(
        _ m: Int, _ n: Int, _ a: UnsafeMutablePointer<Self>, _ tau: UnsafeMutablePointer<Self>,
        _ work: UnsafeMutablePointer<Self>, _ workCount: Int
    ) -> Int
    /// The first n columns of Q from k reflectors.
    static func _orgqr(
        _ m: Int, _ n: Int, _ k: Int, _ a: UnsafeMutablePointer<Self>, _ tau: UnsafePointer<Self>,
        _ work: UnsafeMutablePointer<Self>, _ workCount: Int
    ) -> Int
    /// Thin singular value decomposition of a column-major matrix [m, n].
    static func _gesdd(
        _ m: Int, _ n: Int, _ a: UnsafeMutablePointer<Self>, _ s: UnsafeMutablePointer<Self>,
        _ u: UnsafeMutablePointer<Self>, _ vt: UnsafeMutablePointer<Self>, _ work: UnsafeMutablePointer<Self>,
        _ workCount: Int, _ integers: UnsafeMutablePointer<Int32>
    ) -> Int
    /// Eigenvalues and eigenvectors of a symmetric matrix, of which the lower triangle is read.
    static func _syevd(
        _ n: Int, _ a: UnsafeMutablePointer<Self>, _ w: UnsafeMutablePointer<Self>,
        _ work: UnsafeMutablePointer<Self>, _ workCount: Int, _ integers: UnsafeMutablePointer<Int32>,
        _ integerCount: Int
    ) -> Int
}

extension Float: TensorScalar {
    public static func _gemm(
        _ ta: Bool, _ tb: Bool, _ m: Int, _ n: Int, _ k: Int, _ alpha: Float, _ a: UnsafePointer<Float>, _ lda: Int,
        _ b: UnsafePointer<Float>, _ ldb: Int, _ beta: Float, _ c: UnsafeMutablePointer<Float>, _ ldc: Int
    ) {
        la_sgemm(
            ta ? 1 : 0, tb ? 1 : 0, Int32(m), Int32(n), Int32(k), alpha, a, Int32(lda), b, Int32(ldb), beta, c,
            Int32(ldc))
    }
    public static func _syrk(
        _ transposed: Bool, _ n: Int, _ k: Int, _ alpha: Float, _ a: UnsafePointer<Float>, _ lda: Int, _ beta: Float,
        _ c: UnsafeMutablePointer<Float>, _ ldc: Int
    ) {
        la_ssyrk(transposed ? 1 : 0, Int32(n), Int32(k), alpha, a, Int32(lda), beta, c, Int32(ldc))
    }
    public static func _trsm(
        lower: Bool, transposed: Bool, _ m: Int, _ n: Int, _ l: UnsafePointer<Float>, _ ldl: Int,
        _ b: UnsafeMutablePointer<Float>, _ ldb: Int
    ) {
        la_strsm(lower ? 1 : 0, transposed ? 1 : 0, 0, Int32(m), Int32(n), l, Int32(ldl), b, Int32(ldb))
    }
    public static func _potrf(_ n: Int, _ a: UnsafeMutablePointer<Float>) -> Int {
        // Column-major "upper" is row-major "lower".
        Int(la_spotrf(CChar(UInt8(ascii: "U")), Int32(n), a, Int32(max(n, 1))))
    }
    public static func _potri(_ n: Int, _ a: UnsafeMutablePointer<Float>) -> Int {
        Int(la_spotri(CChar(UInt8(ascii: "U")), Int32(n), a, Int32(max(n, 1))))
    }
    public static func _geqrf(
        _ m: Int, _ n: Int, _ a: UnsafeMutablePointer<Float>, _ tau: UnsafeMutablePointer<Float>,
        _ work: UnsafeMutablePointer<Float>, _ workCount: Int
    ) -> Int {
        Int(la_sgeqrf(Int32(m), Int32(n), a, Int32(max(m, 1)), tau, work, Int32(workCount)))
    }
    public static func _orgqr(
        _ m: Int, _ n: Int, _ k: Int, _ a: UnsafeMutablePointer<Float>, _ tau: UnsafePointer<Float>,
        _ work: UnsafeMutablePointer<Float>, _ workCount: Int
    ) -> Int {
        Int(la_sorgqr(Int32(m), Int32(n), Int32(k), a, Int32(max(m, 1)), tau, work, Int32(workCount)))
    }
    public static func _gesdd(
        _ m: Int, _ n: Int, _ a: UnsafeMutablePointer<Float>, _ s: UnsafeMutablePointer<Float>,
        _ u: UnsafeMutablePointer<Float>, _ vt: UnsafeMutablePointer<Float>, _ work: UnsafeMutablePointer<Float>,
        _ workCount: Int, _ integers: UnsafeMutablePointer<Int32>
    ) -> Int {
        Int(
            la_sgesdd(
                CChar(UInt8(ascii: "S")), Int32(m), Int32(n), a, Int32(max(m, 1)), s, u, Int32(max(m, 1)), vt,
                Int32(max(min(m, n), 1)), work, Int32(workCount), integers))
    }
    public static func _syevd(
        _ n: Int, _ a: UnsafeMutablePointer<Float>, _ w: UnsafeMutablePointer<Float>,
        _ work: UnsafeMutablePointer<Float>, _ workCount: Int, _ integers: UnsafeMutablePointer<Int32>,
        _ integerCount: Int
    ) -> Int {
        Int(
            la_ssyevd(
                CChar(UInt8(ascii: "V")), CChar(UInt8(ascii: "U")), Int32(n), a, Int32(max(n, 1)), w, work,
                Int32(workCount), integers, Int32(integerCount)))
    }
}

extension Double: TensorScalar {
    public static func _gemm(
        _ ta: Bool, _ tb: Bool, _ m: Int, _ n: Int, _ k: Int, _ alpha: Double, _ a: UnsafePointer<Double>, _ lda: Int,
        _ b: UnsafePointer<Double>, _ ldb: Int, _ beta: Double, _ c: UnsafeMutablePointer<Double>, _ ldc: Int
    ) {
        la_dgemm(
            ta ? 1 : 0, tb ? 1 : 0, Int32(m), Int32(n), Int32(k), alpha, a, Int32(lda), b, Int32(ldb), beta, c,
            Int32(ldc))
    }
    public static func _syrk(
        _ transposed: Bool, _ n: Int, _ k: Int, _ alpha: Double, _ a: UnsafePointer<Double>, _ lda: Int, _ beta: Double,
        _ c: UnsafeMutablePointer<Double>, _ ldc: Int
    ) {
        la_dsyrk(transposed ? 1 : 0, Int32(n), Int32(k), alpha, a, Int32(lda), beta, c, Int32(ldc))
    }
    public static func _trsm(
        lower: Bool, transposed: Bool, _ m: Int, _ n: Int, _ l: UnsafePointer<Double>, _ ldl: Int,
        _ b: UnsafeMutablePointer<Double>, _ ldb: Int
    ) {
        la_dtrsm(lower ? 1 : 0, transposed ? 1 : 0, 0, Int32(m), Int32(n), l, Int32(ldl), b, Int32(ldb))
    }
    public static func _potrf(_ n: Int, _ a: UnsafeMutablePointer<Double>) -> Int {
        // Column-major "upper" is row-major "lower".
        Int(la_dpotrf(CChar(UInt8(ascii: "U")), Int32(n), a, Int32(max(n, 1))))
    }
    public static func _potri(_ n: Int, _ a: UnsafeMutablePointer<Double>) -> Int {
        Int(la_dpotri(CChar(UInt8(ascii: "U")), Int32(n), a, Int32(max(n, 1))))
    }
    public static func _geqrf(
        _ m: Int, _ n: Int, _ a: UnsafeMutablePointer<Double>, _ tau: UnsafeMutablePointer<Double>,
        _ work: UnsafeMutablePointer<Double>, _ workCount: Int
    ) -> Int {
        Int(la_dgeqrf(Int32(m), Int32(n), a, Int32(max(m, 1)), tau, work, Int32(workCount)))
    }
    public static func _orgqr(
        _ m: Int, _ n: Int, _ k: Int, _ a: UnsafeMutablePointer<Double>, _ tau: UnsafePointer<Double>,
        _ work: UnsafeMutablePointer<Double>, _ workCount: Int
    ) -> Int {
        Int(la_dorgqr(Int32(m), Int32(n), Int32(k), a, Int32(max(m, 1)), tau, work, Int32(workCount)))
    }
    public static func _gesdd(
        _ m: Int, _ n: Int, _ a: UnsafeMutablePointer<Double>, _ s: UnsafeMutablePointer<Double>,
        _ u: UnsafeMutablePointer<Double>, _ vt: UnsafeMutablePointer<Double>, _ work: UnsafeMutablePointer<Double>,
        _ workCount: Int, _ integers: UnsafeMutablePointer<Int32>
    ) -> Int {
        Int(
            la_dgesdd(
                CChar(UInt8(ascii: "S")), Int32(m), Int32(n), a, Int32(max(m, 1)), s, u, Int32(max(m, 1)), vt,
                Int32(max(min(m, n), 1)), work, Int32(workCount), integers))
    }
    public static func _syevd(
        _ n: Int, _ a: UnsafeMutablePointer<Double>, _ w: UnsafeMutablePointer<Double>,
        _ work: UnsafeMutablePointer<Double>, _ workCount: Int, _ integers: UnsafeMutablePointer<Int32>,
        _ integerCount: Int
    ) -> Int {
        Int(
            la_dsyevd(
                CChar(UInt8(ascii: "V")), CChar(UInt8(ascii: "U")), Int32(n), a, Int32(max(n, 1)), w, work,
                Int32(workCount), integers, Int32(integerCount)))
    }
}
