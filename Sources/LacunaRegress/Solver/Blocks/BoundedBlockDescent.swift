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
    public enum Rule: String, Sendable, CaseIterable {
        case random
        case cyclic
        /// The coordinates that would lower the objective most, each by itself.
        case gaussSouthwellQuadratic = "GSQ"
    }

    public enum Update: String, Sendable, CaseIterable {
        /// `P(x_B - g_B / λ_max(H_BB))`.
        case projectedGradient = "PG"
        /// Newton's direction for the coordinates that are off their bound or leave it, the gradient for the others; projected,
        /// and halved until the objective falls.
        case twoMetric = "TMP"
        /// The minimum of the block between its bounds.
        case exact = "QP"
    }

    public var rule: Rule
    public var update: Update
    public var blockSize: Int
    public var seed: UInt64

    public init(rule: Rule, update: Update, blockSize: Int, seed: UInt64 = 0) {
        precondition(blockSize > 0)
        self.rule = rule
        self.update = update
        self.blockSize = blockSize
        self.seed = seed
    }

    public struct Result: Sendable {
        public let point: [Double]
        /// The objective after each iteration.
        public let values: [Double]
        /// Iterations after which the set of coordinates at their bounds no longer changed.
        public let identification: Int
        /// `max_i |x_i - P(x_i - g_i / L_i)| · L_i` at the end: 0 at the minimum.
        public let stationarity: Double
    }

    /// Runs `iterations` from the point between the bounds nearest 0.
    ///
    /// - Parameters:
    ///   - hessian: [p, p], symmetric and positive semidefinite.
    ///   - linear: [p].
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for shapes that do not match and bounds that cross.
    public func minimize(
        hessian: Tensor<Double>, linear: [Double], lower: Double = 0, upper: Double = .infinity, iterations: Int
    ) throws -> Result {
        let p = linear.count
        guard hessian.shape == [p, p] else {
            throw LacunaError.invalidArgument("hessian", reason: "has shape \(hessian.shape), not [\(p), \(p)]")
        }
        guard lower <= upper else {
            throw LacunaError.invalidArgument("bounds", reason: "\(lower) is above \(upper)")
        }
        func clamp(_ value: Double) -> Double { min(upper, max(lower, value)) }
        let curvatures = (0..<p).map { hessian[$0, $0] }
        var generator = SeededGenerator(seed: seed, stream: 119)
        var x = [Double](repeating: clamp(0), count: p)
        var g = linear.map { -$0 }
        var values: [Double] = []
        var lastChange = 0
        hessian.withPointer { h in
            for i in 0..<p where x[i] != 0 { kernels.axpy_f64(x[i], h + i * p, &g, p) }
            for iteration in 0..<iterations where p > 0 {
                let block = self.block(iteration, x, g, curvatures, clamp, &generator)
                let next = moved(block, h, p, x, g, clamp, lower, upper)
                for (i, value) in zip(block, next) where value != x[i] {
                    // Whether the coordinate arrives at a bound or leaves one.
                    let wasBound = x[i] == lower || x[i] == upper
                    let isBound = value == lower || value == upper
                    if wasBound != isBound || (isBound && value != x[i]) { lastChange = iteration + 1 }
                    kernels.axpy_f64(value - x[i], h + i * p, &g, p)
                    x[i] = value
                }
                values.append((0..<p).reduce(0) { $0 + x[$1] * (g[$1] - linear[$1]) } / 2)
            }
        }
        let distance = (0..<p).reduce(0.0) { worst, i in
            let l = max(curvatures[i], .leastNormalMagnitude)
            return max(worst, curvatures[i] > 0 ? abs(x[i] - clamp(x[i] - g[i] / l)) * l : 0)
        }
        return Result(point: x, values: values, identification: lastChange, stationarity: distance)
    }

    private func block(
        _ iteration: Int, _ x: [Double], _ g: [Double], _ curvatures: [Double], _ clamp: (Double) -> Double,
        _ generator: inout SeededGenerator
    ) -> [Int] {
        let p = x.count
        let size = min(blockSize, p)
        switch rule {
        case .random:
            var chosen: Set<Int> = []
            while chosen.count < size { chosen.insert(Int.random(in: 0..<p, using: &generator)) }
            return chosen.sorted()
        case .cyclic: return (0..<size).map { (iteration * size + $0) % p }
        case .gaussSouthwellQuadratic:
            let gains = (0..<p).map { i -> Double in
                guard curvatures[i] > 0 else { return 0 }
                let d = clamp(x[i] - g[i] / curvatures[i]) - x[i]
                return -(g[i] * d + curvatures[i] * d * d / 2)
            }
            return Array((0..<p).sorted { (gains[$0], $1) > (gains[$1], $0) }.prefix(size))
        }
    }

    /// New values of a block's coordinates.
    private func moved(
        _ block: [Int], _ h: UnsafePointer<Double>, _ p: Int, _ x: [Double], _ g: [Double],
        _ clamp: (Double) -> Double, _ lower: Double, _ upper: Double
    ) -> [Double] {
        let m = block.count
        var sub = Tensor<Double>(zeros: [m, m])
        for (a, i) in block.enumerated() { for (b, j) in block.enumerated() { sub[a, b] = h[i * p + j] } }
        let (old, slope) = (block.map { x[$0] }, block.map { g[$0] })
        let trace = (0..<m).reduce(0) { $0 + sub[$1, $1] }
        if trace <= 0 { return old }
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
            let curvature = max((try? sub.symmetricEigen().values.last) ?? trace, .leastNormalMagnitude)
            return (0..<m).map { clamp(old[$0] - slope[$0] / curvature) }
        }
        switch update {
        case .projectedGradient: return gradientStep()
        case .twoMetric:
            // Coordinates at a bound, or within a ten-thousandth of it, that the gradient pushes out stay with the gradient.
            let free = (0..<m).filter {
                !(old[$0] < lower + 1e-4 && slope[$0] > 0) && !(old[$0] > upper - 1e-4 && slope[$0] < 0)
            }
            let part = BlockMatrix(free, sub)
            var direction = (0..<m).map { sub[$0, $0] > 0 ? -slope[$0] / sub[$0, $0] : 0 }
            for (a, d) in zip(free, part.solve(free.map { slope[$0] })) { direction[a] = -d }
            var length = 1.0
            for _ in 0..<40 {
                let next = (0..<m).map { clamp(old[$0] + length * direction[$0]) }
                let promise = zip(zip(next, old), slope).reduce(0) { $0 + ($1.0.0 - $1.0.1) * $1.1 }
                if change(next) <= 1e-10 * promise && promise <= 0 { return next }
                length /= 2
            }
            return gradientStep()
        case .exact:
            // Coordinate descent on a few coordinates, to rounding.
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
