import LacunaTensor

/// Finds columns that nearly span many others, so that a lasso can leave them free: the preconditioning of designs whose columns
/// nearly cancel.
///
/// Where two hundred columns share one direction, a sparse vector may need coefficients in the thousands that nearly cancel,
/// and a penalty on their sum ruins the fit. Here `k` random columns at a time are tried as free ones. If they explain others
/// up to a tenth of what was left of them, and so many others that random supports will meet them, they join the free set and
/// all columns are projected away from them. What is left of a column is then brought back to unit size, so that one strength
/// serves columns of every size. The target is not looked at.
///
/// Follows the structure of Gautam Chandrasekaran, Raghu Meka, Konstantinos Stavropoulos, "Sparse Linear Regression is Easy on
/// Random Supports", arXiv 2511.06211: a preconditioner found without the target, then a regression with an L1 penalty. The
/// procedure and its constants are this library's, not the authors'.
public struct SpanPeeling: Sendable {
    /// Columns drawn at a time: about as many as the sought vector has coefficients.
    public var sparsity: Int
    /// The share of a column's length that may be left of it if it counts as explained.
    public var explained: Double
    /// Share of the other columns that must be explained; `1 / (4 · sparsity)` for nil.
    public var share: Double?
    /// Draws in a row that explain too little, after which the search ends.
    public var maximumFailures: Int
    /// Bound on the free columns, as a share of the rows.
    public var maximumFree: Double
    /// Decides which columns are tried.
    public var seed: UInt64

    /// Settings as their properties say.
    public init(
        sparsity: Int, explained: Double = 0.1, share: Double? = nil, maximumFailures: Int = 8,
        maximumFree: Double = 0.25, seed: UInt64 = 0
    ) {
        require(sparsity > 0 && explained > 0 && explained < 1 && maximumFailures >= 0 && maximumFree >= 0)
        self.sparsity = sparsity
        self.explained = explained
        self.share = share
        self.maximumFailures = maximumFailures
        self.maximumFree = maximumFree
        self.seed = seed
    }

    /// - Parameter centered: Makes the constant free as well, as an intercept does.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for numbers that are not finite.
    /// - Complexity: O(rows · columns · sparsity) a draw; memory for the design twice, dense.
    public func peel(_ design: any Design, centered: Bool = true) throws -> PeeledDesign {
        try design.requireFinite()
        var work = PeelingWork(design, centered: centered)
        var generator = SeededGenerator(seed: seed, stream: 0x9EE1)
        let limit = Int(maximumFree * Double(design.rows))
        let needed = share ?? 1 / (4 * Double(sparsity))
        var free: [Int] = []
        var failures = 0
        // Draws go by a place in an order of the columns' numbers, so that permuting columns permutes the result.
        let order = work.contentOrder()
        while failures < maximumFailures && free.count < limit {
            let rest = order.filter { !free.contains($0) && work.left[$0] > 0 }
            if rest.count <= sparsity { break }
            let drawn = Array(rest.shuffled(using: &generator).prefix(min(sparsity, limit - free.count)))
            let others = rest.filter { !drawn.contains($0) }
            let directions = work.directions(drawn)
            let explained = others.filter { work.remainder(of: $0, beyond: directions) <= self.explained }
            if Double(explained.count) > needed * Double(others.count) {
                let kept = work.needed(drawn, toExplain: explained, upTo: self.explained)
                free += kept
                work.project(away: work.directions(kept))
                failures = 0
            } else {
                failures += 1
            }
        }
        return work.result(free.sorted(), design: design, centered: centered)
    }
}

/// A design seen from outside the span of its free columns.
public struct PeeledDesign: Sendable {
    /// The columns that are free, ascending.
    public let free: [Int]
    /// Orthonormal basis [free columns and the constant if any, rows] of what is free.
    public let basis: Tensor<Double>
    /// What is left of each column outside that span, at a mean square of 1; 0 for columns inside it.
    public let design: DenseDesign
    /// What ``design``'s columns were multiplied by to bring them to that size: `s_j`, 0 for columns inside the span.
    public let scales: [Double]
    /// Whether the constant is free.
    public let isCentered: Bool
    let original: any Design

    /// The part of a target outside the span, and the part inside.
    public func split(_ target: [Double]) -> (outside: [Double], inside: [Double]) {
        require(target.count == design.rows)
        var outside = target
        let (r, n) = (basis.rows, design.rows)
        basis.withPointer { q in
            // Twice: the second time removes what rounding left.
            for _ in 0..<2 {
                for k in 0..<r {
                    kernels.axpy_f64(-kernels.dot_f64(q + k * n, outside, n), q + k * n, &outside, n)
                }
            }
        }
        return (outside, zip(target, outside).map { $0 - $1 })
    }

    /// Coefficients and intercept for the original columns that predict as `inside + design · v`.
    ///
    /// - Throws: ``LacunaError/numerical(operation:reason:)`` if the free columns depend on each other.
    public func coefficients(_ v: Solution, inside: [Double]) throws -> (coefficients: [Double], intercept: Double) {
        let n = design.rows
        var coefficients = [Double](repeating: 0, count: design.columns)
        // What the free columns have to contribute: the prediction less what the others do.
        var rest = zip(inside, v.predictors(design)).map { $0 + $1 }
        for (j, value) in zip(v.support, v.values) where scales[j] > 0 {
            coefficients[j] = value / scales[j]
            original.add(-coefficients[j], column: j, to: &rest)
        }
        let count = free.count + (isCentered ? 1 : 0)
        if count == 0 { return (coefficients, 0) }
        // Free columns of unit length, so that their sizes do not matter.
        var columns = Tensor<Double>(zeros: [count, n])
        var lengths = [Double](repeating: 1, count: count)
        columns.withMutablePointer { c in
            for (k, j) in free.enumerated() { original.add(1, column: j, to: c + k * n) }
            if isCentered { (c + free.count * n).update(repeating: 1, count: n) }
            for k in 0..<count {
                lengths[k] = length(c + k * n, n)
                for i in 0..<n { c[k * n + i] /= lengths[k] }
            }
        }
        let (q, r) = try columns.transposed().qr()
        func solve(_ right: [Double]) -> [Double] {
            let projected = q.multiplied(by: Tensor(right, shape: [n, 1]), transposed: true)
            return r.solveTriangular(projected, lower: false).scalars
        }
        var solved = solve(rest)
        columns.withPointer { c in
            // One step of refinement.
            for k in 0..<count { kernels.axpy_f64(-solved[k], c + k * n, &rest, n) }
        }
        solved = zip(solved, solve(rest)).map { $0 + $1 }
        guard solved.allSatisfy({ $0.isFinite }) else {
            throw LacunaError.numerical(operation: "peeling", reason: "the free columns depend on each other")
        }
        for (k, j) in free.enumerated() { coefficients[j] = solved[k] / lengths[k] }
        return (coefficients, isCentered ? solved[free.count] / lengths[free.count] : 0)
    }
}

/// The columns while they are peeled: [columns, rows], one after the other.
private struct PeelingWork {
    let n, p: Int
    var residual: Buffer<Double>
    /// Length of each column at the beginning, and what is left of it (0 below rounding).
    let initial: [Double]
    var left: [Double]
    var basis: [[Double]] = []

    init(_ design: any Design, centered: Bool) {
        (n, p) = (design.rows, design.columns)
        let residual = Buffer<Double>(repeating: 0, count: design.rows * design.columns)
        var initial = [Double](repeating: 0, count: design.columns)
        let n = self.n
        for j in 0..<design.columns {
            let column = residual.pointer + j * n
            design.add(1, column: j, to: column)
            initial[j] = length(column, n)
            if centered && n > 0 {
                let mean = (0..<n).reduce(0) { $0 + column[$1] } / Double(n)
                for i in 0..<n { column[i] -= mean }
            }
        }
        self.residual = residual
        self.initial = initial
        left = initial
        if centered && n > 0 { basis = [[Double](repeating: 1 / Double(n).squareRoot(), count: n)] }
        refreshLengths()
    }

    /// Columns in an order that depends on their numbers alone.
    func contentOrder() -> [Int] {
        (0..<p).sorted { a, b in
            let (x, y) = (residual.pointer + a * n, residual.pointer + b * n)
            for i in 0..<n where x[i] != y[i] { return x[i] < y[i] }
            return a < b
        }
    }

    private mutating func refreshLengths() {
        for j in 0..<p {
            let now = length(residual.pointer + j * n, n)
            left[j] = now > 1e-11 * initial[j] ? now : 0
        }
    }

    /// Orthonormal directions of what is left of some columns, those that depend on the ones before left out.
    func directions(_ columns: [Int]) -> [[Double]] {
        var found: [[Double]] = []
        for j in columns where left[j] > 0 {
            var v = Array(UnsafeBufferPointer(start: residual.pointer + j * n, count: n))
            for _ in 0..<2 {
                for q in basis + found { kernels.axpy_f64(-kernels.dot_f64(q, v, n), q, &v, n) }
            }
            let rest = length(v, n)
            if rest <= 1e-6 * left[j] { continue }
            found.append(v.map { $0 / rest })
        }
        return found
    }

    /// Share of a column's present length that is left beyond some directions.
    func remainder(of j: Int, beyond directions: [[Double]]) -> Double {
        let column = residual.pointer + j * n
        var square = left[j] * left[j]
        for q in directions {
            let dot = kernels.dot_f64(q, column, n)
            square -= dot * dot
        }
        return max(0, square).squareRoot() / left[j]
    }

    /// The drawn columns in order of what they explain, as far as they are needed to explain all that the whole draw did.
    func needed(_ drawn: [Int], toExplain others: [Int], upTo limit: Double) -> [Int] {
        var (kept, rest): ([Int], [Int]) = ([], drawn)
        while !rest.isEmpty {
            let costs = rest.map { candidate in
                let span = directions(kept + [candidate])
                return others.reduce(0) { $0 + logarithm(max(remainder(of: $1, beyond: span), 1e-12)) }
            }
            let best = costs.indices.min { costs[$0] < costs[$1] } ?? 0
            kept.append(rest.remove(at: best))
            let span = directions(kept)
            if others.allSatisfy({ remainder(of: $0, beyond: span) <= limit }) { break }
        }
        return kept
    }

    mutating func project(away directions: [[Double]]) {
        basis += directions
        let (n, basis, residual) = (self.n, self.basis, self.residual)
        Parallel.forRanges(p, grain: 16) { range in
            for j in range {
                let column = residual.pointer + j * n
                // Against the whole basis, twice, so that what is left stays orthogonal to it.
                for _ in 0..<2 {
                    for q in basis { kernels.axpy_f64(-kernels.dot_f64(q, column, n), q, column, n) }
                }
            }
        }
        refreshLengths()
    }

    func result(_ free: [Int], design: any Design, centered: Bool) -> PeeledDesign {
        let root = Double(n).squareRoot()
        let scaled = Buffer<Double>(repeating: 0, count: n * p)
        var scales = [Double](repeating: 0, count: p)
        let isFree = Set(free)
        for j in 0..<p where left[j] > 0 && !isFree.contains(j) {
            scales[j] = left[j] / root
            for i in 0..<n { scaled.pointer[j * n + i] = residual.pointer[j * n + i] / scales[j] }
        }
        return PeeledDesign(
            free: free, basis: Tensor(basis.flatMap { $0 }, shape: [basis.count, n]),
            design: DenseDesign(scaled, rows: n, columns: p), scales: scales, isCentered: centered, original: design)
    }
}
