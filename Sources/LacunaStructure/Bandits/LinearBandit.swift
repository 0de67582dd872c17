import LacunaTensor

/// Actions whose mean rewards are nearly linear in their features: `r(a) = ⟨φ(a), θ⟩ + error(a)`, with an error that is fixed
/// for each action and bounded by ε but otherwise arbitrary.
public struct LinearBandit: Sendable {
    /// `φ` [actions, dimensions].
    public let features: Tensor<Double>
    /// Mean reward of each action.
    public let rewards: [Double]
    /// Standard deviation of the normal noise on a query.
    public let noise: Double

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` without actions, if sizes disagree, for numbers that are not finite
    ///   and negative noise.
    public init(features: Tensor<Double>, rewards: [Double], noise: Double = 0) throws {
        guard features.rank == 2, features.rows > 0, features.columns > 0, rewards.count == features.rows else {
            throw LacunaError.invalidArgument(
                "rewards", reason: "\(rewards.count) for features of shape \(features.shape)")
        }
        guard features.scalars.allSatisfy(\.isFinite), rewards.allSatisfy(\.isFinite) else {
            throw LacunaError.invalidArgument("features or rewards", reason: "are not finite")
        }
        guard noise >= 0, noise.isFinite else {
            throw LacunaError.invalidArgument("noise", reason: "\(noise) is no standard deviation")
        }
        self.features = features
        self.rewards = rewards
        self.noise = noise
    }

    /// How many there are to choose from.
    public var actions: Int { features.rows }
    /// Features of an action.
    public var dimensions: Int { features.columns }

    /// What playing an action gives once.
    public func query(_ action: Int, using generator: inout SeededGenerator) -> Double {
        noise == 0 ? rewards[action] : rewards[action] + noise * generator.normal()
    }

    /// How much less an action gives than the best one does, on average.
    public func gap(_ action: Int) -> Double { (rewards.max() ?? 0) - rewards[action] }

    /// `φ(a)` of some actions [actions.count, dimensions].
    func features(of actions: [Int]) -> Tensor<Double> {
        let d = dimensions
        var result = Tensor<Double>(uninitialized: [actions.count, d])
        features.withPointer { source in
            result.withMutablePointer { target in
                for (i, action) in actions.enumerated() {
                    (target + i * d).update(from: source + action * d, count: d)
                }
            }
        }
        return result
    }
}

/// What a learner decided, and at what price.
public struct BanditDecision: Sendable, Equatable {
    /// The action to play.
    public var action: Int
    /// Queries made.
    public var queries: Int
    /// Different actions that were queried.
    public var candidates: Int
}

/// The dense learner: queries random actions, fits θ by least squares and plays the action that promises most.
///
/// An adversarial error of ε biases the fit by up to about `ε √d` in some directions.
public struct LeastSquaresBandit: Sendable {
    /// How many rewards are asked for, at least 1.
    public var queries: Int
    /// Added to the diagonal of the Gram matrix, as a share of that diagonal's mean: the scale of the features does not matter.
    public var ridge: Double

    /// - Parameter ridge: What is added to the diagonal of the Gram matrix as a share of its mean, at least 0.
    public init(queries: Int, ridge: Double = 1e-8) {
        require(queries > 0 && ridge >= 0)
        self.queries = queries
        self.ridge = ridge
    }

    /// - Throws: ``LacunaError/numerical(operation:reason:)`` if the queried features are linearly dependent and ``ridge`` is 0.
    public func decide(_ bandit: LinearBandit, using generator: inout SeededGenerator) throws -> BanditDecision {
        let (asked, answers) = Self.ask(bandit, queries, &generator)
        let phi = bandit.features(of: asked)
        let (m, d) = (asked.count, bandit.dimensions)
        var gram = phi.multiplied(by: phi, transposed: true)
        let mean = (0..<d).reduce(0) { $0 + gram[$1, $1] } / Double(d)
        gram.withMutablePointer { for j in 0..<d { $0[j * d + j] += ridge * mean } }
        let theta = try gram.solvePositiveDefinite(
            phi.multiplied(by: Tensor(answers, shape: [m, 1]), transposed: true))
        let promised = bandit.features.multiplied(by: theta).scalars
        let best = promised.indices.max { promised[$0] < promised[$1] } ?? 0
        return BanditDecision(action: best, queries: m, candidates: Set(asked).count)
    }

    /// Random different actions, all of them if there are no more, and one answer each.
    static func ask(
        _ bandit: LinearBandit, _ count: Int, _ generator: inout SeededGenerator
    ) -> (actions: [Int], answers: [Double]) {
        let asked = Array((0..<bandit.actions).shuffled(using: &generator).prefix(count))
        return (asked, asked.map { bandit.query($0, using: &generator) })
    }
}
