import LacunaTensor

/// A Gaussian process with learnt weights of a ``SpectralGrid``, conditioned on data.
public struct SparseKernelModel: Sendable {
    /// The frequencies that the kernel is made of.
    public let grid: SpectralGrid
    /// One for each component of the grid, at least 0.
    public let weights: [Double]
    /// The variance of the noise.
    public let noise: Double
    private let x: Tensor<Double>
    private let factor: Tensor<Double>
    private let alpha: Tensor<Double>

    /// Mean and variance of a new observation (noise included), for each input.
    public struct Prediction: Sendable, Equatable {
        /// [m].
        public var means: [Double]
        /// [m], the variance of the noise or more.
        public var variances: [Double]

        /// Predictions of several agents, weighted by their inverse variances (a product of experts).
        ///
        /// - Parameter parts: One at least, all for the same inputs.
        public static func fused(_ parts: [Prediction]) -> Prediction {
            require(!parts.isEmpty && parts.allSatisfy { $0.means.count == parts[0].means.count })
            var result = parts[0]
            for i in result.means.indices {
                let precision = parts.reduce(0) { $0 + 1 / $1.variances[i] }
                result.means[i] = parts.reduce(0) { $0 + $1.means[i] / $1.variances[i] } / precision
                result.variances[i] = 1 / precision
            }
            return result
        }
    }

    /// - Parameters:
    ///   - weights: One a component, 0 or more.
    ///   - x: Inputs [n, dimensions].
    ///   - y: Targets [n], whose mean is taken as 0.
    ///   - noise: Variance of the noise.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if sizes disagree, weights are negative, or a number is not finite;
    ///   ``LacunaError/numerical(operation:reason:)`` if the covariance is not positive definite.
    public init(_ grid: SpectralGrid, weights: [Double], x: Tensor<Double>, y: [Double], noise: Double) throws {
        guard weights.count == grid.components, weights.allSatisfy({ $0 >= 0 && $0.isFinite }) else {
            throw LacunaError.invalidArgument("weights", reason: "are not \(grid.components) numbers of 0 or more")
        }
        guard x.rank == 2, x.columns == grid.dimensions, x.rows == y.count, !y.isEmpty, noise > 0,
            y.allSatisfy(\.isFinite), x.scalars.allSatisfy(\.isFinite)
        else {
            throw LacunaError.invalidArgument(
                "inputs or targets", reason: "of shape \(x.shape) and count \(y.count), or not finite")
        }
        (self.grid, self.weights, self.noise, self.x) = (grid, weights, noise, x)
        var covariance = grid.matrix(x, x, weights: weights)
        let n = y.count
        covariance.withMutablePointer { for i in 0..<n { $0[i * n + i] += noise } }
        factor = try covariance.cholesky()
        alpha = factor.solveTriangular(factor.solveTriangular(Tensor(y, shape: [n, 1])), transposed: true)
    }

    /// - Parameter inputs: [m, dimensions].
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for another shape and numbers that are not finite.
    public func predict(_ inputs: Tensor<Double>) throws -> Prediction {
        guard inputs.rank == 2, inputs.columns == grid.dimensions, inputs.scalars.allSatisfy(\.isFinite) else {
            throw LacunaError.invalidArgument(
                "inputs", reason: "of shape \(inputs.shape) for \(grid.dimensions) dimensions, or not finite")
        }
        let cross = grid.matrix(x, inputs, weights: weights)
        let means = cross.multiplied(by: alpha, transposed: true).scalars
        let half = factor.solveTriangular(cross)
        let (n, m) = (half.rows, half.columns)
        let total = weights.reduce(0, +) + noise
        var variances = [Double](repeating: total, count: m)
        half.withPointer { h in for i in 0..<n { for j in 0..<m { variances[j] -= h[i * m + j] * h[i * m + j] } } }
        return Prediction(means: means, variances: variances.map { max($0, noise) })
    }
}

/// Estimates the variance of noise on evenly spaced observations of a smooth function.
public enum SmootherNoise {
    /// The residual variance of the Whittaker smoother (second differences) whose strength generalised cross-validation
    /// chooses: `‖y - Hy‖² / (n - tr H)` where `n ‖y - Hy‖² / (n - tr H)²` is least.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for fewer than 5 numbers, ones that are not finite, and ones whose
    ///   squares are not.
    /// - Complexity: O(n³) once.
    public static func variance(of y: [Double]) throws -> Double {
        let n = y.count
        guard n >= 5, y.allSatisfy(\.isFinite) else {
            throw LacunaError.invalidArgument("y", reason: "\(n) numbers, or not finite; 5 are needed")
        }
        var differences = Tensor<Double>(zeros: [n - 2, n])
        differences.withMutablePointer { d in
            for i in 0..<n - 2 { (d[i * n + i], d[i * n + i + 1], d[i * n + i + 2]) = (1, -2, 1) }
        }
        // H = (I + λ DᵀD)⁻¹ = V diag(1 / (1 + λ e)) Vᵀ.
        let (e, v) = try differences.multiplied(by: differences, transposed: true).symmetricEigen()
        let z = v.multiplied(by: Tensor(y, shape: [n, 1])).scalars
        var best = (score: Double.infinity, variance: 0.0)
        for step in 0...120 {
            let strength = power(10, -4 + 0.1 * Double(step))
            var (residual, freedom) = (0.0, 0.0)
            for i in 0..<n {
                let rest = strength * max(e[i], 0) / (1 + strength * max(e[i], 0))
                residual += rest * rest * z[i] * z[i]
                freedom += rest
            }
            let score = Double(n) * residual / (freedom * freedom)
            if score < best.score { best = (score, residual / freedom) }
        }
        guard best.score.isFinite else {
            throw LacunaError.invalidArgument("y", reason: "its sum of squares is not finite")
        }
        return best.variance
    }
}
