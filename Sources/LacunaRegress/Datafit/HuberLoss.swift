import LacunaTensor

/// `Σ_i w_i h(y_i - η_i)` with `h(r) = ½ r²` for `|r| <= δ` and `δ|r| - ½ δ²` beyond: least squares that outliers
/// cannot bend.
public struct HuberLoss: Datafit {
    public var rows: Int { targets.count }
    /// What was observed, one number a row.
    public let targets: [Double]
    public let weights: [Double]
    /// The error from which it counts by its size alone, in units of the target. Above 0.
    public let delta: Double

    /// - Parameter delta: Residuals beyond it count by their magnitude alone. Above 0, in units of the target.
    public init(_ target: [Double], delta: Double, weights: [Double]? = nil) throws {
        if !(delta > 0) || !delta.isFinite {
            throw LacunaError.invalidArgument("delta", reason: "must be a finite number above 0, but is \(delta)")
        }
        targets = target
        self.delta = delta
        self.weights = try SampleWeights.normalized(weights, rows: target.count)
        try SampleWeights.requireFinite(target)
    }

    public var curvatureBound: Double? { 1 }

    public var longestStep: Double { .infinity }

    public func value(_ eta: UnsafePointer<Double>) -> Double {
        var sum = 0.0
        for i in 0..<rows {
            let r = abs(eta[i] - targets[i])
            sum += weights[i] * (r <= delta ? r * r / 2 : delta * (r - delta / 2))
        }
        return sum
    }

    public func gradient(_ eta: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>) {
        for i in 0..<rows { out[i] = weights[i] * max(-delta, min(delta, eta[i] - targets[i])) }
    }

    /// 1 inside the quadratic part; beyond it `δ / |r|`, the quadratic that touches and dominates the loss.
    public func curvature(_ eta: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>) {
        for i in 0..<rows {
            let r = abs(eta[i] - targets[i])
            out[i] = weights[i] * (r <= delta ? 1 : delta / r)
        }
    }

    public func conjugate(gradient g: UnsafePointer<Double>, scale s: Double) -> Double {
        var sum = 0.0
        for i in 0..<rows where weights[i] > 0 {
            let v = s * g[i]
            sum += v * (v / (2 * weights[i]) + targets[i])
        }
        return sum
    }

    /// Around their median, as a mean may be far from all of them.
    public func centered() -> (datafit: HuberLoss, shifts: [Double]) {
        let sorted = targets.indices.filter { weights[$0] > 0 }.map { targets[$0] }.sorted()
        let median = sorted.isEmpty ? 0 : sorted[sorted.count / 2]
        return (HuberLoss(targets.map { $0 - median }, weights, delta), [median])
    }

    private init(_ targets: [Double], _ weights: [Double], _ delta: Double) {
        (self.targets, self.weights, self.delta) = (targets, weights, delta)
    }

    public func weighted(by weights: [Double]) throws -> HuberLoss {
        try HuberLoss(targets, delta: delta, weights: weights)
    }
}
