import LacunaTensor

/// What is known of each column of a design before a fit: where it lies and how far it spreads.
///
/// All numbers are of the columns as scaled. Variances come from deviations, in two passes, so that they are right for
/// columns whose mean is many times their deviation; a column counts as constant if its numbers are equal, and for no
/// other reason.
public struct ColumnMoments: Sendable, Equatable {
    /// Weighted means; that of a constant column is its number exactly.
    public internal(set) var means: [Double]
    /// `Σ_i w_i (x_ij - m_j)²`, 0 exactly for constant columns.
    public internal(set) var variances: [Double]
    /// Whether all rows of positive weight hold the same number.
    public internal(set) var isConstant: [Bool]
    /// Whether every row has a stored number: such a column can be shifted without a new entry.
    public internal(set) var isFull: [Bool]

    init(columns: Int) {
        means = [Double](repeating: 0, count: columns)
        variances = means
        isConstant = [Bool](repeating: false, count: columns)
        isFull = [Bool](repeating: true, count: columns)
    }

    /// `Σ_i w_i x_ij²`.
    var squares: [Double] { zip(means, variances).map { $0 * $0 + $1 } }
}

/// Moments of one column at a time.
struct ColumnSummary {
    var mean = 0.0
    var variance = 0.0
    var isConstant = true

    /// - Parameters:
    ///   - weights: One for each number; they sum to 1.
    ///   - first: A place whose weight is positive.
    ///   - work: Room for `count` numbers.
    init(
        _ x: UnsafePointer<Double>, weights: UnsafePointer<Double>, count: Int, first: Int, hasZeros: Bool,
        work: UnsafeMutablePointer<Double>
    ) {
        let value = x[first]
        var i = 0
        while i < count && (x[i] == value || (hasZeros && weights[i] == 0)) { i += 1 }
        if i == count {
            mean = value
            return
        }
        isConstant = false
        let rough = kernels.dot_f64(x, weights, count)
        for i in 0..<count { work[i] = x[i] - rough }
        // What the rounding of the first pass left.
        let rest = kernels.dot_f64(work, weights, count)
        mean = rough + rest
        // Not `max`, which would hide what is not a number.
        let left = kernels.weighted_squares_f64(work, weights, count) - rest * rest
        variance = left < 0 ? 0 : left
    }

    /// - Parameters:
    ///   - x: The stored entries, `count` of them, at `rows`; all others are 0.
    ///   - positive: How many rows have a positive weight.
    init(
        sparse x: UnsafePointer<Double>, rows: UnsafePointer<UInt32>, count: Int, weights: UnsafePointer<Double>,
        positive: Int
    ) {
        var (seen, total, rough): (Int, Double, Double) = (0, 0, 0)
        var value: Double?
        var isEven = true
        for k in 0..<count {
            let w = weights[Int(rows[k])]
            if w == 0 { continue }
            seen += 1
            total += w
            rough += w * x[k]
            if let value { isEven = isEven && x[k] == value } else { value = x[k] }
        }
        if isEven && (seen == positive || value == nil || value == 0) {
            mean = value ?? 0
            return
        }
        isConstant = false
        var (rest, square): (Double, Double) = (0, 0)
        for k in 0..<count {
            let w = weights[Int(rows[k])]
            let d = x[k] - rough
            rest += w * d
            square += w * d * d
        }
        let outside = seen == positive ? 0 : max(0, 1 - total)
        rest -= outside * rough
        square += outside * rough * rough
        mean = rough + rest
        let left = square - rest * rest
        variance = left < 0 ? 0 : left
    }
}

extension Design {
    /// Moments of every column, for designs that have no better way: each column is spelt out.
    func spelledMoments(weights: [Double]) -> ColumnMoments {
        var moments = ColumnMoments(columns: columns)
        let first = weights.firstIndex { $0 > 0 } ?? 0
        let hasZeros = weights.contains(0)
        if rows == 0 { return moments }
        moments.withColumns(grain: columnGrain(rows)) { range, set in
            var column = [Double](repeating: 0, count: rows)
            var work = column
            for j in range {
                for i in column.indices { column[i] = 0 }
                add(1, column: j, to: &column)
                set(
                    j,
                    ColumnSummary(
                        column, weights: weights, count: rows, first: first, hasZeros: hasZeros, work: &work))
            }
        }
        return moments
    }
}

extension ColumnMoments {
    /// Fills the columns in parallel.
    mutating func withColumns(
        grain: Int, _ body: (Range<Int>, (Int, ColumnSummary) -> Void) -> Void
    ) {
        let count = means.count
        means.withUnsafeMutableBufferPointer { means in
            variances.withUnsafeMutableBufferPointer { variances in
                isConstant.withUnsafeMutableBufferPointer { isConstant in
                    nonisolated(unsafe) let (m, v, c) = (
                        means.baseAddress, variances.baseAddress, isConstant.baseAddress
                    )
                    guard let m, let v, let c else { return }
                    Parallel.forRanges(count, grain: grain) { range in
                        body(range) { j, summary in
                            m[j] = summary.mean
                            v[j] = summary.variance
                            c[j] = summary.isConstant
                        }
                    }
                }
            }
        }
    }

    /// For columns multiplied by these numbers.
    func scaled(by scales: [Double]?) -> ColumnMoments {
        var result = self
        result.scale(by: scales)
        return result
    }

    /// The same in place.
    mutating func scale(by scales: [Double]?) {
        guard let scales else { return }
        for j in scales.indices {
            means[j] *= scales[j]
            variances[j] *= scales[j] * scales[j]
        }
    }

    /// Whether a column that can be shifted has a mean above so many deviations.
    func isFar(beyond tolerated: Double) -> Bool {
        means.indices.contains {
            isFull[$0] && means[$0] != 0 && abs(means[$0]) > tolerated * variances[$0].squareRoot()
        }
    }
}
