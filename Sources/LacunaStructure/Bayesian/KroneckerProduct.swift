import LacunaTensor

/// The matrix `A_1 ⊗ A_2 ⊗ …`, kept as its factors.
///
/// A vector of its columns is a tensor with one axis for each factor, the first slowest (row-major), and so is one of its
/// rows. Products take each factor in turn and never form the whole matrix.
public struct KroneckerProduct: Sendable {
    /// `A_i` [m_i, n_i].
    public let factors: [Tensor<Double>]

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` without factors, for empty ones, and for numbers that are not
    ///   finite.
    public init(_ factors: [Tensor<Double>]) throws {
        guard !factors.isEmpty else { throw LacunaError.invalidArgument("factors", reason: "there is none") }
        for (i, factor) in factors.enumerated() {
            guard factor.rank == 2, factor.count > 0 else {
                throw LacunaError.invalidArgument("factors", reason: "factor \(i + 1) has shape \(factor.shape)")
            }
            guard factor.scalars.allSatisfy(\.isFinite) else {
                throw LacunaError.invalidArgument("factors", reason: "factor \(i + 1) is not finite")
            }
        }
        self.factors = factors
    }

    init(unchecked factors: [Tensor<Double>]) { self.factors = factors }

    /// Π m_i.
    public var rows: Int { factors.reduce(1) { $0 * $1.rows } }
    /// Π n_i.
    public var columns: Int { factors.reduce(1) { $0 * $1.columns } }

    /// `(A_1 ⊗ A_2 ⊗ …) x`, or with its transpose.
    ///
    /// - Parameter x: One number a column (a row, if transposed).
    /// - Complexity: O(Σ over factors of the products of lengths before, in and after it), not `rows · columns`.
    public func multiplied(_ x: [Double], transposed: Bool = false) -> [Double] {
        var sizes = factors.map { transposed ? $0.rows : $0.columns }
        require(x.count == sizes.reduce(1, *), "\(x.count) numbers for a tensor of shape \(sizes)")
        var current = x
        for (axis, factor) in factors.enumerated() {
            current = Self.multiplied(current, sizes, axis: axis, by: factor, transposed: transposed)
            sizes[axis] = transposed ? factor.columns : factor.rows
        }
        return current
    }

    /// A tensor of shape `sizes`, multiplied by a matrix along one of its axes.
    static func multiplied(
        _ x: [Double], _ sizes: [Int], axis: Int, by factor: Tensor<Double>, transposed: Bool
    ) -> [Double] {
        let (n, m) = (sizes[axis], transposed ? factor.columns : factor.rows)
        let before = sizes[..<axis].reduce(1, *)
        let after = sizes[(axis + 1)...].reduce(1, *)
        var next = [Double](repeating: 0, count: before * m * after)
        factor.withPointer { a in
            x.withUnsafeBufferPointer { source in
                next.withUnsafeMutableBufferPointer { target in
                    for block in 0..<before {
                        LinearAlgebra.gemm(
                            m: m, n: after, k: n, a, leadingA: factor.columns, transposedA: transposed,
                            source.baseAddress! + block * n * after, leadingB: after,
                            into: target.baseAddress! + block * m * after, leadingC: after)
                    }
                }
            }
        }
        return next
    }

    /// The whole matrix [rows, columns].
    public func dense() -> Tensor<Double> {
        var result = factors[0]
        for factor in factors.dropFirst() { result = Self.product(result, factor) }
        return result
    }

    private static func product(_ a: Tensor<Double>, _ b: Tensor<Double>) -> Tensor<Double> {
        let (m, n, p, q) = (a.rows, a.columns, b.rows, b.columns)
        var result = Tensor<Double>(uninitialized: [m * p, n * q])
        a.withPointer { a in
            b.withPointer { b in
                result.withMutablePointer { out in
                    for i in 0..<m {
                        for k in 0..<p {
                            let row = out + (i * p + k) * n * q
                            for j in 0..<n {
                                let left = a[i * n + j]
                                for l in 0..<q { row[j * q + l] = left * b[k * q + l] }
                            }
                        }
                    }
                }
            }
        }
        return result
    }

    /// `x_1 ⊗ x_2 ⊗ …` for vectors, the first slowest.
    public static func vector(_ parts: [[Double]]) -> [Double] {
        parts.reduce([1]) { product, part in product.flatMap { left in part.map { left * $0 } } }
    }

    /// The same with the columns of each factor that are kept.
    func keeping(_ kept: [[Int]]) -> KroneckerProduct {
        KroneckerProduct(unchecked: zip(factors, kept).map { Self.columns($0.1, of: $0.0) })
    }

    /// The columns of a matrix that are kept.
    static func columns(_ kept: [Int], of factor: Tensor<Double>) -> Tensor<Double> {
        let (m, n) = (factor.rows, factor.columns)
        var part = Tensor<Double>(uninitialized: [m, kept.count])
        factor.withPointer { source in
            part.withMutablePointer { target in
                for i in 0..<m {
                    for (j, k) in kept.enumerated() { target[i * kept.count + j] = source[i * n + k] }
                }
            }
        }
        return part
    }
}
