import LacunaTensor

/// Shows the progress of library work on the error stream: a bar on a terminal, now and then a plain line in a pipe.
///
/// Also the way in which Ctrl-C reaches the work: ``isCancelled`` is true from then on.
final class ProgressDisplay: ProgressReporter {
    private struct State {
        /// When each task was first heard of.
        var starts: [String: Double] = [:]
        var lastDrawn = -Double.infinity
        var finished: Set<String> = []
        var barIsShown = false
    }

    /// A bar changes at most ten times a second, lines come at most every few seconds.
    static let barInterval = 0.1
    static let lineInterval = 5.0
    /// Shorter tasks leave no trace.
    static let noticeableSeconds = 1.0

    private let console: Console
    private let now: @Sendable () -> Double
    private let emit: @Sendable (String) -> Void
    private let isQuiet: Bool
    private let state = Locked(State())

    init(
        console: Console = .error, isQuiet: Bool = false, now: @escaping @Sendable () -> Double = monotonicSeconds,
        emit: (@Sendable (String) -> Void)? = nil
    ) {
        self.console = console
        self.isQuiet = isQuiet
        self.now = now
        self.emit = emit ?? { console.write($0) }
    }

    var isCancelled: Bool { Interruption.isRequested }

    func update(task: String, completed: Int, total: Int, detail: String) {
        if isQuiet { return }
        let (task, detail) = (Printable.name(task), Printable.name(detail))
        let time = now()
        let text: String? = state.withLock { state in
            // A task that starts over (the next file, the next model) gets a clock of its own.
            if state.starts[task] == nil || (completed < total && state.finished.contains(task)) {
                state.starts[task] = time
                state.finished.remove(task)
            }
            let isDone = completed >= total
            if isDone && !state.finished.insert(task).inserted { return nil }
            let interval = console.isTerminal ? Self.barInterval : Self.lineInterval
            // In a pipe, the first line of a task that turns out to be short would only be noise.
            let wait = console.isTerminal ? state.lastDrawn : max(state.lastDrawn, state.starts[task]!)
            guard isDone || time - wait >= interval else { return nil }
            state.lastDrawn = isDone ? -Double.infinity : time
            let elapsed = time - state.starts[task]!
            if isDone && elapsed < Self.noticeableSeconds {
                // Not worth a line that stays.
                defer { state.barIsShown = false }
                return state.barIsShown ? "\r\u{1B}[K" : nil
            }
            if console.isTerminal {
                state.barIsShown = !isDone
                let line =
                    isDone
                    ? Self.summary(task: task, detail: detail, elapsed: elapsed)
                    : Self.bar(
                        task: task, completed: completed, total: total, detail: detail, elapsed: elapsed,
                        width: console.width)
                return "\r\u{1B}[K\(line)" + (isDone ? "\n" : "")
            }
            return isDone
                ? Self.summary(task: task, detail: detail, elapsed: elapsed) + "\n"
                : Self.line(task: task, completed: completed, total: total, detail: detail, elapsed: elapsed) + "\n"
        }
        if let text { emit(text) }
    }

    /// Removes a bar that is still shown; to be called before other output and at the end.
    func clear() {
        let wasShown = state.withLock { state in
            defer { state.barIsShown = false }
            return state.barIsShown
        }
        if wasShown { emit("\r\u{1B}[K") }
    }

    /// Seconds that the rest will take if it goes on as before; nil while that cannot be said.
    static func timeLeft(completed: Int, total: Int, elapsed: Double) -> Double? {
        guard completed > 0, elapsed >= 1, total > completed else { return nil }
        return elapsed / Double(completed) * Double(total - completed)
    }

    static func bar(task: String, completed: Int, total: Int, detail: String, elapsed: Double, width: Int) -> String {
        let fraction = total > 0 ? min(1, max(0, Double(completed) / Double(total))) : 0
        let barWidth = max(10, min(30, width / 4))
        let filled = Int(fraction * Double(barWidth))
        let bar = String(repeating: "█", count: filled) + String(repeating: "░", count: barWidth - filled)
        var line = "\(task) \(bar) \(Quantities.fixed(fraction * 100, 0)) %"
        if let left = timeLeft(completed: completed, total: total, elapsed: elapsed) {
            line += "  \(Quantities.duration(left)) left"
        }
        if !detail.isEmpty { line += "  \(detail)" }
        return line.count < width ? line : String(line.prefix(max(1, width - 2))) + "…"
    }

    static func line(task: String, completed: Int, total: Int, detail: String, elapsed: Double) -> String {
        let fraction = total > 0 ? Double(completed) / Double(total) : 0
        var line = "\(task): \(Quantities.fixed(fraction * 100, 0)) %"
        if let left = timeLeft(completed: completed, total: total, elapsed: elapsed) {
            line += ", \(Quantities.duration(left)) left"
        }
        return detail.isEmpty ? line : line + ", \(detail)"
    }

    static func summary(task: String, detail: String, elapsed: Double) -> String {
        "\(task): done in \(Quantities.duration(elapsed))" + (detail.isEmpty ? "" : ", \(detail)")
    }
}
