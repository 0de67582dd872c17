import LacunaTensor

/// `½ Σ_i w_i Σ_t (y_it - η_it)²`: least squares, of one target or of several tasks.
public struct SquaredLoss: Datafit {
    public let rows: Int
    public let outputs: Int
    /// Targets [rows, outputs], column-major.
    public let targets: [Double]
    public let weights: [Double]

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for targets or weights that are not finite, weights below 0,
    ///   weights of sum 0, and no rows.
    public init(_ target: [Double], weights: [Double]? = nil) throws {
        try self.init(tasks: [target], weights: weights)
    }

    /// - Parameter tasks: One target for each task, of equal length.
    public init(tasks: [[Double]], weights: [Double]? = nil) throws {
        rows = tasks.first?.count ?? 0
        outputs = tasks.count
        // One of millions of rows need not be there twice.
        targets = tasks.count == 1 ? tasks[0] : tasks.flatMap { $0 }
        if targets.count != rows * outputs {
            throw LacunaError.invalidArgument("target", reason: "the tasks have different numbers of rows")
        }
        self.weights = try SampleWeights.normalized(weights, rows: rows)
        try SampleWeights.requireFinite(targets)
    }

    public var curvatureBound: Double? { 1 }
    public var isQuadratic: Bool { true }

    public func value(_ eta: UnsafePointer<Double>) -> Double {
        var sum = 0.0
        for k in 0..<outputs {
            for i in 0..<rows {
                let residual = eta[k * rows + i] - targets[k * rows + i]
                sum += weights[i] * residual * residual
            }
        }
        return sum / 2
    }

    public func gradient(_ eta: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>) {
        for k in 0..<outputs {
            for i in 0..<rows { out[k * rows + i] = weights[i] * (eta[k * rows + i] - targets[k * rows + i]) }
        }
    }

    public func curvature(_ eta: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>) {
        for k in 0..<outputs { (out + k * rows).update(from: weights, count: rows) }
    }

    public func conjugate(gradient g: UnsafePointer<Double>, scale s: Double) -> Double {
        var sum = 0.0
        for k in 0..<outputs {
            for i in 0..<rows where weights[i] > 0 {
                let v = s * g[k * rows + i]
                sum += v * (v / (2 * weights[i]) + targets[k * rows + i])
            }
        }
        return sum
    }

    public func centered() -> (datafit: SquaredLoss, shifts: [Double]) {
        let shifts = (0..<outputs).map { SampleWeights.mean(targets[($0 * rows)..<(($0 + 1) * rows)], weights) }
        var moved = targets
        for k in 0..<outputs { for i in k * rows..<(k + 1) * rows { moved[i] -= shifts[k] } }
        return (SquaredLoss(rows: rows, outputs: outputs, targets: moved, weights: weights), shifts)
    }

    private init(rows: Int, outputs: Int, targets: [Double], weights: [Double]) {
        (self.rows, self.outputs, self.targets, self.weights) = (rows, outputs, targets, weights)
    }

    public func weighted(by weights: [Double]) throws -> SquaredLoss {
        SquaredLoss(
            rows: rows, outputs: outputs, targets: targets,
            weights: try SampleWeights.normalized(weights, rows: rows))
    }
}
