import LacunaIO
import LacunaTensor

/// The weight of a term of the loss that is raised as long as the term grows: constant at first, then multiplied, after every window of
/// steps, by what the term's mean has changed by from the window before, and at least by ``leastGrowth`` where it has grown. Changes are
/// made linearly over the window that follows.
///
/// Chenyang Song and others, "BlockFFN", arXiv 2507.08771.
public struct AdaptiveWeight: Sendable, Hashable {
    /// The weight of the first steps.
    public let initial: Double
    /// Steps without a change.
    public let constantSteps: Int
    /// Steps of a window.
    public let window: Int
    /// What a weight is multiplied by at least if its term has grown.
    public let leastGrowth: Double
    /// The largest weight, in units of ``initial``.
    public let cap: Double

    private var steps = 0
    private var sum = 0.0
    private var previous: Double?
    private var start: Double
    private var target: Double

    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for numbers out of range.
    public init(
        initial: Double = 5e-2, constantSteps: Int = 1000, window: Int = 100, leastGrowth: Double = 1.025,
        cap: Double = 4
    ) throws {
        guard initial >= 0, initial.isFinite, constantSteps >= 0, window >= 1, leastGrowth >= 1, cap >= 1 else {
            throw LacunaError.invalidArgument(
                "weight",
                reason: "\(initial), windows of \(window) steps, growth \(leastGrowth), cap \(cap): out of range")
        }
        (self.initial, self.constantSteps, self.window) = (initial, constantSteps, window)
        (self.leastGrowth, self.cap) = (leastGrowth, cap)
        (start, target) = (initial, initial)
    }

    /// The weight of the present step.
    public var value: Double {
        let place = Double(steps % window + 1) / Double(window)
        return start + (target - start) * place
    }

    /// Tells what the term was at the present step, and goes on to the next.
    public mutating func note(_ term: Double) {
        sum += term
        steps += 1
        guard steps % window == 0 else { return }
        let mean = sum / Double(window)
        sum = 0
        start = target
        if let previous, previous > 0, steps >= constantSteps {
            var ratio = mean / previous
            if ratio > 1 { ratio = max(ratio, leastGrowth) }
            target = min(start * ratio, cap * initial)
        }
        previous = mean
    }

    /// What a resumed run needs.
    var state: JSONValue {
        [
            JSONValue(steps), .number(sum), previous.map { .number($0) } ?? .null, .number(start), .number(target),
        ]
    }

    mutating func restore(_ state: JSONValue) throws {
        guard let fields = state.arrayValue, fields.count == 5, let steps = fields[0].intValue, steps >= 0,
            let sum = fields[1].doubleValue, let start = fields[3].doubleValue, let target = fields[4].doubleValue
        else { throw LacunaError.invalidArgument("state", reason: "is none of an adaptive weight") }
        (self.steps, self.sum, self.start, self.target) = (steps, sum, start, target)
        previous = fields[2].doubleValue
    }
}
