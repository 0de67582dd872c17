import LacunaTensor

/// `Σ_i w_i (exp η_i - y_i η_i)`: counts whose logarithmic rate is linear.
public struct PoissonLoss: Datafit {
    public var rows: Int { targets.count }
    /// Counts, one a row.
    public let targets: [Double]
    public let weights: [Double]

    /// - Parameter target: Counts, or rates: finite and not below 0.
    public init(_ target: [Double], weights: [Double]? = nil) throws {
        targets = target
        self.weights = try SampleWeights.normalized(weights, rows: target.count)
        try SampleWeights.requireFinite(target)
        if let bad = target.firstIndex(where: { $0 < 0 }) {
            throw LacunaError.invalidArgument(
                "target", reason: "value \(bad + 1) is \(target[bad]); counts are not below 0")
        }
    }

    /// The exponential has none.
    public var curvatureBound: Double? { nil }

    public func value(_ eta: UnsafePointer<Double>) -> Double {
        var sum = 0.0
        for i in 0..<rows where weights[i] > 0 { sum += weights[i] * (exponential(eta[i]) - targets[i] * eta[i]) }
        return sum
    }

    public func magnitude(_ eta: UnsafePointer<Double>) -> Double {
        var sum = 0.0
        for i in 0..<rows where weights[i] > 0 { sum += weights[i] * (exponential(eta[i]) + abs(targets[i] * eta[i])) }
        return sum
    }

    public func gradient(_ eta: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>) {
        for i in 0..<rows { out[i] = weights[i] * (exponential(eta[i]) - targets[i]) }
    }

    public func curvature(_ eta: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>) {
        for i in 0..<rows { out[i] = weights[i] * exponential(eta[i]) }
    }

    public func conjugate(gradient g: UnsafePointer<Double>, scale s: Double) -> Double {
        var sum = 0.0
        for i in 0..<rows where weights[i] > 0 {
            let rate = max(0, s * g[i] / weights[i] + targets[i])
            sum += weights[i] * (LogisticLoss.entropyTerm(rate) - rate)
        }
        return sum
    }

    public func weighted(by weights: [Double]) throws -> PoissonLoss {
        try PoissonLoss(targets, weights: weights)
    }
}
