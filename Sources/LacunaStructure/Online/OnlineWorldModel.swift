import LacunaTensor

/// Learns what an action does in a state, from one pass over experience in the order in which it comes.
///
/// State and action, scaled to about [-1, 1], are encoded sparsely; a ``SparseFollowTheLeader`` predicts the change of the
/// state and the reward. What was learnt in one part of the space stays when experience moves on to another.
public struct OnlineWorldModel: Sendable {
    /// What makes features of states and actions.
    public let encoding: LocalitySensitiveEncoding
    /// What has learnt from all steps so far.
    public private(set) var learner: SparseFollowTheLeader
    /// Middle and half width of every number of state and action.
    let ranges: [(middle: Double, half: Double)]
    /// Numbers of a state.
    let states: Int

    /// - Parameters:
    ///   - states: Range of every number of a state.
    ///   - actions: Range of every number of an action.
    ///   - groups: Grids of the encoding, of two axes each.
    ///   - bins: Cells along an axis.
    ///   - spread: About the standard deviation of a projection, for inputs at the ends of their ranges.
    ///   - ridge: ε of the learner.
    public init(
        states: [ClosedRange<Double>], actions: [ClosedRange<Double>], groups: Int = 50, bins: Int = 5,
        spread: Double = 2, ridge: Double = 1e-5, using generator: inout SeededGenerator
    ) {
        require(!states.isEmpty && (states + actions).allSatisfy { $0.upperBound > $0.lowerBound })
        ranges = (states + actions).map { (($0.upperBound + $0.lowerBound) / 2, ($0.upperBound - $0.lowerBound) / 2) }
        self.states = states.count
        encoding = LocalitySensitiveEncoding(
            inputs: ranges.count, groups: groups, bins: bins, scale: spread, using: &generator)
        learner = SparseFollowTheLeader(features: encoding.features, outputs: states.count + 1, ridge: ridge)
    }

    init(
        ranges: [(middle: Double, half: Double)], states: Int, encoding: LocalitySensitiveEncoding,
        learner: SparseFollowTheLeader
    ) {
        (self.ranges, self.states, self.encoding, self.learner) = (ranges, states, encoding, learner)
    }

    private func code(_ state: [Double], _ action: [Double]) throws -> LocalitySensitiveEncoding.Code {
        guard state.count == states, state.count + action.count == ranges.count else {
            throw LacunaError.invalidArgument(
                "state and action",
                reason: "\(state.count) and \(action.count) numbers for \(states) and \(ranges.count - states)")
        }
        return try encoding.encode(zip(state + action, ranges).map { ($0 - $1.middle) / $1.half })
    }

    /// The state that follows, and the reward.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for other counts and numbers that are not finite.
    public func predict(state: [Double], action: [Double]) throws -> (state: [Double], reward: Double) {
        let change = learner.predict(try code(state, action))
        return (zip(state, change).map { $0 + $1 }, change[states])
    }

    /// Learns from one transition.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for other counts and numbers that are not finite, and as
    ///   ``SparseFollowTheLeader/update(_:target:)``.
    public mutating func learn(state: [Double], action: [Double], next: [Double], reward: Double) throws {
        guard next.count == states else {
            throw LacunaError.invalidArgument("next state", reason: "\(next.count) numbers for \(states)")
        }
        try learner.update(try code(state, action), target: zip(next, state).map { $0 - $1 } + [reward])
    }
}
