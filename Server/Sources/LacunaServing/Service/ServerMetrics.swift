import LacunaTensor

/// Counts what the server does, and writes it as Prometheus reads it (the text format, version 0.0.4).
public final class ServerMetrics: Sendable {
    private struct State {
        var responses = ResponseCounts()
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
        /// In seconds.
        var firstToken = Histogram([0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30])
    }
    private let state = Locked(State())

    /// Nothing has been counted.
    public init() {}

    func noteResponse(path: String, status: Int) {
        state.withLock { $0.responses.note(path: path, status: status) }
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
        state.withLock { $0.firstToken.note(seconds) }
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
        var text = PrometheusText()
        state.responses.write(to: &text)
        text.counter("prompt_tokens_total", "Tokens of prompts of requests that have ended.", state.promptTokens)
        text.counter(
            "cached_tokens_total", "Of these, tokens whose keys and values were there already.", state.cachedTokens)
        text.counter("completion_tokens_total", "Tokens written.", state.completionTokens)
        text.counter("cancelled_requests_total", "Texts ended because the client left.", state.cancelled)
        text.counter("steps_total", "Steps of the engine.", state.steps)
        text.counter("step_rows_total", "Rows of all steps.", state.rows)
        text.counter("weight_bytes_total", "Bytes of weights read by all steps.", state.weightBytes)
        text.metric("step_seconds_total", "counter", "Time of all steps.", [("", "\(state.stepSeconds)")])
        text.gauge("active_texts", "Texts being read or written.", state.active)
        text.gauge("queued_texts", "Texts waiting for a place.", state.queued)
        text.gauge("cached_positions", "Positions whose keys and values are held.", state.cachedPositions)
        text.histogram(
            "first_token_seconds", "From a request's arrival to its first token.", state.firstToken)
        return text.text
    }
}
