import Dispatch
import LacunaInfer
import LacunaModels
import LacunaTensor

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// One model, and everybody who asks it: texts join the engine's steps as they come and leave them as they end.
///
/// A step reads one token of every text that is being written and some tokens of prompts, so that a long prompt does not keep
/// others waiting. What a text says depends on who else is served by rounding alone: products of one row and of several add up
/// in another order, which matters most where inputs are rounded to bytes. ``Limits/isExact`` gives up speed for the same bits.
/// Prompts that begin alike share what has been computed of them, while both are there and for a time afterwards.
///
/// Continuous batching is due to Gyeong-In Yu, Joo Seong Jeong, Geon-Woo Kim, Soojeong Kim, Byung-Gon Chun, "Orca: A
/// Distributed Serving System for Transformer-Based Generative Models", OSDI 2022; prompts in pieces between tokens to Amey
/// Agrawal et al., "Taming Throughput-Latency Tradeoff in LLM Inference with Sarathi-Serve", arXiv 2403.02310.
public final class Scheduler: Sendable {
    /// How much is done at once.
    public struct Limits: Sendable, Equatable {
        /// Texts that are read or written at once.
        public var slots: Int
        /// Texts that may wait for a place.
        public var queue: Int
        /// Positions of a text, prompt and answer.
        public var context: Int
        /// Tokens of prompts that a step reads.
        public var promptRows: Int
        /// Bytes of keys and values of ended texts that are kept for prompts that begin like them.
        public var keptBytes: Int
        /// Whether what a text says is bit for bit what it says alone: prompts are read one by one, and products keep the rows
        /// of a step apart (``Product/apart(_:)``).
        public var isExact: Bool

        /// - Parameter context: At most what the model has.
        public init(
            slots: Int = 8, queue: Int = 256, context: Int, promptRows: Int = 128, keptBytes: Int = 256 << 20,
            isExact: Bool = false
        ) {
            (self.slots, self.queue, self.context) = (slots, queue, context)
            (self.promptRows, self.keptBytes, self.isExact) = (promptRows, keptBytes, isExact)
        }
    }

    /// How much is done at once.
    public let limits: Limits
    private struct Inbox {
        var jobs: [Job] = []
        /// Choices that wait, here or in the queue.
        var waiting = 0
        var isRunning = false
        var isDraining = false
    }
    private let inbox = Locked(Inbox())
    private let core: Confined<SchedulerCore>
    private let thread = DispatchQueue(label: "lacuna.scheduler", qos: .userInitiated)

    /// - Parameters:
    ///   - skipping: What the model leaves out while it runs.
    ///   - sharesPrefixes: Whether prompts that begin alike share what was computed. Not for stores that forget positions.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for limits out of range; ``LacunaError/resource(_:needed:available:)``
    ///   if keys and values of all places do not fit the machine's memory.
    public init(
        _ decoder: Transformer, skipping: Skipping = .init(), limits: Limits, sharesPrefixes: Bool = true,
        metrics: ServerMetrics = .init()
    ) throws {
        let configuration = decoder.configuration
        guard limits.slots >= 1, limits.queue >= 1, limits.promptRows >= 1, limits.keptBytes >= 0 else {
            throw LacunaError.invalidArgument("slots", reason: "places, queue and rows have to be at least 1")
        }
        guard (1...configuration.maximumPositions).contains(limits.context) else {
            throw LacunaError.invalidArgument(
                "context",
                reason: "\(limits.context) is not in 1...\(configuration.maximumPositions), the model's positions")
        }
        try MachineMemory.require(
            shape: [2, limits.slots, configuration.layerCount, configuration.keyValueWidth, limits.context],
            of: Float.self,
            for: "\(limits.slots) texts of \(limits.context) tokens (fewer places or a shorter context need less)")
        self.limits = limits
        core = Confined(
            SchedulerCore(
                skipping.engine(decoder), limits: limits, sharesPrefixes: sharesPrefixes && !limits.isExact,
                meter: skipping.meter,
                readsPromptsWhole: !sharesPrefixes, metrics: metrics))
    }

    /// Enters requests, all of them or none.
    ///
    /// - Parameters:
    ///   - seconds: How long they may take, from now.
    ///   - receive: Told of each, with its number; returns whether that choice is to go on. Called on the scheduler's thread:
    ///     it must not wait.
    /// - Throws: ``APIError``: 400 for a prompt that is empty, does not fit the context with what is to be written, or has
    ///   another token than the model's, or for more choices than there are places; 429 if the queue is full; 503 once
    ///   ``drain()`` has been called.
    public func submit(
        _ requests: [GenerationRequest], within seconds: Double = .infinity,
        receive: @escaping @Sendable (_ request: Int, GenerationEvent) -> Bool
    ) throws -> [Job] {
        for request in requests { try check(request) }
        let now = ServingClock.seconds
        let jobs = requests.enumerated().map { index, request in
            Job(request, arrival: now, deadline: now + seconds) { receive(index, $0) }
        }
        let choices = requests.reduce(0) { $0 + $1.choices }
        let mustStart = try inbox.withLock { inbox in
            if inbox.isDraining { throw APIError.draining }
            if inbox.waiting + choices > limits.queue {
                throw APIError.busy(
                    "\(inbox.waiting) texts are waiting, and \(choices) more do not fit the queue of \(limits.queue).")
            }
            inbox.waiting += choices
            inbox.jobs += jobs
            defer { inbox.isRunning = true }
            return !inbox.isRunning
        }
        if mustStart { thread.async { self.run() } }
        return jobs
    }

    private func check(_ request: GenerationRequest) throws {
        let vocabulary = core.value.engine.decoder.configuration.vocabularySize
        if request.prompt.isEmpty { throw APIError.invalid("prompt", "The prompt has no tokens.") }
        guard request.prompt.allSatisfy({ (0..<vocabulary).contains($0) }) else {
            throw APIError.invalid("prompt", "The prompt has other tokens than the model's 0 to \(vocabulary - 1).")
        }
        let (total, overflow) = request.prompt.count.addingReportingOverflow(request.maximumTokens)
        guard !overflow, total <= limits.context, request.maximumTokens >= 0 else {
            throw APIError.invalid(
                "prompt",
                "The prompt of \(request.prompt.count) tokens and \(request.maximumTokens) tokens to write do not fit the "
                    + "context of \(limits.context).",
                code: "context_length_exceeded")
        }
        guard (1...limits.slots).contains(request.choices) else {
            throw APIError.invalid("n", "'n' is \(request.choices); 1 to \(limits.slots) are served at once.")
        }
        if request.scoresPrompt && request.alternatives == nil {
            throw APIError.invalid("logprobs", "Prompts are scored with 'logprobs' alone.")
        }
        do { _ = try Sampler(request.sampling) } catch { throw APIError(error, parameter: "temperature") }
    }

    /// Takes no more requests; those that are there go on to their end.
    public func drain() { inbox.withLock { $0.isDraining = true } }

    /// Whether anything is being computed or waits to be.
    public var isBusy: Bool { inbox.withLock { $0.isRunning } }

    private func run() {
        let core = core.value
        while true {
            let jobs: [Job]? = inbox.withLock { inbox in
                if inbox.jobs.isEmpty && core.isIdle {
                    inbox.isRunning = false
                    return nil
                }
                defer { inbox.jobs = [] }
                return inbox.jobs
            }
            guard let jobs else { return }
            core.enqueue(jobs)
            let left = core.advance()
            inbox.withLock { $0.waiting -= left }
        }
    }
}

/// Times of requests.
enum ServingClock {
    /// Seconds on a clock that never goes backwards.
    static var seconds: Double {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }

    /// Seconds since 1970, as responses have them.
    static var unixTime: Int { time(nil) }
}
