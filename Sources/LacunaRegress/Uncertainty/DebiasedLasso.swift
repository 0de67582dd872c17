import LacunaTensor

/// Corrects a coefficient of the lasso for its shrinkage by what is left of its column once the others have explained what
/// they can:
///
///     b_j = β_j + z_jᵀ (y - Xβ) / z_jᵀ x_j,   z_j = x_j - X_-j γ_j,   standard error σ ‖z_j‖ / |z_jᵀ x_j|
///
/// with `γ_j` a lasso of strength `√(2 log p / n)` per standard deviation, or least squares where there are at least four rows
/// for each column, and `σ² = ‖y - Xβ‖² / (n - 1 - |support|)`. Errors of rows are taken to be independent, of one variance,
/// and normal or many.
///
/// Cun-Hui Zhang, Stephanie Zhang, "Confidence Intervals for Low Dimensional Parameters in High Dimensional Linear Models",
/// arXiv 1110.2563; Sara van de Geer, Peter Bühlmann, Ya'acov Ritov, Ruben Dezeure, "On Asymptotically Optimal Confidence
/// Regions and Tests for High-Dimensional Models", arXiv 1303.0518.
public struct DebiasedLasso: Sendable {
    /// Told how far the work is; its error, as when a user cancels, ends it.
    public var progress: (any ProgressReporter)?

    /// - Parameter progress: Told about columns; its error, as when a user cancels, ends the work.
    public init(progress: (any ProgressReporter)? = nil) { self.progress = progress }

    /// The 97.5th percentile of the normal distribution.
    private static let quantile = 1.959963984540054

    /// - Parameters:
    ///   - coefficients: Of a lasso or elastic net of the target, one for each column as it is in the design.
    ///   - features: The columns to have intervals for; constant ones are left out.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` where fewer than 2 rows are left over; ``LacunaError/cancelled``.
    public func intervals(
        _ design: any Design, target: [Double], coefficients: [Double], intercept: Double, features: [Int]
    ) throws -> [Certainty.Interval] {
        let (n, p) = (design.rows, design.columns)
        let support = coefficients.count { $0 != 0 }
        guard n - 1 - support >= 2 else {
            throw LacunaError.invalidArgument(
                "intervals", reason: "\(n) rows leave nothing to tell the noise by beside \(support) columns")
        }
        let uniform = [Double](repeating: 1 / Double(n), count: n)
        // Columns without means and of unit spread.
        let conditioning = Conditioning(
            design.standardized(weights: uniform), weights: uniform, hasIntercept: true)
        let columns = conditioning.design
        var residuals = [Double](repeating: 0, count: n)
        design.product(coefficients, into: &residuals)
        for i in 0..<n { residuals[i] = target[i] - residuals[i] - intercept }
        let mean = residuals.reduce(0, +) / Double(n)
        let noise = (residuals.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(n - 1 - support)).squareRoot()
        let strength = n >= 4 * p ? 0 : (2 * logarithm(Double(p)) / Double(n)).squareRoot()
        let ones = [Double](repeating: 1, count: p)
        var intervals: [Certainty.Interval] = []
        for (index, j) in features.enumerated() where !conditioning.isVoid[j] {
            try progress.report("intervals", index, of: features.count)
            var column = [Double](repeating: 0, count: n)
            columns.add(1, column: j, to: &column)
            var lower = [Double](repeating: -.infinity, count: p)
            var upper = [Double](repeating: .infinity, count: p)
            // The column itself takes no part.
            (lower[j], upper[j]) = (0, 0)
            let others = try ConstrainedElasticNet(strength, factors: ones, lower: lower, upper: upper)
            let fit = try ProximalNewton(tolerance: 1e-8).solve(Problem(columns, SquaredLoss(column), others))
            let left = zip(column, fit.predictors(columns)).map { $0 - $1 }
            let overlap = zip(left, column).reduce(0) { $0 + $1.0 * $1.1 }
            let square = left.reduce(0) { $0 + $1 * $1 }
            // A column that the others explain entirely has no coefficient of its own.
            guard abs(overlap) > 1e-9 * Double(n) else {
                intervals.append(.init(feature: j, estimate: coefficients[j], lower: -.infinity, upper: .infinity))
                continue
            }
            let scale = columns.inverseScales?[j] ?? 1
            let shift = zip(left, residuals).reduce(0) { $0 + $1.0 * ($1.1 - mean) } / overlap * scale
            let error = noise * square.squareRoot() / abs(overlap) * scale
            let estimate = coefficients[j] + shift
            intervals.append(
                .init(
                    feature: j, estimate: estimate, lower: estimate - Self.quantile * error,
                    upper: estimate + Self.quantile * error))
        }
        return intervals
    }
}
