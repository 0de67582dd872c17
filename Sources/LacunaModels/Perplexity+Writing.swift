import LacunaTensor

extension Perplexity {
    /// How well a text is predicted as it is written: of every window a beginning is read as a prompt and not scored, and the
    /// rest token by token. What depends on how a model writes, such as the keys that attention chooses for each token or a store
    /// that forgets, is measured as it is in use.
    ///
    /// - Parameters:
    ///   - engine: With the selector, gate and stores to measure.
    ///   - window: Tokens of a window, which stands by itself; a shorter rest of the text is left out unless it is the only one.
    ///   - prompt: Tokens of the beginning, at least 1 and fewer than the window's.
    ///   - store: Called with the store of each window when it is full.
    /// - Throws: ``LacunaError/invalidArgument(_:reason:)`` for numbers out of range or a text that is no longer than a prompt;
    ///   ``LacunaError/numerical(operation:reason:)`` if a logit is not finite; ``LacunaError/cancelled``.
    public static func measureWriting(
        _ engine: TokenEngine, tokens: [Int], window: Int, prompt: Int,
        store inspect: (any KeyValueStore) -> Void = { _ in },
        progress: (any ProgressReporter)? = nil
    ) throws -> Perplexity {
        let limit = engine.decoder.configuration.maximumPositions
        guard window >= 2 && window <= limit else {
            throw LacunaError.invalidArgument("window", reason: "\(window) is not in 2...\(limit)")
        }
        guard prompt >= 1 && prompt < min(window, tokens.count) else {
            throw LacunaError.invalidArgument(
                "prompt",
                reason: "\(prompt) tokens leave none to score of windows of \(window) and a text of \(tokens.count)")
        }
        let begin = monotonicSeconds()
        var result = Perplexity(negativeLogLikelihood: 0, tokens: 0, seconds: 0)
        let count = max(1, tokens.count / window)
        for index in 0..<count {
            let part = Array(tokens[index * window..<min((index + 1) * window, tokens.count)])
            // The last token of a window is predicted, but need not be read.
            let session = try DecodingSession(engine, context: part.count)
            try session.prefill(Array(part[..<prompt]))
            for position in prompt..<part.count {
                let loss = Self.loss(
                    session.logits.baseAddress!, count: session.logits.count, target: part[position])
                guard loss.isFinite else {
                    throw LacunaError.numerical(operation: "perplexity", reason: "the model's logits are not finite")
                }
                result.negativeLogLikelihood += loss
                result.tokens += 1
                if position + 1 < part.count { try session.decode(part[position]) }
                try progress.report("writing", index * window + position + 1, of: count * window)
            }
            inspect(session.cache)
        }
        result.seconds = monotonicSeconds() - begin
        return result
    }
}
