import LacunaTensor

/// Learns one sparse kernel across agents that keep their data to themselves: they exchange weights only.
///
/// Consensus ADMM on `Σ_j l_j(ζ_j)` with `ζ_j = θ`: every agent lowers `l_j(ζ) + ⟨λ_j, ζ⟩ + ρ/2 ‖ζ - θ‖²` by the separable
/// majoriser of ``SparseKernelLearner``, each of whose terms is a scalar convex problem; the server sets
/// `θ = max(0, mean_j(ζ_j + λ_j / ρ))`; `λ_j += ρ (ζ_j - θ)`. Messages may be rounded at random, without bias, to multiples
/// of a resolution. Agents are simulated in one process.
///
/// Richard Cornelius Suwandi, Zhidi Lin, Feng Yin, Zhiguo Wang, Sergios Theodoridis, "Sparsity-Aware Distributed Learning for
/// Gaussian Processes with Linear Multiple Kernel", arXiv 2309.08201. Defaults are the authors'; the majoriser is ours.
public struct ConsensusKernelLearner: Sendable {
    /// Bound on the rounds of messages.
    public var rounds: Int
    /// Bound on an agent's updates in a round, which end at a relative decrease of 1e-3 or less.
    public var updates: Int
    /// ρ at first; it doubles while the primal residual is more than ten times the dual one, and halves, down to its first
    /// value, while the dual one is larger. Without ``balances`` it stays.
    public var penalty: Double
    /// Whether ρ follows the residuals.
    public var balances: Bool
    /// Ends when both residuals are below this, absolutely and relative to the weights.
    public var tolerance: Double
    /// Δ: messages are rounded to multiples of it; 0 sends them as they are.
    public var resolution: Double
    /// Changes the rounding.
    public var seed: UInt64
    /// Told how far the work is; its error, as when a user cancels, ends it.
    public var progress: (any ProgressReporter)?

    /// Settings as their properties say.
    public init(
        rounds: Int = 100, updates: Int = 100, penalty: Double = 1e-10, balances: Bool = true,
        tolerance: Double = 1e-3, resolution: Double = 0, seed: UInt64 = 0, progress: (any ProgressReporter)? = nil
    ) {
        require(rounds > 0 && updates > 0 && penalty > 0 && tolerance >= 0 && resolution >= 0)
        self.rounds = rounds
        self.updates = updates
        self.penalty = penalty
        self.balances = balances
        self.tolerance = tolerance
        self.resolution = resolution
        self.seed = seed
        self.progress = progress
    }

    /// What an agent holds.
    public struct Agent: Sendable {
        /// Inputs [n, dimensions].
        public var x: Tensor<Double>
        /// Targets [n], whose mean is taken as 0.
        public var y: [Double]

        /// - Parameters:
        ///   - x: [n, dimensions].
        ///   - y: [n].
        public init(x: Tensor<Double>, y: [Double]) {
            self.x = x
            self.y = y
        }
    }

    /// Weights that all agents agree on.
    public struct Result: Sendable {
        /// `θ`, one a component.
        public var weights: [Double]
        /// `Σ l_j(θ)` at ``weights``.
        public var objective: Double
        /// `√Σ‖ζ_j - θ‖²` and `ρ √N ‖θ - θ'‖` of every round.
        public var residuals: [(primal: Double, dual: Double)]
        /// ρ of the last round.
        public var penalty: Double
        /// Whether the residuals met the tolerance rather than the bound on the rounds was reached.
        public var converged: Bool
        /// Rounds of messages.
        public var rounds: Int { residuals.count }
        /// Numbers that an agent sent: those that were not 0 after rounding.
        public var messages: Int

        /// Components whose weight is above `fraction` of the largest.
        public func active(above fraction: Double = 1e-3) -> [Int] {
            let limit = fraction * (weights.max() ?? 0)
            return weights.indices.filter { weights[$0] > limit }
        }
    }

    /// - Throws: As ``SparseKernelLearner/fit(_:_:_:noise:)``; ``LacunaError/invalidArgument(_:reason:)`` without agents.
    public func fit(_ grid: SpectralGrid, _ agents: [Agent], noise: Double) throws -> Result {
        guard !agents.isEmpty else { throw LacunaError.invalidArgument("agents", reason: "there is none") }
        let likelihoods = try agents.map { try KernelLikelihood(grid, $0.x, $0.y, noise: noise) }
        let (count, q) = (Double(agents.count), grid.components)
        let starts = likelihoods.map { $0.start() }
        var theta = (0..<q).map { i in starts.reduce(0) { $0 + $1[i] } / count }
        var zeta = agents.map { _ in theta }
        var lambda = agents.map { _ in [Double](repeating: 0, count: q) }
        var rho = penalty
        var result = Result(
            weights: theta, objective: .nan, residuals: [], penalty: rho, converged: false, messages: 0)
        var generator = SeededGenerator(seed: seed, stream: 38)
        while result.rounds < rounds && !result.converged {
            for j in agents.indices {
                try progress.report(
                    "agents learn a kernel", result.rounds * agents.count + j, of: rounds * agents.count)
                try descend(likelihoods[j], &zeta[j], lambda[j], theta, rho)
            }
            let before = theta
            theta = [Double](repeating: 0, count: q)
            for j in agents.indices {
                for i in 0..<q {
                    let message = MessageQuantizer(resolution: resolution).rounded(
                        zeta[j][i] + lambda[j][i] / rho, using: &generator)
                    if message != 0 { result.messages += 1 }
                    theta[i] += message / count
                }
            }
            for i in 0..<q { theta[i] = max(0, theta[i]) }
            var (primal, dual, sizes) = (0.0, 0.0, 0.0)
            for i in 0..<q { dual += (theta[i] - before[i]) * (theta[i] - before[i]) }
            for j in agents.indices {
                for i in 0..<q {
                    let difference = zeta[j][i] - theta[i]
                    lambda[j][i] += rho * difference
                    primal += difference * difference
                    sizes += theta[i] * theta[i]
                }
            }
            (primal, dual) = (primal.squareRoot(), rho * (count * dual).squareRoot())
            result.residuals.append((primal, dual))
            let multipliers = lambda.reduce(0) { $0 + $1.reduce(0) { $0 + $1 * $1 } }.squareRoot()
            result.converged =
                primal <= tolerance * (1 + sizes.squareRoot()) && dual <= tolerance * (1 + multipliers)
                && result.rounds > 1
            if balances && !result.converged {
                if primal > 10 * dual { rho *= 2 } else if dual > primal { rho = max(rho / 2, penalty) }
            }
        }
        SparseKernelLearner.prune(&theta, below: 1e-8)
        result.weights = theta
        result.penalty = rho
        result.objective = try likelihoods.reduce(0) { try $0 + $1.terms(theta).value }
        return result
    }

    private func descend(
        _ likelihood: KernelLikelihood, _ zeta: inout [Double], _ lambda: [Double], _ theta: [Double], _ rho: Double
    ) throws {
        var previous = Double.infinity
        for _ in 0..<updates {
            let terms = try likelihood.terms(zeta)
            var value = terms.value
            for i in zeta.indices {
                value += lambda[i] * zeta[i] + rho / 2 * (zeta[i] - theta[i]) * (zeta[i] - theta[i])
            }
            if previous - value <= 1e-3 * abs(value) { return }
            previous = value
            for i in zeta.indices where zeta[i] > 0 {
                zeta[i] = Self.minimizer(
                    a: zeta[i] * zeta[i] * terms.q[i], b: terms.g[i] + lambda[i] - rho * theta[i], rho: rho)
            }
        }
    }

    /// The `z` of least `a / z + b z + ρ/2 z²` over `z > 0`, or 0 for `a = 0` and `b ≥ 0`: the root of `ρ z³ + b z² - a`.
    static func minimizer(a: Double, b: Double, rho: Double) -> Double {
        if a <= 0 { return max(0, -b / rho) }
        let cube = power(a / rho, 1 / 3)
        // From above the root, where the cubic rises and is convex, Newton's steps descend to it.
        var z = b > 0 ? min((a / b).squareRoot(), cube) : cube - b / rho
        for _ in 0..<100 {
            let slope = 3 * rho * z * z + 2 * b * z
            let step = slope > 0 ? (rho * z * z * z + b * z * z - a) / slope : 0
            if !(step > 1e-15 * z) { break }
            z -= step
        }
        return z
    }
}

/// Rounds numbers to multiples of a resolution, up or down at random, so that their expectation stays.
public struct MessageQuantizer: Sendable {
    /// 0 leaves numbers as they are.
    public let resolution: Double

    /// - Parameter resolution: The distance between neighbouring numbers, above 0.
    public init(resolution: Double) {
        require(resolution >= 0)
        self.resolution = resolution
    }

    /// A neighbouring multiple of the resolution, drawn so that the mean is right.
    public func rounded(_ x: Double, using generator: inout SeededGenerator) -> Double {
        if resolution == 0 { return x }
        let units = x / resolution
        let lower = units.rounded(.down)
        return resolution * (generator.uniform() < units - lower ? lower + 1 : lower)
    }
}
