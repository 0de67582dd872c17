import LacunaRegress
import LacunaTensor

/// Designs whose columns are a stationary autoregression: what makes the lasso take neighbours for one another.
enum CorrelatedColumns {
    /// Standard normal columns, neighbours correlated by `correlation`, those `k` apart by its `k`-th power.
    static func design(
        rows n: Int, columns p: Int, correlation: Double, using generator: inout SeededGenerator
    ) -> DenseDesign {
        let rest = (1 - correlation * correlation).squareRoot()
        var values = [Double](repeating: 0, count: n * p)
        for j in 0..<p {
            for i in 0..<n {
                let fresh = generator.normal()
                values[j * n + i] = j == 0 ? fresh : correlation * values[(j - 1) * n + i] + rest * fresh
            }
        }
        return DenseDesign(columnMajor: values, rows: n)
    }
}
