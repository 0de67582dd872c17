import LacunaTensor

/// Counts what the server does, and writes it as Prometheus reads it (the text format, version 0.0.4).
public final class ServerMetrics: Sendable {
    private struct State {
        var responses: [String: Int] = [:]
        var promptTokens = 0
        var cachedTokens = 0
        var completionTokens = 0
        var cancelled = 0
        var steps = 0
        var rows = 0
        var weightBytes = 0
        var stepSeconds = 0.0
        var active = 0
        var queued = 0
        var cachedPositions = 0
        var firstToken = [Int](repeating: 0, count: ServerMetrics.bounds.count + 1)
        var firstTokenSum = 0.0
    }
    private let state = Locked(State())
    /// Upper bounds of the histogram of times to the first token, in seconds.
    private static let bounds = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]

    /// Nothing has been counted.
    public init() {}

    func noteResponse(path: String, status: Int) {
        state.withLock { $0.responses["path=\"\(path)\",status=\"\(status)\"", default: 0] += 1 }
    }

    func note(_ usage: Usage) {
        state.withLock {
            $0.promptTokens += usage.promptTokens
            $0.cachedTokens += usage.cachedTokens
            $0.completionTokens += usage.completionTokens
        }
    }

    func noteCancelled() { state.withLock { $0.cancelled += 1 } }

    func noteStep(seconds: Double, rows: Int, bytes: Int) {
        state.withLock {
            $0.steps += 1
            $0.rows += rows
            $0.weightBytes += bytes
            $0.stepSeconds += seconds
        }
    }

    func noteFirstToken(seconds: Double) {
        state.withLock {
            $0.firstToken[Self.bounds.firstIndex { seconds <= $0 } ?? Self.bounds.count] += 1
            $0.firstTokenSum += seconds
        }
    }

    func note(active: Int, queued: Int, cachedPositions: Int) {
        state.withLock { ($0.active, $0.queued, $0.cachedPositions) = (active, queued, cachedPositions) }
    }

    /// Bytes of weights that all steps have read.
    var weightBytes: Int { state.withLock { $0.weightBytes } }
    /// Steps computed, and their rows.
    var steps: (count: Int, rows: Int) { state.withLock { ($0.steps, $0.rows) } }
    /// Requests that were ended because nobody waited for them.
    var cancelled: Int { state.withLock { $0.cancelled } }
    /// Texts that are read or written, and those that wait.
    var load: (active: Int, queued: Int) { state.withLock { ($0.active, $0.queued) } }

    /// The text of `/metrics`.
    public var text: String {
        let state = state.withLock { $0 }
        var lines: [String] = []
        func metric(_ name: String, _ type: String, _ help: String, _ values: [(String, String)]) {
            lines += ["# HELP lacuna_\(name) \(help)", "# TYPE lacuna_\(name) \(type)"]
            lines += values.map { "lacuna_\(name)\($0.0) \($0.1)" }
        }
        func counter(_ name: String, _ help: String, _ value: Int) {
            metric(name, "counter", help, [("", "\(value)")])
        }
        func gauge(_ name: String, _ help: String, _ value: Int) { metric(name, "gauge", help, [("", "\(value)")]) }
        metric(
            "responses_total", "counter", "Responses by path and status.",
            state.responses.sorted { $0.key < $1.key }.map { ("{\($0.key)}", "\($0.value)") })
        counter("prompt_tokens_total", "Tokens of prompts of requests that have ended.", state.promptTokens)
        counter("cached_tokens_total", "Of these, tokens whose keys and values were there already.", state.cachedTokens)
        counter("completion_tokens_total", "Tokens written.", state.completionTokens)
        counter("cancelled_requests_total", "Texts ended because the client left.", state.cancelled)
        counter("steps_total", "Steps of the engine.", state.steps)
        counter("step_rows_total", "Rows of all steps.", state.rows)
        counter("weight_bytes_total", "Bytes of weights read by all steps.", state.weightBytes)
        metric("step_seconds_total", "counter", "Time of all steps.", [("", "\(state.stepSeconds)")])
        gauge("active_texts", "Texts being read or written.", state.active)
        gauge("queued_texts", "Texts waiting for a place.", state.queued)
        gauge("cached_positions", "Positions whose keys and values are held.", state.cachedPositions)
        var sum = 0
        var histogram: [(String, String)] = []
        for (bound, count) in zip(Self.bounds.map { "\($0)" } + ["+Inf"], state.firstToken) {
            sum += count
            histogram.append(("_bucket{le=\"\(bound)\"}", "\(sum)"))
        }
        histogram += [("_sum", "\(state.firstTokenSum)"), ("_count", "\(sum)")]
        metric("first_token_seconds", "histogram", "From a request's arrival to its first token.", histogram)
        return lines.joined(separator: "\n") + "\n"
    }
}
