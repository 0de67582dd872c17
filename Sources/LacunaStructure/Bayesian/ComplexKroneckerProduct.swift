import LacunaTensor

/// The matrix `A_1 ⊗ A_2 ⊗ …` of complex factors, such as pilots times the steering vectors of an array of antennas; kept as its factors
/// like ``KroneckerProduct``, and with vectors in the same order.
public struct ComplexKroneckerProduct: Sendable {
    /// One factor `A_i` [m_i, n_i].
    public struct Factor: Sendable {
        /// Real parts.
        public let real: Tensor<Double>
        /// Imaginary parts.
        public let imaginary: Tensor<Double>

        /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for shapes that differ or are empty, and numbers that are not finite.
        public init(real: Tensor<Double>, imaginary: Tensor<Double>) throws {
            guard real.rank == 2, real.count > 0, real.shape == imaginary.shape else {
                throw LacunaError.invalidArgument(
                    "factor", reason: "has real parts of shape \(real.shape) and imaginary ones of \(imaginary.shape)")
            }
            guard real.scalars.allSatisfy(\.isFinite), imaginary.scalars.allSatisfy(\.isFinite) else {
                throw LacunaError.invalidArgument("factor", reason: "is not finite")
            }
            (self.real, self.imaginary) = (real, imaginary)
        }

        init(unchecked real: Tensor<Double>, _ imaginary: Tensor<Double>) {
            (self.real, self.imaginary) = (real, imaginary)
        }

        /// m.
        public var rows: Int { real.rows }
        /// n.
        public var columns: Int { real.columns }

        /// The length of each column.
        var lengths: [Double] {
            (0..<columns).map { j in
                (0..<rows).reduce(0.0) {
                    $0 + real[$1, j] * real[$1, j] + imaginary[$1, j] * imaginary[$1, j]
                }.squareRoot()
            }
        }
    }

    /// `A_i` [m_i, n_i].
    public let factors: [Factor]

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` without factors.
    public init(_ factors: [Factor]) throws {
        guard !factors.isEmpty else { throw LacunaError.invalidArgument("factors", reason: "there is none") }
        self.factors = factors
    }

    init(unchecked factors: [Factor]) { self.factors = factors }

    /// Π m_i.
    public var rows: Int { factors.reduce(1) { $0 * $1.rows } }
    /// Π n_i.
    public var columns: Int { factors.reduce(1) { $0 * $1.columns } }

    /// `(A_1 ⊗ A_2 ⊗ …) x`, or with its conjugate transpose.
    ///
    /// - Parameter x: One number a column (a row, if adjoint).
    /// - Complexity: Four times that of a real ``KroneckerProduct``.
    public func multiplied(_ x: ComplexVector, adjoint: Bool = false) -> ComplexVector {
        var sizes = factors.map { adjoint ? $0.rows : $0.columns }
        require(x.count == sizes.reduce(1, *), "\(x.count) numbers for a tensor of shape \(sizes)")
        let sign = adjoint ? -1.0 : 1.0
        var current = x
        for (axis, factor) in factors.enumerated() {
            func along(_ part: [Double], _ matrix: Tensor<Double>) -> [Double] {
                KroneckerProduct.multiplied(part, sizes, axis: axis, by: matrix, transposed: adjoint)
            }
            let (rr, ii) = (along(current.real, factor.real), along(current.imaginary, factor.imaginary))
            let (ri, ir) = (along(current.real, factor.imaginary), along(current.imaginary, factor.real))
            current = ComplexVector(
                real: zip(rr, ii).map { $0 - sign * $1 }, imaginary: zip(ir, ri).map { $0 + sign * $1 })
            sizes[axis] = adjoint ? factor.columns : factor.rows
        }
        return current
    }

    /// The same with the columns of each factor that are kept.
    func keeping(_ kept: [[Int]]) -> ComplexKroneckerProduct {
        ComplexKroneckerProduct(
            unchecked: zip(factors, kept).map { factor, kept in
                Factor(
                    unchecked: KroneckerProduct.columns(kept, of: factor.real),
                    KroneckerProduct.columns(kept, of: factor.imaginary))
            })
    }
}

/// Eigenvalues and eigenvectors of Hermitian matrices by way of a real symmetric one of twice the size.
enum HermitianEigen {
    /// - Parameters:
    ///   - real: `P` [m, m], symmetric.
    ///   - imaginary: `Q` [m, m], antisymmetric; the matrix is `P + iQ`.
    /// - Returns: Ascending values [m], and the vectors as the rows of two matrices [m, m].
    static func decompose(
        real p: Tensor<Double>, imaginary q: Tensor<Double>
    ) throws -> (values: [Double], real: Tensor<Double>, imaginary: Tensor<Double>) {
        let m = p.rows
        // (P + iQ)(a + ib) = λ(a + ib) if [[P, -Q], [Q, P]] (a, b) = λ(a, b).
        var whole = Tensor<Double>(uninitialized: [2 * m, 2 * m])
        p.withPointer { p in
            q.withPointer { q in
                whole.withMutablePointer { w in
                    for i in 0..<m {
                        for j in 0..<m {
                            let (a, b) = (p[i * m + j], q[i * m + j])
                            w[i * 2 * m + j] = a
                            w[(m + i) * 2 * m + m + j] = a
                            w[i * 2 * m + m + j] = -b
                            w[(m + i) * 2 * m + j] = b
                        }
                    }
                }
            }
        }
        let (values, vectors) = try whole.symmetricEigen()
        // Every complex vector z comes twice, as z and as a multiple of iz, mixed with others of the same value: of the 2m, m that span
        // everything, those farthest from the span of the ones before.
        var rest = vectors.scalars
        var taken = [Bool](repeating: false, count: 2 * m)
        var chosen: [Int] = []
        for _ in 0..<m {
            var (best, longest) = (0, -1.0)
            for k in 0..<2 * m where !taken[k] {
                let square = (2 * m * k..<2 * m * (k + 1)).reduce(0) { $0 + rest[$1] * rest[$1] }
                // Ties, of which there are many, go to the first: not to rounding.
                if square > longest + 1e-6 { (best, longest) = (k, square) }
            }
            taken[best] = true
            chosen.append(best)
            let base = 2 * m * best
            let length = longest.squareRoot()
            for j in base..<base + 2 * m { rest[j] /= length }
            for k in 0..<2 * m where !taken[k] {
                let row = 2 * m * k
                var (re, im) = (0.0, 0.0)
                for j in 0..<m {
                    let (a, b, c, d) = (rest[base + j], rest[base + m + j], rest[row + j], rest[row + m + j])
                    re += a * c + b * d
                    im += a * d - b * c
                }
                if re == 0 && im == 0 { continue }
                for j in 0..<m {
                    let (a, b) = (rest[base + j], rest[base + m + j])
                    rest[row + j] -= re * a - im * b
                    rest[row + m + j] -= re * b + im * a
                }
            }
        }
        chosen.sort()
        return (
            chosen.map { values[$0] },
            Tensor(chosen.flatMap { rest[2 * m * $0..<2 * m * $0 + m] }, shape: [m, m]),
            Tensor(chosen.flatMap { rest[2 * m * $0 + m..<2 * m * ($0 + 1)] }, shape: [m, m])
        )
    }
}
