import LacunaInfer
import LacunaTensor

/// A request on its way through the scheduler.
public final class Job: Sendable {
    /// What is told of it; returns whether that choice is to go on. Called on the scheduler's thread: it must not wait.
    typealias Receiver = @Sendable (GenerationEvent) -> Bool

    let request: GenerationRequest
    let receive: Receiver
    /// On the clock of ``monotonicSeconds()``.
    let arrival: Double
    let deadline: Double
    private let cancelled = Locked(false)
    /// Touched on the scheduler's thread alone.
    let progress = Confined(Progress())

    /// What has become of it.
    struct Progress {
        var usage = Usage()
        var firstToken: Double?
        var unfinished = 0
        var isOver = false
    }

    init(_ request: GenerationRequest, arrival: Double, deadline: Double, receive: @escaping Receiver) {
        (self.request, self.receive) = (request, receive)
        (self.arrival, self.deadline) = (arrival, deadline)
    }

    /// Ends the request: nobody waits for it any more. Its place is free after the step that is being computed.
    public func cancel() { cancelled.withLock { $0 = true } }

    /// Whether nobody waits for it any more.
    public var isCancelled: Bool { cancelled.withLock { $0 } }
}

/// A value that one thread alone touches, held by something that several know.
final class Confined<Value>: @unchecked Sendable {
    var value: Value
    init(_ value: Value) { self.value = value }
}

/// A text that is being read or written: a sequence of the engine.
final class Stream {
    let job: Job
    let choice: Int
    /// Of the engine; nil until it is known which keys and values can be taken over.
    var sequence: Int?
    /// Those of the prompt, then those chosen.
    var tokens: [Int]
    /// Tokens whose keys and values the engine has.
    var read = 0
    /// How often each token has been chosen.
    var written: [Int: Int] = [:]
    var sampler: Sampler
    var constraint: (any TokenConstraint)?

    var promptCount: Int { job.request.prompt.count }
    var generated: Int { tokens.count - promptCount }
    var isReadingPrompt: Bool { read < promptCount }

    init(_ job: Job, choice: Int, tokens: [Int]) throws {
        (self.job, self.choice, self.tokens) = (job, choice, tokens)
        var options = job.request.sampling
        options.seed &+= UInt64(choice)
        sampler = try Sampler(options)
        constraint = job.request.constraint
    }
}
