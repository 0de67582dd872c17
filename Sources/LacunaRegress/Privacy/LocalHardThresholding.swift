import LacunaSparse
import LacunaTensor

/// Sparse linear regression under pure local differential privacy, in several rounds: private iterative hard
/// thresholding.
///
/// Users are dealt into `T` groups. In round `t` every user of group `t` sends the randomised gradient of its own loss,
/// `x̃(x̃ᵀθ - ỹ)` clipped to length `r` (``SphereRandomizer``), and the collector takes
/// `θ ← P(top_k(θ - η mean))` with `P` the projection onto the ball of radius `R`. Nobody answers twice, so each row costs ε
/// once.
///
/// Liyang Zhu, Meng Ding, Vaneet Aggarwal, Jinhui Xu, Di Wang, "Improved Analysis of Sparse Linear Regression in Local
/// Differential Privacy Model", arXiv 2310.07367. Radius 1, `T ≈ ln n` and twice as many coefficients kept as matter follow
/// the paper; step and clipping are this toolkit's choice.
public struct LocalHardThresholding: Sendable {
    public let budget: PrivacyBudget
    /// Coefficients kept in every round.
    public let kept: Int
    public let featureBound: Double
    public let targetBound: Double
    /// r: the longest gradient.
    public var gradientBound: Double
    /// R: the longest vector of coefficients.
    public var radius: Double
    /// η.
    public var step: Double
    /// T; `ln n` for nil.
    public var rounds: Int?

    /// - Parameter sparsity: How many coefficients may matter; twice as many are kept on the way.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` unless all numbers are above 0 and finite.
    public init(
        epsilon: Double, sparsity: Int, featureBound: Double, targetBound: Double, gradientBound: Double? = nil,
        radius: Double = 1, step: Double = 0.5, rounds: Int? = nil
    ) throws {
        budget = try PrivacyBudget(epsilon: epsilon)
        kept = 2 * sparsity
        self.featureBound = featureBound
        self.targetBound = targetBound
        self.gradientBound = gradientBound ?? featureBound * targetBound
        self.radius = radius
        self.step = step
        self.rounds = rounds
        let numbers = [
            ("sparsity", Double(sparsity)), ("featureBound", featureBound), ("targetBound", targetBound),
            ("gradientBound", self.gradientBound), ("radius", radius), ("step", step), ("rounds", Double(rounds ?? 1)),
        ]
        for (name, value) in numbers where !(value > 0) || !value.isFinite {
            throw LacunaError.invalidArgument(name, reason: "must be a finite number above 0, but is \(value)")
        }
    }

    public var account: PrivacyAccount {
        PrivacyAccount(
            model: .local,
            releases: [
                PrivacyAccount.Release(
                    "gradient in one round", mechanism: "random point of a sphere",
                    budget: budget)
            ])
    }

    /// Coefficients [columns].
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if sizes differ, a number is not finite, or there are fewer
    ///   rows than rounds.
    public func fit(
        _ design: any Design, _ target: [Double], using generator: inout SeededGenerator
    ) throws -> [Double] {
        let (n, d) = (design.rows, design.columns)
        let x = try design.rowMajor(target).map { min(max($0, -featureBound), featureBound) }
        let rounds = self.rounds ?? max(1, Int(logarithm(Double(n)).rounded()))
        guard n >= rounds else {
            throw LacunaError.invalidArgument("rounds", reason: "\(rounds) rounds need as many rows, not \(n)")
        }
        let randomizer = try SphereRandomizer(dimensions: d, bound: gradientBound, epsilon: budget.epsilon)
        var order = Array(0..<n)
        order.shuffle(using: &generator)
        var theta = [Double](repeating: 0, count: d)
        for round in 0..<rounds {
            let group = order[n * round / rounds..<n * (round + 1) / rounds]
            var mean = [Double](repeating: 0, count: d)
            for i in group {
                var residual = -min(max(target[i], -targetBound), targetBound)
                for j in 0..<d { residual += x[i * d + j] * theta[j] }
                let answer = randomizer((0..<d).map { residual * x[i * d + $0] }, using: &generator)
                for j in 0..<d { mean[j] += answer[j] / Double(group.count) }
            }
            for j in 0..<d { theta[j] -= step * mean[j] }
            let largest = Set(theta.indices.sorted { (abs(theta[$0]), $1) > (abs(theta[$1]), $0) }.prefix(kept))
            for j in 0..<d where !largest.contains(j) { theta[j] = 0 }
            let length = theta.reduce(0) { $0 + $1 * $1 }.squareRoot()
            if length > radius { for j in 0..<d { theta[j] *= radius / length } }
        }
        return theta
    }
}
