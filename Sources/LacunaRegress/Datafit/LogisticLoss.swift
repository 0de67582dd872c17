import LacunaTensor

/// `Σ_i w_i log(1 + exp(-s_i η_i))` with `s_i = ±1`: logistic regression of two classes.
public struct LogisticLoss: Datafit {
    public let rows: Int
    /// 1 for the positive class, -1 for the other.
    public let signs: [Double]
    public let weights: [Double]

    /// - Parameter target: 0 or 1 (or -1 or 1) for each row.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for other labels and unusable weights. Rows of one class only
    ///   are no error: the fit then lies at infinity, and solvers say that they stopped short.
    public init(_ target: [Double], weights: [Double]? = nil) throws {
        rows = target.count
        self.weights = try SampleWeights.normalized(weights, rows: rows)
        if let bad = target.firstIndex(where: { $0 != 0 && $0 != 1 && $0 != -1 }) {
            throw LacunaError.invalidArgument(
                "target", reason: "value \(bad + 1) is \(target[bad]); a logistic fit needs 0 and 1")
        }
        if target.contains(0) && target.contains(-1) {
            throw LacunaError.invalidArgument("target", reason: "there are three classes: -1, 0 and 1")
        }
        signs = target.map { $0 == 1 ? 1 : -1 }
    }

    public var curvatureBound: Double? { 0.25 }

    public func value(_ eta: UnsafePointer<Double>) -> Double {
        var sum = 0.0
        for i in 0..<rows where weights[i] > 0 { sum += weights[i] * Self.softplus(-signs[i] * eta[i]) }
        return sum
    }

    public func gradient(_ eta: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>) {
        for i in 0..<rows { out[i] = -weights[i] * signs[i] * Self.sigmoid(-signs[i] * eta[i]) }
    }

    public func curvature(_ eta: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>) {
        for i in 0..<rows {
            let p = Self.sigmoid(eta[i])
            out[i] = weights[i] * p * (1 - p)
        }
    }

    public func conjugate(gradient g: UnsafePointer<Double>, scale s: Double) -> Double {
        var sum = 0.0
        for i in 0..<rows where weights[i] > 0 {
            let share = min(1, max(0, -s * g[i] * signs[i] / weights[i]))
            sum += weights[i] * (Self.entropyTerm(share) + Self.entropyTerm(1 - share))
        }
        return sum
    }

    public func weighted(by weights: [Double]) throws -> LogisticLoss {
        try LogisticLoss(signs.map { max($0, 0) }, weights: weights)
    }

    /// `log(1 + exp(x))`.
    static func softplus(_ x: Double) -> Double {
        x > 0 ? x + logarithm(1 + exponential(-x)) : logarithm(1 + exponential(x))
    }

    /// `1 / (1 + exp(-x))`.
    public static func sigmoid(_ x: Double) -> Double {
        if x >= 0 { return 1 / (1 + exponential(-x)) }
        let e = exponential(x)
        return e / (1 + e)
    }

    /// `x log x`, 0 at 0.
    static func entropyTerm(_ x: Double) -> Double { x > 0 ? x * logarithm(x) : 0 }
}
