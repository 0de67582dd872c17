import LacunaTensor

/// What tasks have in common, and what tells each from the others: a head on it.
public protocol TaskRepresentation: Sendable {
    /// One for each task [dimensions].
    var heads: [[Double]] { get }
    /// The head of further samples.
    func head(_ task: SharedRepresentation.Task) throws -> [Double]
    /// Heads as far as the samples bear them out, and the variance that is left of each.
    func shrunkHeads() throws -> (heads: [[Double]], variances: [Double])
}

/// Linear tasks that share a few directions: `y = x · B w_t + noise` with `B` [inputs, dimensions] orthonormal, common to all
/// tasks, and a head `w_t` for each.
public struct SharedRepresentation: TaskRepresentation {
    /// [inputs, dimensions], orthonormal columns.
    public let basis: Tensor<Double>
    /// One for each task [dimensions].
    public let heads: [[Double]]
    /// Mean square of the residuals of each task; 0 for tasks without samples.
    public let residuals: [Double]
    /// Rounds that were taken.
    public let iterations: Int
    /// Whether the objective had settled when the iteration ended.
    public let converged: Bool
    private let statistics: [TaskStatistics]

    /// Samples of one task.
    public struct Task: Sendable {
        /// [samples, inputs].
        public let inputs: Tensor<Double>
        /// One for each sample.
        public let targets: [Double]

        /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for numbers of samples that differ and numbers that are not
        ///   finite.
        public init(inputs: Tensor<Double>, targets: [Double]) throws {
            guard inputs.rank == 2, inputs.rows == targets.count else {
                throw LacunaError.invalidArgument(
                    "task", reason: "inputs of shape \(inputs.shape) for \(targets.count) targets")
            }
            guard inputs.scalars.allSatisfy({ $0.isFinite }), targets.allSatisfy({ $0.isFinite }) else {
                throw LacunaError.invalidArgument("task", reason: "holds a number that is not finite")
            }
            self.inputs = inputs
            self.targets = targets
        }

        /// The mean square of what a head leaves, from the samples themselves: sums over them cannot tell small residuals.
        fileprivate func meanSquare(_ basis: Tensor<Double>, _ head: [Double]) -> Double {
            if targets.isEmpty { return 0 }
            let fitted = inputs.multiplied(
                by: basis.multiplied(by: Tensor(head, shape: [head.count, 1]))
            ).scalars
            return zip(targets, fitted).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) } / Double(targets.count)
        }
    }

    /// Minimises `Σ_t ‖X_t B w_t - y_t‖²` by turns over heads and basis, from the leading directions of the tasks' own ridge
    /// estimates.
    ///
    /// - Parameters:
    ///   - start: A basis to begin with instead.
    ///   - tolerance: Relative change of the objective at which to end.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for no tasks, different numbers of inputs, or more dimensions than
    ///   inputs.
    /// - Complexity: O((inputs · dimensions)³) an iteration.
    public init(
        _ tasks: [Task], dimensions k: Int, from start: Tensor<Double>? = nil, tolerance: Double = 1e-9,
        maximumIterations: Int = 200
    ) throws {
        guard let d = tasks.first?.inputs.columns, tasks.allSatisfy({ $0.inputs.columns == d }), k > 0, k <= d else {
            throw LacunaError.invalidArgument(
                "tasks",
                reason: "\(tasks.count) of them, with \(tasks.map(\.inputs.columns)) inputs, for \(k) dimensions")
        }
        let statistics = tasks.map { TaskStatistics($0) }
        var basis = try start ?? Self.leading(statistics, d, k)
        var heads: [[Double]] = []
        var (previous, iterations, settled) = (Double.infinity, 0, false)
        while iterations < maximumIterations {
            iterations += 1
            heads = try statistics.map { try $0.head(basis) }
            let objective = zip(tasks, heads).reduce(0) {
                $0 + $1.0.meanSquare(basis, $1.1) * Double($1.0.targets.count)
            }
            if previous - objective <= tolerance * objective {
                settled = true
                break
            }
            previous = objective
            basis = try Self.improved(statistics, heads, d, k)
        }
        self.basis = basis
        self.heads = heads
        residuals = zip(tasks, heads).map { $0.meanSquare(basis, $1) }
        self.iterations = iterations
        self.statistics = statistics
        converged = settled
    }

    /// The best heads on a basis that is given: nothing else is learnt.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for no tasks and inputs that are not as many as the basis has rows.
    public init(_ tasks: [Task], basis: Tensor<Double>) throws {
        guard !tasks.isEmpty, tasks.allSatisfy({ $0.inputs.columns == basis.rows }) else {
            throw LacunaError.invalidArgument(
                "tasks",
                reason:
                    "\(tasks.count) of them, with \(tasks.map(\.inputs.columns)) inputs, for a basis of \(basis.shape)")
        }
        self.basis = basis
        statistics = tasks.map { TaskStatistics($0) }
        let heads = try statistics.map { try $0.head(basis) }
        self.heads = heads
        residuals = zip(tasks, heads).map { $0.meanSquare(basis, $1) }
        iterations = 0
        converged = true
    }

    /// `‖(I - B Bᵀ) v‖²`: what the basis cannot express of a task's coefficients.
    public func missing(of v: [Double]) -> Double {
        let (d, k) = (basis.rows, basis.columns)
        require(v.count == d)
        let inside = basis.multiplied(by: Tensor(v, shape: [d, 1]), transposed: true)
        let rest = zip(v, basis.multiplied(by: inside.reshaped([k, 1])).scalars).map { $0 - $1 }
        return rest.reduce(0) { $0 + $1 * $1 }
    }

    /// Heads as far as the samples bear them out: ridge estimates whose strength is the ratio of the noise to the size of the heads,
    /// and the variance that is left of each.
    ///
    /// A task of few samples has a head near 0 and a large variance, where least squares would give it a wild one.
    public func shrunkHeads() throws -> (heads: [[Double]], variances: [Double]) {
        let (d, k) = (basis.rows, basis.columns)
        let samples = statistics.reduce(0) { $0 + $1.count }
        let loss = zip(residuals, statistics).reduce(0) { $0 + $1.0 * Double($1.1.count) }
        let used = d * k + statistics.count { $0.count > 0 } * k
        // As many parameters as samples: nothing says how much of the targets is not noise.
        let square = statistics.reduce(0) { $0 + $1.square } / Double(max(samples, 1))
        let noise = samples > used ? max(loss / Double(samples - used), 1e-12 * square) : square
        // The mean square of an entry of a head, tasks counting by their samples and without what the noise adds.
        let size = zip(heads, statistics).reduce(0) { sum, pair in
            sum + Double(min(pair.1.count, 10 * k)) * pair.0.reduce(0) { $0 + $1 * $1 }
        }
        let weight = statistics.reduce(0) { $0 + Double(min($1.count, 10 * k)) }
        let prior = max(size / max(weight, 1) / Double(k), .leastNormalMagnitude)
        var (found, variances): ([[Double]], [Double]) = ([], [])
        for task in statistics {
            var inner = basis.multiplied(by: task.gram.multiplied(by: basis), transposed: true)
            for i in 0..<k { inner[i, i] += noise / prior + .leastNormalMagnitude }
            let right = basis.multiplied(by: Tensor(task.cross, shape: [d, 1]), transposed: true)
            found.append(try inner.solvePositiveDefinite(right).scalars)
            let inverse = try inner.cholesky().inverseFromCholesky()
            variances.append(noise * (0..<k).reduce(0) { $0 + inverse[$1, $1] })
        }
        return (found, variances)
    }

    /// The least squares head of further samples on this basis.
    public func head(_ task: Task) throws -> [Double] { try TaskStatistics(task).head(basis) }

    /// Leading left singular vectors of the tasks' ridge estimates, weighted by the roots of their numbers of samples.
    private static func leading(_ statistics: [TaskStatistics], _ d: Int, _ k: Int) throws -> Tensor<Double> {
        var estimates = Tensor<Double>(zeros: [statistics.count, d])
        for (t, task) in statistics.enumerated() where task.count > 0 {
            var regular = task.gram
            let trace = (0..<d).reduce(0) { $0 + regular[$1, $1] }
            for i in 0..<d { regular[i, i] += 0.1 * trace / Double(d) + .leastNormalMagnitude }
            let solved = try regular.solvePositiveDefinite(Tensor(task.cross, shape: [d, 1])).scalars
            let weight = Double(task.count).squareRoot()
            for i in 0..<d { estimates[t, i] = weight * solved[i] }
        }
        let right = try estimates.svd().vTransposed
        // With fewer tasks than dimensions, unit vectors fill up.
        var columns = Tensor<Double>(zeros: [d, k])
        for c in 0..<k { for i in 0..<d { columns[i, c] = c < right.rows ? right[c, i] : (i == c ? 1 : 0) } }
        return try columns.qr().q
    }

    /// The basis that suits the heads best: a linear system in all of its entries.
    private static func improved(
        _ statistics: [TaskStatistics], _ heads: [[Double]], _ d: Int, _ k: Int
    ) throws -> Tensor<Double> {
        let size = d * k
        var matrix = Tensor<Double>(zeros: [size, size])
        var right = [Double](repeating: 0, count: size)
        matrix.withMutablePointer { m in
            for (task, w) in zip(statistics, heads) where task.count > 0 {
                task.gram.withPointer { gram in
                    for a in 0..<k {
                        for b in 0...a where w[a] * w[b] != 0 {
                            for i in 0..<d {
                                kernels.axpy_f64(
                                    w[a] * w[b], gram + i * d, m + (a * d + i) * size + b * d, d)
                            }
                        }
                        for i in 0..<d { right[a * d + i] += w[a] * task.cross[i] }
                    }
                }
            }
        }
        let trace = (0..<size).reduce(0) { $0 + matrix[$1, $1] }
        for i in 0..<size { matrix[i, i] += 1e-12 * trace / Double(size) + .leastNormalMagnitude }
        let solved = try matrix.solvePositiveDefinite(Tensor(right, shape: [size, 1])).scalars
        var columns = Tensor<Double>(zeros: [d, k])
        for a in 0..<k { for i in 0..<d { columns[i, a] = solved[a * d + i] } }
        return try columns.qr().q
    }
}

/// Sums over the samples of a task: all that least squares needs of them.
private struct TaskStatistics: Sendable {
    let count: Int
    /// `XᵀX` [inputs, inputs].
    let gram: Tensor<Double>
    /// `Xᵀy`.
    let cross: [Double]
    let square: Double

    init(_ task: SharedRepresentation.Task) {
        count = task.targets.count
        gram = task.inputs.multiplied(by: task.inputs, transposed: true)
        cross = task.inputs.multiplied(by: Tensor(task.targets, shape: [count, 1]), transposed: true).scalars
        square = task.targets.reduce(0) { $0 + $1 * $1 }
    }

    func head(_ basis: Tensor<Double>) throws -> [Double] {
        let k = basis.columns
        if count == 0 { return [Double](repeating: 0, count: k) }
        var inner = basis.multiplied(by: gram.multiplied(by: basis), transposed: true)
        let right = basis.multiplied(by: Tensor(cross, shape: [cross.count, 1]), transposed: true)
        let trace = (0..<k).reduce(0) { $0 + inner[$1, $1] }
        // Fewer samples than dimensions: the shortest of the heads that fit, nearly.
        for i in 0..<k { inner[i, i] += 1e-10 * trace / Double(k) + .leastNormalMagnitude }
        return try inner.solvePositiveDefinite(right).scalars
    }
}
