import LacunaInfer

/// What the scheduler is asked for: tokens after a prompt of tokens.
public struct GenerationRequest: Sendable {
    /// At least one token.
    public var prompt: [Int]
    /// Tokens to write; with 0 the prompt is read, and scored if that is asked for.
    public var maximumTokens: Int
    /// Continuations of the prompt, which is read once for all of them. The seed of each is one more than that of the one before.
    public var choices: Int
    /// How tokens are chosen.
    public var sampling: Sampler.Options
    /// What is changed about logits first.
    public var edits: LogitEdits
    /// Tokens that end the text.
    public var endTokens: Set<Int>
    /// Most probable tokens to list beside the log-probability of each token; nil for neither.
    public var alternatives: Int?
    /// Whether the tokens of the prompt are scored too. Needs `alternatives`.
    public var scoresPrompt: Bool

    /// What tokens may follow each other; nil for any.
    public var constraint: (any TokenConstraint)?

    /// One greedy continuation, unless it is said.
    public init(
        prompt: [Int], maximumTokens: Int, choices: Int = 1, sampling: Sampler.Options = .greedy,
        edits: LogitEdits = .init(), endTokens: Set<Int> = [], alternatives: Int? = nil, scoresPrompt: Bool = false,
        constraint: (any TokenConstraint)? = nil
    ) {
        (self.prompt, self.maximumTokens, self.choices) = (prompt, maximumTokens, choices)
        (self.sampling, self.edits, self.endTokens) = (sampling, edits, endTokens)
        (self.alternatives, self.scoresPrompt, self.constraint) = (alternatives, scoresPrompt, constraint)
    }
}

/// What the scheduler tells of a request, in this order: scores of the prompt, tokens, the end of each choice, the end of all.
public enum GenerationEvent: Sendable {
    /// Scores of the next tokens of the prompt. The first token of a text has none, and is left out.
    case promptScores([TokenScore])
    /// A token of a continuation. One that ends the text is not given out.
    case token(choice: Int, token: Int, score: TokenScore?)
    /// A continuation is complete.
    case finished(choice: Int, FinishReason)
    /// All are.
    case done(Usage)
    /// The request has failed, and nothing more comes.
    case failed(APIError)
}

/// Why a text ends.
public enum FinishReason: String, Sendable {
    /// The model ended it, or a text did that was to end it.
    case stop
    /// As many tokens as were asked for.
    case length
}

/// What a request took.
public struct Usage: Sendable, Equatable {
    /// Tokens of the prompt.
    public var promptTokens = 0
    /// Of these, tokens whose keys and values were there already.
    public var cachedTokens = 0
    /// Tokens chosen, one that ended a text included.
    public var completionTokens = 0
    /// Bytes of weights that were read for it: of every step in which the request had rows, its rows' share of what the step
    /// read. A step reads the weights once for all of its rows, so a busy server reads fewer for each request. Of a model with
    /// experts, those of one row's choice a step.
    public var weightBytes = 0
    /// From when the request came until it had a place.
    public var queueSeconds = 0.0
    /// From when it came until the first token, or until the prompt was read.
    public var firstTokenSeconds: Double?
    /// From the first token to the last one.
    public var textSeconds = 0.0

    static func + (a: Usage, b: Usage) -> Usage {
        Usage(
            promptTokens: a.promptTokens + b.promptTokens, cachedTokens: a.cachedTokens + b.cachedTokens,
            completionTokens: a.completionTokens + b.completionTokens, weightBytes: a.weightBytes + b.weightBytes,
            queueSeconds: max(a.queueSeconds, b.queueSeconds),
            firstTokenSeconds: [a.firstTokenSeconds, b.firstTokenSeconds].compactMap { $0 }.max(),
            textSeconds: max(a.textSeconds, b.textSeconds))
    }
}
