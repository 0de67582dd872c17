import LacunaTensor

/// Linear regression on the best few columns under pure differential privacy: the support is chosen privately among all
/// of its size, then the coefficients on it.
///
/// A support's loss is the least total Huber loss of the clipped rows over coefficients in a ball. Clipping
/// (`|x| <= τ₁`, `|y| <= τ₂`, `‖β‖ <= R`) and the Huber loss bound what one row can do to it by
/// `Δ = c (r - c/2)`, `r = τ₂ + R τ₁ √k`, which makes the fit robust to outliers and, by the exponential mechanism, private. Half
/// of ε chooses the support; the other half chooses coefficients from a grid over the ball that does not depend on the
/// rows, again by the exponential mechanism. Both draws are exact, so no part of the guarantee rests on a sampler having
/// converged.
///
/// An instance, made for this toolkit, of Hilal Asi, Jonathan Ullman, Lydia Zakynthinou, "From Robustness to Privacy and
/// Back", arXiv 2302.01855.
public struct PrivateSubsetRegression: Sendable {
    /// What a fit spends altogether; half on the support, half on its coefficients.
    public let budget: PrivacyBudget
    /// k: columns in the support.
    public let size: Int
    /// Features beyond it, in magnitude, are clipped. It must not be chosen by looking at the rows.
    public let featureBound: Double
    /// The same for targets.
    public let targetBound: Double
    /// R: the longest vector of coefficients.
    public let radius: Double
    /// c: residuals beyond it count by their magnitude alone.
    public let huberThreshold: Double
    /// Coefficients tried on the chosen support, about.
    public var gridPoints = 20_000
    /// Supports tried, at most.
    public static let supportLimit = 200_000
    /// Told about supports; its error, as when a user cancels, ends the fit.
    public var progress: (any ProgressReporter)?

    /// - Parameters:
    ///   - featureBound: τ₁. None of the bounds may be chosen by looking at the rows.
    ///   - huberThreshold: c, in units of the target; a tenth of `targetBound` for nil.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` unless all numbers are above 0 and finite.
    public init(
        epsilon: Double, size: Int, featureBound: Double, targetBound: Double, radius: Double,
        huberThreshold: Double? = nil, progress: (any ProgressReporter)? = nil
    ) throws {
        budget = try PrivacyBudget(epsilon: epsilon)
        self.size = size
        self.featureBound = featureBound
        self.targetBound = targetBound
        self.radius = radius
        self.huberThreshold = huberThreshold ?? targetBound / 10
        self.progress = progress
        let numbers = [
            ("size", Double(size)), ("featureBound", featureBound), ("targetBound", targetBound), ("radius", radius),
            ("huberThreshold", self.huberThreshold),
        ]
        for (name, value) in numbers where !(value > 0) || !value.isFinite {
            throw LacunaError.invalidArgument(name, reason: "must be a finite number above 0, but is \(value)")
        }
    }

    /// Δ: the most that one row moves a loss.
    public var sensitivity: Double {
        let residual = targetBound + radius * featureBound * Double(size).squareRoot()
        return huberThreshold < residual
            ? huberThreshold * (residual - huberThreshold / 2) : residual * residual / 2
    }

    /// How far from the minimum a computed loss may be; it adds to the sensitivity.
    private var slack: Double { sensitivity / 100 }

    /// What the two choices add up to.
    public var account: PrivacyAccount {
        let half = budget.divided(by: 2)
        return PrivacyAccount(
            model: .central,
            releases: [
                .init("choice of the support", mechanism: "exponential mechanism", budget: half),
                .init("coefficients on it", mechanism: "exponential mechanism", budget: half),
            ])
    }

    /// A support and its coefficients.
    public struct Estimate: Sendable, Equatable {
        /// Chosen columns, ascending.
        public let support: [Int]
        /// One for each of them.
        public let values: [Double]
        /// Distance of neighbouring coefficients on the grid: no coefficient is known better than half of it.
        public let spacing: Double
        /// How many supports there were to choose from.
        public let candidates: Int
    }

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if sizes differ, a number is not finite, the support is larger
    ///   than the design or there are more than ``supportLimit`` of its size;
    ///   ``LacunaError/numerical(operation:reason:)`` if a loss cannot be minimised; ``LacunaError/cancelled``.
    public func fit(
        _ design: any Design, _ target: [Double], using generator: inout SeededGenerator
    ) throws -> Estimate {
        let (n, d) = (design.rows, design.columns)
        guard size <= d else {
            throw LacunaError.invalidArgument("size", reason: "is \(size), but there are \(d) columns")
        }
        var count = 1.0
        for i in 0..<size { count = (count * Double(d - i) / Double(i + 1)).rounded() }
        guard count <= Double(Self.supportLimit) else {
            throw LacunaError.invalidArgument(
                "size",
                reason:
                    "there are \(count) supports of \(size) among \(d) columns; at most \(Self.supportLimit) are tried")
        }
        let rows = try design.rowMajor(target).map { min(max($0, -featureBound), featureBound) }
        let y = target.map { min(max($0, -targetBound), targetBound) }
        let supports = Self.subsets(of: size, from: d)
        let task = HuberBallTask(huberThreshold: huberThreshold, radius: radius, targets: y)
        let losses = Locked([Double](repeating: .nan, count: supports.count))
        for start in stride(from: 0, to: supports.count, by: 256) {
            try progress.report("trying supports", start, of: supports.count)
            let end = min(start + 256, supports.count)
            Parallel.forEach(end - start) { offset in
                let loss = task.minimum(Self.columns(supports[start + offset], rows, n, d), within: slack)
                losses.withLock { $0[start + offset] = loss ?? .nan }
            }
        }
        let found = losses.withLock { $0 }
        if let place = found.firstIndex(where: \.isNaN) {
            throw LacunaError.numerical(
                operation: "private subset regression", reason: "no minimum was found for columns \(supports[place])")
        }
        let half = budget.divided(by: 2).epsilon
        let choice = try ExponentialMechanism(sensitivity: sensitivity + slack, epsilon: half)
            .choose(found, using: &generator)
        let x = Self.columns(supports[choice], rows, n, d)
        let (grid, spacing) = grid()
        let gridLosses = Buffer<Double>(repeating: 0, count: grid.count)
        let out = gridLosses.pointer
        Parallel.forRanges(grid.count, grain: max(1, 200_000 / max(1, n * size))) { range in
            for g in range { out[g] = task.loss(x, grid[g]) }
        }
        let point = try ExponentialMechanism(sensitivity: sensitivity, epsilon: half)
            .choose((0..<grid.count).map { out[$0] }, using: &generator)
        return Estimate(support: supports[choice], values: grid[point], spacing: spacing, candidates: supports.count)
    }

    /// The columns of a support [rows, support], row-major.
    private static func columns(_ support: [Int], _ rows: [Double], _ n: Int, _ d: Int) -> [Double] {
        var x: [Double] = []
        x.reserveCapacity(n * support.count)
        for i in 0..<n { for j in support { x.append(rows[i * d + j]) } }
        return x
    }

    /// All subsets of 0..<d of one size, in lexicographic order.
    static func subsets(of size: Int, from d: Int) -> [[Int]] {
        var all: [[Int]] = []
        var current = Array(0..<size)
        while true {
            all.append(current)
            guard let last = current.indices.last(where: { current[$0] < d - size + $0 }) else { return all }
            current[last] += 1
            for i in current.indices where i > last { current[i] = current[i - 1] + 1 }
        }
    }

    /// Points of a cubic grid inside the ball, and their spacing.
    func grid() -> (points: [[Double]], spacing: Double) {
        // The ball fills π^(k/2) / Γ(k/2 + 1) / 2^k of its cube.
        var share = 1.0
        for k in stride(from: size, to: 1, by: -2) { share *= 2 * Double.pi / Double(k) / 4 }
        let perAxis = max(3, Int(power(Double(gridPoints) / share, 1 / Double(size))) / 2 * 2 + 1)
        let spacing = 2 * radius / Double(perAxis - 1)
        let axis = (0..<perAxis).map { Double($0 - perAxis / 2) * spacing }
        var points: [[Double]] = [[]]
        for _ in 0..<size {
            points = points.flatMap { point in
                let square = point.reduce(0) { $0 + $1 * $1 }
                return axis.filter { square + $0 * $0 <= radius * radius * (1 + 1e-12) }.map { point + [$0] }
            }
        }
        return (points, spacing)
    }
}

/// Total Huber loss over a ball, in a few dimensions.
struct HuberBallTask: Sendable {
    let huberThreshold: Double
    let radius: Double
    let targets: [Double]

    /// - Parameter x: [rows, columns], row-major.
    func loss(_ x: [Double], _ beta: [Double]) -> Double {
        let (k, c) = (beta.count, huberThreshold)
        var sum = 0.0
        x.withUnsafeBufferPointer { x in
            for i in 0..<targets.count {
                var r = -targets[i]
                for j in 0..<k { r += x[i * k + j] * beta[j] }
                r = abs(r)
                sum += r <= c ? r * r / 2 : c * (r - c / 2)
            }
        }
        return sum
    }

    /// The least loss in the ball, at most `tolerance` too large: by Nesterov's projected steps, until the Frank-Wolfe
    /// gap `gᵀβ + R‖g‖`, an upper bound of the error, is that small. Nil if 100,000 steps do not suffice.
    func minimum(_ x: [Double], within tolerance: Double) -> Double? {
        let n = targets.count
        let k = x.count / max(n, 1)
        var lipschitz = 0.0
        for value in x { lipschitz += value * value }
        if lipschitz == 0 { return loss(x, [Double](repeating: 0, count: k)) }
        var beta = [Double](repeating: 0, count: k)
        var ahead = beta
        var momentum = 1.0
        for _ in 0..<100_000 {
            var gradient = [Double](repeating: 0, count: k)
            x.withUnsafeBufferPointer { x in
                for i in 0..<n {
                    var r = -targets[i]
                    for j in 0..<k { r += x[i * k + j] * ahead[j] }
                    r = max(-huberThreshold, min(huberThreshold, r))
                    for j in 0..<k { gradient[j] += r * x[i * k + j] }
                }
            }
            let length = gradient.reduce(0) { $0 + $1 * $1 }.squareRoot()
            let gap = zip(gradient, ahead).reduce(0) { $0 + $1.0 * $1.1 } + radius * length
            // Points between steps may lie outside the ball, where the gap bounds nothing.
            if gap <= tolerance, ahead.reduce(0, { $0 + $1 * $1 }) <= radius * radius * (1 + 1e-12) {
                return loss(x, ahead)
            }
            var next = zip(ahead, gradient).map { $0 - $1 / lipschitz }
            let size = next.reduce(0) { $0 + $1 * $1 }.squareRoot()
            if size > radius { for j in 0..<k { next[j] *= radius / size } }
            let momentumAfter = (1 + (1 + 4 * momentum * momentum).squareRoot()) / 2
            var uphill = 0.0
            for j in 0..<k { uphill += (ahead[j] - next[j]) * (next[j] - beta[j]) }
            if uphill > 0 {
                momentum = 1
                ahead = next
            } else {
                for j in 0..<k { ahead[j] = next[j] + (momentum - 1) / momentumAfter * (next[j] - beta[j]) }
                momentum = momentumAfter
                let far = ahead.reduce(0) { $0 + $1 * $1 }.squareRoot()
                if far > radius { for j in 0..<k { ahead[j] *= radius / far } }
            }
            beta = next
        }
        return nil
    }
}
