import LacunaTensor

/// Walsh-Hadamard transforms.
public enum Hadamard {
    /// The smallest power of two that is not below `n`.
    public static func paddedCount(_ n: Int) -> Int {
        require(n > 0)
        return n <= 1 ? 1 : 1 << (Int.bitWidth - (n - 1).leadingZeroBitCount)
    }

    /// Multiplies row-major `x` [rows, columns] from the left by the Hadamard matrix of ±1, in place; `rows` is a power of
    /// two. Applied twice it multiplies by `rows`.
    ///
    /// - Complexity: O(rows log rows · columns).
    public static func transform(_ x: UnsafeMutablePointer<Double>, rows: Int, columns: Int) {
        require(rows > 0 && rows & (rows - 1) == 0)
        // Bands of columns that stay in the cache through all rounds; each is by itself.
        let band = max(8, min(columns, (1 << 16) / rows))
        Parallel.forRanges(columns, grain: band) { range in
            var half = 1
            while half < rows {
                for block in stride(from: 0, to: rows, by: 2 * half) {
                    for i in block..<block + half {
                        let (a, b) = (x + i * columns, x + (i + half) * columns)
                        for j in range {
                            let (u, v) = (a[j], b[j])
                            a[j] = u + v
                            b[j] = u - v
                        }
                    }
                }
                half *= 2
            }
        }
    }
}

/// `√(N/rows) P H D`: random signs, a normalised Hadamard transform, a sample of rows without replacement, after padding with
/// zeros to a power of two `N`.
///
/// Tamás Sarlós, "Improved Approximation Algorithms for Large Matrices via Random Projections", FOCS 2006.
///
/// - Complexity: O(N log N · columns).
public struct HadamardSketch: Sketch {
    /// Rows after and before.
    public let rows, inputRows: Int
    /// `N`.
    public let padded: Int
    private let signs: [Double]
    private let sample: [Int]

    /// - Parameter rows: At most the padded number of input rows.
    public init(rows: Int, inputRows: Int, seed: UInt64 = 0) {
        padded = Hadamard.paddedCount(inputRows)
        require(rows > 0 && rows <= padded)
        (self.rows, self.inputRows) = (rows, inputRows)
        var generator = SeededGenerator(seed: seed, stream: 0x52487)
        signs = (0..<inputRows).map { _ in generator.next() % 2 == 0 ? 1 : -1 }
        sample = Array((0..<padded).shuffled(using: &generator).prefix(rows))
    }

    public func apply(_ x: Tensor<Double>) -> Tensor<Double> {
        require(x.rows == inputRows)
        let c = x.columns
        let mixed = signedTransform(x, signs: signs, padded: padded)
        // √(N/m) of the normalised transform, which is 1/√N of this one.
        let scale = 1 / Double(rows).squareRoot()
        var result = Tensor<Double>(zeros: [rows, c])
        result.withMutablePointer { out in
            for (r, row) in sample.enumerated() {
                kernels.axpy_f64(scale, mixed.pointer + row * c, out + r * c, c)
            }
        }
        return result
    }
}

/// The balanced Gaussian-pooled transform: signs and a Hadamard transform flatten the rows, a permutation spreads them, and
/// blocks of them are summed with normal weights.
///
/// `N = rows · pool`; every row of the sketch is a normal combination of its own `pool` rows of the transform, so that rows
/// are independent given the first stage. This is the sketch for which a bound on every single coefficient of a sketched
/// least squares fit was proved, with `rows = O(ε⁻² d log(d/δ))`.
///
/// Zhao Song, Lichen Zhang, "Hadamard Flattening and Gaussian Pooling Sketch for Least Squares with Coordinate-wise Guarantee",
/// 2026, which repairs Zhao Song, Mingquan Ye, Junze Yin, Lichen Zhang, "A Nearly-Optimal Bound for Fast Regression with ℓ∞
/// Guarantee", arXiv 2302.00248.
///
/// - Complexity: O(N log N · columns).
public struct PooledHadamardSketch: Sketch {
    /// Rows after and before.
    public let rows, inputRows: Int
    /// Rows of the transform that make one of the sketch, a power of two.
    public let pool: Int
    private let signs, weights: [Double]
    private let order: [Int]

    /// - Parameters:
    ///   - rows: Rounded up to a power of two.
    ///   - pool: Rounded up to a power of two that fits the input; by default the smallest of at least `4 · inputRows / rows`.
    public init(rows: Int, inputRows: Int, pool: Int? = nil, seed: UInt64 = 0) {
        require(rows > 0 && inputRows > 0 && pool ?? 1 > 0)
        let rows = Hadamard.paddedCount(rows)
        let least = (inputRows + rows - 1) / rows
        self.pool = Hadamard.paddedCount(max(pool ?? (4 * inputRows + rows - 1) / rows, least))
        (self.rows, self.inputRows) = (rows, inputRows)
        var generator = SeededGenerator(seed: seed, stream: 0xB69)
        signs = (0..<inputRows).map { _ in generator.next() % 2 == 0 ? 1 : -1 }
        let count = rows * self.pool
        order = (0..<count).shuffled(using: &generator)
        weights = (0..<count).map { _ in generator.normal() }
    }

    public func apply(_ x: Tensor<Double>) -> Tensor<Double> {
        require(x.rows == inputRows)
        let c = x.columns
        let padded = rows * pool
        let mixed = signedTransform(x, signs: signs, padded: padded)
        let scale = 1 / Double(padded).squareRoot()
        var result = Tensor<Double>(zeros: [rows, c])
        result.withMutablePointer { out in
            for r in 0..<rows {
                for k in r * pool..<(r + 1) * pool {
                    kernels.axpy_f64(scale * weights[k], mixed.pointer + order[k] * c, out + r * c, c)
                }
            }
        }
        return result
    }
}

/// The Hadamard transform of `padded` rows, those of `x` with their signs and zeros.
private func signedTransform(_ x: Tensor<Double>, signs: [Double], padded: Int) -> Buffer<Double> {
    let c = x.columns
    let mixed = Buffer<Double>(repeating: 0, count: padded * c)
    x.withPointer { x in
        for (i, sign) in signs.enumerated() { kernels.axpy_f64(sign, x + i * c, mixed.pointer + i * c, c) }
    }
    Hadamard.transform(mixed.pointer, rows: padded, columns: c)
    return mixed
}
