import LacunaTensor

/// A design as weighted least squares with a random intercept sees it: `√w_g (I + t 1 1ᵀ)^{-1/2} X` for the rows of each group
/// `g`, minus, beside an intercept, what the constant column explains of it.
///
/// `(I + t 1 1ᵀ)^{-1/2} = I - c 1 1ᵀ` with `c = (1 - 1/√(1 + t n)) / n` (Sherman and Morrison), so nothing is stored but a few
/// numbers for each group and one for each column: products pass through to the design behind, dense, sparse or mapped.
struct WhitenedDesign: Design {
    let base: any Design
    let groups: RowGroups
    /// For each group `√w`, `c`, and the value `√(w / (1 + t n))` of the whitened constant column; 0 without an intercept.
    private let scales, shares, constants: [Double]
    /// Generalised least-squares means of the columns; 0 without an intercept.
    let means: [Double]
    /// `1ᵀ X` for each group [groups, columns], from which squared norms follow without spelling columns out; nil for none.
    private let groupSums: DenseDesign?
    /// `w t / (1 + t n)` for each group, what those sums take off the squared norms.
    private let discounts: [Double]
    /// Columns that count as 0: constant ones beside an intercept.
    private let isVoid: [Bool]
    /// The weight of a group's rows in those means: `w_g / (1 + t n_g)` over its sum over the rows.
    private let shareOfMean: [Double]

    /// - Parameters:
    ///   - ratio: `t`, the variance of the random intercepts over that of the residuals.
    ///   - weights: One for each group; not all 0.
    ///   - isVoid: Columns to count as 0.
    ///   - groupSums: ``sums(of:groups:)``, if they are known.
    init(
        _ base: any Design, groups: RowGroups, ratio t: Double, weights: [Double], hasIntercept: Bool, isVoid: [Bool],
        groupSums: DenseDesign? = nil
    ) {
        self.groupSums = groupSums
        discounts = zip(weights, groups.sizes).map { $0 * t / (1 + t * Double($1)) }
        self.base = base
        self.groups = groups
        self.isVoid = isVoid
        scales = weights.map { $0.squareRoot() }
        shares = groups.sizes.map { t == 0 ? 0 : (1 - 1 / (1 + t * Double($0)).squareRoot()) / Double($0) }
        guard hasIntercept else {
            constants = [Double](repeating: 0, count: groups.count)
            shareOfMean = constants
            means = [Double](repeating: 0, count: base.columns)
            return
        }
        constants = zip(weights, groups.sizes).map { ($0 / (1 + t * Double($1))).squareRoot() }
        let total = zip(constants, groups.sizes).reduce(0) { $0 + $1.0 * $1.0 * Double($1.1) }
        shareOfMean = constants.map { $0 * $0 / total }
        let byRow = groups.indices.map { [shareOfMean] in shareOfMean[$0] }
        var means = [Double](repeating: 0, count: base.columns)
        base.correlations(nil, with: byRow, into: &means)
        for j in means.indices where isVoid[j] { means[j] = 0 }
        self.means = means
    }

    /// The sums of every column over each group; nil where groups are single rows, or the sums too large to keep.
    static func sums(of base: any Design, groups: RowGroups) -> DenseDesign? {
        guard groups.hasCompany, groups.count * base.columns <= 1 << 24 else { return nil }
        let sums = Buffer<Double>(repeating: 0, count: groups.count * base.columns)
        Parallel.forRanges(base.columns, grain: columnGrain(base.rows)) { range in
            var column = [Double](repeating: 0, count: base.rows)
            for j in range {
                for i in column.indices { column[i] = 0 }
                base.add(1, column: j, to: &column)
                let target = sums.pointer + j * groups.count
                for (i, g) in groups.indices.enumerated() { target[g] += column[i] }
            }
        }
        return DenseDesign(sums, rows: groups.count, columns: base.columns)
    }

    /// A target treated as the columns are, and its mean, which is 0 without an intercept.
    func whitened(_ target: [Double]) -> (values: [Double], mean: Double) {
        var mean = 0.0
        for (value, group) in zip(target, groups.indices) { mean += shareOfMean[group] * value }
        var values = target
        whiten(&values, mean: mean)
        return (values, mean)
    }

    private func whiten(_ x: UnsafeMutablePointer<Double>, mean: Double) {
        groups.indices.withUnsafeBufferPointer { indices in
            scales.withUnsafeBufferPointer { scales in
                // What each group's rows are shifted by, after scaling.
                var shifts = constants
                shifts.withUnsafeMutableBufferPointer { shifts in
                    for g in shifts.indices { shifts[g] *= mean }
                    if groups.hasCompany {
                        for (i, g) in indices.enumerated() { shifts[g] += scales[g] * shares[g] * x[i] }
                    }
                    for (i, g) in indices.enumerated() { x[i] = scales[g] * x[i] - shifts[g] }
                }
            }
        }
    }

    /// Column `j`, in `rows` numbers.
    private func fill(_ j: Int, into out: UnsafeMutablePointer<Double>) {
        out.update(repeating: 0, count: rows)
        if isVoid[j] { return }
        base.add(1, column: j, to: out)
        whiten(out, mean: means[j])
    }

    // MARK: Design

    var rows: Int { base.rows }
    var columns: Int { base.columns }
    var inverseScales: [Double]? { nil }
    var byteCount: Int { base.byteCount }
    func firstNonFinite() -> (row: Int, column: Int)? { base.firstNonFinite() }

    func scaled(by inverseScales: [Double]?) -> WhitenedDesign {
        require(inverseScales == nil, "a whitened design takes the scales of the one behind it")
        return self
    }

    func correlations(
        _ selected: [UInt32]?, with v: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>
    ) {
        let (image, constant) = adjoint(v)
        base.correlations(selected, with: image, into: out)
        for k in 0..<(selected?.count ?? columns) {
            let j = selected.map { Int($0[k]) } ?? k
            out[k] = isVoid[j] ? 0 : out[k] - means[j] * constant
        }
    }

    func correlation(_ j: Int, with v: UnsafePointer<Double>) -> Double {
        if isVoid[j] { return 0 }
        let (image, constant) = adjoint(v)
        return base.correlation(j, with: image) - means[j] * constant
    }

    /// What the rows of the design behind are multiplied by, and the product with the constant column.
    private func adjoint(_ v: UnsafePointer<Double>) -> (image: [Double], constant: Double) {
        var sums = [Double](repeating: 0, count: groups.count)
        groups.sums(v, into: &sums)
        var constant = 0.0
        for g in sums.indices { constant += constants[g] * sums[g] }
        var image = [Double](repeating: 0, count: rows)
        for (i, g) in groups.indices.enumerated() { image[i] = scales[g] * (v[i] - shares[g] * sums[g]) }
        return (image, constant)
    }

    func add(_ a: Double, column j: Int, to v: UnsafeMutablePointer<Double>) {
        if isVoid[j] { return }
        var column = [Double](repeating: 0, count: rows)
        fill(j, into: &column)
        kernels.axpy_f64(a, column, v, rows)
    }

    func product(_ beta: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>) {
        var mean = 0.0
        out.update(repeating: 0, count: rows)
        for j in 0..<columns where beta[j] != 0 && !isVoid[j] {
            base.add(beta[j], column: j, to: out)
            mean += beta[j] * means[j]
        }
        whiten(out, mean: mean)
    }

    func squaredNorms(weights: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>) {
        let isEven = (0..<rows).allSatisfy { weights[$0] == weights[0] }
        if isEven && (groupSums != nil || !groups.hasCompany) {
            // ‖√w (I - c 1 1ᵀ) x‖² = w ‖x‖² - w t/(1 + t n) (Σ x)², minus what the constant column explains.
            base.squaredNorms(weights: groups.indices.map { scales[$0] * scales[$0] }, into: out)
            var taken = [Double](repeating: 0, count: columns)
            groupSums?.squaredNorms(weights: discounts, into: &taken)
            let constant = zip(constants, groups.sizes).reduce(0) { $0 + $1.0 * $1.0 * Double($1.1) }
            for j in 0..<columns {
                let left = out[j] - taken[j] - constant * means[j] * means[j]
                out[j] = isVoid[j] ? 0 : weights[0] * max(0, left)
            }
            return
        }
        Parallel.forRanges(columns, grain: columnGrain(rows)) { range in
            var column = [Double](repeating: 0, count: rows)
            for j in range {
                fill(j, into: &column)
                out[j] = kernels.weighted_squares_f64(column, weights, rows)
            }
        }
    }

    func gram(
        _ first: [UInt32], _ second: [UInt32], weights: UnsafePointer<Double>, totalWeight: Double,
        means: (first: [Double], second: [Double])?, into out: UnsafeMutablePointer<Double>, leading: Int
    ) {
        spelledGram(first, second, weights: weights, means: means, into: out, leading: leading) { fill($0, into: $1) }
    }
}
