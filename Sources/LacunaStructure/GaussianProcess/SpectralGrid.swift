import LacunaTensor

/// A kernel that is linear in its weights: `k(x, x') = Σ_i θ_i Π_p exp(-2π² v² τ_p²) cos(2π μ_ip τ_p)` with `τ = x - x'` and
/// fixed frequencies `μ` on a grid. Which of them matter is what is learnt.
///
/// After Andrew Wilson, Ryan Adams, "Gaussian Process Kernels for Pattern Discovery and Extrapolation", ICML 2013; the grid is
/// that of Feng Yin and others, "Linear Multiple Low-Rank Kernel Based Stationary Gaussian Processes Regression for Time
/// Series", IEEE TSP 68, 2020.
public struct SpectralGrid: Sendable, Equatable {
    /// `μ` [components, dimensions], in cycles for each unit of an input.
    public let frequencies: Tensor<Double>
    /// `v`, the standard deviation of every component's spectrum.
    public let bandwidth: Double

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` without components or dimensions, and for numbers that are not
    ///   finite or a negative bandwidth.
    public init(frequencies: Tensor<Double>, bandwidth: Double = 1e-3) throws {
        guard frequencies.rank == 2, frequencies.count > 0, frequencies.scalars.allSatisfy(\.isFinite) else {
            throw LacunaError.invalidArgument("frequencies", reason: "of shape \(frequencies.shape)")
        }
        guard bandwidth >= 0, bandwidth.isFinite else {
            throw LacunaError.invalidArgument("bandwidth", reason: "\(bandwidth) is not 0 or more")
        }
        self.frequencies = frequencies
        self.bandwidth = bandwidth
    }

    /// Evenly spaced frequencies from 0 to `highest`, for inputs of one dimension.
    ///
    /// - Parameter highest: Half the sampling rate: 0.5 for inputs that are whole numbers.
    public init(count: Int, highest: Double = 0.5, bandwidth: Double = 1e-3) throws {
        guard count > 1 else { throw LacunaError.invalidArgument("count", reason: "\(count) frequencies") }
        try self.init(
            frequencies: Tensor((0..<count).map { highest * Double($0) / Double(count - 1) }, shape: [count, 1]),
            bandwidth: bandwidth)
    }

    /// How many kernels there are.
    public var components: Int { frequencies.rows }
    /// Dimensions of an input.
    public var dimensions: Int { frequencies.columns }

    /// Component `i` at two inputs.
    func value(_ i: Int, _ a: UnsafePointer<Double>, _ b: UnsafePointer<Double>) -> Double {
        let pi = 3.141592653589793
        let p = dimensions
        return frequencies.withPointer { mu in
            var (phase, square) = (1.0, 0.0)
            for k in 0..<p {
                let tau = a[k] - b[k]
                phase *= cosine(2 * pi * mu[i * p + k] * tau)
                square += tau * tau
            }
            return phase * exponential(-2 * pi * pi * bandwidth * bandwidth * square)
        }
    }

    /// `Σ_i θ_i k_i` between two sets of inputs [m, dimensions] and [n, dimensions].
    public func matrix(_ a: Tensor<Double>, _ b: Tensor<Double>, weights: [Double]) -> Tensor<Double> {
        require(a.columns == dimensions && b.columns == dimensions && weights.count == components)
        let (m, n, p) = (a.rows, b.rows, dimensions)
        var result = Tensor<Double>(zeros: [m, n])
        let active = weights.indices.filter { weights[$0] != 0 }
        a.withPointer { a in
            b.withPointer { b in
                result.withMutablePointer { out in
                    Parallel.forEach(m) { i in
                        for j in 0..<n {
                            var sum = 0.0
                            for k in active { sum += weights[k] * value(k, a + i * p, b + j * p) }
                            out[i * n + j] = sum
                        }
                    }
                }
            }
        }
        return result
    }

    /// `L` [n, r] with `L Lᵀ` equal to component `i` among the inputs, by Cholesky decomposition with pivots. Cosines have
    /// rank 2 and a narrow band adds little, so `r` is far below `n`.
    ///
    /// - Parameter tolerance: The trace that may be left, for each input.
    func factor(_ i: Int, _ x: Tensor<Double>, tolerance: Double = 1e-12) -> [[Double]] {
        let (n, p) = (x.rows, dimensions)
        var rest = [Double](repeating: 1, count: n)
        var columns: [[Double]] = []
        x.withPointer { x in
            while columns.count < n {
                let pivot = rest.indices.max { rest[$0] < rest[$1] } ?? 0
                guard rest[pivot] > 1e-14, rest.reduce(0, +) > tolerance * Double(n) else { break }
                let scale = 1 / rest[pivot].squareRoot()
                var column = (0..<n).map { value(i, x + $0 * p, x + pivot * p) }
                for other in columns {
                    let factor = other[pivot]
                    for k in 0..<n { column[k] -= factor * other[k] }
                }
                for k in 0..<n {
                    column[k] *= scale
                    rest[k] = max(0, rest[k] - column[k] * column[k])
                }
                rest[pivot] = 0
                columns.append(column)
            }
        }
        return columns
    }
}
