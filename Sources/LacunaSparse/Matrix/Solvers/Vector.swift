import LacunaTensor

/// A dense vector that solvers work in: memory of its own, and the four operations that they are made of.
final class Vector<Scalar: SparseScalar> {
    private let buffer: Buffer<Scalar>
    var count: Int { buffer.count }
    var pointer: UnsafeMutablePointer<Scalar> { buffer.pointer }
    var array: [Scalar] { buffer.array }

    init(zeros count: Int) { buffer = Buffer(repeating: 0, count: count) }
    init(_ values: [Scalar]) { buffer = Buffer(values) }

    subscript(index: Int) -> Scalar {
        get { buffer.pointer[index] }
        set { buffer.pointer[index] = newValue }
    }

    func copy(from other: Vector) { pointer.update(from: other.pointer, count: count) }

    /// `self = alpha x + beta self`; with `beta` 0 what it held does not matter.
    func combine(_ alpha: Scalar, _ x: Vector, _ beta: Scalar) {
        Scalar.kernelTable.pointee.combine(Double(alpha), x.pointer, Double(beta), pointer, count)
    }

    func add(_ alpha: Scalar, _ x: Vector) { combine(alpha, x, 1) }

    func scale(by factor: Scalar) { for i in 0..<count { pointer[i] *= factor } }

    /// The inner product, in four double-precision sums, so that no addition waits for the one before it.
    @_specialize(where Scalar == Float)
    @_specialize(where Scalar == Double)
    func dot(_ other: Vector) -> Scalar {
        let (a, b) = (pointer, other.pointer)
        var (s0, s1, s2, s3) = (0.0, 0.0, 0.0, 0.0)
        var i = 0
        while i + 4 <= count {
            s0 += Double(a[i]) * Double(b[i])
            s1 += Double(a[i + 1]) * Double(b[i + 1])
            s2 += Double(a[i + 2]) * Double(b[i + 2])
            s3 += Double(a[i + 3]) * Double(b[i + 3])
            i += 4
        }
        while i < count {
            s0 += Double(a[i]) * Double(b[i])
            i += 1
        }
        return Scalar(s0 + s1 + (s2 + s3))
    }

    var norm: Scalar { dot(self).squareRoot() }
}
