import CLinearAlgebra

/// The element types of ``Tensor``: `Float`, in which models run, and `Double`, in which statistics are done.
public protocol TensorScalar: BinaryFloatingPoint, BitwiseCopyable, Sendable {
    /// The dense linear algebra of this type.
    static var denseRoutines: DenseRoutines { get }
}

/// The routines of BLAS and LAPACK for one type of numbers; the functions in ``LinearAlgebra`` and the methods of ``Tensor``
/// call them.
public struct DenseRoutines: @unchecked Sendable {
    /// Constant memory of the program.
    fileprivate let table: UnsafePointer<la_routines>
}

extension Float: TensorScalar {
    public static let denseRoutines = DenseRoutines(table: la_floats())
}

extension Double: TensorScalar {
    public static let denseRoutines = DenseRoutines(table: la_doubles())
}

// Sizes as Swift has them. Leading dimensions of LAPACK are at least 1.
extension TensorScalar {
    private static var routines: la_routines { denseRoutines.table.pointee }

    /// C = alpha op(A) op(B) + beta C: op(A) [m, k], op(B) [k, n], transposed as `ta` and `tb` say.
    @usableFromInline
    @_specialize(where Self == Float)
    @_specialize(where Self == Double)
    static func gemm(
        _ ta: Bool, _ tb: Bool, _ m: Int, _ n: Int, _ k: Int, _ alpha: Self, _ a: UnsafePointer<Self>, _ lda: Int,
        _ b: UnsafePointer<Self>, _ ldb: Int, _ beta: Self, _ c: UnsafeMutablePointer<Self>, _ ldc: Int
    ) {
        routines.gemm(
            ta ? 1 : 0, tb ? 1 : 0, Int32(m), Int32(n), Int32(k), Double(alpha), a, Int32(lda), b, Int32(ldb),
            Double(beta), c, Int32(ldc))
    }

    /// The lower triangle of C = alpha A Aᵀ + beta C, or of AᵀA; A has n rows and k columns, or the other way round.
    static func syrk(
        _ transposed: Bool, _ n: Int, _ k: Int, _ alpha: Self, _ a: UnsafePointer<Self>, _ lda: Int, _ beta: Self,
        _ c: UnsafeMutablePointer<Self>, _ ldc: Int
    ) {
        routines.syrk(
            transposed ? 1 : 0, Int32(n), Int32(k), Double(alpha), a, Int32(lda), Double(beta), c, Int32(ldc))
    }

    /// Solves L X = B or Lᵀ X = B in place, B [m, n].
    static func trsm(
        lower: Bool, transposed: Bool, _ m: Int, _ n: Int, _ l: UnsafePointer<Self>, _ ldl: Int,
        _ b: UnsafeMutablePointer<Self>, _ ldb: Int
    ) {
        routines.trsm(lower ? 1 : 0, transposed ? 1 : 0, Int32(m), Int32(n), l, Int32(ldl), b, Int32(ldb))
    }

    /// Cholesky factor of the lower triangle in place; not 0 if the matrix is not positive definite.
    static func potrf(_ n: Int, _ a: UnsafeMutablePointer<Self>) -> Int {
        Int(routines.potrf(Int32(n), a, Int32(max(n, 1))))
    }

    /// The lower triangle of the inverse from a Cholesky factor, in place.
    static func potri(_ n: Int, _ a: UnsafeMutablePointer<Self>) -> Int {
        Int(routines.potri(Int32(n), a, Int32(max(n, 1))))
    }

    /// QR factorisation of a column-major matrix [m, n], as reflectors.
    static func geqrf(
        _ m: Int, _ n: Int, _ a: UnsafeMutablePointer<Self>, _ tau: UnsafeMutablePointer<Self>,
        _ work: UnsafeMutablePointer<Self>, _ workCount: Int
    ) -> Int {
        Int(routines.geqrf(Int32(m), Int32(n), a, Int32(max(m, 1)), tau, work, Int32(workCount)))
    }

    /// The first n columns of Q from k reflectors.
    static func orgqr(
        _ m: Int, _ n: Int, _ k: Int, _ a: UnsafeMutablePointer<Self>, _ tau: UnsafePointer<Self>,
        _ work: UnsafeMutablePointer<Self>, _ workCount: Int
    ) -> Int {
        Int(routines.orgqr(Int32(m), Int32(n), Int32(k), a, Int32(max(m, 1)), tau, work, Int32(workCount)))
    }

    /// Thin singular value decomposition of a column-major matrix [m, n].
    static func gesdd(
        _ m: Int, _ n: Int, _ a: UnsafeMutablePointer<Self>, _ s: UnsafeMutablePointer<Self>,
        _ u: UnsafeMutablePointer<Self>, _ vt: UnsafeMutablePointer<Self>, _ work: UnsafeMutablePointer<Self>,
        _ workCount: Int, _ integers: UnsafeMutablePointer<Int32>
    ) -> Int {
        let (rows, thin) = (Int32(max(m, 1)), Int32(max(min(m, n), 1)))
        return Int(
            routines.gesdd(Int32(m), Int32(n), a, rows, s, u, rows, vt, thin, work, Int32(workCount), integers))
    }

    /// Eigenvalues and eigenvectors of a symmetric matrix, of which the lower triangle is read.
    static func syevd(
        _ n: Int, _ a: UnsafeMutablePointer<Self>, _ w: UnsafeMutablePointer<Self>,
        _ work: UnsafeMutablePointer<Self>, _ workCount: Int, _ integers: UnsafeMutablePointer<Int32>,
        _ integerCount: Int
    ) -> Int {
        Int(
            routines.syevd(
                Int32(n), a, Int32(max(n, 1)), w, work, Int32(workCount), integers, Int32(integerCount)))
    }
}
