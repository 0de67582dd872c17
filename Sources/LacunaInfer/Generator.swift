import LacunaIO
import LacunaModels
import LacunaTensor

/// Writes text with a decoder: reads a prompt with the matrix kernels, then one token after another.
///
///     let generator = Generator(try Transformer.load(path), tokenizer: try Tokenizer(gguf: file))
///     let result = try generator.generate("The capital of France is") { text in
///         print(text, terminator: "")
///         return true
///     }
///     print(result.decode.tokensPerSecond)
public struct Generator: Sendable {
    /// The network that writes.
    public let decoder: Transformer
    /// For text; tokens need none.
    public let tokenizer: Tokenizer?
    /// What the model leaves out while it runs.
    public let skipping: Skipping
    /// What looks at activations while it writes, and may replace them; nil for nothing.
    public let watch: ActivationWatch?

    /// A generator of tokens, and of text if there is a tokenizer.
    public init(
        _ decoder: Transformer, tokenizer: Tokenizer? = nil, skipping: Skipping = .init(), watch: ActivationWatch? = nil
    ) {
        self.watch = watch
        self.decoder = decoder
        self.tokenizer = tokenizer
        self.skipping = skipping
    }

    /// An empty session with room for so many positions.
    ///
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` if there are more than the model has.
    public func session(context: Int) throws -> DecodingSession {
        try DecodingSession(skipping.engine(decoder, watch: watch), context: context)
    }

    /// How far and how to write.
    public struct Options: Sendable, Equatable {
        /// Tokens to write at most.
        public var maximumTokens: Int
        /// How tokens are chosen: greedily by default.
        public var sampling: Sampler.Options
        /// Tokens that end the text, besides those that the model's files name.
        public var stopTokens: Set<Int>
        /// Write on when a token would end the text.
        public var ignoresEnd: Bool
        /// Positions to make room for; nil for the prompt and `maximumTokens`, as far as the model has them.
        public var context: Int?

        /// 256 tokens at most, the most probable one each time, unless it is said.
        public init(
            maximumTokens: Int = 256, sampling: Sampler.Options = .greedy, stopTokens: Set<Int> = [],
            ignoresEnd: Bool = false, context: Int? = nil
        ) {
            self.maximumTokens = maximumTokens
            self.sampling = sampling
            self.stopTokens = stopTokens
            self.ignoresEnd = ignoresEnd
            self.context = context
        }
    }

    /// Tokens that end a text, as the model's configuration and its tokenizer name them.
    public var endTokens: Set<Int> {
        Set(decoder.configuration.endTokens).union(tokenizer?.endTokens ?? [])
    }

    /// Writes tokens after a prompt.
    ///
    /// - Parameters:
    ///   - prompt: At least one token.
    ///   - receive: Called with each token as soon as it is chosen, the one that ends the text excepted; returns whether
    ///     to go on.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for a prompt that is empty or longer than the context, and
    ///   for options out of range; ``LacunaError/numerical(operation:reason:)`` if logits are not finite; what `receive`
    ///   throws.
    public func generate(
        _ prompt: [Int], _ options: Options = .init(), receive: (Int) throws -> Bool = { _ in true }
    ) throws -> Generation {
        guard options.maximumTokens >= 0 else {
            throw LacunaError.invalidArgument("max-tokens", reason: "\(options.maximumTokens) is negative")
        }
        let (wanted, overflow) = prompt.count.addingReportingOverflow(options.maximumTokens)
        let limit = decoder.configuration.maximumPositions
        let session = try session(context: options.context ?? max(overflow ? limit : min(wanted, limit), 1))
        return try generate(prompt, in: session, options, receive: receive)
    }

    /// Writes tokens after what a session has read and a further prompt: the next turn of a conversation.
    ///
    /// The token that ends the text is not read into the session.
    public func generate(
        _ prompt: [Int], in session: DecodingSession, _ options: Options = .init(),
        receive: (Int) throws -> Bool = { _ in true }
    ) throws -> Generation {
        var sampler = try Sampler(options.sampling)
        let stops = options.ignoresEnd ? options.stopTokens : endTokens.union(options.stopTokens)
        var result = Generation()

        var start = monotonicSeconds()
        try session.prefill(prompt)
        result.prefill = Generation.Rate(tokens: prompt.count, seconds: monotonicSeconds() - start)

        // The time of the caller's own work is not the engine's.
        var elsewhere = 0.0
        let before = skipping.meter?.total.bytesSkipped ?? 0
        start = monotonicSeconds()
        var positions = 0
        while result.tokens.count < options.maximumTokens {
            let token = try sampler.sample(UnsafeBufferPointer(session.logits))
            if stops.contains(token) {
                result.reason = .endToken(token)
                break
            }
            result.tokens.append(token)
            let given = monotonicSeconds()
            let goesOn = try receive(token)
            elsewhere += monotonicSeconds() - given
            if !goesOn {
                result.reason = .stopped
                break
            }
            if session.cache.count == session.cache.capacity {
                result.reason = .contextFull
                break
            }
            // Nothing would read the logits after the last token.
            if result.tokens.count == options.maximumTokens { break }
            positions += session.cache.count
            try session.decode(token)
            result.decode.tokens += 1
        }
        result.decode.seconds = monotonicSeconds() - start - elsewhere
        let skipped = (skipping.meter?.total.bytesSkipped ?? 0) - before
        let decoded = max(result.decode.tokens, 1)
        result.bytesPerToken = decoder.bytesTouchedPerToken(position: positions / decoded) - skipped / decoded
        return result
    }

    /// Writes text after a prompt.
    ///
    /// - Parameter receive: Called with each piece of text as soon as its characters are complete; returns whether to go
    ///   on.
    /// - Throws: As for tokens; ``LacunaError/invalidArgument(_:reason:)`` without a tokenizer.
    public func generate(
        _ prompt: String, _ options: Options = .init(), receive: (String) throws -> Bool
    ) throws -> Generation {
        guard let tokenizer else {
            throw LacunaError.invalidArgument("tokenizer", reason: "is needed to write text")
        }
        var text = StreamingDecoder(tokenizer)
        let result = try generate(tokenizer.encode(prompt), options) { token in
            let piece = text.append(token)
            return try piece.isEmpty ? true : receive(piece)
        }
        let rest = text.finish()
        if !rest.isEmpty { _ = try receive(rest) }
        return result
    }

    /// The same tokens as an asynchronous sequence. They are computed on a thread of their own; leaving the loop stops
    /// it.
    public func tokens(after prompt: [Int], _ options: Options = .init()) -> AsyncThrowingStream<Int, any Error> {
        AsyncThrowingStream { continuation in
            let task = Task.detached {
                do {
                    _ = try generate(prompt, options) { token in
                        if case .terminated = continuation.yield(token) { return false }
                        return !Task.isCancelled
                    }
                    continuation.finish()
                } catch {
                    continuation.finish(throwing: error)
                }
            }
            continuation.onTermination = { _ in task.cancel() }
        }
    }
}

/// What a generator wrote, and how fast.
public struct Generation: Sendable, Equatable {
    /// Why a text ends.
    public enum EndReason: Sendable, Equatable {
        /// As many tokens as were asked for.
        case length
        /// The model chose a token that ends the text.
        case endToken(Int)
        /// No position is left.
        case contextFull
        /// The receiver asked to stop.
        case stopped
    }

    /// A number of tokens and the time they took.
    public struct Rate: Sendable, Equatable {
        /// How many.
        public var tokens: Int
        /// Of the wall clock.
        public var seconds: Double

        /// Nothing in no time, unless it is said.
        public init(tokens: Int = 0, seconds: Double = 0) {
            self.tokens = tokens
            self.seconds = seconds
        }

        /// 0 if there were no tokens.
        public var tokensPerSecond: Double { tokens == 0 ? 0 : Double(tokens) / max(seconds, 1e-9) }
    }

    /// The tokens written, without the one that ended the text.
    public var tokens: [Int] = []
    /// Why it ended.
    public var reason: EndReason = .length
    /// Reading the prompt, to the first logits.
    public var prefill = Rate()
    /// Every later token: choosing it and computing the logits after it.
    public var decode = Rate()
    /// Bytes that decoding one token read, on average.
    public var bytesPerToken = 0
}
