import Synchronization
import Testing

@testable import BenchmarkHarness

/// A clock that only moves when work is done.
private final class Simulation: Sendable {
    let state = Mutex<(time: Double, log: [String])>((0, []))

    func candidate(_ name: String, seconds: Double) -> Candidate {
        Candidate(name, work: Work()) { [self] _ in
            state.withLock {
                $0.time += seconds
                $0.log.append(name)
            }
        }
    }
    var time: Double { state.withLock { $0.time } }
    var log: [String] { state.withLock { $0.log } }
}

@Test func everyOtherRoundRunsBackwards() {
    let simulation = Simulation()
    let timer = PairedTimer(rounds: 3, turnSeconds: 1) { simulation.time }
    let measured = timer.measure([simulation.candidate("a", seconds: 1), simulation.candidate("b", seconds: 2)])
    // Two calls each to warm up, then an even number of rounds.
    #expect(simulation.log == ["a", "a", "b", "b", "a", "b", "b", "a", "a", "b", "b", "a"])
    #expect(measured.map(\.seconds) == [[1, 1, 1, 1], [2, 2, 2, 2]])
    #expect(measured[0].speed(against: measured[1]) == 2)
}

@Test func shortCallsAreRepeatedUntilATurnIsLongEnough() {
    let simulation = Simulation()
    let timer = PairedTimer(rounds: 2, turnSeconds: 1) { simulation.time }
    let measured = timer.measure([simulation.candidate("a", seconds: 0.25)])
    #expect(simulation.log.count == 2 + 2 * 4)
    #expect(measured[0].seconds == [0.25, 0.25])
}

@Test func somethingElseRunsBeforeEveryTurn() {
    let simulation = Simulation()
    let flush = simulation.candidate("flush", seconds: 100)
    let timer = PairedTimer(rounds: 2, turnSeconds: 0, beforeTurn: { flush.run(0) }, clock: { simulation.time })
    let measured = timer.measure([simulation.candidate("a", seconds: 1)])
    #expect(simulation.log == ["flush", "a", "flush", "a", "flush", "a", "flush", "a"])
    #expect(measured[0].seconds == [1, 1])
}
