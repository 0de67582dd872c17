import LacunaTensor

/// A Gaussian process for evenly spaced observations whose kernel is a mixture of a few normal densities in frequency,
/// `k(τ) = Σ_i w_i exp(-2π² v_i² τ²) cos(2π μ_i τ)`, all of whose numbers were learnt: what ``SparseKernelLearner`` is compared with, where
/// frequencies are fixed and there are many.
///
/// Andrew Wilson, Ryan Adams, "Gaussian Process Kernels for Pattern Discovery and Extrapolation", ICML 2013.
public struct SpectralMixture: Sendable, Equatable {
    /// `w_i`, above 0.
    public internal(set) var weights: [Double]
    /// `μ_i`, in cycles a step, 0 to ½.
    public internal(set) var frequencies: [Double]
    /// `v_i`, above 0.
    public internal(set) var bandwidths: [Double]
    /// The variance of the noise.
    public let noise: Double
    /// `yᵀC⁻¹y + log det C` of what it was learnt from.
    public internal(set) var objective: Double

    /// `k` at a distance of so many steps.
    public func covariance(_ lag: Double) -> Double {
        weights.indices.reduce(0) { sum, i in
            let (turn, width) = (2 * Double.pi * frequencies[i] * lag, 2 * Double.pi * bandwidths[i] * lag)
            return sum + weights[i] * exponential(-width * width / 2) * cosine(turn)
        }
    }

    /// Mean and variance of the observations that follow `y`, noise included.
    ///
    /// - Parameters:
    ///   - y: Observations, whose mean is taken as 0.
    ///   - steps: How many to predict, at least 1.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` without observations and for ones that are not finite;
    ///   ``LacunaError/numerical(operation:reason:)`` if the covariance is not positive definite.
    public func predict(after y: [Double], steps: Int) throws -> SparseKernelModel.Prediction {
        require(steps > 0)
        let n = y.count
        guard n > 0, y.allSatisfy(\.isFinite) else {
            throw LacunaError.invalidArgument("y", reason: "\(n) numbers, or not finite")
        }
        let values = (0..<n + steps).map { covariance(Double($0)) }
        let factor = try Self.covariance(values, n, noise).cholesky()
        let alpha = factor.solveTriangular(factor.solveTriangular(Tensor(y, shape: [n, 1])), transposed: true)
        var cross = Tensor<Double>(zeros: [n, steps])
        for i in 0..<n { for j in 0..<steps { cross[i, j] = values[n + j - i] } }
        let half = factor.solveTriangular(cross)
        let variances = (0..<steps).map { j in
            (0..<n).reduce(values[0] + noise) { $0 - half[$1, j] * half[$1, j] }
        }
        return SparseKernelModel.Prediction(
            means: cross.multiplied(by: alpha, transposed: true).scalars, variances: variances.map { max($0, noise) })
    }

    /// `C` [n, n] from the kernel at whole distances.
    fileprivate static func covariance(_ values: [Double], _ n: Int, _ noise: Double) -> Tensor<Double> {
        var c = Tensor<Double>(uninitialized: [n, n])
        c.withMutablePointer { c in
            for i in 0..<n { for j in 0..<n { c[i * n + j] = values[abs(i - j)] + (i == j ? noise : 0) } }
        }
        return c
    }

    /// The objective and its slopes in the logarithms of weights and bandwidths and in the frequencies.
    func evaluate(
        _ y: [Double]
    ) throws -> (value: Double, weights: [Double], bandwidths: [Double], frequencies: [Double]) {
        let n = y.count
        let factor = try Self.covariance((0..<n).map { covariance(Double($0)) }, n, noise).cholesky()
        let inner = factor.solveTriangular(Tensor(y, shape: [n, 1]))
        let alpha = factor.solveTriangular(inner, transposed: true).scalars
        let inverse = try factor.inverseFromCholesky()
        var value = inner.scalars.reduce(0) { $0 + $1 * $1 }
        for i in 0..<n { value += 2 * logarithm(factor[i, i]) }
        // ∂l = tr((C⁻¹ - ααᵀ) ∂C), and ∂C depends on distances alone.
        var sums = [Double](repeating: 0, count: n)
        inverse.withPointer { p in
            for i in 0..<n { for j in 0..<n { sums[abs(i - j)] += p[i * n + j] - alpha[i] * alpha[j] } }
        }
        var (w, v, mu) = (weights, weights, weights)
        for i in weights.indices {
            (w[i], v[i], mu[i]) = (0, 0, 0)
            for lag in 0..<n {
                let tau = 2 * Double.pi * Double(lag)
                let spread = tau * bandwidths[i]
                let bell = weights[i] * exponential(-spread * spread / 2) * sums[lag]
                let wave = cosine(tau * frequencies[i])
                w[i] += bell * wave
                v[i] -= bell * wave * spread * spread
                mu[i] -= bell * tau * sine(tau * frequencies[i])
            }
        }
        return (value, w, v, mu)
    }
}

/// Learns a ``SpectralMixture`` by the gradient of the likelihood, from several beginnings.
///
/// Frequencies begin where the periodogram is high, drawn in proportion to it; steps are Adam's (Diederik Kingma, Jimmy Ba, arXiv
/// 1412.6980), in the logarithms of weights and bandwidths. The best of all that was met is returned: the likelihood has many maxima.
public struct SpectralMixtureLearner: Sendable {
    /// Densities of the mixture.
    public var components: Int
    /// Beginnings.
    public var restarts: Int
    /// Steps from each.
    public var iterations: Int
    /// The length of Adam's steps.
    public var rate: Double
    /// Of the beginnings.
    public var seed: UInt64
    /// Told how far the work is; its error, as when a user cancels, ends it.
    public var progress: (any ProgressReporter)?

    /// Settings as their properties say, all numbers but the seed above 0.
    public init(
        components: Int = 4, restarts: Int = 5, iterations: Int = 200, rate: Double = 0.05, seed: UInt64 = 0,
        progress: (any ProgressReporter)? = nil
    ) {
        require(components > 0 && restarts > 0 && iterations > 0 && rate > 0)
        (self.components, self.restarts, self.iterations) = (components, restarts, iterations)
        (self.rate, self.seed, self.progress) = (rate, seed, progress)
    }

    /// - Parameters:
    ///   - y: Evenly spaced observations, whose mean is taken as 0.
    ///   - noise: The variance of the noise, above 0.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for fewer than 4 observations, ones that are not finite or all 0, and a noise
    ///   that is not above 0; ``LacunaError/numerical(operation:reason:)`` if no beginning has a likelihood; ``LacunaError/cancelled``.
    /// - Complexity: O(n³) a step.
    public func fit(_ y: [Double], noise: Double) throws -> SpectralMixture {
        let n = y.count
        let square = y.reduce(0) { $0 + $1 * $1 } / Double(max(n, 1))
        guard n >= 4, square > 0, square.isFinite else {
            throw LacunaError.invalidArgument("y", reason: "\(n) numbers of mean square \(square); 4 are needed")
        }
        guard noise > 0, noise.isFinite else {
            throw LacunaError.invalidArgument("noise", reason: "a variance of \(noise) is not positive")
        }
        let spectrum = (1...n / 2).map { k -> Double in
            var (re, im) = (0.0, 0.0)
            for (t, value) in y.enumerated() {
                let turn = 2 * Double.pi * Double(k * t) / Double(n)
                re += value * cosine(turn)
                im += value * sine(turn)
            }
            return re * re + im * im
        }
        var generator = SeededGenerator(seed: seed, stream: 381)
        var best: SpectralMixture?
        for restart in 0..<restarts {
            try progress.report("learning a kernel", restart, of: restarts)
            var model = SpectralMixture(
                weights: [Double](repeating: square / Double(components), count: components),
                frequencies: (0..<components).map { _ in
                    var draw = generator.uniform() * spectrum.reduce(0, +)
                    let place = spectrum.firstIndex { weight in
                        draw -= weight
                        return draw < 0
                    }
                    // Place k is frequency (k + 1) / n; around the last one some would be beyond what the series can show.
                    return min(0.5, (Double(place ?? spectrum.count - 1) + 0.5 + generator.uniform()) / Double(n))
                },
                bandwidths: (0..<components).map { _ in exponential(logarithm(0.001) + 3 * generator.uniform()) },
                noise: noise, objective: .infinity)
            var moments = [(first: Double, second: Double)](repeating: (0, 0), count: 3 * components)
            for iteration in 1...iterations {
                if progress?.isCancelled == true { throw LacunaError.cancelled }
                guard let found = try? model.evaluate(y), found.value.isFinite else { break }
                model.objective = found.value
                if found.value < best?.objective ?? .infinity { best = model }
                for (k, slope) in (found.weights + found.bandwidths + found.frequencies).enumerated() {
                    moments[k].first = 0.9 * moments[k].first + 0.1 * slope
                    moments[k].second = 0.99 * moments[k].second + 0.01 * slope * slope
                    let first = moments[k].first / (1 - power(0.9, Double(iteration)))
                    let second = moments[k].second / (1 - power(0.99, Double(iteration)))
                    let step = rate * first / (second.squareRoot() + 1e-12)
                    let i = k % components
                    switch k / components {
                    case 0: model.weights[i] *= exponential(-step)
                    case 1: model.bandwidths[i] *= exponential(-step)
                    default:
                        // Frequencies move by hundredths of the resolution of the series, and stay where the series can show them.
                        model.frequencies[i] = min(0.5, max(0, model.frequencies[i] - step / Double(n)))
                    }
                }
            }
        }
        guard let best else {
            throw LacunaError.numerical(operation: "spectral mixture", reason: "no beginning has a likelihood")
        }
        return best
    }
}
