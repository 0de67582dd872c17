import LacunaTensor

/// A design as solvers work on it: beside an intercept, which absorbs it, columns are shifted towards 0, so that no sum is
/// the small difference of large ones.
///
/// Columns in memory are copied without their means, where a mean is not small beside the deviation; columns in a file are
/// shifted as they are read; sparse columns that store every row are shifted in their values. Any other sparse column has
/// a row that is 0, so its mean is at most `√n` deviations, which double precision bears.
struct Conditioning: Sendable {
    /// Columns minus ``shifts``.
    let design: any Design
    /// What was subtracted from each column as scaled; nil for nothing.
    let shifts: [Double]?
    /// Weighted means of what is left; 0 without an intercept.
    let means: [Double]
    /// `Σ_i w_i (x_ij - m_j)²`; without an intercept `Σ_i w_i x_ij²`. Solvers share them: there may be millions of columns.
    let squaredNorms: Buffer<Double>
    /// Columns that an intercept already stands for; without one, columns of zeros.
    let isVoid: [Bool]

    /// A mean of half a deviation is worth a copy: steps along single columns are shorter by its square.
    private static let tolerated = 0.5

    /// - Parameter weights: They sum to 1.
    init(_ design: any Design, weights: [Double], hasIntercept: Bool) {
        // In stored units, so that subtracting the number of a constant column leaves exact zeros.
        var moments = design.scaled(by: nil).moments(weights: weights)
        var chosen: [Double]?
        if hasIntercept, moments.isFar(beyond: Self.tolerated) {
            chosen = moments.means.indices.map { moments.isFull[$0] ? moments.means[$0] : 0 }
        }
        let inverse = design.inverseScales
        moments.scale(by: inverse)
        guard hasIntercept else {
            self.design = design
            shifts = nil
            means = [Double](repeating: 0, count: design.columns)
            squaredNorms = Buffer(uninitialized: design.columns)
            for j in moments.means.indices {
                squaredNorms.pointer[j] = moments.means[j] * moments.means[j] + moments.variances[j]
            }
            isVoid = squaredNorms.elements.map { $0 == 0 }
            return
        }
        squaredNorms = Buffer(moments.variances)
        isVoid = moments.isConstant
        guard let chosen else {
            self.design = design
            shifts = nil
            means = moments.means
            return
        }
        self.design = design.shifted(by: chosen)
        shifts = chosen.indices.map { chosen[$0] * (inverse?[$0] ?? 1) }
        means = moments.means.indices.map { moments.isFull[$0] ? 0 : moments.means[$0] }
    }

    /// `Σ_i w_i x_ij²` of what is left of a column.
    @inline(__always)
    func rawSquaredNorm(_ j: Int) -> Double { means[j] * means[j] + squaredNorms.pointer[j] }

    /// The largest of them.
    var largestRawSquaredNorm: Double { means.indices.reduce(0) { max($0, rawSquaredNorm($1)) } }

    /// Whether all columns can be squared and added up.
    var isFinite: Bool { means.indices.allSatisfy { rawSquaredNorm($0).isFinite } }
}
