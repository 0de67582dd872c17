import LacunaTensor

/// Times candidates against each other.
///
/// In every round each candidate has one turn, in the given order in even rounds and backwards in odd ones, so that
/// drift of the machine meets all alike and no candidate always follows the same other. A turn is as many calls as take
/// `turnSeconds`.
///
/// With turns of one call and a `beforeTurn` that reads something else, every call finds its data in memory only.
public struct PairedTimer {
    /// Rounds, an even number so that both orders count equally.
    public let rounds: Int
    /// What a turn takes at least; 0 for turns of one call.
    public let turnSeconds: Double
    /// Runs before every turn and is not timed.
    let beforeTurn: (() -> Void)?
    /// Seconds on a clock that never goes backwards.
    let clock: @Sendable () -> Double

    private static let origin = ContinuousClock.now

    /// Seconds since the first call.
    @Sendable public static func steadySeconds() -> Double {
        let elapsed = origin.duration(to: .now).components
        return Double(elapsed.seconds) + Double(elapsed.attoseconds) * 1e-18
    }

    public init(
        rounds: Int, turnSeconds: Double = 0.002, beforeTurn: (() -> Void)? = nil,
        clock: @escaping @Sendable () -> Double = PairedTimer.steadySeconds
    ) {
        self.rounds = max(2, (rounds + 1) / 2 * 2)
        self.turnSeconds = turnSeconds
        self.beforeTurn = beforeTurn
        self.clock = clock
    }

    /// The measurements, in the order of the candidates.
    public func measure(_ candidates: [Candidate]) -> [Measurement] {
        var calls = [Int](repeating: 0, count: candidates.count)
        func seconds(_ index: Int, calls count: Int) -> Double {
            beforeTurn?()
            let first = calls[index]
            let start = clock()
            for call in first..<first + count { candidates[index].run(call) }
            calls[index] += count
            return clock() - start
        }
        // The first call meets cold code and page tables; the second one tells how many make a turn.
        let callsPerTurn = candidates.indices.map { index in
            _ = seconds(index, calls: 1)
            let once = seconds(index, calls: 1)
            return once <= 0 ? 1 : min(10_000, max(1, Int((turnSeconds / once).rounded(.up))))
        }
        var times = [[Double]](repeating: [], count: candidates.count)
        for round in 0..<rounds {
            let order = round % 2 == 0 ? Array(candidates.indices) : candidates.indices.reversed()
            for index in order {
                times[index].append(seconds(index, calls: callsPerTurn[index]) / Double(callsPerTurn[index]))
            }
        }
        return zip(candidates, times).map { Measurement(name: $0.name, work: $0.work, seconds: $1) }
    }
}
