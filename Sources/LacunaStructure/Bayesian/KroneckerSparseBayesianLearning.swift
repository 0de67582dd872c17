import LacunaTensor

/// Sparse Bayesian learning of `y = (A_1 ⊗ A_2 ⊗ …) x + noise` where the support of `x` is a product of small supports: the
/// prior variances are themselves a Kronecker product `γ_1 ⊗ γ_2 ⊗ …`.
///
/// The expectation step is that of ``SparseBayesianLearning``, computed from the eigenvectors of each `A_i Γ_i A_iᵀ`, so that
/// no matrix larger than a factor is formed. The maximisation step minimises `Σ log γ + Λ/γ` over Kronecker products,
/// `Λ` being the posterior second moments, either exactly by alternating over the factors or by rank-1 approximations.
///
/// Yanbin He, Geethu Joseph, "Bayesian Algorithms for Kronecker-structured Sparse Vector Recovery With Application to IRS-MIMO
/// Channel Estimation", arXiv 2307.14719, for real numbers and for complex ones, with circular normal priors and noise; defaults are the
/// authors', but for where variances begin: at 1 there, here at the scale of the measurements.
public struct KroneckerSparseBayesianLearning: Sendable {
    /// How variances move in a step.
    public enum Update: String, Sendable, CaseIterable {
        /// Factor after factor, each in closed form given the others, until they settle. The objective never rises.
        case alternating = "AM"
        /// The best rank-1 approximation of `Λ` by singular vectors, factor by factor. Faster; the objective may rise.
        case singularVectors = "SVD"
    }

    /// Variances and the mean that follows from them.
    public struct Result<Vector: Sendable>: Sendable {
        /// Posterior mean, the first factor slowest; 0 where pruned.
        public var mean: Vector
        /// `γ_i`, one vector a factor; 0 where pruned. All but the last have norm 1.
        public var variances: [[Double]]
        /// The variance of the noise, given or learnt.
        public var noise: Double
        /// `log|s² I + A Γ Aᵀ| + yᵀ(s² I + A Γ Aᵀ)⁻¹ y` before every update.
        public var objectives: [Double]
        /// Whether the last step was smaller than the tolerance.
        public var converged: Bool
        /// Steps that were taken.
        public var iterations: Int { objectives.count }
        /// Places that are not pruned, for each factor.
        public var supports: [[Int]] { variances.map { v in v.indices.filter { v[$0] > 0 } } }
    }

    /// How variances move in a step.
    public var update: Update
    /// Whether the variance of the noise is known.
    public var noise: SparseBayesianLearning.Noise
    /// Bound on the updates.
    public var iterations: Int
    /// Updates end when `‖γ' - γ‖ ≤ tolerance ‖γ‖`.
    public var tolerance: Double
    /// An entry of a factor below this fraction of the factor's largest is taken out for good, with its whole slab of `x`.
    public var pruning: Double
    /// Bound on the passes of one alternating update, which ends when they change the factors by less than 1e-5.
    public var passes: Int

    /// - Parameter pruning: By default 1e-2 for alternating and 1e-3 for singular vectors.
    public init(
        update: Update = .singularVectors, noise: SparseBayesianLearning.Noise, iterations: Int = 150,
        tolerance: Double = 1e-4, pruning: Double? = nil, passes: Int = 200
    ) {
        let pruning = pruning ?? (update == .alternating ? 1e-2 : 1e-3)
        require(iterations > 0 && tolerance >= 0 && (0..<1).contains(pruning) && passes > 0)
        self.update = update
        self.noise = noise
        self.iterations = iterations
        self.tolerance = tolerance
        self.pruning = pruning
        self.passes = passes
    }

    /// - Parameter y: One measurement a row of `a`.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if sizes disagree or a number is not finite;
    ///   ``LacunaError/numerical(operation:reason:)`` if a decomposition fails.
    public func fit(_ a: KroneckerProduct, _ y: [Double]) throws -> Result<[Double]> { try learn(a, y) }

    /// The same for complex numbers: entries have circular normal priors, whose variances are those of `|x_j|²`, and so has the noise.
    ///
    /// - Parameter y: One measurement a row of `a`.
    /// - Throws: As for real numbers.
    public func fit(_ a: ComplexKroneckerProduct, _ y: ComplexVector) throws -> Result<ComplexVector> {
        try learn(a, y)
    }

    private func learn<A: KroneckerDictionary>(_ a: A, _ y: A.Vector) throws -> Result<A.Vector> {
        try noise.check()
        try a.requireMeasurements(y)
        let sizes = a.sizes.map(\.columns)
        var part = a
        var kept = sizes.map { Array(0..<$0) }
        var gamma = Self.normalized(sizes.map { [Double](repeating: 1, count: $0) })
        let start = a.startVariance(y)
        for j in gamma[gamma.count - 1].indices { gamma[gamma.count - 1][j] *= start }
        var variance = noise.variance
        var objectives: [Double] = []
        var converged = false
        while objectives.count < iterations && !converged {
            let before = Self.spread(gamma, kept, sizes)
            let stay = gamma.map { g in
                let limit = pruning * (g.max() ?? 0)
                return g.indices.filter { g[$0] >= limit && g[$0] > 0 }
            }
            if stay.contains(where: \.isEmpty) { break }
            if zip(stay, gamma).contains(where: { $0.0.count < $0.1.count }) {
                part = part.keeping(stay)
                kept = zip(kept, stay).map { kept, stay in stay.map { kept[$0] } }
                gamma = zip(gamma, stay).map { gamma, stay in stay.map { gamma[$0] } }
            }
            let posterior = try part.posterior(gamma, variance, y)
            objectives.append(posterior.objective)
            let moments = zip(posterior.variances, posterior.mean.squaredMagnitudes).map { $0 + $1 }
            switch update {
            case .alternating: gamma = alternate(moments, from: gamma)
            case .singularVectors: gamma = try Self.rankOne(moments, gamma.map(\.count))
            }
            if case .estimated = noise {
                variance = noise.updated(
                    variance, residual: part.residual(posterior.mean, y), degrees: posterior.degrees, rows: y.count)
            }
            let after = Self.spread(gamma, kept, sizes)
            var (change, norm) = (0.0, 0.0)
            for (new, old) in zip(after, before) {
                change += (new - old) * (new - old)
                norm += old * old
            }
            converged = change <= tolerance * tolerance * norm
        }
        var mean = A.Vector(zeros: sizes.reduce(1, *))
        if !gamma.contains(where: { !$0.contains { $0 > 0 } }) {
            mean = try part.posterior(gamma, variance, y).mean.spread(to: Self.places(kept, sizes), of: mean.count)
        }
        var variances = sizes.map { [Double](repeating: 0, count: $0) }
        for i in gamma.indices { for (g, j) in zip(gamma[i], kept[i]) { variances[i][j] = g } }
        return Result(
            mean: mean, variances: variances, noise: variance, objectives: objectives, converged: converged)
    }

    /// Norm 1 for all factors but the last, which takes the scale of the product.
    private static func normalized(_ gamma: [[Double]]) -> [[Double]] {
        var gamma = gamma
        let last = gamma.count - 1
        for i in 0..<last {
            let norm = gamma[i].reduce(0) { $0 + $1 * $1 }.squareRoot()
            if norm > 0 {
                for j in gamma[i].indices { gamma[i][j] /= norm }
                for j in gamma[last].indices { gamma[last][j] *= norm }
            }
        }
        return gamma
    }

    /// Places in the full vector of the entries of the product of what is kept.
    private static func places(_ kept: [[Int]], _ sizes: [Int]) -> [Int] {
        zip(kept, sizes).reduce([0]) { places, next in
            places.flatMap { place in next.0.map { place * next.1 + $0 } }
        }
    }

    private static func spread(_ gamma: [[Double]], _ kept: [[Int]], _ sizes: [Int]) -> [Double] {
        KroneckerProduct.vector(gamma).spread(to: places(kept, sizes), of: sizes.reduce(1, *))
    }

    /// `γ_i ← mean over the other axes of Λ / Π_{j≠i} γ_j`, in turn.
    func alternate(_ moments: [Double], from start: [[Double]]) -> [[Double]] {
        var gamma = start
        for _ in 0..<passes {
            let before = gamma
            for i in gamma.indices {
                let rows = gamma.indices.map { j -> Tensor<Double> in
                    let n = gamma[j].count
                    if j != i { return Tensor(gamma[j].map { 1 / ($0 * Double(n)) }, shape: [1, n]) }
                    var identity = Tensor<Double>(zeros: [n, n])
                    identity.withMutablePointer { for k in 0..<n { $0[k * n + k] = 1 } }
                    return identity
                }
                gamma[i] = KroneckerProduct(unchecked: rows).multiplied(moments).map {
                    max($0, Double.leastNormalMagnitude)
                }
            }
            gamma = Self.normalized(gamma)
            var (change, norm) = (0.0, 0.0)
            for (new, old) in zip(gamma, before) {
                for (n, o) in zip(new, old) {
                    change += (n - o) * (n - o)
                    norm += o * o
                }
            }
            if change <= 1e-10 * norm { break }
        }
        return gamma
    }

    /// The leading singular vectors of `Λ` as a matrix of the first axis by the rest, then of what is left, and so on.
    static func rankOne(_ moments: [Double], _ sizes: [Int]) throws -> [[Double]] {
        var gamma: [[Double]] = []
        var rest = moments
        for n in sizes.dropLast() {
            let (u, s, v) = try Tensor(rest, shape: [n, rest.count / n]).svd()
            gamma.append((0..<n).map { abs(u[$0, 0]) })
            rest = (0..<v.columns).map { abs(s[0] * v[0, $0]) }
        }
        return gamma + [rest]
    }
}
