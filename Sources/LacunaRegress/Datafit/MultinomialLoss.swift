import LacunaTensor

/// `Σ_i w_i (log Σ_k exp η_ik - η_i,c_i)`: logistic regression of several classes, a linear predictor for each.
///
/// Without a penalty the predictors of a row are determined up to a common constant only; any penalty on the
/// coefficients decides.
public struct MultinomialLoss: Datafit {
    public let rows: Int
    /// Number of classes.
    public let outputs: Int
    /// The class of each row, in `0..<outputs`.
    public let classes: [Int]
    public let weights: [Double]

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a class outside `0..<count`, and unusable weights.
    public init(classes: [Int], count: Int, weights: [Double]? = nil) throws {
        if let bad = classes.firstIndex(where: { !(0..<count).contains($0) }) {
            throw LacunaError.invalidArgument(
                "target", reason: "value \(bad + 1) is class \(classes[bad]) of \(count)")
        }
        rows = classes.count
        outputs = count
        self.classes = classes
        self.weights = try SampleWeights.normalized(weights, rows: rows)
    }

    public var curvatureBound: Double? { 0.5 }

    /// Calls `body` with each row's probabilities and the logarithm of their common denominator.
    private func forEachRow(_ eta: UnsafePointer<Double>, _ body: (Int, [Double], Double) -> Void) {
        var probabilities = [Double](repeating: 0, count: outputs)
        for i in 0..<rows {
            var largest = -Double.infinity
            for k in 0..<outputs { largest = max(largest, eta[k * rows + i]) }
            var sum = 0.0
            for k in 0..<outputs {
                probabilities[k] = exponential(eta[k * rows + i] - largest)
                sum += probabilities[k]
            }
            for k in 0..<outputs { probabilities[k] /= sum }
            body(i, probabilities, largest + logarithm(sum))
        }
    }

    public func value(_ eta: UnsafePointer<Double>) -> Double {
        var sum = 0.0
        forEachRow(eta) { i, _, total in
            if weights[i] > 0 { sum += weights[i] * (total - eta[classes[i] * rows + i]) }
        }
        return sum
    }

    public func gradient(_ eta: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>) {
        forEachRow(eta) { i, p, _ in
            for k in 0..<outputs { out[k * rows + i] = weights[i] * (p[k] - (k == classes[i] ? 1 : 0)) }
        }
    }

    /// `2 p (1 - p)`: the diagonal, doubled, dominates the true matrix `diag(p) - p pᵀ`.
    public func curvature(_ eta: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>) {
        forEachRow(eta) { i, p, _ in
            for k in 0..<outputs { out[k * rows + i] = 2 * weights[i] * p[k] * (1 - p[k]) }
        }
    }

    public func conjugate(gradient g: UnsafePointer<Double>, scale s: Double) -> Double {
        var sum = 0.0
        for i in 0..<rows where weights[i] > 0 {
            for k in 0..<outputs {
                let share = s * g[k * rows + i] / weights[i] + (k == classes[i] ? 1 : 0)
                sum += weights[i] * LogisticLoss.entropyTerm(max(0, share))
            }
        }
        return sum
    }

    public func weighted(by weights: [Double]) throws -> MultinomialLoss {
        try MultinomialLoss(classes: classes, count: outputs, weights: weights)
    }
}
