import LacunaRegress
import LacunaTensor

/// How much each source task says about a target task: the weights `ν` with which their heads combine to its head,
/// `W ν = w`.
///
/// Many weights do when there are more tasks than dimensions. The error of the target falls as `Σ_t ν_t² / n_t` with the
/// numbers of samples `n_t`; for a given total the best are proportional to `|ν_t|`, which leaves `‖ν‖₁² / n`: so the shortest
/// `ν` in the L1 norm is wanted, which is sparse.
///
/// Yiping Wang, Yifang Chen, Kevin Jamieson, Simon Du, "Improved Active Multi-Task Representation Learning via Lasso", arXiv
/// 2306.02556; the L2 version: Yifang Chen, Simon Du, Kevin Jamieson, "Active Multi-Task Representation Learning", arXiv
/// 2202.00911.
public enum TaskRelevance: String, Sendable, CaseIterable {
    /// The smallest `‖ν‖₁`; samples in proportion to `|ν_t|`.
    case l1 = "L1"
    /// The smallest `‖ν‖₂`; samples in proportion to `ν_t²`.
    case l2 = "L2"
    /// All tasks alike.
    case uniform

    /// - Parameters:
    ///   - heads: One for each source [dimensions].
    ///   - target: The head of the target [dimensions].
    ///   - variances: How uncertain each head is [tasks]: `½ Σ_t v_t ν_t²` is added to the misfit, which that uncertainty would bring
    ///     on average. Nil for heads that are known.
    ///   - strength: Weight `λ` of the L1 norm beside `½‖W ν - w‖²`, relative to the largest that leaves any `ν`; 0 for the
    ///     smallest norm of all `ν` with `W ν = w`.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for heads of different lengths or numbers that are not finite;
    ///   ``LacunaError/numerical(operation:reason:)`` if the heads do not combine to the target's, for the L1 norm without a
    ///   strength.
    public func weights(
        heads: [[Double]], target: [Double], variances: [Double]? = nil, strength: Double = 0
    ) throws -> [Double] {
        let k = target.count
        guard !heads.isEmpty, heads.allSatisfy({ $0.count == k }), strength >= 0, strength < 1,
            variances.map({ $0.count == heads.count && $0.allSatisfy { $0 >= 0 } }) ?? true,
            (heads + [target, variances ?? []]).allSatisfy({ $0.allSatisfy(\.isFinite) })
        else {
            throw LacunaError.invalidArgument(
                "heads", reason: "\(heads.count) of them with \(k) finite numbers each are needed")
        }
        // Uncertainty as further rows, in which every task is by itself and nothing is to be fitted.
        var (rows, right) = (heads, target)
        if let variances {
            for t in heads.indices { rows[t] += heads.indices.map { $0 == t ? variances[t].squareRoot() : 0 } }
            right += [Double](repeating: 0, count: heads.count)
        }
        switch self {
        case .uniform: return [Double](repeating: 1, count: heads.count)
        case .l2: return try Self.shortest(rows, right)
        case .l1: return try Self.sparsest(rows, right, strength)
        }
    }

    /// Shares of a budget of samples [tasks]; they sum to 1. `costs` are those of a sample of each task.
    ///
    /// With costs the best numbers are proportional to `|ν_t| / √c_t`; the shares are of samples, not of costs.
    public func shares(_ weights: [Double], costs: [Double]? = nil) -> [Double] {
        require(costs.map { $0.count == weights.count && $0.allSatisfy { $0 > 0 } } ?? true)
        let raw = weights.enumerated().map { t, weight -> Double in
            switch self {
            case .uniform: return 1
            case .l1: return abs(weight) / (costs?[t] ?? 1).squareRoot()
            case .l2: return weight * weight
            }
        }
        let total = raw.reduce(0, +)
        return raw.map { total > 0 ? $0 / total : 1 / Double(weights.count) }
    }

    /// The smallest `Σ_t ν_t² / n_t` of all `ν` with `W ν = w`, however the samples were chosen: `wᵀ (Σ_t n_t w_t w_tᵀ)⁻¹ w`.
    ///
    /// - Throws: ``LacunaError/numerical(operation:reason:)`` if the tasks with samples do not span all dimensions.
    public static func attainableVariance(
        heads: [[Double]], target: [Double], samples: [Double]
    ) throws -> Double {
        let k = target.count
        require(heads.count == samples.count && heads.allSatisfy { $0.count == k })
        var matrix = Tensor<Double>(zeros: [k, k])
        for (head, count) in zip(heads, samples) {
            for i in 0..<k { for j in 0..<k { matrix[i, j] += count * head[i] * head[j] } }
        }
        let solved = try matrix.solvePositiveDefinite(Tensor(target, shape: [k, 1])).scalars
        return zip(solved, target).reduce(0) { $0 + $1.0 * $1.1 }
    }

    /// `Σ_t ν_t² / n_t`, by which the target's error is bounded; infinite if a relevant task has no samples.
    public static func targetVariance(_ weights: [Double], samples: [Double]) -> Double {
        zip(weights, samples).reduce(0) { $1.0 == 0 ? $0 : $0 + $1.0 * $1.0 / $1.1 }
    }

    private static func shortest(_ heads: [[Double]], _ target: [Double]) throws -> [Double] {
        let (m, k) = (heads.count, target.count)
        let (u, s, vt) = try Tensor(heads.flatMap { $0 }, shape: [m, k]).svd()
        // heads = u s vt [m, k], so W = headsᵀ and its pseudo-inverse is u s⁻¹ vt.
        let cut = 1e-12 * (s.first ?? 0)
        var result = [Double](repeating: 0, count: m)
        for (c, value) in s.enumerated() where value > cut {
            var dot = 0.0
            for i in 0..<k { dot += vt[c, i] * target[i] }
            for t in 0..<m { result[t] += u[t, c] * dot / value }
        }
        return result
    }

    /// A lasso in which the tasks are columns; without a strength, the limit of a vanishing one.
    private static func sparsest(_ heads: [[Double]], _ target: [Double], _ strength: Double) throws -> [Double] {
        let k = target.count
        let design = DenseDesign(columnMajor: heads.flatMap { $0 }, rows: k)
        let problem = try Problem(design, SquaredLoss(target), L1(1), hasIntercept: false)
        if strength > 0 {
            let maximum = RegularizationPath.maximumStrength(problem)
            if maximum == 0 { return [Double](repeating: 0, count: heads.count) }
            let solution = try CoordinateDescent(tolerance: 1e-10).solve(
                problem.with(penalty: L1(strength * maximum)))
            return solution.coefficients
        }
        // In units in which the largest numbers are of the size of 1: prices and what counts as 0 belong to such.
        let (unit, size) = (largest(heads.joined()), largest(target))
        let scaled = try basisPursuit(heads.map { $0.map { $0 / unit } }, target.map { $0 / size })
        return scaled.map { $0 * (size / unit) }
    }

    /// The largest magnitude; 1 if all are 0.
    private static func largest(_ numbers: some Sequence<Double>) -> Double {
        let found = numbers.reduce(0) { max($0, abs($1)) }
        return found > 0 ? found : 1
    }

    /// `argmin ‖ν‖₁` over `W ν = w`, by the simplex method's exchange on the columns `±W`: exact, `k` weights at most.
    private static func basisPursuit(_ heads: [[Double]], _ target: [Double]) throws -> [Double] {
        // A basis of artificial columns ±e_i at a price that no combination of tasks can reach.
        let (m, k) = (heads.count, target.count)
        let price = 1e6
        var basis = (0..<k).map { 2 * m + $0 }
        let signs = target.map { $0 < 0 ? -1.0 : 1 }
        func column(_ j: Int) -> [Double] {
            if j >= 2 * m { return (0..<k).map { $0 == j - 2 * m ? signs[$0] : 0 } }
            return j < m ? heads[j] : heads[j - m].map { -$0 }
        }
        func cost(_ j: Int) -> Double { j < 2 * m ? 1 : price }
        /// Solves with the present basis, or with its transpose.
        func solve(_ right: [Double], transposed: Bool) throws -> [Double] {
            var matrix = Tensor<Double>(zeros: [k, k])
            for (c, j) in basis.enumerated() {
                for (i, value) in column(j).enumerated() {
                    if transposed { matrix[c, i] = value } else { matrix[i, c] = value }
                }
            }
            let (q, r) = try matrix.qr()
            let projected = q.multiplied(by: Tensor(right, shape: [k, 1]), transposed: true)
            return r.solveTriangular(projected, lower: false).scalars
        }
        var values = target.map(abs)
        for round in 0..<(50 * (k + 1) + 20 * m) {
            let prices = try solve(basis.map(cost), transposed: true)
            // The column of the best reduced cost; later the first of them, which cannot cycle.
            var entering: Int?
            var best = -1e-9
            for j in 0..<2 * m where !basis.contains(j) {
                let reduced = cost(j) - zip(column(j), prices).reduce(0) { $0 + $1.0 * $1.1 }
                if reduced < best {
                    entering = j
                    if round > 20 * (k + 1) { break }
                    best = reduced
                }
            }
            guard let entering else {
                let scale = target.reduce(0) { max($0, abs($1)) }
                if let c = basis.indices.first(where: { basis[$0] >= 2 * m && values[$0] > 1e-8 * scale }) {
                    throw LacunaError.numerical(
                        operation: "task relevance",
                        reason:
                            "the heads do not combine to the target's (\(values[c]) of direction \(basis[c] - 2 * m) is left)"
                    )
                }
                var result = [Double](repeating: 0, count: m)
                for (c, j) in basis.enumerated() where j < 2 * m { result[j % m] += j < m ? values[c] : -values[c] }
                return result
            }
            let change = try solve(column(entering), transposed: false)
            var (leaving, length) = (-1, Double.infinity)
            for c in 0..<k where change[c] > 1e-12 {
                let ratio = values[c] / change[c]
                if ratio < length || (ratio == length && basis[c] < basis[leaving]) { (leaving, length) = (c, ratio) }
            }
            guard leaving >= 0 else { break }
            basis[leaving] = entering
            values = try solve(target, transposed: false).map { max(0, $0) }
        }
        throw LacunaError.numerical(operation: "task relevance", reason: "no smallest L1 norm was reached")
    }
}
