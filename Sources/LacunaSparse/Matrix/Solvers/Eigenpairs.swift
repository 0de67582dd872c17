import LacunaTensor

/// Some eigenvalues of a symmetric matrix, or singular values of any, and their vectors.
public struct Eigenpairs<Scalar: SparseScalar>: Sendable {
    /// In the order asked for: from the wanted end of the spectrum inwards.
    public let values: [Scalar]
    /// One a row, [values, rows], orthonormal.
    public let vectors: Tensor<Scalar>
    /// ‖A v - λ v‖ of each pair, computed from this definition: there is an eigenvalue no further than that from λ.
    public let residualNorms: [Scalar]
    /// Products with the matrix.
    public let products: Int
    /// Why the iteration stopped.
    public let reason: StopReason
}

/// Which end of the spectrum.
public enum SpectrumEnd: Sendable, Hashable {
    /// The algebraically largest eigenvalues.
    case largest
    /// The algebraically smallest eigenvalues.
    case smallest
}

extension LinearOperator {
    /// The `count` largest or smallest eigenvalues of a symmetric matrix and their vectors, by the Lanczos process with thick
    /// restarts. Of a multiple eigenvalue, one vector is sure to be found, others by the grace of rounding.
    ///
    /// K. Wu, H. Simon, "Thick-Restart Lanczos Method for Large Symmetric Eigenvalue Problems", SIAM J. Matrix Anal. Appl. 22,
    /// 2000. All vectors of the process are kept orthogonal.
    ///
    /// - Parameters:
    ///   - count: At least 1, at most rows.
    ///   - space: Vectors kept at a time, more than `count`; nil for `2 count + 20`.
    ///   - options: `tolerance` is relative to the largest magnitude of the spectrum as far as seen; `maximumIterations` counts
    ///     products.
    /// - Throws: `LacunaError.invalidArgument` for a matrix that is not square, a count or space out of range or bad options;
    ///   `LacunaError.numerical` if a product is not finite; `LacunaError.cancelled`.
    /// - Complexity: A product and O(rows · space) a step, `space` vectors of memory.
    public func eigenpairs(
        _ count: Int, _ end: SpectrumEnd = .largest, space: Int? = nil, seed: UInt64 = 0,
        options: SolverOptions = SolverOptions()
    ) throws -> Eigenpairs<Scalar> {
        guard rows == columns, (1...Swift.max(rows, 1)).contains(count), rows > 0 else {
            throw LacunaError.invalidArgument("count", reason: "\(count) eigenvalues of [\(rows), \(columns)]")
        }
        let n = rows
        let m = Swift.min(space ?? 2 * count + 20, n)
        guard m > count || m == n else {
            throw LacunaError.invalidArgument(
                "space", reason: "\(m) must be more than the \(count) eigenvalues asked for")
        }
        let (limit, _) = try options.checked([Scalar](repeating: 0, count: n), size: n)
        var generator = SeededGenerator(seed: seed, stream: 0xE16)
        func random() -> Vector<Scalar> { Vector((0..<n).map { _ in Scalar(generator.normal()) }) }
        /// Makes `v` orthogonal to `basis` and of length 1; a random vector takes the place of one that has no room.
        func normalized(_ v: Vector<Scalar>, against basis: [Vector<Scalar>], scale: Scalar) -> (Vector<Scalar>, Scalar)
        {
            func project(_ v: Vector<Scalar>) { for _ in 0..<2 { for u in basis { v.add(-u.dot(v), u) } } }
            project(v)
            let length = v.norm
            if length > 32 * Scalar.ulpOfOne * scale {
                v.scale(by: 1 / length)
                return (v, length)
            }
            var fresh = random()
            project(fresh)
            while !(fresh.norm > Scalar.ulpOfOne.squareRoot()) && basis.count < n {
                fresh = random()
                project(fresh)
            }
            if fresh.norm > 0 { fresh.scale(by: 1 / fresh.norm) }
            return (fresh, 0)
        }
        var basis = [normalized(random(), against: [], scale: 0).0]
        // The matrix in the basis, symmetric; what is known of it so far.
        var projected = Tensor<Scalar>(zeros: [m, m])
        var products = 0
        var norm: Scalar = 0
        while true {
            var residual: Vector<Scalar>?
            var coupling: Scalar = 0
            while basis.count <= m {
                let k = basis.count - 1
                let w = Vector<Scalar>(zeros: n)
                multiply(basis[k], into: w)
                products += 1
                try options.report("eigenvalues", products, of: limit)
                for i in 0...k {
                    // Twice, and what the second pass finds is added: then the projection is that of the matrix.
                    let h = basis[i].dot(w)
                    guard h.isFinite else {
                        throw LacunaError.numerical(operation: "eigenvalues", reason: "a product is not finite")
                    }
                    w.add(-h, basis[i])
                    projected[i, k] = h
                    projected[k, i] = h
                }
                norm = Swift.max(norm, (0...k).reduce(0) { $0 + abs(projected[$1, k]) })
                let (next, length) = normalized(w, against: basis, scale: norm)
                if basis.count == m {
                    (residual, coupling) = (next, length)
                    break
                }
                projected[k + 1, k] = length
                projected[k, k + 1] = length
                basis.append(next)
            }
            let (values, vectors) = try projected.symmetricEigen()
            let order = end == .largest ? Array(stride(from: m - 1, through: 0, by: -1)) : Array(0..<m)
            norm = Swift.max(norm, abs(values[0]), abs(values[m - 1]))
            let target = Swift.max(Scalar(options.tolerance) * norm, Scalar(options.absoluteTolerance))
            let errors = order.prefix(count).map { abs(coupling * vectors[$0, m - 1]) }
            /// The vectors of the matrix for some of those of the projection.
            func combined(_ chosen: some Sequence<Int>) -> [Vector<Scalar>] {
                chosen.map { row in
                    let v = Vector<Scalar>(zeros: n)
                    for j in 0..<m { v.add(vectors[row, j], basis[j]) }
                    return v
                }
            }
            let isDone = errors.allSatisfy { $0 <= target } || m == n
            let isOut = products >= limit
            // Rounding: no residual can be asked to be smaller than this.
            let floor = 4 * Scalar.ulpOfOne * norm
            let isStuck = !isDone && errors.allSatisfy { $0 <= Swift.max(target, floor) }
            if isDone || isOut || isStuck {
                let reason: StopReason = isDone ? .converged : isStuck ? .stagnated : .iterationLimit
                let found = combined(order.prefix(count))
                return try eigenpairs(found, order.prefix(count).map { values[$0] }, products, reason, target: target)
            }
            let kept = Swift.min(count + (m - count) / 2, m - 1)
            let chosen = Array(order.prefix(kept))
            let ritz = combined(chosen)
            projected = Tensor(zeros: [m, m])
            for (i, row) in chosen.enumerated() { projected[i, i] = values[row] }
            basis = ritz
            let (next, _) = normalized(residual!, against: basis, scale: norm)
            basis.append(next)
        }
    }

    private func eigenpairs(
        _ found: [Vector<Scalar>], _ values: [Scalar], _ products: Int, _ reason: StopReason, target: Scalar
    ) throws -> Eigenpairs<Scalar> {
        var vectors = Tensor<Scalar>(zeros: [found.count, rows])
        var residuals: [Scalar] = []
        let product = Vector<Scalar>(zeros: rows)
        for (i, v) in found.enumerated() {
            v.scale(by: 1 / v.norm)
            multiply(v, into: product)
            product.add(-values[i], v)
            residuals.append(product.norm)
            vectors.withMutablePointer { ($0 + i * rows).update(from: v.pointer, count: rows) }
        }
        let isSmall = residuals.allSatisfy {
            $0 <= 2 * Swift.max(target, 16 * Scalar.ulpOfOne * (values.map { abs($0) }.max() ?? 0))
        }
        return Eigenpairs(
            values: values, vectors: vectors, residualNorms: residuals, products: products + found.count,
            reason: reason == .converged && !isSmall ? .stagnated : reason)
    }
}
