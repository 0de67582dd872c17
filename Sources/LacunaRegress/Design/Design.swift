import CLacuna
import LacunaTensor

/// The kernels for this processor.
let kernels: lk_table = lk_best().pointee

/// A matrix of rows (samples) and columns (features) in double precision, reached column by column.
///
/// A design may carry a scale for each column, by which every operation divides, so that standardised columns need no
/// copy and sparse ones stay sparse. Centring is left to the intercept, which absorbs it exactly. Column numbers fit 32
/// bits.
public protocol Design: Sendable {
    /// How many samples there are.
    var rows: Int { get }
    /// How many features there are.
    var columns: Int { get }
    /// What every column is multiplied by; nil for 1.
    var inverseScales: [Double]? { get }
    /// The same stored numbers with other scales.
    func scaled(by inverseScales: [Double]?) -> Self

    /// `out[k] = x_j · v` for the columns `j = columns[k]`, or for all of them.
    ///
    /// - Complexity: O(stored entries of those columns).
    func correlations(
        _ columns: [UInt32]?, with v: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>)
    /// `x_j · v`.
    func correlation(_ j: Int, with v: UnsafePointer<Double>) -> Double
    /// `v += a x_j`.
    func add(_ a: Double, column j: Int, to v: UnsafeMutablePointer<Double>)
    /// `out = X β` for the columns where `β` [columns] is not 0.
    func product(_ beta: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>)
    /// `out[j] = Σ_i w_i x_ij²`.
    func squaredNorms(weights: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>)
    /// `out[a * leading + b] = Σ_i w_i (x_ia - m_a)(x_ib - m_b)` for the columns `a` of `first` and `b` of `second`;
    /// without means, `m` is 0. Weights are at least 0. Means are those of the scaled columns with the same weights, which
    /// sum to `totalWeight`.
    func gram(
        _ first: [UInt32], _ second: [UInt32], weights: UnsafePointer<Double>, totalWeight: Double,
        means: (first: [Double], second: [Double])?, into out: UnsafeMutablePointer<Double>, leading: Int)
    /// Where each column lies and how far it spreads, as scaled.
    ///
    /// - Parameter weights: One for each row, of sum 1.
    func moments(weights: [Double]) -> ColumnMoments
    /// The same columns minus a number each, in the units in which they are stored.
    func shifted(by shifts: [Double]) -> any Design
    /// The first stored number that is not finite, as (row, column).
    func firstNonFinite() -> (row: Int, column: Int)?
    /// Bytes of what is stored.
    var byteCount: Int { get }
}

extension Design {
    public func product(_ beta: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>) {
        out.update(repeating: 0, count: rows)
        for j in 0..<columns where beta[j] != 0 { add(beta[j], column: j, to: out) }
    }

    /// Weighted means of all columns, as scaled. Weights must sum to 1.
    public func means(weights: [Double]) -> [Double] {
        var means = [Double](repeating: 0, count: columns)
        correlations(nil, with: weights, into: &means)
        return means
    }

    public func moments(weights: [Double]) -> ColumnMoments { spelledMoments(weights: weights) }

    public func shifted(by shifts: [Double]) -> any Design { ShiftedDesign(self, by: shifts) }

    /// Scales every column to standard deviation 1 (population form, with the given weights). Constant columns keep their
    /// scale.
    ///
    /// - Parameters:
    ///   - weights: One for each row, at least 0 and not all 0.
    ///   - centered: Deviations are from the mean; otherwise from 0, for fits without an intercept.
    public func standardized(weights: [Double], centered: Bool = true) -> Self {
        let total = weights.reduce(0, +)
        require(weights.count == rows && total > 0, "weights are as many as rows, and not all 0")
        let moments = scaled(by: nil).moments(weights: total == 1 ? weights : weights.map { $0 / total })
        let squares = centered ? moments.variances : moments.squares
        return scaled(by: squares.map { $0 > 0 ? 1 / $0.squareRoot() : 1 })
    }

    /// Throws if a stored number is not finite.
    func requireFinite() throws {
        if let place = firstNonFinite() {
            throw LacunaError.invalidArgument(
                "design", reason: "row \(place.row + 1), column \(place.column + 1) is not a finite number")
        }
    }
}

/// How many columns of about `perColumn` stored numbers make an item worth a thread's while.
package func columnGrain(_ perColumn: Int) -> Int { max(16, 60_000 / max(perColumn, 1)) }
