import LacunaSparse
import LacunaTensor

/// Optimal transport of which every column takes from at most k rows: minimises `⟨P, C⟩ + γ/2 Σ_j ‖p_j‖²` over plans `P ≥ 0` with
/// row sums a, column sums b and at most k entries other than 0 in a column.
///
/// Tianlin Liu, Joan Puigcerver, Mathieu Blondel, "Sparsity-Constrained Optimal Transport", arXiv 2209.15466. The problem is not
/// convex; what is solved is its dual, which is. Where columns have no use for more than k entries the plan is exact. Where they
/// have, the side whose sums the solver does not enforce is met only approximately: ``Plan/rowError`` and ``Plan/columnError`` say
/// by how much.
public struct SparseTransport: Sendable, Hashable {
    /// Which of the two duals is climbed.
    public enum Form: Sendable, Hashable {
        /// Over the potentials of rows alone: columns sum to b exactly.
        case semiDual
        /// Over the potentials of both.
        case dual
    }

    /// Entries of a column.
    public let entries: Int
    /// γ, of the squares; larger ones spread the plan.
    public let regularization: Double
    /// Which dual.
    public let form: Form
    /// Steps at most.
    public let iterations: Int

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for fewer than 1 entry or a regularisation that is not positive.
    public init(entries: Int, regularization: Double = 0.1, form: Form = .semiDual, iterations: Int = 500) throws {
        guard entries >= 1, regularization > 0, regularization.isFinite, iterations >= 0 else {
            throw LacunaError.invalidArgument(
                "transport", reason: "\(entries) entries, regularisation \(regularization): at least 1 and above 0")
        }
        (self.entries, self.regularization, self.form) = (entries, regularization, form)
        self.iterations = iterations
    }

    /// What came out.
    public struct Plan: Sendable {
        /// [rows, columns].
        public let plan: Tensor<Double>
        /// Of the dual: no more than what any plan costs.
        public let value: Double
        /// `⟨P, C⟩`.
        public let cost: Double
        /// Sum of the distances of row sums from a.
        public let rowError: Double
        /// Sum of the distances of column sums from b.
        public let columnError: Double
    }

    /// - Parameters:
    ///   - costs: [rows, columns].
    ///   - rows: a, of positive numbers.
    ///   - columns: b, of positive numbers with the same sum.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for other numbers of rows or columns, or sums that differ by more than
    ///   one part in a million.
    /// - Complexity: O(rows · columns) a step.
    public func solve(_ costs: Tensor<Double>, rows a: [Double], columns b: [Double]) throws -> Plan {
        let (m, n) = (a.count, b.count)
        let (sumA, sumB) = (a.reduce(0, +), b.reduce(0, +))
        guard costs.shape == [m, n], (a + b).allSatisfy({ $0 > 0 && $0.isFinite }),
            abs(sumA - sumB) <= 1e-6 * sumA
        else {
            throw LacunaError.invalidArgument(
                "marginals", reason: "\(a.count) and \(b.count) of sums \(sumA) and \(sumB) for costs \(costs.shape)")
        }
        let c = costs.scalars
        // Climbed with momentum; where a step does not climb it is shortened and begins anew from the best point.
        var best = [Double](repeating: 0, count: form == .dual ? m + n : m)
        var (value, gradient, plan) = evaluate(best, c, a, b)
        var (point, previous) = (best, best)
        var step = regularization * min(1, sumA)
        var age = 0.0
        for _ in 0..<iterations {
            let (found, slope, own) = point == best ? (value, gradient, plan) : evaluate(point, c, a, b)
            if found > value { (best, value, gradient, plan) = (point, found, slope, own) }
            let squares = slope.reduce(0) { $0 + $1 * $1 }
            if squares < 1e-24 { break }
            var candidate = point
            for i in candidate.indices { candidate[i] += step * slope[i] }
            let (climbed, next, nextPlan) = evaluate(candidate, c, a, b)
            if climbed < found + step * squares / 4 {
                step /= 2
                if step < 1e-14 { break }
                (point, previous, age) = (best, best, 0)
                continue
            }
            age += 1
            let factor = (age - 1) / (age + 2)
            point = candidate.indices.map { candidate[$0] + factor * (candidate[$0] - previous[$0]) }
            previous = candidate
            if climbed > value {
                (best, value, gradient, plan) = (candidate, climbed, next, nextPlan)
            } else {
                (point, previous, age) = (best, best, 0)
            }
            step *= 1.1
        }
        let sums = (0..<m).map { i in (0..<n).reduce(0.0) { $0 + plan[i * n + $1] } }
        let totals = (0..<n).map { j in (0..<m).reduce(0.0) { $0 + plan[$1 * n + j] } }
        return Plan(
            plan: Tensor(plan, shape: [m, n]), value: value, cost: zip(plan, c).reduce(0) { $0 + $1.0 * $1.1 },
            rowError: zip(sums, a).reduce(0) { $0 + abs($1.0 - $1.1) },
            columnError: zip(totals, b).reduce(0) { $0 + abs($1.0 - $1.1) })
    }

    /// The dual at some potentials, its gradient, and the plan [rows · columns] that belongs to them.
    func evaluate(_ potentials: [Double], _ c: [Double], _ a: [Double], _ b: [Double]) -> (
        value: Double, gradient: [Double], plan: [Double]
    ) {
        let (m, n, gamma) = (a.count, b.count, regularization)
        var plan = [Double](repeating: 0, count: m * n)
        var value = zip(a, potentials).reduce(0) { $0 + $1.0 * $1.1 }
        if form == .dual { value += zip(b, potentials[m...]).reduce(0) { $0 + $1.0 * $1.1 } }
        for j in 0..<n {
            let x = (0..<m).map { potentials[$0] - c[$0 * n + j] + (form == .dual ? potentials[m + j] : 0) }
            // The largest, of equals the first.
            let order = x.indices.sorted { x[$0] == x[$1] ? $0 < $1 : x[$0] > x[$1] }.prefix(entries)
            switch form {
            case .dual:
                for i in order where x[i] > 0 {
                    plan[i * n + j] = x[i] / gamma
                    value -= x[i] * x[i] / (2 * gamma)
                }
            case .semiDual:
                // The point of the simplex nearest to x / (γ b_j) on these entries.
                var (sum, threshold) = (0.0, 0.0)
                for (count, i) in order.enumerated() {
                    let y = x[i] / (gamma * b[j])
                    sum += y
                    let line = (sum - 1) / Double(count + 1)
                    if y <= line { break }
                    threshold = line
                }
                for i in order {
                    let y = max(0, x[i] / (gamma * b[j]) - threshold)
                    plan[i * n + j] = b[j] * y
                    value -= b[j] * x[i] * y - gamma / 2 * b[j] * b[j] * y * y
                }
            }
        }
        var gradient = (0..<m).map { i in a[i] - (0..<n).reduce(0.0) { $0 + plan[i * n + $1] } }
        if form == .dual { gradient += (0..<n).map { j in b[j] - (0..<m).reduce(0.0) { $0 + plan[$1 * n + j] } } }
        return (value, gradient, plan)
    }
}
