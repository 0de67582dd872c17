import LacunaTensor

/// `½ Σ_i w_i Σ_t (y_it - η_it)²`: least squares, of one target or of several tasks.
public struct SquaredLoss: Datafit {
    public let rows: Int
    public let outputs: Int
    /// Targets [rows, outputs], column-major.
    public let targets: [Double]
    public let weights: [Double]
    /// What is subtracted from the targets of each output, and what they are then multiplied by, wherever they are used: millions of
    /// them need not be there twice, and targets far from 0 lose nothing to the scale.
    private let shifts: [Double]
    private let scale: Double

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for targets or weights that are not finite, weights below 0,
    ///   weights of sum 0, and no rows.
    public init(_ target: [Double], weights: [Double]? = nil) throws {
        try self.init(tasks: [target], weights: weights)
    }

    /// - Parameter tasks: One target for each task, of equal length.
    public init(tasks: [[Double]], weights: [Double]? = nil) throws {
        try self.init(tasks: tasks, unit: 1, weights: weights)
    }

    /// - Parameter unit: What the targets are divided by.
    init(tasks: [[Double]], unit: Double, weights: [Double]?) throws {
        scale = 1 / unit
        rows = tasks.first?.count ?? 0
        outputs = tasks.count
        shifts = [Double](repeating: 0, count: tasks.count)
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
            let shift = shifts[k]
            for i in 0..<rows {
                let residual = eta[k * rows + i] - (targets[k * rows + i] - shift) * scale
                sum += weights[i] * residual * residual
            }
        }
        return sum / 2
    }

    public func gradient(_ eta: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>) {
        for k in 0..<outputs {
            let shift = shifts[k]
            for i in 0..<rows {
                out[k * rows + i] = weights[i] * (eta[k * rows + i] - (targets[k * rows + i] - shift) * scale)
            }
        }
    }

    public func curvature(_ eta: UnsafePointer<Double>, into out: UnsafeMutablePointer<Double>) {
        for k in 0..<outputs { (out + k * rows).update(from: weights, count: rows) }
    }

    public func conjugate(gradient g: UnsafePointer<Double>, scale s: Double) -> Double {
        var sum = 0.0
        for k in 0..<outputs {
            let shift = shifts[k]
            for i in 0..<rows where weights[i] > 0 {
                let v = s * g[k * rows + i]
                sum += v * (v / (2 * weights[i]) + (targets[k * rows + i] - shift) * scale)
            }
        }
        return sum
    }

    public func centered() -> (datafit: SquaredLoss, shifts: [Double]) {
        let means = (0..<outputs).map { SampleWeights.mean(targets[($0 * rows)..<(($0 + 1) * rows)], weights) }
        return (SquaredLoss(self, weights: weights, shifts: means), zip(means, shifts).map { ($0 - $1) * scale })
    }

    private init(_ other: SquaredLoss, weights: [Double], shifts: [Double]) {
        (rows, outputs, targets, scale) = (other.rows, other.outputs, other.targets, other.scale)
        (self.weights, self.shifts) = (weights, shifts)
    }

    public func weighted(by weights: [Double]) throws -> SquaredLoss {
        SquaredLoss(self, weights: try SampleWeights.normalized(weights, rows: rows), shifts: shifts)
    }
}
