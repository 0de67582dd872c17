import LacunaTensor

/// Learns the weights of a ``SpectralGrid`` by maximum likelihood. The solution is sparse by itself: no penalty is needed.
///
/// `l(θ) = yᵀC⁻¹y + log det C` is majorised at the current weights, with `a_i = θ_i² q_i`, by `Σ a_i / z_i + g_i z_i`, whose
/// minimum is `z_i = θ_i √(q_i / g_i)`: every step lowers `l`, keeps weights non-negative, and drives those to 0 whose fit is
/// not worth their complexity.
///
/// The model is that of Richard Cornelius Suwandi, Zhidi Lin, Feng Yin, Zhiguo Wang, Sergios Theodoridis, "Sparsity-Aware
/// Distributed Learning for Gaussian Processes with Linear Multiple Kernel", arXiv 2309.08201; the separable majoriser is ours. They
/// solve a cone program after each linearisation of `log det C`, `min yᵀC⁻¹y + Σ g_i z_i`, to which ``linearizedUpdates`` of the same
/// form with `g` held lead.
public struct SparseKernelLearner: Sendable {
    /// Bound on the linearisations, each of which has ``linearizedUpdates`` updates.
    public var iterations: Int
    /// Ends when an update lowers the objective by no more than this fraction of its magnitude.
    public var tolerance: Double
    /// Weights below this fraction of the largest become 0 for good.
    public var pruning: Double
    /// Updates between linearisations of `log det C`: 1 linearises anew for each; with many, each linearised problem is solved.
    public var linearizedUpdates: Int
    /// Told how far the work is; its error, as when a user cancels, ends it.
    public var progress: (any ProgressReporter)?

    /// Settings as their properties say.
    public init(
        iterations: Int = 500, tolerance: Double = 1e-9, pruning: Double = 1e-8, linearizedUpdates: Int = 1,
        progress: (any ProgressReporter)? = nil
    ) {
        require(iterations > 0 && tolerance >= 0 && (0..<1).contains(pruning) && linearizedUpdates > 0)
        self.linearizedUpdates = linearizedUpdates
        self.iterations = iterations
        self.tolerance = tolerance
        self.pruning = pruning
        self.progress = progress
    }

    /// The learnt weights and how the likelihood rose.
    public struct Result: Sendable {
        /// `θ`, one a component.
        public var weights: [Double]
        /// `l` before every linearisation.
        public var objectives: [Double]
        /// Whether the objective settled rather than the bound was reached.
        public var converged: Bool

        /// Components whose weight is above `fraction` of the largest.
        public func active(above fraction: Double = 1e-3) -> [Int] {
            let limit = fraction * (weights.max() ?? 0)
            return weights.indices.filter { weights[$0] > limit }
        }
    }

    /// - Parameters:
    ///   - x: Inputs [n, dimensions].
    ///   - y: Targets, whose mean is taken as 0.
    ///   - noise: Variance of the noise, such as ``SmootherNoise/variance(of:)`` estimates.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if sizes disagree or a number is not finite;
    ///   ``LacunaError/numerical(operation:reason:)``; ``LacunaError/cancelled``.
    public func fit(_ grid: SpectralGrid, _ x: Tensor<Double>, _ y: [Double], noise: Double) throws -> Result {
        let likelihood = try KernelLikelihood(grid, x, y, noise: noise)
        var result = Result(weights: likelihood.start(), objectives: [], converged: false)
        while result.objectives.count < iterations && !result.converged {
            try progress.report("learning a kernel", result.objectives.count, of: iterations)
            var terms = try likelihood.terms(result.weights)
            if let last = result.objectives.last {
                result.converged = last - terms.value <= tolerance * max(abs(terms.value), 1)
            }
            result.objectives.append(terms.value)
            let complexity = terms.g
            for update in 0..<linearizedUpdates {
                if update > 0 { terms = try likelihood.terms(result.weights) }
                for i in result.weights.indices where complexity[i] > 0 {
                    result.weights[i] *= (terms.q[i] / complexity[i]).squareRoot()
                }
            }
            Self.prune(&result.weights, below: pruning)
        }
        return result
    }

    static func prune(_ weights: inout [Double], below fraction: Double) {
        let limit = fraction * (weights.max() ?? 0)
        for i in weights.indices where weights[i] < limit { weights[i] = 0 }
    }
}
