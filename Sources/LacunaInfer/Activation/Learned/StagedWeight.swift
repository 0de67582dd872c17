import LacunaLearn
import LacunaTensor

/// The weight of a penalty that grows in stages: constant for the first, then over every further stage from one weight to the next by
/// half a sine, flat at both ends: `w_{i-1} + (w_i - w_{i-1}) (sin(-π/2 + π u) + 1)/2`, u the part of the stage that is done.
///
/// Chenyang Song and others, "ProSparse", arXiv 2402.13516.
public struct StagedWeight: Sendable, Hashable {
    /// A weight and the step by which it is reached.
    public struct Stage: Sendable, Hashable {
        /// The weight at the end of the stage.
        public var weight: Double
        /// The first step behind the stage.
        public var end: Int
        /// A weight that is reached at a step.
        public init(weight: Double, end: Int) { (self.weight, self.end) = (weight, end) }
    }

    /// In the order of their ends.
    public let stages: [Stage]

    /// - Parameter stages: The first is constant; the weight of the last stays.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` without stages, for weights that are negative or not finite, and for ends
    ///   that do not grow.
    public init(_ stages: [Stage]) throws {
        guard !stages.isEmpty, stages.allSatisfy({ $0.weight >= 0 && $0.weight.isFinite && $0.end >= 1 }),
            zip(stages, stages.dropFirst()).allSatisfy({ $0.end < $1.end })
        else {
            throw LacunaError.invalidArgument(
                "stages", reason: "weights of 0 or more that are reached at growing steps are needed")
        }
        self.stages = stages
    }

    /// The weight at a step, from 0.
    public func callAsFunction(_ step: Int) -> Double {
        guard let place = stages.firstIndex(where: { step < $0.end }) else { return stages.last?.weight ?? 0 }
        if place == 0 { return stages[0].weight }
        let (before, after) = (stages[place - 1], stages[place])
        // Half a cosine is half a sine, a quarter of a turn earlier.
        return Schedule.cosine(from: before.weight, to: after.weight, steps: after.end - before.end)(step - before.end)
    }
}
