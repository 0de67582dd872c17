import LacunaIO
import LacunaTensor

/// What a client hears of a request with texts: pieces of answers, in the numbering of its `choices`.
enum RunEvent: Sendable {
    /// Scores of a prompt's tokens from the second on.
    case promptScores(prompt: Int, [TokenScore])
    /// A piece of an answer.
    case text(choice: Int, TextWriter.Output)
    /// An answer is complete.
    case finished(choice: Int, FinishReason)
    /// All are.
    case done(Usage)
    /// The request has failed.
    case failed(APIError)
}

/// A request that is running.
struct RunningRequest: Sendable {
    /// What happens.
    let events: AsyncStream<RunEvent>
    let run: GenerationRun

    /// Ends it: nobody listens any more.
    func cancel() { run.cancel() }
}

/// Runs the prompts of one request: tokens become text on the scheduler's thread, so that a text that ends an answer ends it
/// before another token is computed.
final class GenerationRun: Sendable {
    private struct State {
        var writers: [TextWriter]
        var usage = Usage()
        var running: Int
        var isOver = false
    }
    private let state: Locked<State>
    /// Those that know this; let go when the request has ended in whatever way, since each would hold the other for ever.
    private let jobs = Locked<[Job]>([])
    private let choices: Int
    private let output: AsyncStream<RunEvent>.Continuation

    /// Starts a request.
    ///
    /// - Parameters:
    ///   - requests: One for each prompt, each with as many choices.
    ///   - offsets: Characters before each prompt's answers.
    /// - Returns: The request, which is to be ended by whoever stops listening.
    /// - Throws: As ``Scheduler/submit(_:within:receive:)``.
    static func start(
        _ requests: [GenerationRequest], offsets: [Int], stops: [String], tokenizer: Tokenizer,
        scheduler: Scheduler, within seconds: Double
    ) throws -> RunningRequest {
        let (stream, output) = AsyncStream<RunEvent>.makeStream()
        let choices = requests.first?.choices ?? 1
        let run = GenerationRun(
            writers: offsets.flatMap { offset in
                (0..<choices).map { _ in TextWriter(tokenizer, stops: stops, offset: offset) }
            }, choices: choices, running: requests.count, output: output)
        output.onTermination = { [weak run] _ in run?.cancel() }
        let jobs = try scheduler.submit(requests, within: seconds) { run.receive($0, $1) }
        run.jobs.withLock { $0 = jobs }
        // A request may have ended already.
        if run.state.withLock({ $0.isOver }) { run.cancel() }
        return RunningRequest(events: stream, run: run)
    }

    /// Ends what is running.
    fileprivate func cancel() {
        let ended = jobs.withLock { jobs in
            defer { jobs = [] }
            return jobs
        }
        for job in ended { job.cancel() }
    }

    private init(
        writers: [TextWriter], choices: Int, running: Int, output: AsyncStream<RunEvent>.Continuation
    ) {
        state = Locked(State(writers: writers, running: running))
        (self.choices, self.output) = (choices, output)
    }

    /// - Returns: Whether the choice is to go on.
    private func receive(_ prompt: Int, _ event: GenerationEvent) -> Bool {
        state.withLock { state in
            if state.isOver { return false }
            switch event {
            case .promptScores(let scores):
                output.yield(.promptScores(prompt: prompt, scores))
            case .token(let choice, let token, let score):
                let index = prompt * choices + choice
                let piece = state.writers[index].append(token, score: score)
                if !piece.text.isEmpty || !piece.tokens.isEmpty { output.yield(.text(choice: index, piece)) }
                return !piece.isStopped
            case .finished(let choice, let reason):
                let index = prompt * choices + choice
                let rest = state.writers[index].finish()
                if !rest.text.isEmpty || !rest.tokens.isEmpty { output.yield(.text(choice: index, rest)) }
                // Bytes that were held back may end the text after all.
                output.yield(.finished(choice: index, rest.isStopped ? .stop : reason))
            case .done(let usage):
                state.usage = state.usage + usage
                state.running -= 1
                if state.running == 0 {
                    state.isOver = true
                    output.yield(.done(state.usage))
                    output.finish()
                }
            case .failed(let error):
                state.isOver = true
                output.yield(.failed(error))
                output.finish()
            }
            return true
        }
    }
}
