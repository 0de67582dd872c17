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
    /// What every user spends: ε, and δ = 0.
    public let budget: PrivacyBudget
    /// Coefficients kept in every round.
    public let kept: Int
    /// Features beyond it, in magnitude, are clipped. It must not be chosen by looking at the rows.
    public let featureBound: Double
    /// The same for targets.
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
        let (twice, overflow) = sparsity.multipliedReportingOverflow(by: 2)
        kept = overflow ? .max : twice
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

    /// What the releases about one row add up to: one message.
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
        let x = try design.rowMajor(target)
        let rounds = self.rounds ?? max(1, Int(logarithm(Double(n)).rounded()))
        guard n >= rounds else {
            throw LacunaError.invalidArgument("rounds", reason: "\(rounds) rounds need as many rows, not \(n)")
        }
        let randomizer = try randomizer(columns: d)
        var order = Array(0..<n)
        order.shuffle(using: &generator)
        var theta = [Double](repeating: 0, count: d)
        for round in 0..<rounds {
            let group = order[n * round / rounds..<n * (round + 1) / rounds]
            var sum = [Double](repeating: 0, count: d)
            for i in group {
                let answer = answer(
                    Array(x[i * d..<(i + 1) * d]), target[i], at: theta, by: randomizer, using: &generator)
                for j in 0..<d { sum[j] += answer[j] }
            }
            theta = stepped(theta, by: sum.map { $0 / Double(group.count) })
        }
        return theta
    }

    /// What makes every user's answer private.
    func randomizer(columns: Int) throws -> SphereRandomizer {
        try SphereRandomizer(dimensions: columns, bound: gradientBound, epsilon: budget.epsilon)
    }

    /// One user's answer in a round: the gradient of the loss of that row at the present coefficients, randomised.
    func answer(
        _ features: [Double], _ target: Double, at theta: [Double], by randomizer: SphereRandomizer,
        using generator: inout SeededGenerator
    ) -> [Double] {
        let x = features.map { min(max($0, -featureBound), featureBound) }
        let y = min(max(target, -targetBound), targetBound)
        let residual = zip(x, theta).reduce(-y) { $0 + $1.0 * $1.1 }
        return randomizer(x.map { residual * $0 }, using: &generator)
    }

    /// The next coefficients, from the mean of the answers of a round.
    func stepped(_ theta: [Double], by mean: [Double]) -> [Double] {
        var next = zip(theta, mean).map { $0 - step * $1 }
        let largest = Set(next.indices.sorted { (abs(next[$0]), $1) > (abs(next[$1]), $0) }.prefix(kept))
        for j in next.indices where !largest.contains(j) { next[j] = 0 }
        let length = next.reduce(0) { $0 + $1 * $1 }.squareRoot()
        return length > radius ? next.map { $0 * radius / length } : next
    }
}
