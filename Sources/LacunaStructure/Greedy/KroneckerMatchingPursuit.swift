import LacunaTensor

/// Orthogonal matching pursuit in a Kronecker-structured dictionary: the place that correlates most with the residual adds
/// one index to the support of every factor, and all places of the product of the supports are fitted.
///
/// Cesar F. Caiafa, Andrzej Cichocki, "Computing Sparse Representations of Multidimensional Signals Using Kronecker Bases",
/// Neural Computation 25(1), 2013.
public struct KroneckerMatchingPursuit: Sendable {
    /// Indices of each factor at most.
    public var counts: [Int]
    /// Ends as soon as the residual is no longer than this.
    public var residual: Double

    /// - Parameters:
    ///   - counts: Columns of each factor that may be taken.
    ///   - residual: The length at which the search ends.
    public init(counts: [Int], residual: Double = 0) {
        require(counts.allSatisfy { $0 > 0 } && residual >= 0)
        self.counts = counts
        self.residual = residual
    }

    /// What was taken, and the coefficients.
    public struct Result: Sendable {
        /// One number a column of the dictionary.
        public var coefficients: [Double]
        /// Ascending indices, for each factor.
        public var supports: [[Int]]
        /// `‖y - A x‖`.
        public var residual: Double
    }

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if sizes disagree or `y` is not finite;
    ///   ``LacunaError/numerical(operation:reason:)`` if chosen columns of a factor are linearly dependent.
    public func fit(_ a: KroneckerProduct, _ y: [Double]) throws -> Result {
        guard y.count == a.rows, y.allSatisfy(\.isFinite) else {
            throw LacunaError.invalidArgument(
                "y", reason: "\(a.rows) finite measurements are needed, there are \(y.count)")
        }
        guard counts.count == a.factors.count else {
            throw LacunaError.invalidArgument("counts", reason: "\(counts.count) for \(a.factors.count) factors")
        }
        let limits = zip(counts, a.factors).map { min($0, $1.rows, $1.columns) }
        let strides = a.factors.indices.map { i in a.factors[(i + 1)...].reduce(1) { $0 * $1.columns } }
        let lengths = KroneckerProduct.vector(
            a.factors.map { factor in
                (0..<factor.columns).map { j in
                    (0..<factor.rows).reduce(0.0) { $0 + factor[$1, j] * factor[$1, j] }.squareRoot()
                }
            })
        var supports = [[Int]](repeating: [], count: a.factors.count)
        var rest = y
        var coefficients = [Double](repeating: 0, count: a.columns)
        var norm = rest.reduce(0) { $0 + $1 * $1 }.squareRoot()
        while norm > residual {
            let correlations = a.multiplied(rest, transposed: true)
            // The best place that the supports still have room for.
            var best: (place: Int, value: Double)?
            for place in correlations.indices where lengths[place] > 0 {
                let value = abs(correlations[place]) / lengths[place]
                guard value > best?.value ?? 0 else { continue }
                var grows = false
                let fits = supports.indices.allSatisfy { i in
                    let index = place / strides[i] % a.factors[i].columns
                    if supports[i].contains(index) { return true }
                    grows = true
                    return supports[i].count < limits[i]
                }
                if fits && grows { best = (place, value) }
            }
            guard let place = best?.place else { break }
            for i in supports.indices {
                let index = place / strides[i] % a.factors[i].columns
                if !supports[i].contains(index) { supports[i] = (supports[i] + [index]).sorted() }
            }
            // The pseudo-inverse of a Kronecker product is that of its factors.
            let part = a.keeping(supports)
            let inverses = try part.factors.map { factor -> Tensor<Double> in
                let (q, r) = try factor.qr()
                for j in 0..<r.rows where abs(r[j, j]) <= 1e-12 * abs(r[0, 0]) {
                    throw LacunaError.numerical(
                        operation: "matching pursuit", reason: "chosen columns of a factor are linearly dependent")
                }
                return r.solveTriangular(q.transposed(), lower: false)
            }
            let values = KroneckerProduct(unchecked: inverses).multiplied(y)
            rest = zip(y, part.multiplied(values)).map { $0 - $1 }
            coefficients = [Double](repeating: 0, count: a.columns)
            let places = zip(supports, strides).reduce([0]) { places, next in
                places.flatMap { place in next.0.map { place + $0 * next.1 } }
            }
            for (value, place) in zip(values, places) { coefficients[place] = value }
            norm = rest.reduce(0) { $0 + $1 * $1 }.squareRoot()
        }
        return Result(coefficients: coefficients, supports: supports, residual: norm)
    }
}
