import LacunaTensor

/// Block coordinate descent on `½xᵀHx - cᵀx` between bounds; with `c - λ` for `c` and 0 below, the lasso of non-negative
/// coefficients.
///
/// After a number of iterations the coordinates that end at a bound are all there and stay (the active set is identified);
/// from then on updates that use the block's matrix solve the rest as if there were no bounds.
///
/// Julie Nutini, Issam Laradji, Mark Schmidt, arXiv 1712.08859; two-metric projection: Dimitri Bertsekas, "Projected Newton
/// Methods for Optimization Problems with Simple Constraints", SIAM J. Control and Optimization 1982.
public struct BoundedBlockDescent: Sendable {
    /// Which coordinates move next.
    public enum Rule: String, Sendable, CaseIterable {
        /// A block drawn at random.
        case random
        /// One block after another.
        case cyclic
        /// The coordinates that would lower the objective most, each by itself.
        case gaussSouthwellQuadratic = "GSQ"
    }

    /// How a block moves.
    public enum Update: String, Sendable, CaseIterable {
        /// `P(x_B - g_B / λ_max(H_BB))`.
        case projectedGradient = "PG"
        /// Newton's direction for the coordinates that are off their bound or leave it, the gradient for the others; projected,
        /// and halved until the objective falls.
        case twoMetric = "TMP"
        /// The minimum of the block between its bounds.
        case exact = "QP"
    }

    /// Which coordinates move next.
    public var rule: Rule
    /// How a block moves.
    public var update: Update
    /// Coordinates of a block, at least 1.
    public var blockSize: Int
    /// Of the random rule.
    public var seed: UInt64

    /// Settings as their properties say.
    public init(rule: Rule, update: Update, blockSize: Int, seed: UInt64 = 0) {
        require(blockSize > 0)
        self.rule = rule
        self.update = update
        self.blockSize = blockSize
        self.seed = seed
    }

    /// Where the steps have led.
    public struct Result: Sendable {
        /// The coordinates, within their bounds.
        public let point: [Double]
        /// The objective after each iteration.
        public let values: [Double]
        /// Iterations after which the set of coordinates at their bounds no longer changed.
        public let identification: Int
        /// `max_i |x_i - P(x_i - g_i / L_i)| · L_i` at the end: 0 at the minimum.
        public let stationarity: Double
    }

    /// Runs `iterations` (0 or more) from the point between the bounds nearest 0; coordinates without curvature start, and stay,
    /// at the bound to which their slope leads.
    ///
    /// - Parameters:
    ///   - hessian: [p, p], symmetric and positive semidefinite.
    ///   - linear: [p].
    ///   - lower: Bound of all coordinates, -∞ for none.
    ///   - upper: The same, ∞ for none.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for shapes that do not match, numbers that are not finite, a matrix
    ///   that is not symmetric or has a diagonal below 0, a coordinate with neither curvature nor a bound to end its slope, and
    ///   bounds that cross.
    public func minimize(
        hessian: Tensor<Double>, linear: [Double], lower: Double = 0, upper: Double = .infinity, iterations: Int
    ) throws -> Result {
        require(iterations >= 0)
        guard lower <= upper, lower < .infinity, upper > -.infinity else {
            throw LacunaError.invalidArgument("bounds", reason: "nothing lies between \(lower) and \(upper)")
        }
        func clamp(_ value: Double) -> Double { min(upper, max(lower, value)) }
        var descent = try QuadraticDescent(hessian: hessian, linear: linear, start: clamp(0))
        try descent.requireMinimum(lower: lower, upper: upper)
        for i in 0..<descent.count where descent.curvatures[i] == 0 && linear[i] != 0 {
            descent.move(i, to: linear[i] > 0 ? upper : lower)
        }
        var generator = SeededGenerator(seed: seed, stream: 119)
        var lastChange = 0
        for iteration in 0..<iterations where descent.count > 0 {
            let block = self.block(iteration, descent, clamp, &generator)
            for (i, value) in zip(block, moved(block, descent, clamp, lower, upper)) where value != descent.point[i] {
                // Whether the coordinate arrives at a bound or leaves one.
                if [value, descent.point[i]].contains(where: { $0 == lower || $0 == upper }) {
                    lastChange = iteration + 1
                }
                descent.move(i, to: value)
            }
            descent.record()
        }
        // Not with what the steps' rounding has left in the gradient.
        descent.refresh()
        let distance = (0..<descent.count).reduce(0.0) { worst, i in
            let (x, l) = (descent.point[i], descent.curvatures[i])
            return l > 0 ? max(worst, abs(x - clamp(x - descent.gradient[i] / l)) * l) : worst
        }
        return Result(
            point: descent.point, values: descent.values, identification: lastChange, stationarity: distance)
    }

    private func block(
        _ iteration: Int, _ descent: QuadraticDescent, _ clamp: (Double) -> Double, _ generator: inout SeededGenerator
    ) -> [Int] {
        let p = descent.count
        switch rule {
        case .random: return BlockChoice.random(blockSize, of: p, using: &generator)
        case .cyclic: return BlockChoice.cyclic(blockSize, of: p, iteration: iteration)
        case .gaussSouthwellQuadratic:
            let gains = (0..<p).map { i -> Double in
                let (x, g, l) = (descent.point[i], descent.gradient[i], descent.curvatures[i])
                guard l > 0 else { return 0 }
                let d = clamp(x - g / l) - x
                return -(g * d + l * d * d / 2)
            }
            return BlockChoice.top(blockSize, of: gains)
        }
    }

    /// New values of a block's coordinates.
    private func moved(
        _ block: [Int], _ descent: QuadraticDescent, _ clamp: (Double) -> Double, _ lower: Double, _ upper: Double
    ) -> [Double] {
        let m = block.count
        let part = BlockMatrix(block, descent.hessian)
        let sub = part.matrix
        let (old, slope) = (block.map { descent.point[$0] }, block.map { descent.gradient[$0] })
        /// `g·d + ½dᵀHd`.
        func change(_ next: [Double]) -> Double {
            let d = zip(next, old).map { $0 - $1 }
            var sum = 0.0
            for a in 0..<m {
                var inner = 0.0
                for b in 0..<m { inner += sub[a, b] * d[b] }
                sum += d[a] * (slope[a] + inner / 2)
            }
            return sum
        }
        func gradientStep() -> [Double] {
            zip(old, BlockMatrix.scaled(slope, by: part.largestEigenvalue())).map { clamp($0 - $1) }
        }
        switch update {
        case .projectedGradient: return gradientStep()
        case .twoMetric:
            // Coordinates that a step along themselves alone would take to a bound, or that are there, stay with the gradient: a
            // distance from the bound that counts as near, in whatever units.
            let free = (0..<m).filter { a in
                guard slope[a] != 0, sub[a, a] > 0 else { return slope[a] == 0 }
                let next = old[a] - slope[a] / sub[a, a]
                return slope[a] > 0 ? next > lower : next < upper
            }
            let solved = BlockMatrix.solve(BlockMatrix(free, sub).factor(), free.map { slope[$0] })
            var direction = (0..<m).map { sub[$0, $0] > 0 ? -slope[$0] / sub[$0, $0] : 0 }
            for (a, d) in zip(free, solved) { direction[a] = -d }
            var length = 1.0
            for _ in 0..<40 {
                let next = (0..<m).map { clamp(old[$0] + length * direction[$0]) }
                let promise = zip(zip(next, old), slope).reduce(0) { $0 + ($1.0.0 - $1.0.1) * $1.1 }
                if change(next) <= 1e-10 * promise && promise <= 0 { return next }
                length /= 2
            }
            return gradientStep()
        case .exact:
            // Coordinate descent on a few coordinates, to rounding or 2000 sweeps; every one of them descends.
            var next = old
            var inner = slope
            for _ in 0..<2000 {
                var largest = 0.0
                for a in 0..<m where sub[a, a] > 0 {
                    let value = clamp(next[a] - inner[a] / sub[a, a])
                    let d = value - next[a]
                    if d == 0 { continue }
                    for b in 0..<m { inner[b] += d * sub[a, b] }
                    next[a] = value
                    largest = max(largest, abs(d))
                }
                if largest <= 1e-15 * next.reduce(1e-300, { max($0, abs($1)) }) { break }
            }
            return next
        }
    }
}
