import LacunaTensor

/// The largest singular values of a matrix and their vectors: `A ≈ u diag(s) vᵀ`.
public struct TruncatedSVD<Scalar: SparseScalar>: Sendable {
    /// [rows, rank], orthonormal columns.
    public let u: Tensor<Scalar>
    /// Descending.
    public let s: [Scalar]
    /// [rank, columns], orthonormal rows.
    public let vTransposed: Tensor<Scalar>
    /// √(‖A v - s u‖² + ‖Aᵀ u - s v‖²) of each triple, computed from this definition: there is a singular value no further than
    /// that from s.
    public let residualNorms: [Scalar]
    /// Of the randomised method, that of its fixed number of passes unless the residuals happen to meet the tolerance.
    public let reason: StopReason
}

/// How singular values are found.
public enum SVDMethod: Sendable, Hashable {
    /// To the tolerance, by the Lanczos process.
    case lanczos
    /// Approximately, with a fixed number of products with blocks of vectors: a random range, sharpened by passes over the
    /// matrix and its transpose. N. Halko, P. G. Martinsson, J. A. Tropp, "Finding Structure with Randomness", arXiv
    /// 0909.4061.
    ///
    /// - Parameters:
    ///   - oversampling: Vectors beyond the rank.
    ///   - passes: Times that the range is multiplied by `A Aᵀ`: two or three where singular values fall slowly.
    case randomized(oversampling: Int = 10, passes: Int = 2)
}

/// `[0, A; Aᵀ, 0]`: its largest eigenvalues are the singular values of `A`, without squaring them.
private struct Doubled<Base: LinearOperator>: LinearOperator {
    typealias Scalar = Base.Scalar
    let base: Base
    var rows: Int { base.rows + base.columns }
    var columns: Int { rows }

    func apply(_ x: UnsafeBufferPointer<Scalar>, into y: UnsafeMutableBufferPointer<Scalar>) {
        let m = base.rows
        base.apply(
            UnsafeBufferPointer(rebasing: x[m...]), into: UnsafeMutableBufferPointer(rebasing: y[..<m]))
        base.applyTransposed(
            UnsafeBufferPointer(rebasing: x[..<m]), into: UnsafeMutableBufferPointer(rebasing: y[m...]))
    }

    func applyTransposed(_ x: UnsafeBufferPointer<Scalar>, into y: UnsafeMutableBufferPointer<Scalar>) {
        apply(x, into: y)
    }
}

extension LinearOperator {
    /// The `rank` largest singular values and their vectors.
    ///
    /// - Parameter rank: At least 1, at most the smaller side.
    /// - Throws: `LacunaError.invalidArgument` for a rank out of range, bad options or an operator without its transpose, `LacunaError.numerical` if products are
    ///   not finite, `LacunaError.cancelled`.
    public func truncatedSVD(
        rank: Int, method: SVDMethod = .lanczos, seed: UInt64 = 0, options: SolverOptions = SolverOptions()
    ) throws -> TruncatedSVD<Scalar> {
        try checkTranspose()
        let side = Swift.min(rows, columns)
        guard rank >= 1, rank <= side else {
            throw LacunaError.invalidArgument("rank", reason: "\(rank) of a matrix [\(rows), \(columns)]")
        }
        switch method {
        case .lanczos:
            // Ritz vectors of the doubled matrix pair up as (u, v) / √2.
            let space = Swift.min(2 * rank + 20, rows + columns)
            let pairs = try Doubled(base: self).eigenpairs(rank, .largest, space: space, seed: seed, options: options)
            return try refined(halves: pairs.vectors, reason: pairs.reason)
        case .randomized(let oversampling, let passes):
            guard oversampling >= 0, passes >= 0 else {
                throw LacunaError.invalidArgument("method", reason: "oversampling and passes must not be negative")
            }
            let width = Swift.min(rank + oversampling, side)
            var generator = SeededGenerator(seed: seed, stream: 0x57D)
            var range = Tensor<Scalar>(zeros: [width, rows])
            for i in 0..<width {
                let x = (0..<columns).map { _ in Scalar(generator.normal()) }
                let y = applied(to: x)
                range.withMutablePointer { ($0 + i * rows).update(from: y, count: rows) }
            }
            range = try orthonormalRows(range)
            for _ in 0..<passes {
                range = try orthonormalRows(rowsApplied(range, transposed: true))
                range = try orthonormalRows(rowsApplied(range, transposed: false))
            }
            // Qᵀ A, small on one side.
            let small = rowsApplied(range, transposed: true)
            let (u, _, _) = try small.svd()
            let left = u.transposed().rows(0..<rank).multiplied(by: range)
            let found = try triples(left: left, reason: .converged)
            let target = Scalar(options.tolerance) * (found.s.first ?? 0)
            if found.residualNorms.allSatisfy({ $0 <= target }) { return found }
            return try triples(left: left, reason: .iterationLimit)
        }
    }

    /// A applied (or its transpose) to every row.
    private func rowsApplied(_ x: Tensor<Scalar>, transposed: Bool) -> Tensor<Scalar> {
        let (from, to) = transposed ? (rows, columns) : (columns, rows)
        var result = Tensor<Scalar>(zeros: [x.rows, to])
        let count = x.rows
        x.withPointer { x in
            result.withMutablePointer { y in
                for i in 0..<count {
                    let source = UnsafeBufferPointer(start: x + i * from, count: from)
                    let target = UnsafeMutableBufferPointer(start: y + i * to, count: to)
                    if transposed { applyTransposed(source, into: target) } else { apply(source, into: target) }
                }
            }
        }
        return result
    }

    private func orthonormalRows(_ x: Tensor<Scalar>) throws -> Tensor<Scalar> {
        try x.transposed().qr().q.transposed()
    }

    private func refined(halves: Tensor<Scalar>, reason: StopReason) throws -> TruncatedSVD<Scalar> {
        var left = Tensor<Scalar>(zeros: [halves.rows, rows])
        let (m, n) = (rows, rows + columns)
        halves.withPointer { source in
            left.withMutablePointer { target in
                for i in 0..<halves.rows { (target + i * m).update(from: source + i * n, count: m) }
            }
        }
        return try triples(left: orthonormalRows(left), reason: reason)
    }

    /// The singular triples within a space of left vectors, given by orthonormal rows [rank, rows].
    private func triples(left: Tensor<Scalar>, reason: StopReason) throws -> TruncatedSVD<Scalar> {
        let small = rowsApplied(left, transposed: true)
        let (u, s, vt) = try small.svd()
        let leftRows = u.transposed().multiplied(by: left)
        let (forward, backward) = (rowsApplied(vt, transposed: false), rowsApplied(leftRows, transposed: true))
        let residuals = s.indices.map { i -> Scalar in
            var sum: Scalar = 0
            for r in 0..<rows {
                let d = forward[i, r] - s[i] * leftRows[i, r]
                sum += d * d
            }
            for c in 0..<columns {
                let d = backward[i, c] - s[i] * vt[i, c]
                sum += d * d
            }
            return sum.squareRoot()
        }
        return TruncatedSVD(
            u: leftRows.transposed(), s: s, vTransposed: vt, residualNorms: residuals, reason: reason)
    }
}
