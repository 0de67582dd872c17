import LacunaTensor

/// Learns a sparse acyclic graph of linear effects together with the scale of the noise, so that the weight of the L1
/// penalty need not follow that scale.
///
/// With the covariance `S` of the centred data, in the unit in which the least of the variables has variance 1, it minimises, along a falling sequence of `μ`,
/// `μ (tr((I - W)ᵀ S (I - W)) / 2σ + dσ/2 + λ‖W‖₁) + h_s(W)` in `W` and `σ` (one for each variable with
/// ``Noise/varying``), where `h_s(W) = -log det(sI - W∘W) + d log s` is 0 for acyclic graphs alone. Steps are Adam's; one
/// that leaves the domain, where `sI - W∘W` is an M-matrix, is undone and repeated with half the rate.
///
/// Seyed Saman Saboksayr, Gonzalo Mateos, Mariano Tepper, "CoLiDE: Concomitant Linear DAG Estimation", arXiv 2310.02895. Defaults are those of
/// the authors' experiments.
public struct CoLiDE: Sendable {
    /// What is known of the noise.
    public enum Noise: Sendable, Equatable {
        /// The same unknown standard deviation for all variables.
        case equal
        /// An unknown one for each.
        case varying
        /// A known one: plain least squares.
        case fixed(Double)
    }

    /// What is known of the noise.
    public var noise: Noise
    /// λ.
    public var sparsity: Double
    /// μ and s of each stage.
    public var stages: [(weight: Double, domain: Double)]
    /// Steps of each stage but the last.
    public var iterations: Int
    /// Iterations of the last stage.
    public var finalIterations: Int
    /// The length of Adam's steps.
    public var rate: Double
    /// Magnitude up to which effects count as none.
    public var threshold: Double
    /// A stage ends when 1000 steps change the objective by no more than this fraction.
    public var tolerance: Double
    /// Told how far the work is; its error, as when a user cancels, ends it.
    public var progress: (any ProgressReporter)?

    /// Settings as their properties say.
    public init(
        noise: Noise = .equal, sparsity: Double = 0.05, iterations: Int = 20_000, finalIterations: Int = 70_000,
        rate: Double = 3e-4, threshold: Double = 0.3, tolerance: Double = 1e-6, progress: (any ProgressReporter)? = nil
    ) {
        require(sparsity >= 0 && iterations > 0 && finalIterations > 0 && rate > 0 && threshold >= 0)
        self.noise = noise
        self.sparsity = sparsity
        stages = [(1, 1), (0.1, 0.9), (0.01, 0.8), (0.001, 0.7)]
        self.iterations = iterations
        self.finalIterations = finalIterations
        self.rate = rate
        self.threshold = threshold
        self.tolerance = tolerance
        self.progress = progress
    }

    /// The graph and the noise that were learnt.
    public struct Result: Sendable {
        /// All effects, before small ones and cycles were cut.
        public var dense: DirectedGraph
        /// The acyclic graph.
        public var graph: DirectedGraph
        /// Estimated standard deviation of each variable's noise.
        public var noise: [Double]
        /// Steps that were taken.
        public var iterations: Int
        /// Whether every stage ended by its tolerance rather than by its bound, at effects that beyond the threshold have no
        /// cycle: a graph from which cycles had to be cut is not what was optimised.
        public var converged: Bool
    }

    /// - Parameter data: Observations [rows, variables]; they are centred, not scaled: scaling would remove what tells
    ///   causes from effects.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for fewer than 2 rows or variables, numbers that are not
    ///   finite, and variables that never vary; ``LacunaError/cancelled``.
    public func fit(_ data: Tensor<Double>) throws -> Result {
        var covariance = try Observations.covariance(data)
        let d = data.columns
        // One unit for all variables, in which the least of them varies by 1: λ and the domains belong to it, so that the
        // result is the same in metres and in millimetres.
        let unit = (0..<d).reduce(Double.infinity) { min($0, covariance[$1 * d + $1]) }.squareRoot()
        for i in covariance.indices { covariance[i] = covariance[i] / unit / unit }
        var w = [Double](repeating: 0, count: d * d)
        var sigma = (0..<d).map { covariance[$0 * d + $0].squareRoot() }
        if noise == .equal { sigma = [Double](repeating: sigma.min() ?? 1, count: d) }
        if case .fixed(let value) = noise { sigma = [Double](repeating: value / unit, count: d) }
        var total = 0
        var converged = true
        for (index, stage) in stages.enumerated() {
            let bound = index == stages.count - 1 ? finalIterations : iterations
            var (rate, domain) = (self.rate, stage.domain)
            while true {
                let outcome = try minimize(
                    covariance, d, weight: stage.weight, domain: domain, rate: rate, bound: bound, from: (w, sigma))
                total += outcome.iterations
                guard outcome.isInside else {
                    // Too close to the border: the stage begins anew, farther from it and more slowly.
                    rate /= 2
                    domain += 0.1
                    if rate < self.rate * 1e-6 {
                        throw LacunaError.numerical(operation: "CoLiDE", reason: "no step stays inside the domain")
                    }
                    continue
                }
                (w, sigma) = (outcome.w, outcome.sigma)
                converged = converged && outcome.converged
                break
            }
            try progress.report("learning a graph", index + 1, of: stages.count)
        }
        let dense = DirectedGraph(count: d, weights: w)
        let large = dense.thresholded(threshold)
        return Result(
            dense: dense, graph: large.withoutCycles(), noise: sigma.map { $0 * unit }, iterations: total,
            converged: converged && large.topologicalOrder != nil)
    }

    private func minimize(
        _ s: [Double], _ d: Int, weight mu: Double, domain: Double, rate initialRate: Double, bound: Int,
        from start: (w: [Double], sigma: [Double])
    ) throws -> (w: [Double], sigma: [Double], iterations: Int, isInside: Bool, converged: Bool) {
        var (w, sigma) = start
        var before = w
        var rate = initialRate
        let size = d * d
        var residual = [Double](repeating: 0, count: size)
        var descent = Descent(count: d)
        var barrier = AcyclicityBarrier(count: d)
        guard barrier.update(w, domain: domain) else { return (w, sigma, 0, false, false) }
        covary(s, w, d, into: &residual)
        var previous = Double.infinity
        for iteration in 1...bound {
            descent.move(
                w, residual, sigma, barrier.inverse, weight: mu, sparsity: sparsity,
                corrections: (1 - power(0.99, Double(iteration)), 1 - power(0.999, Double(iteration))))
            swap(&w, &before)
            var halvings = 0
            while true {
                descent.apply(rate, from: before, to: &w)
                if barrier.update(w, domain: domain) { break }
                rate /= 2
                halvings += 1
                if iteration == 1 || domain < 0.95 || halvings > 60 { return (before, sigma, iteration, false, false) }
            }
            covary(s, w, d, into: &residual)
            updateNoise(&sigma, w, residual, d)
            if iteration % 1000 == 0 {
                if progress?.isCancelled == true { throw LacunaError.cancelled }
                let value = objective(w, sigma, residual, d, mu, domain, barrier)
                if previous.isFinite && abs(previous - value) <= tolerance * abs(previous) {
                    return (w, sigma, iteration, true, true)
                }
                previous = value
            }
        }
        return (w, sigma, bound, true, false)
    }

    /// `S (I - W)`.
    private func covary(_ s: [Double], _ w: [Double], _ d: Int, into out: inout [Double]) {
        s.withUnsafeBufferPointer { s in
            w.withUnsafeBufferPointer { w in
                out.withUnsafeMutableBufferPointer { out in
                    out.baseAddress!.update(from: s.baseAddress!, count: d * d)
                    LinearAlgebra.parallelGemm(
                        m: d, n: d, k: d, alpha: -1.0, s.baseAddress!, leadingA: d, w.baseAddress!, leadingB: d,
                        beta: 1, into: out.baseAddress!, leadingC: d)
                }
            }
        }
    }

    /// Adam's moments and steps.
    private struct Descent {
        private let count: Int
        private let first, second, step: Buffer<Double>

        init(count: Int) {
            self.count = count
            first = Buffer(repeating: 0, count: count * count)
            second = Buffer(repeating: 0, count: count * count)
            step = Buffer(repeating: 0, count: count * count)
        }

        /// The step for the gradient `-μ S(I - W)/σ + μλ sign W + 2 W ∘ (sI - W∘W)⁻ᵀ`.
        mutating func move(
            _ w: [Double], _ residual: [Double], _ sigma: [Double], _ inverse: [Double], weight mu: Double,
            sparsity: Double, corrections: (first: Double, second: Double)
        ) {
            let d = count
            let (first, second, step) = (self.first.pointer, self.second.pointer, self.step.pointer)
            let scales = sigma.map { mu / $0 }
            let (a, b, shrink) = (1 / corrections.first, 1 / corrections.second, mu * sparsity)
            w.withUnsafeBufferPointer { w in
                residual.withUnsafeBufferPointer { residual in
                    inverse.withUnsafeBufferPointer { inverse in
                        scales.withUnsafeBufferPointer { scales in
                            Parallel.forRanges(d, grain: max(32, 10_000 / d)) { rows in
                                // The inverse is read along its columns: in strips of 8 that share cache lines.
                                for start in stride(from: rows.lowerBound, to: rows.upperBound, by: 8) {
                                    let strip = start..<min(start + 8, rows.upperBound)
                                    for j in 0..<d {
                                        for i in strip { step[i * d + j] = inverse[j * d + i] }
                                    }
                                }
                                for i in rows {
                                    for k in i * d..<i * d + d {
                                        let j = k - i * d
                                        let x = w[k]
                                        let sign = (x > 0 ? 1.0 : 0.0) - (x < 0 ? 1.0 : 0.0)
                                        let slope = shrink * sign - residual[k] * scales[j] + 2 * x * step[k]
                                        first[k] = 0.99 * first[k] + 0.01 * slope
                                        second[k] = 0.999 * second[k] + 0.001 * slope * slope
                                        step[k] = first[k] * a / ((second[k] * b).squareRoot() + 1e-8)
                                    }
                                    // No variable acts on itself.
                                    let own = i * d + i
                                    (first[own], second[own], step[own]) = (0, 0, 0)
                                }
                            }
                        }
                    }
                }
            }
        }

        func apply(_ rate: Double, from before: [Double], to w: inout [Double]) {
            let size = count * count
            before.withUnsafeBufferPointer { before in
                w.withUnsafeMutableBufferPointer { w in
                    w.baseAddress!.update(from: before.baseAddress!, count: size)
                    kernels.axpy_f64(-rate, step.pointer, w.baseAddress!, size)
                }
            }
        }
    }

    /// Diagonal entry `j` of `(I - W)ᵀ S (I - W)`: the variance of variable `j`'s residual.
    private func residualVariance(_ w: [Double], _ residual: [Double], _ d: Int, _ j: Int) -> Double {
        var sum = residual[j * d + j]
        for i in 0..<d { sum -= w[i * d + j] * residual[i * d + j] }
        return max(sum, 0)
    }

    private func updateNoise(_ sigma: inout [Double], _ w: [Double], _ residual: [Double], _ d: Int) {
        if case .fixed = noise { return }
        for j in 0..<d { sigma[j] = residualVariance(w, residual, d, j) }
        if noise == .equal {
            let shared = (sigma.reduce(0, +) / Double(d)).squareRoot()
            for j in 0..<d { sigma[j] = max(shared, 1e-9) }
        } else {
            for j in 0..<d { sigma[j] = max(sigma[j].squareRoot(), 1e-9) }
        }
    }

    private func objective(
        _ w: [Double], _ sigma: [Double], _ residual: [Double], _ d: Int, _ mu: Double, _ domain: Double,
        _ barrier: AcyclicityBarrier
    ) -> Double {
        var fit = 0.0
        for j in 0..<d { fit += residualVariance(w, residual, d, j) / (2 * sigma[j]) + sigma[j] / 2 }
        return mu * (fit + sparsity * w.reduce(0) { $0 + abs($1) }) - barrier.logDeterminant
            + Double(d) * logarithm(domain)
    }
}
