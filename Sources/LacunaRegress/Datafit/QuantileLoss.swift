import LacunaTensor

/// `Σ_i w_i ρ(y_i - η_i)`: the check loss `ρ(r) = r (τ - [r < 0])` smoothed over a width `h`, so that predictions aim at the
/// quantile τ. Within `|r| ≤ h` it is `r²/4h + h/4 + (τ - ½) r`, beyond it the check loss itself.
///
/// Xuming He, Xiaoou Pan, Kean Ming Tan, Wen-Xin Zhou, "Smoothed Quantile Regression with Large-Scale Inference", arXiv
/// 2012.05187, with the uniform kernel.
public struct QuantileLoss: Datafit {
    public var rows: Int { targets.count }
    /// What was observed, one number a row.
    public let targets: [Double]
    public let weights: [Double]
    /// τ.
    public let level: Double
    /// `h`, in units of the target.
    public let width: Double

    /// - Parameters:
    ///   - level: Between 0 and 1.
    ///   - width: Above 0.
    public init(_ target: [Double], level: Double, width: Double, weights: [Double]? = nil) throws {
        guard level > 0, level < 1 else {
            throw LacunaError.invalidArgument("level", reason: "must be between 0 and 1, but is \(level)")
        }
        guard width > 0, width.isFinite else {
            throw LacunaError.invalidArgument("width", reason: "must be a finite number above 0, but is \(width)")
        }
        try SampleWeights.requireFinite(target)
        self.init(target, try SampleWeights.normalized(weights, rows: target.count), level, width)
    }

    private init(_ targets: [Double], _ weights: [Double], _ level: Double, _ width: Double) {
        (self.targets, self.weights, self.level, self.width) = (targets, weights, level, width)
    }

    public var curvatureBound: Double? { 1 / (2 * width) }

    public var longestStep: Double { .infinity }

    public func value(_ eta: UnsafePointer<Double>) -> Double {
        var sum = 0.0
        for i in 0..<rows {
            let r = targets[i] - eta[i]
            let smooth = abs(r) <= width ? r * r / (4 * width) + width / 4 : abs(r) / 2
            sum += weights[i] * (smooth + (level - 0.5) * r)
        }
        return sum
    }

    public func gradient(_ eta: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>) {
        for i in 0..<rows {
            let r = targets[i] - eta[i]
            out[i] = -weights[i] * (max(-0.5, min(0.5, r / (2 * width))) + level - 0.5)
        }
    }

    /// Beyond the width, where the loss has none, a twentieth of that of the quadratic that touches and dominates it: enough
    /// to keep a model bounded, and too little to keep its minimum far from the loss's.
    public func curvature(_ eta: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>) {
        for i in 0..<rows {
            let r = abs(targets[i] - eta[i])
            out[i] = weights[i] / (r <= width ? 2 * width : 40 * r)
        }
    }

    public func conjugate(gradient g: UnsafePointer<Double>, scale s: Double) -> Double {
        var sum = 0.0
        for i in 0..<rows where weights[i] > 0 {
            let v = s * g[i] / weights[i]
            let q = -v - level + 0.5
            sum += weights[i] * (v * targets[i] + width * q * q - width / 4)
        }
        return sum
    }

    public func magnitude(_ eta: UnsafePointer<Double>) -> Double {
        var sum = 0.0
        for i in 0..<rows { sum += weights[i] * (abs(targets[i] - eta[i]) + width) }
        return sum
    }

    public func centered() -> (datafit: QuantileLoss, shifts: [Double]) {
        let sorted = targets.indices.filter { weights[$0] > 0 }.map { targets[$0] }.sorted()
        let middle = sorted.isEmpty ? 0 : sorted[min(sorted.count - 1, Int(level * Double(sorted.count)))]
        return (QuantileLoss(targets.map { $0 - middle }, weights, level, width), [middle])
    }

    public func weighted(by weights: [Double]) throws -> QuantileLoss {
        try QuantileLoss(targets, level: level, width: width, weights: weights)
    }
}
