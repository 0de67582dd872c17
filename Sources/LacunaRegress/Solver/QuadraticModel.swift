import LacunaTensor

/// A quadratic function of a few coordinates, `g·d + ½ dᵀ G d` around a point, with a penalty on top.
///
/// Minimised by coordinate descent on the Gram matrix `G`, which costs nothing where coordinates stay 0, in turns with
/// Newton steps on the coordinates that are not 0, which end the slow tail that correlated columns cause: where signs
/// (and the pieces of a folded penalty) are right, one step is exact.
public final class QuadraticModel {
    /// Columns of the design, in the order of the coordinates.
    public private(set) var columns: [UInt32] = []
    /// Weighted means of the columns, where an intercept was eliminated.
    var means: [Double] = []
    private var capacity = 0
    private var gram = Buffer<Double>(uninitialized: 0)
    private var factor = Buffer<Double>(uninitialized: 0)

    /// A model of no coordinates.
    public init() {}

    /// A model given outright: `G` [n, n] symmetric.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` unless the matrix is square, finite and symmetric with a
    ///   diagonal not below 0.
    public convenience init(gram matrix: Tensor<Double>) throws {
        self.init()
        guard matrix.rank == 2, matrix.rows == matrix.columns else {
            throw LacunaError.invalidArgument("Gram matrix", reason: "has shape \(matrix.shape), not a square")
        }
        let n = matrix.rows
        try matrix.withPointer { p in
            for i in 0..<n {
                guard p[i * n + i] >= 0 else {
                    throw LacunaError.invalidArgument("Gram matrix", reason: "diagonal entry \(i) is \(p[i * n + i])")
                }
                for j in 0...i {
                    let (a, b) = (p[i * n + j], p[j * n + i])
                    guard a.isFinite, b.isFinite, abs(a - b) <= 1e-9 * (abs(a) + abs(b)) + 1e-300 else {
                        throw LacunaError.invalidArgument(
                            "Gram matrix", reason: "entries (\(i), \(j)) and (\(j), \(i)) are \(a) and \(b)")
                    }
                }
            }
        }
        try reserve(n)
        columns = (0..<n).map { UInt32($0) }
        means = [Double](repeating: 0, count: n)
        matrix.withPointer { p in
            for i in 0..<n { (gram.pointer + i * capacity).update(from: p + i * n, count: n) }
        }
        curvatures = (0..<n).map { curvature($0) }
    }

    /// How many coordinates there are.
    public var count: Int { columns.count }
    /// The diagonal of `G`, but 0 where there is no curvature beyond rounding, as of a constant column beside an
    /// intercept. Such coordinates stay what they are.
    private var curvatures: [Double] = []

    private func curvature(_ j: Int) -> Double {
        let d = gram.pointer[j * capacity + j]
        return d <= 1e-13 * (d + means[j] * means[j]) || d < 1e-290 ? 0 : d
    }

    private func reserve(_ count: Int) throws {
        if count <= capacity { return }
        let wider = max(count, min(capacity * 2, capacity + 1024))
        _ = try MachineMemory.require(
            shape: [wider, wider], of: Double.self, for: "the Gram matrix of \(count) columns in use")
        let fresh = Buffer<Double>(uninitialized: wider * wider)
        for i in 0..<columns.count {
            (fresh.pointer + i * wider).update(from: gram.pointer + i * capacity, count: columns.count)
        }
        gram = fresh
        capacity = wider
    }

    func removeAll() {
        columns = []
        means = []
        curvatures = []
    }

    /// Adds columns of a design under given curvatures of the rows.
    ///
    /// - Parameter centered: Eliminates an intercept.
    /// - Throws: ``LacunaError/resource(_:needed:available:)`` if the machine has no room for the Gram matrix.
    func append(
        _ new: [UInt32], of design: any Design, curvature: UnsafePointer<Double>, total: Double, centered: Bool
    ) throws {
        if new.isEmpty { return }
        let old = columns.count
        try reserve(old + new.count)
        var fresh = [Double](repeating: 0, count: new.count)
        if centered {
            design.correlations(new, with: curvature, into: &fresh)
            for k in fresh.indices { fresh[k] /= total }
        }
        columns += new
        means += fresh
        let rows = gram.pointer + old * capacity
        design.gram(
            new, columns, weights: curvature, totalWeight: total, means: centered ? (fresh, means) : nil, into: rows,
            leading: capacity)
        for i in 0..<new.count {
            for j in 0..<old { gram.pointer[j * capacity + old + i] = rows[i * capacity + j] }
        }
        curvatures += (old..<columns.count).map { self.curvature($0) }
    }

    /// Drops the coordinates where `keep` is false.
    func compact(_ keep: [Bool]) {
        let kept = keep.indices.filter { keep[$0] }
        for (i, a) in kept.enumerated() {
            for (j, b) in kept.enumerated() { gram.pointer[i * capacity + j] = gram.pointer[a * capacity + b] }
        }
        columns = kept.map { columns[$0] }
        means = kept.map { means[$0] }
        curvatures = kept.map { curvatures[$0] }
    }

    /// Minimises `½ zᵀ G z - cᵀ z + penalty(z)`: least squares known by its Gram matrix `G = Xᵀ X / n` and `c = Xᵀ y / n`.
    ///
    /// - Parameters:
    ///   - linear: `c` [count].
    ///   - tolerance: Distance to the subdifferential at which to stop, relative to the largest `|c|`.
    /// - Returns: The minimiser, the distance reached, and whether the tolerance was.
    public func minimize<P: SeparablePenalty>(
        linear: [Double], _ penalty: P, from start: [Double]? = nil, tolerance: Double = 1e-9,
        maximumRounds: Int = 1000
    ) -> (coefficients: [Double], distance: Double, converged: Bool) {
        require(linear.count == count && (start?.count ?? count) == count)
        var z = start ?? [Double](repeating: 0, count: count)
        var g = linear.map { -$0 }
        for j in 0..<count where z[j] != 0 { kernels.axpy_f64(z[j], gram.pointer + j * capacity, &g, count) }
        let limit = tolerance * (linear.map(abs).max() ?? 0)
        let reached = minimize(penalty, &z, gradient: &g, tolerance: limit, maximumRounds: maximumRounds)
        return (z, reached, reached <= limit)
    }

    /// The largest distance from stationarity.
    func distance<P: SeparablePenalty>(
        _ penalty: P, _ z: UnsafePointer<Double>, _ g: UnsafePointer<Double>
    ) -> Double {
        var largest = 0.0
        for j in 0..<count where z[j] != 0 || curvatures[j] > 0 {
            largest = max(largest, penalty.distance(z[j], gradient: g[j], lipschitz: curvatures[j], Int(columns[j])))
        }
        return largest
    }

    /// Minimises the model with the penalty, from `z` with gradient `g`, both of which are kept up to date.
    ///
    /// - Parameters:
    ///   - tolerance: Distance to stationarity at which to stop.
    ///   - maximumRounds: Rounds of coordinate descent and one Newton step.
    /// - Returns: The distance reached.
    @_specialize(where P == L1)
    @_specialize(where P == WeightedL1)
    @_specialize(where P == ElasticNet)
    @_specialize(where P == MCP)
    @_specialize(where P == SCAD)
    @discardableResult
    func minimize<P: SeparablePenalty>(
        _ penalty: P, _ z: UnsafeMutablePointer<Double>, gradient g: UnsafeMutablePointer<Double>, tolerance: Double,
        maximumRounds: Int = 200
    ) -> Double {
        let n = count
        var reached = Double.infinity
        for _ in 0..<maximumRounds {
            // As many sweeps as cost about half of a Newton step, but those only while the support still moves.
            let support = (0..<n).count { z[$0] != 0 }
            let sweeps = max(2, min(20, support * support / (12 * max(n, 1))))
            for _ in 0..<sweeps {
                let moved = sweep(penalty, z, g)
                if !moved { break }
            }
            reached = distance(penalty, z, g)
            if reached <= tolerance { return reached }
            // Where columns depend on each other, one coordinate leaves at a time.
            var patience = max(4, 4000 / max(support, 1))
            var outcome = newton(penalty, z, g)
            while outcome == .singular && patience > 0 {
                patience -= 1
                outcome = newton(penalty, z, g)
            }
            if outcome != .none {
                reached = distance(penalty, z, g)
                if reached <= tolerance { return reached }
            }
        }
        return reached
    }

    /// One sweep of coordinate descent; whether a coordinate became 0 or ceased to be.
    @inline(__always)
    private func sweep<P: SeparablePenalty>(
        _ penalty: P, _ z: UnsafeMutablePointer<Double>, _ g: UnsafeMutablePointer<Double>
    ) -> Bool {
        let n = count
        var moved = false
        columns.withUnsafeBufferPointer { columns in
            for j in 0..<n {
                let curvature = curvatures[j]
                if curvature == 0 { continue }
                let old = z[j]
                let new = penalty.proximal(old - g[j] / curvature, step: 1 / curvature, Int(columns[j]))
                if new == old { continue }
                moved = moved || (new == 0) != (old == 0)
                z[j] = new
                kernels.axpy_f64(new - old, gram.pointer + j * capacity, g, n)
            }
        }
        return moved
    }

    private enum Step { case none, regular, singular }

    /// A Newton step on the coordinates that are not 0; one whose sign would change becomes 0. Taken only if it lowers
    /// the objective. Where the matrix is singular, the step ends at the first sign that changes.
    private func newton<P: SeparablePenalty>(
        _ penalty: P, _ z: UnsafeMutablePointer<Double>, _ g: UnsafeMutablePointer<Double>
    ) -> Step {
        let support = (0..<count).filter { z[$0] != 0 && curvatures[$0] > 0 }
        let s = support.count
        if s == 0 || s > 8192 { return .none }
        if factor.count < s * s { factor = Buffer(uninitialized: s * s) }
        let h = factor.pointer
        var step = [Double](repeating: 0, count: s)
        var isSingular = false
        while true {
            var trace = 0.0
            for (a, i) in support.enumerated() {
                let row = gram.pointer + i * capacity
                for b in 0...a { h[a * s + b] = row[support[b]] }
                h[a * s + a] += penalty.bend(z[i], Int(columns[i]))
                trace += abs(row[i])
                step[a] = -(g[i] + penalty.slope(z[i], Int(columns[i])))
            }
            if isSingular { for a in 0..<s { h[a * s + a] += 1e-7 * trace / Double(s) } }
            if LinearAlgebra.choleskyInPlace(h, n: s) {
                let smallest = (0..<s).reduce(Double.infinity) { min($0, h[$1 * s + $1]) }
                if isSingular || smallest * smallest > 1e-12 * trace / Double(s) {
                    LinearAlgebra.solveCholesky(h, n: s, &step)
                    if step.allSatisfy({ $0.isFinite }) { break }
                }
            }
            if isSingular { return .none }
            isSingular = true
        }

        let n = count
        let trial = Buffer<Double>(uninitialized: n)
        var length = 1.0
        if isSingular {
            for (a, i) in support.enumerated() where step[a] * z[i] < 0 { length = min(length, -z[i] / step[a]) }
            length *= 1 + 1e-12
        }
        for _ in 0..<8 {
            trial.pointer.update(from: g, count: n)
            var change = 0.0
            var target = [Double](repeating: 0, count: s)
            for (a, i) in support.enumerated() {
                let moved = z[i] + length * step[a]
                target[a] = moved * z[i] > 0 ? moved : 0
                let delta = target[a] - z[i]
                if delta == 0 { continue }
                let j = Int(columns[i])
                change += g[i] * delta + penalty.value(target[a], j) - penalty.value(z[i], j)
                kernels.axpy_f64(delta, gram.pointer + i * capacity, trial.pointer, n)
            }
            for (a, i) in support.enumerated() { change += (trial.pointer[i] - g[i]) * (target[a] - z[i]) / 2 }
            if change < 0 {
                for (a, i) in support.enumerated() { z[i] = target[a] }
                g.update(from: trial.pointer, count: n)
                return isSingular ? .singular : .regular
            }
            length /= 3
        }
        return .none
    }
}
