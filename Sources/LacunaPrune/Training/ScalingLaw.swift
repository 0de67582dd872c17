import LacunaTensor

/// How the loss of a trained model falls with its size and its data: `L(N, D) = E + A / N^α + B / D^β`.
///
/// For a run that is sparse for a part of its length, N is the mean number of weights in use over the tokens: Tian Jin,
/// Ahmed Imtiaz Humayun, Utku Evci, Suvinay Subramanian, Amir Yazdanbakhsh, Dan Alistarh, Gintare Karolina Dziugaite, "The
/// Journey Matters: Average Parameter Count over Pre-training Unifies Sparse and Dense Scaling Laws", arXiv 2501.12486. The
/// form is that of Jordan Hoffmann and others, "Training Compute-Optimal Large Language Models", arXiv 2203.15556.
public struct ScalingLaw: Sendable, Hashable {
    /// The loss that neither size nor data removes.
    public var irreducible: Double
    /// A.
    public var sizeFactor: Double
    /// α.
    public var sizeExponent: Double
    /// B.
    public var dataFactor: Double
    /// β.
    public var dataExponent: Double

    /// A law of given constants; ``fit(_:delta:limit:)`` finds them.
    public init(
        irreducible: Double, sizeFactor: Double, sizeExponent: Double, dataFactor: Double, dataExponent: Double
    ) {
        self.irreducible = irreducible
        self.sizeFactor = sizeFactor
        self.sizeExponent = sizeExponent
        self.dataFactor = dataFactor
        self.dataExponent = dataExponent
    }

    /// One run.
    public struct Point: Sendable, Hashable {
        /// Mean number of weights in use.
        public var parameters: Double
        /// Tokens that it was trained on.
        public var tokens: Double
        /// The loss that it came to, above 0.
        public var loss: Double

        /// A run that was measured.
        public init(parameters: Double, tokens: Double, loss: Double) {
            self.parameters = parameters
            self.tokens = tokens
            self.loss = loss
        }
    }

    /// The loss of a model with so many weights in use, on average over so many tokens.
    public func loss(parameters: Double, tokens: Double) -> Double {
        irreducible + sizeFactor * power(parameters, -sizeExponent) + dataFactor * power(tokens, -dataExponent)
    }

    /// What a fit came to.
    public struct Fit: Sendable {
        /// The law found. Its factors are ill-determined by themselves, as exponents make up for them.
        public var law: ScalingLaw
        /// Sum of the Huber losses of the residuals of log L.
        public var objective: Double
        /// Whether the best start ended by its tolerance, not by the bound on steps.
        public var hasConverged: Bool
    }

    /// The law closest to some runs: the least sum of Huber losses of `log L - log L(N, D)`, by damped Gauss-Newton steps
    /// on (log E, log A, α, log B, β) from a grid of starts.
    ///
    /// - Parameters:
    ///   - delta: Residuals beyond this count linearly, so that runs gone wrong do not decide.
    ///   - limit: Steps from each start at most.
    /// - Throws: `LacunaError.invalidArgument` for fewer runs than unknowns, or numbers that are not positive.
    public static func fit(_ points: [Point], delta: Double = 1e-3, limit: Int = 500) throws -> Fit {
        guard points.count >= 5 else {
            throw LacunaError.invalidArgument("points", reason: "\(points.count) runs for 5 unknowns")
        }
        for (index, point) in points.enumerated() {
            for number in [point.parameters, point.tokens, point.loss] where !(number > 0 && number.isFinite) {
                throw LacunaError.invalidArgument("points", reason: "run \(index): \(number) is not a positive number")
            }
        }
        guard delta > 0, limit >= 1 else {
            throw LacunaError.invalidArgument("delta", reason: "delta and limit must be positive")
        }
        let problem = Problem(points, delta: delta)
        var best: (x: [Double], objective: Double, converged: Bool)?
        // Sizes and data enter relative to their geometric means, so factors start as shares of the loss there.
        for alpha in [0.2, 0.4, 0.7] {
            for beta in [0.2, 0.4, 0.7] {
                for share in [0.3, 0.6, 0.9] {
                    let rest = logarithm(problem.meanLoss * (1 - share) / 2)
                    let found = problem.descend(
                        from: [logarithm(problem.meanLoss * share), rest, alpha, rest, beta], limit: limit)
                    if found.objective < best?.objective ?? .infinity { best = found }
                }
            }
        }
        guard let best else {
            throw LacunaError.numerical(operation: "scaling law", reason: "no start gave a finite objective")
        }
        let x = best.x
        return Fit(
            law: ScalingLaw(
                irreducible: exponential(x[0]), sizeFactor: exponential(x[1] + x[2] * problem.meanSize),
                sizeExponent: x[2], dataFactor: exponential(x[3] + x[4] * problem.meanData), dataExponent: x[4]),
            objective: best.objective, hasConverged: best.converged)
    }

    private struct Problem {
        private let sizes: [Double]
        private let data: [Double]
        private let losses: [Double]
        let meanSize: Double
        let meanData: Double
        let meanLoss: Double
        private let delta: Double

        init(_ points: [Point], delta: Double) {
            let n = Double(points.count)
            let (sizes, data) = (points.map { logarithm($0.parameters) }, points.map { logarithm($0.tokens) })
            let (meanSize, meanData) = (sizes.reduce(0, +) / n, data.reduce(0, +) / n)
            (self.meanSize, self.meanData) = (meanSize, meanData)
            self.sizes = sizes.map { $0 - meanSize }
            self.data = data.map { $0 - meanData }
            losses = points.map { logarithm($0.loss) }
            meanLoss = exponential(losses.reduce(0, +) / n)
            self.delta = delta
        }

        /// The three terms of the loss of a run.
        private func terms(_ x: [Double], _ i: Int) -> (Double, Double, Double) {
            (exponential(x[0]), exponential(x[1] - x[2] * sizes[i]), exponential(x[3] - x[4] * data[i]))
        }

        private func residual(_ x: [Double], _ i: Int) -> Double {
            let (e, a, b) = terms(x, i)
            return losses[i] - logarithm(e + a + b)
        }

        private func objective(_ x: [Double]) -> Double {
            losses.indices.reduce(0.0) { sum, i in
                let r = abs(residual(x, i))
                return sum + (r <= delta ? 0.5 * r * r : delta * (r - 0.5 * delta))
            }
        }

        func descend(from start: [Double], limit: Int) -> (x: [Double], objective: Double, converged: Bool) {
            var x = start
            var value = objective(x)
            var damping = 1e-2
            var quiet = 0
            for _ in 0..<limit {
                // Weighted normal equations: Huber residuals weigh δ / |r| beyond δ.
                var normal = [Double](repeating: 0, count: 25)
                var right = [Double](repeating: 0, count: 5)
                for i in losses.indices {
                    let (e, a, b) = terms(x, i)
                    let total = e + a + b
                    let slope = [e / total, a / total, -sizes[i] * a / total, b / total, -data[i] * b / total]
                    let r = losses[i] - logarithm(total)
                    let weight = abs(r) <= delta ? 1 : delta / abs(r)
                    for p in 0..<5 {
                        right[p] += weight * slope[p] * r
                        for q in 0..<5 { normal[5 * p + q] += weight * slope[p] * slope[q] }
                    }
                }
                var moved = false
                while damping < 1e12 {
                    let next = Self.solve(normal, right, damping: damping).map { zip(x, $0).map(+) } ?? x
                    let found = objective(next)
                    if found.isFinite, found < value {
                        // Exponents of what no longer changes the loss would drift for ever.
                        quiet = value - found <= 1e-12 * value ? quiet + 1 : 0
                        (x, value) = (next, found)
                        damping = max(damping / 5, 1e-12)
                        moved = true
                        break
                    }
                    damping *= 4
                }
                if !moved || quiet >= 3 { return (x, value, true) }
            }
            return (x, value, false)
        }

        /// Solves `(H + damping · diag(H)) s = r`; nil if rounding has left H not positive definite.
        private static func solve(_ matrix: [Double], _ right: [Double], damping: Double) -> [Double]? {
            var h = matrix
            for p in 0..<5 { h[6 * p] += damping * h[6 * p] + 1e-300 }
            return try? Tensor(h, shape: [5, 5]).solvePositiveDefinite(Tensor(right, shape: [5, 1])).scalars
        }
    }
}
