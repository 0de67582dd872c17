import LacunaTensor

/// The negative log likelihood of a Gaussian process whose kernel is linear in its weights, and what its majorisation needs:
/// `l(θ) = yᵀ C⁻¹ y + log det C` with `C = Σ θ_i K_i + s² I`, `q_i = yᵀ C⁻¹ K_i C⁻¹ y` and `g_i = tr(C⁻¹ K_i)`, so that
/// `∂l/∂θ_i = g_i - q_i`.
struct KernelLikelihood: Sendable {
    let y: [Double]
    let noise: Double
    /// `[L_1 L_2 …]` [n, r]: the components' factors side by side.
    private let factors: Tensor<Double>
    /// Where each component's columns begin.
    private let starts: [Int]

    struct Terms {
        var value: Double
        /// Data fit and complexity of each component; 0 for those that were left out.
        var q: [Double]
        var g: [Double]
    }

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if sizes disagree or a number is not finite.
    init(_ grid: SpectralGrid, _ x: Tensor<Double>, _ y: [Double], noise: Double) throws {
        guard x.rank == 2, x.columns == grid.dimensions, x.rows == y.count, !y.isEmpty else {
            throw LacunaError.invalidArgument(
                "inputs", reason: "of shape \(x.shape) for \(y.count) targets and \(grid.dimensions) dimensions")
        }
        guard y.allSatisfy(\.isFinite), x.scalars.allSatisfy(\.isFinite) else {
            throw LacunaError.invalidArgument("inputs or targets", reason: "are not finite")
        }
        guard noise > 0, noise.isFinite else {
            throw LacunaError.invalidArgument("noise", reason: "a variance of \(noise) is not positive")
        }
        self.y = y
        self.noise = noise
        let found = Locked([[[Double]]](repeating: [], count: grid.components))
        Parallel.forEach(grid.components) { i in
            let columns = grid.factor(i, x)
            found.withLock { $0[i] = columns }
        }
        let columns = found.withLock { $0 }
        var starts = [0]
        for part in columns { starts.append(starts[starts.count - 1] + part.count) }
        let (n, r) = (y.count, starts[starts.count - 1])
        var factors = Tensor<Double>(uninitialized: [n, r])
        factors.withMutablePointer { p in
            for (k, column) in columns.joined().enumerated() { for i in 0..<n { p[i * r + k] = column[i] } }
        }
        self.factors = factors
        self.starts = starts
    }

    var components: Int { starts.count - 1 }
    /// Columns of all factors together.
    var rank: Int { factors.columns }

    /// - Parameter weights: `θ`, 0 or more. Components of weight 0 cost nothing.
    /// - Throws: ``LacunaError/numerical(operation:reason:)`` if `C` loses its definiteness.
    /// - Complexity: O(n² r + n³) for r columns of components with weight.
    func terms(_ weights: [Double]) throws -> Terms {
        let n = y.count
        let active = weights.indices.filter { weights[$0] > 0 }
        let r = active.reduce(0) { $0 + starts[$1 + 1] - starts[$1] }
        let all = factors.columns
        var part = Tensor<Double>(uninitialized: [n, max(r, 1)])
        var scaled = part
        if r == 0 {
            part = Tensor(zeros: [n, 1])
            scaled = part
        }
        factors.withPointer { source in
            part.withMutablePointer { part in
                scaled.withMutablePointer { scaled in
                    for i in 0..<n {
                        var at = i * r
                        for c in active {
                            let width = starts[c + 1] - starts[c]
                            let from = source + i * all + starts[c]
                            for k in 0..<width {
                                part[at + k] = from[k]
                                scaled[at + k] = weights[c] * from[k]
                            }
                            at += width
                        }
                    }
                }
            }
        }
        var covariance = scaled.multiplied(by: part, otherTransposed: true)
        covariance.withMutablePointer { for i in 0..<n { $0[i * n + i] += noise } }
        let l = try covariance.cholesky()
        let inner = l.solveTriangular(Tensor(y, shape: [n, 1]))
        let alpha = l.solveTriangular(inner, transposed: true)
        let fits = part.multiplied(by: alpha, transposed: true).scalars
        let half = l.solveTriangular(part)
        var squares = [Double](repeating: 0, count: max(r, 1))
        half.withPointer { h in for i in 0..<n { for k in 0..<r { squares[k] += h[i * r + k] * h[i * r + k] } } }
        var terms = Terms(
            value: 0, q: [Double](repeating: 0, count: components), g: [Double](repeating: 0, count: components))
        terms.value = (0..<n).reduce(inner.scalars.reduce(0) { $0 + $1 * $1 }) { $0 + 2 * logarithm(l[$1, $1]) }
        var at = 0
        for c in active {
            for k in at..<at + starts[c + 1] - starts[c] {
                terms.q[c] += fits[k] * fits[k]
                terms.g[c] += squares[k]
            }
            at += starts[c + 1] - starts[c]
        }
        return terms
    }

    /// Where the multiplicative updates start: they cannot leave 0.
    func start() -> [Double] {
        let mean = y.reduce(0, +) / Double(y.count)
        let variance = y.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(y.count)
        return [Double](repeating: max(variance, noise) / Double(components), count: components)
    }
}
