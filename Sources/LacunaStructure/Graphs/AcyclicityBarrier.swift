import LacunaTensor

/// `h_s(W) = -log det(sI - W∘W) + d log s` and the inverse in its gradient.
///
/// Kevin Bello, Bryon Aragam, Pradeep Ravikumar, "DAGMA: Learning DAGs via M-matrices and a Log-Determinant Acyclicity
/// Characterization", arXiv 2209.08037.
public struct AcyclicityBarrier {
    /// How many variables there are.
    public let count: Int
    /// `(sI - W∘W)⁻¹` [count, count], row-major.
    public private(set) var inverse: [Double]
    /// Of `s I - W∘W`, at the last point that was inside.
    public private(set) var logDeterminant = 0.0
    private let work: Buffer<Double>

    /// - Parameter count: Variables, at least 1.
    public init(count: Int) {
        self.count = count
        inverse = [Double](repeating: 0, count: count * count)
        work = Buffer(uninitialized: max(2 * count * count, 1))
    }

    /// Whether `sI - W∘W` is an M-matrix; if so the inverse is that of `w`.
    ///
    /// An M-matrix has positive pivots without any exchange of rows, and an inverse without negative entries.
    ///
    /// - Complexity: O(count³), nearly all of it in matrix products.
    public mutating func update(_ w: [Double], domain s: Double) -> Bool {
        let d = count
        require(w.count == d * d)
        var sum = 0.0
        let scratch = work.pointer
        let inside: Bool = inverse.withUnsafeMutableBufferPointer { a in
            w.withUnsafeBufferPointer { w in for k in 0..<d * d { a[k] = -w[k] * w[k] } }
            for i in 0..<d { a[i * d + i] += s }
            guard Self.invert(a.baseAddress!, d, leading: d, scratch, &sum) else { return false }
            var least = 0.0
            for k in 0..<d * d { least = min(least, a[k]) }
            return least >= -1e-6
        }
        logDeterminant = sum
        return inside
    }

    /// Blocks up to this size are inverted by elimination.
    private static let block = 32

    /// Inverts a matrix [n, n] in place by its quarters, adding up the logarithms of its pivots. False at a pivot that is not
    /// positive.
    ///
    /// With `M = [A B; C D]` and the Schur complement `S = D - C A⁻¹ B`, whose pivots are those of `M` after `A`'s:
    /// `M⁻¹ = [A⁻¹ + T S⁻¹ U, -T S⁻¹; -S⁻¹ U, S⁻¹]` with `T = A⁻¹ B` and `U = C A⁻¹`.
    ///
    /// - Parameter scratch: 2 n² numbers.
    private static func invert(
        _ m: UnsafeMutablePointer<Double>, _ n: Int, leading: Int, _ scratch: UnsafeMutablePointer<Double>,
        _ sum: inout Double
    ) -> Bool {
        if n <= block { return eliminate(m, n, leading: leading, &sum) }
        // Halves that are multiples of the block keep the pieces few.
        let h = (n / 2 + block - 1) / block * block
        let r = n - h
        let (a, b, c, d) = (m, m + h, m + h * leading, m + h * leading + h)
        let (t, u, rest) = (scratch, scratch + h * r, scratch + 2 * h * r)
        guard invert(a, h, leading: leading, rest, &sum) else { return false }
        LinearAlgebra.gemm(m: h, n: r, k: h, a, leadingA: leading, b, leadingB: leading, into: t, leadingC: r)
        LinearAlgebra.gemm(m: r, n: h, k: h, c, leadingA: leading, a, leadingB: leading, into: u, leadingC: h)
        LinearAlgebra.gemm(
            m: r, n: r, k: h, alpha: -1, c, leadingA: leading, t, leadingB: r, beta: 1, into: d, leadingC: leading)
        guard invert(d, r, leading: leading, rest, &sum) else { return false }
        LinearAlgebra.gemm(
            m: h, n: r, k: r, alpha: -1, t, leadingA: r, d, leadingB: leading, into: b, leadingC: leading)
        LinearAlgebra.gemm(
            m: r, n: h, k: r, alpha: -1, d, leadingA: leading, u, leadingB: h, into: c, leadingC: leading)
        LinearAlgebra.gemm(
            m: h, n: h, k: r, alpha: -1, t, leadingA: r, c, leadingB: leading, beta: 1, into: a, leadingC: leading)
        return true
    }

    private static func eliminate(
        _ m: UnsafeMutablePointer<Double>, _ n: Int, leading: Int, _ sum: inout Double
    ) -> Bool {
        for k in 0..<n {
            let row = m + k * leading
            let pivot = row[k]
            guard pivot > 1e-12, pivot.isFinite else { return false }
            sum += logarithm(pivot)
            row[k] = 1
            for j in 0..<n { row[j] /= pivot }
            for i in 0..<n where i != k {
                let other = m + i * leading
                let factor = other[k]
                if factor == 0 { continue }
                other[k] = 0
                kernels.axpy_f64(-factor, row, other, n)
            }
        }
        return true
    }

    /// `h_s` of the last update.
    public func value(domain s: Double) -> Double { -logDeterminant + Double(count) * logarithm(s) }
}
