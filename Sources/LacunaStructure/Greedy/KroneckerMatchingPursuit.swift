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
    public struct Result<Vector: Sendable>: Sendable {
        /// One number a column of the dictionary.
        public var coefficients: Vector
        /// Ascending indices, for each factor.
        public var supports: [[Int]]
        /// `‖y - A x‖`.
        public var residual: Double
    }

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if sizes disagree or `y` is not finite;
    ///   ``LacunaError/numerical(operation:reason:)`` if chosen columns of a factor are linearly dependent.
    public func fit(_ a: KroneckerProduct, _ y: [Double]) throws -> Result<[Double]> { try pursue(a, y) }

    /// The same for complex numbers.
    ///
    /// - Throws: As for real ones.
    public func fit(_ a: ComplexKroneckerProduct, _ y: ComplexVector) throws -> Result<ComplexVector> {
        try pursue(a, y)
    }

    private func pursue<A: KroneckerDictionary>(_ a: A, _ y: A.Vector) throws -> Result<A.Vector> {
        try a.requireMeasurements(y)
        let sizes = a.sizes
        guard counts.count == sizes.count else {
            throw LacunaError.invalidArgument("counts", reason: "\(counts.count) for \(sizes.count) factors")
        }
        let limits = zip(counts, sizes).map { min($0, $1.rows, $1.columns) }
        let strides = sizes.indices.map { i in sizes[(i + 1)...].reduce(1) { $0 * $1.columns } }
        let lengths = KroneckerProduct.vector(a.lengths)
        let columns = sizes.reduce(1) { $0 * $1.columns }
        var supports = [[Int]](repeating: [], count: sizes.count)
        var rest = y
        var coefficients = A.Vector(zeros: columns)
        var norm = rest.squaredMagnitudes.reduce(0, +).squareRoot()
        while norm > residual {
            let correlations = a.correlations(rest).squaredMagnitudes
            // The best place that the supports still have room for.
            var best: (place: Int, value: Double)?
            for place in correlations.indices where lengths[place] > 0 {
                let value = correlations[place].squareRoot() / lengths[place]
                guard value > best?.value ?? 0 else { continue }
                var grows = false
                let fits = supports.indices.allSatisfy { i in
                    let index = place / strides[i] % sizes[i].columns
                    if supports[i].contains(index) { return true }
                    grows = true
                    return supports[i].count < limits[i]
                }
                if fits && grows { best = (place, value) }
            }
            guard let place = best?.place else { break }
            for i in supports.indices {
                let index = place / strides[i] % sizes[i].columns
                if !supports[i].contains(index) { supports[i] = (supports[i] + [index]).sorted() }
            }
            let part = a.keeping(supports)
            let values = try part.leastSquares(y)
            rest = A.Vector.difference(y, part.product(values))
            let places = zip(supports, strides).reduce([0]) { places, next in
                places.flatMap { place in next.0.map { place + $0 * next.1 } }
            }
            coefficients = values.spread(to: places, of: columns)
            norm = rest.squaredMagnitudes.reduce(0, +).squareRoot()
        }
        return Result(coefficients: coefficients, supports: supports, residual: norm)
    }
}
