import LacunaTensor

/// One test of a system in a random scenario that a mixture of proposals has drawn.
///
/// Proposal `j` departs from the natural distribution `p` at the critical steps only, so the ratio `q_j / p` of the whole
/// scenario is a product over those: everything else cancels, and is not stored.
public struct ScenarioTest: Sendable, Equatable {
    /// What was observed: 1 for the event and 0 without it, or any cost.
    public var outcome: Double
    /// For every critical step, in order: `log q_j(u | past) - log p(u | past)` of what was drawn there, for each proposal.
    /// -∞ where a proposal excludes it.
    public var logRatios: [[Double]]
    /// The class of scenarios it belongs to, for ``SparseControlVariates/Adjustment/stratified(_:)``.
    public var stratum: Int

    /// Numbers as the properties say.
    public init(outcome: Double, logRatios: [[Double]], stratum: Int = 0) {
        self.outcome = outcome
        self.logRatios = logRatios
        self.stratum = stratum
    }

    /// `log q_j / p` of the scenario.
    func totals(_ proposals: Int) -> [Double] {
        var sum = [Double](repeating: 0, count: proposals)
        for step in logRatios { for j in 0..<proposals { sum[j] += step[j] } }
        return sum
    }
}

/// A mixture `q = Σ_j α_j q_j` of proposals, from which scenarios are drawn whole: first `j`, then all of its steps.
public struct MixtureProposal: Sendable, Equatable {
    /// `α`, above 0 and with sum 1.
    public let weights: [Double]

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` unless all weights are above 0 and sum to 1 (within 1e-9).
    public init(weights: [Double]) throws {
        guard !weights.isEmpty, weights.allSatisfy({ $0 > 0 && $0.isFinite }),
            abs(weights.reduce(0, +) - 1) < 1e-9
        else { throw LacunaError.invalidArgument("weights", reason: "\(weights) are no positive numbers of sum 1") }
        self.weights = weights
    }

    /// How many proposals there are.
    public var count: Int { weights.count }

    /// `log q / p` for given `log q_j / p`, one a proposal; -∞ if all exclude what was drawn.
    public func logRatio(_ logRatios: [Double]) -> Double {
        require(logRatios.count == count)
        let largest = logRatios.max() ?? 0
        guard largest > -.infinity else { return -.infinity }
        return largest
            + logarithm(zip(weights, logRatios).reduce(0) { $0 + $1.0 * exponential($1.1 - largest) })
    }

    /// `p / q` and `q_j / q` of a test; the latter have mean 1 each, and `Σ_j α_j q_j / q` is 1 always.
    func ratios(_ test: ScenarioTest) -> (weight: Double, controls: [Double]) {
        let totals = test.totals(count)
        let mixture = logRatio(totals)
        return (exponential(-mixture), totals.map { exponential($0 - mixture) })
    }

    /// `q_j(u | past) / q(u | past)` at every critical step: each has mean 1 given the past, however the past decided that
    /// there would be another step, if some proposal excludes nothing that another may draw.
    func stepControls(_ test: ScenarioTest) -> [[Double]] {
        var past = [Double](repeating: 0, count: count)
        return test.logRatios.map { step in
            let before = logRatio(past)
            for j in 0..<count { past[j] += step[j] }
            let conditional = logRatio(past) - before
            return step.map { exponential($0 - conditional) }
        }
    }
}
