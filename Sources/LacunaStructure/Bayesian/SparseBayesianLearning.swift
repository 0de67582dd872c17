import LacunaTensor

/// Sparse Bayesian learning: recovers a sparse `x` from `y = A x + noise` by giving every entry a normal prior whose variance
/// is learnt; variances of entries that are not needed go to 0.
///
/// Expectation-maximisation on `log|s² I + A Γ Aᵀ| + yᵀ(s² I + A Γ Aᵀ)⁻¹ y` with `Γ = diag(γ)`: the posterior of `x` has
/// covariance `Σ = Γ - Γ Aᵀ (s² I + A Γ Aᵀ)⁻¹ A Γ` and mean `μ = Σ Aᵀ y / s²`, and `γ_j ← Σ_jj + μ_j²`.
///
/// Michael E. Tipping, "Sparse Bayesian Learning and the Relevance Vector Machine", JMLR 1, 2001; David P. Wipf, Bhaskar D.
/// Rao, "Sparse Bayesian Learning for Basis Selection", IEEE TSP 52(8), 2004.
public struct SparseBayesianLearning: Sendable {
    /// What is known of the noise.
    public enum Noise: Sendable, Equatable {
        /// Its variance.
        case known(Double)
        /// A first guess of its variance, which is learnt along.
        case estimated(from: Double)

        var variance: Double {
            switch self {
            case .known(let value), .estimated(let value): value
            }
        }

        func check() throws {
            guard variance > 0, variance.isFinite else {
                throw LacunaError.invalidArgument("noise", reason: "a variance of \(variance) is not positive")
            }
        }

        /// `s² ← (‖y - A μ‖² + s² Σ_j (1 - Σ_jj / γ_j)) / m`.
        func updated(_ variance: Double, residual: Double, degrees: Double, rows: Int) -> Double {
            guard case .estimated = self else { return variance }
            return max((residual + variance * degrees) / Double(rows), 1e-300)
        }
    }

    /// Variances and the mean that follows from them.
    public struct Result: Sendable {
        /// Posterior mean, one number a column of the dictionary; 0 where pruned.
        public var mean: [Double]
        /// Prior variances; 0 where pruned.
        public var variances: [Double]
        /// Noise variance, given or estimated.
        public var noise: Double
        /// `log|s² I + A Γ Aᵀ| + yᵀ(s² I + A Γ Aᵀ)⁻¹ y` before every update.
        public var objectives: [Double]
        /// Whether the variances settled rather than the bound was reached.
        public var converged: Bool
        /// Steps that were taken.
        public var iterations: Int { objectives.count }
    }

    /// Whether the variance of the noise is known.
    public var noise: Noise
    /// Bound on the updates.
    public var iterations: Int
    /// Updates end when `‖γ' - γ‖ ≤ tolerance ‖γ‖`.
    public var tolerance: Double
    /// Entries whose variance falls below this fraction of the largest are taken out for good; 0 keeps all.
    public var pruning: Double

    /// Settings as their properties say.
    public init(noise: Noise, iterations: Int = 150, tolerance: Double = 1e-4, pruning: Double = 1e-3) {
        require(iterations > 0 && tolerance >= 0 && (0..<1).contains(pruning))
        self.noise = noise
        self.iterations = iterations
        self.tolerance = tolerance
        self.pruning = pruning
    }

    /// - Parameters:
    ///   - a: The dictionary [m, n].
    ///   - y: m measurements.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if sizes disagree or a number is not finite;
    ///   ``LacunaError/numerical(operation:reason:)`` if the measurements' covariance loses its definiteness.
    /// - Complexity: An update takes O(m² k) with k columns left, or O(m k²) where those are fewer.
    public func fit(_ a: Tensor<Double>, _ y: [Double]) throws -> Result {
        try noise.check()
        let n = a.columns
        guard y.count == a.rows, n > 0, y.count > 0 else {
            throw LacunaError.invalidArgument("y", reason: "\(y.count) measurements for a dictionary of \(a.shape)")
        }
        guard y.allSatisfy(\.isFinite), a.scalars.allSatisfy(\.isFinite) else {
            throw LacunaError.invalidArgument("y or dictionary", reason: "is not finite")
        }
        var kept = Array(0..<n)
        var part = a
        var gamma = [Double](repeating: KroneckerProduct(unchecked: [a]).startVariance(y), count: n)
        var variance = noise.variance
        var objectives: [Double] = []
        var converged = false
        while objectives.count < iterations && !converged {
            let limit = pruning * (gamma.max() ?? 0)
            let stay = gamma.indices.filter { gamma[$0] >= limit && gamma[$0] > 0 }
            if stay.isEmpty { break }
            var before = [Double](repeating: 0, count: n)
            for (place, j) in kept.enumerated() { before[j] = gamma[place] }
            if stay.count < gamma.count {
                part = KroneckerProduct(unchecked: [part]).keeping([stay]).factors[0]
                kept = stay.map { kept[$0] }
                gamma = stay.map { gamma[$0] }
            }
            let posterior = try Posterior(part, gamma, variance, y)
            objectives.append(posterior.objective)
            for j in gamma.indices { gamma[j] = posterior.variances[j] + posterior.mean[j] * posterior.mean[j] }
            variance = noise.updated(
                variance, residual: posterior.residual, degrees: posterior.degrees, rows: y.count)
            var (change, norm) = (0.0, 0.0)
            var after = [Double](repeating: 0, count: n)
            for (place, j) in kept.enumerated() { after[j] = gamma[place] }
            for j in 0..<n {
                change += (after[j] - before[j]) * (after[j] - before[j])
                norm += before[j] * before[j]
            }
            converged = change <= tolerance * tolerance * norm
        }
        var (mean, variances) = ([Double](repeating: 0, count: n), [Double](repeating: 0, count: n))
        if gamma.contains(where: { $0 > 0 }) {
            let last = try Posterior(part, gamma, variance, y)
            for (place, j) in kept.enumerated() {
                mean[j] = last.mean[place]
                variances[j] = gamma[place]
            }
        }
        return Result(mean: mean, variances: variances, noise: variance, objectives: objectives, converged: converged)
    }

    /// Mean and variances of `x` given `y`, by the covariance of the measurements [m, m] or by the precision of the
    /// entries [k, k], whichever is smaller.
    struct Posterior {
        var mean: [Double]
        var variances: [Double]
        var objective: Double
        /// `‖y - A μ‖²`.
        var residual: Double
        /// `Σ_j (1 - Σ_jj / γ_j)`.
        var degrees: Double

        init(_ a: Tensor<Double>, _ gamma: [Double], _ s2: Double, _ y: [Double]) throws {
            let (m, n) = (a.rows, a.columns)
            let root = gamma.map { $0.squareRoot() }
            // B = A Γ^½.
            var b = a
            b.withMutablePointer { b in for i in 0..<m { for j in 0..<n { b[i * n + j] *= root[j] } } }
            let target = Tensor(y, shape: [m, 1])
            let square = y.reduce(0) { $0 + $1 * $1 }
            var logDeterminant = 0.0
            if n < m {
                // s² I + Bᵀ B = L Lᵀ: Σ = s² Γ^½ (L Lᵀ)⁻¹ Γ^½ and μ = Γ^½ (L Lᵀ)⁻¹ Bᵀ y.
                var core = b.multiplied(by: b, transposed: true)
                core.withMutablePointer { for j in 0..<n { $0[j * n + j] += s2 } }
                let factor = try core.cholesky()
                let correlation = b.multiplied(by: target, transposed: true)
                let inner = factor.solveTriangular(correlation)
                let solved = factor.solveTriangular(inner, transposed: true).scalars
                let inverse = try factor.inverseFromCholesky()
                mean = (0..<n).map { root[$0] * solved[$0] }
                variances = inverse.withPointer { p in (0..<n).map { s2 * gamma[$0] * p[$0 * n + $0] } }
                for j in 0..<n { logDeterminant += 2 * logarithm(factor[j, j]) }
                logDeterminant += Double(m - n) * logarithm(s2)
                objective = logDeterminant + (square - inner.scalars.reduce(0) { $0 + $1 * $1 }) / s2
            } else {
                var core = b.multiplied(by: b, otherTransposed: true)
                core.withMutablePointer { for i in 0..<m { $0[i * m + i] += s2 } }
                let factor = try core.cholesky()
                let inner = factor.solveTriangular(target)
                let weights = factor.solveTriangular(inner, transposed: true)
                let solved = b.multiplied(by: weights, transposed: true).scalars
                let half = factor.solveTriangular(b)  // L⁻¹ B
                mean = (0..<n).map { root[$0] * solved[$0] }
                var squares = [Double](repeating: 0, count: n)
                half.withPointer { h in
                    for i in 0..<m { for j in 0..<n { squares[j] += h[i * n + j] * h[i * n + j] } }
                }
                variances = (0..<n).map { gamma[$0] * max(0, 1 - squares[$0]) }
                for i in 0..<m { logDeterminant += 2 * logarithm(factor[i, i]) }
                objective = logDeterminant + inner.scalars.reduce(0) { $0 + $1 * $1 }
            }
            let fitted = a.multiplied(by: Tensor(mean, shape: [n, 1])).scalars
            residual = zip(y, fitted).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
            degrees = zip(variances, gamma).reduce(0) { $0 + 1 - $1.0 / $1.1 }
        }
    }
}
