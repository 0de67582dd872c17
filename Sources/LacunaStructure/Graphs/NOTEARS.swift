import LacunaTensor

/// Learns a sparse acyclic graph of linear effects by least squares, with acyclicity as a smooth equation.
///
///     minimise  tr((I - W)ᵀ S (I - W)) / 2 + λ‖W‖₁   subject to   h(W) = tr exp(W∘W) - d = 0
///
/// by an augmented Lagrangian: `+ α h + ρ h²/2`, `ρ` tenfold until `h` has fallen to a quarter, then `α` by `ρ h`. Positive and
/// negative parts of `W` are variables of their own, at least 0, and each Lagrangian is minimised by spectral projected gradients.
///
/// The noise is taken as equal and of about unit size: `λ` belongs to the unit of the data, so that it has to be tuned anew in
/// another. ``CoLiDE`` estimates the noise level with the graph; this is what it is compared with.
///
/// Xun Zheng, Bryon Aragam, Pradeep Ravikumar, Eric Xing, "DAGs with NO TEARS: Continuous Optimization for Structure Learning", arXiv
/// 1803.01422, whose defaults these are; the inner solver is that of Ernesto Birgin, José Mario Martínez, Marcos Raydan, "Nonmonotone
/// Spectral Projected Gradient Methods on Convex Sets", SIAM J. Optimization 2000, where the authors use L-BFGS-B.
public struct NOTEARS: Sendable {
    /// λ.
    public var sparsity: Double
    /// Magnitude up to which effects count as none.
    public var threshold: Double
    /// What `h` has to fall to.
    public var tolerance: Double
    /// Updates of `α`, at most.
    public var maximumRounds: Int
    /// Steps of one minimisation, at most.
    public var maximumSteps: Int
    /// Told how far the work is; its error, as when a user cancels, ends it.
    public var progress: (any ProgressReporter)?

    /// Settings as their properties say.
    public init(
        sparsity: Double = 0.1, threshold: Double = 0.3, tolerance: Double = 1e-8, maximumRounds: Int = 100,
        maximumSteps: Int = 5000, progress: (any ProgressReporter)? = nil
    ) {
        require(sparsity >= 0 && threshold >= 0 && tolerance > 0 && maximumRounds > 0 && maximumSteps > 0)
        (self.sparsity, self.threshold, self.tolerance) = (sparsity, threshold, tolerance)
        (self.maximumRounds, self.maximumSteps, self.progress) = (maximumRounds, maximumSteps, progress)
    }

    /// The graph that was learnt.
    public struct Result: Sendable {
        /// All effects, before small ones and cycles were cut.
        public var dense: DirectedGraph
        /// The acyclic graph.
        public var graph: DirectedGraph
        /// `h` of ``dense``.
        public var acyclicity: Double
        /// Whether that is within the tolerance.
        public var converged: Bool
    }

    /// - Parameter data: Observations [rows, variables]; they are centred, not scaled.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for fewer than 2 rows or variables, numbers that are not finite, and
    ///   variables that never vary; ``LacunaError/cancelled``.
    /// - Complexity: O(variables³) a step.
    public func fit(_ data: Tensor<Double>) throws -> Result {
        var lagrangian = Lagrangian(covariance: try Observations.covariance(data), count: data.columns, sparsity)
        var z = [Double](repeating: 0, count: 2 * lagrangian.size)
        var h = Double.infinity
        for round in 0..<maximumRounds {
            try progress.report("learning a graph", round, of: maximumRounds, "h \(h)")
            var (next, value) = (z, h)
            while lagrangian.weight < 1e16 {
                next = try lagrangian.minimized(from: z, steps: maximumSteps, progress: progress)
                value = lagrangian.acyclicity(next)
                if value <= 0.25 * h { break }
                lagrangian.weight *= 10
            }
            (z, h) = (next, value)
            lagrangian.multiplier += lagrangian.weight * h
            if h <= tolerance || lagrangian.weight >= 1e16 { break }
        }
        let dense = DirectedGraph(count: data.columns, weights: lagrangian.weights(z))
        return Result(
            dense: dense, graph: dense.pruned(threshold: threshold), acyclicity: h, converged: h <= tolerance)
    }

    /// What is minimised in every round, over the positive and the negative parts of the weights, one after the other.
    struct Lagrangian {
        let covariance: [Double]
        let count: Int
        let sparsity: Double
        /// ρ.
        var weight = 1.0
        /// α.
        var multiplier = 0.0

        init(covariance: [Double], count: Int, _ sparsity: Double) {
            (self.covariance, self.count, self.sparsity) = (covariance, count, sparsity)
        }

        var size: Int { count * count }

        func weights(_ z: [Double]) -> [Double] { (0..<size).map { z[$0] - z[size + $0] } }

        func acyclicity(_ z: [Double]) -> Double { Self.acyclicity(weights(z), count).value }

        /// `h` and its gradient, `2 W ∘ exp(W∘W)ᵀ`.
        static func acyclicity(_ w: [Double], _ d: Int) -> (value: Double, gradient: [Double]) {
            let e = exponential(of: w.map { $0 * $0 }, d)
            let trace = (0..<d).reduce(0) { $0 + (e[$1 * d + $1] - 1) }
            return (trace, (0..<d * d).map { 2 * w[$0] * e[$0 % d * d + $0 / d] })
        }

        /// The exponential of a matrix [d, d] without negative entries: its series where the matrix is small, then squares.
        static func exponential(of a: [Double], _ d: Int) -> [Double] {
            let norm = (0..<d).reduce(0.0) { largest, i in max(largest, (0..<d).reduce(0) { $0 + a[i * d + $1] }) }
            guard norm.isFinite else { return [Double](repeating: .infinity, count: d * d) }
            let halvings = norm > 0.5 ? max(0, (2 * norm).exponent + 1) : 0
            let scale = Double(sign: .plus, exponent: -Int(halvings), significand: 1)
            func product(_ x: [Double], _ y: [Double], _ factor: Double) -> [Double] {
                var out = [Double](repeating: 0, count: d * d)
                LinearAlgebra.gemm(
                    m: d, n: d, k: d, alpha: factor, x, leadingA: d, y, leadingB: d, into: &out, leadingC: d)
                return out
            }
            // Horner's scheme: I + A (I + A/2 (I + A/3 (…))).
            var sum = [Double](repeating: 0, count: d * d)
            for i in 0..<d { sum[i * d + i] = 1 }
            for k in stride(from: 14.0, through: 1, by: -1) {
                sum = product(a, sum, scale / k)
                for i in 0..<d { sum[i * d + i] += 1 }
            }
            for _ in 0..<halvings { sum = product(sum, sum, 1) }
            return sum
        }

        func evaluate(_ z: [Double]) -> (value: Double, gradient: [Double]) {
            let d = count
            let w = weights(z)
            var residual = covariance
            LinearAlgebra.gemm(
                m: d, n: d, k: d, alpha: -1.0, covariance, leadingA: d, w, leadingB: d, beta: 1, into: &residual,
                leadingC: d)
            var loss = 0.0
            for i in 0..<d {
                loss += residual[i * d + i]
                for j in 0..<d { loss -= w[i * d + j] * residual[i * d + j] }
            }
            let (h, slope) = Self.acyclicity(w, d)
            let factor = multiplier + weight * h
            var gradient = [Double](repeating: 0, count: 2 * size)
            for k in 0..<size {
                let g = -residual[k] + factor * slope[k]
                gradient[k] = g + sparsity
                gradient[size + k] = sparsity - g
            }
            return (loss / 2 + sparsity * z.reduce(0, +) + multiplier * h + weight / 2 * h * h, gradient)
        }

        /// Spectral projected gradients, until no part of a step is longer than 1e-5.
        ///
        /// - Throws: ``LacunaError/cancelled``.
        func minimized(from start: [Double], steps: Int, progress: (any ProgressReporter)?) throws -> [Double] {
            func isFree(_ k: Int) -> Bool { k % size % (count + 1) != 0 }
            var z = start
            var (value, gradient) = evaluate(z)
            var recent = [value]
            var length = 1 / max(gradient.reduce(0) { max($0, abs($1)) }, 1e-10)
            for _ in 0..<steps {
                if progress?.isCancelled == true { throw LacunaError.cancelled }
                var (direction, slope, optimality) = (gradient, 0.0, 0.0)
                for k in z.indices {
                    direction[k] = isFree(k) ? max(0, z[k] - length * gradient[k]) - z[k] : 0
                    slope += direction[k] * gradient[k]
                    if isFree(k) { optimality = max(optimality, abs(max(0, z[k] - gradient[k]) - z[k])) }
                }
                if optimality <= 1e-5 || slope >= 0 { break }
                let highest = recent.max() ?? value
                var (share, trial, found) = (1.0, z, (value: Double.infinity, gradient: gradient))
                for _ in 0..<50 {
                    for k in z.indices { trial[k] = z[k] + share * direction[k] }
                    found = evaluate(trial)
                    if found.value <= highest + 1e-4 * share * slope { break }
                    share /= 2
                }
                guard found.value <= highest + 1e-4 * share * slope else { break }
                var (square, product) = (0.0, 0.0)
                for k in z.indices {
                    let s = trial[k] - z[k]
                    square += s * s
                    product += s * (found.gradient[k] - gradient[k])
                }
                length = product > 0 ? min(max(square / product, 1e-10), 1e10) : 1e10
                let isStill = abs(highest - found.value) <= 1e-12 * max(abs(highest), 1) && recent.count == 10
                (z, value, gradient) = (trial, found.value, found.gradient)
                recent.append(value)
                if recent.count > 10 { recent.removeFirst() }
                if isStill { break }
            }
            return z
        }
    }
}
