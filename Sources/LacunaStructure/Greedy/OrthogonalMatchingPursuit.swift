import LacunaRegress
import LacunaTensor

/// Orthogonal matching pursuit: takes the column that correlates most with the residual, fits all taken columns by least
/// squares, and repeats.
///
/// Y. C. Pati, R. Rezaiifar, P. S. Krishnaprasad, "Orthogonal Matching Pursuit: Recursive Function Approximation with
/// Applications to Wavelet Decomposition", Asilomar 1993.
public struct OrthogonalMatchingPursuit: Sendable {
    /// Columns at most.
    public var count: Int
    /// Ends as soon as the residual is no longer than this.
    public var residual: Double

    /// - Parameters:
    ///   - count: Columns that may be taken.
    ///   - residual: The length at which the search ends.
    public init(count: Int, residual: Double = 0) {
        require(count >= 0 && residual >= 0)
        self.count = count
        self.residual = residual
    }

    /// What was taken, and the coefficients.
    public struct Result: Sendable {
        /// In the order in which they were taken.
        public var support: [Int]
        /// Coefficients of the support.
        public var values: [Double]
        /// `‖y - A x‖`.
        public var residual: Double
        /// Columns of the dictionary.
        public let columns: Int

        /// One coefficient for each column.
        public var coefficients: [Double] {
            var result = [Double](repeating: 0, count: columns)
            for (j, value) in zip(support, values) { result[j] = value }
            return result
        }
    }

    /// - Parameters:
    ///   - a: The dictionary [m, n]; columns are compared by their correlation per length, so they need not be normalised.
    ///   - y: m measurements.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if sizes disagree or a number is not finite.
    /// - Complexity: O(count · m · (n + count)): the columns taken are kept orthogonal by modified Gram-Schmidt, twice.
    public func fit(_ a: Tensor<Double>, _ y: [Double]) throws -> Result {
        let (m, n) = (a.rows, a.columns)
        guard y.count == m else {
            throw LacunaError.invalidArgument("y", reason: "\(y.count) measurements for a dictionary of \(a.shape)")
        }
        let columns = a.transposed()  // contiguous
        var lengths = [Double](repeating: 0, count: n)
        var rest = y
        var basis: [[Double]] = []  // orthonormal
        var upper: [[Double]] = []  // R, column by column
        var projections: [Double] = []
        var support: [Int] = []
        return try columns.withPointer { columns in
            for j in 0..<n { lengths[j] = kernels.dot_f64(columns + j * m, columns + j * m, m).squareRoot() }
            guard lengths.allSatisfy(\.isFinite), y.allSatisfy(\.isFinite) else {
                throw LacunaError.invalidArgument("y or dictionary", reason: "is not finite")
            }
            func norm(_ v: [Double]) -> Double { kernels.dot_f64(v, v, m).squareRoot() }
            var correlations = [Double](repeating: 0, count: n)
            var taken = [Bool](repeating: false, count: n)
            while support.count < min(count, m), norm(rest) > residual {
                Parallel.forRanges(n, grain: columnGrain(m)) { range in
                    rest.withUnsafeBufferPointer { rest in
                        correlations.withUnsafeMutableBufferPointer { out in
                            for j in range { out[j] = kernels.dot_f64(columns + j * m, rest.baseAddress!, m) }
                        }
                    }
                }
                var best: (place: Int, value: Double)?
                for j in 0..<n where !taken[j] && lengths[j] > 0 {
                    let value = abs(correlations[j]) / lengths[j]
                    if value > best?.value ?? 0 { best = (j, value) }
                }
                guard let place = best?.place else { break }
                taken[place] = true
                var fresh = Array(UnsafeBufferPointer(start: columns + place * m, count: m))
                var row = [Double](repeating: 0, count: basis.count)
                for _ in 0..<2 {
                    for (k, q) in basis.enumerated() {
                        let c = kernels.dot_f64(q, fresh, m)
                        row[k] += c
                        kernels.axpy_f64(-c, q, &fresh, m)
                    }
                }
                let length = norm(fresh)
                // A column in the span of those taken adds nothing.
                guard length > 1e-12 * lengths[place] else { continue }
                for i in 0..<m { fresh[i] /= length }
                let c = kernels.dot_f64(fresh, rest, m)
                kernels.axpy_f64(-c, fresh, &rest, m)
                basis.append(fresh)
                upper.append(row + [length])
                projections.append(c)
                support.append(place)
            }
            // Projections of y itself, not of the residual: the same in exact arithmetic, as the basis is orthonormal.
            var values = projections
            for k in support.indices.reversed() {
                for l in k + 1..<max(support.count, k + 1) { values[k] -= upper[l][k] * values[l] }
                values[k] /= upper[k][k]
            }
            return Result(support: support, values: values, residual: norm(rest), columns: n)
        }
    }
}
