import LacunaTensor

/// What methods for Kronecker products need of vectors, real or complex.
protocol KroneckerVector: Sendable {
    init(zeros count: Int)
    var count: Int { get }
    /// `|x_i|²`.
    var squaredMagnitudes: [Double] { get }
    var isFinite: Bool { get }
    /// The numbers at the given places among `count`, 0 elsewhere.
    func spread(to places: [Int], of count: Int) -> Self
    static func difference(_ a: Self, _ b: Self) -> Self
}

extension Array: KroneckerVector where Element == Double {
    init(zeros count: Int) { self.init(repeating: 0, count: count) }
    var squaredMagnitudes: [Double] { map { $0 * $0 } }
    var isFinite: Bool { allSatisfy(\.isFinite) }

    func spread(to places: [Int], of count: Int) -> [Double] {
        var full = [Double](repeating: 0, count: count)
        for (value, place) in zip(self, places) { full[place] = value }
        return full
    }

    static func difference(_ a: [Double], _ b: [Double]) -> [Double] { zip(a, b).map { $0 - $1 } }
}

extension ComplexVector: KroneckerVector {
    init(zeros count: Int) { self.init(real: [Double](repeating: 0, count: count)) }
    var isFinite: Bool { real.isFinite && imaginary.isFinite }

    func spread(to places: [Int], of count: Int) -> ComplexVector {
        ComplexVector(
            real: real.spread(to: places, of: count), imaginary: imaginary.spread(to: places, of: count))
    }

    static func difference(_ a: ComplexVector, _ b: ComplexVector) -> ComplexVector {
        ComplexVector(
            real: [Double].difference(a.real, b.real), imaginary: [Double].difference(a.imaginary, b.imaginary))
    }
}

/// A Kronecker product of small matrices, real or complex: what sparse Bayesian learning and matching pursuit work on.
protocol KroneckerDictionary: Sendable {
    associatedtype Vector: KroneckerVector
    /// Of each factor.
    var sizes: [(rows: Int, columns: Int)] { get }
    /// Lengths of each factor's columns.
    var lengths: [[Double]] { get }
    func product(_ x: Vector) -> Vector
    /// The product with the (conjugate) transpose.
    func correlations(_ y: Vector) -> Vector
    func keeping(_ kept: [[Int]]) -> Self
    /// The `x` that is nearest: by the pseudo-inverse, which is the product of the factors' ones.
    ///
    /// - Throws: ``LacunaError/numerical(operation:reason:)`` if columns of a factor are linearly dependent.
    func leastSquares(_ y: Vector) throws -> Vector
    /// What `y` says of an `x` with these prior variances.
    func posterior(_ gamma: [[Double]], _ s2: Double, _ y: Vector) throws -> KroneckerPosterior<Vector>
}

extension KroneckerDictionary {
    func requireMeasurements(_ y: Vector) throws {
        let rows = sizes.reduce(1) { $0 * $1.rows }
        guard y.count == rows, y.isFinite else {
            throw LacunaError.invalidArgument(
                "y", reason: "\(rows) finite measurements are needed, there are \(y.count)")
        }
    }

    /// Where the variances of all entries begin: where they would explain `y` together, `‖y‖² / ‖A‖²_F`, so that what is found
    /// does not depend on the units of `y`, nor on those of the columns.
    func startVariance(_ y: Vector) -> Double {
        let energy = y.squaredMagnitudes.reduce(0, +)
        let size = lengths.reduce(1) { $0 * $1.reduce(0) { $0 + $1 * $1 } }
        let start = energy / size
        return start > 0 && start.isFinite ? start : 1
    }

    /// `‖y - A x‖²`.
    func residual(_ x: Vector, _ y: Vector) -> Double {
        Vector.difference(y, product(x)).squaredMagnitudes.reduce(0, +)
    }
}

/// Mean and variances of `x` given `y`: with `A_i Γ_i A_iᵀ = U_i D_i U_iᵀ`, the covariance of the measurements is
/// `(⊗U)(s² I + ⊗D)(⊗U)ᵀ`; conjugate transposes where numbers are complex.
struct KroneckerPosterior<Vector: KroneckerVector> {
    var mean: Vector
    var variances: [Double]
    /// `log|s² I + A Γ Aᵀ| + yᵀ(s² I + A Γ Aᵀ)⁻¹ y`.
    var objective: Double
    /// `Σ_j (1 - Σ_jj / γ_j)`.
    var degrees: Double

    /// - Parameters:
    ///   - eigenvalues: `⊗D`.
    ///   - squares: `|Γ_i A_iᵀ U_i|²`, entry by entry, of each factor.
    ///   - energies: `|(⊗U)ᵀ y|²`, entry by entry.
    init(
        mean: Vector, eigenvalues: [Double], gamma: [[Double]], squares: [Tensor<Double>], energies: [Double],
        _ s2: Double
    ) {
        self.mean = mean
        let explained = KroneckerProduct(unchecked: squares).multiplied(eigenvalues.map { 1 / (s2 + $0) })
        variances = zip(KroneckerProduct.vector(gamma), explained).map { max(0, $0 - $1) }
        objective = zip(energies, eigenvalues).reduce(0) { $0 + logarithm(s2 + $1.1) + $1.0 / (s2 + $1.1) }
        degrees = eigenvalues.reduce(0) { $0 + $1 / (s2 + $1) }
    }
}

extension KroneckerProduct: KroneckerDictionary {
    var sizes: [(rows: Int, columns: Int)] { factors.map { ($0.rows, $0.columns) } }
    var lengths: [[Double]] {
        factors.map { factor in
            (0..<factor.columns).map { j in
                (0..<factor.rows).reduce(0.0) { $0 + factor[$1, j] * factor[$1, j] }.squareRoot()
            }
        }
    }

    func product(_ x: [Double]) -> [Double] { multiplied(x) }
    func correlations(_ y: [Double]) -> [Double] { multiplied(y, transposed: true) }

    func leastSquares(_ y: [Double]) throws -> [Double] {
        let inverses = try factors.map { factor -> Tensor<Double> in
            let (q, r) = try factor.qr()
            try Self.requireIndependent(r)
            return r.solveTriangular(q.transposed(), lower: false)
        }
        return KroneckerProduct(unchecked: inverses).multiplied(y)
    }

    /// By what is left of each column beside those before it, as a share of the column: scales of columns do not matter.
    ///
    /// - Parameter triangle: A factor's R.
    static func requireIndependent(_ triangle: Tensor<Double>) throws {
        for j in 0..<triangle.columns {
            let column = (0...j).map { triangle[$0, j] }
            let largest = column.reduce(0) { max($0, abs($1)) }
            guard abs(column[j]) <= 1e-12 * largest else { continue }
            throw LacunaError.numerical(
                operation: "matching pursuit", reason: "chosen columns of a factor are linearly dependent")
        }
    }

    func posterior(_ gamma: [[Double]], _ s2: Double, _ y: [Double]) throws -> KroneckerPosterior<[Double]> {
        var vectors: [Tensor<Double>] = []  // U_iᵀ
        var values: [[Double]] = []
        var maps: [Tensor<Double>] = []  // Γ_i A_iᵀ U_i
        for (factor, g) in zip(factors, gamma) {
            let scaled = factor.multipliedColumns(by: g)
            let (d, u) = try scaled.multiplied(by: factor, otherTransposed: true).symmetricEigen()
            values.append(d.map { max($0, 0) })
            vectors.append(u)
            maps.append(scaled.multiplied(by: u, transposed: true, otherTransposed: true))
        }
        let eigenvalues = KroneckerProduct.vector(values)
        let rotated = KroneckerProduct(unchecked: vectors).multiplied(y)
        let mean = KroneckerProduct(unchecked: maps).multiplied(zip(rotated, eigenvalues).map { $0 / (s2 + $1) })
        let squares = maps.map { Tensor($0.scalars.squaredMagnitudes, shape: $0.shape) }
        return KroneckerPosterior(
            mean: mean, eigenvalues: eigenvalues, gamma: gamma, squares: squares, energies: rotated.squaredMagnitudes,
            s2)
    }
}

extension ComplexKroneckerProduct: KroneckerDictionary {
    var sizes: [(rows: Int, columns: Int)] { factors.map { ($0.rows, $0.columns) } }
    var lengths: [[Double]] { factors.map(\.lengths) }

    func product(_ x: ComplexVector) -> ComplexVector { multiplied(x) }
    func correlations(_ y: ComplexVector) -> ComplexVector { multiplied(y, adjoint: true) }

    /// By real numbers: a complex matrix `P + iQ` acts on (real, imaginary) parts as `[[P, -Q], [Q, P]]`, and so does its pseudo-inverse.
    func leastSquares(_ y: ComplexVector) throws -> ComplexVector {
        let inverses = try factors.map { factor -> Factor in
            let (m, n) = (factor.rows, factor.columns)
            var whole = Tensor<Double>(uninitialized: [2 * m, 2 * n])
            for i in 0..<m {
                for j in 0..<n {
                    let (a, b) = (factor.real[i, j], factor.imaginary[i, j])
                    // A column's real and imaginary directions side by side, so that pivots keep its order.
                    (whole[i, 2 * j], whole[m + i, 2 * j]) = (a, b)
                    (whole[i, 2 * j + 1], whole[m + i, 2 * j + 1]) = (-b, a)
                }
            }
            let (q, r) = try whole.qr()
            try KroneckerProduct.requireIndependent(r)
            let inverse = r.solveTriangular(q.transposed(), lower: false)
            var (real, imaginary) = (Tensor<Double>(uninitialized: [n, m]), Tensor<Double>(uninitialized: [n, m]))
            for j in 0..<n {
                for i in 0..<m { (real[j, i], imaginary[j, i]) = (inverse[2 * j, i], inverse[2 * j + 1, i]) }
            }
            return Factor(unchecked: real, imaginary)
        }
        return ComplexKroneckerProduct(unchecked: inverses).multiplied(y)
    }

    func posterior(
        _ gamma: [[Double]], _ s2: Double, _ y: ComplexVector
    ) throws -> KroneckerPosterior<ComplexVector> {
        var vectors: [Factor] = []  // U_iᴴ
        var values: [[Double]] = []
        var maps: [Factor] = []  // Γ_i A_iᴴ U_i
        for (factor, g) in zip(factors, gamma) {
            let (p, q) = (factor.real.multipliedColumns(by: g), factor.imaginary.multipliedColumns(by: g))
            func sum(_ a: Tensor<Double>, _ b: Tensor<Double>, _ sign: Double) -> Tensor<Double> {
                Tensor(zip(a.scalars, b.scalars).map { $0 + sign * $1 }, shape: a.shape)
            }
            // (P + iQ)(P + iQ)ᴴ = PPᵀ + QQᵀ + i(QPᵀ - PQᵀ).
            let (d, a, b) = try HermitianEigen.decompose(
                real: sum(
                    p.multiplied(by: factor.real, otherTransposed: true),
                    q.multiplied(by: factor.imaginary, otherTransposed: true), 1),
                imaginary: sum(
                    q.multiplied(by: factor.real, otherTransposed: true),
                    p.multiplied(by: factor.imaginary, otherTransposed: true), -1))
            values.append(d.map { max($0, 0) })
            vectors.append(Factor(unchecked: a, Tensor(b.scalars.map { -$0 }, shape: b.shape)))
            func turned(_ left: Tensor<Double>, _ right: Tensor<Double>) -> Tensor<Double> {
                left.multiplied(by: right, transposed: true, otherTransposed: true)
            }
            // (P - iQ)ᵀ (a + ib)ᵀ, the vectors being rows.
            maps.append(
                Factor(unchecked: sum(turned(p, a), turned(q, b), 1), sum(turned(p, b), turned(q, a), -1)))
        }
        let eigenvalues = KroneckerProduct.vector(values)
        let rotated = ComplexKroneckerProduct(unchecked: vectors).multiplied(y)
        let weights = eigenvalues.map { 1 / (s2 + $0) }
        let mean = ComplexKroneckerProduct(unchecked: maps).multiplied(
            ComplexVector(
                real: zip(rotated.real, weights).map { $0 * $1 },
                imaginary: zip(rotated.imaginary, weights).map { $0 * $1 }))
        let squares = maps.map { map in
            Tensor(
                ComplexVector(real: map.real.scalars, imaginary: map.imaginary.scalars).squaredMagnitudes,
                shape: map.real.shape)
        }
        return KroneckerPosterior(
            mean: mean, eigenvalues: eigenvalues, gamma: gamma, squares: squares, energies: rotated.squaredMagnitudes,
            s2)
    }
}

extension Tensor where Scalar == Double {
    /// Each column of a matrix times its own number.
    fileprivate func multipliedColumns(by factors: [Double]) -> Tensor<Double> {
        var result = self
        let (m, n) = (rows, columns)
        result.withMutablePointer { p in for i in 0..<m { for j in 0..<n { p[i * n + j] *= factors[j] } } }
        return result
    }
}
