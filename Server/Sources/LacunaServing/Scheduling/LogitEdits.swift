/// What a request changes about logits before a token is chosen.
public struct LogitEdits: Sendable, Equatable {
    /// Added to the logits of these tokens.
    public var bias: [Int: Float]
    /// Subtracted from a token's logit for each time it has been written.
    public var frequencyPenalty: Float
    /// Subtracted once from the logit of every token that has been written.
    public var presencePenalty: Float

    /// Nothing is changed unless it is said.
    public init(bias: [Int: Float] = [:], frequencyPenalty: Float = 0, presencePenalty: Float = 0) {
        (self.bias, self.frequencyPenalty, self.presencePenalty) = (bias, frequencyPenalty, presencePenalty)
    }

    /// Whether nothing is changed.
    public var isEmpty: Bool { bias.isEmpty && frequencyPenalty == 0 && presencePenalty == 0 }

    /// Changes the logits of the next token.
    ///
    /// - Parameter written: How often each token has been written; those of the prompt do not count.
    func apply(to logits: UnsafeMutableBufferPointer<Float>, written: [Int: Int]) {
        for (token, value) in bias where token < logits.count { logits[token] += value }
        if frequencyPenalty == 0 && presencePenalty == 0 { return }
        for (token, count) in written where count > 0 {
            logits[token] -= Float(count) * frequencyPenalty + presencePenalty
        }
    }
}
