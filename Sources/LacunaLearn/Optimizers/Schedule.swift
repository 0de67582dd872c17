import LacunaSparse
import LacunaTensor

/// A number that changes from step to step: a learning rate, a sparsity, the weight of a penalty.
///
/// Steps count from 0. Behind its length a schedule stays at its last value.
public indirect enum Schedule: Sendable, Hashable {
    /// One value throughout.
    case constant(Double)
    /// Equal changes.
    case linear(from: Double, to: Double, steps: Int)
    /// Half a cosine: slow at both ends.
    case cosine(from: Double, to: Double, steps: Int)
    /// Geometric: the same ratio every step. Both ends must be positive.
    case exponential(from: Double, to: Double, steps: Int)
    /// `to + (from - to)(1 - u)³`: fast at first. The sparsity ramp of Michael Zhu, Suyog Gupta, "To Prune, or Not to
    /// Prune", arXiv 1710.01878.
    case cubic(from: Double, to: Double, steps: Int)
    /// Linear from 0 to the first value of `then` over `steps` steps, then `then` from its beginning.
    case warmUp(steps: Int, then: Schedule)
    /// `initial` for `delay` steps, then `then` from its beginning.
    case delayed(by: Int, initial: Double, then: Schedule)
    /// A schedule that begins anew every `period` steps, `times` times in all; the last goes on.
    case repeating(Schedule, every: Int, times: Int)
    /// The value of the last entry whose step has come; before the first, its value.
    case steps([Step])

    /// A value and when it begins.
    public struct Step: Sendable, Hashable {
        /// The step, from 0.
        public var from: Int
        /// From that step on.
        public var value: Double
        /// A value from a step on.
        public init(from: Int, value: Double) {
            self.from = from
            self.value = value
        }
    }

    /// The value at a step.
    public func callAsFunction(_ step: Int) -> Double {
        func progress(_ steps: Int) -> Double {
            if steps <= 0 { return 1 }
            let share = Double(step) / Double(steps)
            return min(max(share, 0), 1)
        }
        switch self {
        case .constant(let value): return value
        case .linear(let a, let b, let steps): return a + (b - a) * progress(steps)
        case .cosine(let a, let b, let steps):
            let wave = LacunaTensor.cosine(Double.pi * progress(steps))
            return b + (a - b) * 0.5 * (1 + wave)
        case .exponential(let a, let b, let steps): return a * power(b / a, progress(steps))
        case .cubic(let a, let b, let steps):
            let rest = 1 - progress(steps)
            let cube = rest * rest * rest
            return b + (a - b) * cube
        case .warmUp(let steps, let then):
            return step < steps ? then(0) * Double(step + 1) / Double(steps) : then(step - steps)
        case .delayed(let delay, let initial, let then): return step < delay ? initial : then(step - delay)
        case .repeating(let schedule, let period, let times):
            let turn = min(step / max(period, 1), max(times, 1) - 1)
            return schedule(step - turn * period)
        case .steps(let entries):
            return (entries.last { $0.from <= step } ?? entries.first)?.value ?? .nan
        }
    }
}

/// A sequence of patterns, each for a share of a run: stepwise N:M, for instance.
public struct PatternSchedule: Sendable, Hashable {
    /// Patterns in order; nil is dense.
    public var frames: [Pattern?]

    /// Patterns in order; nil is dense.
    public init(frames: [Pattern?]) { self.frames = frames }

    /// M-1:M, then M/2:M, M/4:M … down to N:M.
    public static func stepwise(n: Int, m: Int) -> PatternSchedule {
        var kept = [m - 1]
        var next = m / 2
        while next > n {
            if next < kept.last! { kept.append(next) }
            next /= 2
        }
        if kept.last! > n { kept.append(n) }
        return PatternSchedule(frames: kept.map { .nm(n: $0, m: m) })
    }

    /// 8N:8M, 4N:4M, 2N:2M, N:M: the ratio of the last pattern throughout, in groups that become smaller.
    public static func geometric(n: Int, m: Int) -> PatternSchedule {
        PatternSchedule(frames: [8, 4, 2, 1].map { .nm(n: $0 * n, m: $0 * m) })
    }

    /// The pattern at `progress` in 0...1 of the run; equal shares for all frames.
    public func pattern(at progress: Double) -> Pattern? {
        if frames.isEmpty { return nil }
        return frames[min(Int(progress * Double(frames.count)), frames.count - 1)]
    }
}
