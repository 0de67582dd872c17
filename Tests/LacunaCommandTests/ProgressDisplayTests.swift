import LacunaTensor
import Testing

@testable import LacunaCommand

@Suite struct ProgressDisplayTests {
    /// A clock that is set by hand, and what was written.
    final class Recorder: Sendable {
        private let state = Locked((time: 0.0, texts: [String]()))
        var texts: [String] { state.withLock { $0.texts } }
        var now: Double { state.withLock { $0.time } }
        func advance(to time: Double) { state.withLock { $0.time = time } }
        func append(_ text: String) { state.withLock { $0.texts.append(text) } }
    }

    private func make(terminal: Bool, quiet: Bool = false) -> (ProgressDisplay, Recorder) {
        let recorder = Recorder()
        let display = ProgressDisplay(
            console: Console(descriptor: 2, environment: [:], isTerminal: terminal), isQuiet: quiet,
            now: { recorder.now }, emit: { recorder.append($0) })
        return (display, recorder)
    }

    @Test func barIsDrawnAtMostTenTimesASecond() {
        let (display, recorder) = make(terminal: true)
        for step in 0..<1000 {
            recorder.advance(to: Double(step) / 1000)
            display.update(task: "prune", completed: step, total: 1000, detail: "")
        }
        #expect((9...11).contains(recorder.texts.count))
        #expect(recorder.texts.allSatisfy { $0.hasPrefix("\r") && !$0.contains("\n") })
    }

    @Test func pipeGetsPlainLinesNowAndThen() {
        let (display, recorder) = make(terminal: false)
        for step in 0...200 {
            recorder.advance(to: Double(step) / 10)
            display.update(task: "prune", completed: step, total: 200, detail: "block")
        }
        #expect(
            recorder.texts == [
                "prune: 25 %, 15 s left, block\n", "prune: 50 %, 10 s left, block\n",
                "prune: 75 %, 5.0 s left, block\n", "prune: done in 20 s, block\n",
            ])
    }

    @Test func endIsSaidOnceAndATaskMayStartOver() {
        let (display, recorder) = make(terminal: false)
        display.update(task: "a", completed: 0, total: 1, detail: "")
        recorder.advance(to: 4)
        for _ in 0..<3 { display.update(task: "a", completed: 1, total: 1, detail: "") }
        #expect(recorder.texts == ["a: done in 4.0 s\n"])
        recorder.advance(to: 50)
        display.update(task: "a", completed: 0, total: 1, detail: "")
        recorder.advance(to: 52)
        display.update(task: "a", completed: 1, total: 1, detail: "")
        #expect(recorder.texts.last == "a: done in 2.0 s\n")
    }

    @Test(arguments: [true, false]) func shortTasksLeaveNoTrace(_ terminal: Bool) {
        let (display, recorder) = make(terminal: terminal)
        display.update(task: "a", completed: 0, total: 2, detail: "")
        recorder.advance(to: 0.5)
        display.update(task: "a", completed: 2, total: 2, detail: "")
        #expect(!recorder.texts.joined().contains("done"))
        if terminal { #expect(recorder.texts.last == "\r\u{1B}[K") }
    }

    @Test func quietSaysNothing() {
        let (display, recorder) = make(terminal: true, quiet: true)
        display.update(task: "a", completed: 1, total: 1, detail: "")
        #expect(recorder.texts.isEmpty)
    }

    @Test func barFitsTheTerminal() {
        for width in [20, 40, 80, 200] {
            let bar = ProgressDisplay.bar(
                task: "prune", completed: 7, total: 30, detail: String(repeating: "x", count: 300), elapsed: 9,
                width: width)
            #expect(bar.count < width)
        }
    }

    @Test func timeLeftNeedsSomethingToGoBy() {
        #expect(ProgressDisplay.timeLeft(completed: 0, total: 10, elapsed: 60) == nil)
        #expect(ProgressDisplay.timeLeft(completed: 1, total: 10, elapsed: 0.1) == nil)
        #expect(ProgressDisplay.timeLeft(completed: 2, total: 10, elapsed: 4) == 16)
    }
}
